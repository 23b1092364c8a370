"""The blocks that a network's layers have in their names."""

import itertools
import re
from collections.abc import Callable

import keras

from transfer_keras.surgery.units import Unit, has_kernel, units

# All up to this is the block's name; what follows is the place inside the block.
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


def block_names(model: keras.Model) -> Callable[[keras.Layer], str]:
    """The blocks of a network by its layers' names, for `units(model, blocks=...)`.

    Knows how the networks of `keras.applications` name their layers, with any prefix:
    "block_3_expand" and "block_3_project" are of "block_3", "conv2_block1_1_conv" of
    "conv2_block1", "conv_dw_3" and "conv_pw_3" of "conv_3". A unit is a block of its own, under
    its own name, if no weighted layer in it names a block, or several; and so is each unit of a
    block that is not in one piece. Units that share a weighted layer are one block, with all
    between them. So any network has blocks, if it has units.

    Args:
        model: a functional model or a built `Sequential`.

    Returns:
        Layer -> name of its block. It goes by the layer's name, so it serves for copies too.

    Raises:
        NotRebuildable, NotACutPoint: see `units`.
    """
    parts = units(model)
    told = [_told(unit) for unit in parts]
    runs = [name for name, _ in itertools.groupby(told)]
    told = [name if runs.count(name) == 1 else None for name in told]
    runs = itertools.groupby(range(len(parts)), key=lambda i: told[i] or i)
    blocks: dict[str, list[Unit]] = {}
    for places in _joined([list(run) for _, run in runs], parts):
        names = {told[place] for place in places}
        name = names.pop() if len(names) == 1 else None
        name = name or parts[places[0]].name
        while name in blocks:
            name += "_"
        blocks[name] = [parts[place] for place in places]
    known: dict[str, str] = {}
    for name, inside in blocks.items():
        for unit in inside:
            for layer in unit.layers:
                known.setdefault(layer.name, name)

    def block_of(layer: keras.Layer) -> str:
        return known.get(layer.name) or _in_name(layer.name) or layer.name

    return block_of


def _in_name(name: str) -> str | None:
    match = _SEPARABLE.match(name)
    if match:
        return f"{match[1]}_{match[2]}"
    match = _BLOCK.match(name)
    return match and match[0]


def _told(unit: Unit) -> str | None:
    """The block that the weighted layers of a unit name, if it is one."""
    found = {_in_name(layer.name) for layer in unit.layers if has_kernel(layer)} - {None}
    return found.pop() if len(found) == 1 else None


def _joined(groups: list[list[int]], parts: list[Unit]) -> list[list[int]]:
    """Joins groups that hold the same weighted layer, and all between them."""
    kernels = [
        [id(x) for place in group for x in parts[place].layers if has_kernel(x)] for group in groups
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
