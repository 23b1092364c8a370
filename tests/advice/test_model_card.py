"""The card of a recommended network: names of classes, donors and folders are text in it."""

import html
import re
from types import SimpleNamespace

import pytest
from markdown_it import MarkdownIt

from transfer_keras.advice import model_card
from transfer_keras.config import one_line
from transfer_keras.config.text import _Code, render_template

HARM = [
    "<img src=x onerror=alert(1)>", "[a](javascript:alert(1))", "a\n\n# heading", "a|b|c",
    "`a` ``b", "</code><script>alert(1)</script>", "```\n<b>", "\x1b[31mred", "![a](http://x)",
]  # fmt: skip


def card(name):
    """Renders the card of a network with one name wherever a name can be."""
    names = SimpleNamespace(
        row=SimpleNamespace(
            treatment="A1B", classes=2, n=1, mode="frozen", parameters=10, trainable_parameters=5,
            test_images=4,
        ),
        experiment=SimpleNamespace(
            training=SimpleNamespace(network=name, early_stopping=0, early_stopping_split=0),
            donor=SimpleNamespace(is_application=True),
            data=SimpleNamespace(dataset=name, folds=None),
        ),
        calibration=SimpleNamespace(
            temperature=1.0, pictures=4, error_before=0.1, error_after=0.1
        ),
    )  # fmt: skip
    keys = re.findall(r'"(\w+)"', template_text().partition("for name in")[2])
    settings = dict.fromkeys([*keys, "donor", "donor_weights"], name)
    return render_template(
        "advice",
        model_card.CARD,
        row=names.row,
        experiment=names.experiment,
        settings=settings,
        size=24,
        unit=name,
        reached=(0.5, 0.4, 0.6),
        recalls=[{"name": one, "images": 2, "recall": 0.5} for one in (name, "b")],
        training_images=8,
        selection=SimpleNamespace(
            calibration=names.calibration, expected=None, measure="top-1", top1_by_seed=[0.5],
            compared=3, advice=f"Take {one_line(name)}.",
        ),
        command="python -m x",
        with_pillow="import keras",
        versions={"keras": name},
    )  # fmt: skip


def template_text():
    path = model_card.__file__.replace("model_card.py", f"templates/{model_card.CARD}")
    with open(path, encoding="utf-8") as file:
        return file.read()


def shape(page):
    """Lists the tags of a page, in their order."""
    return re.findall(r"<(/?\w+)", MarkdownIt("commonmark").enable("table").render(page))


@pytest.mark.parametrize("name", HARM)
def test_no_name_changes_the_page(name):
    page = card(name)
    assert shape(page) == shape(card("plain"))
    text = html.unescape(MarkdownIt("commonmark").enable("table").render(page))
    shown = re.sub(r"\s+", " ", name).replace("\x1b", "\\x1b")
    assert text.count(shown) > 10
    assert "\x1b" not in page


def test_what_stands_in_code_is_our_own():
    with pytest.raises(ValueError, match="without `"):
        _Code("a```b")
