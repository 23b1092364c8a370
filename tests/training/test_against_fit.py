"""Twenty steps by our loop and by Keras's `fit`: the same weights but for rounding."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.paths import SHARED
from support.training import STRATEGY, endless

from transfer_keras import surgery
from transfer_keras.training import Schedule, Streams, train_networks
from transfer_keras.training.optimizers import Recipe

STEPS, BATCH, CLASSES = 20, 8, 2
DONOR = SHARED / "donors" / "efficientnet_lite0.keras"
# Weights may differ by so much of the largest value of their tensor. Rounding grows from step to
# step: `fit` differs from `fit` without a graph as much.
SHALLOW, DEEP = 1e-5, 2e-3


class CaffeSGD(keras.optimizers.SGD):
    """SGD with twice the rate for biases and the scales and shifts of BatchNorm."""

    def apply(self, grads, trainable_variables=None):
        doubled = [g if len(g.shape) > 1 else 2.0 * g for g in grads]
        return super().apply(doubled, trainable_variables)


def shallow():
    """A network with each of the layers that the loop computes in its own way."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((12, 12, 3)),
            layers.Conv2D(6, 3, use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.DepthwiseConv2D(3, use_bias=False),
            layers.BatchNormalization(trainable=False),
            layers.ReLU(6.0),
            layers.Conv2D(8, 1, use_bias=False),
            layers.BatchNormalization(scale=False),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES),
        ]
    )


def batches(shape, *, low, high):
    """Random images around a mean that depends on the label, as one pass of twenty batches."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, (STEPS, BATCH)).astype("int32")
    images = rng.uniform(low, high, (STEPS, BATCH, *shape)) * (
        1 - 0.3 * labels[..., None, None, None]
    )
    return tf.data.Dataset.from_tensor_slices((images.astype("float32"), labels))


def largest_difference(model, examples, *, learning_rate):
    """Trains copies of a model in both ways.

    Returns:
        The largest difference of a weight between the two ways, and between before and after the
        training, both as parts of the largest value of its tensor.
    """
    before = [weight.numpy() for weight in model.weights]
    recipe = Recipe(STEPS, BATCH, learning_rate, optimizer="sgd", schedule="cosine")
    fused = surgery.fuse({"one": model})
    streams = Streams(endless(examples), lambda _: examples.take(1), STRATEGY)
    train_networks(fused, recipe, streams, Schedule(STEPS, STEPS))
    ours = surgery.extract(fused, "one")

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(CaffeSGD(recipe.make_schedule(), momentum=0.9), loss)
    model.fit(examples, verbose=0, shuffle=False)

    def relative(values):
        """Compares with the weights by `fit`, each tensor by its largest value."""
        theirs = [weight.numpy() for weight in model.weights]
        return [
            np.abs(a - b).max() / (np.abs(b).max() or 1)
            for a, b in zip(values, theirs, strict=True)
        ]

    return max(relative([weight.numpy() for weight in ours.weights])), max(relative(before))


def test_shallow_network():
    keras.utils.set_random_seed(0)
    examples = batches((12, 12, 3), low=-1, high=2)
    difference, moved = largest_difference(shallow(), examples, learning_rate=0.01)
    assert difference <= SHALLOW
    assert moved > 0.1


@pytest.mark.slow
@pytest.mark.skipif(not DONOR.exists(), reason=f"needs {DONOR.name}")
def test_pretrained_network():
    donor = surgery.logits(keras.models.load_model(DONOR))
    network = surgery.swap_head(donor, CLASSES, seed=0)
    examples = batches(donor.input.shape[1:], low=0, high=255)
    difference, moved = largest_difference(network, examples, learning_rate=3e-4)
    assert difference <= DEEP
    assert moved > 0.1
