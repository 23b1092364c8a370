"""What TensorBoard shows besides the networks' training: the experiment, its results, the curve."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Mapping

from transfer_keras.config import (
    MODES,
    NATURAL_SPLIT,
    RANDOM,
    SOURCES,
    STATISTICS,
    TARGETS,
    WHOLE_SPLIT,
    Task,
    combine_treatments,
    is_treatment_name,
    markdown,
    parse_treatment,
)
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.plan_table import plan_table
from transfer_keras.results import Row, Workdir, convergence, figures, summary
from transfer_keras.training import (
    DIFFERENCE_TAG,
    TOP1_TAG,
    Events,
    custom_scalars_layout,
    hparams_columns,
    hparams_row,
    png_summary,
    scalar_summary,
    text_summary,
)

LAST_GAIN_TAG = "result/last_gain"  # Of top-1, over the last tenth of the training.
_EXPERIMENT_RUN, _CURVE_RUN = "experiment", "curve"  # Runs beside those of the treatments.


def write_experiment_page(run: Run, versions: Mapping[str, str]) -> None:
    """Writes the run `experiment`: a page that says what it is, and how other pages are laid out.

    Args:
        run: whose experiment it is.
        versions: of packages.
    """
    experiment = run.experiment
    units = [unit.name for unit in experiment.architecture.units]
    linear = ["linear"] if any(t.linear for t in experiment.treatments) else []
    every = combine_treatments([1], MODES, SOURCES, TARGETS)
    families = dict.fromkeys(treatment.family for treatment in every)
    splits = [*map(str, range(10)), NATURAL_SPLIT, WHOLE_SPLIT, experiment.data.split]
    choices = {
        "donor": ("A", "B", RANDOM, STATISTICS, "none"),
        "target": TARGETS,
        "mode": ("base", *MODES),
        "split": tuple(dict.fromkeys(splits)),
    }
    with Events(run.workdir / _EXPERIMENT_RUN) as events:
        events.write(
            0,
            text_summary("experiment", _page(run, versions)),
            custom_scalars_layout([*units, *linear], [f"top1/{family}" for family in families]),
            hparams_columns(choices, ("seed", "examples_per_class"), len(units)),
        )


def _page(run: Run, versions: Mapping[str, str]) -> str:
    """Writes what an experiment is, as Markdown."""
    experiment, tasks = run.experiment, run.data.pair.tasks
    settings = {
        **experiment.identity,
        "validations": experiment.training.validations,
        "metrics_every": experiment.execution.metrics_every,
    }
    plan = plan_table(experiment, tasks, run.workdir)
    return "\n\n".join(
        [
            f"# {markdown(experiment.title)}",
            "## Plan",
            "".join(f"    {line}\n" for line in plan.splitlines()),
            "## Settings",
            _markdown_table({name: json.dumps(value) for name, value in settings.items()}),
            "## Versions",
            _markdown_table(versions),
            "## Classes",
            _markdown_table(_class_names(tasks)),
        ]
    )


def _class_names(tasks: Mapping[str, Task]) -> dict[str, str]:
    return {f"task {task.name}": ", ".join(task.class_names) for task in tasks.values()}


def _markdown_table(facts: Mapping[str, str]) -> str:
    lines = [f"| {markdown(name)} | {markdown(value)} |" for name, value in facts.items()]
    return "\n".join(["| | |", "|---|---|", *lines])


def write_result(run: Run, events: Events, row: Row) -> None:
    """Writes how a treatment has ended: its line in HParams and its confusion matrix.

    Args:
        run: has its predictions, and those of its base.
        events: the treatment's run in TensorBoard.
        row: what is not yet on disk.
    """
    treatment, experiment = parse_treatment(row.treatment), run.experiment
    settings = {
        "donor": row.donor or "none",
        "n": row.n,
        "target": row.target,
        "mode": row.mode,
        "split": experiment.data.split,
        "seed": experiment.training.seed,
        "examples_per_class": experiment.data.examples_per_class or 0,  # 0: all.
    }
    digest = hashlib.sha256(json.dumps(experiment.identity, sort_keys=True).encode()).hexdigest()
    label, predicted = run.workdir.predictions(row.treatment, row)
    class_names = run.data.pair.tasks[row.target].class_names
    title = f"{row.treatment}, top-1 {row.top1:.3f}"
    picture = figures.confusion.draw(label, predicted, class_names, title=title)
    results = {TOP1_TAG: row.top1}
    if (gain := convergence.last_gain(row)) is not None:
        results[LAST_GAIN_TAG] = gain
    if not treatment.donor:
        results[DIFFERENCE_TAG] = 0.0
    elif difference := summary.difference_from_base(run.workdir, treatment, row):
        results[DIFFERENCE_TAG] = difference.estimate
    events.write(
        row.steps,
        hparams_row(f"{row.treatment} of {digest[:8]}", settings),
        *(scalar_summary(tag, value) for tag, value in results.items()),
        png_summary("confusion", picture),
    )
    events.flush()


def write_curve(workdir: Workdir, title: str) -> None:
    """Draws the transfer curve of all that is on disk, as `curve.png` and as the run `curve`.

    The steps of the picture count the treatments that are done; those of the points are n, with
    the base, where there is one, at 0.

    With it goes what differences from the bases include, as text.

    Nothing is written where it is up to date, or there are only bases, and so no curve.
    """
    names = [name for name in workdir.done if is_treatment_name(name)]
    done = list(map(parse_treatment, names))
    path = workdir / summary.CURVE
    if (workdir / _CURVE_RUN).exists() and summary.is_curve_drawn(workdir, done, title=title):
        return
    if not summary.draw_curve(workdir, done, title=title):
        return
    lines: dict[str, dict[int, float]] = defaultdict(dict)
    for treatment in done:
        if treatment.donor:
            points = lines[treatment.family]
            if treatment.base in done:
                points[0] = workdir.row(treatment.base.name).top1
            points[treatment.n] = workdir.row(treatment.name).top1
    with Events(workdir / _CURVE_RUN) as events:
        for n in sorted({n for points in lines.values() for n in points}):
            at_n = {family: points[n] for family, points in lines.items() if n in points}
            events.write(n, *(scalar_summary(f"top1/{f}", top1) for f, top1 in at_n.items()))
        events.write(len(done), png_summary("transfer_curve", path.read_bytes()))
        if converged := summary.convergence_lines(workdir, done):
            events.write(
                len(done), text_summary("convergence", "\n\n".join(map(markdown, converged)))
            )
