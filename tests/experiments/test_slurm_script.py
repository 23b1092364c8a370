"""What is in a script of Slurm's: words and comments, whatever a person gave."""

import subprocess

import pytest

from transfer_keras.config import command, render_template

NASTY = [
    "a\ntouch made\n", "a\rtouch made", "$(touch made)", "`touch made`", "'; touch made; '",
    '"; touch made; "', "a\u2028touch made", "\\\ntouch made", "a\x1b[2J", "#", "-x", " edges ",
]  # fmt: skip


@pytest.mark.parametrize("value", NASTY)
def test_nothing_that_was_given_is_run(tmp_path, value):
    folder = tmp_path / "here"
    folder.mkdir()
    sbatch = tmp_path / "sbatch"
    sbatch.write_text('#!/bin/bash\nprintf "%s\\0" "$@" >> ../jobs\nprintf "\\1" >> ../jobs\n')
    sbatch.chmod(0o755)
    sweep = ["python", "-m", "transfer_keras.sweep", f"--workdir={value}"]
    script = render_template(
        "experiments",
        "slurm.sh",
        tasks=[value, value],
        arrays=["0-0", "1-1"],
        folder=str(folder),
        sweep=command(*sweep),
    )
    path = tmp_path / "slurm.sh"
    path.write_bytes(script.encode())
    done = subprocess.run(
        ["bash", str(path)], cwd=tmp_path, env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert not list(tmp_path.rglob("made"))
    jobs = (tmp_path / "jobs").read_bytes().decode().split("\1")[:-1]
    wrapped = [job.split("\0")[:-1][-1] for job in jobs]
    assert wrapped == [
        *[f"{command(*sweep)} --task=$SLURM_ARRAY_TASK_ID"] * 2, command(*sweep),
    ]  # fmt: skip
    comments = [line for line in script.split("\n") if line.startswith(("# 0: ", "# 1: "))]
    assert len(comments) == 2
    assert all(line.isprintable() for line in comments)
