"""The network that is recommended, as a file, and the card that says what it is."""

import json
import pathlib
import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import special

from transfer_keras.advice.accuracy import ExpectedAccuracy
from transfer_keras.config import Experiment, render_template
from transfer_keras.datasets import AnyExamples, StreamedExamples
from transfer_keras.deployment import (
    VALIDATION,
    Calibration,
    NetworkFacts,
    calibrate,
    save_classifier,
)
from transfer_keras.files import write_text
from transfer_keras.networks import open_trained
from transfer_keras.results import TOP1, Workdir, measure_accuracy

NETWORK, CLASSES, CARD = "best.keras", "classes.json", "MODEL_CARD.md"
_CALIBRATED_ON = 1000  # Validation pictures at the most.
_DIGITS = 6  # Of the probabilities that are kept.
COMMAND = (
    "python -m transfer_keras.predict --network={network} --pictures=PATH --output=predictions.csv"
)
WITH_PILLOW = """\
import json, keras, numpy
from PIL import Image, ImageOps
network, classes = keras.saving.load_model("best.keras"), json.load(open("classes.json"))
picture = {picture}
if picture.mode == "I;16":  # Grey, of 16 bits.
    picture = Image.fromarray(numpy.uint8(numpy.array(picture) // 256))
picture = ImageOps.fit(picture.convert("RGB"), ({size}, {size}), Image.Resampling.BILINEAR)
print(classes[network.predict(numpy.array(picture)[None]).argmax()])"""


class ChosenNetwork(NamedTuple):
    """The network that is recommended.

    Attributes:
        treatment: its name.
        experiment, workdirs: what it belongs to, and where it is; then those of other folds.
        classes: names, in the order of its outputs.
        training_images: how many it was trained on.
    """

    treatment: str
    experiment: Experiment
    workdirs: Sequence[Workdir]
    classes: Sequence[str]
    training_images: int

    @property
    def workdir(self) -> Workdir:
        """Gives where it is."""
        return self.workdirs[0]


class Selection(NamedTuple):
    """How a network was chosen.

    Attributes:
        advice: the recommendation of the study.
        compared: how many networks it is the best of.
        top1_by_seed: of the networks of the same treatment, one a seed, itself included.
        expected: on other pictures; None: not known.
        calibration: of its probabilities.
        measure: by which it was chosen; see `results.measure_accuracy`.
    """

    advice: str
    compared: int
    top1_by_seed: Sequence[float]
    expected: ExpectedAccuracy | None
    calibration: Calibration
    measure: str = TOP1


def write_network(
    folder: pathlib.Path, chosen: ChosenNetwork, validation: AnyExamples
) -> Calibration:
    """Writes `best.keras`, whose outputs are calibrated probabilities.

    Args:
        folder: to write to.
        chosen: the network.
        validation: pictures that it was not trained on; of more than 1,000 the first count.
    """
    model = open_trained(chosen.workdir.network_path(chosen.treatment))
    experiment = chosen.experiment
    examples = validation.part(slice(_CALIBRATED_ON))
    logits, labels = [], []
    for images, truth in examples.evaluation(batch_size=experiment.training.batch_size):
        logits.append(model.predict_on_batch(images))
        labels.append(truth.numpy())
    logits, labels = (np.concatenate(of)[: len(examples)] for of in (logits, labels))
    calibration = calibrate(logits, labels)
    probabilities = special.softmax(logits / calibration.temperature, axis=-1)
    facts = NetworkFacts(
        classes=tuple(chosen.classes),
        image_size=experiment.image_size,
        resize=experiment.resize,
        pad=experiment.architecture.pad,
        preprocessing=experiment.data.preprocessing,
        upright=experiment.data.turns_pictures,
        temperature=calibration.temperature,
        certainty=tuple(np.round(probabilities.max(axis=-1), _DIGITS).tolist()),
        right=tuple((logits.argmax(axis=-1) == labels).astype(int).tolist()),
    )
    save_classifier(folder / NETWORK, model, facts)
    _list_validation(folder / VALIDATION, validation)
    return calibration


def _list_validation(path: pathlib.Path, validation: AnyExamples) -> None:
    """Lists the files of the validation pictures, if they have one each."""
    path.unlink(missing_ok=True)
    if isinstance(validation, StreamedExamples) and validation.records.has_files:
        names = [validation.records.name(place) for place in validation.numbers.tolist()]
        write_text(path, "".join(f"{name}\n" for name in names))


def write_card(folder: pathlib.Path, chosen: ChosenNetwork, selection: Selection) -> str:
    """Writes `classes.json` and `MODEL_CARD.md` beside `best.keras`.

    Args:
        folder: where `write_network` wrote it.
        chosen: the network.
        selection: how it was chosen.

    Returns:
        The command that uses it from here; that in the card does so beside it.
    """
    workdir, experiment = chosen.workdir, chosen.experiment
    model = open_trained(folder / NETWORK)
    size = model.input_shape[1]
    write_text(folder / CLASSES, json.dumps(list(chosen.classes), ensure_ascii=False) + "\n")
    row = workdir.row(chosen.treatment)
    label, predicted = workdir.predictions(chosen.treatment, row)
    own = any(type(layer).__module__.startswith("transfer_keras") for layer in model.layers)

    imports = "import transfer_keras.surgery, transfer_keras.networks.alexnet\n" if own else ""
    picture = 'Image.open("picture.jpg")'
    if experiment.data.turns_pictures:
        picture = f"ImageOps.exif_transpose({picture})"
    card = render_template(
        "advice",
        CARD,
        row=row,
        experiment=experiment,
        settings=experiment.identity,
        size=size,
        unit=experiment.architecture.units[row.n - 1].name if row.n else None,
        reached=measure_accuracy(label, predicted, selection.measure),
        recalls=_recalls(label, predicted, chosen.classes),
        training_images=chosen.training_images,
        selection=selection,
        command=COMMAND.format(network=NETWORK),
        with_pillow=imports + WITH_PILLOW.format(size=size, picture=picture),
        versions=workdir.read_facts()["versions"],
    )
    write_text(folder / CARD, card)
    return COMMAND.format(network=shlex.quote(str(folder / NETWORK)))


def _recalls(
    label: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[Mapping[str, object]]:
    """Counts, of each class, its pictures in the tests and which part of them was right."""
    recalls = []
    for place, name in enumerate(classes):
        own = label == place
        recall = float((predicted == label)[own].mean()) if own.any() else None
        recalls.append({"name": name, "images": int(own.sum()), "recall": recall})
    return recalls
