"""Makes a new network from the lower units of a donor and freshly initialised upper units."""

from collections.abc import Collection
from typing import Literal, NamedTuple

import keras

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import cut, errors, freezing, graph
from transfer_keras.surgery.frozen_part import configs_without_dropout
from transfer_keras.surgery.heads import Classes, find_heads
from transfer_keras.surgery.new_heads import Activation, head_changes, rebuild_with_heads
from transfer_keras.surgery.new_layers import (
    adapted_layers,
    check_replaced,
    copy_weights,
    layer_maker,
    replaced_classes,
)
from transfer_keras.surgery.rebuild import Pairs, check_rebuildable, flat_pairs
from transfer_keras.surgery.report import Report, make_report
from transfer_keras.surgery.selection import Layers, lower_layers
from transfer_keras.surgery.units import Blocks, Cuts, Expand
from transfer_keras.surgery.weights import own_weight_pairs

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
    head: Classes | None = None,
    activation: Activation | None = None,
    mode: Mode = "frozen",
    seed: int,
    batch_norm: bn.Policy | None = None,
    dropout: bool = True,
    unfreeze: bool = False,
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
        head: number of outputs of the new network's heads, or a mapping from names of outputs or
            heads to numbers; `swap_head` says what a head is. None: as the donor.
        activation: of the new heads, with `head` only; see `swap_head`. None: as it is.
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
        unfreeze: whether mode "fine_tune" also trains what the donor has frozen, such as fixed
            filters, or all that was frozen when the donor itself was trained. BatchNorm follows
            `batch_norm` where that is given.
        share: names of layers to use as they are, for layers that cannot be made again. A layer
            with weights must be frozen in the donor already.
        blocks, expand, cuts: how the network is divided into units; see `units`.
        name: of the new model; None: the donor's.

    Returns:
        (model, report): an uncompiled model with layers of the same names, which shares only the
        layers of `share` with the donor; and the origin of each of its weights. Layers that were
        adapted to data (normalisation, lookup) are always copied. Keras's own files lose the flags
        inside a composite layer that `expand` opened: see `save`. A class that trains in its own
        way (`train_step`, `compute_loss`, …) is kept. Frozen `SpectralNormalization` becomes one
        that keeps still. To train all of it later, set `model.trainable = True`, or
        `set_trainable([model], True)` where `expand` was used or Keras has loaded it meanwhile, and
        compile it again. On PyTorch, dropout inside a composite layer or nested model follows the
        global state of that backend, not `seed`.

    Raises:
        NotACutPoint: if no unit ends at n, or neither n nor `layers` is given.
        UnknownLayer: if `layers` names a layer that the donor does not have.
        UnmatchedLayer: if `layers` means no layer with weights, or is no regular expression.
        SharedAcrossCut: if a layer is used both below and above the cut.
        NotRebuildable: if a layer cannot be made from its config, or has tied weights, or LoRA
            (see `merge_lora`); if quantised weights are not in the lower, frozen units; if the
            model's class trains in its own way and cannot be made again; or a new head is asked
            for, and the donor has none (see `swap_head`).
        ShapeMismatch: if a new head is asked for, but lies in the units that are copied.
        NotFresh: if a re-initialised weight equals the donor's, which was made with this seed.

    Example:
        >>> donor = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> model, report = surgery.transplant(donor, 1, head=5, mode="frozen", seed=0)
        >>> print(report)
        weight      origin  training   shape
        one/kernel  copied  frozen     (8, 6)
        one/bias    copied  frozen     (6,)
        two/kernel  fresh   trainable  (6, 5)
        two/bias    fresh   trainable  (5,)
        89 parameters: 54 copied, 35 fresh; 35 trainable
    """
    # What is asked.
    # The units decide which layers are lower. A new head changes the config of the last weighted
    # layer, which must not be copied then.
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}. Received: {mode!r}")
    if batch_norm not in (None, *bn.POLICIES):
        raise ValueError(f"batch_norm must be one of {bn.POLICIES}. Received: {batch_norm!r}")
    policy = batch_norm or ("train" if mode == "fine_tune" else "frozen")
    kind, donor = graph.class_of(donor), graph.functional(donor)
    check_rebuildable(donor, share)
    lower = lower_layers(donor, n, layers, blocks=blocks, expand=expand, cuts=cuts)
    if head is None and activation is not None:
        raise ValueError(f"activation={activation!r} is of a new head. Expected head=, too.")
    heads = [] if head is None else find_heads(donor, head, activation)
    for new in heads:
        if new.layer.name in share:
            raise errors.NotRebuildable(
                f"head: '{new.layer.name}' cannot be both new and shared. Leave it out of `share`."
            )
        if new.outputs != new.classes and id(new.layer) in lower:
            raise errors.ShapeMismatch(
                f"head={new.classes} differs from the {new.outputs} outputs of "
                f"'{new.layer.name}', which is copied too. Give a smaller n, or leave it out of "
                "`layers`."
            )
    _check_share(donor, share)

    # The new network.
    # Every layer is made again from its config, with initial values that `seed` and its place
    # decide, or is shared. BatchNorm that keeps its statistics becomes a layer of another class.
    trained = mode == "fine_tune"
    statistics = lower if policy == "statistics_frozen" else set()
    below = [x for x in graph.flat_layers(donor) if id(x) in lower]
    still = {id(x) for x in below if not trained or not (unfreeze or x.trainable)}
    _check_quantised(donor, still if mode == "frozen" else set(), share)
    kinds = replaced_classes(donor.layers, statistics, still)
    silenced = {} if dropout or trained else configs_without_dropout(donor, lower)
    make = layer_maker(share, {**silenced, **head_changes(heads, activation)}, kinds)
    options = {"name": name, "kind": kind}
    model, pairs = rebuild_with_heads(donor, make, heads, activation, seed, **options)
    inner_pairs = flat_pairs(pairs)
    check_replaced(inner_pairs, statistics, still)

    # Weights and flags.
    # Lower layers, and those that were adapted to data, get the donor's weights. All others must
    # differ from the donor's, or they would not be fresh.
    copied = (lower if mode != "random" else set()) | adapted_layers(inner_pairs)

    def again():
        return flat_pairs(
            rebuild_with_heads(donor, make, heads, activation, seed + 1, **options)[1]
        )

    constant = copy_weights(inner_pairs, copied, again)
    shared = {id(old) for old, new in pairs if old is new}
    _set_flags(inner_pairs, lower, trained, policy)
    frozen_in_donor = set()
    if trained and not unfreeze:
        below = [(old, new) for old, new in inner_pairs if id(old) in lower]
        frozen_in_donor = _freeze_as_donor(below, batch_norm=batch_norm is None)
    graph.let_flags_spread(model)
    return Transplanted(model, make_report(pairs, copied, shared, constant, frozen_in_donor))


def _check_share(donor, share: Collection[str]) -> None:
    """Checks that `share` names layers of the donor."""
    names = [layer.name for layer in donor.layers]
    unknown = [share] if isinstance(share, str) else [name for name in share if name not in names]
    if unknown:
        raise errors.NotRebuildable(
            f"share: expected a list of names of layers of '{donor.name}'. Received: "
            f"{', '.join(map(repr, unknown))}"
        )


def _check_quantised(donor, still: set[int], share: Collection[str]) -> None:
    """Refuses weights of whole numbers that are to be trained or made anew.

    Args:
        donor: the whole network.
        still: identities of the layers that are copied and not trained.
        share: names of layers that are used as they are.
    """
    for layer in donor.layers:
        for inner in graph.flat_layers(layer) if layer.name not in share else ():
            mode = getattr(inner, "quantization_mode", None)
            if mode and mode != "float8" and id(inner) not in still and inner.weights:
                raise errors.NotRebuildable(
                    f"Layer '{inner.name}' of '{donor.name}' has weights of {mode}, which can be "
                    "copied but neither trained nor made anew. Expected it among the lower units "
                    "with mode='frozen', or a donor that is not quantised."
                )


def _set_flags(pairs: Pairs, lower: set[int], trained: bool, policy: str) -> None:
    """Sets the flags of the new layers: upper ones are trained, lower ones as the mode says."""
    own = [(old, new) for old, new in pairs if old is not new]
    freezing.set_trainable([new for old, new in own if id(old) not in lower], True)
    freezing.set_trainable([new for old, new in own if id(old) in lower], trained)
    norms = [
        new
        for old, new in own
        if id(old) in lower and isinstance(new, keras.layers.BatchNormalization)
    ]
    freezing.set_trainable(norms, policy != "frozen")


def _freeze_as_donor(pairs: Pairs, *, batch_norm: bool) -> set[int]:
    """Freezes again what the donor had frozen.

    Args:
        pairs: the layers of the lower units, those inside others included.
        batch_norm: whether BatchNorm too; else it follows a policy that was asked for.

    Returns:
        The identities of the weights that are not trained for this reason.
    """
    own = [(old, new) for old, new in pairs if old is not new]
    if not batch_norm:
        norm = keras.layers.BatchNormalization
        own = [(old, new) for old, new in own if not isinstance(new, norm)]
    before = {id(weight) for _, new in own for weight in new.trainable_weights}
    freezing.set_trainable([new for old, new in own if not old.trainable], False)
    for old, new in own:
        for source, target in own_weight_pairs(old, new):
            # A single weight can be frozen by itself.
            if old.trainable and not source.trainable and target.trainable:
                target.trainable = False
    return before - {id(weight) for _, new in own for weight in new.trainable_weights}
