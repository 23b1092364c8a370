import os
import pathlib
import shutil

import pytest
from support.paths import SHARED
from support.programs import Programs

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
# As the programs have it, whose numbers are compared with some that are computed here.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


@pytest.fixture
def program(tmp_path_factory):
    """Runs programs of ours in an empty folder; see `support.programs`."""
    with Programs(tmp_path_factory.mktemp("program")) as programs:
        yield programs


@pytest.fixture(scope="module")
def module_program(tmp_path_factory):
    """Runs programs for fixtures that live as long as their module."""
    with Programs(tmp_path_factory.mktemp("program")) as programs:
        yield programs


@pytest.fixture(scope="session")
def tiny_imagenet_zip():
    """Gives 40 real classes of Tiny ImageNet, where this checkout has them."""
    path = SHARED / "data" / "tiny-imagenet-40.zip"
    if not path.exists():
        pytest.skip(f"needs {path.name} in {path.parent.name}/ beside the checkout")
    return path


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
    """Gives the folder where TFDS prepares datasets in tests."""
    return str(tmp_path_factory.mktemp("tfds"))


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    """Opens a real browser without a window; skips the tests where none is installed."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in (
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--window-size=1500,1400", f"--user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):  # fmt: skip
        options.add_argument(argument)
    driver = webdriver.Chrome(options, Service(driver))
    yield driver
    driver.quit()


@pytest.fixture(scope="session")
def screenshots(tmp_path_factory):
    """Gives the folder of screenshots: the one that SCREENSHOTS names, else the tests' own."""
    chosen = os.environ.get("SCREENSHOTS")
    folder = pathlib.Path(chosen) if chosen else tmp_path_factory.mktemp("screenshots")
    folder.mkdir(exist_ok=True)
    return folder
