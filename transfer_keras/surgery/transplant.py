"""Makes a new network from the lower units of a donor and freshly initialised upper units."""

import dataclasses
import operator
from collections.abc import Collection
from typing import Literal, NamedTuple

import keras
import numpy as np

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import cut, errors, freezing, fresh, graph
from transfer_keras.surgery.frozen_part import configs_without_dropout
from transfer_keras.surgery.rebuild import (
    Pairs,
    check_rebuildable,
    copy_own_state,
    flat_pairs,
    rebuild,
)
from transfer_keras.surgery.units import Blocks, Expand, Unit, has_kernel, units

Mode = Literal["frozen", "fine_tune", "random"]
MODES = ("frozen", "fine_tune", "random")
# Whether the statistics stay as they are -> class of the BatchNorm layer.
_NORMS = {
    False: keras.layers.BatchNormalization,
    True: bn.FixedStatisticsBatchNormalization,
}


@dataclasses.dataclass(frozen=True)
class Origin:
    """The origin of one weight of the new network.

    Attributes:
        weight: its path, such as "conv1/kernel".
        shape: of the weight.
        origin: "copied" from the donor, "shared" with it, or "fresh".
        trainable: whether training changes it.
    """

    weight: str
    shape: tuple[int, ...]
    origin: str
    trainable: bool


class Report(tuple[Origin, ...]):
    """The `Origin` of every weight, in the order of the layers. Prints as a table."""

    __slots__ = ()

    def __str__(self):
        """Draws the table, a row for each weight."""
        width = max([len(row.weight) for row in self] + [6])
        return "\n".join(
            f"{row.weight:<{width}}  {row.origin:<6}  "
            f"{'trainable' if row.trainable else 'frozen':<9}  {row.shape}"
            for row in self
        )


class Transplanted(NamedTuple):
    """The result of `transplant`: the new network, and the origin of each of its weights."""

    model: keras.Model
    report: Report


