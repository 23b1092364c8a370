"""Networks trained together equal the same networks trained alone, bit for bit."""

import re

import numpy as np
import pytest
import tensorflow as tf

from transfer_keras import surgery
from transfer_keras.datasets import formula
from transfer_keras.datasets.examples import Examples
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.networks import build
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.step import make_train_step

STEPS = 12


@pytest.fixture(scope="module")
def batches():
    """Makes augmented batches, which go into a second epoch."""
    images = np.concatenate([formula.draw_class(name, 12, 32, seed=0) for name in NAMES[:3]])
    labels = np.repeat(np.arange(3, dtype=np.int32), 12)
    cut = Preprocessing(image_size=32, resize=32, pad=4, augment=True)
    return Examples.of_classes(images, labels, (0, 1, 2), cut).training(batch_size=4, seed=7)


NAMES = formula.class_names(6)


def donor(seed):
    """Makes a base with weights of its own everywhere, biases and statistics included."""
    rng = np.random.default_rng(seed)
    model = build(
        "alexnet_small", image_size=32, classes=4, mean=rng.uniform(90, 130, 3), variance=[4e3] * 3
    )
    for weight in model.weights:
        scale = np.sqrt(2 / np.prod(weight.shape[:-1])) if len(weight.shape) > 1 else 0.05
        weight.assign(rng.normal(0, scale, weight.shape))
    return model


@pytest.fixture(scope="module")
def networks():
    """Makes a base, random and fine-tuned networks, and frozen ones (6 and 7 with dropout)."""
    a, b, r = donor(1), donor(2), donor(3)
    made = {}
    for name, source, n, mode in (
        ("A1B", a, 1, "frozen"),
        ("A5B", a, 5, "frozen"),
        ("A6B", a, 6, "frozen"),
        ("A7B", a, 7, "frozen"),
        ("B5B", b, 5, "frozen"),
        ("A5B+", a, 5, "fine_tune"),
        ("R2B", r, 2, "frozen"),
        ("R6B", r, 6, "frozen"),
        ("baseB", b, 0, "frozen"),
    ):
        made[name] = surgery.transplant(source, n, head=3, mode=mode, seed=len(made) + 10).model
    return made


def train(networks, batches, optimizer):
    """Trains `STEPS` steps; gives {network: {name: value}} of weights and the optimizer."""
    fused = surgery.fuse(networks)
    recipe = Recipe(STEPS, 4, 1e-3, optimizer, "cosine", weight_decay=1e-3)
    made = recipe.make_optimizer()
    step = make_train_step(fused, made, recipe, tf.distribute.get_strategy())
    for number, (images, labels) in enumerate(batches.take(STEPS)):
        step(images, labels, tf.constant(number % 5 == 0))
    values = {}
    for name in networks:
        network = surgery.extract(fused, name)
        values[name] = {
            w.path.split("/", 1)[-1] + x.name: w.numpy() for x in network.layers for w in x.weights
        }
    own = {re.sub(r"\W", "_", name): name for name in networks}
    for slot in made.variables:
        if match := re.search(r"\d+-(\w+?)--(.+)", slot.path):
            values[own[match[1]]][f"slot {match[2]}"] = slot.numpy()
    return values


def check(together, alone):
    for name, values in together.items():
        assert values.keys() == alone[name].keys()
        for key, value in values.items():
            assert np.array_equal(value, alone[name][key]), (name, key)


@pytest.fixture(scope="module", params=["adam", pytest.param("sgd", marks=pytest.mark.slow)])
def alone(request, networks, batches):
    """Trains every network by itself."""
    values = {}
    for name, network in networks.items():
        values |= train({name: network}, batches, request.param)
    return request.param, values


def test_slots_are_compared_and_everything_moved(networks, alone):
    optimizer, trained = alone
    for name, network in networks.items():
        slots = [key for key in trained[name] if key.startswith("slot")]
        assert len(slots) == len(network.trainable_weights) * {"sgd": 1, "adam": 2}[optimizer]
        assert all(np.abs(trained[name][slot]).max() > 0 for slot in slots)
        start = {w.path.split("/", 1)[-1] + x.name: w for x in network.layers for w in x.weights}
        for key, weight in start.items():
            moved = not np.array_equal(weight.numpy(), trained[name][key])
            assert moved == weight.trainable, (name, key)


def test_all_together(networks, batches, alone):
    optimizer, expected = alone
    check(train(networks, batches, optimizer), expected)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_any_size_and_order(networks, batches, alone, seed):
    optimizer, expected = alone
    rng = np.random.default_rng(seed)
    names = list(rng.permutation(list(networks)))
    while names:
        size = int(rng.integers(1, 5))
        check(train({name: networks[name] for name in names[:size]}, batches, optimizer), expected)
        names = names[size:]
