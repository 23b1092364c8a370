"""Rules of thumb of transfer learning in plain Keras, for `benchmark_advice.py`.

python tools/advice_rules.py RULE DONOR.keras PICTURES TRUTH SECONDS SEED

Each rule has the same time; it ends with the weights that did best on `PICTURES/val`, and prints
{"top1": …, "validation": …, "seconds": …} as JSON, where top1 is that on `TRUTH/val`. Nothing of
this project is used.

- `linear`: scikit-learn's logistic regression on the output of the last pooling, its penalty by
  cross-validation.
- `last_block`: the last block and a new head, Adam 1e-3, BatchNorm kept.
- `guide`: Keras's guide: a new head at 1e-3, then all at 1e-5, BatchNorm kept.
- `all`: all at 1e-3.
- `fastai`: a new head for an epoch at 2e-3, then all by one cycle, its body at a hundredth of the
  rate of the head.
"""

import json
import pathlib
import sys
import time

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegressionCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

BATCH, MOST_EPOCHS, PATIENCE = 32, 60, 15


def main() -> None:
    """Trains by one rule, and prints what came of it."""
    rule, donor, pictures, truth, seconds, seed = sys.argv[1:]
    begun = time.monotonic()
    keras.utils.set_random_seed(int(seed))
    model = keras.saving.load_model(donor, compile=False)
    read = {
        name: _read(pathlib.Path(folder), model.input_shape[1])
        for name, folder in (("train", f"{pictures}/train"), ("val", f"{pictures}/val"),
                             ("truth", f"{truth}/val"))
    }  # fmt: skip
    trunk = keras.Model(model.input, model.layers[-2].output)
    if rule == "linear":
        top1 = _linear(trunk, read)
    else:
        top1 = _fine_tune(rule, trunk, read, begun + float(seconds))
    print(json.dumps({**top1, "seconds": time.monotonic() - begun}))


def _read(folder: pathlib.Path, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Reads pictures as `image_dataset_from_directory` does, their short side to the size."""
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), crop_to_aspect_ratio=True, shuffle=False, batch_size=BATCH,
        verbose=False,
    )  # fmt: skip
    images, labels = zip(*data.as_numpy_iterator(), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def _linear(trunk: keras.Model, read: dict) -> dict:
    features = {n: trunk.predict(x, verbose=0) for n, (x, _) in read.items()}
    fitted = make_pipeline(StandardScaler(), LogisticRegressionCV(Cs=10, cv=4, max_iter=2000))
    fitted.fit(features["train"], read["train"][1])
    scores = {name: float(fitted.score(features[name], read[name][1])) for name in read}
    return {"top1": scores["truth"], "validation": scores["val"]}


def _fine_tune(rule: str, trunk: keras.Model, read: dict, deadline: float) -> dict:
    classes = int(read["train"][1].max()) + 1
    mirrored = keras.layers.RandomFlip("horizontal")
    train = tf.data.Dataset.from_tensor_slices(read["train"]).shuffle(10_000).batch(BATCH)
    train = train.map(lambda x, y: (mirrored(x, training=True), y)).prefetch(2)
    kept = rule in ("guide", "last_block")  # BatchNorm in inference mode.
    inputs = keras.Input(trunk.input_shape[1:])
    features = trunk(inputs, training=False) if kept else trunk(inputs)
    head = keras.layers.Dense(classes, name="new_head")
    model = keras.Model(inputs, head(keras.layers.Dropout(0.2)(features)))
    best = _Best(read["val"], deadline)

    def fit(rate, epochs, callbacks=(), optimizer=None) -> None:
        model.compile(
            optimizer or keras.optimizers.Adam(rate),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        )
        best.waited = 0
        model.fit(train, epochs=epochs, callbacks=[best, *callbacks], verbose=0)

    def train_trunk(which) -> None:
        for layer in trunk.layers:
            layer.trainable = which(layer)

    if rule == "last_block":
        last = trunk.layers[-1]
        block = [x for x in trunk.layers if x.name.startswith(_last_block(trunk))]
        names = {x.name for x in trunk.layers[trunk.layers.index(block[0]) :]} | {last.name}
        train_trunk(lambda layer: layer.name in names)
        fit(1e-3, MOST_EPOCHS)
    elif rule == "guide":
        train_trunk(lambda layer: False)
        fit(1e-3, 20)
        train_trunk(lambda layer: True)
        best.to_best()
        fit(1e-5, MOST_EPOCHS)
    elif rule == "all":
        train_trunk(lambda layer: True)
        fit(1e-3, MOST_EPOCHS)
    else:
        train_trunk(lambda layer: isinstance(layer, keras.layers.BatchNormalization))
        fit(2e-3, 1)
        train_trunk(lambda layer: True)
        epochs = best.epochs_that_fit(20)
        fit(0, epochs, optimizer=_OneCycle(1e-3, epochs * len(train), head.weights))
    best.to_best()
    predicted = model.predict(read["truth"][0], batch_size=BATCH, verbose=0).argmax(axis=1)
    return {"top1": float((predicted == read["truth"][1]).mean()), "validation": best.accuracy}


def _last_block(trunk: keras.Model) -> str:
    """Gives what the names of the layers of the last block begin with."""
    named = [layer.name for layer in trunk.layers if layer.name.startswith("block")]
    return named[-1].partition("_")[0] if named else trunk.layers[-3].name


class _Best(keras.callbacks.Callback):
    """Keeps the weights that did best on validation, and ends a training in time."""

    def __init__(self, val, deadline: float):
        super().__init__()
        self._val, self._deadline, self.accuracy, self.waited = val, deadline, -1.0, 0
        self._weights, self._longest = None, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self._begun = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        images, labels = self._val
        predicted = self.model.predict(images, batch_size=BATCH, verbose=0).argmax(axis=1)
        accuracy = float((predicted == labels).mean())
        self.waited += 1
        if accuracy > self.accuracy:
            self.accuracy, self._weights, self.waited = accuracy, self.model.get_weights(), 0
        took = time.monotonic() - self._begun
        self._longest = took if epoch else max(self._longest, took / 2)
        if time.monotonic() + took > self._deadline or self.waited >= PATIENCE:
            self.model.stop_training = True

    def epochs_that_fit(self, most: int) -> int:
        """Says how many epochs there is time for, all trained, by that of the head."""
        left = self._deadline - time.monotonic()
        return int(np.clip(left / (3 * max(self._longest, 0.1)), 1, most))

    def to_best(self) -> None:
        """Gives the model the weights that did best."""
        self.model.set_weights(self._weights)


class _OneCycle(keras.optimizers.Adam):
    """Adam whose rate rises for a quarter of the steps and then falls; the body has a hundredth."""

    def __init__(self, highest: float, steps: int, head):
        rising = max(1, steps // 4)
        falling = keras.optimizers.schedules.CosineDecay(
            highest / 25, steps - rising, warmup_target=highest, warmup_steps=rising
        )
        super().__init__(falling, name="one_cycle")
        self._head = {variable.path for variable in head}

    def update_step(self, gradient, variable, learning_rate):
        # On TensorFlow this is the backend's variable, which has no path.
        own = self._trainable_variables[self._get_variable_index(variable)]
        factor = 1.0 if own.path in self._head else 0.01
        super().update_step(gradient, variable, learning_rate * factor)


if __name__ == "__main__":
    main()
