"""Damaged files and odd inputs of every kind, by hundreds: each has an end that a person can use.

The result is that of undamaged files; or what can be made again is; or one line names the file, the
status is 2 and nothing new is written. `tools/count_damages.py` does the same by thousands.
"""

import concurrent.futures
import math
import queue
import random
import time

import pytest
from support import damage, material, outcomes
from support.damage import Damage
from support.farm import Farm

GIB = 1 << 30
DAMAGES, INPUTS = 1600, 400
SECONDS = 240  # For each of the two.


@pytest.fixture(scope="module")
def farms():
    """Two processes that have imported what programs need."""
    with Farm() as one, Farm() as other:
        yield one, other


@pytest.fixture(scope="module")
def folder(farms, tmp_path_factory):
    """Undamaged folders of every program."""
    made = tmp_path_factory.mktemp("material")
    material.make(made, farms[0])
    return made


def run(every, folder, farms, scratch, seconds=math.inf):
    """Runs damages two at a time, and gives pairs of each and its outcome.

    After so many seconds no further one is begun; those that are left out are of every kind.
    """
    every, end = [*every], time.monotonic() + seconds
    if seconds < math.inf:
        random.Random(0).shuffle(every)
    judges = queue.SimpleQueue()
    for number, farm in enumerate(farms):
        (scratch / f"{number}").mkdir()
        judges.put(outcomes.Judge(folder, scratch / f"{number}", farm))

    def judge(one):
        if time.monotonic() > end:
            return None
        with outcomes.borrowed(judges) as judge:
            return one, judge.judge(one)

    with concurrent.futures.ThreadPoolExecutor(len(farms)) as pool:
        return list(filter(None, pool.map(judge, every)))


def check(counted):
    """Refuses outcomes that no person can use; shows all of them."""
    bad = [
        f"{outcome.outcome}: {one}\n    {outcome.why}"
        for one, outcome in counted
        if outcome.outcome in outcomes.BAD
    ]
    heavy = [
        f"{outcome.peak >> 20} MiB: {one}"
        for one, outcome in counted
        if outcome.outcome == outcomes.REFUSED and outcome.peak >= 2 * GIB
    ]
    table = outcomes.table(counted, lambda one: one.kind)
    assert not bad + heavy, "\n".join([*bad, *heavy, table])


@pytest.mark.slow
def test_damages(folder, farms, tmp_path):
    files = damage.listing(folder)
    every = damage.draw(damage.damages(files), DAMAGES)
    assert len(every) == DAMAGES
    check(run(every, folder, farms, tmp_path, SECONDS))


@pytest.mark.slow
def test_inputs(folder, farms, tmp_path):
    flags = {name: material.flag_names(farms[0], name, tmp_path) for name in damage.PROGRAMS}
    every = damage.draw(damage.inputs(flags), INPUTS)
    assert len(every) == INPUTS
    check(run(every, folder, farms, tmp_path, SECONDS))


@pytest.mark.slow
def test_files_that_expand_to_gigabytes(folder, farms, tmp_path):
    every = damage.bombs(damage.listing(folder))
    assert every
    check(run(every, folder, farms, tmp_path))


# One of each kind, on a small workdir that is done; all were tracebacks once, or worse.
EXAMPLES = [
    ("train, done", "run/A2B/row.json", ("json", (0.99,), "replace", "NaN"), outcomes.REFUSED),
    ("train, done", "run/A2B/row.json", ("json", (), "replace", "deep"), outcomes.REFUSED),
    ("train, done", "run/A2B/row.json", ("json", (0.99,), "remove", ""), outcomes.REFUSED),
    ("train, done", "run/A2B/row.json", ("a folder",), outcomes.REFUSED),
    ("train, done", "run/experiment.json", ("become", "null"), outcomes.REFUSED),
    ("train, done", "run/experiment.json", ("become", "\udcff"), outcomes.REFUSED),
    ("train, done", "run/experiment.json", ("a link", "itself"), outcomes.REFUSED),
    ("train, done", "run/.lock", ("a link", "file"), None),
    ("train, done", "run/run.flags", ("a folder",), None),
    ("train, done", "run/A2B", ("litter", "notes.txt"), outcomes.SAME),
    ("train, done", "run", ("litter", ".DS_Store"), outcomes.SAME),
    ("report", "run/A2B/row.json", ("json", (0.5,), "replace", "9" * 400), outcomes.REFUSED),
    ("report", "run/experiment.json", ("json", (0.4,), "replace", "[]"), outcomes.REFUSED),
    ("report", "run/A2B", ("litter", "\udcff.txt"), outcomes.SAME),
    ("report", "run/A2B", ("a file",), None),
    ("report", "run", ("move",), outcomes.SAME),
]  # fmt: skip


@pytest.fixture(scope="module")
def small(farms, tmp_path_factory):
    """An undamaged workdir that is done."""
    made = tmp_path_factory.mktemp("small")
    material.make_done(made, farms[0])
    return made


@pytest.mark.parametrize(
    ("scenario", "path", "operation", "expected"),
    EXAMPLES,
    ids=[f"{path.rpartition('/')[2]}-{operation[0]}" for _, path, operation, _ in EXAMPLES],
)
def test_examples(small, farms, tmp_path, scenario, path, operation, expected):
    one = Damage(scenario, path, operation)
    ((_, outcome),) = counted = run([one], small, farms[:1], tmp_path)
    check(counted)
    assert expected in (None, outcome.outcome), outcome


PREDICTIONS = ["shorter", "negative", "out of range", "nan", "object", "huge", "missing", "text"]


@pytest.mark.parametrize("change", PREDICTIONS)
def test_predictions(small, farms, tmp_path, change):
    (path,) = (small / "run" / "A2B").glob("predictions.*")
    one = Damage("report", path.relative_to(small).as_posix(), ("array", 0.9, change))
    check(run([one], small, farms[:1], tmp_path))


def test_what_is_no_good_end_is_seen(small, farms, tmp_path):
    """Values that nobody could write are accepted by nobody, and a changed number is seen."""
    judge = outcomes.Judge(small, tmp_path, farms[0])
    row = "run/A2B/row.json"
    assert judge.judge(Damage("report", row, ("future",))).outcome == outcomes.SAME
    place = sorted(material.read_json(small / row)).index("top1") / 21
    valid = Damage("report", row, ("json", (place + 0.01,), "replace", "0.25"))
    assert judge.judge(valid).outcome == outcomes.EDITED
