"""Measures how good advice is: against the truth, found by a grid, and against rules of thumb.

python tools/benchmark_advice.py --shared=../shared --folder=benchmark

1. `truth`: of each pair of a donor and pictures (`advice_pairs.py`) some cuts, frozen and
   fine-tuned, at several rates, BatchNorm of what is fine-tuned kept and trained, with several
   seeds, and at every cut a linear classifier that is fitted; each tested on pictures that nothing
   is chosen by. One process a core, of one thread.
2. `advise`: what the program recommends in each of `--budgets`, tested on the same pictures.
3. `rules`: what rules of thumb reach in that time (`advice_rules.py`).
4. `table`: the regret of each, in points: what it loses from the best of the grid. The best is
   chosen by one half of the seeds and tested by the other, so that no lucky seed counts.
5. `estimates`: how well estimates without training choose the n of a linear classifier
   (`advice_estimates.py`).

All that is done is kept in `--folder`; run again, it goes on. `--results` names a file from which
it goes on too, and into which all numbers are written. Nothing else may run meanwhile.
"""

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import advice_estimates
import advice_pairs
import advice_promises
from absl import app, flags

_SHARED = flags.DEFINE_string("shared", "../shared", "Where donors and photographs are.")
_FOLDER = flags.DEFINE_string("folder", None, "Where all that is made is kept.", required=True)
_PAIRS = flags.DEFINE_list("pairs", list(advice_pairs.NAMES), "Which.")
_CASES = flags.DEFINE_list(
    "cases", ["truth", "advise", "rules", "table", "estimates"], "What is done."
)
_RULES = flags.DEFINE_list(
    "rules", ["linear", "last_block", "guide", "all", "fastai"], "Which; `linear` takes one time."
)
_BUDGETS = flags.DEFINE_list("budgets", ["2m", "5m", "15m"], "Of `advise`; rules have the same.")
_SEEDS = flags.DEFINE_integer("seeds", 2, "Seeds of the grid, of advice and of rules.", 1)
_EPOCHS = flags.DEFINE_integer("epochs", 12, "Of each network of the grid.", 1)
_MOST_STEPS = flags.DEFINE_integer("most_steps", 60, "Of each of them, at the most.", 30)
_CUTS = flags.DEFINE_integer("cuts", 3, "Cuts of the grid.", 1)
_JOBS = flags.DEFINE_integer("jobs", os.cpu_count(), "Processes of the grid at a time.", 1)
_RESULTS = flags.DEFINE_string("results", None, "JSON file of all numbers, read and written.")
_CHILD = flags.DEFINE_string("child", None, "Part of the grid that this process does.")

_MARGIN = 0.02  # Of `advise`.
_KINDS = ("grid", "advice", "rules")
NEW = (1e-3, 3e-3, 1e-2, 3e-2)
FITTED = (1e-30,)  # No weight changes.
TRANSFERRED = (1e-5, 1e-4, 3e-4, 1e-3)


def main(_) -> None:
    """Does what is missing, and prints the table."""
    shared = pathlib.Path(_SHARED.value).resolve()
    folder = pathlib.Path(_FOLDER.value).resolve()
    pairs = list(advice_pairs.make_pairs(_PAIRS.value, shared, folder))
    if _CHILD.value:
        name, seed = _CHILD.value.split(":")
        (pair,) = [pair for pair in pairs if pair.name == name]
        _train_grid(pair, int(seed), folder)
        return
    if _RESULTS.value:
        _unpack(pathlib.Path(_RESULTS.value), folder)
    measures = {"truth": _truth, "advise": _advise, "rules": _rules}
    for case in _CASES.value:
        if case == "table":
            _print_table(pairs, folder)
            continue
        if case == "estimates":
            advice_estimates.print_estimates(pairs, folder)
            continue
        for pair in pairs:
            measures[case](pair, folder)
            if _RESULTS.value:
                _pack(folder, pathlib.Path(_RESULTS.value))


