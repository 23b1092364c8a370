"""Small trainings, and a monitor that records the calls of its hooks."""

import keras
import numpy as np
import tensorflow as tf

STRATEGY = tf.distribute.get_strategy()


class Recorder:
    """Appends (hook, step, …) to `calls` at every hook."""

    def __init__(self):
        self.calls = []

    def on_train_begin(self, step):
        self.calls.append(("on_train_begin", step))

    def on_log(self, step, scores):
        self.calls.append(("on_log", step, scores))

    def on_unit_metrics(self, step, measurement):
        self.calls.append(("on_unit_metrics", step, measurement))

    def on_test_end(self, step, scores):
        self.calls.append(("on_test_end", step, scores))

    def on_train_end(self, step, trained):
        self.calls.append(("on_train_end", step, trained))

    def hooks(self):
        """Lists (hook, step) of every call."""
        return [call[:2] for call in self.calls]


def linear(seed=0, classes=3, width=5):
    """Makes a network of one layer."""
    inputs = keras.Input((width,))
    kernel = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(
        inputs, keras.layers.Dense(classes, kernel_initializer=kernel, name="d")(inputs)
    )


def batches(count, size=4, seed=0):
    """Draws batches of random examples: images, labels, and the dataset of both."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, size, 5)).astype(np.float32)
    y = rng.integers(0, 3, (count, size)).astype(np.int32)
    return x, y, tf.data.Dataset.from_tensor_slices((x, y))


def endless(dataset):
    """Makes the batches that `Streams` takes, from a dataset."""
    return lambda start, _: dataset.repeat().skip(start)


def poisoned():
    """Makes a network whose weights are NaN."""
    model = linear(seed=2)
    model.set_weights([w * np.nan for w in model.get_weights()])
    return model
