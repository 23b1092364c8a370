"""How a program begins and ends: its streams, and what the system says."""

import os
import subprocess
import sys

import pytest
from support.paths import ROOT
from support.refusals import refused

# A program whose main is the code of its first argument, with a flag of a path.
PROGRAM = """
import errno, os, sys
from transfer_keras.config import UserError, flag_types, launch
workdir = flag_types.define_path("workdir", "run", "Where.")
code = sys.argv.pop(1)
launch.start(lambda: exec(code))
"""


@pytest.fixture
def run(program):
    """Runs code as a program, by a shell that sets its streams."""

    def run(code, *flags, streams="", **variables):
        command = [sys.executable, "-c", PROGRAM, code, *flags]
        return subprocess.run(
            ["bash", "-c", f'"$@" {streams}', "bash", *command],
            cwd=program.folder,
            env=os.environ | {"PYTHONPATH": str(ROOT)} | variables,
            capture_output=True,
            text=True,
        )

    return run


@pytest.mark.parametrize("streams", ["| head -1", "2>&1 | head -1", ">&-", "2>&-", ">&- 2>&-"])
def test_a_program_ends_as_if_somebody_read_it(run, program, streams):
    """All that it writes goes on, and no file is taken for the screen."""
    code = """
for number in range(3000):
    print("a line", number, flush=True)
    print("a line", number, file=sys.stderr)
with open("file", "w") as file:
    os.write(1, b"of TensorFlow")
    os.write(2, b"of TensorFlow")
    file.write("as it should be")
"""
    if "head" in streams:  # There, who writes ends with the reader's status.
        streams += "; exit ${PIPESTATUS[0]}"
    done = run(code, streams=streams)
    assert done.returncode == 0, done.stderr[-500:]
    assert (program.folder / "file").read_text() == "as it should be"
    assert "Traceback" not in done.stderr
    assert len(done.stdout.splitlines()) <= 3001


def test_a_mistake_without_standard_error(run):
    done = run("raise UserError('--n=9: too many.')", streams="2>&-")
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
)
def test_a_screen_that_has_only_ascii(run, variables):
    done = run("print('Opening \\u2026 \\udcff')", **variables)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "Opening \\u2026 \\udcff\n"


def test_output_to_a_full_disk(run, program):
    line = refused(
        lambda: run("print('much')", streams=">/dev/full"), program.folder, "standard output: "
    )
    assert "the disk is full. Make room, or give another folder (No space left" in line


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("open('none.txt')", r"none\.txt: there is no such file or folder\. Make it, or correct"),
        ("open('run/a/b', 'w')", r"--workdir=run: run/a/b: there is no such file or folder"),
        ("os.rename('file', 'run/a')", r"--workdir=run: run/a: there is no such file"),
        ("os.mkdir('file/a')", r"file/a: a file stands where a folder is expected"),
        ("open('folder', 'w')", r"folder: a folder stands where a file is expected"),
        ("open('loop')", r"loop: its links lead round in a circle"),
        ("open('a' * 300)", r"a: a name in it is longer than the file system takes"),
        ("raise OSError(errno.ENOSPC, 'No space')", r"No space: the disk is full\. Make room"),
        ("raise OSError('of no\\nsystem')", r"of no system\. What is finished"),
        ("raise OSError(errno.EROFS, 'R', b'run/\\xff')", r"--workdir=run: run/\\udcff: its"),
        ("os.mkdir('d'); os.chdir('d'); os.rmdir('../d'); open('x', 'w')", r"x: there is no such"),
        ("raise ConnectionError('gone')", r"gone: another machine does not answer\. Try again"),
        ("raise MemoryError('364 TiB')", r"the memory does not suffice \(364 TiB\)\. Give"),
        ("raise UserError('a\\nb \\x1b[31mred')", r"a b \\x1b\[31mred$"),
    ],
)  # fmt: skip
def test_what_the_system_says(run, program, code, message):
    (program.folder / "file").write_text("")
    (program.folder / "folder").mkdir()
    (program.folder / "loop").symlink_to("loop")
    refused(lambda: run(code), program.folder, message)


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--workdir=~nosuchuser"], r"--workdir=~nosuchuser: there is no user nosuchuser"),
        (["--workdir=s3://a/b"], r"--workdir=s3://a/b: s3:// is no folder of this machine"),
        (["--workdir=a\nb"], r"--workdir=a b: has a line break or another control character"),
        (["--workdir=a\udcff"], r"--workdir=a\\udcff: expected text in UTF-8"),
        (["--workdir=a "], r"--workdir=a ?: begins or ends with white space"),
    ],
)
def test_paths_that_are_none(run, program, flags, message):
    refused(lambda: run("os.mkdir('made')", *flags), program.folder, message)
