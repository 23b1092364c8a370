"""The kinds of units of which tables of networks are made (`architectures.py`), with their sizes.

A unit is one of the paper's "layers": a weighted layer together with the pooling, normalisation
and dropout that follow it. In a residual network it is a block, in a transformer an encoder block.

Each kind has:
    `name`: of the unit; its layers are called `name`, or begin with it.
    `cuts`: how many units `surgery.units` finds in it. It finds more than one where a single
        tensor also carries all within it, as between attention and MLP of an encoder block.
    `side_after(side)`: the side of the square map that it gives, from that of the map it takes;
        below 1, none is left.
    `size(side, channels, classes)`: its `UnitSize`, from the map that it takes.
    `channels_after(classes)`: how many channels it gives.
"""

import dataclasses
from typing import ClassVar, NamedTuple


class UnitSize(NamedTuple):
    """What a unit holds and does: weights, values of one image between its layers, and
    multiplications for one image."""

    parameters: int
    activations: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Conv:
    """A convolution, ReLU, then (where asked for) 3x3/2 max-pooling, then LRN."""

    name: str
    filters: int
    kernel: int
    stride: int = 1
    padding: str = "same"
    groups: int = 1
    pool: bool = False
    norm: bool = False
    stddev: float | None = None
    bias: float = 0.0
    cuts: ClassVar = 1

    def side_after(self, side: int) -> int:
        """Gives the side of the map after convolution and pooling."""
        wide = self._convolved(side)
        return (wide - 3) // 2 + 1 if self.pool else wide

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for a map of `side` and `channels`."""
        kernel = self.kernel**2 * channels // self.groups * self.filters
        wide = self._convolved(side)
        values = 2 * wide**2 * self.filters  # Of the convolution and of its ReLU.
        values += (self.pool + self.norm) * self.side_after(side) ** 2 * self.filters
        return UnitSize(kernel + self.filters, values, kernel * wide**2)

    def channels_after(self, classes: int) -> int:
        """Gives the number of its filters."""
        return self.filters

    def _convolved(self, side: int) -> int:
        if self.padding == "valid":
            side = side - self.kernel + 1
        return -(-side // self.stride)


@dataclasses.dataclass(frozen=True)
class Dense:
    """A dense layer, ReLU, dropout. The last of a network has neither and `units=None`."""

    name: str
    units: int | None
    dropout: float = 0.0
    stddev: float | None = None
    bias: float = 0.0
    cuts: ClassVar = 1

    def side_after(self, side: int) -> int:
        """Gives 1, where a position is left that it can take."""
        return min(side, 1)

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for a map of `side` and `channels`."""
        outputs = self.channels_after(classes)
        weights = side**2 * channels * outputs
        values = (2 + bool(self.dropout)) * outputs
        return UnitSize(weights + outputs, values, weights)

    def channels_after(self, classes: int) -> int:
        """Gives the number of its outputs."""
        return self.units or classes


