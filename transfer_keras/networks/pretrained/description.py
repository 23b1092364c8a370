"""What others have to know of a pretrained network: its units, their sizes, where it can be cut."""

import math
from typing import NamedTuple

import keras

from transfer_keras import surgery
from transfer_keras.config import (
    DonorSettings,
    NamedUnit,
    PretrainedArchitecture,
    UnitSize,
    UserError,
    choices,
    first_few,
)
from transfer_keras.networks.pretrained.opening import open_pretrained


class CountedUnits(NamedTuple):
    """What n counts in a donor.

    Attributes:
        units: the donor's units, or blocks of them.
        ends: of each, how many of the donor's own units lie below its end.
        cut_points: the n at which the donor can be cut: no layer is used below and above.
    """

    units: surgery.Units
    ends: list[int]
    cut_points: list[int]


def describe_architecture(donor: DonorSettings, image_size: int | None) -> PretrainedArchitecture:
    """Describes a donor as others have to know it: size of images, units and their sizes.

    Args:
        donor: which, and what n counts in it.
        image_size: see `open_pretrained`.

    Raises:
        UserError: if the donor cannot be used, or has too few units.
    """
    model = open_pretrained(donor, image_size).model
    counted = count_units(donor, image_size)
    if not counted.cut_points:
        raise UserError(f"{donor.what}: cannot be cut at any n: its layers are used again above.")
    sizes = _unit_sizes(model)
    begins = [0, *counted.ends[:-1]]
    return PretrainedArchitecture(
        units=tuple(NamedUnit(unit.name) for unit in counted.units),
        cuts=tuple(counted.ends),
        given_sizes=tuple(
            UnitSize(*map(sum, zip(*sizes[begin:end], strict=True)))
            for begin, end in zip(begins, counted.ends, strict=True)
        ),
        image_size=model.input_shape[1],
        cut_points=tuple(counted.cut_points),
        self_updating=_self_updating(counted.units),
    )


def count_units(donor: DonorSettings, image_size: int | None) -> CountedUnits:
    """Finds what n counts in a donor: its units, or the blocks that its layers' names tell.

    Raises:
        UserError: if there is only one; see also `open_pretrained`.
    """
    model = open_pretrained(donor, image_size).model
    own_units = surgery.units(model)
    units = own_units
    if donor.units == choices.BLOCK:
        units = surgery.units(model, blocks=surgery.block_names(model))
    if len(units) < 2:
        raise UserError(
            f"{donor.what}: has a single {donor.units}; at least two are "
            "needed: one to take, and one that is new."
        )
    index_of_last = {id(unit.layers[-1]): unit.index for unit in own_units}
    ends = [index_of_last[id(unit.layers[-1])] for unit in units]
    cut_points = [
        n for n, end in enumerate(ends[:-1], 1) if not surgery.used_on_both_sides(own_units, end)
    ]
    return CountedUnits(units, ends, cut_points)


def _self_updating(units: surgery.Units) -> tuple[str, int] | None:
    """Finds the first layer that `surgery.transplant` cannot keep still: (name, unit).

    It replaces Keras's own spectral normalisation, but not one that lies inside another layer.
    """
    for unit in units:
        for layer in unit.layers:
            for inner in surgery.flat_layers(layer):
                replaced = inner is layer and type(inner) is keras.layers.SpectralNormalization
                if surgery.moves_while_frozen(inner) and not replaced:
                    return inner.name, unit.index
    return None


def list_units(donor: DonorSettings, image_size: int | None) -> str:
    """Draws a table of what n counts in a donor, from which a person can choose.

    Raises:
        UserError: see `count_units`.
    """
    model, has_new_head = open_pretrained(donor, image_size)
    units, _, cut_points = count_units(donor, image_size)
    norms = sum(isinstance(x, keras.layers.BatchNormalization) for x in model.layers)
    size, top = model.input_shape[1], len(units) - 1
    lines = [
        f"{donor.name}: {len(units)} {donor.units}s, pictures of {size} x {size} "
        f"pixels, {norms} BatchNorm layers",
        str(units),
    ]
    if has_new_head:
        lines.append("It ends in features; a new head is put on them, which is the last unit.")
    dtypes = sorted({layer.compute_dtype for layer in model.layers} - {"float32"})
    if dtypes:
        lines.append(f"Computed in {', '.join(dtypes)}, as it was trained.")
    if norms:
        lines.append(describe_batch_norm(donor, image_size))
    choice = f"from 1 to {top}"
    if len(cut_points) < top:
        listed = ", ".join(map(str, cut_points)) or "none"
        choice = f"of {listed} (at others a layer is used on both sides)"
    lines.append(f"Choose n {choice}; unit {top + 1} is always new.")
    if self_updating := _self_updating(units):
        name, unit = self_updating
        lines.append(
            f"Unit {unit} can only be fine-tuned: '{name}' (SpectralNormalization) "
            "moves its weights even where it is frozen."
        )
    return "\n".join(lines)


_BATCH_NORM = {
    None: "frozen units keep theirs in inference mode, fine-tuned ones train it",
    "frozen": "all transferred units keep theirs in inference mode",
    "statistics_frozen": "transferred units keep their statistics and train scale and shift",
    "train": "all transferred units train theirs",
}


def describe_batch_norm(donor: DonorSettings, image_size: int | None) -> str:
    """Writes a line that says what becomes of a donor's BatchNorm."""
    layers = open_pretrained(donor, image_size).model.layers
    if not any(isinstance(layer, keras.layers.BatchNormalization) for layer in layers):
        return "BatchNorm: the donor has none."
    return (
        f"BatchNorm (--batch_norm={donor.batch_norm or 'by mode'}): "
        f"{_BATCH_NORM[donor.batch_norm]}; its averages reach back over a tenth of the training "
        "at the most."
    )


def describe_frozen(donor: DonorSettings, image_size: int | None) -> str | None:
    """Writes a line about layers that are frozen in a donor's file; None where none are."""
    layers = open_pretrained(donor, image_size).model.layers
    frozen = [layer.name for layer in layers if layer.weights and not layer.trainable]
    if not frozen:
        return None
    return (
        f"{len(frozen)} layers are frozen in the donor's file ({first_few(frozen, 3)}); where "
        "units are fine-tuned, theirs are trained all the same."
    )


def _unit_sizes(model: keras.Model) -> list[UnitSize]:
    """Measures each of the model's own units."""
    calls: dict[int, list] = {}
    for node in surgery.nodes(model):
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
