"""What bars are over, and where they leave the axis."""

import numpy as np
import pytest
from matplotlib import pyplot

from transfer_keras.results.figures import drawing
from transfer_keras.results.figures.drawing import Mean

MEANS = {
    1: Mean(0.5, 0.4, 0.6),
    2: Mean(0.3, -3.0, 0.4, "images"),
    3: Mean(0.7, 0.6, 4.0, "seeds and images"),
    4: Mean(0.51),
}


@pytest.fixture
def axis():
    figure, axis = pyplot.subplots()
    yield axis
    pyplot.close(figure)


def test_bars_are_told_apart_by_what_they_are_over(axis):
    drawing.draw_line(axis, MEANS, colour="#123456", marker="o", dashes="-")
    styles = {
        tuple(segment[0, 0] for segment in lines.get_segments()): lines.get_linestyle()[0][1]
        for container in axis.containers
        for lines in container[2]
    }
    assert styles[(1.0,)] is None, "solid"
    assert len({str(style) for style in styles.values()}) == 3
    assert drawing.describe_bars(MEANS.values()) == (
        "bars: 95 % intervals, solid over splits, dashed over seeds and images, dotted over images"
    )
    assert drawing.describe_bars([MEANS[2], MEANS[4]]) == "bars: 95 % intervals over images"
    assert drawing.describe_bars([MEANS[4]]) == ""


def test_bars_that_leave_the_axis_are_marked(axis, tmp_path):
    drawing.fit(axis, [mean.value for mean in MEANS.values()], MEANS.values())
    drawing.draw_line(axis, MEANS, colour="#123456", marker="o", dashes="-")
    limits = axis.get_ylim()
    assert limits[0] > -3
    assert limits[1] < 4
    drawing.save(axis.figure, [tmp_path / "figure.svg"], title="cut")
    marks = {
        (line.get_marker(), *np.concatenate(line.get_data()))
        for line in axis.lines
        if line.get_marker() in "^v"
    }
    assert marks == {("v", 2.0, limits[0]), ("^", 3.0, limits[1])}
    assert axis.get_ylim() == limits
