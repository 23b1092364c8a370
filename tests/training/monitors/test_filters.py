import numpy as np
import pytest

from transfer_keras.training import draw_filters, is_image_kernel, structure_of_filters


@pytest.mark.parametrize("channels", [1, 3])
def test_each_filter_stands_by_itself_in_its_own_range(channels):
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(4, 5, channels, 6)) * np.geomspace(1e-3, 1e3, 6) + np.arange(6)
    picture = draw_filters(kernel)
    times = 6  # 32 / 5
    height, width = 4 * times + 1, 5 * times + 1
    assert picture.shape == (2 * height + 1, 3 * width + 1, 3)  # 2 rows of 3
    assert picture.dtype == np.uint8
    for place in range(6):
        row, column = divmod(place, 3)
        one = kernel[..., place]
        expected = np.round(255 * (one - one.min()) / (one.max() - one.min()))
        for y in range(4):
            for x in range(5):
                top, left = row * height + 1 + y * times, column * width + 1 + x * times
                cell = picture[top : top + times, left : left + times]
                assert (cell == expected[y, x]).all()
    assert not picture[::height].any()
    assert not picture[:, ::width].any()


def test_constant_filters_are_grey_and_what_is_no_number_is_black():
    kernel = np.full((3, 3, 3, 2), 7.0)
    kernel[..., 1] = np.nan
    picture = draw_filters(kernel)
    assert set(np.unique(picture[1:-1, 1:31])) == {128}
    assert not picture[1:-1, 34:].any()


def test_which_kernels_can_be_shown():
    shapes = [(5, 5, 3, 48), (5, 5, 1, 4), (5, 5, 48, 64), (10, 20), (3, 3, 3)]
    assert [is_image_kernel(shape) for shape in shapes] == [True, True, False, False, False]


def test_structure_of_waves_edges_and_noise():
    """A wave has all of its power at its own frequency; noise has it at all alike."""
    x, y = np.meshgrid(np.arange(7), np.arange(7))
    waves = {cycles: np.cos(2 * np.pi * cycles * x / 7) for cycles in (0, 1, 2, 3)}
    of_waves = {c: structure_of_filters(wave[..., None, None]) for c, wave in waves.items()}
    assert of_waves == pytest.approx({0: 0, 1: 1, 2: 1, 3: 0})
    diagonal = np.cos(2 * np.pi * (x + 3 * y) / 7)
    assert structure_of_filters(diagonal[..., None, None]) == pytest.approx(0)
    noise = np.random.default_rng(0).normal(size=(7, 7, 3, 2000))
    assert structure_of_filters(noise) == pytest.approx((5 * 5 - 1) / 49, abs=0.01)
    edge = np.where(x < 3, -1.0, 1.0) * np.exp(-((x - 3) ** 2 + (y - 3) ** 2) / 6)
    assert structure_of_filters(edge[..., None, None]) > 0.8
