"""The real program, stopped in every way that there is, and started again."""

import contextlib
import os
import re
import signal
import subprocess
import time

import pytest
from support.paths import ROOT

from transfer_keras.training.checkpoints import Checkpoints

SMALL = [
    "--dataset=formula_images/6x40x32", "--treatments=A2B,R3B", "--steps=40", "--batch_size=8",
    "--validations=2", "--metrics_every=0", "--workdir=run",
]  # fmt: skip
KILLER = str(ROOT / "tools" / "kill_and_resume.py")


@pytest.fixture
def train(program, data_dir, tmp_path):
    """Starts a small training in an empty folder."""
    command = ["-m", "transfer_keras.train", *SMALL, f"--data_dir={data_dir}"]

    def start(*flags, cwd=tmp_path, **settings):
        return program.start(*command, *flags, cwd=cwd, **settings)

    return start


def wait_for(condition, process):
    """Waits until the condition holds; a program that ends before is an error."""
    while not condition():
        assert process.poll() is None, process.communicate()
        time.sleep(0.005)


def wait_for_steps(process):
    """Reads the progress bar until the training has a loss."""
    shown = ""
    while "loss=" not in shown:
        read = process.stderr.read(1)
        assert read, shown
        shown += read


def saved(run):
    return list(run.glob("checkpoints/*/[0-9]*.safetensors"))


def test_a_signal_saves_and_the_message_shows_how_to_go_on(train, tmp_path):
    """SIGTERM, then SIGINT in the run that goes on."""
    run = tmp_path / "run"
    step = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        process = train("--steps=3000", "--checkpoint_every=3600")
        wait_for_steps(process)
        assert [int(path.stem) for path in saved(run)] == ([step, step] if step else [])
        process.send_signal(number)
        _, err = process.communicate()
        assert process.returncode == 75, err
        last = err.splitlines()[-1]
        assert re.fullmatch(
            r"Stopped at step [\d,]+ of 3,000\. Run the same command to go on from there\.", last
        )
        assert "Traceback" not in err
        assert (run / ".lock").read_text() == ""
        before, step = step, max(int(path.stem) for path in saved(run))
        assert len(saved(run)) == (4 if before else 2)  # Of both bases.
        assert step > before


@pytest.mark.parametrize(
    "number",
    [pytest.param(signal.SIGTERM, marks=pytest.mark.slow), signal.SIGINT],
    ids=["SIGTERM", "SIGINT"],
)
def test_two_signals_end_the_program(train, tmp_path, number):
    process = train("--steps=100000", "--checkpoint_every=0")
    wait_for(lambda: saved(tmp_path / "run"), process)
    process.send_signal(number)
    process.send_signal(number)
    assert process.wait() in (75, 130)


def test_a_reader_that_ends_loses_no_checkpoint(train, tmp_path):
    """Ctrl-C ends a reader such as `2>&1 | tee` too, before the program can print."""
    run = tmp_path / "run"
    process = train("--steps=3000", "--checkpoint_every=3600", fresh=True)
    wait_for_steps(process)
    process.stdout.close()
    process.stderr.close()
    process.send_signal(signal.SIGINT)
    assert process.wait() == 75
    assert len(saved(run)) == 2  # Of both bases.


def test_who_holds_the_workdir(train, tmp_path):
    run = tmp_path / "run"
    first = train("--steps=100000")
    wait_for(lambda: list(run.glob("checkpoints/*/group.json")), first)
    second = train("--steps=100000")
    out, err = second.communicate()
    assert second.returncode == 2
    (line,) = [x for x in err.splitlines() if x.startswith("train:")]
    assert f"--workdir=run: in use by process {first.pid} on " in line
    first.kill()
    first.communicate()
    third = train("--steps=100000", "--checkpoint_every=0")
    wait_for(lambda: saved(run), third)
    third.send_signal(signal.SIGTERM)
    out, _ = third.communicate()
    assert f"The last run on run, process {first.pid} on " in out
    assert "was cut off" in out


def test_a_kill(program):
    """A kill of a small run, of which every number is compared with an undisturbed one's."""
    done = program(KILLER, "--kills=1", "--treatments=baseB")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 kills" in done.stdout.splitlines()[-1]
    assert done.stdout.splitlines()[-1].endswith(" 0 differences")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "kills"), [("SIGKILL", 6), ("SIGTERM", 3)])
def test_many_kills(program, number, kills):
    """Every number is compared with an undisturbed run's."""
    done = program(KILLER, f"--kills={kills}", f"--signal={number}", "--seed=1")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{kills} kills" in done.stdout.splitlines()[-1]
    assert done.stdout.splitlines()[-1].endswith(" 0 differences")


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a file system of 64 MiB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", str(disk)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"needs the right to mount a tmpfs: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def refused(process):
    """Gives the one line of a program that ended by a user's error."""
    _, err = process.communicate()
    assert process.returncode == 2, err
    assert "Traceback" not in err
    return err.splitlines()[-1]


@pytest.mark.parametrize("steps", [pytest.param(400, marks=pytest.mark.slow), 100_000])
def test_a_full_disk(train, small_disk, steps):
    """One clear line, the last checkpoint intact, and with more room the same command goes on."""
    run = small_disk / "run"
    ballast = small_disk / "ballast"
    process = train(f"--steps={steps}", "--checkpoint_every=0", cwd=small_disk)
    wait_for(lambda: saved(run), process)
    with contextlib.suppress(OSError), ballast.open("wb") as file:
        while True:
            file.write(bytes(1 << 16))
    line = refused(process)
    assert line.startswith("train: ")
    assert "No space left on device" in line
    warnings = []
    latest = [
        Checkpoints(folder, every=0, warn=warnings.append).latest()
        for folder in run.glob("checkpoints/*")
    ]
    step = max(facts["step"] for _, facts in filter(None, latest))
    assert step > 0
    assert not warnings
    assert not list(run.rglob("*partial*"))
    ballast.unlink()
    again = train(f"--steps={steps}", "--checkpoint_every=0", cwd=small_disk)
    wait_for(lambda: any(int(path.stem) > step for path in saved(run)), again)
    again.send_signal(signal.SIGTERM)
    out, _ = again.communicate()
    assert "Going on with baseA from its checkpoint." in out


def test_a_folder_that_cannot_be_written(train, tmp_path):
    if os.geteuid() == 0:
        pytest.skip("root writes everywhere")
    (tmp_path / "run").mkdir(mode=0o500)
    assert "--workdir=run: cannot be written" in refused(train())


def test_a_folder_that_is_removed(train, tmp_path):
    run = tmp_path / "run"
    process = train("--steps=100000", "--checkpoint_every=0")
    wait_for(lambda: saved(run), process)
    run.rename(tmp_path / "elsewhere")
    line = refused(process)
    assert "No such file or directory" in line
    assert "run" in line
    assert not run.exists()
    assert saved(tmp_path / "elsewhere")
