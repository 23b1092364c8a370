"""The program that runs a study, as a user meets it."""

import json
import re
import signal
import time

import numpy as np
import pytest
from safetensors.numpy import load_file
from support.networks import classifier, write_pictures
from support.paths import ROOT
from support.refusals import refused
from support.studies import write_experiment

from transfer_keras.config import make_experiment
from transfer_keras.results import Workdir

FLAGFILES = sorted((ROOT / "flags").glob("*.flags"))


SWEEP = ("-m", "transfer_keras.sweep")
PRINT_EXPERIMENTS = """
import json, sys
from absl import flags
from transfer_keras import sweep
from transfer_keras.config import flags as experiment_flags
from transfer_keras.config import from_flags
for name, value in experiment_flags.WHOLE_CURVE.items():
    flags.FLAGS.set_default(name, value)
flags.FLAGS(sys.argv)
requests = from_flags.requests()
print(json.dumps([[e.data.split, e.data.examples_per_class, e.training.seed,
                   [t.name for t in e.treatments], e.data.dataset, e.training.network,
                   e.training.steps] for e in (r.complete() for r in requests)]))
"""


def experiments(program, *flags):
    done = program("-c", PRINT_EXPERIMENTS, *flags, light=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# Of each flagfile: splits, amounts, seeds, and the treatments of an experiment with two tasks.
STUDIES = {
    "cifar10": (["0", "1", "2", "3", "natural"], [None], [0, 1], 58),
    "cifar100": (["0", "1", "2", "3"], [None], [0, 1], 58),
    "demo": (["0", "1"], [None], [0], 42),
    "imagenet32": (["0", "1", "2", "3", "natural"], [None], [0], 58),
    "paper": (["0", "1", "2", "3", "natural", "whole"], [None], [0], 72),
    "paper_reduced": (
        ["whole"], [1, 2, 5, 10, 25, 50, 100, 250, 500, 750, 1000, 1300], [0], 1,
    ),
    "resnet18_gpu": (["0", "1"], [None], [0], 40),
    "resnet18_small": (["0", "1"], [None], [0], 40),
    "tiny_imagenet": (["0", "1", "natural"], [None], [0, 1], 58),
    "vit_mini": (["0", "1"], [None], [0], 24),
    "vit_small_gpu": (["0", "1"], [None], [0], 40),
    "whole_figure": (["0"], [None], [0], 33),
}  # fmt: skip


@pytest.mark.parametrize("path", FLAGFILES, ids=lambda path: path.stem)
def test_committed_flagfiles_are_studies(program, path, request):
    extra = []
    if path.stem in ("tiny_imagenet", "resnet18_small", "vit_mini"):
        extra = [f"--data_dir={request.getfixturevalue('tiny_imagenet_zip')}"]
    splits, amounts, seeds, treatments = STUDIES[path.stem]
    study = experiments(program, f"--flagfile={path}", *extra)
    expected = {(s, a, k) for s in splits for a in amounts for k in seeds}
    assert {tuple(e[:3]) for e in study} == expected
    assert len(study) == len(expected)
    for split, _, _, names, *_ in study:
        of_a = {"baseA"} if amounts != [None] else {
            f"{donor}{n}A{plus}" for n in range(1, 8) for donor, plus in ("A ", "A+", "R ")
        } | {"A8A+"}  # fmt: skip
        expected = {name.replace(" ", "") for name in of_a}
        assert set(names) == expected if split == "whole" else len(names) == treatments
    run_by_sweep = "transfer_keras.sweep" in path.read_text()
    assert run_by_sweep == (path.stem != "whole_figure")


def test_the_paper_is_all_that_it_ran_and_what_it_left_out(program):
    study = experiments(program, f"--flagfile={ROOT / 'flags' / 'paper.flags'}")
    assert {tuple(e[4:]) for e in study} == {("imagenet2012", "alexnet", 450_000)}
    of_split = {e[0]: set(e[3]) for e in study}
    everything = {
        f"{d}{n}{t}{p}" for d in "AB" for n in range(1, 8) for t in "AB" for p in ("", "+")
    }
    for split in ("0", "1", "2", "3", "natural"):
        assert everything <= of_split[split]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], {"A8A+", "B8B+"}),
        (["--target=B"], {"B8B+"}),
        (["--n=1-7"], set()),
        (["--mode=frozen"], set()),
        (["--n=7,8", "--mode=fine_tune", "--source=self", "--target=A"], {"A8A+"}),
    ],
)
def test_bases_are_trained_on_beside_the_whole_figure(program, given, expected):
    ((*_, names, _, _, _),) = experiments(program, *given)
    assert {name for name in names if "8" in name} == expected
    assert len(names) == len(set(names))


