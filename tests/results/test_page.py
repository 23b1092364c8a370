import base64
import csv
import itertools
import json
import re
import shlex
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from support.studies import write_experiment, write_study

from transfer_keras.results import Runs, Workdir, findings, paper, recommend
from transfer_keras.results.commands import repeat_commands
from transfer_keras.results.comparison import compare, compare_families
from transfer_keras.results.page import _flat_row, _write_tables, write_report
from transfer_keras.results.roles import BASE, Role
from transfer_keras.results.study import Kind, read_study

RANDOM = Kind("random")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


@pytest.fixture(scope="module")
def written(folder):
    text = write_report(folder, folder / "report", overlay_paper=None)
    return text, folder / "report"


def test_files(written):
    _, output = written
    assert sorted(p.name for p in output.iterdir()) == [
        "report.html", "results.csv", "results.json", "transfer_random.png", "transfer_random.svg",
    ]  # fmt: skip
    ET.parse(output / "transfer_random.svg")
    assert (output / "transfer_random.png").read_bytes().startswith(b"\x89PNG")


def test_a_folder_whose_name_is_a_formula(tmp_path):
    """A spreadsheet shows it; numbers stay numbers."""
    write_study(tmp_path)
    networks = read_study(tmp_path).networks
    rows = [_flat_row(network) | {"folder": "=cmd()"} for network in networks]
    _write_tables(tmp_path, rows)
    with (tmp_path / "results.csv").open(newline="") as file:
        read = list(csv.DictReader(file))
    assert {row["folder"] for row in read} == {"'=cmd()"}
    assert [float(row["loss"]) for row in read] == [row["loss"] for row in rows]
    assert json.loads((tmp_path / "results.json").read_text()) == rows


