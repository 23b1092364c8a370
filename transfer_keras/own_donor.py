"""A trained network of the person's own, or of keras.applications, in the place of base A.

It is brought into the form of the networks that are made here: pixel values in 0..255 in, logits
out, every layer a layer of one graph.
"""

import dataclasses
import functools
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import NamedTuple

import h5py
import keras

import transfer_keras.networks.alexnet  # noqa: F401  Its layers may be a donor's.
from transfer_keras import devices, donor_head, donor_pixels, donors, surgery
from transfer_keras.config import (
    APPLICATIONS,
    IMAGENET,
    NO_WEIGHTS,
    PIXELS,
    Experiment,
    NamedUnit,
    PretrainedArchitecture,
    UnitSize,
    UserError,
)
from transfer_keras.surgery import cut, graph
from transfer_keras.surgery.units import has_kernel

_SIDE = 224  # Of the networks of keras.applications that take any.
_HDF5 = b"\x89HDF\r\n\x1a\n"  # How such files begin.


class _Opened(NamedTuple):
    """A donor, and whether a head was put on its features."""

    model: keras.Model
    new_head: bool


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
    there = tuple(possible(experiment))
    if not there:
        raise UserError(
            f"--donor={experiment.donor}: cannot be cut at any n: its layers are used again above."
        )
    below = [0, *ends]
    sizes = _sizes(model)
    table = PretrainedArchitecture(
        units=tuple(NamedUnit(part.name) for part in parts),
        cuts=tuple(ends),
        given_sizes=tuple(
            UnitSize(*map(sum, zip(*sizes[low:high], strict=True)))
            for low, high in zip(below, ends, strict=False)
        ),
        image_size=model.input_shape[1],
        possible=there,
        restless=_restless(parts),
    )
    return dataclasses.replace(experiment, table=table, image_size=table.image_size)


def network(experiment: Experiment) -> keras.Model:
    """The donor: float32 (batch, image_size, image_size, 3) of pixel values in 0..255 -> logits;
    the same one each time, which is not to be changed.

    Raises:
        UserError: if it cannot be had, or is no network for pictures.
    """
    return _of(experiment).model


def _of(experiment: Experiment) -> "_Opened":
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
    blocks = every
    if experiment.units == "block":
        blocks = surgery.units(model, blocks=surgery.block_names(model))
    if len(blocks) < 2:
        raise UserError(
            f"--donor={experiment.donor}: has a single {experiment.units}; at least two are "
            "needed: one to take, and one that is new."
        )
    last = {id(unit.layers[-1]): unit.index for unit in every}
    return blocks, [last[id(block.layers[-1])] for block in blocks]


def possible(experiment: Experiment) -> list[int]:
    """The n at which the donor can be cut: no layer is used below and above."""
    every = surgery.units(network(experiment))
    _, ends = counted(experiment)
    return [n for n, end in enumerate(ends[:-1], 1) if not cut.used_on_both_sides(every, end)]


def _restless(parts: surgery.Units) -> tuple[str, int] | None:
    """See `Measured`."""
    for unit in parts:
        for layer in (inner for x in unit.layers for inner in graph.flat_layers(x)):
            if isinstance(layer, keras.layers.SpectralNormalization):
                return layer.name, unit.index
    return None


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
    if _of(experiment).new_head:
        lines.append("It ends in features; a new head is put on them, which is the last unit.")
    kinds = sorted({layer.compute_dtype for layer in model.layers} - {"float32"})
    if kinds:
        lines.append(f"Computed in {', '.join(kinds)}, as it was trained.")
    if norms:
        lines.append(batch_norm(experiment))
    top = len(parts) - 1
    there = possible(experiment)
    places = f"from 1 to {top}"
    if len(there) < top:
        places = (
            f"of {', '.join(map(str, there)) or 'none'} (at others a layer is used on both sides)"
        )
    lines.append(f"Choose n {places}; unit {top + 1} is always new.")
    if restless := _restless(parts):
        lines.append(
            f"Unit {restless[1]} can only be fine-tuned: '{restless[0]}' (SpectralNormalization) "
            "moves its weights even where it is frozen."
        )
    return "\n".join(lines)


def batch_norm(experiment: Experiment) -> str:
    """A line that says what becomes of BatchNorm."""
    chosen = experiment.batch_norm
    if not any(isinstance(x, keras.layers.BatchNormalization) for x in network(experiment).layers):
        return "BatchNorm: the donor has none."
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
) -> _Opened:
    """See `network`; `identity` is that of the donor's content."""
    if donor.startswith(APPLICATIONS):
        model, scaling = _application(donor, weights, image_size)
    else:
        model, scaling = _file(donor), None
    try:
        return _prepared(model, f"--donor={donor}", pixels, scaling, image_size)
    except surgery.SurgeryError as error:
        raise UserError(f"--donor={donor}: {error}") from error


def _file(donor: str) -> keras.Model:
    path = pathlib.Path(donor)
    with path.open("rb") as file:
        older = file.read(len(_HDF5)) == _HDF5
    if older and _holds_network(path):
        raise UserError(
            f"--donor={donor}: is of Keras's older format (HDF5). Convert it: "
            f"keras.models.load_model('{path.name}').save('{path.stem}.keras')."
        )
    if older:
        raise UserError(
            f"--donor={donor}: holds weights (HDF5) and no network. If they are of one of "
            f"keras.applications: --donor={APPLICATIONS}NAME --donor_weights={donor}."
        )
    return donors.opened(
        path, "Expected a .keras file of a functional or Sequential model without Lambda layers"
    )


