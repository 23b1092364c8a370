"""Configs that cannot be copied deeply, and weights that are the same for every seed."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, same

from transfer_keras import surgery

SIDE = 8
PREPROCESSING = {
    "RandomBrightness": 0.2,
    "RandomSaturation": 0.5,
    "RandomSharpness": 0.5,
    "RandomColorDegeneration": 0.5,
    "Solarization": 0.5,
}


@keras.saving.register_keras_serializable(package="tests")
class Scaled(LAYERS.Layer):
    """Has a list among its arguments, and a generator of seeds in its config."""

    def __init__(self, factors, generator=None, **kwargs):
        super().__init__(**kwargs)
        self.factors = factors
        self.generator = generator or keras.random.SeedGenerator(3)

    def call(self, x):
        return x * self.factors[0] + self.factors[1]

    def get_config(self):
        own = {"factors": self.factors, "generator": self.generator}
        return {**super().get_config(), **own}


def convolutional(first):
    inputs = keras.Input((SIDE, SIDE, 3))
    x = LAYERS.Conv2D(2, 3, name="one")(first(inputs))
    return keras.Model(inputs, LAYERS.Dense(3, name="two")(LAYERS.Flatten(name="flat")(x)))


@pytest.mark.parametrize("kind", [*PREPROCESSING, "Scaled"])
def test_layers_whose_configs_hold_objects(kind):
    first = Scaled([2.0, 1.0]) if kind == "Scaled" else getattr(LAYERS, kind)(PREPROCESSING[kind])
    donor = convolutional(first)
    model, _ = surgery.transplant(donor, 1, seed=0)
    x = np.random.default_rng(0).uniform(0, 255, (2, SIDE, SIDE, 3)).astype("float32")
    new, _ = surgery.transplant(donor, 2, seed=0)
    assert same(new(x, training=False), donor(x, training=False))
    fused = surgery.fuse({"a": model, "b": new})
    assert same(surgery.extract(fused, "b")(x, training=False), donor(x, training=False))


@keras.saving.register_keras_serializable(package="tests")
class Suffixed(LAYERS.Dense):
    """Adds to the name that it is given, as a block of KerasHub's MobileNet does."""

    def __init__(self, units, name=None, **kwargs):
        super().__init__(units, **kwargs)
        self.name = f"{name}_0"


def test_names_that_a_class_makes_are_kept():
    donor = keras.Sequential([keras.Input((4,)), Suffixed(3, name="own"), LAYERS.Dense(2)])
    new, _ = surgery.transplant(donor, 1, seed=0)
    assert donor.layers[0].name == "own_0"
    assert same(new.get_layer("own_0").kernel, donor.layers[0].kernel)
    assert surgery.extract(surgery.fuse({"a": new}), "a").get_layer("own_0")


@keras.saving.register_keras_serializable(package="tests")
class Positions(LAYERS.Layer):
    """Adds fixed sines to a sequence, or learned positions that begin so."""

    def __init__(self, fixed=True, **kwargs):
        super().__init__(**kwargs)
        self.fixed = fixed

    def build(self, shape):
        def sines(shape, dtype=None):
            steps, width = shape
            angles = np.arange(steps)[:, None] / 10 ** (np.arange(width) / width)
            return keras.ops.cast(np.sin(angles), dtype or "float32")

        self.table = self.add_weight(
            shape=shape[1:], initializer=sines, trainable=not self.fixed, name="table"
        )

    def call(self, x):
        return x + self.table

    def get_config(self):
        return {**super().get_config(), "fixed": self.fixed}


def sequence(layer, **options):
    inputs = keras.Input((SIDE, 4))
    x = LAYERS.Dense(4, name="one")(inputs)
    x = layer(LAYERS.Dense(4, name="two", **options)(x))
    return keras.Model(inputs, LAYERS.Dense(3, name="three")(x), name="donor")


