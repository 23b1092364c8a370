"""What others have to know of a pretrained network: its units, their sizes, where it can be cut."""

import dataclasses
import math

import keras

from transfer_keras import surgery
from transfer_keras.config import Experiment, NamedUnit, PretrainedArchitecture, UnitSize, UserError
from transfer_keras.networks.pretrained.opening import network, opened


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
    return [n for n, end in enumerate(ends[:-1], 1) if not surgery.used_on_both_sides(every, end)]


def _restless(parts: surgery.Units) -> tuple[str, int] | None:
    """See `Measured`."""
    for unit in parts:
        for layer in (inner for x in unit.layers for inner in surgery.flat_layers(x)):
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
    if opened(experiment).new_head:
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


def _sizes(model: keras.Model) -> list[UnitSize]:
    """Of each unit."""
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
