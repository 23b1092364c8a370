"""Makes a new network from the lower units of a donor and freshly initialised upper units."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import keras

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import cut, errors, freezing, graph
from transfer_keras.surgery.frozen_part import configs_without_dropout
from transfer_keras.surgery.heads import find_head
from transfer_keras.surgery.new_layers import (
    NORMS,
    adapted_layers,
    copy_weights,
    layer_maker,
    rebuild_with_head,
)
from transfer_keras.surgery.rebuild import Pairs, check_rebuildable, flat_pairs
from transfer_keras.surgery.report import Report, make_report
from transfer_keras.surgery.selection import Layers, lower_layers
from transfer_keras.surgery.units import Blocks, Cuts, Expand

Mode = Literal["frozen", "fine_tune", "random"]
MODES = ("frozen", "fine_tune", "random")


class Transplanted(NamedTuple):
    """The result of `transplant`: the new network, and the origin of each of its weights."""

    model: keras.Model
    report: Report


def transplant(
    donor: keras.Model,
    n: cut.Cut | None = None,
    *,
    layers: Layers | None = None,
    head: int | None = None,
    mode: Mode = "frozen",
    seed: int,
    batch_norm: bn.Policy | None = None,
    dropout: bool = True,
    share: Collection[str] = (),
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
    name: str | None = None,
) -> Transplanted:
    """Makes a new network whose lower n units come from a donor; the others are fresh.

    Which layers are lower can also be said without a cut, by `layers`. Give one of n and `layers`.

    Args:
        donor: a functional model or a built `Sequential`; it is not changed.
        n: how many units: 0 (all are fresh) to all of them; a negative number counts from the
            top; or the name of a layer, block or unit up to which (see `lower`).
        layers: in place of n, the layers that count as lower units, wherever they lie: a list of
            names; a regular expression that is searched in the names; or `below(name)`, a layer
            and all that it depends on. All others count as upper units.
        head: number of outputs of the new network's last weighted layer; None: as the donor.
        mode: "frozen": the lower units are copied and not trained; "fine_tune": copied and
            trained; "random": fresh and not trained.
        seed: fresh weights are a function of this and of each layer's place in the network;
            so are the masks of all dropout layers, the lower ones included.
        batch_norm: what BatchNorm of the lower units does. "frozen": it is in inference mode, and
            none of its weights changes; "statistics_frozen": scale and shift are trained, the
            statistics are used and stay as they are; "train": as in training from scratch. None:
            "train" with mode "fine_tune", else "frozen".
        dropout: whether dropout, and noise, of lower units that are frozen acts in training; if
            not, its rate becomes 0, so that they give the same values in training as in inference,
            as with `training=False` in Keras's guide. Dropout inside a composite layer always acts.
        share: names of layers to use as they are, for layers that cannot be made again. A layer
            with weights must be frozen in the donor already.
        blocks, expand, cuts: how the network is divided into units; see `units`.
        name: of the new model; None: the donor's.

    Returns:
        (model, report): an uncompiled model with layers of the same names, which shares only the
        layers of `share` with the donor; and the origin of each of its weights. Layers that were
        adapted to data (normalisation, lookup) are always copied. Keras's own files lose the flags
        inside a composite layer that `expand` opened: see `save`. On PyTorch, dropout inside a
        composite layer or nested model follows the global state of that backend, not `seed`.

    Raises:
        NotACutPoint: if no unit ends at n, or neither n nor `layers` is given.
        UnmatchedLayer: if `layers` names a layer that the donor does not have, or none that has
            weights.
        SharedAcrossCut: if a layer is used both below and above the cut.
        NotRebuildable: if a layer cannot be made from its config, or has tied weights, LoRA or
            quantisation.
        ShapeMismatch: if a new head is asked for, but lies in the units that are copied.
        NotFresh: if a re-initialised weight equals the donor's.

    Example:
        >>> donor = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> model, report = surgery.transplant(donor, 1, head=5, mode="frozen", seed=0)
        >>> print(report)
        one/kernel  copied  frozen     (8, 6)
        one/bias    copied  frozen     (6,)
        two/kernel  fresh   trainable  (6, 5)
        two/bias    fresh   trainable  (5,)
    """
    # What is asked.
    # The units decide which layers are lower. A new head changes the config of the last weighted
    # layer, which must not be copied then.
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}. Received: {mode!r}")
    if batch_norm not in (None, *bn.POLICIES):
        raise ValueError(f"batch_norm must be one of {bn.POLICIES}. Received: {batch_norm!r}")
    policy = batch_norm or ("train" if mode == "fine_tune" else "frozen")
    donor = graph.functional(donor)
    check_rebuildable(donor, share)
    lower = lower_layers(donor, n, layers, blocks=blocks, expand=expand, cuts=cuts)
    changes = {}
    if head is not None:
        last, key = find_head(donor, head)
        outputs = last.get_config()[key]
        if outputs != head:
            changes[id(last)] = {key: head}
            if id(last) in lower:
                raise errors.ShapeMismatch(
                    f"head={head} differs from the {outputs} outputs of '{last.name}', which is "
                    "copied too. Give a smaller n, or leave it out of `layers`."
                )
    _check_share(donor, share)

    # The new network.
    # Every layer is made again from its config, with initial values that `seed` and its place
    # decide, or is shared. BatchNorm that keeps its statistics becomes a layer of another class.
    fixed = lower if policy == "statistics_frozen" else set()
    silenced = {} if dropout or mode == "fine_tune" else configs_without_dropout(donor, lower)
    make = layer_maker(share, {**silenced, **changes}, fixed)
    model, pairs = rebuild_with_head(donor, make, changes, seed, name)
    inner_pairs = flat_pairs(pairs)
    _check_fixed(inner_pairs, fixed)

    # Weights and flags.
    # Lower layers, and those that were adapted to data, get the donor's weights. All others must
    # differ from the donor's, or they would not be fresh.
    copied = (lower if mode != "random" else set()) | adapted_layers(inner_pairs)
    copy_weights(inner_pairs, copied)
    shared = {id(old) for old, new in pairs if old is new}
    _set_flags(inner_pairs, lower, shared, mode, policy)
    return Transplanted(model, make_report(pairs, copied, shared))


def _check_share(donor, share: Collection[str]) -> None:
    """Checks that `share` names layers of the donor."""
    names = [layer.name for layer in donor.layers]
    unknown = [share] if isinstance(share, str) else [name for name in share if name not in names]
    if unknown:
        raise errors.NotRebuildable(
            f"share: expected a list of names of layers of '{donor.name}'. Received: "
            f"{', '.join(map(repr, unknown))}"
        )


def _check_fixed(pairs: Pairs, fixed: set[int]) -> None:
    """Checks that each BatchNorm whose statistics must stay has become one that keeps them."""
    for old, new in pairs:
        keeps_statistics = isinstance(new, NORMS[True])
        if id(old) in fixed and isinstance(new, NORMS[False]) and not keeps_statistics:
            raise errors.NotRebuildable(
                f"batch_norm='statistics_frozen': '{old.name}' ({type(old).__name__}) lies inside "
                "another layer or is a class of its own, so it cannot be replaced by one that "
                "keeps its statistics. Expected plain BatchNormalization layers of the network "
                "itself. Give batch_norm='frozen'."
            )


def _set_flags(pairs: Pairs, lower: set[int], shared: set[int], mode: str, policy: str) -> None:
    """Sets the flags of the new layers: upper ones are trained, lower ones as the mode says."""
    own = [(old, new) for old, new in pairs if id(old) not in shared and old is not new]
    trained = mode == "fine_tune"
    freezing.set_trainable([new for old, new in own if id(old) not in lower], True)
    freezing.set_trainable([new for old, new in own if id(old) in lower], trained)
    norms = [
        new
        for old, new in own
        if id(old) in lower and isinstance(new, keras.layers.BatchNormalization)
    ]
    freezing.set_trainable(norms, policy != "frozen")
