"""Flags as text: what is written is read as the same, or refused."""

import pathlib

import pytest
from absl import flags
from support.refusals import refuses

from transfer_keras.config import flags as experiment_flags
from transfer_keras.config import from_flags, make_experiment, run_flags

GIVEN = [
    "--devices=", "--noaugment", "--group_by=-[^ ]* = #|\\t", "--leave_out=", "--workdir=a  b, c",
    "--dataset=folder:-x", "--learning_rate=0.1", "--examples_per_class=7", "--nomemory_growth",
]  # fmt: skip


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """Parses flags in an empty folder, and forgets them at the end."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "-x").mkdir()
    values = flags.FLAGS

    def parse(*given):
        values.unparse_flags()
        for flag in values.get_flags_for_module(experiment_flags.__name__):
            flag.unparse()
        values(["train", *given])
        return from_flags.request()

    yield parse
    for flag in values.get_flags_for_module(experiment_flags.__name__):
        flag.unparse()
    values.unparse_flags()


def test_a_flagfile_repeats_what_was_given(parsed, tmp_path):
    experiment = parsed(*GIVEN).complete()
    text = run_flags.flags_as_text(experiment, pathlib.Path("a  b, c"))
    (tmp_path / "run.flags").write_text(text)
    assert "--devices=\n" in text
    again = parsed("--flagfile=run.flags").complete()
    assert again == experiment
    assert from_flags.workdir(again) == pathlib.Path("a  b, c")
    assert run_flags.flags_as_text(again, pathlib.Path("a  b, c")) == text


@pytest.mark.parametrize("workdir", ["a\nb", "a\rb", "a\u2028b", "a ", "a\udcff"])
def test_what_no_flagfile_can_hold_is_refused(parsed, tmp_path, workdir):
    experiment = parsed()
    with refuses(tmp_path, r"^--workdir=a"):
        run_flags.flags_as_text(experiment.complete(), pathlib.Path(workdir))


def test_names_of_workdirs_are_ones_that_files_may_have(tmp_path):
    """Two long ones that begin alike are two."""
    names = []
    for end in "ab":
        path = tmp_path / ("ä" * 120 + end + ".txt")
        path.write_text("tulip\n")
        request = make_experiment(["A3B"], split=str(path), dataset=f"folder:/{'ö' * 127}{end}")
        names.append(request.default_workdir.name)
        assert len(names[-1].encode()) <= 255
    assert len(set(names)) == 2
