"""What the network that is recommended reaches on pictures that it was not chosen by."""

import pathlib
from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec
import numpy as np

from transfer_keras.config import Experiment, UserError
from transfer_keras.datasets import StreamedExamples
from transfer_keras.experiments import TaskData, image_preprocessing
from transfer_keras.files import read_json, write_json
from transfer_keras.networks import open_trained
from transfer_keras.results import (
    Interval,
    Runs,
    accuracy_of_choice,
    infer_levels,
    measure_accuracy,
    roles_to_choose,
)

_OPENED = "test.json"


class _Opened(msgspec.Struct):
    """How often networks were tested on pictures that nothing was chosen by."""

    opened: Annotated[int, msgspec.Meta(ge=1)]


class ExpectedAccuracy(NamedTuple):
    """The accuracy that is expected on other pictures of the same kind.

    Attributes:
        value, low, high: in fractions, with the 95 % interval.
        basis: where it comes from, for people.
    """

    value: float
    low: float
    high: float
    basis: str

    def __str__(self):
        return f"{self.value:.3f} (95 % {self.low:.3f} to {self.high:.3f})"


def find_held_out(
    experiment: Experiment, data: TaskData, log: Callable[[str], None]
) -> StreamedExamples | None:
    """Finds pictures in `test/` that neither training nor validation has; opens none.

    Args:
        experiment: with a donor.
        data: of the experiment.
        log: called with a line on what there is.
    """
    try:
        examples = data.pair.held_out("B", image_preprocessing(experiment))
    except UserError as error:
        log(str(error))
        return None
    if examples is not None:
        log(f"{len(examples):,} pictures in test/ are tested on once, at the end.")
    return examples


def accuracy_on_held_out(
    folder: pathlib.Path,
    network: pathlib.Path,
    held_out: StreamedExamples,
    batch_size: int,
    measure: str,
) -> ExpectedAccuracy | None:
    """Tests the recommended network on pictures that nothing was chosen by, and counts how often.

    Args:
        folder: of the study; it is noted there.
        network: file of a network, pixels 0..255 -> values whose highest is the answer.
        held_out: the pictures; those that cannot be decoded are left out, and counted.
        batch_size: of the pass.
        measure: see `results.measure_accuracy`.

    Returns:
        None where no picture can be decoded.
    """
    sound = held_out.without_faults("checking test")
    if not len(sound):
        return None
    model = open_trained(network)
    answers = []
    for images, labels in sound.evaluation(batch_size=batch_size):
        answers.append((labels.numpy(), np.argmax(model.predict_on_batch(images), axis=-1)))
    label, predicted = (np.concatenate(of)[: len(sound)] for of in zip(*answers, strict=True))
    found = measure_accuracy(label, predicted, measure)
    path = folder / _OPENED
    remedy = "Remove it; it counts how often a network was tested on these pictures."
    opened = 1 + (read_json(path, _Opened, remedy).opened if path.exists() else 0)
    write_json(path, {"opened": opened, "pictures": len(sound), measure: found})
    basis = f"measured on the {len(sound):,} pictures in test/, which nothing was chosen by"
    if bad := len(held_out) - len(sound):
        basis += f"; {bad:,} that are there cannot be decoded"
    if opened > 1:
        basis += f"; a network was tested there {opened - 1:,} times before"
    return ExpectedAccuracy(*found, basis)


def accuracy_of_advice(
    runs: Runs, reached: Interval, folds: int | None = None
) -> ExpectedAccuracy | None:
    """Estimates what the choice that was made reaches on other pictures, from the same pictures.

    Args:
        runs: of one target, with the answers of the networks.
        reached: what the recommended network reached on them, with its interval.
        folds: in how many each network was trained; None: once.

    Returns:
        None where the answers are not known, or there are fewer than two pictures.
    """
    posterior = infer_levels(runs)
    if posterior is None:
        return None
    roles = roles_to_choose(runs)
    answers = [np.array([result.right for result in runs.of(role)]) for role in posterior.roles]
    if answers[0].shape[1] < 2:
        return None

    def choose(means: np.ndarray) -> int:
        return posterior.roles.index(posterior.choose(roles, means))

    found = accuracy_of_choice(answers, reached, choose=choose)
    basis = "the choice repeated on samples of the validation pictures, and tested on the others"
    if folds:
        basis = (
            f"each network trained {folds} times, each time tested on another part of the "
            "pictures; the choice repeated on samples of all, and tested on the others. This "
            "network is the first of its folds"
        )
    return ExpectedAccuracy(*found, basis)