def _pack(folder: pathlib.Path, results: pathlib.Path) -> None:
    """Writes the numbers that are in the folder into one file, without what was said with them."""
    numbers: dict[str, dict] = {kind: {} for kind in _KINDS}
    for kind, of_kind in numbers.items():
        for path in sorted((folder / kind).glob("*.json")):
            of_kind[path.stem] = json.loads(path.read_text())
            of_kind[path.stem].pop("said", None)
    results.write_text(json.dumps(numbers, indent=1) + "\n")


def _unpack(results: pathlib.Path, folder: pathlib.Path) -> None:
    """Writes what is in such a file, and not in the folder, there."""
    if not results.exists():
        return
    for kind, of_kind in json.loads(results.read_text()).items():
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for name, facts in of_kind.items():
            if not (path := folder / kind / f"{name}.json").exists():
                path.write_text(json.dumps(facts))


# The truth.


def _truth(pair: advice_pairs.Pair, folder: pathlib.Path) -> None:
    def train(seed: int) -> None:
        begun = time.monotonic()
        command = [sys.executable, __file__, f"--child={pair.name}:{seed}"]
        command += [f"--pairs={pair.name}", f"--shared={_SHARED.value}", f"--folder={folder}"]
        command += [f"--epochs={_EPOCHS.value}", f"--cuts={_CUTS.value}"]
        command += [f"--most_steps={_MOST_STEPS.value}"]
        threads = {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL, env=os.environ | threads)
        took = time.monotonic() - begun
        print(f"{pair.name}, seed {seed}: {took:.0f} s", flush=True)

    with concurrent.futures.ThreadPoolExecutor(_JOBS.value) as executor:
        list(executor.map(train, range(_SEEDS.value)))


