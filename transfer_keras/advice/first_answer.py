"""The first answers of a search, before any training: what pictures and donor's features tell."""

import math
import shlex
import time
from collections.abc import Callable, Sequence

import numpy as np

from transfer_keras.advice import transferability
from transfer_keras.advice.budget import Budget
from transfer_keras.advice.cost import BatchTimer, TrainingCost
from transfer_keras.config import FOLDER, Experiment, choices, default_setting, duration
from transfer_keras.datasets import check_folder
from transfer_keras.experiments import TaskData, division_of
from transfer_keras.networks import pretrained
from transfer_keras.results import BALANCED, TOP1
from transfer_keras.training import Progress

ESTIMATED_ON = 500  # Pictures at the most, of those to train and of those to validate.
_TIMED = 4  # Batches at the least.
_ESTIMATING = 0.1  # Part of the time that this may take.
_CHECKING = 0.05  # Part of the time in which pictures are checked.


def check_pictures(experiment: Experiment, budget: Budget, log: Callable[[str], None]) -> list[str]:
    """Looks for what spoils the pictures, and logs it.

    Args:
        experiment: with a donor.
        budget: of which this takes a twentieth at the most: then fewer pictures count.
        log: called with lines for the user.

    Returns:
        A line for each kind of what was found; none where they are not in a folder.
    """
    asked = experiment.data
    if not asked.dataset.startswith(FOLDER):
        return []
    deadline = time.monotonic() + _CHECKING * budget.seconds
    found = check_folder(
        asked.dataset,
        division_of(experiment),
        asked.leave_out,
        decode=False,
        deadline=deadline,
    )
    lines = found.lines(harmful=True)
    seen, every = len(found.pictures), sum(found.splits.values())
    if seen < every:
        log(f"In the time that there is, {seen:,} of {every:,} pictures were checked for copies.")
    for line in lines:
        log(line)
    if lines:
        names = ("dataset", "validation_split", "validation_seed", "group_by", "leave_out")
        given = {name: getattr(asked, name) for name in names}
        flags = [
            f"--{name}={value}" for name, value in given.items() if value != default_setting(name)
        ]
        log(
            "See them, and make a list for --leave_out: python -m transfer_keras.check_pictures "
            f"--fix=list {shlex.join(flags)}"
        )
    return lines


def estimate(
    experiment: Experiment, data: TaskData, budget: Budget, log: Callable[[str], None]
) -> tuple[list[transferability.Score], TrainingCost]:
    """Runs the donor once over some pictures, and logs how well each unit transfers by estimate.

    Args:
        experiment: with a donor.
        data: of the experiment.
        budget: of which this takes a tenth at the most: then fewer pictures count.
        log: called with lines and tables for the user.

    Returns:
        The scores, none of too few pictures; and what trainings will take, from the same pass.
    """
    timer, batch = BatchTimer(), experiment.training.batch_size
    opened = experiment.donor, experiment.training.image_size
    units = pretrained.count_units(*opened).units[:-1]
    model = pretrained.open_pretrained(*opened).model
    images, labels, is_train = _some_pictures(data, batch)
    # The first batch is traced and others may be short: few pictures have several turns.
    turns = math.ceil(_TIMED * batch / len(labels))
    timed = np.concatenate([images] * turns) if turns > 1 else images
    with Progress("the donor's features", len(timed)) as bar:

        def on_batch(pictures: int) -> bool:
            timer.count(pictures)
            bar.advance(timer.pictures)
            return timer.seconds > _ESTIMATING * budget.seconds

        features = transferability.compute_features(
            model, [unit.output for unit in units], timed, batch_size=batch, is_enough=on_batch
        )
    float_bytes = 4
    cost = TrainingCost(
        overhead=timer.overhead,
        forward=timer.forward,
        train=len(data.train["B"]),
        test=len(data.test["B"]),
        feature_bytes={
            n: float_bytes * math.prod(size or 1 for size in unit.output.shape[1:])
            for n, unit in enumerate(units, 1)
        },
    )
    labels, is_train = labels[: timer.pictures], is_train[: timer.pictures]
    features = [values[: len(labels)] for values in features]
    few = sum(is_train) < transferability.FEWEST or all(is_train)
    if few or len(np.unique(labels[is_train])) < 2:
        log(
            f"No transferability estimates: they need {transferability.FEWEST} pictures of two "
            "classes, or more."
        )
        return [], cost
    train, test = (
        ([values[which] for values in features], labels[which]) for which in (is_train, ~is_train)
    )
    measure = measure_of(experiment)
    cuts = experiment.architecture.cut_points
    scores = transferability.score_features(
        [unit.name for unit in units], train, test, measure, cuts=cuts
    )
    log(f"\n{transferability.describe(scores, pictures=len(train[1]), measure=measure)}")
    if best := best_linear(scores, experiment):
        log(
            f"First answer, after {duration(budget.elapsed)}: the lower {best.n} "
            f"unit{'s' * (best.n > 1)} frozen (up to {best.unit}) and a linear classifier on top: "
            f"{measure} {best.linear:.3f} of {len(labels)} pictures, each by others.\n"
        )
    return scores, cost


def best_linear(
    scores: Sequence[transferability.Score], experiment: Experiment
) -> transferability.Score | None:
    """Finds the unit on which a linear classifier does best, of equals the highest.

    By its log loss, where that is known.

    Args:
        scores: of all units.
        experiment: whose donor must be one that can be cut there.

    Returns:
        None where there are no scores, or all features are no numbers.
    """
    cuts = experiment.architecture.cut_points
    known = [score for score in scores if score.n in cuts and not math.isnan(score.linear)]
    if any(not math.isnan(score.log_loss) for score in known):
        known = [score for score in known if not math.isnan(score.log_loss)]
        return max(known, key=lambda score: (-score.log_loss, score.n))
    return max(known, key=lambda score: (score.linear, score.n), default=None)


def measure_of(experiment: Experiment) -> str:
    """Gives the measure by which networks are compared: of what they are trained for."""
    return BALANCED if experiment.training.class_weights == choices.BALANCED else TOP1


def _some_pictures(data: TaskData, batch_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Takes some pictures to train and some to validate, mixed so that any part is fair.

    Returns:
        Images, labels, and which of them are to train.
    """
    parts = []
    for examples in (data.train["B"], data.test["B"]):
        batches = examples.shuffled().evaluation(batch_size=batch_size)
        taken = batches.take(-(-ESTIMATED_ON // batch_size)).as_numpy_iterator()
        images, labels = map(np.concatenate, zip(*taken, strict=True))
        real = np.flatnonzero(labels >= 0)[:ESTIMATED_ON]
        parts.append((images[real], labels[real]))
    images, labels = (np.concatenate(both) for both in zip(*parts, strict=True))
    counts = [len(part) for _, part in parts]
    order = np.argsort(np.concatenate([(np.arange(n) + 0.5) / n for n in counts]), kind="stable")
    return images[order], labels[order], order < counts[0]
