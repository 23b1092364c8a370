"""Chooses one of several donors: by estimates without training, then by short trainings.

Half of them, two at the least, are left after the estimates, and half of those after each round of
trainings, each round with the same time for every donor (successive halving, Jamieson and Talwalkar
2016, "Non-stochastic Best Arm Identification and Hyperparameter Optimization"). The estimates are
those with which every search begins; the trainings are compared on a part of the training pictures.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import Annotated, NamedTuple

import msgspec

from transfer_keras.advice.budget import DONORS, Budget, check_folder
from transfer_keras.advice.first_answer import best_linear, estimate
from transfer_keras.advice.preparation import Prepared, read_pictures
from transfer_keras.advice.rates import find_rates
from transfer_keras.config import Experiment, UserError
from transfer_keras.files import DamagedFile, read_json, write_json

_ROUNDS = 0.5  # Part of the time by which the trainings of all rounds are measured.


class _Record(msgspec.Struct):
    """What a race leaves on disk: the donors, the place of the one that was chosen, and why."""

    donors: list[str]
    chosen: Annotated[int, msgspec.Meta(ge=0)]
    notes: tuple[str, ...]


class Race(NamedTuple):
    """What a race of donors has brought.

    Attributes:
        experiment: of the donor that won.
        prepared: what is known of it; None where the race was run before.
        notes: what was compared, for people.
    """

    experiment: Experiment
    prepared: Prepared | None
    notes: tuple[str, ...]


def race_donors(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    budget: Budget,
    *,
    fixed: Sequence[str] = (),
    log: Callable[[str], None] = print,
) -> Race:
    """Chooses one of several donors for the same pictures, and keeps the choice in the folder.

    Args:
        experiments: equal but for their donors.
        folder: of the study.
        budget: of which this takes about a fifth.
        fixed: names of settings that are not to be chosen.
        log: called with lines and tables for the user.

    Raises:
        UserError: if the folder was begun with other donors; see `advise` for others.
        Interrupted: after a signal; nothing is kept then.
    """
    names = [experiment.donor.path for experiment in experiments]
    if kept := _read(folder, names):
        chosen, notes = kept
        log(f"Of {len(names)} donors, {names[chosen]} was chosen before.")
        return Race(experiments[chosen], None, notes)

    if check_folder(folder):
        raise UserError(
            f"--donor={','.join(names)}: {folder} was begun with one donor. Give that one alone, "
            "or another --workdir."
        )

    # The estimates, each donor with the same part of what one alone would have.
    share = dataclasses.replace(budget, seconds=budget.seconds / len(experiments))
    entrants, losses = [], []
    for name, experiment in zip(names, experiments, strict=True):
        log(f"Donor {name}:")
        asked, data = read_pictures(experiment, None, fixed=fixed, log=log)
        scores, cost = estimate(asked, data, share, log)
        best = best_linear(scores, asked)
        losses.append(best.log_loss if best and not math.isnan(best.log_loss) else math.inf)
        entrants.append(Prepared(asked, data, scores, cost))
    notes = [_describe("linear classifiers on its units, cross-validated", names, losses)]
    log(notes[0])
    left = _better_half(range(len(names)), losses, fewest=2)
    entrants = [entrant if place in left else None for place, entrant in enumerate(entrants)]

    # Short trainings of those that are left. The search for learning rates is such a training, of
    # what is frozen and of what is fine-tuned.
    rounds = max(1, math.ceil(math.log2(len(left))))
    skipped = [*fixed, "scratch_learning_rate"]
    while len(left) > 1:
        share = dataclasses.replace(budget, seconds=_ROUNDS * budget.seconds / rounds / len(left))
        for place in left:
            log(f"Donor {names[place]}:")
            entrant = entrants[place]
            found = find_rates(
                entrant.experiment, entrant.data, share, entrant.cost, fixed=skipped, log=log
            )
            losses[place] = min(found.losses.values(), default=math.inf)
        if all(math.isinf(losses[place]) for place in left):
            notes.append("No time to train those that are left: the first of them is taken.")
            log(notes[-1])
            left = left[:1]
            break
        notes.append(
            _describe(
                "the best of short trainings, frozen and fine-tuned, on training pictures that "
                "were held back",
                [names[place] for place in left],
                [losses[place] for place in left],
            )
        )
        log(notes[-1])
        left = _better_half(left, losses)
    (chosen,) = left
    log(f"Chosen: {names[chosen]}.\n")
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / DONORS, {"donors": names, "chosen": chosen, "notes": notes}, indent=1)
    return Race(experiments[chosen], entrants[chosen], tuple(notes))


def _better_half(places: Sequence[int], losses: Sequence[float], fewest: int = 1) -> list[int]:
    """Keeps half of the donors, rounded up, that of the lowest loss first."""
    ranked = sorted(places, key=lambda place: losses[place])
    return ranked[: max(fewest, math.ceil(len(ranked) / 2))]


def _describe(of: str, names: Sequence[str], losses: Sequence[float]) -> str:
    ranked = sorted(zip(losses, names, strict=True))
    known = ", ".join(
        f"{name} {'none' if math.isinf(loss) else f'{loss:.3f}'}" for loss, name in ranked
    )
    return f"Donors by log loss of {of}: {known}."


def _read(folder: pathlib.Path, names: Sequence[str]) -> tuple[int, tuple[str, ...]] | None:
    """Reads which donor was chosen in a folder; None where no race was run.

    Raises:
        UserError: if it was run of other donors.
        DamagedFile: if the file is damaged.
    """
    path = folder / DONORS
    if not path.exists():
        return None
    remedy = "Remove it to compare the donors again."
    record = read_json(path, _Record, remedy)
    if record.chosen >= len(record.donors):
        raise DamagedFile(path, f"is damaged: it has no donor {record.chosen}", remedy)
    if record.donors != [*names]:
        raise UserError(
            f"--donor={','.join(names)}: {folder} was begun with "
            f"--donor={','.join(record.donors)}, of which {record.donors[record.chosen]} was "
            "chosen. Give these again, or another --workdir."
        )
    return record.chosen, record.notes
