"""The evaluation's page in a real browser."""

import numpy as np
import pytest
from PIL import Image

from transfer_keras.deployment.classifier import Prediction
from transfer_keras.deployment.evaluation import Evaluation

NASTY = "<script>document.title='run'</script>"


@pytest.fixture
def page(tmp_path):
    rng = np.random.default_rng(0)
    folder = tmp_path / "<b>cats"
    folder.mkdir()
    predictions = []
    for k in range(12):
        path = folder / f"{k}<img src=x onerror=alert(1)>.png"
        Image.fromarray(rng.integers(0, 256, (90, 120, 3)).astype(np.uint8)).save(path)
        answer = np.float32(rng.dirichlet(np.ones(20)))
        predictions.append(Prediction(str(path), "", answer))
    classes = [NASTY, *(f"a class with a long name {k}" for k in range(19))]
    evaluation = Evaluation(predictions, rng.integers(0, 20, 12), classes)
    path = tmp_path / "evaluation.html"
    path.write_text(evaluation.page("best.keras on <i>pictures"))
    return path.as_uri()


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_names_are_text_and_it_fits(browser, page, width):
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    try:
        browser.get(page)
        inner, scroll = browser.execute_script(
            "return [window.innerWidth, document.documentElement.scrollWidth]"
        )
        assert scroll <= inner == width
        assert browser.title == "best.keras on <i>pictures"  # No script has run.
        cells = [one.text for one in browser.find_elements("css selector", "td, th")]
        assert NASTY in cells
        shown = browser.find_elements("tag name", "img")
        assert shown
        assert all(browser.execute_script("return arguments[0].naturalWidth", one) for one in shown)
        assert browser.execute_script("return performance.getEntriesByType('resource')") == []
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
