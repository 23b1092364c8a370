import colorsys
import itertools

import numpy as np
import pytest

from transfer_keras.config import dataset_names
from transfer_keras.config.errors import UserError
from transfer_keras.datasets import formula, sources
from transfer_keras.datasets.preprocessing import Preprocessing


def test_names():
    names = formula.class_names(5)
    assert names == ["fractal_00", "fractal_01", "fractal_02", "contour_00", "contour_01"]


@pytest.mark.parametrize("name", ["fractal_03", "contour_07"])
def test_drawing_is_a_function_of_its_arguments(name):
    one = formula.draw_class(name, 8, 32)
    assert (one.shape, one.dtype) == ((8, 32, 32, 3), np.uint8)
    assert np.array_equal(one, formula.draw_class(name, 8, 32))
    assert not np.array_equal(one, formula.draw_class(name, 8, 32, seed=1))
    assert all(not np.array_equal(a, b) for a, b in itertools.combinations(one, 2))


def test_the_surface_has_the_hue_of_its_class():
    """The hue of the strongest colours of each picture is one and the same in a class."""
    for name in formula.class_names(6):
        picture = formula.draw_class(name, 30, 32) / 255
        chroma = picture.max(axis=-1) - picture.min(axis=-1)
        strongest = np.argsort(chroma.reshape(30, -1), axis=1)[:, -20:]
        colours = np.take_along_axis(picture.reshape(30, -1, 3), strongest[..., None], axis=1)
        hues = [colorsys.rgb_to_hsv(*pixel)[0] for pixel in colours.reshape(-1, 3)]
        direction = np.exp(2j * np.pi * np.array(hues)).mean()  # Of length 1 if all are the same.
        assert abs(direction) > 0.8, name


def test_the_ground_has_the_spectrum_of_photographs_and_no_class():
    """Its power falls with the square of the frequency; its colours differ by chance alone."""
    ground = formula._ground(np.random.default_rng(0), 400, 32)
    power = (np.abs(np.fft.fft2(ground.mean(axis=-1), axes=(1, 2))) ** 2).mean(axis=0)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(32), np.fft.fftfreq(32)))
    within = (frequency > 0) & (frequency < 0.5)
    slope, _ = np.polyfit(np.log(frequency[within]), np.log(power[within]), 1)
    assert slope == pytest.approx(-2, abs=0.1)
    corners = np.array(
        [formula.draw_class(n, 200, 32)[:, 0, 0] for n in formula.class_names(8)], float
    )
    between = corners.mean(axis=1).std(axis=0)
    expected = corners.std(axis=1).mean(axis=0) / np.sqrt(200)
    assert (between < 4 * expected).all()


def test_every_shape_is_visible():
    for name in formula.class_names(40):
        picture = formula.draw_class(name, 20, 32).astype(float).mean(axis=-1)
        smooth = (picture - picture.mean(axis=(1, 2), keepdims=True)).std(axis=(1, 2))
        assert (smooth > 8).all(), name


@pytest.mark.parametrize("text", ["40", "40x300", "axbxc", "2x300x32", "40x5x32", "40x300x4"])
def test_bad_amounts(text):
    with pytest.raises(UserError, match=f"--dataset=formula_images/{text}: after the slash"):
        dataset_names.check(f"formula_images/{text}", None)


def test_builder(data_dir):
    source = sources.open_source("formula_images/4x12x16", data_dir)
    assert source.class_names == ("fractal_00", "fractal_01", "contour_00", "contour_01")
    source.prepare()
    preprocessing = Preprocessing(16, 16)
    images, labels, _ = sources.read(source, source.train, preprocessing)
    tests, test_labels, _ = sources.read(source, source.test, preprocessing)
    assert np.bincount(labels).tolist() == [10] * 4
    assert np.bincount(test_labels).tolist() == [2] * 4
    for label, name in enumerate(source.class_names):
        assert np.array_equal(images[labels == label], formula.draw_class(name, 10, 16, seed=0))
        assert np.array_equal(tests[test_labels == label], formula.draw_class(name, 2, 16, seed=1))