def _train_grid(pair: advice_pairs.Pair, seed: int, folder: pathlib.Path) -> None:
    """Trains what is missing of a seed's part of the grid; each arm is kept once it is done."""
    from transfer_keras import surgery
    from transfer_keras.config import (
        Experiment,
        Group,
        make_experiment,
        parse_treatment,
        set_environment,
    )

    set_environment()
    from transfer_keras.advice.rates import searched_variables
    from transfer_keras.advice.stages import linear_treatments
    from transfer_keras.experiments import (
        Run,
        describe_donor,
        fit_heads,
        make_networks,
        make_recipe,
        make_streams,
        may_fit_head,
        read_data,
        run_experiment,
        use_devices,
    )
    from transfer_keras.results import Workdir
    from transfer_keras.training import Trial, search_rates

    first = make_experiment(
        ["A1B"], donor=str(pair.donor), dataset=f"folder:{pair.truth}", units=pair.units,
        describe_donor=describe_donor, scratch=False, seed=seed, views=4, metrics_every=0,
        head_first=True,
    )  # fmt: skip
    data = read_data(first)
    steps = _EPOCHS.value * (len(data.train["B"]) // first.training.batch_size)
    steps = min(max(30, steps), _MOST_STEPS.value)
    cuts = first.architecture.cut_points
    top = max(cuts)
    wanted = sorted({min(cuts, key=lambda n: abs(n - top * (k + 1) / _CUTS.value))
                     for k in range(_CUTS.value)}, reverse=True)  # fmt: skip

    def train(asked: Experiment, rates: Sequence[float], workdir: Workdir) -> list[Trial]:
        """Trains one treatment with each rate; the best network stays in the workdir."""
        # The recipe knows one rate, from which `search_rates` departs; fresh units of what is
        # fine-tuned are trained with that.
        asked = asked.replace(transferred_learning_rate=asked.training.learning_rate)
        run = Run(asked, workdir, data, use_devices(asked.training, asked.execution),
                  log=lambda line: None)  # fmt: skip
        fused = make_networks(run, asked.treatments).fused
        if rates == FITTED:
            fit_heads(run, asked.treatments, fused)
        recipe = make_recipe(asked, fused, asked.treatments, data.train["B"].labels)
        streams = make_streams(run, Group(asked.treatments), fused)
        trials = search_rates(fused, recipe, streams, rates, [1 if rates == FITTED else steps],
                              searched=searched_variables(asked, fused))  # fmt: skip
        (treatment,) = asked.treatments
        network = workdir.network_path(treatment.name)
        network.parent.mkdir(exist_ok=True)
        surgery.extract(fused, treatment.name).save(network)
        return trials

    path = folder / "grid" / f"{pair.name}-seed{seed}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    done = json.loads(path.read_text()) if path.exists() else {}
    linear = linear_treatments(cuts, first.replace(fit_head=may_fit_head(first)))
    if missing := [treatment for treatment in linear if treatment.name not in done]:
        with tempfile.TemporaryDirectory() as temporary:
            asked, workdir = (
                first.replace(treatments=tuple(missing), fit_head=True),
                Workdir(temporary),
            )
            run_experiment(asked, workdir, data=data, log=lambda line: None)
            done |= {t.name: {f"{FITTED[0]:g}": workdir.row(t.name).top1} for t in missing}
        path.write_text(json.dumps(done))
    for n in wanted:
        arms = {f"A{n}B": "frozen"}
        if fits := n == top and may_fit_head(first):  # Then fine-tuning begins with that.
            arms[f"A{n}B, head fitted"] = "frozen"
        arms |= {f"A{n}B+, BatchNorm kept": "frozen", f"A{n}B+, BatchNorm trained": "train"}
        if set(arms) <= set(done):
            continue
        with tempfile.TemporaryDirectory() as temporary:
            workdir, rate = Workdir(temporary), NEW[0]
            for arm, batch_norm in arms.items():
                treatment = parse_treatment(arm.partition(",")[0])
                tuned = treatment.fine_tune
                asked = first.replace(steps=steps, treatments=(treatment,), batch_norm=batch_norm,
                                      learning_rate=rate, fit_head=fits)  # fmt: skip
                rates = FITTED if "fitted" in arm else TRANSFERRED if tuned else NEW
                trials = train(asked, rates, workdir)
                if rates == NEW:
                    rate = min(trials, key=lambda trial: trial.loss).rate
                scores = {f"{t.rate:g}": t.scores[treatment.name].accuracy for t in trials}
                done[arm] = scores
        path.write_text(json.dumps(done))


# Advice, and rules of thumb.


def _advise(pair: advice_pairs.Pair, folder: pathlib.Path) -> None:
    for budget in _BUDGETS.value:
        for seed in range(_SEEDS.value):
            path = folder / "advice" / f"{pair.name}-{budget}-seed{seed}.json"
            if path.exists():
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            workdir = path.with_suffix("")
            command = [sys.executable, "-m", "transfer_keras.advise", f"--donor={pair.donor}"]
            command += [f"--dataset=folder:{pair.pictures}", f"--units={pair.units}"]
            command += [f"--budget={budget}", f"--seed={seed}", f"--workdir={workdir}"]
            begun = time.monotonic()
            done = subprocess.run(command, capture_output=True, text=True)
            took = time.monotonic() - begun
            if done.returncode:
                print(f"{pair.name}, {budget}, seed {seed}: {done.stderr.splitlines()[-1]}")
                continue
            said = done.stdout.splitlines()
            found = {"seconds": took, **_promises(workdir, pair.truth / "val")}
            found |= {"expected": advice_promises.expected_accuracy(said), "said": said}
            path.write_text(json.dumps(found))
            print(
                f"{pair.name}, {budget}, seed {seed}: {found['top1']:.3f}, {took:.0f} s", flush=True
            )


def _promises(folder: pathlib.Path, truth: pathlib.Path) -> dict:
    """Tests what a search has found, in a process of its own."""
    script = pathlib.Path(__file__).with_name("advice_promises.py")
    command = [sys.executable, script, folder, truth, f"{_MARGIN}"]
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def _rules(pair: advice_pairs.Pair, folder: pathlib.Path) -> None:
    script = pathlib.Path(__file__).with_name("advice_rules.py")
    for rule, budget, seed in _each_rule():
        path = folder / "rules" / f"{pair.name}-{rule}-{budget}-seed{seed}.json"
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        from transfer_keras.config import flag_types

        seconds = flag_types.Duration().parse(budget)
        command = [sys.executable, script, rule, pair.donor, pair.pictures, pair.truth]
        command = [str(part) for part in (*command, seconds, seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        path.write_text(done.stdout.splitlines()[-1])
        print(f"{pair.name}, {rule}, {budget}, seed {seed}: {path.read_text()}", flush=True)


def _each_rule() -> Iterator[tuple[str, str, int]]:
    for budget in _BUDGETS.value:
        for seed in range(_SEEDS.value):
            for rule in _RULES.value:
                if rule != "linear" or (budget == _BUDGETS.value[0] and seed == 0):
                    yield rule, budget, seed


# The table.


@dataclasses.dataclass(frozen=True)
class Grid:
    """Top-1 of each arm, (what is trained, rate) -> that of each seed."""

    arms: dict[tuple[str, str], list[float]]

    @property
    def best(self) -> float:
        """Gives the top-1 of the best arm, chosen by some seeds and tested by the others."""
        seeds = min(map(len, self.arms.values()))
        if seeds == 1:
            return max(values[0] for values in self.arms.values())
        tested = []
        for held_out in range(seeds):

            def others(values, held_out=held_out):
                return statistics.mean(v for k, v in enumerate(values) if k != held_out)

            arm = max(self.arms, key=lambda arm: others(self.arms[arm]))
            tested.append(self.arms[arm][held_out])
        return statistics.mean(tested)


def read_grid(pair: advice_pairs.Pair, folder: pathlib.Path) -> Grid:
    """Reads the grid of a pair."""
    arms: dict[tuple[str, str], list[float]] = {}
    for path in sorted((folder / "grid").glob(f"{pair.name}-seed*.json")):
        for name, rates in json.loads(path.read_text()).items():
            for rate, top1 in rates.items():
                arms.setdefault((name, rate), []).append(top1)
    return Grid(arms)


def _print_table(pairs: list[advice_pairs.Pair], folder: pathlib.Path) -> None:
    from transfer_keras.config import align_columns

    contenders = [f"advise {budget}" for budget in _BUDGETS.value]
    contenders += [f"{rule} {budget}" for budget in _BUDGETS.value for rule in _RULES.value
                   if rule != "linear" or budget == _BUDGETS.value[0]]  # fmt: skip
    regrets: dict[str, list[float]] = {contender: [] for contender in contenders}
    lines = [("pair", "best", *contenders)]
    for pair in pairs:
        grid = read_grid(pair, folder)
        if not grid.arms:
            continue
        best, cells = grid.best, []
        for contender in contenders:
            kind, budget = contender.split()
            pattern = (
                f"{pair.name}-{budget}" if kind == "advise" else f"{pair.name}-{kind}-{budget}"
            )
            parent = folder / ("advice" if kind == "advise" else "rules")
            found = [
                json.loads(p.read_text())["top1"] for p in parent.glob(f"{pattern}-seed*.json")
            ]
            if found:
                regrets[contender].append(100 * (best - statistics.mean(found)))
            cells.append(f"{regrets[contender][-1]:+.1f}" if found else "")
        lines.append((pair.name, f"{best:.3f}", *cells))
    for what, summary in (("mean", statistics.mean), ("worst", max)):
        lines.append((what, "", *(f"{summary(r):+.1f}" if r else "" for r in regrets.values())))
    print(align_columns(lines))
    advice = (folder / "advice").glob("*.json")
    advice_promises.print_promises([json.loads(path.read_text()) for path in advice], _MARGIN)


if __name__ == "__main__":
    app.run(main)
