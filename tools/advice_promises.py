"""Whether what `advise` says is true, for `benchmark_advice.py`.

python tools/advice_promises.py FOLDER TRUTH MARGIN

Tests networks of a search on pictures that nothing was chosen by, and prints as JSON what the
recommended one reaches and, where something was offered that loses no more than the margin, what
that one and the one that is taken reach, each the mean over its seeds.
"""

import json
import pathlib
import re
import statistics
import sys
from collections.abc import Mapping, Sequence

SURE = 0.9  # From this probability on something is offered.


def main() -> None:
    """Prints what the networks of a search reach."""
    from transfer_keras.config import set_environment

    set_environment()
    from transfer_keras.deployment import open_classifier

    folder, truth, margin = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
    best = open_classifier(folder / "best.keras")
    found = {"top1": _top1(best, truth)}
    if offered := _offered(folder, float(margin)):
        found["offer"] = [_mean_top1(folder, role, best.facts, truth) for role in offered]
    print(json.dumps(found))


def _offered(folder: pathlib.Path, margin: float):
    """Finds what is offered for less, and what is taken; None where nothing is."""
    from transfer_keras.results import best_role, read_study
    from transfer_keras.results.donor_recommendation import cheapest
    from transfer_keras.results.hierarchy import infer_levels

    (runs,) = read_study(folder).runs.values()
    taken, posterior = best_role(runs), infer_levels(runs)
    role, safe = (posterior and cheapest(posterior, taken, margin)) or (None, 0.0)
    return (role, taken) if safe >= SURE else None


def _mean_top1(folder: pathlib.Path, role, facts, truth: pathlib.Path) -> float:
    import keras

    from transfer_keras.advice.stages import treatment_of
    from transfer_keras.deployment import Classifier

    networks = sorted(folder.glob(f"splitdonor-seed*/{treatment_of(role)}/network.keras"))
    return statistics.fmean(
        _top1(Classifier(keras.saving.load_model(network, compile=False), facts), truth)
        for network in networks
    )


def _top1(classifier, pictures: pathlib.Path) -> float:
    """Tests a network as `predict` reads pictures, which is how it was trained."""
    paths = [path for path in sorted(pictures.rglob("*")) if path.is_file()]
    names = [path.parent.name for path in paths]
    said = [answer.label for answer in classifier.predict(list(map(str, paths)))]
    return statistics.fmean(a == b for a, b in zip(names, said, strict=True))


def expected_accuracy(said: Sequence[str]) -> tuple[float, float, float] | None:
    """Reads the accuracy that is expected on other pictures, with its interval."""
    pattern = r"On other pictures of this kind, .*? ([\d.]+) \(95 % ([\d.]+) to ([\d.]+)\)"
    found = re.search(pattern, "\n".join(said))
    return tuple(map(float, found.groups())) if found else None


def print_promises(advice: Sequence[Mapping], margin: float) -> None:
    """Prints how often offers and intervals held.

    Args:
        advice: of each search, what `main` found, and "expected" with what it said.
        margin: that was promised, in fractions.
    """
    offers = [each["offer"] for each in advice if each.get("offer")]
    held = sum(taken - offered <= margin for offered, taken in offers)
    print(f"Offers that lose no more than {100 * margin:g} points: {held} of {len(offers)} hold.")
    cards = [(each["expected"], each["top1"]) for each in advice if each.get("expected")]
    inside = sum(low <= top1 <= high for (_, low, high), top1 in cards)
    print(f"Intervals of the card: {inside} of {len(cards)} hold what is reached.")


if __name__ == "__main__":
    main()
