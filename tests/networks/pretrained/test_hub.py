"""Presets of KerasHub as donors, from folders as its `save_to_preset` writes them."""

import json
import re
import shutil

import keras
import numpy as np
import pytest
from support.hub_networks import BACKBONES, classifier
from support.networks import answers, ask, network, request, unit_list, write_pictures
from support.refusals import refuses
from support.small_network import perturb

from transfer_keras.config.errors import UserError

hub = pytest.importorskip("keras_hub", reason="needs keras-hub (transfer_keras[hub])")

PIXELS = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3)).astype(np.float32)
SCALE, OFFSET = [1 / 58.4, 1 / 57.1, 1 / 57.4], [-2.1, -2.0, -1.8]


@pytest.fixture(scope="module")
def preset(tmp_path_factory):
    """Writes a classifier with its preprocessing; gives it and the folder."""
    model = classifier(hub, "VGG")
    perturb(model)
    converter = hub.layers.ImageConverter(image_size=(32, 32), scale=SCALE, offset=OFFSET)
    kind = hub.models.ImageClassifierPreprocessor
    model.preprocessor = kind(image_converter=converter)
    folder = tmp_path_factory.mktemp("hub") / "small"
    model.save_to_preset(str(folder))
    return model, folder


def test_it_sees_pixels_as_its_preprocessing_makes_them(preset):
    model, folder = preset
    donor = network(request(f"keras_hub:{folder}"))
    assert donor.input_shape == (None, 32, 32, 3)
    scaled = PIXELS * np.float32(SCALE) + np.float32(OFFSET)
    assert answers(donor, PIXELS) == pytest.approx(answers(model, scaled), abs=1e-4)
    assert "small: 6 units, pictures of 32 x 32" in unit_list(request(f"keras_hub:{folder}"))


def test_without_its_weights_it_is_the_same_each_time(preset):
    _, folder = preset
    given = [network(request(f"keras_hub:{folder}", donor_weights="none", units=units))
             for units in ("unit", "block")]  # fmt: skip
    assert given[0] is not given[1]
    for one, other in zip(*(model.get_weights() for model in given), strict=True):
        assert np.array_equal(one, other)
    trained = network(request(f"keras_hub:{folder}"))
    assert not np.array_equal(given[0].get_weights()[0], trained.get_weights()[0])


def test_a_backbone_alone_gets_a_classifier_of_its_family(tmp_path):
    backbone = BACKBONES["MiT"](hub)
    perturb(backbone)
    backbone.save_to_preset(str(tmp_path / "mit"))
    asked = request(f"keras_hub:{tmp_path / 'mit'}", donor_pixels="0..1")
    donor = network(asked)
    features = answers(backbone, PIXELS / 255).mean(axis=(1, 2))
    pooled = keras.Model(donor.input, donor.get_layer("predictions").input)
    assert answers(pooled, PIXELS) == pytest.approx(features, abs=1e-4)


def test_another_content_of_the_folder_is_another_donor(preset, tmp_path):
    model, folder = preset
    first = request(f"keras_hub:{folder}").donor.identity
    assert re.fullmatch(r"keras_hub:small \w{12}", first["donor"])
    assert "custom_objects" not in first
    model.save_to_preset(str(tmp_path / "small"))
    assert request(f"keras_hub:{tmp_path / 'small'}").donor.identity == first
    (tmp_path / "small" / "config.json").write_text("{}")
    assert request(f"keras_hub:{tmp_path / 'small'}").donor.identity != first


BAD = [
    ("keras_hub:", {}, r"--donor=keras_hub:: which\? Give a preset, as keras_hub:resnet_18_image"),
    ("keras_hub:./nowhere", {}, r"nowhere is no folder with config\.json"),
    ("keras_hub:resnet_19", {}, r"has no preset or class of this name\. Expected one as .*resnet_"),
    ("keras_hub:ViTBackbone", {}, r"without arguments: it needs image_shape, .* as keras_hub:vit_"),
    ("keras_hub:ImageConverter", {}, r"has no preset or class of this name"),
    ("keras_hub:ResNetBackbone", {"donor_weights": "w.h5"}, r"a preset of KerasHub has its own"),
]


@pytest.mark.parametrize(("donor", "settings", "message"), BAD)
def test_what_is_not_there_is_said_in_one_line(donor, settings, message):
    with pytest.raises(UserError, match=message) as error:
        network(request(donor, **settings))
    assert "\n" not in str(error.value)


def test_a_preset_that_cannot_be_downloaded_is_said_in_one_line(monkeypatch):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # Nobody listens there.
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"could not be had: .* --donor=keras_hub:\./folder"):
        network(request("keras_hub:resnet_18_imagenet"))


@pytest.mark.slow
def test_from_a_preset_to_a_saved_network_in_another_process(preset, program, tmp_path):
    """Of ViT, whose layers Keras itself cannot read back."""
    model = classifier(hub, "ViT")
    model.save_to_preset(str(tmp_path / "vit"))
    pictures = write_pictures(tmp_path / "pictures", side=40)
    run = ("-m", "transfer_keras.advise", "--donor=keras_hub:./vit", f"--dataset={pictures}")
    small = ("--donor_pixels=-1..1", "--budget=90s", "--batch_size=8", "--workdir=advice")
    done = program(*run, *small, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    row = next((tmp_path / "advice").glob("split*/A*/row.json"))
    assert json.loads(row.read_text())["test_images"]
    said = program(
        "-m", "transfer_keras.predict", "--network=advice/best.keras", "--pictures=pictures",
        cwd=tmp_path, fresh=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-3000:]
    assert "36 pictures: predictions.csv" in said.stdout
    experiment = ask("keras_hub:" + str(tmp_path / "vit"), "A2B", donor_pixels="-1..1")
    assert [unit.name for unit in experiment.architecture.units][1:] == [
        "vit_encoder",
        "predictions",
    ]


def test_a_preset_whose_files_are_made_to_do_harm(preset, tmp_path):
    """They are checked before KerasHub reads them, as a donor's file is."""
    _, folder = preset
    edits = {
        "many filters": ("task.json", lambda c: edit_numbers(c, 10**12), r"would take \S+ TiB"),
        "no JSON": ("config.json", lambda c: c[:-9], r"config\.json cannot be used: "),
        "a list": ("config.json", lambda c: "[]", r"config\.json cannot be used: .*JSON object"),
        "deep": ("config.json", lambda c: "[" * 100_000, r"config\.json cannot be used: .*recurs"),
        "no weights": ("model.weights.h5", lambda c: "", r"weights\.h5 cannot be used: "),
    }
    for name, (file, edit, message) in edits.items():
        copy = tmp_path / name
        shutil.copytree(folder, copy)
        old = "" if file.endswith(".h5") else (copy / file).read_text()
        (copy / file).write_text(edit(old))
        with refuses(tmp_path, message):
            network(request(f"keras_hub:{copy}"))


def edit_numbers(text, number):
    """Replaces the numbers of filters of a network in its config."""
    return re.sub(r'("stackwise_num_filters": \[)[^\]]*\]', rf"\g<1>{number}, {number}]", text)
