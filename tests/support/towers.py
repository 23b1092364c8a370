"""Composite layers that can be opened."""

import keras

from support.small_network import LAYERS, perturb


@keras.saving.register_keras_serializable(package="tests")
class Tower(LAYERS.Layer):
    """A whole network in one layer, as keras-hub has its transformers."""

    def __init__(self, depth=3, width=6, **kwargs):
        super().__init__(**kwargs)
        self.depth, self.width = depth, width
        self.blocks = [
            LAYERS.Dense(width, activation="tanh", name=f"block_{i}") for i in range(depth)
        ]
        self.norm = LAYERS.LayerNormalization(name="norm")

    def build(self, shape):
        for block in self.blocks:
            block.build(shape)
            shape = (*shape[:-1], self.width)
        self.norm.build(shape)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.norm(x)

    def get_config(self):
        return {**super().get_config(), "depth": self.depth, "width": self.width}


def make_tower():
    inputs = keras.Input((6,))
    x = Tower(name="tower")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(3, name="head")(x))
    perturb(model)
    return model


EXPAND = {"tower": lambda tower: [*tower.blocks, tower.norm]}
