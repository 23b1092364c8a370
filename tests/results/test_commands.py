"""The commands that repeat a study, from the `run.flags` of its workdirs."""

import shlex

import pytest
from support.refusals import refuses
from support.studies import write_experiment

from transfer_keras.results.commands import repeat_commands
from transfer_keras.results.study import read_study


def written(folder, text):
    workdir = folder / "split0-seed0"
    write_experiment(workdir, split="0", seed=0, levels={"baseA": 0.5, "baseB": 0.5})
    data = text if isinstance(text, bytes) else text.encode()
    (workdir / "run.flags").write_bytes(data)
    return folder


@pytest.mark.parametrize(
    ("text", "flags"),
    [
        ("--devices=\n--noaugment\n--seed=0\n", ["--devices=", "--noaugment", "--seed=0"]),
        ("--group_by=a b;$(id)`id`'\n", ["--group_by=a b;$(id)`id`'"]),
        ("--workdir=-x = y\u2028z\n--n=3\n", ["--workdir=-x = y\u2028z"]),
        ("\ufeff--seed=0\r\n", ["--seed=0"]),
    ],
)
def test_every_flag_is_repeated_as_it_is(tmp_path, text, flags):
    (command,) = repeat_commands(read_study(written(tmp_path, text)).networks)
    words = shlex.split(command)
    assert words == [
        "python", "-m", "transfer_keras.train", *flags, "--treatments=baseA,baseB",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [(b"\xff\xfe", "no text in UTF-8"), ("rm -rf /\n", "'rm -rf /' is no flag"), ("{}", "is no")],
)
def test_a_damaged_file_is_named(tmp_path, text, found):
    networks = read_study(written(tmp_path, text)).networks
    with refuses(tmp_path, rf"split0-seed0/run\.flags: .*{found}.*Remove it"):
        repeat_commands(networks)
