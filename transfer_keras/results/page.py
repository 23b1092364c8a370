"""The report of a study: figures, tables and a page, from its rows on disk alone."""

import base64
import csv
import dataclasses
import io
import json
import pathlib
import re
from collections.abc import Mapping, Sequence

from transfer_keras.config import (
    DONOR_SPLIT,
    cell,
    choices,
    first_few,
    printable,
    render_template,
)
from transfer_keras.files import write_text
from transfer_keras.results import (
    charts,
    convergence,
    explanations,
    findings,
    paper,
    planning,
)
from transfer_keras.results.commands import repeat_commands
from transfer_keras.results.comparison import Runs
from transfer_keras.results.donor_recommendation import mean_top1, recommend_for_donor
from transfer_keras.results.figures import dissimilar, power, reduced, transfer
from transfer_keras.results.figures.embedding import embed
from transfer_keras.results.margin import MARGIN, points
from transfer_keras.results.measure import BALANCED
from transfer_keras.results.recommendation import recommend
from transfer_keras.results.roles import FROZEN_TRANSFER, LINEAR_TRANSFER
from transfer_keras.results.study import Kind, Network, Study, best_tests, read_study

_IMAGENET = ("imagenet2012", "imagenet_resized")


def write_report(
    folder: pathlib.Path,
    output: pathlib.Path,
    *,
    overlay_paper: bool | None = None,
    margin: float = MARGIN,
    plan: bool = False,
    notes: Sequence[str] = (),
) -> str:
    """Writes the figures, tables and `report.html` of a study.

    Args:
        folder: the workdir of one experiment, or the folder above several.
        output: folder to write to; made where it is missing.
        overlay_paper: whether the paper's values are drawn too; None: where the dataset is
            ImageNet.
        margin: the loss that counts as none, in fractions of the test images.
        plan: whether to say what would decide each gap that is open.
        notes: lines for the page, on how the networks were trained.

    Returns:
        The recommendation, a sentence for each kind of split; what longer training explains; and
        the plan. Before it, what of the networks is missing, and which records of analyses are
        damaged.

    Raises:
        UserError: if the folder holds no study with a network that is done.
    """
    study = read_study(folder)
    commands = repeat_commands(study.networks)
    if overlay_paper is None:
        overlay_paper = str(study.settings["dataset"]).partition("/")[0] in _IMAGENET
    output.mkdir(parents=True, exist_ok=True)
    judged = study  # As `advise` judges: where classes count the same, by balanced accuracy.
    if study.settings.get("donor") and study.settings.get("class_weights") == choices.BALANCED:
        judged = read_study(folder, measure=BALANCED)
    sections = [_section(kind, study, output, overlay_paper) for kind in _with_section(study)]
    recommendations = [
        {"kind": str(kind), "text": _recommendation(kind, judged, margin)}
        for kind in _with_frozen(study)
    ]
    plans = [_plan(kind, study, output, margin) for kind in _with_section(study)] if plan else []
    damaged: list[str] = []
    rows = [_flat_row(network) for network in study.networks]
    _write_tables(output, rows)
    page = render_template(
        "results",
        "report.html",
        title=_title(study),
        sections=sections,
        recommendations=recommendations,
        plans=plans,
        margin=points(margin),
        notes=notes,
        failed=[
            f"{network.row.treatment} ({network.folder}): {network.row.outcome}"
            for network in study.networks
            if not network.trained
        ],
        figures=_figures_over_kinds(study, output, overlay=overlay_paper),
        explanations=explanations.explain(study, output, margin, log=damaged.append),
        filters=_first_filters(study),
        rows=rows,
        columns=_COLUMNS,
        settings=study.settings,
        versions=study.versions,
        commands=commands,
    )
    write_text(output / "report.html", page)
    lines = [f"Split {one['kind']}: {one['text']}" for one in recommendations]
    lines = lines or ["No frozen transfer (AnB) yet, of which advice could be given."]
    lines += [f"Split {one['kind']}: {text}" for one in sections for text in one["longer"]]
    if study.incomplete:
        missing = first_few([printable(path) for path in study.incomplete])
        lines.insert(0, f"Left out, because a file is missing that was there: {missing}")
    lines = [*damaged, *lines]
    for one in plans:
        lines += [f"\nSplit {one['kind']}, with a margin of {points(margin)}:", one["table"]]
    return "\n".join(lines)


def _title(study: Study) -> str:
    return f"{study.settings['network']} on {study.settings['dataset']}"


def _with_frozen(study: Study) -> list[Kind]:
    """Lists the kinds of splits for which something can be recommended."""
    families = (FROZEN_TRANSFER, *([LINEAR_TRANSFER] if study.settings.get("donor") else []))
    kinds = {network.kind for network in study.networks if network.role.family in families}
    return [kind for kind in charts.ordered_kinds(study) if kind in kinds]


def _recommendation(kind: Kind, study: Study, margin: float) -> str:
    runs = study.runs_of(kind)
    if kind.split == DONOR_SPLIT and mean_top1(runs):
        text = recommend_for_donor(runs, {}, str(study.settings["network"]), margin=margin)
        return text.replace("\n", " ")
    return recommend(runs, [network.role for network in study.failed(kind)], margin=margin)


