"""Freezes and unfreezes units of a network in place, and unfreezes them during a `fit`."""

import contextlib
import itertools
from collections.abc import Collection, Iterator, Mapping
from typing import Literal

import keras

from transfer_keras.surgery import batch_norm as bn
from transfer_keras.surgery import cut, errors, graph, optimizers
from transfer_keras.surgery.freezing import set_flag, set_trainable
from transfer_keras.surgery.units import Blocks, Cuts, Expand

Norms = Literal["frozen", "train"]


def freeze(
    model: keras.Model,
    n: cut.Cut,
    *,
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> list[str]:
    """Freezes the lower n units of a network, in place; others keep their flags.

    Frozen BatchNorm runs in inference mode, so its statistics stay too. Dropout stays active in
    training. Compile the model again before the next `fit`, with a new optimizer: Keras goes on
    with the old flags else.

    Args:
        model: a functional model or a built `Sequential`; its flags are changed, its weights not.
        n: how many units, where a negative number counts from the top; or the name of a layer,
            whose own output is the cut (see `lower`): what follows it in its unit lies above.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        The names of the layers with weights whose flags, or those of layers inside them, changed.

    Raises:
        NotACutPoint: if no unit ends at n.
        SharedAcrossCut: if a layer is used both below and above the cut.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> surgery.freeze(network, 1)
        ['one']
        >>> network.compile("adam", "mse")
    """
    below, _ = cut.sides(graph.functional(model), n, blocks=blocks, expand=expand, cuts=cuts)
    with _changes(model) as changed:
        set_trainable(below, False)
    return changed


def unfreeze(
    model: keras.Model,
    n: cut.Cut,
    *,
    batch_norm: Norms = "frozen",
    keep: Collection[str] = (),
    blocks: Blocks | None = None,
    expand: Expand | None = None,
    cuts: Cuts = "single",
) -> list[str]:
    """Unfreezes all units above the lower n of a network, in place; the lower keep their flags.

    Compile the model again before the next `fit`, with a new optimizer: Keras goes on with the
    old flags else. `GradualUnfreezing` unfreezes during a `fit`.

    Args:
        model: a functional model or a built `Sequential`; its flags are changed, its weights not.
        n: how many units stay as they are; 0 unfreezes all; see `freeze`.
        batch_norm: "frozen": BatchNorm that is frozen stays so, and runs in inference mode, as
            Keras's guide of fine-tuning advises; "train": it is unfrozen too.
        keep: names of layers that keep their flags, such as those that are fixed by design.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Returns:
        The names of the layers with weights whose flags, or those of layers inside them, changed.

    Raises:
        NotACutPoint: if no unit ends at n.
        SharedAcrossCut: if a layer is used both below and above the cut.
        UnknownLayer: if `keep` names a layer that the network does not have.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, name="one"),
        ...     keras.layers.BatchNormalization(name="one_bn"),
        ...     keras.layers.Dense(3, name="two"),
        ... ])
        >>> surgery.freeze(network, 2)
        ['one', 'one_bn', 'two']
        >>> surgery.unfreeze(network, 0)
        ['one', 'two']
        >>> network.compile("adam", "mse")
    """
    _check_norms(batch_norm)
    _, above = cut.sides(graph.functional(model), n, blocks=blocks, expand=expand, cuts=cuts)
    kept = _kept(model, above, keep)
    with _changes(model) as changed:
        if not model.trainable:
            _unfreeze_itself(model)
        for layer in above:
            for inner in graph.flat_layers(layer):
                is_norm = isinstance(inner, keras.layers.BatchNormalization)
                fixed = isinstance(inner, bn.FixedStatisticsBatchNormalization)
                stays = is_norm and not fixed and batch_norm == "frozen"
                if not (inner.trainable or stays or id(inner) in kept):
                    _unfreeze_itself(inner)
    return changed


class GradualUnfreezing(keras.callbacks.Callback):
    """Unfreezes a network unit by unit during `fit`, from the top (gradual unfreezing).

    From each epoch of the schedule on, only so many lower units stay frozen (Howard and Ruder
    2018, arXiv:1801.06146). It makes the training step again, and the optimizer: the state of
    weights that are trained already is kept, such as momentum; that of others is new, and Adam's
    correction counts their steps from then. So the result is that of one `fit` for each stage. A
    `fit` that begins at a later epoch (`initial_epoch`) begins with the stage that is due.

    Compile the model with the flags of the beginning, those of `freeze` or `transplant`. The
    optimizer must be an SGD, Adam, AdamW, Adamax, Adagrad, Lion or RMSprop of Keras, with learning
    rates by unit (`unit_learning_rates`) or without. `model.optimizer` is another object after
    each stage. `FrozenGuard` in the same `fit` checks what is still frozen.

    Args:
        schedule: epoch, counted from 0 as in `fit` -> number of lower units that stay frozen from
            then on, or the name of a layer; see `freeze`.
        batch_norm, keep: what stays frozen; see `unfreeze`.
        blocks, expand, cuts: how the network is divided into units; see `units`.

    Raises:
        ValueError: if an epoch is no whole number, or more units are frozen later than before.
        NotRebuildable: at the beginning of a stage, if the optimizer is of another class.

    Example:
        >>> network = keras.Sequential([
        ...     keras.Input((8,)),
        ...     keras.layers.Dense(6, "relu", name="one"),
        ...     keras.layers.Dense(4, "relu", name="two"),
        ...     keras.layers.Dense(3, name="three"),
        ... ])
        >>> _ = surgery.freeze(network, 2)
        >>> network.compile("adam", "mse")
        >>> callback = surgery.GradualUnfreezing({2: 1, 3: 0})
        >>> _ = network.fit(
        ...     np.ones((4, 8)), np.ones((4, 3)), epochs=4, callbacks=[callback], verbose=0
        ... )
        >>> [layer.trainable for layer in network.layers]
        [True, True, True]
    """

    def __init__(
        self,
        schedule: Mapping[int, cut.Cut],
        *,
        batch_norm: Norms = "frozen",
        keep: Collection[str] = (),
        blocks: Blocks | None = None,
        expand: Expand | None = None,
        cuts: Cuts = "single",
    ):
        super().__init__()
        _check_norms(batch_norm)
        wrong = [e for e in schedule if isinstance(e, bool) or not isinstance(e, int) or e < 0]
        if wrong or not schedule:
            raise ValueError(
                "schedule: expected epochs, counted from 0, and the number of units that stay "
                f"frozen from each on. Received: {dict(schedule)!r}"
            )
        self._schedule = dict(sorted(schedule.items()))
        self._divided = {"blocks": blocks, "expand": expand, "cuts": cuts}
        self._options = {"batch_norm": batch_norm, "keep": keep, **self._divided}
        self._stage: int | None = None

    def on_train_begin(self, logs=None):
        """Checks that the stages follow one another from the top down."""
        below = [
            {id(layer) for layer in cut.sides(graph.functional(self.model), n, **self._divided)[0]}
            for n in self._schedule.values()
        ]
        if not all(later <= earlier for earlier, later in itertools.pairwise(below)):
            raise ValueError(
                "schedule: no stage may leave a unit frozen that an earlier one has unfrozen. "
                f"Received: {self._schedule}"
            )
        self._stage = None

    def on_epoch_begin(self, epoch, logs=None):
        """Begins the stage that is due."""
        due = max((first for first in self._schedule if first <= epoch), default=None)
        if due == self._stage:
            return
        self._stage = due
        unfreeze(self.model, self._schedule[due], **self._options)
        optimizer, variables = self.model.optimizer, self.model.trainable_variables
        if optimizer.built and not _same(optimizers.trained_variables(optimizer), variables):
            with _scope(self.model):
                self.model.optimizer = optimizers.with_variables(optimizer, variables)
        self.model.make_train_function(force=True)


def _same(some, others) -> bool:
    return [id(x) for x in some] == [id(x) for x in others]


def _scope(model: keras.Model):
    """Enters the scope in which a distributed model makes its variables, on TensorFlow."""
    strategy = getattr(model, "distribute_strategy", None)
    return contextlib.nullcontext() if strategy is None else strategy.scope()


def _check_norms(batch_norm: str) -> None:
    if batch_norm not in ("frozen", "train"):
        raise ValueError(
            f"batch_norm must be 'frozen' or 'train'. Received: {batch_norm!r}. "
            "`transplant` makes a network of the policy 'statistics_frozen'."
        )


def _kept(model: keras.Model, above: list, names: Collection[str]) -> set[int]:
    """Gives the identities of the layers of these names, and of all layers inside them."""
    if isinstance(names, str):
        raise errors.UnknownLayer(f"keep: expected a list of names. Received: {names!r}")
    known = {layer.name: layer for layer in above}
    layers = [known.get(name) or graph.calls(model, name)[0].operation for name in names]
    return {id(inner) for layer in layers for inner in graph.flat_layers(layer)}


def _unfreeze_itself(layer: keras.Layer) -> None:
    """Sets the flag of a layer, while the layers inside it keep theirs."""
    inside = [(inner, inner.trainable) for inner in graph.flat_layers(layer)[1:]]
    weights = [(w, w.trainable) for inner, _ in inside for w in inner.weights]
    set_flag(layer, True)
    for inner, value in inside:
        set_flag(inner, value)
    for weight, value in weights:
        # A single weight can be frozen by itself.
        if weight.trainable != value:
            weight.trainable = value


@contextlib.contextmanager
def _changes(model: keras.Model) -> Iterator[list[str]]:
    """Lists the names of the layers whose flags change within the context."""

    def flags() -> dict[str, list[bool]]:
        return {
            layer.name: [inner.trainable for inner in graph.flat_layers(layer) if inner.weights]
            for layer in model.layers
        }

    before, changed = flags(), []
    yield changed
    changed += [name for name, value in flags().items() if value != before[name]]
