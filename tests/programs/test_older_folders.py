"""What version 0.1.0 left on disk goes on, is reported and is advised from.

`tests/data/version_0_1_0.zip` was written by it: a small donor, pictures, a workdir whose second
group was stopped in the middle, a folder of `advise` with two seeds, and what that version made of
all this.
"""

import json
import re
import zipfile

import pytest
from support.paths import ROOT

DONOR = ("--donor=donor.keras", "--dataset=folder:pictures", "--batch_size=8")
SETTINGS = (*DONOR, "--learning_rate=0.01")


@pytest.fixture
def folder(program):
    """Unpacks the files of version 0.1.0 into the folder where programs run."""
    with zipfile.ZipFile(ROOT / "tests" / "data" / "version_0_1_0.zip") as archive:
        archive.extractall(program.folder)
    return program.folder


def succeed(program, name, *flags):
    done = program("-m", f"transfer_keras.{name}", *flags)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_workdir_that_was_stopped_goes_on_and_is_reported(program, folder):
    output = succeed(
        program, "train", *SETTINGS, "--treatments=baseB,A1B,A2B+,A3B", "--steps=80",
        "--validations=8", "--metrics_every=0", "--early_stopping=5", "--workdir=begun",
    )  # fmt: skip
    assert "On disk already, not trained again: baseB" in output
    assert "Going on with A1B, A2B+, A3B from its checkpoint." in output
    expected = json.loads((folder / "expected" / "rows.json").read_text())
    for name, row in expected.items():
        new = json.loads((folder / "begun" / name / "row.json").read_text())
        assert new.keys() - {"seconds", "chance_loss", "fitted", "units"} == row.keys()
        for field, value in row.items():
            if field == "validation":  # Another kind of CPU rounds otherwise.
                assert new[field] == [pytest.approx(test, rel=1e-3) for test in value]
            elif isinstance(value, float):
                assert new[field] == pytest.approx(value, rel=1e-3), (name, field)
            else:
                assert new[field] == value, (name, field)
    output = succeed(program, "report", "--workdir=begun")
    # That version took training from scratch where a transfer reached the same.
    assert "Train from scratch: no transfer" in (folder / "expected" / "report.txt").read_text()
    assert output.startswith("Split donor: Take the lower 2 units of donor, fine-tuned: top-1 1.0")
    table = (folder / "begun" / "report" / "results.csv").read_text().splitlines()
    before = (folder / "expected" / "results.csv").read_text().splitlines()
    assert table[0] == f"{before[0]},last_gain"  # Newer columns stand behind.
    assert len(table) == len(before)


def levels(table):
    """Reads n -> the top-1 in a table of advice, of this version or of 0.1.0."""
    found = {}
    for line in table.splitlines():
        if re.match(r"\d+ ", line):
            top1 = re.findall(r"\b[01]\.\d{3} of \d\b", line)
            found.setdefault(int(line.split()[0]), []).extend(top1)
    return found


def test_a_folder_of_advice_is_advised_from(program, folder):
    """In a second no network is trained; what is on disk is reported.

    That version took the highest mean, here of two networks on twelve pictures; the others say that
    it is a lucky one.
    """
    output = succeed(
        program, "advise", *SETTINGS, "--steps=60", "--budget=1s", "--workdir=advice"
    )  # fmt: skip
    assert "Going on with what is in advice: 60 steps a network" in output
    expected = (folder / "expected" / "advice.txt").read_text()
    assert len(levels(expected)) == 4
    _, _, table = output.partition("\nn  up to unit")
    assert levels(table) == levels(expected)
    for line in expected.splitlines()[-3:]:
        assert line.rstrip(".") in output
    assert "Take the lower 2 units of donor (up to c2), frozen: top-1 0.833" in expected
    assert "Train from scratch: no transfer that was tried is likely to do better" in output
    card, card_then = (
        (folder / name / "MODEL_CARD.md").read_text().partition("## How it was trained")[2]
        for name in ("advice", "expected")
    )
    card, card_then = (re.sub(r"`seed`: \d", "", each) for each in (card, card_then))
    assert card.partition("\n## ")[0] == card_then.partition("\n## ")[0]
    assert (folder / "advice" / "best.keras").exists()


def test_another_experiment_is_refused(program, folder):
    done = program("-m", "transfer_keras.train", *SETTINGS, "--steps=81", "--workdir=begun")
    assert done.returncode == 2
    assert "steps is 80 there, 81 here" in done.stderr
