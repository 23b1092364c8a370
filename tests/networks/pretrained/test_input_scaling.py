"""What a donor takes of a picture."""

import keras
import numpy as np
import pytest
from support.networks import (
    PIXELS,
    answers,
    body,
    classifier,
    network,
    request,
    saved,
    softmax,
)

from transfer_keras.config.errors import UserError

layers = keras.layers


@pytest.mark.parametrize(
    ("pixels", "scaled"),
    [
        ("0..255", PIXELS),
        ("0..1", PIXELS / 255),
        ("-1..1", PIXELS / 127.5 - 1),
        ("mobilenet_v2", keras.applications.mobilenet_v2.preprocess_input(PIXELS.copy())),
        ("resnet50", keras.applications.resnet50.preprocess_input(PIXELS.copy())),
        ("densenet", keras.applications.densenet.preprocess_input(PIXELS.copy())),
        ("efficientnet", keras.applications.efficientnet.preprocess_input(PIXELS.copy())),
    ],
)
def test_pixels_are_scaled_as_the_donor_needs_them(tmp_path, pixels, scaled):
    own = classifier(scaling=False)
    donor = network(request(saved(tmp_path, own), donor_pixels=pixels))
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(own, scaled), abs=1e-5)


def test_grey_donors_see_grey_pictures(tmp_path):
    own = classifier((24, 24, 1))
    donor = network(request(saved(tmp_path, own)))
    grey = (PIXELS @ np.float32([0.2989, 0.5870, 0.1140]))[..., None]
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(own, grey), abs=1e-3)


def test_a_donor_of_bytes_and_any_size(tmp_path):
    own = classifier((None, None, 3), dtype="uint8")
    donor = network(request(saved(tmp_path, own), image_size=24))
    assert donor.input_shape == (None, 24, 24, 3)
    probabilities = softmax(answers(donor, PIXELS))
    assert probabilities == pytest.approx(answers(own, PIXELS.astype(np.uint8)), abs=1e-5)


def imagenet_normalization(x):
    rescaled = layers.Rescaling(1 / 255)(x)
    return layers.Normalization(mean=[0.485, 0.456, 0.406], variance=[0.052, 0.05, 0.05])(rescaled)


SCALED = {
    "operation": lambda x: x / 255.0,
    "mobilenet_v2": keras.applications.mobilenet_v2.preprocess_input,
    "resnet50": keras.applications.resnet50.preprocess_input,
    "augmented": lambda x: layers.RandomContrast(0.5)(layers.Rescaling(1 / 255)(x)),
    "normalization": imagenet_normalization,
}
NOT_SCALED = {
    "nothing": (lambda x: x, "it makes 0 to 255 of 0..255"),
    "of 0..1": (layers.Normalization(mean=0.5, variance=0.06), "makes -2.04 to 1.04e+03 of"),
    "twice": (lambda x: x / 255.0 / 255.0, "makes 0 to 0.00392 of"),
    "saturated": (keras.ops.sigmoid, "makes 0.5 to 1 of"),
    "none of it": (lambda x: x * 0.0, "makes 0 to 0 of"),
}


def with_scaling(scale):
    inputs = keras.Input((24, 24, 3))
    return keras.Model(inputs, layers.Dense(4, name="out")(body(scale(inputs))), name="own")


@pytest.mark.parametrize("name", SCALED)
def test_scaling_is_seen_by_what_reaches_the_first_kernel(tmp_path, name):
    own = with_scaling(SCALED[name])
    path = saved(tmp_path, own)
    donor = network(request(path))
    assert answers(donor, PIXELS) == pytest.approx(answers(own, PIXELS), abs=1e-4)
    network(request(path, donor_pixels="0..255"))
    with pytest.raises(UserError, match=r"--donor_pixels=0\.\.1: .* scales pixels itself \(layer"):
        network(request(path, donor_pixels="0..1"))


@pytest.mark.parametrize("name", NOT_SCALED)
def test_what_is_not_scaled_is_refused(tmp_path, name):
    scale, message = NOT_SCALED[name]
    path = saved(tmp_path, with_scaling(scale))
    with pytest.raises(UserError, match="does not say what pixels it takes") as error:
        network(request(path))
    assert message in str(error.value)
    network(request(path, donor_pixels="0..1"))


def test_every_first_kernel_needs_scaled_pixels(tmp_path):
    inputs = keras.Input((24, 24, 3))
    ends = [layers.Conv2D(4, 3)(x) for x in (inputs, layers.Rescaling(1 / 255)(inputs))]
    x = layers.Dense(3)(layers.GlobalAveragePooling2D()(layers.Add()(ends)))
    with pytest.raises(UserError, match="makes 0 to 255 of"):
        network(request(saved(tmp_path, keras.Model(inputs, x))))
