"""From a file of Keras 2, or one with classes of a person's own, to advice and predictions."""

import keras
import numpy as np
import pytest
from support.networks import write_pictures

from transfer_keras import surgery

pytestmark = pytest.mark.slow

# A MobileNetV2 of Keras 2 nested in a Sequential with a head, as Teachable Machine exports it.
KERAS2 = """
import numpy as np, tf_keras as keras
keras.utils.set_random_seed(0)
trunk = keras.applications.MobileNetV2(input_shape=(96, 96, 3), alpha=0.35, include_top=False,
                                       weights=None, pooling="avg")
layers = [keras.layers.Rescaling(1 / 127.5, -1, input_shape=(96, 96, 3)), trunk]
network = keras.Sequential([*layers, keras.layers.Dense(4, "softmax")])
rng = np.random.default_rng(0)
colours = rng.uniform(0, 255, (4, 1, 1, 3))
pictures = np.float32(colours * rng.uniform(0.5, 1, (4, 96, 96, 1)))
norms = [x for x in trunk.layers if isinstance(x, keras.layers.BatchNormalization)]
for norm in norms:
    norm.momentum = 0.0
network(pictures, training=True)  # So that each map has the size that it has in a trained network.
for norm in norms:
    norm.momentum = 0.99
network.save("old.h5")
np.savez("answers.npz", pictures=pictures, answers=network(pictures, training=False))
"""
OWN = """
import keras

class Third(keras.layers.Layer):
    def call(self, x):
        return x / 3
"""
WITH_OWN = """
import keras, own_classes
inputs = keras.Input((24, 24, 3))
x = own_classes.Third(name="own")(keras.layers.Rescaling(1 / 85)(inputs))
x = keras.layers.Conv2D(4, 3, activation="relu", name="c1")(x)
x = keras.layers.Dense(3, name="out")(keras.layers.GlobalAveragePooling2D()(x))
keras.Model(inputs, x, name="net").save("own.keras")
"""


def advise_and_predict(program, folder, donor, *options):
    """Asks for advice and then for predictions, each in a process of its own."""
    write_pictures(folder / "pictures", side=96)
    done = program(
        "-m", "transfer_keras.advise", f"--donor={donor}", "--dataset=folder:pictures",
        "--budget=1m", "--batch_size=8", "--workdir=advice", *options, cwd=folder,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Take the lower" in done.stdout
    said = program(
        "-m", "transfer_keras.predict", "--network=advice/best.keras", "--pictures=pictures",
        *options, cwd=folder, fresh=True,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr[-3000:]
    assert "36 pictures: predictions.csv" in said.stdout


def test_mobilenet_of_keras_2(program, tmp_path):
    pytest.importorskip("tf_keras", reason="needs tf_keras, which is Keras 2")
    done = program("-c", KERAS2, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(tmp_path / "answers.npz") as written:
        network = surgery.load(tmp_path / "old.h5")
        found = keras.ops.convert_to_numpy(network(written["pictures"], training=False))
        assert np.ptp(written["answers"], axis=0).max() > 1e-3  # They tell pictures apart.
        assert found == pytest.approx(written["answers"], abs=1e-5)
    advise_and_predict(program, tmp_path, "old.h5")


def test_classes_of_ones_own(program, tmp_path):
    (tmp_path / "own_classes.py").write_text(OWN)
    done = program("-c", WITH_OWN, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    advise_and_predict(program, tmp_path, "own.keras", "--custom_objects=own_classes.py")