@dataclasses.dataclass(frozen=True)
class Stem:
    """The first layers of a residual network: convolution, BatchNorm, ReLU and, where asked for,
    3x3/2 max-pooling (He et al. 2016, table 1)."""

    name: str
    filters: int
    kernel: int
    stride: int = 1
    pool: bool = False
    cuts: ClassVar = 1

    def side_after(self, side: int) -> int:
        """Gives the side of the map after convolution and pooling, both with same padding."""
        wide = -(-side // self.stride)
        return -(-wide // 2) if self.pool else wide

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for a map of `side` and `channels`."""
        wide, kernel = -(-side // self.stride), self.kernel**2 * channels * self.filters
        values = 3 * wide**2 * self.filters
        values += self.pool * self.side_after(side) ** 2 * self.filters
        return UnitSize(kernel + _batch_norm(self.filters), values, kernel * wide**2)

    def channels_after(self, classes: int) -> int:
        """Gives the number of its filters."""
        return self.filters


@dataclasses.dataclass(frozen=True)
class ResidualBlock:
    """Two 3x3 convolutions with BatchNorm, added to what the block takes, then ReLU.

    Where number or size of the maps changes, what is added goes through a 1x1 convolution and
    BatchNorm (He et al. 2016, section 3.3, option B).

    Attributes:
        average: whether the mean over all positions follows, as it does the last block.
    """

    name: str
    filters: int
    stride: int = 1
    average: bool = False
    cuts: ClassVar = 1

    def side_after(self, side: int) -> int:
        """Gives the side of its map; of the mean over all positions, 1."""
        return min(side, 1) if self.average else -(-side // self.stride)

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for a map of `side` and `channels`."""
        positions = (-(-side // self.stride)) ** 2
        kernels, layers = 9 * (channels + self.filters) * self.filters, 7
        norms = 2
        if self.projects(channels):
            kernels, layers, norms = kernels + channels * self.filters, layers + 2, norms + 1
        return UnitSize(
            kernels + norms * _batch_norm(self.filters),
            layers * positions * self.filters + self.average * self.filters,
            kernels * positions,
        )

    def projects(self, channels: int) -> bool:
        """Tells whether what it takes, of so many channels, is projected before it is added."""
        return self.stride > 1 or channels != self.filters

    def channels_after(self, classes: int) -> int:
        """Gives the number of its filters."""
        return self.filters


@dataclasses.dataclass(frozen=True)
class PatchEmbedding:
    """A linear map of each square patch, a class token before them, and learned positions added
    (Dosovitskiy et al. 2021, equation 1)."""

    name: str
    width: int
    patch: int
    cuts: ClassVar = 3  # Patches, class token, positions.

    def side_after(self, side: int) -> int:
        """Gives the number of patches along a side; what is left at the border is not used."""
        return side // self.patch

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for a picture of `side` and `channels`."""
        patches, kernel = self.side_after(side) ** 2, self.patch**2 * channels * self.width
        tokens = patches + 1
        return UnitSize(
            kernel + self.width + self.width + tokens * self.width,
            # Patches as a map and in a row, a class token for each picture, all tokens, and with
            # their positions, which are as large.
            (2 * patches + 1 + 3 * tokens) * self.width,
            kernel * patches,
        )

    def channels_after(self, classes: int) -> int:
        """Gives the width of a token."""
        return self.width


@dataclasses.dataclass(frozen=True)
class EncoderBlock:
    """Self-attention and an MLP of two layers with GELU, each after a LayerNorm and added to what
    it takes (Dosovitskiy et al. 2021, equations 2 and 3).

    Attributes:
        heads: of the attention.
        mlp: units of the MLP's first layer.
        dropout: after the attention and after each layer of the MLP.
        last: whether a LayerNorm follows, and the class token alone goes on (equation 4).
    """

    name: str
    width: int
    heads: int
    mlp: int
    dropout: float = 0.0
    last: bool = False
    cuts: ClassVar = 2  # Attention, MLP.

    def side_after(self, side: int) -> int:
        """Gives the side that it takes; of the class token alone, 1."""
        return min(side, 1) if self.last else side

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for `side` x `side` patches and the class token."""
        tokens, width, mlp = side**2 + 1, self.width, self.mlp
        kernels = 4 * width**2 + 2 * width * mlp
        norms = 2 + self.last
        # Of each token: two norms, four projections, mixed values, two additions, and the MLP's
        # layers and GELU; scores and weights of each pair of tokens.
        values = tokens * (10 * width + 2 * mlp) + 2 * self.heads * tokens**2
        values += bool(self.dropout) * tokens * (2 * width + mlp)
        values += self.last * (tokens + 1) * width
        return UnitSize(
            kernels + 5 * width + mlp + norms * 2 * width,
            values,
            kernels * tokens + 2 * tokens**2 * width,
        )

    def channels_after(self, classes: int) -> int:
        """Gives the width of a token."""
        return self.width


@dataclasses.dataclass(frozen=True)
class Head:
    """A dense layer that gives a logit for each class, from one vector."""

    name: str
    cuts: ClassVar = 1

    def side_after(self, side: int) -> int:
        """Gives 1, where a vector is left that it can take."""
        return min(side, 1)

    def size(self, side: int, channels: int, classes: int) -> UnitSize:
        """Gives its size, for so many channels."""
        return UnitSize(channels * classes + classes, classes, channels * classes)

    def channels_after(self, classes: int) -> int:
        """Gives the number of classes."""
        return classes


UnitKind = Conv | Dense | Stem | ResidualBlock | PatchEmbedding | EncoderBlock | Head


def _batch_norm(channels: int) -> int:
    """Counts what a BatchNorm holds: scale, shift, and the moving mean and variance."""
    return 4 * channels
