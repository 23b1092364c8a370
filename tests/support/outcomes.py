"""Says what became of a program whose files were damaged, by what it left and what it said."""

import collections
import contextlib
import dataclasses
import os
import re
import shutil

from support import damaged_files, forged, material
from support.farm import Ended
from support.material import SCENARIOS

SAME, REFUSED, MADE_AGAIN = "undamaged result", "one line", "made again"
TRACEBACK, HANG, SILENT = "TRACEBACK", "HANG", "SILENT"
TOUCHED, LATE = "OTHERS TOUCHED", "REFUSED AFTER WRITING"
LINES, UNNAMED = "NOT ONE LINE", "FILE NOT NAMED"
SAID = "other result, said"
EDITED = "a valid edit"
GOOD = (SAME, REFUSED, MADE_AGAIN, SAID, EDITED)
BAD = (TRACEBACK, HANG, SILENT, TOUCHED, LATE, LINES, UNNAMED)
INPUT_LIMIT = 60.0

_ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
# What stands on standard error besides a refusal: bars of progress.
_BAR = re.compile(r"\d+%\|.*\||^\S.*: \d+ [a-z]+ \[|[\d?]+/\d+ \[|^\s*$")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What became of one damage.

    Attributes:
        outcome: one of those above.
        why: the line or the difference by which that was judged.
        seconds, peak: of the program; bytes.
    """

    outcome: str
    why: str = ""
    seconds: float = 0.0
    peak: int = 0


class Judge:
    """Runs damages on copies of the material, and compares with what undamaged copies gave.

    Args:
        of: the folder of the material.
        scratch: an empty folder for the copies.
        farm: runs the programs.
    """

    def __init__(self, of, scratch, farm):
        self._material, self._scratch, self._farm = of, scratch, farm
        self._expected, self._known = {}, {}
        self._count = 0

    def judge(self, damage):
        """Damages a copy, runs the program, and says what became of it."""
        self._count += 1
        folder = self._scratch / f"{os.getpid()}-{self._count}"
        try:
            if damage.operation[0] == "flag":
                return self._judge_input(folder, damage)
            return self._judge_damage(folder, damage)
        except (forged.Edited, forged.NotPossible) as error:
            return Outcome(EDITED, type(error).__name__)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _judge_damage(self, folder, damage):
        scenario = SCENARIOS[damage.scenario]
        if damage.scenario not in self._expected:
            material.copy(self._material, scenario, folder)
            ended = self._run(folder, scenario)
            assert ended.status == 0, (damage.scenario, ended)
            self._expected[damage.scenario] = material.results(folder, scenario, ended.out)
            shutil.rmtree(folder)
        material.copy(self._material, scenario, folder)
        damaged_files.plant_outside(folder)
        foreign = damaged_files.apply(folder, damage.path, damage.operation)
        before = damaged_files.snapshot(folder)
        ended = self._run(folder, scenario)
        after = damaged_files.snapshot(folder)

        def result(outcome, why=""):
            return Outcome(outcome, why[-600:], ended.seconds, ended.peak)

        touched = [path for path in foreign if not path.exists()]
        theirs = [path for path in {**before, **after} if _is_of_others(path)]
        touched += [path for path in theirs if before.get(path) != after.get(path)]
        if touched:
            return result(TOUCHED, f"{touched[0]} | {last_line(ended)}")
        if (fault := _fault_of_ending(ended)) is not None:
            return result(*fault)
        if ended.status:
            return result(*_judge_refusal(ended, damage, before, after))
        expected = self._expected[damage.scenario]
        damaged = [damage.path, *(damage.operation[1:] if "exchange" in damage.operation else ())]
        ignored = tuple(path for path in damaged if before.get(path) == after.get(path))
        actual = material.results(folder, scenario, ended.out, ignore=ignored, known=self._known)
        different = [
            key
            for key in sorted({*expected, *actual})
            if actual.get(key) != expected.get(key) and not key.startswith(ignored)
        ]
        if different:
            if _is_another_question(damage):
                return result(EDITED)
            if damage.path.rsplit("/", 1)[-1] in ended.out + ended.err:
                return result(SAID)
            return result(SILENT, f"{different[0]} of {len(different)} | {last_line(ended)}")
        changed = before.get(damage.path) != after.get(damage.path)
        return result(MADE_AGAIN if changed else SAME)

    def _judge_input(self, folder, damage):
        _, program, flags, environment = damage.operation
        for name in ("train, done", "predict"):
            if folder.exists():
                for read in SCENARIOS[name].reads:
                    shutil.copytree(self._material / read, folder / read)
            else:
                material.copy(self._material, SCENARIOS[name], folder)
        shutil.copy2(self._material / "donor.keras", folder)
        damaged_files.plant_outside(folder)
        (folder / "loop").symlink_to("loop")
        (folder / "empty").mkdir()
        (folder / "text.txt").write_text("some text\n")
        (folder / "binary").write_bytes(bytes(range(256)) * 9)
        os.mkfifo(folder / "pipe")
        before = damaged_files.snapshot(folder)
        ended = self._farm.run(
            program, *flags, cwd=folder, environment=dict(environment), limit=INPUT_LIMIT
        )
        after = damaged_files.snapshot(folder)

        def result(outcome, why=""):
            return Outcome(outcome, why[-600:], ended.seconds, ended.peak)

        theirs = [path for path in before if before[path] != after.get(path)]
        if touched := [path for path in theirs if _is_of_others(path)]:
            return result(TOUCHED, f"{touched[0]} | {last_line(ended)}")
        if (fault := _fault_of_ending(ended)) is not None:
            return result(*fault)
        if ended.status:
            return result(*_judge_refusal(ended, damage, before, after))
        return result(SAME)

    def _run(self, folder, scenario) -> Ended:
        cwd = folder / scenario.cwd
        return self._farm.run(scenario.program, *scenario.flags, cwd=cwd, limit=scenario.limit)


@contextlib.contextmanager
def borrowed(judges):
    """Takes a judge out of a queue, and puts it back."""
    judge = judges.get()
    try:
        yield judge
    finally:
        judges.put(judge)


def _is_of_others(path):
    """Tells whether a file is of somebody else, and not of a folder that was moved away."""
    outside, moved = f"{damaged_files.OUTSIDE}/", f"{damaged_files.OUTSIDE}/moved"
    return path.startswith(outside) and not path.startswith(moved)


def _is_another_question(damage):
    """Tells whether something else is asked: of other pictures, or of fewer networks."""
    name = damage.operation[0]
    if damage.scenario == "predict":
        if "pictures" in damage.path.split("/")[0]:
            return name not in ("flip a bit", "zeros", "truncate", "append", "become")
        return False
    gone = name in ("remove", "a folder", "a file", "a link")
    return damage.scenario.startswith(("report", "train --dry_run")) and gone


def _fault_of_ending(ended):
    """Gives the outcome and why, where a program ended as none may."""
    if ended.hung:
        return HANG, last_line(ended)
    if "Traceback (most recent call last)" in ended.err + ended.out or ended.status not in (0, 2):
        return TRACEBACK, f"status {ended.status}: {last_line(ended)}"
    return None


def _judge_refusal(ended, damage, before, after):
    """Judges a program that ended with status 2."""
    lines = refusal_lines(ended)
    if len(lines) != 1:
        return LINES, " / ".join(lines)
    written = sorted(
        path
        for path in {**before, **after}
        if before.get(path) != after.get(path) and not path.endswith(".lock")
    )
    if written:
        return LATE, f"{written[0]} of {len(written)} | {lines[0]}"
    if damage.operation[0] != "flag" and not names(lines[0], damage.path):
        return UNNAMED, lines[0]
    return REFUSED, lines[0]


def names(line, path):
    """Tells whether a line names a file, or a folder that is not all of the workdir."""
    parts = path.split("/")
    nearest = "/".join(parts[:-1])
    if parts[-1] == "experiment.json" and f"--workdir={nearest}: holds another" in line:
        return True
    if "were trained on other data" in line and {"pictures", "data"} & {*parts}:
        return True  # Of which pictures all are known only together.
    return parts[-1] in line or ("/" in nearest and nearest in line)


def refusal_lines(ended):
    """Gives the lines on standard error that are no bars of progress."""
    text = _ESCAPES.sub("", ended.err)
    return [line for line in re.split(r"[\n\r]+", text) if not _BAR.search(line)]


def last_line(ended):
    """Gives the last line on standard error, or on standard output."""
    lines = refusal_lines(ended) or ended.out.splitlines() or [""]
    return lines[-1]


def table(outcomes, key):
    """Draws a table in Markdown: kind x outcome.

    Args:
        outcomes: pairs of a damage and its outcome.
        key: of a damage, by which rows are made.
    """
    counts = collections.defaultdict(collections.Counter)
    peaks = collections.Counter()
    for damage, outcome in outcomes:
        counts[key(damage)][outcome.outcome] += 1
        if outcome.outcome in (REFUSED, LATE, LINES, UNNAMED):
            peaks[key(damage)] = max(peaks[key(damage)], outcome.peak)
    columns = (*GOOD, *BAD)
    lines = [
        f"| kind | {' | '.join(columns)} | peak of a refusal, MiB |",
        "| --- |" + " ---: |" * (len(columns) + 1),
    ]
    total = sum(counts.values(), collections.Counter())
    peaks["all"] = max(peaks.values(), default=0)
    for kind, row in (*sorted(counts.items()), ("all", total)):
        cells = [str(row[column] or "") for column in columns]
        lines.append(f"| {kind} | {' | '.join(cells)} | {peaks[kind] >> 20 or ''} |")
    return "\n".join(lines)
