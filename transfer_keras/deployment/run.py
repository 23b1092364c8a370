"""Says what pictures show: a table, and an evaluation where their classes are known."""

import pathlib
from collections.abc import Callable, Sequence

import numpy as np
import tqdm

from transfer_keras.config import UserError, printable
from transfer_keras.deployment.classifier import open_classifier
from transfer_keras.deployment.evaluation import Evaluation
from transfer_keras.deployment.network_file import NetworkFacts
from transfer_keras.deployment.picture_list import find_pictures, labels_of
from transfer_keras.deployment.table import write_table
from transfer_keras.files import write_text

PAGE = "evaluation.html"
_NAMED = 3  # Pictures that cannot be read.


def predict_pictures(
    network: pathlib.Path,
    pictures: str,
    output: pathlib.Path,
    *,
    threshold: float = 0.0,
    batch_size: int = 32,
    custom_objects: str | None = None,
    log: Callable[[str], None] = print,
) -> None:
    """Asks a network about pictures, and writes what it says.

    Args:
        network: file of a network; see `network_file.save_classifier`.
        pictures: see `picture_list.find_pictures`. Where each lies in a folder with a class's name,
            what is said is compared with it, and a page is written beside the table.
        output: of the table.
        threshold: below which probability a picture's class is "unknown".
        batch_size: pictures that are asked about at once.
        custom_objects: see `open_classifier`.
        log: called with lines for the user.

    Raises:
        UserError: if the network or the pictures cannot be had.
    """
    paths = find_pictures(pictures)
    _check_output(output, [network, pathlib.Path(pictures).expanduser(), *map(pathlib.Path, paths)])
    classifier = open_classifier(network, custom_objects=custom_objects)
    classes = classifier.facts.classes
    output.parent.mkdir(parents=True, exist_ok=True)
    asked = classifier.predict(paths, batch_size=batch_size)
    bar = tqdm.tqdm(asked, "predicting", len(paths), unit=" pictures", leave=False)
    predictions = list(write_table(output, bar, classes, threshold))

    unreadable = [one for one in predictions if one.probabilities is None]
    for one in unreadable[:_NAMED]:
        log(f"{printable(one.path)} {one.fault}")
    if len(unreadable) > _NAMED:
        log(f"and {len(unreadable) - _NAMED:,} more that cannot be read; the table names them.")
    if threshold:
        log(_describe_threshold(classifier.facts, threshold))
    log(f"{len(predictions):,} pictures: {output}")

    labels, unlabelled = labels_of(paths, classes)
    if labels is None:
        if unlabelled:
            log(f"No evaluation: {unlabelled} lies in no folder with a class's name.")
        return
    if len(unreadable) == len(predictions):
        return
    known = [k for k, one in enumerate(predictions) if one.probabilities is not None]
    evaluation = Evaluation(
        [predictions[k] for k in known],
        np.array(labels)[known],
        classes,
        threshold,
        len(unreadable),
    )
    log("\n".join(["", "Their folders are classes:", *evaluation.lines(), "", evaluation.table()]))
    page = output.parent / PAGE
    write_text(page, evaluation.page(f"{network.name} on {printable(pictures)}"))
    log(f"\nThe page: {page}")


def _check_output(output: pathlib.Path, inputs: Sequence[pathlib.Path]) -> None:
    """Checks that nothing that is read would be written over.

    Raises:
        UserError: if it would, or a folder has the name of the table.
    """
    if output.is_dir():
        raise UserError(f"--output={output}: is a folder. Expected the name of a CSV file.")
    if output.exists() and any(path.exists() and output.samefile(path) for path in inputs):
        raise UserError(f"--output={output}: is one of the files that are read. Give another.")


def _describe_threshold(facts: NetworkFacts, threshold: float) -> str:
    """Writes which part of the validation pictures a threshold refuses."""
    if not facts.certainty:
        return (
            f"--threshold={threshold:g}: what it refuses of the validation pictures is not known."
        )
    refused = np.array(facts.certainty) < threshold
    right = np.array(facts.right, bool)
    text = (
        f"--threshold={threshold:g} refuses {refused.mean():.1%} of {len(right):,} validation "
        "pictures"
    )
    if refused.all():
        return f"{text}."
    return (
        f"{text}; of the others {right[~refused].mean():.1%} are right, of all {right.mean():.1%}."
    )
