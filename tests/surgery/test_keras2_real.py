"""Files that Keras 2 itself wrote, against the network that it wrote."""

import keras
import numpy as np
import pytest
from support.keras2_files import Small
from support.small_network import same

from transfer_keras import surgery

tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras, which is Keras 2")
layers = tf_keras.layers


def perturb(model):
    """Moves every weight but what a Normalization learned, which it would have to take over."""
    rng = np.random.default_rng(0)
    for layer in model._flatten_layers(include_self=False, recursive=True):
        if isinstance(layer, layers.Normalization):
            continue
        for weight in [*layer._trainable_weights, *layer._non_trainable_weights]:
            moved = rng.normal(0, 0.02, weight.shape)
            weight.assign(weight + (np.abs(moved) if "variance" in weight.name else moved))


def check(model, path, x):
    """Compares the outputs of the network with those of the one that was loaded."""
    model.save(path)
    network = surgery.load(path)
    old = np.concatenate([np.ravel(y) for y in keras.tree.flatten(model(x, training=False))])
    new = [keras.ops.convert_to_numpy(y) for y in keras.tree.flatten(network(x, training=False))]
    new = np.concatenate([np.ravel(y) for y in new])
    largest = float(np.abs(old).max())
    assert largest > 1e-3
    assert new == pytest.approx(old, abs=1e-5 * max(1.0, largest))
    return network


def pictures(side, high=255.0):
    return np.random.default_rng(1).uniform(0, high, (2, side, side, 3)).astype(np.float32)


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_keras2_reads_the_files_that_are_written_by_hand(tmp_path, name):
    small = Small(frozen=("one", "norm"))
    path = (small.write if name == "m.h5" else small.write_keras)(tmp_path / name)
    old = tf_keras.models.load_model(path, compile=False)
    assert old(small.pixels).numpy() == pytest.approx(small.outputs(), abs=1e-6)
    check(old, tmp_path / f"again_{name}", small.pixels)


def teachable_machine(**size):
    """Builds what Teachable Machine exports: MobileNetV2 and a head, each in a Sequential."""
    trunk = tf_keras.applications.MobileNetV2(
        weights=None, include_top=False, input_shape=(64, 64, 3), **size
    )
    first = tf_keras.Sequential([trunk, layers.GlobalAveragePooling2D()])
    dense = layers.Dense(20, "relu", input_shape=(1280,))
    second = tf_keras.Sequential([dense, layers.Dense(3, "softmax", use_bias=False)])
    model = tf_keras.Sequential([first, second])
    perturb(model)
    return model


@pytest.mark.slow
@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
def test_a_nested_mobilenet_with_a_head(tmp_path, name):
    network = check(teachable_machine(), tmp_path / name, pictures(64, 2) - 1)
    assert len(surgery.units(surgery.flatten(network))) == 33 + 1


def scaled_in_the_network():
    inputs = tf_keras.Input((8, 8, 3))
    x = tf_keras.applications.mobilenet_v2.preprocess_input(inputs)
    augment = [layers.RandomFlip("horizontal"), layers.RandomRotation(0.2), layers.Resizing(6, 6)]
    x = tf_keras.Sequential(augment)(x)
    base_input = tf_keras.Input((6, 6, 3))
    base = layers.BatchNormalization()(layers.Conv2D(4, 3, activation="swish")(base_input))
    base = tf_keras.Model(base_input, base, name="base")
    base.trainable = False
    x = layers.GlobalAveragePooling2D()(base(x, training=False))
    return tf_keras.Model(inputs, layers.Dense(3, "softmax")(layers.Dropout(0.2)(x)))


def caffe():
    """BGR, and the mean of each channel taken off: by slices and `tf.nn.bias_add`."""
    inputs = tf_keras.Input((8, 8, 3))
    x = tf_keras.applications.vgg16.preprocess_input(inputs)
    return tf_keras.Model(inputs, layers.Conv2D(4, 3, name="c/one")(x))


def many_kinds():
    inputs = tf_keras.Input((8, 8, 3))
    x = layers.Rescaling(1 / 255)(layers.RandomContrast(0.1)(layers.RandomZoom(0.1)(inputs)))
    x = layers.Conv2DTranspose(4, 3)(x)
    x = layers.SeparableConv2D(6, 3, activation="hard_sigmoid", depth_multiplier=2)(x)
    x = layers.GaussianNoise(0.1)(layers.SpatialDropout2D(0.1)(x))
    x = layers.ThresholdedReLU(0.1)(layers.PReLU()(x))
    x = layers.LeakyReLU(0.2)(layers.Conv2D(6, 1, groups=2, kernel_regularizer="l2")(x))
    x = layers.LayerNormalization()(layers.GroupNormalization(2)(x))
    x = layers.UpSampling2D(interpolation="bilinear")(x)
    x = layers.AveragePooling2D()(layers.Cropping2D()(layers.ZeroPadding2D()(x)))
    x = layers.Conv1D(4, 2, padding="causal")(layers.Reshape((-1, 6))(x))
    return tf_keras.Model(inputs, layers.GlobalMaxPooling1D()(x))


