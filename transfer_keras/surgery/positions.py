"""Learned positions of image patches: how they are recognised, and interpolated to another grid.

A vision transformer learns one vector for each patch of its images, and often one or two for class
tokens before them. For images of another size the vectors of the patches are taken as a grid and
interpolated (Dosovitskiy et al. 2020, arXiv:2010.11929, section 3.2).
"""

import re
from typing import NamedTuple

import keras
import numpy as np

# Height and width; either may be None where a network takes images of any size.
Size = tuple[int | None, int | None]

_NAME = re.compile(r"(?:^|[_/])pos(?:ition(?:s|al)?)?(?:[_/]|$)|pos_?emb", re.IGNORECASE)
_SIZE_KEY = re.compile(r"(?:image|img|input)_?(?:size|shape|resolution)", re.IGNORECASE)
_COUNT_KEY = re.compile(
    r"(?:num|n|max)_?(?:patch(?:es)?|positions?|tokens?)|seq(?:uence)?_len(?:gth)?", re.IGNORECASE
)


class Grid(NamedTuple):
    """The patches of an image before and after its size changes, as (rows, columns).

    Attributes:
        tokens: number of vectors before those of the patches.
        old, new: rows and columns of patches.
    """

    tokens: int
    old: Size
    new: Size

    @property
    def old_count(self) -> int:
        """Counts the vectors before the change, those of class tokens included."""
        return self.tokens + self.old[0] * self.old[1]

    @property
    def new_count(self) -> int:
        """Counts the vectors after the change."""
        return self.tokens + self.new[0] * self.new[1]


def has_position_name(weight: keras.Variable) -> bool:
    """Tells whether a weight, or a layer that holds it, is named after positions."""
    return bool(_NAME.search(weight.path))


def find_grid(layer: keras.Layer, weight: keras.Variable, old: Size, new: Size) -> Grid | None:
    """Finds the grid of patches whose positions a weight may hold.

    Args:
        layer: the layer of the network that holds the weight; the size of a patch is read from an
            entry `patch_size` of its config.
        weight: of shape (positions, width) or (1, positions, width).
        old, new: height and width of the images, in pixels.

    Returns:
        The grid; None if no grid of patches has so many, or two have.
    """
    shape = tuple(weight.shape)
    if len(shape) == 3 and shape[0] == 1:
        shape = shape[1:]
    if len(shape) != 2 or None in old:
        return None
    for patches in _patch_sizes(layer, old):
        grids = {
            Grid(tokens, (old[0] // p, old[1] // q), (new[0] // p, new[1] // q))
            for p, q in patches
            for tokens in (0, 1, 2)
        }
        fitting = [grid for grid in grids if grid.old_count == shape[0] > grid.tokens]
        if fitting:
            return fitting[0] if len(fitting) == 1 else None
    return None


def _patch_sizes(layer: keras.Layer, old: Size) -> list[list[Size]]:
    """Lists sizes that a patch may have, in pixels; the likelier come in the first list."""
    given = _config(layer).get("patch_size")
    if given is not None:
        return [[(given, given) if isinstance(given, int) else tuple(given)]]
    every = range(1, min(old) + 1)
    return [
        [(p, p) for p in every if old[0] % p == old[1] % p == 0],
        [(p, p) for p in every],
    ]


def changed_config(layer: keras.Layer, grid: Grid, old: Size, new: Size) -> dict:
    """Gives the entries of a layer's config that tell the size of its images or their patches."""
    counts = {
        grid.old_count: grid.new_count,
        grid.old_count - grid.tokens: grid.new_count - grid.tokens,
    }
    changes = {}
    for key, value in _config(layer).items():
        if _SIZE_KEY.fullmatch(key):
            changes[key] = _resized(value, old, new)
        elif _COUNT_KEY.fullmatch(key) and isinstance(value, int):
            changes[key] = counts.get(value, value)
    return changes


def _config(layer: keras.Layer) -> dict:
    """Reads the config of a layer; one that cannot be read is empty."""
    try:
        return layer.get_config()
    except (NotImplementedError, AttributeError, TypeError, ValueError):
        # Such a layer is refused by its name when it is to be made again.
        return {}


def _resized(value, old: Size, new: Size):
    """Puts the new size in place of the old one; other values stay as they are."""
    if isinstance(value, int) and old == (value, value) and new[0] == new[1]:
        return new[0]
    if isinstance(value, list | tuple):
        for place in range(len(value) - 1):
            if tuple(value[place : place + 2]) == old:
                return type(value)([*value[:place], *new, *value[place + 2 :]])
    return value


def interpolated(weight: keras.Variable, grid: Grid) -> np.ndarray:
    """Interpolates learned positions to another grid of patches.

    Vectors of class tokens are kept. Those of the patches are interpolated bilinearly along rows
    and columns, the corners aligned, as the authors of the vision transformer do.

    Args:
        weight: of shape (positions, width) or (1, positions, width).
        grid: from `find_grid`.

    Returns:
        An array for the new weight, of the same rank.
    """
    values = keras.ops.convert_to_numpy(weight).astype(np.float64)
    rows = values.reshape(grid.old_count, -1)
    patches = rows[grid.tokens :].reshape(*grid.old, -1)
    patches = _resample(_resample(patches, grid.new[0], axis=0), grid.new[1], axis=1)
    rows = np.concatenate([rows[: grid.tokens], patches.reshape(-1, rows.shape[-1])])
    return rows.reshape(*values.shape[:-2], *rows.shape).astype(np.float32)


def _resample(values: np.ndarray, count: int, axis: int) -> np.ndarray:
    """Interpolates linearly along an axis; the first and the last value stay the ends."""
    size = values.shape[axis]
    places = np.linspace(0, size - 1, count)
    below = np.minimum(places.astype(int), max(size - 2, 0))
    above = np.minimum(below + 1, size - 1)
    share = np.expand_dims(places - below, tuple(range(1, values.ndim - axis)))
    return np.take(values, below, axis) * (1 - share) + np.take(values, above, axis) * share
