"""Finds the blocks of a network in the names of its layers."""

import itertools
import re
from collections.abc import Callable

import keras

from transfer_keras.surgery.units import Cuts, Unit, has_kernel, units

# What this matches is the block's name; the rest of a layer's name is its place in the block.
_BLOCK = re.compile(
    r"""^(?:.*?_)??(?:
        (?:conv|stack|stage|group)_?\d+_[xyz]?block_?\d+  # ResNet, DenseNet, ConvNeXt, RegNet
      | block\d+_\d+                                      # InceptionResNetV2
      | [a-z]*block_?\d+[a-z]?                            # MobileNetV2, EfficientNet, VGG, Xception
      | expanded_conv(?:_\d+)?                            # MobileNetV3, the first of MobileNetV2
    )(?=_|$)""",
    re.IGNORECASE | re.VERBOSE,
)
_SEPARABLE = re.compile(r"^((?:.*_)?conv)_(?:dw|pw)_(\d+)(?=_|$)")  # MobileNet


def block_names(model: keras.Model, *, cuts: Cuts = "single") -> Callable[[keras.Layer], str]:
    """Finds the blocks of a network by its layers' names, for `units(model, blocks=...)`.

    It knows how the networks of `keras.applications` name their layers, with any prefix:
    "block_3_expand" and "block_3_project" belong to "block_3", "conv2_block1_1_conv" to
    "conv2_block1", "conv_dw_3" and "conv_pw_3" to "conv_3". A unit is a block of its own, under
    its own name, if no weighted layer in it names a block, or if they name several; and so is each
    unit of a block that is not in one piece. Units that call the same weighted layer form one
    block, with all units between them. So any network that has units has blocks.

    Args:
        model: a functional model or a built `Sequential`.
        cuts: as for `units`.

    Returns:
        A function from a layer to the name of its block. It uses the layer's name alone, so it
        also works for copies of the layer.

    Raises:
        NotRebuildable: if the model has no graph.
        NotACutPoint: if the model has no unit.
    """
    model_units = units(model, cuts=cuts)

    # The name of a block counts only if its units follow one another.
    names = [_block_of_unit(unit) for unit in model_units]
    runs = [name for name, _ in itertools.groupby(names)]
    names = [name if runs.count(name) == 1 else None for name in names]

    # Units of the same name form a block, and each unit without a name one of its own.
    groups = itertools.groupby(range(len(model_units)), key=lambda i: names[i] or i)
    blocks: dict[str, list[Unit]] = {}
    for places in _join_sharing([list(group) for _, group in groups], model_units):
        names_in_block = {names[place] for place in places}
        name = names_in_block.pop() if len(names_in_block) == 1 else None
        name = name or model_units[places[0]].name
        while name in blocks:
            name += "_"
        blocks[name] = [model_units[place] for place in places]

    # A layer that is called in several blocks belongs to the first.
    known: dict[str, str] = {}
    for name, members in blocks.items():
        for unit in members:
            for layer in unit.layers:
                known.setdefault(layer.name, name)

    def block_of(layer: keras.Layer) -> str:
        return known.get(layer.name) or _block_in_name(layer.name) or layer.name

    return block_of


def _block_in_name(name: str) -> str | None:
    """Finds the name of a block in the name of a layer."""
    match = _SEPARABLE.match(name)
    if match:
        return f"{match[1]}_{match[2]}"
    match = _BLOCK.match(name)
    return match and match[0]


def _block_of_unit(unit: Unit) -> str | None:
    """Finds the block that the weighted layers of a unit name, if they name just one."""
    names = {_block_in_name(layer.name) for layer in unit.layers if has_kernel(layer)} - {None}
    return names.pop() if len(names) == 1 else None


def _join_sharing(groups: list[list[int]], model_units: list[Unit]) -> list[list[int]]:
    """Joins groups of units that call the same weighted layer, with all groups between them."""
    kernels = [
        [id(x) for place in group for x in model_units[place].calls if has_kernel(x)]
        for group in groups
    ]
    last = {layer: place for place, layers in enumerate(kernels) for layer in layers}
    joined: list[list[int]] = []
    end = -1
    for place, group in enumerate(groups):
        if place > end:
            joined.append([])
        joined[-1] += group
        end = max([end, place, *(last[layer] for layer in kernels[place])])
    return joined
