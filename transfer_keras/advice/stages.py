"""The treatments of a search, as it tries them: at which n, which ones, and in what words."""

import itertools
from collections.abc import Sequence

from transfer_keras.config import LINEAR, Experiment, Treatment, parse_treatment
from transfer_keras.results import BASE, FROZEN_TRANSFER, Role

SCRATCH = parse_treatment("baseB")

_KINDS = {
    "linear": "linear classifiers",
    "frozen": "frozen",
    "fine_tune": "fine-tuned",
    "base": "from scratch",
}


def treatments_at(
    cut_points: Sequence[int], ends: Sequence[str], experiment: Experiment
) -> list[Treatment]:
    """Lists the treatments at each n, of these ends of their names, where the donor can be."""
    treatments = [parse_treatment(f"A{n}B{end}") for n in cut_points for end in ends]
    return [t for t in treatments if not experiment.architecture.why_not(t.n, t.mode)]


def linear_treatments(cut_points: Sequence[int], experiment: Experiment) -> list[Treatment]:
    """Lists linear classifiers at each n, where heads are fitted.

    A frozen network that has nothing else above n is the same, and is there without them.
    """
    if not experiment.training.fit_head:
        return []
    treatments = treatments_at(cut_points, [LINEAR], experiment)
    return [t for t in treatments if not experiment.fits_head(t.frozen)]


def treatment_of(role: Role) -> Treatment:
    """Gives the treatment that a role is, of a donor or from scratch."""
    if role == BASE:
        return SCRATCH
    return parse_treatment(f"A{role.n}B{role.family.removeprefix(FROZEN_TRANSFER)}")


def describe_stage(treatments: Sequence[Treatment]) -> str:
    """Says what treatments are, for people: "frozen at n = 3, 2"."""
    said = []
    for mode, same in itertools.groupby(as_described(treatments), key=lambda t: t.mode):
        at = ", ".join(f"{treatment.n}" for treatment in same)
        said.append(_KINDS[mode] if mode == "base" else f"{_KINDS[mode]} at n = {at}")
    return ", ".join(said)


def as_described(treatments: Sequence[Treatment]) -> list[Treatment]:
    """Gives treatments in the order in which `describe_stage` names them."""
    return sorted(treatments, key=lambda treatment: [*_KINDS].index(treatment.mode))
