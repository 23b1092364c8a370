"""Every kind of wrong flag and variable: one line, status 2, nothing written, no TensorFlow."""

import json
import subprocess

import pytest
from support.refusals import refused, tree
from support.wrong_inputs import FLAGS, KERAS_FILES, PROGRAMS, TF_CONFIGS

# Runs a program again and again in one process, each time in a fork, so that no flag stays.
RUN_ALL = """
import importlib, json, os, sys
from transfer_keras.config import dataset_names, launch, tf_config
dataset_names.names()  # Once for all.
name = sys.argv[2]
program = importlib.import_module(f"transfer_keras.{name}")
cases = json.load(open(sys.argv[1]))
for number, case in enumerate(cases):
    child = os.fork()
    if not child:
        for stream in (1, 2):
            os.dup2(os.open(f"../said/{number}.{stream}", os.O_WRONLY | os.O_CREAT), stream)
        if "keras" in case:
            os.environ["KERAS_HOME"] = f"../keras/{number}"
        if "config" in case:
            os.environ["TF_CONFIG"] = case["config"]
        sys.argv[:] = [f"{name}.py", *case.get("flags", [])]
        try:
            launch.start(tf_config.read_cluster if "config" in case else program.main)
        except SystemExit as end:  # Without what Python does at its end, which takes longer.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code)
        os._exit(99)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def run_all(program, cases, name):
    """Runs a program in one folder with each case; gives its status and what it printed."""
    home = program.folder.parent
    (home / "said").mkdir()
    for number, case in enumerate(cases):
        if "keras" in case:
            (home / "keras" / str(number)).mkdir(parents=True)
            path = home / "keras" / str(number) / "keras.json"
            path.write_text(case["keras"], errors="surrogateescape")
    (program.folder / "loop").symlink_to("loop")
    (program.folder / "file.txt").write_text("one\n")
    for folder in ("folder", "here"):
        (program.folder / folder).mkdir()
    (program.folder / "bytes.flags").write_bytes(b"--steps=\xff\xfe\x00\n")
    (program.folder / "loop.flags").write_text("--flagfile=loop.flags\n")
    (program.folder / "nested.flags").write_text("--flagfile=none.flags\n")
    before = tree(program.folder)
    (home / "cases.json").write_text(json.dumps(cases))
    done = program("-c", RUN_ALL, str(home / "cases.json"), name, light=True)
    assert done.returncode == 0, done.stderr
    assert tree(program.folder) == before
    for number, status in enumerate(done.stdout.split()):
        said = [(home / "said" / f"{number}.{k}").read_bytes().decode() for k in (1, 2)]
        yield cases[number], subprocess.CompletedProcess((), int(status), *said)


def check(program, tmp_path, cases, name="train"):
    wrong = []
    for case, done in run_all(program, cases, name):
        try:
            line = refused(lambda done=done: done, tmp_path)
            assert line.isprintable()
            assert line.startswith(f"{name}: ")
        except AssertionError:
            wrong.append((str(case)[:150], done.returncode, done.stderr[-300:]))
    assert not wrong, f"{len(wrong)} of {len(cases)}: {json.dumps(wrong[:40], indent=1)}"


@pytest.mark.parametrize("kind", FLAGS)
def test_the_first_of_each_kind(program, tmp_path, kind):
    check(program, tmp_path, [{"flags": flags} for flags in FLAGS[kind][:2]])


@pytest.mark.slow
@pytest.mark.parametrize("kind", FLAGS)
def test_all_of_each_kind(program, tmp_path, kind):
    check(program, tmp_path, [{"flags": flags} for flags in FLAGS[kind]])


@pytest.mark.parametrize("name", PROGRAMS)
def test_the_other_programs(program, tmp_path, name):
    check(program, tmp_path, [{"flags": flags} for flags in PROGRAMS[name]], name)


def test_files_of_keras(program, tmp_path):
    check(program, tmp_path, [{"keras": text} for text in KERAS_FILES])


def test_variables_of_tensorflow(program, tmp_path):
    check(program, tmp_path, [{"config": text} for text in TF_CONFIGS])


def test_there_are_enough():
    assert sum(map(len, FLAGS.values())) + len(KERAS_FILES) + len(TF_CONFIGS) >= 300
