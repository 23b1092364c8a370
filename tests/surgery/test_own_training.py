"""A class that trains in its own way is kept, or refused; never lost without a word."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, same

from transfer_keras import surgery


@keras.saving.register_keras_serializable(package="tests")
class Doubled(keras.Model):
    """Has twice the loss that it is compiled with."""

    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


class Extended(Doubled):
    """Cannot be made again from inputs and outputs alone."""

    def __init__(self, inputs, outputs, factor, **kwargs):
        super().__init__(inputs, outputs, **kwargs)
        self.factor = factor


class OwnSequential(keras.Sequential):
    """Has its own loss."""

    def compute_loss(self, *args, **kwargs):
        return 2 * super().compute_loss(*args, **kwargs)


def network(kind=Doubled, *extra):
    inputs = keras.Input((4,))
    x = LAYERS.Dense(5, "relu", name="one")(inputs)
    return kind(inputs, LAYERS.Dense(3, name="two")(x), *extra, name="donor")


def loss(model):
    """Computes the mean squared error with which Keras reports a batch, of the model's class."""
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(6, 4)).astype("float32")
    own = model.evaluate(x, np.zeros((6, *model.output.shape[1:])), verbose=0, batch_size=6)
    mean_square = np.mean(np.square(keras.ops.convert_to_numpy(model(x))))
    return own / mean_square


@pytest.mark.parametrize(
    "operate",
    [
        lambda m: surgery.transplant(m, 1, seed=0).model,
        lambda m: surgery.transplant(m, 1, head=2, seed=0, mode="fine_tune").model,
        lambda m: surgery.swap_head(m, 2, seed=0),
        surgery.logits,
        surgery.flatten,
        surgery.merge_lora,
    ],
    ids=["transplant", "head", "swap_head", "logits", "flatten", "merge_lora"],
)
def test_the_class_is_kept(operate):
    model = operate(network())
    assert type(model) is Doubled
    assert loss(model) == pytest.approx(2, rel=1e-5)
    assert loss(operate(network(keras.Model))) == pytest.approx(1, rel=1e-5)
    with pytest.raises(surgery.NotRebuildable, match=r"Extended.*own `compute_loss`.*plain model"):
        operate(network(Extended, 3))


def test_a_sequential_of_its_own():
    model = OwnSequential([keras.Input((4,)), LAYERS.Dense(3, name="one")], name="own")
    with pytest.raises(surgery.NotRebuildable, match=r"'own' \(OwnSequential\) has its own"):
        surgery.transplant(model, 1, seed=0)
    assert [unit.name for unit in surgery.units(model)] == ["one"]


def test_the_way_out_that_the_message_names():
    model = network(Extended, 3)
    plain = keras.Model(model.inputs, model.outputs)
    copy, _ = surgery.transplant(plain, 2, seed=0)
    x = np.ones((2, 4), "float32")
    assert same(copy(x), model(x))


def test_fused_networks_train_all_in_one():
    with pytest.raises(surgery.NotRebuildable, match="'a': the network trains in its own way"):
        surgery.fuse({"a": network(), "b": network(keras.Model)})
