"""The report in a real browser."""

import keras
import numpy as np
import pytest
from support.studies import write_experiment, write_study

from transfer_keras.results import Workdir
from transfer_keras.results.page import write_report

EVIL = "<script>document.title='taken over'</script>"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder, settings={"dataset": EVIL})
    levels = {"baseA": 0.6, "baseB": 0.6, "A1B": 0.5, "A1B+": 0.63}
    write_experiment(
        folder / "natural", split="natural", seed=0, levels=levels, settings={"dataset": EVIL}
    )
    few = {"dataset": EVIL, "examples_per_class": 5}
    write_experiment(folder / "few", split="0", seed=0, levels={"baseB": 0.2}, settings=few)
    pixels = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    keras.utils.save_img(Workdir(folder / "few").filters_path("baseB"), pixels)
    write_report(folder, folder / "report", overlay_paper=True)
    return (folder / "report" / "report.html").as_uri()


@pytest.mark.parametrize(
    ("name", "width", "height"), [("phone", 390, 844), ("desktop", 1400, 1000)]
)
def test_fits_and_asks_for_nothing(browser, screenshots, page, name, width, height):
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": name == "phone"}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page)
        inner, scrolled = browser.execute_script(
            "return [document.documentElement.clientWidth, document.documentElement.scrollWidth]"
        )
        assert scrolled <= inner <= width, "the page scrolls sideways"
        assert browser.execute_script("return performance.getEntriesByType('resource')") == []
        figures = browser.execute_script(
            "return [...document.querySelectorAll('figure svg')].map(x => x.clientWidth)"
        )
        assert len(figures) == 4  # Two kinds, splits side by side, reduced data.
        pictures = "return [...document.images].map(x => [x.complete, x.naturalWidth])"
        assert browser.execute_script(pictures) == [[True, 4]]
        assert all(min(width, 700) * 0.8 < side <= width for side in figures)
        browser.save_screenshot(str(screenshots / f"report-{name}.png"))
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert not [e for e in browser.get_log("browser") if e["level"] == "SEVERE"]


def test_text_stays_text(browser, page):
    browser.get(page)
    assert browser.title == f"alexnet_small on {EVIL}"
    text = browser.execute_script("return document.body.textContent")
    assert EVIL in text


def test_the_table_sorts(browser, page):
    browser.get(page)
    column = """
    const table = [...document.querySelectorAll('table.sortable')].at(-1);
    const heads = [...table.tHead.rows[0].cells].map(cell => cell.textContent);
    const place = heads.indexOf(arguments[0]);
    table.tHead.rows[0].cells[place].querySelector('button').click();
    return [...table.tBodies[0].rows].map(row => row.cells[place].textContent);
    """
    for name, kind in (("top1", float), ("n", int), ("seed", int)):
        values = [kind(value) for value in browser.execute_script(column, name)]
        assert len(values) == 4 * 26 + 5
        assert values == sorted(values)
        again = [kind(value) for value in browser.execute_script(column, name)]
        assert again == values[::-1]
    names = browser.execute_script(column, "treatment")
    assert [names[0], names[-1]] == ["A1A", "baseB"]