def test_every_combination_once_and_seeds_last(program):
    flags = ["--split=1,natural,1", "--seed=3,0-1", "--examples_per_class=all,4"]
    combinations = [tuple(e[:3]) for e in experiments(program, *flags)]
    expected = [(s, a, k) for k in (3, 0, 1) for a in (None, 4) for s in ("1", "natural")]
    assert combinations == expected


BAD = [
    (["--split=halves"], r"--split=halves: expected a number"),
    (["--split=0,1-"], r"--split=1-: expected a number"),
    (["--split=3-1"], r"--split=3-1: a range begins at 0"),
    (["--examples_per_class=few"], r"--examples_per_class=few: expected numbers from 1 up, or all"),
    (["--split=whole", "--target=B"], r"--split=whole: there is no task B, which all of"),
    (["--n=8"], r"--n=8: alexnet_mini has 8 units"),
    (["--mode=linear", "--source=statistics"], r"--mode=linear --source=statistics: a linear"),
    (
        ["--split=5000000000"],
        r"--split=5000000000: a range begins at 0 or above, ascends and ends at",
    ),
    (["--split=a/c.txt,b/c.txt"], r"both would go to splitc-seed0\. Give one of the files another"),
    (["--split=a/c.txt,b/d.txt"], r"splitc-seed0 and splitd-seed0 are the same classes, seed and"),
    (["--workdir=named"], r"--workdir=named: mine and split0-seed0 are the same classes"),
    (["--workdir=a/c.txt"], r"--workdir=a/c.txt: is a file"),
    (["--workdir=one"], r"--workdir=one: is the workdir of one experiment"),
    (
        ["--workdir=other"],
        r"--workdir=other: holds experiments that are no one study: .* in what is asked for",
    ),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=lambda x: " ".join(x)[:40])
def test_bad_flags_answer_in_one_line_before_tensorflow(program, given, message):
    levels = {"baseA": 0.5}
    write_experiment(program.folder / "one", split="0", seed=0, levels=levels)
    write_experiment(program.folder / "other" / "a", split="7", seed=0, levels=levels)
    same = {**make_experiment(["baseA"]).identity, "split": "0", "seed": 0}
    mine = {"settings": same, "levels": levels, "split": "0", "seed": 0}
    write_experiment(program.folder / "named" / "mine", **mine)
    for place in ("a/c.txt", "b/c.txt", "b/d.txt"):
        (program.folder / place).parent.mkdir(exist_ok=True)
        (program.folder / place).write_text("one\ntwo\n")
    refused(lambda: program(*SWEEP, *given, light=True), program.folder, message)


@pytest.fixture
def small(data_dir):
    return [
        "--dataset=formula_images/6x30x32", f"--data_dir={data_dir}", "--steps=4", "--n=2",
        "--mode=frozen", "--target=A", "--batch_size=8", "--validations=2", "--metrics_every=0",
    ]  # fmt: skip


def test_a_study_and_its_files(program, small):
    flags = [*small, "--split=whole", "--examples_per_class=2,all", "--batch_size=6"]
    flags.append("--source=self")
    done = program(*SWEEP, *flags, "--workdir=study")
    assert done.returncode == 0, done.stderr
    study = program.folder / "study"
    two = {"baseA", "A2A"}
    expected = dict.fromkeys(["splitwhole-seed0", "splitwhole-2perclass-seed0"], two)
    assert {name: set(Workdir(study / name).done) for name in expected} == expected
    assert Workdir(study / "splitwhole-seed0").row("baseA").classes == 6
    lines = done.stdout.splitlines()
    assert "Experiment 2 of 2: split whole, seed 0." in done.stdout
    assert lines[-2:] == [
        "The report: study/report/report.html", "See every unit: tensorboard --logdir study",
    ]  # fmt: skip
    assert (study / "report" / "reduced_data.svg").exists()

    before = {path: path.read_bytes() for path in study.rglob("*") if path.is_file()}
    again = program(*SWEEP, *flags, "--workdir=study")
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("not trained again") == 2
    changed = {p.name for p, bytes_ in before.items() if p.read_bytes() != bytes_}
    assert changed <= {"report.html"}

    alone = program("-m", "transfer_keras.train", f"--flagfile={study}/splitwhole-seed0/run.flags",
                    "--workdir=alone")  # fmt: skip
    assert alone.returncode == 0, alone.stderr
    for name in two:
        predictions = [
            load_file(folder / name / "predictions.safetensors")
            for folder in (study / "splitwhole-seed0", program.folder / "alone")
        ]
        for key in predictions[0]:
            assert np.array_equal(*(arrays[key] for arrays in predictions)), (name, key)