def transplant(
    donor: keras.Model,
    n: cut.Cut,
    *,
    head: int | None = None,
    mode: Mode = "frozen",
    seed: int,
    batch_norm: bn.Policy | None = None,
    dropout: bool = True,
    share: Collection[str] = (),
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    name: str | None = None,
) -> Transplanted:
    """Makes a new network whose lower n units come from a donor; the others are fresh.

    Args:
        donor: a functional model or a built `Sequential`; it is not changed.
        n: how many units: 0 (all are fresh) to all of them; a negative number counts from the
            top; or the name of the unit or layer up to which (see `units`).
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
        blocks, expand: how the network is divided into units; see `units`.
        name: of the new model; None: the donor's.

    Returns:
        (model, report): an uncompiled model with layers of the same names, which shares only the
        layers of `share` with the donor; and the origin of each of its weights. Layers that were
        adapted to data (normalisation, lookup) are always copied. Keras's own files lose the flags
        inside a composite layer that `expand` opened: see `save`. On PyTorch, dropout inside a
        composite layer or nested model follows the global state of that backend, not `seed`.

    Raises:
        NotACutPoint: if no unit ends at n.
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
    model_units = units(donor, blocks=blocks, expand=expand)
    count = cut.count_below(model_units, n)
    lower = _layers_below(donor, model_units, count)
    changes = {}
    if head is not None:
        last, key = _head(donor, head)
        outputs = last.get_config()[key]
        if outputs != head:
            changes[id(last)] = {key: head}
            if id(last) in lower:
                raise errors.ShapeMismatch(
                    f"head={head} differs from the {outputs} outputs of '{last.name}', which n "
                    "copies too. Give a smaller n."
                )
    _check_share(donor, share)

    # The new network.
    # Every layer is made again from its config, with initial values that `seed` and its place
    # decide, or is shared. BatchNorm that keeps its statistics becomes a layer of another class.
    fixed = lower if policy == "statistics_frozen" else set()
    silenced = {} if dropout or mode == "fine_tune" else configs_without_dropout(donor, lower)
    make = _layer_maker(share, {**silenced, **changes}, fixed)
    model, pairs = _rebuild(donor, make, changes, seed, name)
    inner_pairs = flat_pairs(pairs)
    _check_fixed(inner_pairs, fixed)

    # Weights and flags.
    # Lower layers, and those that were adapted to data, get the donor's weights. All others must
    # differ from the donor's, or they would not be fresh.
    copied = (lower if mode != "random" else set()) | _adapted(inner_pairs)
    _copy_weights(inner_pairs, copied)
    shared = {id(old) for old, new in pairs if old is new}
    _set_flags(inner_pairs, lower, shared, mode, policy)
    return Transplanted(model, _report(pairs, copied, shared))


def swap_head(model: keras.Model, classes: int, *, seed: int, name: str | None = None):
    """Copies a network with a new last weighted layer; all else, flags included, stays the same.

    Args:
        model: a functional model or a built `Sequential`; it is not changed.
        classes: number of outputs of the new layer.
        seed: decides on the new layer's initial values.
        name: of the new model; None: the old name.

    Returns:
        An uncompiled model that shares nothing with the given one.

    Raises:
        NotRebuildable: if the last weighted layer is neither dense nor a convolution, or a layer
            cannot be made from its config.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> surgery.swap_head(network, 7, seed=0).output.shape
        (None, 7)
    """
    model = graph.functional(model)
    check_rebuildable(model)
    last, key = _head(model, classes)
    changes = {id(last): {key: classes}}
    new_model, pairs = _rebuild(model, _layer_maker((), changes, None), changes, seed, name)
    operations = [node.operation for node in graph.nodes(model)]
    from_head_up = {id(operation) for operation in operations[operations.index(last) :]}
    inner_pairs = flat_pairs(pairs)
    below_head = flat_pairs([(old, new) for old, new in pairs if id(old) not in from_head_up])
    _copy_weights(inner_pairs, {id(old) for old, _ in below_head} | _adapted(inner_pairs))
    freezing.copy_flags(inner_pairs)
    freezing.set_trainable([new for old, new in pairs if old is last], True)
    return new_model


def _rebuild(donor, make, changes: dict[int, dict], seed: int, name: str | None):
    """Rebuilds a network; an error of Keras about a new head becomes a `NotRebuildable`."""
    try:
        return rebuild(donor, make, seed=operator.index(seed), name=name)
    except errors.SurgeryError:
        raise
    except ValueError as error:
        if not changes:
            raise
        raise errors.NotRebuildable(
            f"The new head {next(iter(changes.values()))} does not fit what follows it in "
            f"'{donor.name}': {errors.one_line(error)}. Make the new head by hand on "
            "`lower(model, n)`."
        ) from error


def _layers_below(donor, model_units: list[Unit], count: int) -> set[int]:
    """Gives the identities of the layers of the lower units, and of all layers inside them."""
    across = cut.used_on_both_sides(model_units, count)
    if across:
        raise errors.SharedAcrossCut(
            f"{', '.join(across)} of '{donor.name}' is used below and above the cut at n={count}, "
            "so it can be neither copied nor fresh. Cut below its first use or above its last."
        )
    lower = [layer for unit in model_units[:count] for layer in unit.layers]
    return {id(inner) for layer in lower for inner in graph.flat_layers(layer)}


def _head(donor, outputs: int) -> tuple[keras.Layer, str]:
    """Finds the last weighted layer, and the entry of its config with its number of outputs."""
    if isinstance(outputs, bool) or not isinstance(outputs, int) or outputs < 1:
        raise ValueError(
            f"A head needs a whole number of outputs, 1 or more. Received: {outputs!r}"
        )
    last = [node.operation for node in graph.nodes(donor) if _is_weighted(node.operation)][-1]
    config = last.get_config()
    key = next((key for key in ("units", "filters") if key in config), None)
    if key is None or len(donor.outputs) > 1:
        raise errors.NotRebuildable(
            "A new head needs one output, and a last weighted layer that has `units` or "
            f"`filters`. Received: {len(donor.outputs)} outputs, last '{last.name}' "
            f"({type(last).__name__}). Make the new head by hand on `lower(model, n)`."
        )
    return last, key


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
        keeps_statistics = isinstance(new, _NORMS[True])
        if id(old) in fixed and isinstance(new, _NORMS[False]) and not keeps_statistics:
            raise errors.NotRebuildable(
                f"batch_norm='statistics_frozen': '{old.name}' ({type(old).__name__}) lies inside "
                "another layer or is a class of its own, so it cannot be replaced by one that "
                "keeps its statistics. Expected plain BatchNormalization layers of the network "
                "itself. Give batch_norm='frozen'."
            )


def _is_weighted(operation) -> bool:
    """Tells whether an operation is a layer that holds a weight of rank 2 or more."""
    return isinstance(operation, keras.Layer) and has_kernel(operation)


def _layer_maker(share: Collection[str], changes: dict[int, dict], fixed: set[int] | None):
    """Gives the function that makes a new layer from one of the donor.

    Args:
        share: names of layers that are used as they are.
        changes: identity of a layer -> entries of its config to replace.
        fixed: identities of the layers whose BatchNorm keeps its statistics; None: those that
            keep them already.
    """

    def make(layer):
        if layer.name in share:
            if layer.trainable and layer.weights:
                raise errors.NotRebuildable(
                    f"share: '{layer.name}' has weights that training would change in the donor "
                    "too. Freeze it in the donor first, or leave it out of `share`."
                )
            return layer
        kind = None
        if fixed is not None and type(layer) in _NORMS.values():
            kind = _NORMS[id(layer) in fixed]
        return fresh.remake(layer, kind=kind, **changes.get(id(layer), {}))

    return make


def _adapted(pairs: Pairs) -> set[int]:
    """Gives the identities of layers whose state came from data and not from training."""
    return {id(old) for old, _ in pairs if hasattr(old, "adapt")}


def _copy_weights(pairs: Pairs, copied: set[int]) -> None:
    """Copies the state of the layers in `copied`, and checks that all others are fresh."""
    rebuilt = [(old, new) for old, new in pairs if old is not new]
    for old, new in rebuilt:
        if id(old) not in copied:
            _check_fresh(old, new)
    mismatched = []
    for old, new in rebuilt:
        if id(old) in copied:
            shapes = [[tuple(w.shape) for w in layer.weights] for layer in (old, new)]
            if shapes[0] != shapes[1]:
                mismatched.append(f"'{old.name}' has {shapes[0]}, its copy {shapes[1]}")
                continue
            copy_own_state(old, new)
    if mismatched:
        raise errors.ShapeMismatch(
            f"{len(mismatched)} layers came out of their config with other weights: "
            f"{'; '.join(mismatched)}. Their configs do not say all that made them."
        )


def _check_fresh(old: keras.Layer, new: keras.Layer) -> None:
    """Checks that no weight that was drawn at random equals the donor's."""
    for before, after in zip(old.weights, new.weights, strict=True):
        value = keras.ops.convert_to_numpy(after)
        # A bias, or a kernel of one value, begins the same each time.
        is_random = value.ndim >= 2 and np.unique(value).size > 1
        if is_random and np.array_equal(value, keras.ops.convert_to_numpy(before)):
            raise errors.NotFresh(
                f"'{old.name}' came out with the donor's own {before.name}. Expected new random "
                "values. Either the donor was made with this very seed, so give another; or its "
                "initialiser keeps values or a seed outside its config, so give another one."
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


def _report(pairs: Pairs, copied: set[int], shared: set[int]) -> Report:
    """Lists the origin of every weight of the new network."""
    rows = []
    for pair in pairs:
        origins = {}
        for old, new in flat_pairs([pair]):
            kind = "copied" if id(old) in copied else "fresh"
            for weight in new.weights:
                origins[id(weight)] = "shared" if id(pair[0]) in shared else kind
        for weight in pair[1].weights:
            path = weight.path if weight.path.startswith(pair[1].name) else weight.name
            rows.append(
                Origin(
                    weight=path if "/" in path else f"{pair[1].name}/{path}",
                    shape=tuple(weight.shape),
                    origin=origins[id(weight)],
                    trainable=any(weight is w for w in pair[1].trainable_weights),
                )
            )
    return Report(rows)
