"""The message of each error. `messages.txt` holds their text; a change of it is a decision.

Write it anew with `python tests/surgery/test_messages.py` and read the difference.
"""

import pathlib
import re
import tempfile

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, make_donor

from transfer_keras import surgery
from transfer_keras.surgery import errors

EXPECTED = pathlib.Path(__file__).with_name("messages.txt")


class NoConfig(LAYERS.Layer):
    def __init__(self, width):
        super().__init__(name="odd")
        self.width = width

    def build(self, shape):
        self.w = self.add_weight(shape=(shape[-1], self.width))

    def call(self, x):
        return keras.ops.matmul(x, self.w)


def dense(*names, **arguments):
    inputs = keras.Input((4,))
    x = inputs
    for name in names:
        x = LAYERS.Dense(4, name=name, **arguments)(x)
    return keras.Model(inputs, x, name="donor")


def both_sides():
    inputs = keras.Input((4,))
    shared = LAYERS.Dense(4, name="shared")
    x = LAYERS.Dense(4, name="between")(shared(inputs))
    surgery.transplant(keras.Model(inputs, shared(x), name="donor"), 1, seed=0)


def no_config():
    inputs = keras.Input((4,))
    model = keras.Model(inputs, LAYERS.Dense(2, name="b")(NoConfig(3)(inputs)), name="donor")
    surgery.transplant(model, 1, seed=0)


def moved():
    model, _ = surgery.transplant(make_donor(), 1, seed=0)
    before = surgery.snapshot(model)
    model.get_layer("one").bias.assign(np.ones(4))
    surgery.assert_unchanged(model, before)


def stale():
    model, _ = surgery.transplant(make_donor(), 1, seed=0)
    model.compile("sgd", "mse")
    data = np.zeros((1, 12, 12, 3)), np.zeros((1, 5))
    model.fit(*data, verbose=0)
    surgery.set_trainable([model.get_layer("four")], False)
    model.fit(*data, verbose=0, callbacks=[surgery.FrozenGuard()])


def twice_with_one_seed():
    first, _ = surgery.transplant(dense("a", "b"), 1, seed=0)
    surgery.transplant(first, 1, seed=0)


def two_of_one_name():
    def inner(name):
        inputs = keras.Input((4,))
        return keras.Model(inputs, NoConfig(4)(inputs), name=name)

    inputs = keras.Input((4,))
    surgery.flatten(keras.Model(inputs, inner("right")(inner("left")(inputs))))


def two_uses():
    model = dense("a", "b", activation="softmax")
    outputs = [model.output, model.layers[1](model.output)]
    surgery.logits(keras.Model(model.input, outputs, name="donor"))


def unreadable(path):
    try:
        surgery.load(path)
    except surgery.UnreadableFile as error:
        text = str(error).replace(str(EXPECTED.parent), "folder")
        raise surgery.UnreadableFile(text) from error


def too_large():
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "m.keras"
        make_donor().save(path)
        try:
            surgery.load(path, most_bytes=1000)
        except surgery.TooLarge as error:
            # The file's size differs by a few bytes each time.
            text = str(error).replace(folder, "folder")
            error.args = (re.sub(r"take [\d.]+ KiB", "take 56 KiB", text),)
            raise


def features():
    inputs = keras.Input((8, 8, 3))
    x = LAYERS.BatchNormalization(name="bn")(LAYERS.Conv2D(4, 3, name="conv")(inputs))
    surgery.swap_head(keras.Model(inputs, x, name="donor"), 5, seed=0)


def branches():
    inputs = keras.Input((4,))
    x = LAYERS.Add(name="sum")([LAYERS.Dense(1, name=name)(inputs) for name in ("wide", "deep")])
    surgery.swap_head(keras.Model(inputs, x, name="donor"), 5, seed=0)


def quantised():
    model = keras.Sequential([keras.Input((4,)), LAYERS.Dense(4, name="a")], name="donor")
    model.get_layer("a").quantize("int8")
    surgery.draw_like(model, seed=0)


CASES = {
    "NotACutPoint": lambda: surgery.transplant(dense("a", "b"), 3, seed=0),
    "NotACutPoint, name": lambda: surgery.lower(dense("a", "b"), "c"),
    "SharedAcrossCut": both_sides,
    "ShapeMismatch": lambda: surgery.transplant(dense("a", "b"), 2, head=7, seed=0),
    "ShapeMismatch, inputs": lambda: surgery.fuse({"x": dense("a"), "y": make_donor()}),
    "ShapeMismatch, below": lambda: surgery.flatten(dense("a", "b"), inputs=keras.Input((3,))),
    "NotRebuildable": no_config,
    "NotRebuildable, subclass": lambda: surgery.units(type("Plain", (keras.Model,), {})(name="p")),
    "NotRebuildable, names": two_of_one_name,
    "NotRebuildable, probabilities": two_uses,
    "NotFresh": twice_with_one_seed,
    "NotRebuildable, function": lambda: surgery.logits(dense("a", activation="hard_sigmoid")),
    "NotRebuildable, features": features,
    "NotRebuildable, branches": branches,
    "NotRebuildable, softmax of one": lambda: surgery.swap_head(
        dense("a", activation="softmax"), 1, seed=0
    ),
    "NotRebuildable, quantised": quantised,
    "UnknownLayer": lambda: surgery.outputs(dense("first", "last"), ["frist"]),
    "UnmatchedLayer": lambda: surgery.units(dense("a", "b"), blocks="a"),
    "NotRebuildable, no model": lambda: surgery.units("network.keras"),
    "NotRebuildable, unbuilt": lambda: surgery.units(keras.Sequential(name="donor")),
    "UnreadableFile": lambda: unreadable(EXPECTED),
    "TooLarge": too_large,
    "UnreadableFile, folder": lambda: unreadable(EXPECTED.parent),
    "FrozenWeightChanged": moved,
    "StaleFlags": stale,
}


def message(case) -> str:
    with pytest.raises(surgery.SurgeryError) as error:
        CASES[case]()
    assert type(error.value).__name__ == case.split(",")[0]
    return str(error.value)


def text() -> str:
    return "".join(f"{case}\n    {message(case)}\n\n" for case in CASES)


def test_messages():
    assert text() == EXPECTED.read_text()


def test_every_error_has_its_message_here():
    named = {case.split(",")[0] for case in CASES}
    own = {
        name
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.SurgeryError)
    }
    assert named == own - {"SurgeryError"}
    assert own <= set(surgery.__all__)


if __name__ == "__main__":
    EXPECTED.write_text(text())