def test_tables(written, folder):
    _, output = written
    with (output / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 4 * 26
    from_json = json.loads((output / "results.json").read_text())
    assert [str(row["top1"]) for row in from_json] == [row["top1"] for row in rows]
    row = next(r for r in rows if (r["folder"], r["treatment"]) == ("split1-seed0", "B2A+"))
    assert (row["role"], row["n"], row["split"], row["seed"]) == ("AnB+", "2", "1", "0")
    saved = json.loads((folder / "split1-seed0" / "B2A+" / "row.json").read_text())
    assert float(row["top1"]) == saved["top1"]
    assert float(row["top1_best"]) == 0.75  # Of two tests.


def test_advice(written, folder):
    text, output = written
    runs = read_study(folder).runs[RANDOM]
    frozen, tuned = (compare_families(runs, family, "base") for family in ("AnB", "AnB+"))
    shown = {
        name: "({:+.1f} points, 90 % {:+.1f} to {:+.1f}, over splits)".format(
            *(100 * x for x in comparison.at(0.9))
        )
        for name, comparison in (("1", frozen[1]), ("2", frozen[2]), ("2+", tuned[2]))
    }
    assert text.startswith(f"Split random: Freeze up to unit 1: it gains {shown['1']}. ")
    undecided = "whether more than 2 points are lost is not decided"
    assert f"Freezing n = 2: {undecided} {shown['2']}; with no difference" in text
    assert "would decide it" in text
    assert "From unit 2 on" in text
    assert f"From unit 2 on, fine-tune: fine-tuned, it gains {shown['2+']}." in text
    assert "Tried: n = 1, 2, 3.\nSplit random: Mean base: +5.0 points in the last tenth" in text
    assert "Freeze up to unit 1" in (output / "report.html").read_text()


def test_a_larger_margin_freezes_more_and_a_plan_says_what_is_open(folder, tmp_path):
    text = write_report(folder, tmp_path, margin=0.05, plan=True)
    assert text.startswith("Split random: Freeze up to unit 2: no more than 5 points are lost (")
    assert "Freezing n = 3: more than 5 points are lost (" in text
    table = text.partition("with a margin of 5 points:\n")[2].splitlines()
    assert table[0].split()[:4] == ["gap", "within", "the", "margin"]
    (line,) = [line for line in table if line.startswith("transfer, frozen (AnB - base)")]
    assert re.search(r"n = 1, 2 +n = 3", line)
    assert "power_random.svg" in {path.name for path in tmp_path.iterdir()}
    assert "What would decide it: random" in (tmp_path / "report.html").read_text()


def advice(folder, levels, **changes):
    levels = {"baseA": 0.6, "baseB": 0.6, **levels}
    write_experiment(folder, split="0", seed=0, levels=levels, **changes)
    study = read_study(folder)
    failed = [n.role for n in study.networks if not n.trained]
    return recommend(study.runs[RANDOM], failed)


@pytest.mark.parametrize(
    ("levels", "changes", "expected"),
    [
        ({"A1B": 0.3}, {}, r"Freezing n = 1: more than 2 points are lost .*\. Tried: n = 1\."),
        ({"A1B": 0.3, "A1B+": 0.63}, {},
         r"Freezing n = 1: more than 2 .* From unit 1 on, fine-tune: fine-tuned, it gains"),
        ({"A1B": 0.4, "A1B+": 0.3}, {},
         r"Freezing n = 1: .* Train from scratch instead: fine-tuned, more than 2 points are lost"),
        ({"A1B": 0.55, "A1B+": 0.53}, {},
         r"Freezing .*\. Fine-tuned, whether more than 2 points are lost is not decided .*Tried"),
        ({"A1B": 0.6}, {}, r"Freezing n = 1: whether .* not decided .*\. Tried: n = 1\."),
        ({"A1B": 0.62}, {}, r"Freeze up to unit 1: it gains .*Tried: n = 1"),
        ({"A2B": 0.62, "A5B": 0.3}, {}, r"Freeze up to unit 2: .* n = 5: .*Tried: n = 2, 5\."),
        ({"A1B": 0.62, "A2B": 0.05}, {"outcomes": {"A2B": "at chance"}},
         r"Freeze up to unit 1: .* Freezing n = 2 does not always train\. Tried: n = 1, 2\."),
    ],
)  # fmt: skip
def test_advice_says_no_more_than_was_found(tmp_path, levels, changes, expected):
    assert re.fullmatch(expected + ".*", advice(tmp_path / "one", levels, **changes))


def test_wide_intervals_are_no_permission(tmp_path):
    """Two splits, losses of 1 and 20 points: Student's t with one degree of freedom."""
    for split, level in (("0", 0.59), ("1", 0.4)):
        levels = {"baseA": 0.6, "baseB": 0.6, "A1B": level}
        write_experiment(tmp_path / split, split=split, seed=0, levels=levels)
    text = recommend(read_study(tmp_path).runs[RANDOM])
    assert text.startswith("Freezing n = 1: whether more than 2 points are lost is not decided")
    (comparison,) = compare_families(read_study(tmp_path).runs[RANDOM], "AnB", "base").values()
    assert comparison.interval.low == -1, "no difference is larger"


def named(role, n, target):
    """ "AnB+" of target A at 3 -> "B3A+"."""
    if role == "base":
        return f"base{target}"
    donor = {"A": "B" if target == "A" else "A", "B": target}[role[0]]
    return f"{donor}{n}{target}{'+' if role.endswith('+') else ''}"


def test_findings_by_hand(folder):
    """Estimates straight from the rows: which is taken from which, of which target."""
    study = read_study(folder)
    top1 = {(n.split, n.seed, n.row.treatment): n.row.top1 for n in study.networks}
    seen = set()
    for finding in findings.find_gaps(study.runs[RANDOM], study.all_runs[RANDOM]):
        assert (finding.tried, finding.worst) == (8, None)
        one, other = re.search(r"\((\w+\+?) - (\w+\+?)\)", finding.gap).groups()
        differences = [
            top1[split, seed, named(one, finding.n, target)]
            - top1[split, seed, named(other, finding.n, target)]
            for split, seed, target in itertools.product("01", (0, 1), "AB")
        ]
        estimate = finding.comparison.interval.estimate
        assert estimate == pytest.approx(np.mean(differences)), finding
        assert finding.points.startswith(f"{100 * np.mean(differences):+.1f} [")
        seen.add((one, other))
    assert len(seen) == 6


def test_what_repeats_it(folder):
    study = read_study(folder)
    commands = repeat_commands(study.networks)
    assert len(commands) == 4
    assert "--split=0 --seed=1 --treatments=A1A,A1A+,A1B," in commands[1]


def flags_of(command):
    program, *flags = shlex.split(command)[2:]
    return program, dict(flag.removeprefix("--").split("=", 1) for flag in flags)


def write_flags(folder, names, *, amount="all", extra=""):
    for split, seed in itertools.product(("0", "whole"), (0, 3)):
        name = f"split{split}-seed{seed}"
        levels = {n: 0.6 for n in names if split != "whole" or "B" not in n.replace("base", "")}
        write_experiment(folder / name, split=split, seed=seed, levels=levels)
        flags = {"steps": 10, "treatments": "A1B", "split": split, "examples_per_class": amount,
                 "seed": seed, "workdir": f"{folder}/{name}"}  # fmt: skip
        text = "".join(f"--{key}={value}\n" for key, value in flags.items())
        (folder / name / "run.flags").write_text(text + (extra if seed else ""))


def test_a_study_is_repeated_by_one_sweep(tmp_path):
    names = ["baseA", "baseB", "A1B", "A2A+"]
    write_flags(tmp_path, names)
    (command,) = repeat_commands(read_study(tmp_path).networks)
    program, flags = flags_of(command)
    assert program == "transfer_keras.sweep"
    assert set(flags.pop("treatments").split(",")) == set(names)
    assert flags == {
        "steps": "10", "split": "0,whole", "examples_per_class": "all", "seed": "0,3",
        "workdir": str(tmp_path),
    }  # fmt: skip


def test_what_is_no_sweep_is_repeated_one_by_one(tmp_path):
    write_flags(tmp_path / "flags", ["baseA"], extra="--probes\n")
    assert len(repeat_commands(read_study(tmp_path / "flags").networks)) == 4
    write_flags(tmp_path / "more", ["baseA", "A1A"])
    shutil.rmtree(tmp_path / "more" / "splitwhole-seed3" / "A1A")
    programs = {flags_of(c)[0] for c in repeat_commands(read_study(tmp_path / "more").networks)}
    assert programs == {"transfer_keras.train"}


def test_table_1_is_the_papers():
    """(1.60, 1.80, 2.06) and (1.38, 1.40, 1.73), as recomputed from its logs."""
    table = findings.table_1(paper.read_runs("random"))
    assert [cells[2] for cells in table] == ["+1.6", "+1.8", "+2.1"]
    assert [cells[4] for cells in table] == ["+1.4", "+1.4", "+1.7"]
    assert findings.table_1(Runs()) == []


def test_what_the_page_shows_of_filters(tmp_path):
    """Those of the first seed of each split and target that has any."""
    for split, seed in (("0", 1), ("0", 2), ("1", 2)):
        folder = tmp_path / f"{split}-{seed}"
        write_experiment(folder, split=split, seed=seed, levels={"baseA": 0.6, "baseB": 0.6})
        for name in ("baseA", "baseB"):
            Workdir(folder).filters_path(name).write_bytes(f"{split} {seed} {name}".encode())
    write_report(tmp_path, tmp_path / "out", overlay_paper=False)
    page = (tmp_path / "out" / "report.html").read_text()
    shown = re.search(r'<div class="filters">(.*?)</div>', page, re.DOTALL)[1]
    pictures = re.findall(r'src="data:image/png;base64,([^"]+)"', shown)
    assert sorted(base64.b64decode(one).decode() for one in pictures) == [
        "0 1 baseA", "0 1 baseB", "1 2 baseA", "1 2 baseB",
    ]  # fmt: skip


def test_a_base_that_failed_beside_a_good_target(tmp_path):
    levels = {"baseA": 0.05, "baseB": 0.6, "A1B": 0.62, "B1A": 0.3}
    write_experiment(
        tmp_path / "one", split="0", seed=0, levels=levels, outcomes={"baseA": "at chance"}
    )
    text = write_report(tmp_path, tmp_path / "out", overlay_paper=False)
    assert "Freeze up to unit 1" in text
    assert "baseA (one): at chance" in (tmp_path / "out" / "report.html").read_text()
    assert (tmp_path / "out" / "transfer_random.svg").exists()


def test_what_never_trained_is_drawn_as_that_and_counts_nowhere(folder, tmp_path):
    copy = tmp_path / "study"
    shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("report"))
    path = copy / "split0-seed0" / "A1B" / "row.json"
    row = json.loads(path.read_text())
    path.write_text(json.dumps({**row, "outcome": "diverged"}))
    before = compare(read_study(folder).runs[RANDOM], [Role("AnB", 1)], [BASE])
    after = compare(read_study(copy).runs[RANDOM], [Role("AnB", 1)], [BASE])
    assert (before.pairs, after.pairs) == (8, 7)
    assert after.interval.estimate == pytest.approx(before.interval.estimate, abs=0.02)
    write_report(copy, tmp_path / "out", overlay_paper=False)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "A1B (split0-seed0): diverged" in page
    assert "AnB: never trained" in (tmp_path / "out" / "transfer_random.svg").read_text()


