"""The networks as data: a table of units that `networks.build` walks.

This module imports no Keras, so that a program can check `--n` and `--image_size` against a
network before TensorFlow is loaded.
"""

import dataclasses
import itertools
from typing import NamedTuple

from transfer_keras.config.unit_kinds import (
    Conv,
    Dense,
    EncoderBlock,
    Head,
    PatchEmbedding,
    ResidualBlock,
    Stem,
    UnitKind,
    UnitSize,
)


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

    units: tuple[UnitKind, ...]
    image_size: int
    resize: int | None = None
    pad: int = 0
    standardise: bool = False

    def side(self, image_size: int) -> int:
        """Gives the side of the map that the last unit takes; below 1, none is left."""
        side = image_size
        for unit in self.units[:-1]:
            side = unit.side_after(side)
            if side < 1:
                return 0
        return side

    def sizes(self, image_size: int, classes: int) -> tuple[UnitSize, ...]:
        """Gives the size of each unit, for images that are large enough and an output a class."""
        sizes, side, channels = [], image_size, 3
        for unit in self.units:
            sizes.append(unit.size(side, channels, classes))
            side, channels = unit.side_after(side), unit.channels_after(classes)
        return tuple(sizes)

    @property
    def cuts(self) -> tuple[int, ...]:
        """Gives, for each unit, how many of those that `surgery.units` finds lie below its end."""
        return tuple(itertools.accumulate(unit.cuts for unit in self.units))

    def why_not(self, n: int, mode: str) -> None:
        """Says that any n can be transferred, in any mode."""

    @property
    def smallest_image(self) -> int:
        """Finds the smallest `image_size` that leaves at least one position to the dense layers."""
        return next(size for size in range(1, 4096) if self.side(size) >= 1)


class NamedUnit(NamedTuple):
    """A unit of a network that was given and not made of a table."""

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

# The same eight units again, for few steps on two cores. A kernel of 7x7 at every second place
# shows in conv1 what larger pictures show in 11x11 at every fourth; values near 0 at the beginning,
# and much weight decay, leave it the shape that training gives it. It sees each picture some twenty
# times, and has no dropout.
ALEXNET_MINI = Architecture(
    units=(
        Conv("conv1", 32, 7, stride=2, stddev=0.001),
        Conv("conv2", 48, 3, pool=True),
        Conv("conv3", 64, 3),
        Conv("conv4", 64, 3),
        Conv("conv5", 64, 3, pool=True),
        Dense("fc6", 256),
        Dense("fc7", 256),
        Dense("fc8", None),
    ),
    image_size=32,
    pad=4,
    standardise=True,
)


def _residual(
    filters: tuple[int, ...], blocks: int, *, kernel: int, stride: int, pool: bool
) -> tuple[UnitKind, ...]:
    """Lists the units of a residual network: a stem, stages of blocks, and a head.

    Args:
        filters: of each stage; each but the first halves the side of its maps.
        blocks: in each stage.
        kernel, stride, pool: of the stem.
    """
    units: list[UnitKind] = [Stem("stem", filters[0], kernel, stride=stride, pool=pool)]
    last = len(filters) * blocks
    for place in range(last):
        stage, block = divmod(place, blocks)
        stride = 2 if stage and not block else 1
        name, average = f"block{place + 1}", place + 1 == last
        units.append(ResidualBlock(name, filters[stage], stride=stride, average=average))
    return (*units, Head("head"))


def _transformer(
    width: int, blocks: int, *, patch: int, heads: int, mlp: int, dropout: float = 0.0
) -> tuple[UnitKind, ...]:
    """Lists the units of a vision transformer: patch embedding, encoder blocks, and a head."""
    encoder = [
        EncoderBlock(f"block{n}", width, heads, mlp, dropout=dropout, last=n == blocks)
        for n in range(1, blocks + 1)
    ]
    return (PatchEmbedding("patches", width, patch), *encoder, Head("head"))


# He et al. (2016), "Deep Residual Learning for Image Recognition", table 1: 18 layers, 10 units.
RESNET18 = Architecture(
    units=_residual((64, 128, 256, 512), 2, kernel=7, stride=2, pool=True),
    image_size=224,
    resize=256,
    standardise=True,
)

# The same ten units for pictures of 32 to 64 pixels: a small kernel first, no pooling after it,
# and a quarter of the filters.
RESNET18_SMALL = Architecture(
    units=_residual((16, 32, 64, 128), 2, kernel=3, stride=2, pool=False),
    image_size=64,
    pad=8,
    standardise=True,
)

# ViT-S/16: Dosovitskiy et al. (2021), "An Image is Worth 16x16 Words", in the size of Touvron et
# al. (2021), "Training data-efficient image transformers & distillation through attention".
VIT_SMALL = Architecture(
    units=_transformer(384, 12, patch=16, heads=6, mlp=1536),
    image_size=224,
    resize=256,
    standardise=True,
)

# A transformer for pictures of 64 pixels: 64 patches, half the blocks, a third of the width.
VIT_MINI = Architecture(
    units=_transformer(128, 6, patch=8, heads=4, mlp=256),
    image_size=64,
    pad=8,
    standardise=True,
)

ARCHITECTURES = {
    "alexnet": ALEXNET,
    "alexnet_mini": ALEXNET_MINI,
    "alexnet_small": ALEXNET_SMALL,
    "resnet18": RESNET18,
    "resnet18_small": RESNET18_SMALL,
    "vit_small": VIT_SMALL,
    "vit_mini": VIT_MINI,
}
