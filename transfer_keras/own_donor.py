"""A trained network of the person's own, or of keras.applications, in the place of base A.

It is brought into the form of the networks that are made here: pixel values in 0..255 in, logits
out, every layer a layer of one graph.
"""

import dataclasses
import functools
import math
import pathlib
import re
from collections.abc import Sequence

import keras
import numpy as np

from transfer_keras import devices, donors, surgery
from transfer_keras.errors import UserError
from transfer_keras.networks.tables import Measured, Named, Size
from transfer_keras.settings import APPLICATIONS, IMAGENET, NO_WEIGHTS, PIXELS, Experiment
from transfer_keras.surgery import graph

_SCALES = dict(zip(PIXELS, ((1.0, 0.0), (1 / 255, 0.0), (1 / 127.5, -1.0)), strict=True))
_NORMALISING = (keras.layers.Rescaling, keras.layers.Normalization)
_OUTPUTS = 2  # Of a head that is put on a network without one, and replaced by each task's.


def resolve_all(experiments: Sequence[Experiment], *, train_here: bool) -> tuple[Experiment, ...]:
    """`resolve`, as the first thing that a program does with TensorFlow.

    Args:
        experiments: of one study.
        train_here: whether this process will train: its devices are chosen before they are used.
    """
    if experiments[0].donor:
        if train_here:
            devices.use(experiments[0])
        else:
            devices.hide_gpus()
    return tuple(map(resolve, experiments))


def resolve(experiment: Experiment) -> Experiment:
    """The experiment with what only its donor tells: size of images, units and their sizes.

    Args:
        experiment: one without a donor comes back as it is.

    Raises:
        UserError: if the donor cannot be used, or has too few units for what is asked.
    """
    if not experiment.donor:
        return experiment
    model = network(experiment)
    parts, ends = counted(experiment)
    below = [0, *ends]
    sizes = _sizes(model)
    table = Measured(
        units=tuple(Named(part.name) for part in parts),
        cuts=tuple(ends),
        given_sizes=tuple(
            Size(*map(sum, zip(*sizes[low:high], strict=True)))
            for low, high in zip(below, ends, strict=False)
        ),
        image_size=model.input_shape[1],
    )
    return dataclasses.replace(experiment, table=table, image_size=table.image_size)


def network(experiment: Experiment) -> keras.Model:
    """The donor: float32 (batch, image_size, image_size, 3) of pixel values in 0..255 -> logits;
    the same one each time, which is not to be changed.

    Raises:
        UserError: if it cannot be had, or is no network for pictures.
    """
    return _opened(
        experiment.donor,
        tuple(experiment.identity[name] for name in ("donor", "donor_weights")),
        experiment.donor_weights,
        experiment.donor_pixels,
        experiment.image_size,
    )


def counted(experiment: Experiment) -> tuple[surgery.Units, list[int]]:
    """What n counts: the donor's units or blocks, and how many of its units lie below the end of
    each."""
    model = network(experiment)
    every = surgery.units(model)
    if experiment.units == "unit":
        return every, [unit.index for unit in every]
    blocks = surgery.units(model, blocks=surgery.block_names(model))
    last = {id(unit.layers[-1]): unit.index for unit in every}
    return blocks, [last[id(block.layers[-1])] for block in blocks]


def listing(experiment: Experiment) -> str:
    """A table of what n counts, from which a person can choose."""
    parts, _ = counted(experiment)
    model = network(experiment)
    norms = sum(isinstance(x, keras.layers.BatchNormalization) for x in model.layers)
    size = model.input_shape[1]
    lines = [
        f"{experiment.network}: {len(parts)} {experiment.units}s, pictures of {size} x {size} "
        f"pixels, {norms} BatchNorm layers",
        str(parts),
    ]
    if norms:
        lines.append(batch_norm(experiment))
    top = len(parts) - 1
    lines.append(f"Choose n from 1 to {top}; unit {top + 1} is always new.")
    return "\n".join(lines)


def batch_norm(experiment: Experiment) -> str:
    """A line that says what becomes of BatchNorm."""
    chosen = experiment.batch_norm
    words = {
        None: "frozen units keep theirs in inference mode, fine-tuned ones train it",
        "frozen": "all transferred units keep theirs in inference mode",
        "statistics_frozen": "transferred units keep their statistics and train scale and shift",
        "train": "all transferred units train theirs",
    }
    return (
        f"BatchNorm (--batch_norm={chosen or 'by mode'}): {words[chosen]}; its averages reach "
        "back over a tenth of the training at the most."
    )


