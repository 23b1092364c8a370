"""A donor for the tests: small, with statistics, normalisation and dropout, perturbed."""

import keras
import numpy as np

LAYERS = keras.layers


def perturb(model, seed=0):
    """Moves every weight, statistics included, so that no forgotten copy can pass."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        sign = np.where(rng.random(weight.shape) < 0.5, -1, 1)
        weight.assign(keras.ops.add(weight, sign * rng.uniform(0.005, 0.01, weight.shape)))


def make_donor(seed=3, classes=5, *, perturbed=True):
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((12, 12, 3))
    x = LAYERS.Normalization(mean=[1.0, 2.0, 3.0], variance=[4.0, 5.0, 6.0], name="pixels")(inputs)
    x = LAYERS.Conv2D(4, 3, name="one")(x)
    x = LAYERS.BatchNormalization(name="one_bn")(x)
    x = LAYERS.ReLU(name="one_relu")(x)
    x = LAYERS.Conv2D(6, 3, name="two")(x)
    x = LAYERS.Dropout(0.5, name="two_dropout")(x)
    x = LAYERS.Flatten(name="flat")(x)
    x = LAYERS.Dense(8, activation="relu", name="three")(x)
    x = LAYERS.BatchNormalization(name="three_bn")(x)
    model = keras.Model(inputs, LAYERS.Dense(classes, name="four")(x), name="donor")
    if perturbed:
        perturb(model, seed)
    return model


def values(model):
    """Gives "layer/weight" -> NumPy array, for models of plain layers."""
    return {
        f"{layer.name}/{w.name}": keras.ops.convert_to_numpy(w)
        for layer in model.layers
        for w in layer.weights
    }


def as_numpy(tree):
    """Copies tensors as arrays: a training step in JAX frees the memory of the weights."""
    return keras.tree.map_structure(lambda x: np.array(keras.ops.convert_to_numpy(x)), tree)


def same(a, b):
    """Tells whether two trees of tensors, of any backend, are bit-equal."""
    a, b = (keras.tree.flatten(as_numpy(tree)) for tree in (a, b))
    return len(a) == len(b) and all(map(np.array_equal, a, b))


def images(count=4, side=12, seed=0):
    return np.random.default_rng(seed).normal(size=(count, side, side, 3)).astype(np.float32)
