"""The commands that repeat the experiments of a study."""

import itertools
import pathlib
import re
from collections.abc import Mapping, Sequence

from transfer_keras.config import command, parse_treatment, suits_split
from transfer_keras.files import DamagedFile, read_text
from transfer_keras.results.study import Network
from transfer_keras.results.workdir import Workdir

# Flags that choose treatments; `--treatments` takes their place.
_CHOICE = ("--n", "--mode", "--source", "--target")
# Flags in which the experiments of a sweep differ.
_VARIED = ("--split", "--examples_per_class", "--seed")
_OWN = (*_VARIED, "--treatments", "--workdir")
_REMOVE = "Remove it: the report then leaves out the command that repeats this experiment."
Flags = Mapping[str, str | None]  # As "--seed" -> "0"; a flag such as "--noaugment" has no value.


def repeat_commands(networks: Sequence[Network]) -> list[str]:
    """Writes the commands that repeat experiments, each with all treatments that are done by now.

    Returns:
        One sweep where the experiments make one, else a command for each experiment. Experiments
        without `run.flags` are left out.

    Raises:
        DamagedFile: if a `run.flags` is no text, or has something else than flags.
    """
    names_by_workdir: dict[Workdir, list[str]] = {}
    for network in networks:
        names_by_workdir.setdefault(network.workdir, []).append(network.row.treatment)
    experiments = []
    for workdir, names in names_by_workdir.items():
        path = workdir / "run.flags"
        if path.exists():
            common = {k: v for k, v in read_flags(path).items() if k not in _CHOICE}
            experiments.append({**common, "--treatments": ",".join(names)})
    if sweep := _one_sweep(experiments):
        return [f"python -m transfer_keras.sweep {_join(sweep)}"]
    return [f"python -m transfer_keras.train {_join(flags)}" for flags in experiments]


def _one_sweep(experiments: Sequence[Flags]) -> dict[str, str | None] | None:
    """Gives the flags of the sweep that is just these experiments; None where there is none."""
    if len(experiments) < 2 or not all(flags.keys() >= {*_OWN} for flags in experiments):
        return None
    values = {name: list(dict.fromkeys(e[name] for e in experiments)) for name in _VARIED}
    treatments = list(dict.fromkeys(n for e in experiments for n in e["--treatments"].split(",")))
    expected = {
        variant: {name for name in treatments if suits_split(parse_treatment(name), variant[0])}
        for variant in itertools.product(*values.values())
    }
    existing = {
        tuple(flags[name] for name in _VARIED): set(flags["--treatments"].split(","))
        for flags in experiments
    }
    first, *rest = (
        {name: value for name, value in flags.items() if name not in _OWN} for flags in experiments
    )
    folders = {str(pathlib.Path(flags["--workdir"]).parent) for flags in experiments}
    if expected != existing or len(folders) > 1 or any(flags != first for flags in rest):
        return None
    return {
        **first,
        **{name: ",".join(several) for name, several in values.items()},
        "--treatments": ",".join(treatments),
        "--workdir": folders.pop(),
    }


def read_flags(path: pathlib.Path) -> dict[str, str | None]:
    """Reads the flags of a run; an empty value is one too, and the flag keeps its `=`."""
    flags: dict[str, str | None] = {}
    for line in filter(None, map(str.strip, read_text(path, _REMOVE).split("\n"))):
        name, equals, value = line.partition("=")
        if not re.fullmatch(r"--\w+", name):
            raise DamagedFile(path, f"{line[:40]!r} is no flag", _REMOVE)
        flags[name] = value if equals else None
    return flags


def _join(flags: Flags) -> str:
    return command(*(k if value is None else f"{k}={value}" for k, value in flags.items()))
