"""What `experiment.json` holds: the settings of an experiment, facts of its data, versions."""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Mapping
from typing import Any

from transfer_keras.config import DataSettings, TrainingSettings, one_line
from transfer_keras.files import DamagedFile, check_type, read_json

# Settings of which `config.Experiment.identity` writes something else than their sections hold.
_AS_WRITTEN = {
    "split": str | list[str],
    "image_size": int,
    "exif": bool | str | None,
    "donor": str | None,
    "optimizer": str | dict | None,
}
_MOST = 100  # Characters of a setting that a message shows.
_OF_STUDIES = {"dataset", "network", "seed", "split"}


class ExperimentFacts(typing.TypedDict):
    """The content of `experiment.json`."""

    settings: dict[str, Any]
    data: dict[str, Any]
    versions: dict[str, str]


def _types_of_settings() -> dict[str, Any]:
    """Gives the type of each setting; None is allowed, where a version did not know it."""
    types = {}
    for section in (DataSettings, TrainingSettings):
        hints = typing.get_type_hints(section)
        types |= {field.name: hints[field.name] | None for field in dataclasses.fields(section)}
    return types | _AS_WRITTEN


_Settings = typing.TypedDict("_Settings", _types_of_settings(), total=False)


def read_facts(path: pathlib.Path, remedy: str, complete: bool = False) -> ExperimentFacts:
    """Reads `experiment.json`, and checks the types of the settings that this version knows.

    Args:
        path: of the file.
        remedy: what to do if it is damaged, as a sentence.
        complete: whether it must have the settings by which studies are read.

    Raises:
        DamagedFile: if it is damaged.
    """
    facts = read_json(path, ExperimentFacts, remedy)
    check_type(facts["settings"], _Settings, path, remedy)
    missing = {name for name in _OF_STUDIES if facts["settings"].get(name) is None}
    if complete and missing:
        raise DamagedFile(path, f"is damaged: it has no {', '.join(sorted(missing))}", remedy)
    return facts


def differing_settings(written: Mapping, given: Mapping) -> list[str]:
    """Describes each setting that differs, in alphabetical order.

    Args:
        written: the settings of an earlier run.
        given: those of this run, before they are written.
    """
    given = as_written(given)
    return [
        f"{key} is {_shown(written.get(key))} there, {_shown(given.get(key))} here"
        for key in sorted({*written, *given})
        if written.get(key) != given.get(key)
    ]


def as_written(facts: Mapping) -> dict:
    """Gives facts as they are after they were written as JSON: lists in place of tuples."""
    return json.loads(json.dumps(facts))


def _shown(value: object) -> str:
    return one_line(repr(value), _MOST)