@functools.lru_cache(2)
def _opened(
    donor: str, identity: tuple[str, str], weights: str, pixels: str | None, image_size: int | None
) -> keras.Model:
    """See `network`; `identity` is that of the donor's content."""
    if donor.startswith(APPLICATIONS):
        model, scaling = _application(donor, weights, image_size)
        scaling = pixels or scaling
    else:
        model, scaling = _file(donor), pixels
    try:
        return _prepared(model, f"--donor={donor}", scaling, image_size)
    except surgery.SurgeryError as error:
        raise UserError(f"--donor={donor}: {error}") from error


def _file(donor: str) -> keras.Model:
    return donors.opened(
        pathlib.Path(donor),
        "Expected a .keras file of a functional or Sequential model without Lambda layers, whose "
        "own classes are registered",
    )


def _application(donor: str, weights: str, image_size: int | None) -> tuple[keras.Model, str]:
    """A network of keras.applications without its classifier, and the module that has its
    preprocessing."""
    name = donor.removeprefix(APPLICATIONS)
    make = getattr(keras.applications, name, None)
    if not callable(make):
        known = [n for n, value in vars(keras.applications).items() if callable(value)]
        raise UserError(f"--donor={donor}: not there. Expected one of {', '.join(sorted(known))}.")
    size = image_size or make(weights=None).input_shape[1]
    given = IMAGENET if weights == IMAGENET else None
    try:
        model = make(include_top=False, pooling="avg", weights=given, input_shape=(size, size, 3))
        if weights == NO_WEIGHTS:
            model, _ = surgery.transplant(model, 0, seed=0)  # The same untrained one each time.
        elif weights != IMAGENET:
            model.load_weights(weights)
    except (ValueError, OSError, KeyError) as error:
        raise UserError(
            f"--donor={donor}: {_one_line(error)} (--image_size={size}, --donor_weights={weights}; "
            "weights are those without the classifier, `include_top=False`)"
        ) from error
    except Exception as error:  # Keras raises no other kind where a download fails.
        url = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if not url:
            raise
        raise UserError(
            f"--donor_weights={weights}: {url[1]} could not be downloaded. Fetch it elsewhere and "
            f"put it into ~/.keras/models, or give its path: --donor_weights=PATH. With "
            f"--donor_weights={NO_WEIGHTS} the donor is untrained."
        ) from error
    return model, make.__module__.rpartition(".")[2]


def _prepared(
    model: keras.Model, what: str, scaling: str | None, image_size: int | None
) -> keras.Model:
    """The model on pixel values in 0..255, with logits for its output."""
    side, channels, dtype = _input(model, what, image_size)
    if scaling is None:
        first = surgery.units(surgery.flatten(model))[0]
        if not any(isinstance(layer, _NORMALISING) for layer in first.layers):
            raise UserError(
                f"{what}: does not say what pixels it takes: no Rescaling or Normalization layer "
                f"is at its input. Give --donor_pixels={', '.join(PIXELS)}, or the module of "
                "keras.applications whose preprocessing it needs, as mobilenet_v2."
            )
        scaling = PIXELS[0]
    inputs = keras.Input((side, side, 3), name="image")
    x = _scaled(inputs, scaling, channels)
    if dtype != x.dtype:
        x = keras.ops.cast(x, dtype)
    return surgery.logits(_with_head(surgery.flatten(model, inputs=x)))


def _input(model: keras.Model, what: str, image_size: int | None) -> tuple[int, int, str]:
    """(side, channels, dtype) of the pictures that it takes."""
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise UserError(
            f"{what}: takes {shapes or 'no known input'}. Expected pictures of the shape (batch, "
            "side, side, channels), of 1 or 3 channels."
        )
    if len(model.outputs) != 1:
        raise UserError(f"{what}: has {len(model.outputs)} outputs. Expected one.")
    _, height, width, channels = shapes[0]
    if height != width:
        raise UserError(f"{what}: takes pictures of {height} x {width}. Expected squares.")
    if height is None and image_size is None:
        raise UserError(f"{what}: takes pictures of any size. Give --image_size, in pixels.")
    if height and image_size and height != image_size:
        raise UserError(
            f"--image_size={image_size}: {what.lstrip('-')} takes {height} pixels. Leave "
            "--image_size out."
        )
    return height or image_size, channels, model.inputs[0].dtype