def test_dry_run_measures_and_writes_nothing(program, small):
    done = program(*SWEEP, *small, "--split=0,1", "--steps=3000", "--dry_run")
    assert done.returncode == 0, done.stderr
    assert "where their features are kept, it takes less time." in done.stdout
    for line in (
        r"1 +A +baseA .* to train",
        r"3 +A +B2A, A2A .* to train",
        r"split 0, seed 0 +4 +3 +4 +\d+ (s|min)",
        r"split 1, seed 0 +4 +3 +4 +\d+ (s|min)",
        r"2 experiments: 8 networks in 6 passes over the data of 3,000 steps each\.",
        r"all +8 +6 +\d+ (s|min)",
    ):
        assert re.search(f"^{line}", done.stdout, re.MULTILINE), done.stdout
    assert list(program.folder.iterdir()) == []


def test_dry_run_of_what_is_not_at_hand(program, tmp_path):
    """CIFAR-10 is not on disk: the plan comes, and nothing is downloaded."""
    flags = [f"--flagfile={ROOT / 'flags' / 'cifar10.flags'}", f"--data_dir={tmp_path}"]
    done = program(*SWEEP, *flags, "--dry_run", "--split=0-3")
    assert done.returncode == 0, done.stderr
    assert "8 experiments: 480 networks in" in done.stdout
    assert "No estimate of the time: the data have to be downloaded first." in done.stdout
    done = program(*SWEEP, *flags, "--dry_run", "--split=natural")
    assert done.returncode == 2
    assert "the names of its classes come with the data, which are not here yet" in done.stderr
    assert not list(tmp_path.glob("cifar10*"))


def test_what_cannot_be_is_refused_before_anything_is_trained(program, small):
    done = program(*SWEEP, *small, "--examples_per_class=all,2", "--workdir=study")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(
        "sweep: --examples_per_class=2: task A of formula_images/6x30x32, split 0, has 3 classes, "
        "so 6 training images, less than a batch of 8."
    )
    assert "Traceback" not in done.stderr
    done = program(*SWEEP, *small, "--examples_per_class=all,9,1000", "--workdir=study")
    assert done.returncode == 2
    assert (
        "--examples_per_class=1000: no class of formula_images/6x30x32 has so many; the largest"
        in (done.stderr)
    )
    assert list(program.folder.iterdir()) == [], "nothing is written"


def test_stopped_in_the_middle(program, data_dir):
    """SIGTERM in the second experiment: status 75, and the same command goes on."""
    flags = [*SWEEP, "--dataset=formula_images/6x30x32", f"--data_dir={data_dir}", "--steps=20"]
    flags += ["--treatments=baseA", "--batch_size=8", "--validations=2", "--metrics_every=0"]
    flags += ["--split=0,1", "--workdir=study"]
    process = program.start(*flags)
    second = program.folder / "study" / "split1-seed0" / "checkpoints"
    while process.poll() is None and not second.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate()
    assert process.returncode == 75, errors
    assert "Run the same command to go on from there." in errors
    first = program.folder / "study" / "split0-seed0" / "baseA" / "row.json"
    written = first.stat().st_mtime_ns
    done = program(*flags)
    assert done.returncode == 0, done.stderr
    assert Workdir(second.parent).done == ["baseA"]
    assert first.stat().st_mtime_ns == written


def test_a_study_of_a_donor(program):
    """Selffers among it, which the advice is not of; other settings are refused before training."""
    write_pictures(program.folder / "pictures")
    classifier().save(program.folder / "own.keras")
    flags = ["--donor=own.keras", "--dataset=folder:pictures", "--n=1", "--seed=0,1"]
    flags += ["--batch_size=8", "--validations=1", "--workdir=study", "--learning_rate=0.01"]
    flags += ["--metrics_every=0"]
    done = program(*SWEEP, *flags, "--steps=40", "--mode=frozen")
    assert done.returncode == 0, done.stderr
    for seed in (0, 1):
        networks = Workdir(program.folder / "study" / f"splitdonor-seed{seed}").done
        assert networks == ["A1B", "B1B", "baseB"]
    assert re.search(r"^Split donor: (Take the lower 1|Train from)", done.stdout, re.MULTILINE)
    done = program(*SWEEP, *flags, "--steps=41", "--seed=0-2")
    assert done.returncode == 2
    assert "steps is 40 in splitdonor-seed0 and 41 in what is asked for" in done.stderr
    assert not (program.folder / "study" / "splitdonor-seed2").exists()
