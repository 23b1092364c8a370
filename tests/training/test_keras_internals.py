"""Private names of Keras stand in one module, and mean what its docstrings say."""

import ast
import pathlib

import keras
import numpy as np
import pytest

from transfer_keras import training
from transfer_keras.training import keras_internals

FILES = sorted(pathlib.Path(training.__file__).parent.rglob("*.py"))
OF_NAMED_TUPLES = {"_asdict", "_fields"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_private_attributes_are_our_own(path):
    private = {
        f"{ast.unparse(node.value)}.{node.attr}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr.startswith("_")
        and not node.attr.startswith("__")
        and ast.unparse(node.value) != "self"
        and node.attr not in OF_NAMED_TUPLES
    }
    assert bool(private) == (path.name == "keras_internals.py"), private


def test_layers_and_variables_of_a_nested_model():
    inner = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), keras.layers.Dropout(0.5)])
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.BatchNormalization()(inner(inputs)))
    layers = keras_internals.all_layers(model)
    kinds = [type(layer).__name__ for layer in layers]
    for kind in ("Functional", "Sequential", "Dense", "Dropout", "BatchNormalization"):
        assert kinds.count(kind) >= 1
    counts = {type(x).__name__: len(keras_internals.own_variables(x)) for x in layers}
    assert (counts["Dense"], counts["Dropout"], counts["BatchNormalization"]) == (2, 0, 4)
    assert counts["Sequential"] == 0


def test_variable_index():
    variables = [keras.Variable(np.ones(k + 1)) for k in range(3)]
    optimizer = keras.optimizers.SGD()
    optimizer.build(variables)
    assert [keras_internals.variable_index(optimizer, v) for v in variables] == [0, 1, 2]
