"""The program as a user meets it."""

import functools
import re

import pytest
from support.refusals import refused

from transfer_keras.results import Workdir

# A package of this name that cannot be imported proves that an answer came without it.
POISON = 'raise RuntimeError("heavy import")\n'


@pytest.fixture
def train(program):
    """Runs the program with flags, by default without TensorFlow."""
    return functools.partial(program, "-m", "transfer_keras.train", light=True)


BAD = [
    (["--n=8"], r"--n=8: alexnet_mini has 8 units"),
    (["--n=1-99999999999"], r"ends at 999 or below"),
    (["--n=0"], r"--n=0: a range begins at 1"),
    (["--n=3-1"], r"--n=3-1: a range begins at 1 or above, ascends"),
    (["--n=three"], r"--n=three: expected numbers and ranges"),
    (["--mode=frosen"], r"--mode=frosen: expected one or several of frozen, fine_tune, random"),
    (["--source=both"], r"--source=both: expected one or several of other, self"),
    (["--target=C"], r"--target=C: expected one or several of A, B"),
    (["--treatments=A3C"], r"--treatments=A3C: 'A3C' is no treatment"),
    (["--treatments=A3B", "--n=2"], r"--treatments and --n both say"),
    (["--treatments=A9B"], r"--treatments=A9B: alexnet_mini has 8 units"),
    (["--dataset=cifar11"], r"--dataset=cifar11: no such image dataset. Did you mean cifar10"),
    (["--dataset=formula_images/9"], r"--dataset=formula_images/9: after the slash, expected"),
    (["--dataset=tiny_imagenet"], r"--dataset=tiny_imagenet needs --data_dir=PATH"),
    (["--dataset=tiny_imagenet", f"--data_dir={__file__}"], r"is neither a zip nor a folder"),
    (["--data_dir=nowhere"], r"--data_dir=nowhere: no such folder"),
    (["--split=halves"], r"--split=halves: expected a number"),
    (["--network=resnet"], r"--network=resnet: expected one of alexnet, .*keras_hub:NAME"),
    (["--network=resnet18", "--n=10"], r"--n=10: resnet18 has 10 units"),
    (
        ["--network=keras.applications.VGG16", "--mean=target"],
        r"--mean=target: this network scales",
    ),
    (["--network=keras_hub:"], r"--network=keras_hub:: which\?"),
    (["--learning_rate_warm_up=1400"], r"--learning_rate_warm_up=1400: expected 0 or more, and"),
    (["--image_size=9"], r"--image_size=9: alexnet_mini needs at least"),
    (["--steps=0"], r"--steps=0: 0 is not a positive integer"),
    (["--seed=-1"], r"--seed=-1: expected numbers and ranges"),
    (["--seed=0-9999"], r"--seed=0-9999: a range has at most 1000 numbers"),
    (["--seed=0,1"], r"--seed=0,1: a training takes one. Several are a study: .*sweep"),
    (["--split=0-2"], r"--split=0,1,2: a training takes one"),
    (["--split=whole"], r"--split=whole: there is no task B, which A3B needs"),
    (["--examples_per_class=5,all"], r"--examples_per_class=5,all: a training takes one"),
    (["--examples_per_class=0"], r"--examples_per_class=0: expected numbers from 1 up, or all"),
    (["--group_size=0"], r"--group_size=0"),
    (["--group_memory=0"], r"--group_memory=0.0: must be positive"),
    (["--learning_rate=fast"], r"--learning_rate=fast"),
    (["--views=2"], r"--views=2: without augmentation all views of a picture are the same"),
    (["--views=0", "--augment"], r"--views=0"),
    (["--augment", "--keep_features=always"], r"--keep_features=always: with --augment each epoch"),
    (["--keep_features=sometimes"], r"--keep_features=sometimes: value should be one of"),
    (["--features_memory=0"], r"--features_memory=0.0: must be positive"),
    (["--stepz=3"], r"Unknown command line flag 'stepz'. Did you mean: steps"),
    (["stray"], r"unexpected arguments: stray"),
]


@pytest.mark.parametrize(
    ("given", "message"), BAD, ids=lambda x: " ".join(x) if isinstance(x, list) else ""
)
def test_bad_flags_answer_in_one_line_before_tensorflow(train, program, given, message):
    refused(lambda: train(*given), program.folder, message)


def test_a_part_of_what_is_divided_is_refused_before_tensorflow(train, program):
    for split in ("train", "val"):
        (program.folder.parent / "pictures" / split).mkdir(parents=True)
    refused(
        lambda: train("--dataset=folder:../pictures/", "--validation_seed=3"),
        program.folder.parent,
        r"--validation_seed: folder:\.\./pictures is divided already, in train/ and val/\.",
    )


def test_help_needs_no_tensorflow(train, program):
    done = train("--help")
    assert "--treatments" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert list(program.folder.iterdir()) == []


def test_dry_run_prints_what_it_would_take(train, program):
    done = train("--n=1-3", "--mode=frozen,random", "--target=A,B", "--dry_run", light=False)
    assert done.returncode == 0, done.stderr
    assert "To train: baseA, baseB, B1A, B2A, B3A, R1A, R2A, R3A, A1B" in done.stdout
    assert re.search(r"^4 +B +A1B, …, R3B \(6\) .* M .* M .* GiB  to train$", done.stdout, re.M)
    assert "14 networks of" in done.stdout
    assert "4 passes over the data" in done.stdout
    assert list(program.folder.iterdir()) == []


def test_a_run_and_its_files(train, program, data_dir):
    """The smallest real run: real program, data, training, files; then it is run again."""
    small = ["--dataset=formula_images/6x30x32", f"--data_dir={data_dir}", "--steps=4"]
    small += ["--batch_size=8", "--validations=2", "--workdir=run"]
    done = train(*small, "--treatments=A2B,B2B+", light=False, fresh=True)
    assert done.returncode == 0, done.stderr
    run = program.folder / "run"
    for name in ("baseA", "baseB", "A2B", "B2B+"):
        files = {p.name.split(".")[0] for p in (run / name).iterdir()}
        assert files == {"network", "row", "predictions", "filters", "events"}
        assert f"{name} " in done.stdout
    assert done.stdout.splitlines()[-1].endswith("tensorboard --logdir run")
    assert "--treatments=A2B,B2B+" in (run / "run.flags").read_text()

    rows = [(run / name / "row.json").read_bytes() for name in ("baseA", "A2B")]
    again = train(f"--flagfile={run}/run.flags", light=False)
    assert again.returncode == 0, again.stderr
    assert "not trained again: baseA, baseB, A2B, B2B+" in again.stdout
    assert rows == [(run / name / "row.json").read_bytes() for name in ("baseA", "A2B")]

    refused(  # Before TensorFlow.
        lambda: train(*small, "--steps=5", "--treatments=A2B"),
        program.folder,
        "steps is 4 there, 5 here",
    )


def test_a_reader_that_goes_away_stops_nothing(program, data_dir):
    """Of both outputs, in the middle of a study of several groups."""
    flags = ["--dataset=formula_images/6x30x32", f"--data_dir={data_dir}", "--steps=4"]
    flags += ["--batch_size=8", "--validations=2", "--treatments=A2B", "--workdir=run"]
    process = program.start("-m", "transfer_keras.train", *flags)
    assert process.stdout.readline().startswith("alexnet_mini on formula_images")
    process.stdout.close()
    process.stderr.close()
    assert process.wait(120) == 0
    assert Workdir(program.folder / "run").done == ["A2B", "baseA", "baseB"]
