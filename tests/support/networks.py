"""Networks that a person may have, and folders of pictures that were not trained on."""

import keras
import numpy as np
from PIL import Image

from transfer_keras.config import make_experiment
from transfer_keras.config.experiment import make_request
from transfer_keras.networks import pretrained

layers = keras.layers
PIXELS = np.random.default_rng(1).integers(0, 256, (5, 24, 24, 3)).astype(np.float32)


def body(x):
    """Builds three units, the first two with BatchNorm."""
    for name, filters in (("c1", 6), ("c2", 8)):
        x = layers.Conv2D(filters, 3, name=name)(x)
        x = layers.BatchNormalization(name=f"{name}_norm")(x)
        x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return layers.Dense(9, "relu", name="f1")(x)


def classifier(
    shape=(24, 24, 3), *, scaling=True, activation="softmax", dtype="float32", perturbed=True
):
    """Builds four units; perturbed, no BatchNorm is as it was made, and little can be learned."""
    inputs = keras.Input(shape, dtype=dtype, name="photo")
    x = layers.Rescaling(1 / 255, name="scale")(inputs) if scaling else inputs
    model = keras.Model(inputs, layers.Dense(7, activation, name="out")(body(x)), name="own")
    if perturbed:
        perturb(model)
    return model


def perturb(model):
    rng = np.random.default_rng(0)
    for weight in model.weights:
        value = rng.normal(0, 0.3, weight.shape)
        weight.assign(np.abs(value) + 0.5 if "variance" in weight.name else value)


def write_pictures(folder, *, classes=("left", "right", "top"), each=12, side=24, seed=0):
    """Writes pictures of noise, with a bright bar in a place of each class."""
    rng = np.random.default_rng(seed)
    places = (np.s_[:, :6], np.s_[:, -6:], np.s_[:6, :], np.s_[-6:, :], np.s_[9:15, 9:15])
    for name, place in zip(classes, places, strict=False):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = rng.integers(0, 120, (side, side, 3))
            pixels[place] += 100
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{number:02d}.png")
    return f"folder:{folder}"


def ask(donor, *names, **settings):
    """Makes an experiment with a donor, which is opened."""
    return make_experiment(
        names or ["A1B"], donor=str(donor), describe_donor=describe_donor, **settings
    )


def describe_donor(request):
    return pretrained.describe_architecture(request.donor, request.training.image_size)


def request(donor, *names, **settings):
    """Makes the request of an experiment; the donor is not opened."""
    return make_request(names or ["A1B"], donor=str(donor), **settings)


def network(asked):
    """Opens the donor of an experiment, or of a request."""
    return pretrained.open_pretrained(asked.donor, asked.training.image_size).model


def unit_list(asked):
    return pretrained.list_units(asked.donor, asked.training.image_size)


def saved(tmp_path, model, name="own.keras"):
    model.save(tmp_path / name)
    return tmp_path / name


def answers(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)
