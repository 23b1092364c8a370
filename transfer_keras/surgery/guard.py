"""A Keras callback that stops a `fit` in which something frozen moves."""

import weakref

import keras

from transfer_keras.surgery import errors, freezing, graph

# The training step that each model was last seen with (weakly: it holds the model), and the flags
# at that time.
_BUILT: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


class FrozenGuard(keras.callbacks.Callback):
    """Watches that frozen weights and BatchNorm statistics stay bit-identical during `fit`.

    Also refuses to train when a `trainable` flag was set after the training step had been
    built: Keras on TensorFlow goes on with the old flags then and says nothing. Compile again
    after setting flags.

    Args:
        every: batches between two checks within an epoch; None: at the end of each epoch. A
            check reads all frozen weights.

    Raises:
        StaleFlags: at the beginning of `fit`, or when a flag is set in its course.
        FrozenWeightChanged: when a frozen weight or statistic moved.

    Example:
        model.fit(images, labels, callbacks=[surgery.FrozenGuard()])
    """

    def __init__(self, *, every: int | None = None):
        super().__init__()
        self._every = every
        self._frozen: dict[str, str] = {}
        self._trainable: set[int] = set()

    def on_train_begin(self, logs=None):
        optimizer = self.model.optimizer
        self._trainable = _identities(self.model.trainable_variables)
        if optimizer.built:
            self._compare(_identities(optimizer._trainable_variables), "last trained")
        self._compare_flags()
        self._frozen = freezing.snapshot(self.model)

    def on_train_batch_end(self, batch, logs=None):
        if self._every and (batch + 1) % self._every == 0:
            self._check()

    def on_epoch_end(self, epoch, logs=None):
        self._check()

    def _check(self):
        freezing.assert_unchanged(self.model, self._frozen)
        self._compare(self._trainable, "this `fit` began")

    def _compare_flags(self) -> None:
        """Catches what the optimiser cannot know: layers that train no weight of their own."""
        flags = [inner.trainable for inner in graph.flat_layers(self.model)]
        step, before = _BUILT.get(self.model, (lambda: None, flags))
        if step() is self.model.train_function and before != flags:
            raise errors.StaleFlags(
                f"`trainable` of layers of '{self.model.name}' was set since the training step was "
                "built. Call `compile` again, with a new optimizer, after setting flags."
            )
        _BUILT[self.model] = (weakref.ref(self.model.train_function), flags)

    def _compare(self, before: set[int], when: str) -> None:
        now = _identities(self.model.trainable_variables)
        if now != before:
            changed = [w.path for w in self.model.weights if id(w) in now ^ before]
            raise errors.StaleFlags(
                f"`trainable` of {len(changed)} weights of '{self.model.name}' was set since "
                f"{when}: {', '.join(changed[:5])}. The training step still has the old flags. "
                "Call `compile` again, with a new optimizer, after setting flags."
            )


def _identities(variables) -> set[int]:
    return {id(variable) for variable in variables}
