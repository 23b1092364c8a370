"""Learned positions of a vision transformer for another grid of patches."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, perturb

from transfer_keras import surgery


def bilinear(values, rows, columns):
    """Interpolates a grid bilinearly, the corners aligned; from the formula, point by point."""
    height, width, _ = values.shape
    result = np.zeros((rows, columns, values.shape[2]))
    for i in range(rows):
        for j in range(columns):
            y = i * (height - 1) / (rows - 1) if rows > 1 else 0.0
            x = j * (width - 1) / (columns - 1) if columns > 1 else 0.0
            for a in range(height):
                for b in range(width):
                    share = max(0.0, 1 - abs(y - a)) * max(0.0, 1 - abs(x - b))
                    result[i, j] += share * values[a, b]
    return result


def test_the_oracle_is_what_the_authors_call():
    ndimage = pytest.importorskip("scipy.ndimage", reason="needs SciPy")
    grid = np.random.default_rng(0).normal(size=(4, 4, 3))
    for rows, columns in ((7, 7), (3, 3), (4, 9), (2, 5)):
        zoomed = ndimage.zoom(grid, (rows / 4, columns / 4, 1), order=1)
        np.testing.assert_allclose(zoomed, bilinear(grid, rows, columns), atol=1e-12)


@keras.saving.register_keras_serializable(package="tests")
class Tokens(LAYERS.Layer):
    """Puts class tokens before the patches, and adds as many positions as it is built for."""

    def __init__(self, tokens=1, weight="pos_embed", **kwargs):
        super().__init__(**kwargs)
        self.tokens, self.weight = tokens, weight

    def build(self, shape):
        if self.tokens:
            self.token = self.add_weight(shape=(1, self.tokens, shape[-1]), name="cls")
        count = shape[1] + self.tokens
        self.position = self.add_weight(shape=(1, count, shape[-1]), name=self.weight)

    def call(self, x):
        if self.tokens:
            token = keras.ops.repeat(self.token, keras.ops.shape(x)[0], axis=0)
            x = keras.ops.concatenate([token, x], axis=1)
        return x + self.position

    def compute_output_shape(self, shape):
        return (shape[0], shape[1] + self.tokens, shape[2])

    def get_config(self):
        return {**super().get_config(), "tokens": self.tokens, "weight": self.weight}


@keras.saving.register_keras_serializable(package="tests")
class Embedded(LAYERS.Layer):
    """Cuts images in patches and adds positions from an `Embedding`, as its config tells."""

    def __init__(self, image_size, patch_size, width, num_patches=None, **kwargs):
        super().__init__(**kwargs)
        self.image_size, self.patch_size, self.width = image_size, patch_size, width
        rows, columns = (side // patch for side, patch in zip(image_size, patch_size, strict=True))
        self.num_patches = rows * columns
        assert num_patches in (None, self.num_patches)
        self.patches = LAYERS.Conv2D(width, patch_size, strides=patch_size, name="patches")
        self.position_embedding = LAYERS.Embedding(self.num_patches, width, name="positions")

    def build(self, shape):
        self.patches.build(shape)
        self.position_embedding.build((1, self.num_patches))

    def call(self, x):
        x = self.patches(x)
        x = keras.ops.reshape(x, (-1, self.num_patches, self.width))
        return x + self.position_embedding(keras.ops.arange(self.num_patches))

    def get_config(self):
        names = ("image_size", "patch_size", "width", "num_patches")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@keras.saving.register_keras_serializable(package="tests")
class Encoder(LAYERS.Layer):
    """Adds positions to patches; the number of both, and of the width, is 16."""

    def __init__(self, num_patches, projection_dim, **kwargs):
        super().__init__(**kwargs)
        self.num_patches, self.projection_dim = num_patches, projection_dim
        self.projection = LAYERS.Dense(projection_dim, name="projection")
        self.position_embedding = LAYERS.Embedding(num_patches, projection_dim, name="position")

    def build(self, shape):
        self.projection.build(shape)
        self.position_embedding.build((1, self.num_patches))

    def call(self, x):
        return self.projection(x) + self.position_embedding(keras.ops.arange(self.num_patches))

    def get_config(self):
        config = {"num_patches": self.num_patches, "projection_dim": self.projection_dim}
        return {**super().get_config(), **config}


def transformer(size, layer, *, cut=True):
    """A small vision transformer of patches of 4 x 4 pixels, whose positions `layer` adds."""
    inputs = keras.Input((*size, 3))
    x = inputs
    if cut:
        x = LAYERS.Conv2D(16, 4, strides=4, name="patches")(x)
        x = LAYERS.Reshape((-1, 16), name="tokens")(x)
    x = layer(x)
    x = LAYERS.Add(name="sum")([x, LAYERS.MultiHeadAttention(2, 4, name="attention")(x, x)])
    x = LAYERS.GlobalAveragePooling1D(name="pool")(LAYERS.LayerNormalization(name="norm")(x))
    model = keras.Model(inputs, LAYERS.Dense(3, name="head")(x), name="vit")
    perturb(model)
    return model


def position(model):
    """Gives the weight of a network that holds the positions."""
    weights = model.get_layer("added").weights
    return next(w for w in weights if "pos" in w.path or w.name == "table")


def table(model):
    return as_numpy(position(model))


def pictures(height, width):
    return np.random.default_rng(0).normal(size=(2, height, width, 3)).astype(np.float32)


def check(model, new, built, tokens, old, size):
    """Compares with a network built for the size, which gets the weights and the positions."""
    positions = table(model).reshape(-1, 16)
    grid = positions[tokens:].reshape(*old, 16)
    rows, columns = size[0] // 4, size[1] // 4
    patches = bilinear(grid, rows, columns).reshape(-1, 16)
    expected = np.concatenate([positions[:tokens], patches])
    np.testing.assert_allclose(table(new).reshape(-1, 16), expected, atol=1e-6)
    for before, after in zip(model.weights, built.weights, strict=True):
        is_position = after is position(built)
        after.assign(expected.reshape(after.shape) if is_position else as_numpy(before))
    x = pictures(*size)
    np.testing.assert_allclose(as_numpy(new(x)), as_numpy(built(x)), atol=1e-5)


@pytest.mark.parametrize("tokens", [0, 1, 2])
@pytest.mark.parametrize("size", [(28, 28), (12, 20), (8, 32)])
def test_positions_that_are_built_from_the_input(tokens, size):
    # 16 patches before; (8, 32) has 16 too, and other positions.
    model = transformer((16, 16), Tokens(tokens, name="added"))
    new = surgery.with_input(model, image_size=size)
    built = transformer(size, Tokens(tokens, name="added"))
    check(model, new, built, tokens, (4, 4), size)


def test_positions_of_a_network_that_is_not_square():
    model = transformer((8, 24), Tokens(name="added"))
    built = transformer((16, 16), Tokens(name="added"))
    check(model, surgery.with_input(model, image_size=16), built, 1, (2, 6), (16, 16))


@pytest.mark.parametrize("size", [(28, 28), (12, 20)])
def test_positions_that_the_config_tells(size):
    def build(shape):
        return transformer(shape, Embedded(shape, (4, 4), 16, name="added"), cut=False)

    model = build((16, 16))
    new = surgery.with_input(model, image_size=size)
    assert tuple(new.get_layer("added").image_size) == size
    check(model, new, build(size), 0, (4, 4), size)

    # The width equals the number of patches, and stays.
    model = transformer((16, 16), Encoder(16, 16, name="added"))
    new = surgery.with_input(model, image_size=size)
    patches = size[0] * size[1] // 16
    check(model, new, transformer(size, Encoder(patches, 16, name="added")), 0, (4, 4), size)


def test_positions_that_are_named():
    model = transformer((16, 16), Tokens(weight="table", name="added"))
    message = r"'added' \(Tokens\).*table has shape \(1, 17, 16\).*positions=\['added/table'\]"
    with pytest.raises(surgery.ShapeMismatch, match=message):
        surgery.with_input(model, image_size=28)
    new = surgery.with_input(model, image_size=28, positions=["added/table"])
    built = transformer((28, 28), Tokens(weight="table", name="added"))
    check(model, new, built, 1, (4, 4), (28, 28))
    with pytest.raises(
        surgery.UnknownLayer, match=r"no weight 'added/tabel'. Nearest names: added/"
    ):
        surgery.with_input(model, image_size=28, positions=["added/tabel"])
    with pytest.raises(surgery.UnknownLayer, match=r"positions: expected a list"):
        surgery.with_input(model, image_size=28, positions="added/table")
    with pytest.raises(surgery.ShapeMismatch, match=r"gamma of 'norm' has shape \(16,\)"):
        surgery.with_input(model, image_size=28, positions=["norm/gamma"])
    with pytest.raises(surgery.ShapeMismatch, match=r"kernel of 'head' came out with .*\(49, 3\)"):
        surgery.with_input(model, image_size=28, positions=["added/table", "head/kernel"])


def test_a_mixer_is_not_taken_for_positions():
    # Its kernels have a row for each patch, and so the shape of learned positions.
    inputs = keras.Input((16, 16, 3))
    x = LAYERS.Reshape((-1, 8))(LAYERS.Conv2D(8, 4, strides=4, name="patches")(inputs))
    x = LAYERS.Permute((2, 1))(x)
    model = keras.Model(inputs, LAYERS.Dense(5, name="mixed")(x))
    with pytest.raises(surgery.ShapeMismatch, match=r"'mixed' \(Dense\)(?!.*positions=)"):
        surgery.with_input(model, image_size=28)


def test_class_tokens_keep_their_entry():
    model = transformer((16, 16), Tokens(2, name="added"))
    new = surgery.with_input(model, image_size=32)
    np.testing.assert_array_equal(table(new)[0, :2], table(model)[0, :2])
    # The corners are aligned.
    np.testing.assert_allclose(table(new)[0, [2, 9, -8, -1]], table(model)[0, [2, 5, -4, -1]])