def test_where_nothing_trained(tmp_path):
    names = ["baseA", "baseB", "A1B"]
    write_experiment(
        tmp_path / "one", split="0", seed=0, levels=dict.fromkeys(names, 0.05),
        outcomes=dict.fromkeys(names, "at chance"),
    )  # fmt: skip
    text = write_report(tmp_path, tmp_path / "out", overlay_paper=True)
    assert text.startswith("Split random: No advice yet")
    page = (tmp_path / "out" / "report.html").read_text()
    assert "A1B (one): at chance; baseA (one): at chance; baseB (one): at chance" in page


def test_text_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    write_experiment(
        tmp_path / "one", split="0", seed=0, levels={"baseA": 0.6, "baseB": 0.6, "A1B": 0.6},
        settings={"dataset": evil},
    )  # fmt: skip
    (tmp_path / "one" / "run.flags").write_text(f"--dataset={evil}\n")
    write_report(tmp_path, tmp_path / "out", overlay_paper=False)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "alert(1)" in page
    assert "<script>alert" not in page


def test_the_papers_values_on_request_only(folder, tmp_path):
    sizes = {}
    for overlay in (True, False):
        write_report(folder, tmp_path / str(overlay), overlay_paper=overlay)
        sizes[overlay] = (tmp_path / str(overlay) / "transfer_random.svg").stat().st_size
    assert sizes[True] > sizes[False]


