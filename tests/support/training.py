"""Small trainings, and a monitor that writes down what it is told."""

import keras
import numpy as np
import tensorflow as tf

STRATEGY = tf.distribute.get_strategy()


class Recorder:
    def __init__(self):
        self.calls = []

    def begin(self, step):
        self.calls.append(("begin", step))

    def training(self, step, scores):
        self.calls.append(("training", step, scores))

    def look(self, step, look):
        self.calls.append(("look", step, look))

    def validation(self, step, scores):
        self.calls.append(("validation", step, scores))

    def end(self, step, trained):
        self.calls.append(("end", step, trained))


def linear(seed=0, classes=3, width=5):
    inputs = keras.Input((width,))
    kernel = keras.initializers.GlorotUniform(seed=seed)
    return keras.Model(
        inputs, keras.layers.Dense(classes, kernel_initializer=kernel, name="d")(inputs)
    )


def batches(count, size=4, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, size, 5)).astype(np.float32)
    y = rng.integers(0, 3, (count, size)).astype(np.int32)
    return x, y, tf.data.Dataset.from_tensor_slices((x, y))


def poisoned():
    model = linear(seed=2)
    model.set_weights([w * np.nan for w in model.get_weights()])
    return model
