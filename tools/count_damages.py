"""Counts what becomes of damaged files and odd inputs, by kind: how often, and how it ended.

python tools/count_damages.py --inputs=1000 --damages=10000 --output=counted

Each damage is done to a copy of small folders that the programs made themselves, and a program is
run on it. `counted.md` has the tables, `counted.json` every damage that did not end well. Exits
with 1 where there is one. See tests/support/outcomes.py for what "well" is.
"""

import collections
import concurrent.futures
import json
import pathlib
import queue
import random
import sys
import tempfile
import time

from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support import damage, material, outcomes
from support.farm import Farm

_INPUTS = flags.DEFINE_integer("inputs", 1000, "How many odd inputs.", 0)
_DAMAGES = flags.DEFINE_integer("damages", 10_000, "How many damages of files.", 0)
_BOMBS = flags.DEFINE_bool("bombs", True, "Also files that expand to gigabytes, one of a kind.")
_SEED = flags.DEFINE_integer("seed", 0, "Of all that is drawn.", 0)
_SCENARIO = flags.DEFINE_multi_string("scenario", None, "Only these (default: all).")
_PROCESSES = flags.DEFINE_integer("processes", 1, "How many programs run at once.", 1)
_MINUTES = flags.DEFINE_float("minutes", 1e9, "After so many no further one is begun.")
_MATERIAL = flags.DEFINE_string("material", None, "Folder to keep the undamaged files in.")
_OUTPUT = flags.DEFINE_string("output", "counted", "Of the two files, without their endings.")


def main(_) -> None:
    """Draws, runs and counts."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = pathlib.Path(_MATERIAL.value or f"{scratch}/material").absolute()
        with Farm() as farm:
            if not folder.exists():
                folder.mkdir(parents=True)
                material.make(folder, farm)
            programs = {name: material.flag_names(farm, name, folder) for name in damage.PROGRAMS}
        files = damage.listing(folder)
        every = [
            *damage.draw(damage.damages(files), _DAMAGES.value, _SEED.value),
            *damage.draw(damage.inputs(programs), _INPUTS.value, _SEED.value),
        ]
        random.Random(_SEED.value).shuffle(every)  # What is left out is of every kind.
        every = [*(damage.bombs(files) if _BOMBS.value else ()), *every]
        if _SCENARIO.value:
            every = [each for each in every if each.scenario in _SCENARIO.value]
        counted = run(every, folder, pathlib.Path(scratch))
    print(f"\n{write(counted)}")
    sys.exit(any(outcome.outcome in outcomes.BAD for _, outcome in counted))


def run(every, folder, scratch):
    """Runs all damages, and gives pairs of each and its outcome."""
    judges = queue.SimpleQueue()
    farms = [Farm() for _ in range(_PROCESSES.value)]
    for number, farm in enumerate(farms):
        (scratch / f"{number}").mkdir()
        judges.put(outcomes.Judge(folder, scratch / f"{number}", farm))
    seen = collections.Counter()
    end = time.monotonic() + 60 * _MINUTES.value

    def judge(each):
        if time.monotonic() > end:
            return None
        with outcomes.borrowed(judges) as one:
            outcome = one.judge(each)
        seen[outcome.outcome] += 1
        if outcome.outcome in outcomes.BAD or not seen.total() % 100:
            print(f"{seen.total()} {outcome.outcome}: {each} {outcome.why}"[:900], flush=True)
        return each, outcome

    counted = []
    with concurrent.futures.ThreadPoolExecutor(len(farms)) as pool:
        for pair in filter(None, pool.map(judge, every)):
            counted.append(pair)
            if not len(counted) % 500:  # What is counted stays if this ends too early.
                write(counted)
    for farm in farms:
        with farm:
            pass
    return counted


def write(counted) -> str:
    """Writes the tables and the damages that did not end well; gives the table by kind."""
    tables = [
        outcomes.table(counted, key)
        for key in (lambda one: one.kind, lambda one: one.operation[0], lambda one: one.scenario)
    ]
    pathlib.Path(f"{_OUTPUT.value}.md").write_text("\n\n".join(tables) + "\n")
    totals = collections.Counter(outcome.outcome for _, outcome in counted)
    bad = [
        {
            "outcome": outcome.outcome, "scenario": each.scenario, "path": each.path,
            "operation": each.operation, "why": outcome.why, "seconds": outcome.seconds,
            "peak": outcome.peak,
        }
        for each, outcome in counted
        if outcome.outcome in outcomes.BAD
    ]  # fmt: skip
    by_kind = collections.defaultdict(collections.Counter)
    for each, outcome in counted:
        by_kind[each.kind][outcome.outcome] += 1
    facts = {"examples": len(counted), "totals": totals, "by kind": by_kind, "bad": bad}
    pathlib.Path(f"{_OUTPUT.value}.json").write_text(json.dumps(facts, indent=1) + "\n")
    return f"{tables[0]}\n\n{dict(totals)}"


if __name__ == "__main__":
    app.run(main)
