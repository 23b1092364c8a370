"""What TensorBoard shows besides the networks' training: the experiment, its results, the curve."""

import hashlib
import json
import pathlib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from transfer_keras import results
from transfer_keras.config import (
    MODES,
    NATURAL_SPLIT,
    SOURCES,
    TARGETS,
    WHOLE_SPLIT,
    Experiment,
    Task,
    combine_treatments,
    is_treatment_name,
    parse_treatment,
)
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.results import figures, summary
from transfer_keras.training import Events, layout, png, scalar, text

EXPERIMENT, CURVE = "experiment", "curve"  # Runs beside those of the treatments.


def write_experiment_page(
    experiment: Experiment,
    workdir: pathlib.Path,
    tasks: Mapping[str, Task],
    versions: Mapping[str, str],
) -> None:
    """The run `experiment`: a page that says what it is, and how other pages are laid out."""
    units = [unit.name for unit in experiment.architecture.units]
    families = dict.fromkeys(t.family for t in combine_treatments([1], MODES, SOURCES, TARGETS))
    splits = dict.fromkeys([*map(str, range(10)), NATURAL_SPLIT, WHOLE_SPLIT, experiment.split])
    choices = {
        "donor": ("A", "B", "R", "none"),
        "target": TARGETS,
        "mode": ("base", *MODES),
        "split": tuple(splits),
    }
    with Events(workdir / EXPERIMENT) as run:
        run.write(
            0,
            text("experiment", _page(experiment, workdir, tasks, versions)),
            layout.charts(units, [f"top1/{family}" for family in families]),
            layout.table(choices, ("seed", "examples_per_class"), len(units) - 1),
        )


def _page(experiment, workdir, tasks, versions) -> str:
    settings = {**experiment.identity, "validations": experiment.validations}
    settings["metrics_every"] = experiment.metrics_every
    plan = plan_table(experiment, tasks, workdir)
    classes = {f"task {task.name}": ", ".join(task.class_names) for task in tasks.values()}
    return "\n\n".join(
        [
            f"# {experiment.title}",
            "## Plan",
            "".join(f"    {line}\n" for line in plan.splitlines()),
            "## Settings",
            _markdown({key: json.dumps(value) for key, value in settings.items()}),
            "## Versions",
            _markdown(versions),
            "## Classes",
            _markdown(classes),
        ]
    )


def _markdown(facts: Mapping[str, str]) -> str:
    escaped = {name: re.sub(r"([\\`*_|<>])", r"\\\1", value) for name, value in facts.items()}
    lines = [f"| {name} | {value} |" for name, value in escaped.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def write_result(
    experiment: Experiment,
    workdir: pathlib.Path,
    run: Events,
    row: results.Row,
    class_names: Sequence[str],
) -> None:
    """A treatment that has ended: its line in HParams and its confusion matrix.

    Args:
        experiment: what it belongs to.
        workdir: where its predictions are, and its base's.
        run: the treatment's.
        row: what is not yet on disk.
        class_names: of its target.
    """
    treatment = parse_treatment(row.treatment)
    settings = {
        "donor": row.donor or "none",
        "n": row.n,
        "target": row.target,
        "mode": row.mode,
        "split": experiment.split,
        "seed": experiment.seed,
        "examples_per_class": experiment.examples_per_class or 0,  # 0: all.
    }
    digest = hashlib.sha256(json.dumps(experiment.identity, sort_keys=True).encode()).hexdigest()
    difference = summary.difference(workdir, treatment).estimate if treatment.donor else 0.0
    summaries = [
        layout.row(f"{row.treatment} of {digest[:8]}", settings),
        scalar(layout.TOP1, row.top1),
        scalar(layout.DIFFERENCE, difference),
    ]
    label, predicted = results.read_answers(workdir, row.treatment)
    title = f"{row.treatment}, top-1 {row.top1:.3f}"
    picture = figures.confusion.draw(label, predicted, class_names, title=title)
    run.write(row.steps, *summaries, png("confusion", picture))
    run.flush()


def write_curve(experiment: Experiment, workdir: pathlib.Path) -> None:
    """Draws the transfer curve of all that is on disk, as `curve.png` and as the run `curve`.

    The steps of the picture count the treatments that are done; those of the points are n, with
    the base at 0.

    Nothing is written where it is up to date, or there are only bases, and so no curve.
    """
    names = [name for name in results.done(workdir) if is_treatment_name(name)]
    done = [t for t in map(parse_treatment, names) if t.base.name in names]
    path = workdir / summary.CURVE
    newest = max((results.written_at(workdir, name) for name in names), default=0)
    if path.exists() and path.stat().st_mtime_ns > newest and (workdir / CURVE).exists():
        return
    if not summary.draw_curve(path, workdir, done, title=experiment.title):
        return
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for treatment in done:
        if treatment.donor:
            points = lines[treatment.family]
            points[0] = results.read_row(workdir, treatment.base.name).top1
            points[treatment.n] = results.read_row(workdir, treatment.name).top1
    with Events(workdir / CURVE) as run:
        for n in sorted({n for points in lines.values() for n in points}):
            here = [scalar(f"top1/{f}", points[n]) for f, points in lines.items() if n in points]
            run.write(n, *here)
        run.write(len(done), png("transfer_curve", path.read_bytes()))
