"""Tells which heads of a network are asked for, and with how many outputs."""

import numbers
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras

from transfer_keras.surgery import errors, graph
from transfer_keras.surgery.endings import Ending

Classes = int | Mapping[str, int]


class Wanted(NamedTuple):
    """What is asked of the head of an output.

    Attributes:
        classes: its new number of outputs.
        is_named: whether the layer itself is named, and not only the output.
    """

    classes: int
    is_named: bool


def wanted_heads(
    model: keras.Model, endings: Sequence[Ending], classes: Classes
) -> dict[int, Wanted]:
    """Reads which heads are asked for.

    Args:
        model: functional.
        endings: for each output, what follows the last weighted layers before it.
        classes: a number for all outputs, or a mapping from names of outputs or layers to numbers.

    Returns:
        Place of an output among the model's -> what is asked.

    Raises:
        ValueError: if a number is no whole one.
        NotRebuildable: if there is no such name.
    """
    if not isinstance(classes, Mapping):
        return {place: Wanted(_whole_number(classes), False) for place in range(len(endings))}
    outputs = _output_names(model)
    layers = [[graph.maker(tensor).name for tensor in ending.starts] for ending in endings]
    wanted = {}
    for name, count in classes.items():
        places = [place for place, known in enumerate(outputs) if known == name]
        places = places or [place for place, names in enumerate(layers) if name in names]
        if not places:
            known = dict.fromkeys(outputs + [known for names in layers for known in names])
            raise errors.NotRebuildable(
                f"'{model.name}' has no output and no head named '{name}'. Expected some of: "
                f"{errors.first_few([*known])}."
            )
        wanted |= {place: Wanted(_whole_number(count), name in layers[place]) for place in places}
    if not wanted:
        raise ValueError("A mapping of heads needs at least one name. Received: an empty one.")
    return wanted


def _whole_number(outputs) -> int:
    whole = isinstance(outputs, numbers.Integral) and not isinstance(outputs, bool)
    if not whole or outputs < 1:
        raise ValueError(
            f"A head needs a whole number of outputs, 1 or more. Received: {outputs!r}"
        )
    return int(outputs)


def _output_names(model: keras.Model) -> list[str]:
    """Names the outputs: by the keys of a dictionary, else by the layers that make them."""
    if isinstance(model.output, dict) and len(model.output) == len(model.outputs):
        names = {id(tensor): key for key, tensor in model.output.items()}
        return [names[id(tensor)] for tensor in model.outputs]
    return list(model.output_names)
