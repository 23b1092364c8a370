import io
import time

import numpy as np
import pytest
from PIL import Image
from support.event_files import read

from transfer_keras.training.monitors.events import (
    Events,
    histogram_summary,
    image_summary,
    scalar_summary,
    text_summary,
)


def test_read_back_by_tensorboard(tmp_path):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(50, 7))
    pixels = rng.integers(0, 256, (5, 9, 3)).astype(np.uint8)
    with Events(tmp_path / "run") as run:
        run.write(3, scalar_summary("a/b", 0.25), histogram_summary("h", values))
        run.write(
            4,
            scalar_summary("a/b", np.float32(0.5)),
            text_summary("t", "**bold**"),
            image_summary("i", pixels),
        )
    written = read(tmp_path / "run")
    assert written["a/b"] == [(3, 0.25), (4, 0.5)]
    assert written["t"][0][1].item() == b"**bold**"
    step, (left, right, counts) = written["h"][0][0], written["h"][0][1].T
    assert step == 3
    assert counts.sum() == 350
    assert (left[0], right[-1]) == (values.min(), values.max())
    for low, high, count in zip(left[:-1], right[:-1], counts[:-1], strict=True):
        assert count == ((values >= low) & (values < high)).sum()
    width, height, png = written["i"][0][1]
    assert (width, height) == (b"9", b"5")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(png))), pixels)


def test_histogram_of_constants_and_of_what_is_no_number(tmp_path):
    with Events(tmp_path / "run") as run:
        run.write(0, histogram_summary("same", np.full(9, 2.5)))
        run.write(0, histogram_summary("some", np.array([1.0, np.nan, np.inf, 3.0])))
        run.write(0, histogram_summary("none", np.array([np.nan])))
    written = read(tmp_path / "run")
    counted = {tag: points[0][1][:, 2].sum() for tag, points in written.items()}
    assert counted == {"same": 9, "some": 2, "none": 0}


def test_a_run_that_goes_on_takes_back_what_it_repeats(tmp_path):
    with Events(tmp_path / "run") as run:
        for step in (0, 2, 4, 6):
            run.write(step, scalar_summary("x", step))
    with Events(tmp_path / "run", 4) as run:
        for step in (4, 8):
            run.write(step, scalar_summary("x", -step))
    assert read(tmp_path / "run")["x"] == [(0, 0), (2, 2), (4, -4), (8, -8)]


def test_errors_are_the_file_systems(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        Events(tmp_path / "gone" / "run")
    monkeypatch.setattr(time, "time_ns", lambda: "full")
    (tmp_path / "events.out.tfevents.full.v2").symlink_to("/dev/full")  # It takes nothing.
    run = Events(tmp_path)
    run.write(0, scalar_summary("x", 1))
    with pytest.raises(OSError, match=r"TensorBoard.s events cannot be written: .*full"):
        run.flush()
    with pytest.raises(KeyError, match="first"), Events(tmp_path):
        raise KeyError("first")