def sequences():
    inputs = tf_keras.Input((8, 8, 3))
    pixels = layers.TimeDistributed(layers.Dense(4))(layers.Reshape((8, 24))(inputs / 255.0))
    x = layers.MultiHeadAttention(2, 3)(pixels, pixels)
    x = layers.Bidirectional(layers.LSTM(3, return_sequences=True))(layers.Add()([x, pixels]))
    x = layers.GRU(3, recurrent_activation="hard_sigmoid")(x)
    return tf_keras.Model(inputs, layers.Dense(2, kernel_constraint="max_norm")(x))


def inside_a_wrapper():
    each = [layers.Conv2D(3, 3, input_shape=(4, 8, 3)), layers.BatchNormalization()]
    each = tf_keras.Sequential([*each, layers.GlobalAveragePooling2D()])
    inputs = tf_keras.Input((8, 8, 3))
    x = layers.TimeDistributed(each)(layers.Reshape((2, 4, 8, 3))(inputs))
    return tf_keras.Model(inputs, layers.SimpleRNN(2)(x))


NETWORKS = [scaled_in_the_network, caffe, many_kinds, sequences, inside_a_wrapper]


@pytest.mark.parametrize("name", ["m.h5", "m.keras"])
@pytest.mark.parametrize("make", NETWORKS, ids=lambda make: make.__name__)
def test_layers_and_functions(tmp_path, make, name):
    if make is caffe and name == "m.keras":
        pytest.skip("Keras 2 cannot write the slices into a .keras file")
    tf_keras.utils.set_random_seed(0)
    model = make()
    perturb(model)
    network = check(model, tmp_path / name, pictures(8))
    # Flags are those of the old network, and the network can be saved.
    surgery.save(network, tmp_path / "new.keras")
    again = surgery.load(tmp_path / "new.keras")
    x = pictures(8)
    assert same(network(x, training=False), again(x, training=False))
    trained = sum(np.prod(w.shape, dtype=int) for w in model.trainable_weights)
    assert sum(np.prod(w.shape, dtype=int) for w in network.trainable_weights) == trained


APPLICATIONS = [
    *("MobileNet", "MobileNetV3Small", "EfficientNetB0", "EfficientNetV2B0", "ResNet50V2"),
    *("DenseNet121", "RegNetX002", "ResNetRS50", "ConvNeXtTiny", "InceptionV3"),
    *("InceptionResNetV2", "NASNetMobile", "Xception"),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "ending"),
    [*((name, "h5") for name in APPLICATIONS), ("InceptionV3", "keras"), ("NASNetMobile", "keras")],
)
def test_networks_of_applications(tmp_path, name, ending):
    make = getattr(tf_keras.applications, name)
    model = make(weights=None, include_top=False, input_shape=(96, 96, 3), pooling="avg")
    perturb(model)
    check(model, tmp_path / f"m.{ending}", pictures(96))


def test_code_is_refused(tmp_path):
    inputs = tf_keras.Input((8, 8, 3))
    scale = layers.Lambda(lambda x: x / 127.5 - 1, name="scale")
    model = tf_keras.Model(inputs, layers.Conv2D(2, 3)(scale(inputs)))
    for name in ("m.h5", "m.keras"):
        model.save(tmp_path / name)
        with pytest.raises(surgery.UnreadableFile, match=r"Layer 'scale' is a Lambda: .*Rescaling"):
            surgery.load(tmp_path / name)
    # The way out that the message names.
    inputs = keras.Input((8, 8, 3))
    scaled = keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs)
    new = keras.Model(inputs, keras.layers.Conv2D(2, 3)(scaled))
    new.set_weights(model.get_weights())
    x = pictures(8)
    assert keras.ops.convert_to_numpy(new(x)) == pytest.approx(model(x).numpy(), abs=1e-5)
    new.set_weights([np.zeros_like(w) for w in new.get_weights()])
    new.load_weights(tmp_path / "m.h5")
    assert keras.ops.convert_to_numpy(new(x)) == pytest.approx(model(x).numpy(), abs=1e-5)
