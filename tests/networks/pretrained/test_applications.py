"""Networks of keras.applications, untrained and small, from their table to a saved network."""

import json
import re

import keras
import numpy as np
import pytest
from support.networks import request, unit_list, write_pictures

# Name, blocks with the head that is put on, and the block up to which is taken.
NETWORKS = [
    ("MobileNetV2", 20, 10, "block_8"),
    ("ResNet50", 18, 8, "conv3_block4"),
    ("EfficientNetB0", 19, 6, "block3b"),
]

NORMALIZATION = keras.layers.Normalization  # Has nothing to train.


@pytest.fixture
def train(program, tmp_path):
    """Runs the program to its end, without an error; gives its output."""

    def run(*flags):
        done = program("-m", "transfer_keras.train", *flags, cwd=tmp_path)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.mark.slow
@pytest.mark.parametrize(("name", "blocks", "n", "last"), NETWORKS)
def test_from_the_list_of_units_to_a_saved_network(train, tmp_path, name, blocks, n, last):
    pictures = write_pictures(tmp_path / "pictures", side=40)
    donor, settings = f"keras.applications.{name}", {"donor_weights": "none", "image_size": 32}
    unit_table = unit_list(request(donor, units="block", **settings))
    assert f"{name}: {blocks} blocks, pictures of 32 x 32 pixels" in unit_table
    assert f"Choose n from 1 to {blocks - 1}" in unit_table
    line = re.search(rf"^ *{n} +{last} .*$", unit_table, re.MULTILINE)
    assert line, unit_table
    small = ["--steps=2", "--batch_size=8", "--validations=1", "--metrics_every=0"]
    small += [f"--dataset={pictures}", f"--treatments=A{n}B,A{n}B+", "--workdir=run"]
    small += [f"--donor={donor}", "--units=block", *(f"--{k}={v}" for k, v in settings.items())]
    assert "BatchNorm (--batch_norm=frozen)" in train(*small)
    for treatment in (f"A{n}B", f"A{n}B+"):
        model = keras.saving.load_model(tmp_path / "run" / treatment / "network.keras")
        images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
        assert model.predict(images, verbose=0).shape == (2, 3)
        row = json.loads((tmp_path / "run" / treatment / "row.json").read_text())
        assert row["parameters"] == model.count_params()
        trained = sum(np.prod(weight.shape) for weight in model.trainable_weights)
        assert row["trainable_parameters"] == trained
        weighted = [x for x in model.layers if x.weights and not isinstance(x, NORMALIZATION)]
        taken = max(i for i, layer in enumerate(weighted) if layer.name.startswith(last)) + 1
        norms = [isinstance(x, keras.layers.BatchNormalization) for x in weighted[:taken]]
        assert any(norms)
        kept = norms if treatment[-1] == "+" else [True] * taken
        below, above = weighted[:taken], weighted[taken:]
        assert [not layer.trainable for layer in below] == kept
        assert all(layer.trainable for layer in above)