def _scaled(x: keras.KerasTensor, scaling: str, channels: int) -> keras.KerasTensor:
    """Pixel values in 0..255 as a donor takes them."""
    if scaling in _SCALES:
        (scale, offset), flipped = _SCALES[scaling], False
    else:
        scale, offset, flipped = _of_application(scaling)
    if channels == 1:
        if flipped or np.ndim(scale):
            raise UserError(f"--donor_pixels={scaling}: is for colours; the donor takes greys.")
        x = keras.ops.image.rgb_to_grayscale(x)
    if flipped:
        x = keras.ops.flip(x, axis=-1)
    if np.any(np.not_equal(scale, 1)) or np.any(offset):
        x = keras.layers.Rescaling(scale, offset, name="pixels")(x)
    return x


def _of_application(name: str) -> tuple[list[float], list[float], bool]:
    """(scale and offset of each channel, whether colours come as BGR) of the preprocessing of a
    module of keras.applications, found by asking it: all of them are affine."""
    preprocess = getattr(getattr(keras.applications, name, None), "preprocess_input", None)
    if not preprocess:
        raise UserError(
            f"--donor_pixels={name}: expected {', '.join(PIXELS)}, or a module of "
            "keras.applications, as mobilenet_v2."
        )
    black, *colours = preprocess(np.float32([[[[0, 0, 0]]], *(255 * np.eye(3))[:, None, None]]))
    matrix = np.stack([(colour - black)[0, 0] / 255 for colour in colours])
    flipped = not matrix[0, 0]
    scale = np.diag(matrix[:, ::-1] if flipped else matrix)
    return scale.tolist(), black[0, 0].tolist(), flipped


def _with_head(model: keras.Model) -> keras.Model:
    """The same network, with a classifier put on it where it ends in features."""
    if _has_head(model):
        return model
    x = model.output
    if len(x.shape) == 4:
        x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    elif len(x.shape) > 2:
        x = keras.layers.Flatten(name="head_flatten")(x)
    init = keras.initializers.GlorotUniform(seed=0)
    x = keras.layers.Dense(_OUTPUTS, kernel_initializer=init, name="head")(x)
    return keras.Model(model.input, x, name=model.name)


def _has_head(model: keras.Model) -> bool:
    """Whether its last kernel gives scores of classes: nothing that is not linear comes after it,
    but what makes probabilities of them."""
    layers = [node.operation for node in graph.nodes(model)]
    last = max(
        place
        for place, layer in enumerate(layers)
        if isinstance(layer, keras.layers.Layer) and any(len(w.shape) > 1 for w in layer.weights)
    )
    linear = {"linear", "softmax", "sigmoid"}
    bends = [
        keras.activations.serialize(layer.activation)
        for layer in layers[last:]
        if hasattr(layer, "activation")
    ]
    plain = (keras.layers.Dense, keras.layers.Conv2D)
    after = (
        keras.layers.Flatten, keras.layers.Reshape, keras.layers.Dropout, keras.layers.Activation,
        keras.layers.Softmax, keras.layers.GlobalAveragePooling2D,
    )  # fmt: skip
    return (
        len(model.output.shape) == 2
        and isinstance(layers[last], plain)
        and all(bend in linear for bend in bends)
        and all(isinstance(layer, after) for layer in layers[last + 1 :])
    )


def _sizes(model: keras.Model) -> list[Size]:
    """Of each unit."""
    calls: dict[int, list] = {}
    for node in graph.nodes(model):
        calls.setdefault(id(node.operation), []).append(node.output_tensors[0])
    sizes = []
    for unit in surgery.units(model):
        values = macs = 0
        for layer in unit.layers:
            for output in calls.get(id(layer), ()):
                values += math.prod(output.shape[1:])
                kernels = sum(math.prod(w.shape) for w in layer.weights if len(w.shape) > 1)
                macs += kernels * math.prod(output.shape[1:-1])
        sizes.append(Size(unit.parameters, values, macs))
    return sizes


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