def _holds_network(path: pathlib.Path) -> bool:
    try:
        with h5py.File(path) as file:
            return "model_config" in file.attrs
    except OSError:  # Damaged.
        return not path.name.endswith(".weights.h5")


def _application(donor: str, weights: str, image_size: int | None) -> tuple[keras.Model, str]:
    """A network of keras.applications without its classifier, and the module that has its
    preprocessing."""
    name = donor.removeprefix(APPLICATIONS)
    make = getattr(keras.applications, name, None)
    if not callable(make):
        known = [n for n, value in vars(keras.applications).items() if callable(value)]
        raise UserError(f"--donor={donor}: not there. Expected one of {', '.join(sorted(known))}.")
    size = image_size or make(weights=None).input_shape[1] or _SIDE
    given = IMAGENET if weights == IMAGENET else None
    try:
        model = make(include_top=False, pooling="avg", weights=given, input_shape=(size, size, 3))
        if weights == NO_WEIGHTS:
            model, _ = surgery.transplant(model, 0, seed=0)  # The same untrained one each time.
        elif weights != IMAGENET:
            model.load_weights(weights)
    except donors.UNUSABLE as error:
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
            f"put it into {os.environ.get('KERAS_HOME', '~/.keras')}/models, or give its path: "
            "--donor_weights=PATH. With "
            f"--donor_weights={NO_WEIGHTS} the donor is untrained."
        ) from error
    return model, make.__module__.rpartition(".")[2]


def _prepared(
    model: keras.Model, what: str, pixels: str | None, scaling: str | None, image_size: int | None
) -> _Opened:
    """The model on pixel values in 0..255, with logits for its output; `pixels` was asked for,
    `scaling` is what it is known to take."""
    side, channels, dtype = _input(model, what, image_size)
    if not isinstance(model, keras.Sequential) and not hasattr(model.output, "shape"):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)

    def on_pixels(scaling):
        image = keras.Input((side, side, 3), name="image")
        return surgery.flatten(model, inputs=donor_pixels.scaled(image, scaling, channels, dtype))

    _check_weights(model, what)
    _without_float16(model)
    if pixels is None and scaling is None:
        _check_scales(donor_pixels.seen(on_pixels(PIXELS[0])), what)
    elif pixels and not donor_pixels.is_as_it_is(pixels):
        itself = donor_pixels.seen(on_pixels(PIXELS[0]))
        if itself.scaled:
            raise UserError(
                f"--donor_pixels={pixels}: {what} scales pixels itself (layer {itself.by}). Leave "
                "--donor_pixels out."
            )
    model, new_head = donor_head.with_logits(on_pixels(pixels or scaling or PIXELS[0]))
    return _Opened(model, new_head)


def _check_weights(model: keras.Model, what: str) -> None:
    if not has_kernel(model):
        raise UserError(
            f"{what}: has no weight of rank 2 or more, so no unit that could be transferred."
        )
    broken = [
        layer.name
        for layer in graph.flat_layers(model)
        if not isinstance(layer, keras.Model) and any(map(_is_broken, layer.weights))
    ]
    if broken:
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise UserError(
            f"{what}: has weights that are infinite or no numbers, in {', '.join(broken[:5])}"
            f"{more}. Expected a network as it was before its training diverged."
        )


def _is_broken(weight) -> bool:
    if not keras.backend.is_float_dtype(weight.dtype):
        return False
    return not bool(keras.ops.all(keras.ops.isfinite(weight)))


def _without_float16(model: keras.Model) -> None:
    """Computed in float16 it could not be trained further: its losses would have to be scaled."""
    for layer in graph.flat_layers(model):
        if layer.compute_dtype == "float16":
            layer.dtype_policy = "float32"


def _check_scales(itself: donor_pixels.Seen, what: str) -> None:
    if not itself.scaled:
        raise UserError(
            f"{what}: does not say what pixels it takes: no layer at its input scales them, as "
            f"Rescaling or Normalization would; it makes {itself.low:.3g} to {itself.high:.3g} of "
            f"0..255. Give --donor_pixels={', '.join(PIXELS)}, or the module of "
            "keras.applications whose preprocessing it needs, as mobilenet_v2."
        )


def _input(model: keras.Model, what: str, image_size: int | None) -> tuple[int, int, str]:
    """(side, channels, dtype) of the pictures that it takes."""
    if isinstance(model, keras.Sequential) and not getattr(model, "inputs", None):
        raise UserError(
            f"{what}: was saved before it was built: give it keras.Input(...) or call it on data, "
            "and save it again."
        )
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
            f"--image_size={image_size}: {what} takes {height} pixels. Leave --image_size out."
        )
    return height or image_size, channels, model.inputs[0].dtype


def _sizes(model: keras.Model) -> list[UnitSize]:
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
        sizes.append(UnitSize(unit.parameters, values, macs))
    return sizes


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
