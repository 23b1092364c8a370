"""Networks that people have, on real photographs: validation, `predict` and exports agree."""

import shutil

import numpy as np
import pytest
from PIL import Image
from support.paths import SHARED

from transfer_keras import surgery
from transfer_keras.config import DonorSettings, choices
from transfer_keras.datasets import TaskPair
from transfer_keras.deployment import (
    NetworkFacts,
    export_network,
    open_classifier,
    save_classifier,
)
from transfer_keras.networks import pretrained

PHOTOGRAPHS = SHARED / "pictures" / "ants_bees"
LITE0 = SHARED / "donors" / "efficientnet_lite0_96.keras"
SIZE, PAD = 96, 12
CLASSES = ("ants", "bees")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Copies the photographs of ants and bees, and adds pictures of other kinds."""
    if not PHOTOGRAPHS.exists():
        pytest.skip("needs the shared photographs")
    folder = tmp_path_factory.mktemp("photographs") / "ants_bees"
    shutil.copytree(PHOTOGRAPHS, folder)
    ants = Image.open(min((folder / "val" / "ants").glob("*.jpg"))).convert("RGB")
    turned = Image.Exif()
    turned[274] = 6
    val = folder / "val"
    ants.resize((4000, 3000)).save(val / "ants" / "large.jpg")
    ants.convert("L").save(val / "ants" / "grey.png")
    ants.convert("RGBA").save(val / "ants" / "transparent.png")
    ants.convert("CMYK").save(val / "bees" / "cmyk.jpg")
    ants.save(val / "bees" / "turned.jpg", exif=turned)
    sixteen = np.asarray(ants.convert("L"), np.uint16) * 257
    Image.fromarray(sixteen).save(val / "bees" / "sixteen.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("donor", ["Lite0", "MobileNetV2", "ResNet50", "EfficientNetB0"])
def test_all_ways_give_one_class(pictures, tmp_path, donor):
    if donor == "Lite0":
        if not LITE0.exists():
            pytest.skip("needs the shared donors")
        settings = DonorSettings(path=str(LITE0))
    else:
        path = f"{choices.APPLICATIONS}{donor}"
        settings = DonorSettings(path=path, weights=choices.NO_WEIGHTS)
    model = pretrained.open_pretrained(settings, SIZE).model
    facts = NetworkFacts(CLASSES, SIZE, SIZE, PAD)
    save_classifier(tmp_path / "best.keras", surgery.swap_head(model, 2, seed=0), facts)
    pair = TaskPair(f"folder:{pictures}", None, "donor")
    _, test = pair.read(facts.make_preprocessing(), batch_size=32)
    validation = test["B"]
    paths = [validation.records.name(place) for place in validation.numbers]
    assert len(paths) == 153 + 6

    classifier = open_classifier(tmp_path / "best.keras")
    seen = np.concatenate([x for x, _ in validation.evaluation(batch_size=53)])
    expected = classifier.model.predict(seen, batch_size=53, verbose=0)
    answers = np.stack([one.probabilities for one in classifier.predict(paths, batch_size=53)])
    assert np.array_equal(answers, expected)

    (tmp_path / "validation.txt").write_text("".join(f"{path}\n" for path in paths))
    lines = []
    export_network(tmp_path / "best.keras", choices.EXPORTS, tmp_path, log=lines.append)
    assert lines[-1].count(" 0 of 159 ") == len(choices.EXPORTS)
