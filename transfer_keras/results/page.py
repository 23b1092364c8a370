"""The report of a study, from its rows on disk alone."""

import base64
import csv
import dataclasses
import io
import itertools
import json
import pathlib
import re
import shlex
from collections.abc import Mapping, Sequence

from transfer_keras.config import DONOR_SPLIT, parse_treatment, render_template, suits_split
from transfer_keras.results import charts, findings, paper, recommendation, study
from transfer_keras.results.figures import dissimilar, reduced, transfer
from transfer_keras.results.files import whole, write_text
from transfer_keras.results.study import Study, read_study
from transfer_keras.results.workdir import filters_path

_IMAGENET = ("imagenet2012", "imagenet_resized")
_CHOICE = ("--n", "--mode", "--source", "--target")
_VARIED = ("--split", "--examples_per_class", "--seed")  # Over the experiments of a sweep.
_OWN = (*_VARIED, "--treatments", "--workdir")


def write_report(folder: pathlib.Path, output: pathlib.Path, *, overlay_paper: bool | None) -> str:
    """Writes figures, tables and `report.html`.

    Args:
        folder: see `study.read_study`.
        output: folder to write to; made where it is not there.
        overlay_paper: whether the paper's values are drawn too; None: where the dataset is
            ImageNet.

    Returns:
        The recommendation in words.

    Raises:
        UserError: see `study.read_study`.
    """
    found = read_study(folder)
    if overlay_paper is None:
        overlay_paper = str(found.settings["dataset"]).partition("/")[0] in _IMAGENET
    output.mkdir(parents=True, exist_ok=True)
    title = f"{found.settings['network']} on {found.settings['dataset']}"
    sections = [_section(kind, found, output, overlay_paper) for kind in _told_of(found)]
    advice = [{"kind": str(kind), "words": _advice(kind, found)} for kind in _advised(found)]
    failed = [n for n in found.networks if n.row.outcome != "trained"]
    rows = [_flat(network) for network in found.networks]
    write_text(output / "results.csv", _csv(rows))
    write_text(output / "results.json", json.dumps(rows, indent=2) + "\n")
    page = render_template(
        "results",
        "report.html",
        title=title,
        sections=sections,
        advice=advice,
        failed=[f"{n.row.treatment} ({n.folder.name}): {n.row.outcome}" for n in failed],
        figures=_figures_of_all(found, output, title, overlay=overlay_paper),
        filters=_filters(found),
        rows=rows,
        columns=_COLUMNS,
        settings=found.settings,
        versions=found.versions,
        commands=_commands(found),
    )
    write_text(output / "report.html", page)
    return "\n".join(f"Split {one['kind']}: {one['words']}" for one in advice) or (
        "No frozen transfer (AnB) yet, of which advice could be given."
    )


def _advised(found: Study) -> list[study.Kind]:
    frozen = {network.kind for network in found.networks if network.role.family == "AnB"}
    return [kind for kind in charts.ordered_kinds(found) if kind in frozen]


def _advice(kind: study.Kind, found: Study) -> str:
    runs = found.runs.get(kind, {})
    if kind.split == DONOR_SPLIT and recommendation.mean_top1(runs):
        return recommendation.words(runs, {}, found.settings["network"]).replace("\n", " ")
    networks = [network for network in found.networks if network.kind == kind]
    failed = [network.role for network in networks if network.row.outcome != "trained"]
    return findings.recommend(runs, failed)


def _told_of(found: Study) -> list[study.Kind]:
    """The kinds that have a section: those with more than bases, or one that has nothing else."""
    kinds = charts.ordered_kinds(found)
    more = {network.kind for network in found.networks if network.row.n}
    return [kind for kind in kinds if kind in more or len(kinds) == 1]


def _section(kind: study.Kind, found: Study, output: pathlib.Path, overlay: bool) -> dict:
    """What is said of one kind of split."""
    networks = [network for network in found.networks if network.kind == kind]
    failed = [network for network in networks if network.row.outcome != "trained"]
    runs = found.runs.get(kind, {})
    of_paper = paper.runs(kind.split) if overlay and not kind.examples_per_class else {}
    shown = charts.transfer_curve(runs, failed, of_paper)
    figure = ""
    if shown.bases:
        name = re.sub(r"\W+", "_", str(kind))
        title = f"{found.settings['network']} on {found.settings['dataset']}, {kind} split"
        figure = _drawn(output / f"transfer_{name}.svg", transfer.draw, shown, title=title)
    return {
        "kind": str(kind),
        "figure": figure,
        "findings": findings.findings(runs),
        "levels": (levels := findings.levels(runs)),
        "units": sorted({n for by_n in levels.values() for n in by_n}),
        "table_1": findings.table_1(runs),
        "splits": sorted({network.split for network in networks}),
        "seeds": sorted({network.seed for network in networks}),
    }


