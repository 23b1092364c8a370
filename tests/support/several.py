"""Networks without a tensor that carries all, as people have them; small."""

import keras
import numpy as np

LAYERS = keras.layers


def make_masked(blocks=2):
    """Makes a small BERT: two inputs, and a padding mask that is used in every block."""
    tokens = keras.Input((5,), dtype="int32", name="tokens")
    segments = keras.Input((5,), dtype="int32", name="segments")
    mask = keras.ops.not_equal(tokens, 0)[:, None, :]
    x = LAYERS.Embedding(11, 8, name="token_embedding")(tokens)
    x = LAYERS.Add(name="sum")([x, LAYERS.Embedding(2, 8, name="segment_embedding")(segments)])
    x = LAYERS.LayerNormalization(name="norm")(x)
    for i in range(blocks):
        attention = LAYERS.MultiHeadAttention(2, 4, name=f"attention_{i}")
        y = attention(x, x, attention_mask=mask)
        x = LAYERS.LayerNormalization(name=f"attention_{i}_norm")(x + y)
        y = LAYERS.Dense(12, "gelu", name=f"wide_{i}")(x)
        y = LAYERS.Dense(8, name=f"narrow_{i}")(y)
        x = LAYERS.LayerNormalization(name=f"narrow_{i}_norm")(x + y)
    x = LAYERS.Dense(3, name="head")(x[:, 0])
    return keras.Model({"tokens": tokens, "segments": segments}, x, name="masked")


def make_unet():
    """Makes a U-Net of two levels with BatchNorm."""

    def convolve(x, filters, name):
        x = LAYERS.Conv2D(filters, 3, padding="same", name=name)(x)
        x = LAYERS.BatchNormalization(name=f"{name}_bn")(x)
        return LAYERS.ReLU(name=f"{name}_relu")(x)

    inputs = keras.Input((8, 8, 3))
    first = convolve(inputs, 4, "down_1")
    second = convolve(LAYERS.MaxPooling2D(name="pool_1")(first), 5, "down_2")
    x = convolve(LAYERS.MaxPooling2D(name="pool_2")(second), 6, "bottom")
    x = LAYERS.Concatenate(name="join_2")([LAYERS.UpSampling2D(name="rise_2")(x), second])
    x = convolve(x, 5, "up_2")
    x = LAYERS.Concatenate(name="join_1")([LAYERS.UpSampling2D(name="rise_1")(x), first])
    x = convolve(x, 4, "up_1")
    return keras.Model(inputs, LAYERS.Conv2D(2, 1, name="head")(x), name="unet")


def make_image_and_table():
    """Makes a network of a picture and a row of a table, which meet near the top."""
    image, table = keras.Input((8, 8, 3), name="image"), keras.Input((4,), name="table")
    x = LAYERS.Conv2D(4, 3, name="conv_1")(image)
    x = LAYERS.BatchNormalization(name="conv_1_bn")(x)
    x = LAYERS.ReLU(name="conv_1_relu")(x)
    x = LAYERS.Conv2D(5, 3, name="conv_2")(x)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    y = LAYERS.Dense(6, "relu", name="row")(table)
    x = LAYERS.Dense(7, "relu", name="both")(LAYERS.Concatenate(name="join")([x, y]))
    return keras.Model([image, table], LAYERS.Dense(2, name="head")(x), name="image_and_table")


def make_streams():
    """Makes two streams of convolutions with BatchNorm, which meet before the head."""
    tensors = []
    for side in "ab":
        inputs = x = keras.Input((8, 8, 2), name=f"input_{side}")
        for i in (1, 2):
            x = LAYERS.Conv2D(3, 3, name=f"{side}_{i}")(x)
            x = LAYERS.BatchNormalization(name=f"{side}_{i}_bn")(x)
            x = LAYERS.ReLU(name=f"{side}_{i}_relu")(x)
        tensors.append((inputs, LAYERS.GlobalAveragePooling2D(name=f"{side}_pool")(x)))
    x = LAYERS.Concatenate(name="join")([x for _, x in tensors])
    x = LAYERS.Dense(2, name="head")(x)
    return keras.Model([inputs for inputs, _ in tensors], x, name="streams")


def make_auxiliary():
    """Makes a chain of convolutions with a second head halfway, as Inception had in training."""
    x = inputs = keras.Input((8, 8, 3))
    for i in (1, 2, 3, 4):
        x = LAYERS.Conv2D(4, 3, padding="same", name=f"conv_{i}")(x)
        x = LAYERS.BatchNormalization(name=f"conv_{i}_bn")(x)
        if i == 2:
            side = LAYERS.GlobalAveragePooling2D(name="side_pool")(x)
            side = LAYERS.Dense(2, name="side_head")(side)
    x = LAYERS.GlobalAveragePooling2D(name="pool")(x)
    outputs = {"main": LAYERS.Dense(3, name="head")(x), "side": side}
    return keras.Model(inputs, outputs, name="auxiliary")


MAKERS = {
    make.__name__.removeprefix("make_"): make
    for make in (make_masked, make_unet, make_image_and_table, make_streams, make_auxiliary)
}


def examples(model, count=3, seed=0):
    """Draws inputs for a model, in the structure of its inputs."""
    rng = np.random.default_rng(seed)

    def draw(tensor):
        shape = (count, *tensor.shape[1:])
        if "int" in tensor.dtype:
            return rng.integers(0, 2, shape).astype("int32")
        return rng.normal(size=shape).astype("float32")

    return keras.tree.map_structure(draw, model.input)
