"""The flag of the margin by which programs recommend."""

from absl import flags

_MARGIN = flags.DEFINE_float(
    "margin",
    2.0,
    "Points of top-1: a loss of no more than this counts as none, where that is shown.",
)
flags.register_validator(
    "margin", lambda value: 0 < value < 100, "expected points, more than 0 and less than 100"
)


def margin() -> float:
    """Gives the margin as a fraction of the test images."""
    return _MARGIN.value / 100


def given() -> list[str]:
    """Gives the flag as an argument of a program, where it was given."""
    return [flags.FLAGS["margin"].serialize()] if flags.FLAGS["margin"].present else []
