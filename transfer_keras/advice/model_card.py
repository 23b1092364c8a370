"""The network that is recommended, as a file, and the card that says what it is."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras
import numpy as np

from transfer_keras.advice.accuracy import ExpectedAccuracy
from transfer_keras.config import Experiment, render_template
from transfer_keras.results import TOP1, Workdir, measure_accuracy, write_text, write_whole

NETWORK, CLASSES, CARD = "best.keras", "classes.json", "MODEL_CARD.md"
USE = """\
import json, keras, numpy
from PIL import Image, ImageOps
network, classes = keras.saving.load_model({network}), json.load(open({classes}))
picture = {picture}
if picture.mode == "I;16":  # Grey, of 16 bits.
    picture = picture.point([value // 256 for value in range(2**16)], "L")
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
        measure: by which it was chosen; see `results.measure_accuracy`.
    """

    advice: str
    compared: int
    top1_by_seed: Sequence[float]
    expected: ExpectedAccuracy | None
    measure: str = TOP1


def write_network(folder: pathlib.Path, chosen: ChosenNetwork) -> pathlib.Path:
    """Writes `best.keras`, whose outputs are probabilities, and gives its path.

    Args:
        folder: to write to.
        chosen: the network.
    """
    model = keras.saving.load_model(chosen.workdir.network_path(chosen.treatment), compile=False)
    probabilities = keras.layers.Softmax(dtype="float32", name="probabilities")(model.output)
    with write_whole(folder / NETWORK) as partial:
        keras.Model(model.input, probabilities, name=f"{model.name}_best").save(partial)
    return folder / NETWORK


def write_card(folder: pathlib.Path, chosen: ChosenNetwork, selection: Selection) -> str:
    """Writes `classes.json` and `MODEL_CARD.md` beside `best.keras`.

    Args:
        folder: where `write_network` wrote it.
        chosen: the network.
        selection: how it was chosen.

    Returns:
        The lines of Python that load and use it from here; those in the card do so beside it.
    """
    workdir, experiment = chosen.workdir, chosen.experiment
    model = keras.saving.load_model(folder / NETWORK, compile=False)
    size = model.input_shape[1]
    write_text(folder / CLASSES, json.dumps(list(chosen.classes), ensure_ascii=False) + "\n")
    row = workdir.row(chosen.treatment)
    label, predicted = workdir.predictions(chosen.treatment)
    own = any(type(layer).__module__.startswith("transfer_keras") for layer in model.layers)

    def use(*paths: object) -> str:
        network, names = (json.dumps(str(path), ensure_ascii=False) for path in paths)
        imports = "import transfer_keras.surgery, transfer_keras.networks.alexnet\n" if own else ""
        picture = 'Image.open("picture.jpg")'
        if experiment.data.turns_pictures:
            picture = f"ImageOps.exif_transpose({picture})"
        return imports + USE.format(network=network, classes=names, size=size, picture=picture)

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
        use=use(NETWORK, CLASSES),
        versions=workdir.read_facts()["versions"],
    )
    write_text(folder / CARD, card)
    return use(folder / NETWORK, folder / CLASSES)


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
