"""TensorBoard in a real browser, over a small experiment."""

import pytest
from support.tensorboard_server import serving, until

from transfer_keras.config import make_experiment
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments.run import run_experiment
from transfer_keras.results import Workdir

NAMES = ["A2B", "B2B+"]
EVERYONE = ["baseA", "baseB", *NAMES]

# All elements that can be seen, inside the shadow trees of TensorBoard's elements too.
DEEP = """
const deep = root => [...root.children].flatMap(element => {
  if (/^(STYLE|SCRIPT|TEMPLATE)$/.test(element.tagName)) return [];
  const style = getComputedStyle(element);
  if (style.display === 'none' || style.visibility === 'hidden') return [];
  return [element, ...(element.shadowRoot ? deep(element.shadowRoot) : []), ...deep(element)];
});
const all = deep(document.body);
"""
TEXT = f"""{DEEP}
const own = element => [...element.childNodes].filter(node => node.nodeType === Node.TEXT_NODE);
return all.flatMap(own).map(node => node.textContent.trim()).filter(Boolean).join('\\n');
"""
PICTURES = f"{DEEP} return all.filter(e => e.tagName === 'IMG' && e.naturalWidth > 50).length"
LINES = f"{DEEP} return all.filter(e => e.tagName === 'VZ-LINE-CHART2').length"


@pytest.fixture(scope="module")
def server(data_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("browser") / "run"
    experiment = make_experiment(
        tuple(map(parse_treatment, NAMES)),
        dataset="formula_images/6x30x32",
        data_dir=data_dir,
        steps=20,
        batch_size=8,
    )
    run_experiment(experiment, Workdir(folder), log=lambda _: None)
    with serving(folder) as address:
        yield address


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "expected", "shown", "at_least"),
    [
        ("scalars", ["conv1", "conv5", "fc8", "gradient_norm", "loss", "result"], LINES, 1),
        ("images", ["conv1/filters", "confusion", "transfer_curve"], PICTURES, 8),
        ("hparams", ["donor", "mode", "seed", "top-1", "difference from base", "fine_tune"], "", 0),
        ("custom_scalars", ["Units, a line each (choose one run)", "update_ratio", "cka_donor",
                            "Transfer curve, top-1 against n", "Matches (32)"], LINES, 10),
    ],
)  # fmt: skip
def test_page(server, browser, screenshots, page, expected, shown, at_least):
    browser.get(f"{server}/#{page}")
    browser.refresh()  # A change after # alone loads nothing.
    texts = [*EVERYONE, *expected]

    def missing():
        text = browser.execute_script(TEXT)
        few = ["pictures"] if shown and browser.execute_script(shown) < at_least else []
        return [one for one in texts if one not in text] + few

    try:
        until(lambda: not missing(), f"{texts} on the page {page}")
    except AssertionError:
        pytest.fail(f"not on the page {page}: {missing()}")
    finally:
        browser.save_screenshot(str(screenshots / f"{page}.png"))
    severe = [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"]
    assert not [entry["message"] for entry in severe if "/data/" in entry["message"]]