def _figures_of_all(found: Study, output: pathlib.Path, title: str, *, overlay: bool) -> list[dict]:
    """Those that set the kinds of splits side by side, where there is something to set."""
    figures = []
    if shown := charts.dissimilar_splits(found, overlay=overlay):
        figure = _drawn(output / "splits.svg", dissimilar.draw, shown, title=f"{title}, all splits")
        figures.append({"heading": "Splits side by side", "figure": figure})
    if lines := charts.reduced_data(found):
        theirs = charts.papers_reduced_data() if overlay else {}
        figure = _drawn(
            output / "reduced_data.svg", reduced.draw, lines, theirs, title=f"{title}, reduced data"
        )
        figures.append({"heading": "Fewer examples of each class", "figure": figure})
    return figures


def _drawn(path: pathlib.Path, draw, *shown, title: str) -> str:
    """Draws a figure as SVG and PNG; the SVG for the page, without its prolog and the comments in
    which Matplotlib repeats every text."""
    with whole(path) as svg, whole(path.with_suffix(".png")) as picture:
        draw(*shown, [svg, picture], title=title)
    text = path.read_text()
    return re.sub(r"<!--.*?-->", "", text[text.index("<svg") :], flags=re.DOTALL)


def _filters(found: Study) -> list[dict]:
    """The first layers of the bases, of the first seed of each split and number of examples, as
    data of PNG files."""
    shown, told = [], set()
    bases = [network for network in found.networks if not network.row.n]
    for network in sorted(bases, key=lambda n: (n.seed, n.folder, n.row.treatment)):
        path = filters_path(network.folder, network.row.treatment)
        which = (network.half, network.examples_per_class)
        if which not in told and path.exists():
            told.add(which)
            encoded = base64.b64encode(path.read_bytes()).decode()
            caption = f"{network.row.treatment}, {network.folder.name}"
            shown.append({"caption": caption, "png": encoded})
    return shown


# Columns of `workdir.csv` and `workdir.json`, and what each says.
_COLUMNS = {
    "folder": "the experiment's workdir",
    "split": "how classes became tasks A and B",
    "examples_per_class": "how many of each class were trained on; empty: all",
    "seed": "of all that is random",
    "treatment": "the network, in the paper's notation",
    "role": "what it is to its target, which is B here whichever it is",
    "n": "units transferred",
    "target": "task trained on",
    "top1": "fraction of the test images that are right, after the last step",
    "top1_best": "mean of the best tests, 10 of 450 as in the paper, at least one; optimistic",
    "loss": "mean cross-entropy on the test images, nats",
    "outcome": "trained, diverged, or at chance",
    "test_images": "how many",
    "steps": "updates",
    "seconds": "of its group's training",
}


def _flat(network: study.Network) -> dict:
    row = dataclasses.asdict(network.row)
    facts = {
        **row,
        "folder": network.folder.name,
        "split": network.split,
        "examples_per_class": network.examples_per_class,
        "seed": network.seed,
        "role": network.role.family,
        "top1_best": study.best_tests(network.row),
    }
    return {name: facts[name] for name in _COLUMNS}


def _csv(rows: Sequence[Mapping]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(_COLUMNS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _commands(found: Study) -> list[str]:
    """What repeats the experiments, each with all the treatments that it has by now; as one sweep
    where they make one."""
    experiments: dict[pathlib.Path, tuple[dict[str, str], list[str]]] = {}
    for network in found.networks:
        path = network.folder / "run.flags"
        if path.exists():
            flags = dict(line.partition("=")[::2] for line in path.read_text().splitlines())
            _, names = experiments.setdefault(network.folder, (flags, []))
            names.append(network.row.treatment)
    every = []
    for flags, names in experiments.values():
        kept = {name: value for name, value in flags.items() if name not in _CHOICE}
        every.append({**kept, "--treatments": ",".join(names)})
    if one := _one_sweep(every):
        return [f"python -m transfer_keras.sweep {_joined(one)}"]
    return [f"python -m transfer_keras.train {_joined(flags)}" for flags in every]


def _one_sweep(experiments: Sequence[Mapping[str, str]]) -> dict[str, str] | None:
    """The flags of a sweep that is just these experiments; None if there is no such."""
    if len(experiments) < 2 or not all(flags.keys() >= {*_OWN} for flags in experiments):
        return None
    values = {name: list(dict.fromkeys(e[name] for e in experiments)) for name in _VARIED}
    treatments = list(dict.fromkeys(n for e in experiments for n in e["--treatments"].split(",")))
    expected = {
        variant: {name for name in treatments if suits_split(parse_treatment(name), variant[0])}
        for variant in itertools.product(*values.values())
    }
    found = {tuple(e[n] for n in _VARIED): set(e["--treatments"].split(",")) for e in experiments}
    common, *others = ({k: v for k, v in e.items() if k not in _OWN} for e in experiments)
    folders = {str(pathlib.Path(e["--workdir"]).parent) for e in experiments}
    if expected != found or len(folders) > 1 or any(flags != common for flags in others):
        return None
    several = {name: ",".join(value) for name, value in values.items()}
    return {
        **common,
        **several,
        "--treatments": ",".join(treatments),
        "--workdir": folders.pop(),
    }


def _joined(flags: Mapping[str, str]) -> str:
    return shlex.join(f"{name}={value}" if value else name for name, value in flags.items())
