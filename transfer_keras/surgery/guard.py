"""Stops a `fit` in which a frozen weight changes, as a Keras callback."""

import weakref

import keras

from transfer_keras.surgery import errors, freezing, graph

# Model -> its training step when it was last trained, and the flags at that time. The reference to
# the step is weak, since the step holds the model.
_BUILT: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class FrozenGuard(keras.callbacks.Callback):
    """Checks during `fit` that frozen weights and BatchNorm statistics stay bit-identical.

    It also refuses to train if a `trainable` flag was set after the training step had been built:
    Keras on TensorFlow then goes on with the old flags and says nothing. Compile the model again
    after setting flags. A callback that makes the training step again, as `GradualUnfreezing` does,
    may set flags during `fit`; then the weights that are still frozen are checked.

    Args:
        every: checks after so many batches, beside the check at the end of each epoch; None:
            only then. A check reads all frozen weights.

    Raises:
        StaleFlags: at the beginning of `fit`, or when a flag is set during `fit`.
        FrozenWeightChanged: when a frozen weight or statistic has changed.

    Weights that `fit` itself builds, of a model without an input, are watched from the end of the
    first batch on.

    Example:
        model.fit(images, labels, callbacks=[surgery.FrozenGuard()])
    """

    def __init__(self, *, every: int | None = None):
        super().__init__()
        self._every = every
        self._frozen: dict[str, str] = {}
        self._trainable: set[int] = set()
        self._known: set[int] = set()
        self._step = None

    def on_train_begin(self, logs=None):
        """Refuses stale flags, and takes the digests that later checks compare with."""
        optimizer = self.model.optimizer
        self._remember()
        if optimizer.built:
            self._compare(_identities(optimizer._trainable_variables), "last trained")
        self._compare_flags()

    def on_train_batch_end(self, batch, logs=None):
        """Checks the frozen weights if `every` batches have passed, or `fit` has built some."""
        due = self._every and (batch + 1) % self._every == 0
        if due or _identities(self.model.weights) != self._known:
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        """Checks the frozen weights."""
        self._check()

    def _check(self):
        if self.model.train_function is not self._step:
            # The training step was made again and has the new flags.
            still = (
                freezing.digest_weights(self.model, frozen_only=True).keys() & self._frozen.keys()
            )
            freezing.assert_unchanged(self.model, {name: self._frozen[name] for name in still})
            self._remember()
            self._compare_flags()
        freezing.assert_unchanged(self.model, self._frozen)
        self._compare(self._trainable, "this `fit` began")
        if _identities(self.model.weights) != self._known:
            self._remember()

    def _remember(self):
        """Takes what later checks compare with."""
        self._step = self.model.train_function
        self._known = _identities(self.model.weights)
        self._trainable = _identities(self.model.trainable_variables)
        self._frozen = freezing.digest_weights(self.model, frozen_only=True)

    def _compare_flags(self) -> None:
        """Refuses flags that changed since the training step was built.

        The optimiser shows only flags of layers with weights to train. This compares all flags,
        such as those of dropout.
        """
        flags = {id(inner): inner.trainable for inner in graph.flat_layers(self.model)}
        step, before = _BUILT.get(self.model, (lambda: None, flags))
        changed = any(before.get(layer, flag) != flag for layer, flag in flags.items())
        if step() is self.model.train_function and changed:
            raise errors.StaleFlags(
                f"`trainable` of layers of '{self.model.name}' was set since the training step was "
                "built. Call `compile` again, with a new optimizer, after setting flags."
            )
        _BUILT[self.model] = (weakref.ref(self.model.train_function), flags)

    def _compare(self, before: set[int], when: str) -> None:
        """Refuses to go on if other variables are trainable than before."""
        now = _identities(self.model.trainable_variables) & self._known
        if now != before:
            changed = [w.path for w in self.model.weights if id(w) in now ^ before]
            raise errors.StaleFlags(
                f"`trainable` of {len(changed)} weights of '{self.model.name}' was set since "
                f"{when}: {', '.join(changed[:5])}. The training step still has the old flags. "
                "Call `compile` again, with a new optimizer, after setting flags."
            )


def _identities(variables) -> set[int]:
    return {id(variable) for variable in variables}
