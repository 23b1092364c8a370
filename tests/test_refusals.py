"""What `support.refusals` promises to find."""

import subprocess

import pytest
from support.refusals import refused, refuses

from transfer_keras.config import UserError


def ended(status=2, stderr="train: --n=8: too many.\n"):
    return subprocess.CompletedProcess((), status, "", stderr)


def test_what_is_as_promised(tmp_path):
    (tmp_path / "kept").write_text("as it was")
    assert refused(ended, tmp_path, "--n=8", "too m.ny") == "train: --n=8: too many."
    with refuses(tmp_path, "--n=8"):
        raise UserError("--n=8: too many.")


@pytest.mark.parametrize(
    "done",
    [
        ended(status=1),
        ended(stderr=""),
        ended(stderr="a note\ntrain: --n=8: too many.\n"),
        ended(stderr="Traceback (most recent call last): --n=8\n"),
        ended(stderr="train: --m=8: too many.\n"),
    ],
)
def test_what_a_program_ends_with(tmp_path, done):
    with pytest.raises(AssertionError):
        refused(lambda: done, tmp_path, "--n=8")


@pytest.mark.parametrize(
    "change",
    [
        lambda folder: (folder / "new").mkdir(),
        lambda folder: (folder / "kept").unlink(),
        lambda folder: (folder / "kept").write_text("as it WAS"),
        lambda folder: (folder / "kept").touch(),
        lambda folder: (folder / "link").symlink_to("nowhere"),
    ],
)
def test_what_is_left_on_disk(tmp_path, change):
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "kept").write_text("as it was")

    def run():
        change(folder)
        return ended()

    with pytest.raises(AssertionError):
        refused(run, tmp_path / ".." / tmp_path.name / "other", others=[tmp_path])