def _plan(kind: Kind, study: Study, output: pathlib.Path, margin: float) -> dict:
    """Plans what would decide the open gaps of one kind of split, and draws the power."""
    runs = study.runs_of(kind)
    plans = {
        gap: planning.plan_gap(runs, family, other, margin)
        for gap, (family, other) in findings.GAPS.items()
    }
    curves = {
        gap: planning.power_curves(plan.spread, margin)
        for gap, plan in plans.items()
        if plan.open and plan.spread and plan.spread.splits is not None
    }
    figure = ""
    if curves:
        figure = embed(
            output / f"power_{_file_name(kind)}.svg", power.draw, curves, target=planning.POWER,
            title=f"{_title(study)}, {kind}: power of a margin of {points(margin)}",
        )  # fmt: skip
    table = planning.plan_table({gap: plan for gap, plan in plans.items() if plan.states}, margin)
    return {"kind": str(kind), "table": table, "figure": figure}


def _file_name(kind: Kind) -> str:
    return re.sub(r"\W+", "_", str(kind))


def _with_section(study: Study) -> list[Kind]:
    """Lists the kinds of splits with more than bases, or the only one whatever it has."""
    kinds = charts.ordered_kinds(study)
    with_transfer = {network.kind for network in study.networks if network.row.n}
    return [kind for kind in kinds if kind in with_transfer or len(kinds) == 1]


def _section(kind: Kind, study: Study, output: pathlib.Path, overlay: bool) -> dict:
    """Collects the section of one kind of split, and draws its figure."""
    runs = study.runs_of(kind)
    networks = [network for network in study.networks if network.kind == kind]
    paper_runs = paper.read_runs(kind.split) if overlay and not kind.examples_per_class else Runs()
    curve = charts.transfer_curve(runs, study.failed(kind), paper_runs)
    figure = ""
    if curve.bases or curve.points:
        title = f"{_title(study)}, {kind} split"
        figure = embed(
            output / f"transfer_{_file_name(kind)}.svg", transfer.draw, curve, title=title
        )
    all_runs = study.all_runs.get(kind, Runs())
    levels = findings.levels(runs, all_runs)
    found = findings.find_gaps(runs, all_runs)
    trained = [network.row for network in networks if network.trained]
    longer = convergence.describe_study(runs, trained), findings.describe_help(found)
    return {
        "kind": str(kind),
        "figure": figure,
        "longer": list(filter(None, longer)),
        "findings": found,
        "levels": levels,
        "units": sorted({n for by_n in levels.values() for n in by_n}),
        "table_1": findings.table_1(runs),
        "splits": sorted({network.split for network in networks}),
        "seeds": sorted({network.seed for network in networks}),
    }


def _figures_over_kinds(study: Study, output: pathlib.Path, *, overlay: bool) -> list[dict]:
    """Draws the figures that show several kinds of splits, where there are several."""
    figures = []
    title = _title(study)
    if splits := charts.dissimilar_splits(study, overlay=overlay):
        path = output / "splits.svg"
        figure = embed(path, dissimilar.draw, splits, title=f"{title}, all splits")
        figures.append({"heading": "Splits side by side", "figure": figure})
    if lines := charts.reduced_data(study):
        path = output / "reduced_data.svg"
        of_paper = charts.reduced_data_of_paper() if overlay else {}
        figure = embed(path, reduced.draw, lines, of_paper, title=f"{title}, reduced data")
        figures.append({"heading": "Fewer examples of each class", "figure": figure})
    return figures


def _first_filters(study: Study) -> list[dict]:
    """Collects the pictures of the bases' first filters, each as a caption and a PNG in base 64.

    Of each target and number of examples, only the first seed is shown.
    """
    pictures, shown = [], set()
    bases = [network for network in study.networks if not network.row.n]
    for network in sorted(bases, key=lambda n: (n.seed, n.workdir.path, n.row.treatment)):
        path = network.workdir.filters_path(network.row.treatment)
        key = (network.target, network.examples_per_class)
        if key not in shown and path.is_file():
            shown.add(key)
            encoded = base64.b64encode(path.read_bytes()).decode()
            caption = f"{network.row.treatment}, {network.folder}"
            pictures.append({"caption": caption, "png": encoded})
    return pictures


# The columns of `results.csv` and `results.json`, and what each one means.
_COLUMNS = {
    "folder": "the experiment's workdir",
    "split": "how classes became tasks A and B",
    "examples_per_class": "number of training examples of each class; empty: all",
    "seed": "of all that is random",
    "treatment": "the network, in the paper's notation",
    "role": "the treatment as its target sees it: B is the target, whichever task that is",
    "n": "units transferred",
    "target": "task trained on",
    "top1": "fraction of the test images that are right, after the last step",
    "top1_best": "mean of the best tests, 10 of 450 as in the paper, at least one; optimistic",
    "loss": "mean cross-entropy on the test images, nats",
    "outcome": "trained, diverged, or at chance",
    "test_images": "number of test images",
    "steps": "updates",
    "seconds": "of its group's training",
    "last_gain": "how much top-1 gained over the last tenth of the training; empty: not known",
}


def _flat_row(network: Network) -> dict:
    facts = {
        **dataclasses.asdict(network.row),
        "folder": network.folder,
        "split": network.split,
        "examples_per_class": network.examples_per_class,
        "seed": network.seed,
        "role": network.role.family,
        "top1_best": best_tests(network.row),
        "last_gain": convergence.last_gain(network.row),
    }
    return {name: facts[name] for name in _COLUMNS}


def _write_tables(output: pathlib.Path, rows: Sequence[Mapping]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: cell(value) for name, value in row.items()} for row in rows)
    write_text(output / "results.csv", text.getvalue())
    write_text(output / "results.json", json.dumps(rows, indent=2) + "\n")
