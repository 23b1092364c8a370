"""The formats that a network is exported to: how a file is written, and how it is run."""

import importlib.util
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError, choices, first_few, one_line

# Pictures, float32 (1, height, width, 3) -> probabilities (1, classes).
Runner = Callable[[np.ndarray], np.ndarray]


class Format(NamedTuple):
    """A format.

    Attributes:
        suffix: of its files.
        packages: modules that it needs.
        keras_name: as `keras.Model.export` has it.
        open: gives what runs a file.
    """

    suffix: str
    packages: Sequence[str]
    keras_name: str
    open: Callable[[pathlib.Path], Runner]


def _open_saved_model(path: pathlib.Path) -> Runner:
    loaded = tf.saved_model.load(str(path))
    return lambda images: loaded.serve(images).numpy()


def _open_litert(path: pathlib.Path) -> Runner:
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    (given,), (output,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        return interpreter.get_tensor(output["index"])

    return run


def _open_onnx(path: pathlib.Path) -> Runner:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    given, *others = session.get_inputs()
    if others:  # What is no variable and no constant of the graph becomes an input.
        names = first_few([other.name for other in others], 3)
        raise UserError(
            f"--format={choices.ONNX}: the converter makes inputs of {names}, beside the pictures. "
            "Leave this format out."
        )
    return lambda images: session.run(None, {given.name: images})[0]


FORMATS = {
    choices.SAVED_MODEL: Format("_saved_model", (), "tf_saved_model", _open_saved_model),
    choices.LITERT: Format(".tflite", ("ai_edge_litert",), "litert", _open_litert),
    choices.ONNX: Format(".onnx", ("onnx", "tf2onnx", "onnxruntime"), "onnx", _open_onnx),
}
INT8 = "litert, int8"  # Beside them: a LiteRT file whose weights and activations are integers.


def check_packages(names: Sequence[str]) -> None:
    """Checks that what formats need is installed.

    Raises:
        UserError: if it is not.
    """
    for name in names:
        for package in FORMATS[name].packages:
            if importlib.util.find_spec(package) is None:
                raise UserError(
                    f"--format={name}: needs the package {package.replace('_', '-')}. Install it: "
                    "pip install 'transfer_keras[export]'"
                )


def write_format(
    model: keras.Model, name: str, path: pathlib.Path, examples: Sequence[np.ndarray] | None = None
) -> Runner:
    """Writes a network in a format, and opens what was written.

    Args:
        model: its input is (batch, height, width, 3).
        name: a key of `FORMATS`.
        path: of the file, or of the folder of a SavedModel, which is not there.
        examples: with the format "litert": pictures, float32 (1, height, width, 3), by whose
            activations the ranges of 8-bit integers are chosen; None: all stays in float32.

    Raises:
        UserError: if the network cannot be written so.
    """
    kind, options = FORMATS[name], {}
    if examples is not None:

        def representative() -> Iterator[list[np.ndarray]]:
            yield from ([image] for image in examples)

        options = {
            "optimizations": [tf.lite.Optimize.DEFAULT],
            "representative_dataset": representative,
        }
    if name == choices.ONNX:
        model = _without_normalization(model)
    try:
        model.export(path, format=kind.keras_name, verbose=False, **options)
    except Exception as error:  # Converters raise what they like.
        raise UserError(
            f"--format={name}: the network cannot be written so ({one_line(error, 200)})"
        ) from error
    return kind.open(path)


def size_of(path: pathlib.Path) -> int:
    """Counts the bytes of a file, or of all files in a folder."""
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())


def _without_normalization(model: keras.Model) -> keras.Model:
    """Copies a network with its `Normalization` layers written as `Rescaling`.

    The mean and variance of a `Normalization` are tensors and no variables (Keras 3.15), of which
    tf2onnx makes inputs of the graph.
    """
    if not any(isinstance(layer, keras.layers.Normalization) for layer in model.layers):
        return model

    def copy(layer: keras.layers.Layer) -> keras.layers.Layer:
        if not isinstance(layer, keras.layers.Normalization):
            return layer.__class__.from_config(layer.get_config())
        deviation = np.maximum(np.sqrt(layer.variance), keras.config.epsilon())
        return keras.layers.Rescaling(
            (1 / deviation).tolist(),
            (-np.asarray(layer.mean) / deviation).tolist(),
            name=layer.name,
            dtype=layer.dtype_policy,
        )

    copied = keras.models.clone_model(model, clone_function=copy)
    for layer in copied.layers:
        original = model.get_layer(layer.name)
        if not isinstance(original, keras.layers.Normalization):
            layer.set_weights(original.get_weights())
    copied(np.zeros((1, *model.input_shape[1:]), np.float32))  # Else Keras exports nothing.
    return copied
