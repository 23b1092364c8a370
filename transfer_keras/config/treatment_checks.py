"""Checks treatments against the network that they are of."""

from transfer_keras.config.architectures import Architecture, PretrainedArchitecture
from transfer_keras.config.errors import UserError
from transfer_keras.config.treatments import RANDOM, STATISTICS, Treatment


def continues_base(treatment: Treatment, units: int) -> bool:
    """Tells whether a treatment is the base of its target, trained on: B8B+ of eight units.

    Args:
        treatment: of a network.
        units: number of units of that network.
    """
    own = treatment.donor == treatment.target
    return own and treatment.fine_tune and treatment.n == units


def check_units(
    treatment: Treatment,
    architecture: Architecture | PretrainedArchitecture,
    network: str,
    kind: str = "unit",
    begun_with: Treatment | None = None,
) -> None:
    """Checks that a network can have as many units transferred, in its treatment's mode.

    Args:
        treatment: one that is asked for.
        architecture: of the network.
        network: its name, for the message.
        kind: what n counts, a "unit" or a "block".
        begun_with: the frozen network that it begins with, if any.

    Raises:
        UserError: if not; where all units are, it says what that would be.
    """
    units = len(architecture.units)
    if continues_base(treatment, units):
        return
    if treatment.n == units:
        control = f"{treatment.target}{units}{treatment.target}+"
        raise UserError(
            f"--treatments={treatment}: {network} has {units} {kind}s. With all of them it would "
            f"be {_what_it_would_be(treatment)}. Expected 1 to {units - 1}, or {control}, "
            f"which is {treatment.base} trained on."
        )
    if treatment.n > units:
        raise UserError(
            f"--treatments={treatment}: {network} has {units} {kind}s, so 1 "
            f"to {units - 1} can be transferred."
        )
    if why := architecture.why_not(treatment.n, treatment.mode):
        raise UserError(f"--treatments={treatment}: {why}")
    if begun_with and (why := architecture.why_not(begun_with.n, begun_with.mode)):
        raise UserError(f"--head_first: {treatment} begins with {begun_with}: {why}")


def _what_it_would_be(treatment: Treatment) -> str:
    """Says what a treatment with all units of a network would be, as the end of a sentence."""
    if treatment.donor == RANDOM:
        return "an untrained network, of which nothing is trained"
    if treatment.linear:
        return f"a linear classifier on the outputs of {treatment.needs}"
    if treatment.donor == STATISTICS and not treatment.fine_tune:
        return "a network of random values, of which nothing is trained"
    if treatment.donor == treatment.target:
        return f"{treatment.needs} itself, of which nothing is trained"
    return f"a network with the head of {treatment.needs}, which is for other classes"
