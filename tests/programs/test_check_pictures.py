"""`check_pictures` as a person starts it, and its page in a real browser."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support.refusals import refused

NASTY = "<script>document.title='run'</script>"


@pytest.fixture
def pictures(program):
    """Makes a folder of two classes, of which one has a name that is HTML."""
    folder = program.folder / "pictures"
    rng = np.random.default_rng(0)
    for label in ("cats", NASTY.replace("/", "")):
        (folder / label).mkdir(parents=True)
        for number in range(6):
            small = Image.fromarray(rng.integers(0, 256, (5, 7, 3)).astype(np.uint8))
            small.resize((120, 90), Image.Resampling.BICUBIC).save(folder / label / f"{number}.png")
    shutil.copy(folder / "cats/1.png", folder / "cats/<img src=x onerror=alert(1)>.png")
    (folder / "cats" / "bad.png").write_bytes(b"nothing")
    return folder


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_is_printed_and_written(program, pictures):
    before = contents(pictures)
    done = program("-m", "transfer_keras.check_pictures", "--dataset=folder:pictures", "--fix=list")
    assert done.returncode == 0, done.stderr[-2000:]
    lines = done.stdout.splitlines()
    assert lines[0] == "11 pictures in train, 3 pictures in validation"
    assert lines[1].startswith("- Not usable: 1, as cats/bad.png (cannot be decoded (")
    assert lines[-2:] == [
        "2 are listed: give --leave_out=checked/leave_out.txt",
        "The pictures: checked/pictures.html",
    ]
    listed = (program.folder / "checked" / "leave_out.txt").read_text().splitlines()
    assert {line for line in listed if not line.startswith("#")} >= {"cats/bad.png"}
    assert contents(pictures) == before
    ours = program.folder / "checked" / "leave_out.txt"
    text = ours.read_text()
    ours.write_text("my own list")
    refused = program("-m", "transfer_keras.check_pictures", "--dataset=folder:pictures",
                      "--fix=list")  # fmt: skip
    assert refused.stderr.splitlines()[-1].endswith("is not of this program. Give another.")
    ours.write_text(text)
    again = program("-m", "transfer_keras.check_pictures", "--dataset=folder:pictures",
                    "--leave_out=checked/leave_out.txt")  # fmt: skip
    assert again.stdout.splitlines()[1:] == [
        "Nothing odd was found.", "The pictures: checked/pictures.html",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--dataset=cifar10"], "--dataset=cifar10: expected folder:PATH, a folder a class."),
        (["--dataset=folder:gone"], "--dataset=folder:gone: the folder gone cannot be read"),
        (["--dataset=folder:pictures", "--output=pictures/checked"],
         "--output=pictures/checked: lies in the folder of the pictures. Give another."),
        (["--dataset=folder:pictures", "--validation_split=0"],
         "--validation_split=0.0: expected more than 0, less than 1."),
        (["--dataset=folder:pictures", "--fix=all"],
         "--fix=all: value should be one of <list>."),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(program, pictures, flags, message):
    refused(
        lambda: program("-m", "transfer_keras.check_pictures", *flags),
        program.folder,
        f"check_pictures: {re.escape(message)}",
    )


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_shows_names_as_text_at_any_width(program, pictures, browser, width):
    program("-m", "transfer_keras.check_pictures", "--dataset=folder:pictures")
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((program.folder / "checked" / "pictures.html").as_uri())
    assert browser.title == "Pictures of folder:pictures"  # No script has run.
    captions = [one.text for one in browser.find_elements("tag name", "figcaption")]
    assert "cats/<img src=x onerror=alert(1)>.png" in captions
    shown = browser.find_elements("tag name", "img")
    assert shown
    assert all(browser.execute_script("return arguments[0].naturalWidth", one) for one in shown)
    inner, scroll = browser.execute_script(
        "return [window.innerWidth, document.documentElement.scrollWidth]"
    )
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    assert (inner, scroll) == (width, width)
