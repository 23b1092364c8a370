"""Reports print as tables, on the screen and in notebooks; so do slices of them."""

import html.parser

import keras
from support.small_network import LAYERS

from transfer_keras import surgery


def report(name="one"):
    inputs = keras.Input((8,))
    x = LAYERS.Dense(6, name=name)(inputs)
    return surgery.transplant(keras.Model(inputs, LAYERS.Dense(3, name="two")(x)), 1, seed=0).report


TABLE = """\
weight      origin  training   shape
one/kernel  copied  frozen     (8, 6)
one/bias    copied  frozen     (6,)
two/kernel  fresh   trainable  (6, 3)
two/bias    fresh   trainable  (3,)
75 parameters: 54 copied, 21 fresh; 21 trainable"""


UNITS = """\
n  unit  layers  parameters  so far  output
1  one        1          54   72.0%  (None, 6)
2  two        1          21  100.0%  (None, 3)
2 units, 2 layers, 75 parameters"""


class Cells(html.parser.HTMLParser):
    """Collects the texts of a page."""

    def __init__(self, page):
        super().__init__()
        self.texts, self.tags = [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.texts.append(data)


def test_a_report_is_a_table():
    assert repr(report()) == str(report()) == TABLE


def test_a_part_of_a_report_is_a_table_with_sums_of_its_own():
    assert str(report()[2:]) == "\n".join(
        [TABLE.splitlines()[0], *TABLE.splitlines()[3:5], "21 parameters: 21 fresh; 21 trainable"]
    )
    assert report()[1].weight == "one/bias"
    assert str(report()[:0]).splitlines()[-1] == "0 parameters: none; 0 trainable"


def test_a_notebook_shows_every_cell_escaped():
    page = Cells(report("<b>")._repr_html_())
    assert page.texts[:4] == TABLE.split("\n")[0].split()
    assert "<b>/kernel" in page.texts
    assert page.texts[-1] == TABLE.splitlines()[-1]
    assert "b" not in page.tags


def network():
    inputs = keras.Input((8,))
    return keras.Model(inputs, LAYERS.Dense(3, name="two")(LAYERS.Dense(6, name="one")(inputs)))


def test_units_are_a_table():
    units = surgery.units(network())
    assert repr(units) == str(units) == UNITS
    lines = str(units[1:]).splitlines()
    assert lines[1] == "2  two        1          21  100.0%  (None, 3)"
    assert lines[-1] == "1 unit, 1 layer, 21 parameters"
    assert str(units[0]) == "<Unit 1 'one': 1 layers, 54 parameters, output (None, 6)>"
    page = Cells(units._repr_html_())
    assert page.texts[-1] == UNITS.splitlines()[-1]
    assert "72.0%" in page.texts
