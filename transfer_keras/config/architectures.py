"""The networks as data: a table of units that `alexnet.build` walks.

A unit is one of the paper's "layers": a weighted layer together with the pooling,
normalisation and dropout that follow it. This module imports no Keras, so that a program
can check `--n` and `--image_size` against a network before TensorFlow is loaded.
"""

import dataclasses
from typing import NamedTuple


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


@dataclasses.dataclass(frozen=True)
class Dense:
    """A dense layer, ReLU, dropout. The last of a network has neither and `units=None`."""

    name: str
    units: int | None
    dropout: float = 0.0
    stddev: float | None = None
    bias: float = 0.0


class UnitSize(NamedTuple):
    """What a unit holds and does: weights, values of one image between its layers, and
    multiplications for one image."""

    parameters: int
    activations: int
    macs: int


@dataclasses.dataclass(frozen=True)
class Architecture:
    """A network as a table.

    Attributes:
        units: the rows, from the input up.
        image_size: side in pixels of the square input that it was made for.
        resize: side to which pictures are brought before `image_size` is cut out of them
            (None: `image_size` itself).
        pad: zero pixels added to each side before the random crop of training.
        standardise: divide each channel by its standard deviation, after the mean is taken off.
    """

    units: tuple[Conv | Dense, ...]
    image_size: int
    resize: int | None = None
    pad: int = 0
    standardise: bool = False

    def side(self, image_size: int) -> int:
        """Gives the side of the map that the first dense layer sees; below 1, none is left."""
        side = image_size
        for unit in self.units:
            if isinstance(unit, Conv):
                side = _pooled(unit, _convolved(unit, side))
                if side < 1:
                    return 0
        return side

    def sizes(self, image_size: int, classes: int) -> tuple[UnitSize, ...]:
        """Gives the size of each unit, for images that are large enough and an output a class."""
        sizes, side, channels = [], image_size, 3
        for unit in self.units:
            if isinstance(unit, Conv):
                kernel = unit.kernel**2 * channels // unit.groups * unit.filters
                wide = _convolved(unit, side)
                side, channels = _pooled(unit, wide), unit.filters
                values = 2 * wide**2 * channels  # Of the convolution and of its ReLU.
                values += (unit.pool + unit.norm) * side**2 * channels
                sizes.append(UnitSize(kernel + unit.filters, values, kernel * wide**2))
            else:
                inputs, channels = side**2 * channels, unit.units or classes
                side = 1
                weights = inputs * channels
                sizes.append(UnitSize(weights + channels, 3 * channels, weights))
        return tuple(sizes)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Numbers the units: n is a cut after n of them."""
        return tuple(range(1, len(self.units) + 1))

    def why_not(self, n: int, mode: str) -> None:
        """Says that any n can be transferred, in any mode."""

    @property
    def smallest_image(self) -> int:
        """Finds the smallest `image_size` that leaves at least one position to the dense layers."""
        return next(size for size in range(1, 4096) if self.side(size) >= 1)


class NamedUnit(NamedTuple):
    """A unit of a network that was given; see `Conv` and `Dense`."""

    name: str


@dataclasses.dataclass(frozen=True)
class PretrainedArchitecture:
    """A network that was given and not made here, as far as others have to know it; what it
    shares with `Architecture` means the same.

    Attributes:
        units: those that n counts: the network's own, or blocks of them.
        cuts: of each, how many of the network's own units lie below its end.
        given_sizes: of each, for an output a class of the network itself.
        image_size: side in pixels of its square input.
        cut_points: the n at which it can be cut.
        self_updating: the first layer that moves its weights even where it is frozen and cannot be
            replaced by one that does not, and of which unit it is; None: there is none.
    """

    units: tuple[NamedUnit, ...]
    cuts: tuple[int, ...]
    given_sizes: tuple[UnitSize, ...]
    image_size: int
    cut_points: tuple[int, ...]
    self_updating: tuple[str, int] | None = None
    resize: None = None

    def why_not(self, n: int, mode: str) -> str | None:
        """Says why n units cannot be transferred in a mode, and what to do; None where they can."""
        if n and n not in self.cut_points:
            return (
                "a layer of the donor is used below and above that cut. Expected one of these n: "
                f"{', '.join(map(str, self.cut_points))}."
            )
        if self.self_updating and mode != "fine_tune" and n >= self.self_updating[1]:
            name, unit = self.self_updating
            fewer = f", or freeze at most {unit - 1}" if unit > 1 else ""
            return (
                f"'{name}' (SpectralNormalization) moves its weights even where it is frozen. "
                f"Fine-tune it (--mode=fine_tune){fewer}."
            )
        return None

    @property
    def pad(self) -> int:
        """Gives as much as `ALEXNET_SMALL` has, in proportion."""
        return self.image_size // 8

    @property
    def smallest_image(self) -> int:
        """Gives the one size that its layers were made for."""
        return self.image_size

    def sizes(self, image_size: int, classes: int) -> tuple[UnitSize, ...]:
        """Gives the size of each unit; the last one's is that of the network itself."""
        return self.given_sizes


def _convolved(unit: Conv, side: int) -> int:
    if unit.padding == "valid":
        side = side - unit.kernel + 1
    return -(-side // unit.stride)


def _pooled(unit: Conv, side: int) -> int:
    return (side - 3) // 2 + 1 if unit.pool else side


# Krizhevsky et al. (2012) as the Caffe reference network has it, on which Yosinski et al.
# (2014) built: initialisers and biases of its `train_val.prototxt`.
ALEXNET = Architecture(
    units=(
        Conv("conv1", 96, 11, stride=4, padding="valid", pool=True, norm=True, stddev=0.01),
        Conv("conv2", 256, 5, groups=2, pool=True, norm=True, stddev=0.01, bias=1.0),
        Conv("conv3", 384, 3, stddev=0.01),
        Conv("conv4", 384, 3, groups=2, stddev=0.01, bias=1.0),
        Conv("conv5", 256, 3, groups=2, pool=True, stddev=0.01, bias=1.0),
        Dense("fc6", 4096, dropout=0.5, stddev=0.005, bias=1.0),
        Dense("fc7", 4096, dropout=0.5, stddev=0.005, bias=1.0),
        Dense("fc8", None, stddev=0.01),
    ),
    image_size=227,
    resize=256,
)

# The same eight units for pictures of 32 to 64 pixels: half the filters of conv1 and few above,
# small kernels, He initialisation (stddev=None), and neither groups nor LRN, which such a network
# does not need.
ALEXNET_SMALL = Architecture(
    units=(
        Conv("conv1", 48, 5, pool=True),
        Conv("conv2", 64, 3, pool=True),
        Conv("conv3", 64, 3),
        Conv("conv4", 64, 3),
        Conv("conv5", 64, 3, pool=True),
        Dense("fc6", 256, dropout=0.25),
        Dense("fc7", 256, dropout=0.25),
        Dense("fc8", None),
    ),
    image_size=32,
    pad=4,
    standardise=True,
)

ARCHITECTURES = {"alexnet": ALEXNET, "alexnet_small": ALEXNET_SMALL}