def test_program(folder, tmp_path):
    def run(*flags):
        command = [sys.executable, "-m", "transfer_keras.report", *flags]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = run(f"--workdir={folder}", f"--output={tmp_path / 'out'}")
    assert done.returncode == 0, done.stderr
    assert "Freeze up to unit 1" in done.stdout
    assert done.stdout.splitlines()[-1] == f"The report: {tmp_path / 'out' / 'report.html'}"
    for flags, text in (
        ([], "workdir"),
        ([f"--workdir={tmp_path / 'none'}"], "no experiment.json"),
        ([f"--workdir={folder}", "--n=3"], "Unknown command line flag 'n'"),
    ):
        refused = run(*flags)
        assert refused.returncode == 2
        assert text in refused.stderr
        assert len(refused.stderr.splitlines()) == 1


def test_a_donors_study_in_which_no_transfer_trained(tmp_path):
    """A selffer did, of which the advice is not."""
    failed = {"baseB": "diverged", "A2B": "diverged"}
    levels = {"baseB": 0.5, "A2B": 0.5, "B2B": 0.6}
    write_experiment(
        tmp_path / "splitdonor-seed0", split="donor", seed=0, levels=levels, outcomes=failed
    )
    text = write_report(tmp_path, tmp_path / "report", overlay_paper=False)
    assert "Take" not in text
    assert (tmp_path / "report" / "report.html").exists()