MATRIX = np.random.default_rng(0).normal(size=(9, 4)).tolist()
CONSTANT = {
    "fixed positions": (lambda: sequence(Positions()), "positions/table"),
    "learned positions": (lambda: sequence(Positions(fixed=False)), "positions/table"),
    "identity": (
        lambda: sequence(LAYERS.Activation("relu"), kernel_initializer="identity"),
        "two/kernel",
    ),
    "constant": (
        lambda: sequence(
            LAYERS.Activation("relu"),
            kernel_initializer=keras.initializers.Constant(MATRIX[:4]),
        ),
        "two/kernel",
    ),
}


@pytest.mark.parametrize("case", CONSTANT)
def test_what_is_the_same_for_every_seed_is_constant(case):
    make, name = CONSTANT[case]
    donor = make()
    _, report = surgery.transplant(donor, 1, seed=0)
    origins = {row.weight.split("/")[-2][:9] + "/" + row.weight.split("/")[-1]: row.origin
               for row in report}  # fmt: skip
    assert origins[name] == "constant"
    assert origins["three/kernel"] == "fresh"
    assert list(origins.values()).count("constant") == 1
    surgery.swap_head(donor, 5, seed=0)


def test_stft_kernels():
    pytest.importorskip("scipy", reason="Keras has its windows from SciPy")
    inputs = keras.Input((64, 1))
    x = LAYERS.Conv1D(4, 3, name="one")(inputs)
    x = LAYERS.STFTSpectrogram(frame_length=16, frame_step=8, name="stft")(x)
    donor = keras.Model(inputs, LAYERS.Dense(3, name="two")(x))
    _, report = surgery.transplant(donor, 1, seed=0)
    kinds = {row.weight.split("/")[0]: row.origin for row in report if "kernel" in row.weight}
    assert kinds == {"one": "copied", "stft": "constant", "two": "fresh"}


@keras.saving.register_keras_serializable(package="tests")
class HiddenSeed(LAYERS.Dense):
    """Draws its kernel with a seed that is not in its config."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **{**kwargs, "kernel_initializer": "glorot_uniform"})
        self.kernel_initializer = keras.initializers.GlorotUniform(seed=7)

    def get_config(self):
        config = super().get_config()
        return {k: v for k, v in config.items() if k != "kernel_initializer"}


def test_a_hidden_seed_is_not_fresh():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, name="one")(inputs)
    donor = keras.Model(inputs, HiddenSeed(4, name="two")(x))
    with pytest.raises(surgery.NotFresh, match="'two' came out with the donor's own kernel"):
        surgery.transplant(donor, 1, seed=0)


def test_the_donor_s_own_seed_is_not_fresh():
    first, _ = surgery.transplant(sequence(LAYERS.Activation("relu")), 1, seed=5)
    with pytest.raises(surgery.NotFresh, match="made with this very seed"):
        surgery.transplant(first, 1, seed=5)
    surgery.transplant(first, 1, seed=6)


class NoConfig(LAYERS.Layer):
    """Cannot be made from its config."""

    def __init__(self, scale, **kwargs):
        super().__init__(**kwargs)
        self._function = scale

    def call(self, x):
        return self._function(x)

    def get_config(self):
        return {"name": self.name}


def test_share_is_advised_only_where_it_is_an_argument():
    inputs = keras.Input((4,))
    x = LAYERS.Dense(4, name="one")(NoConfig(lambda x: 2 * x, name="odd")(inputs))
    model = keras.Model(inputs, x)
    with pytest.raises(surgery.NotRebuildable, match=r"share=\['odd'\]"):
        surgery.transplant(model, 1, seed=0)
    others = [
        lambda: surgery.swap_head(model, 2, seed=0),
        lambda: surgery.fuse({"a": model}),
        lambda: surgery.logits(model),
        lambda: surgery.merge_lora(model),
    ]
    for other in others:
        with pytest.raises(surgery.NotRebuildable) as error:
            other()
        assert "share" not in str(error.value)
