"""The network that is recommended, as a file, and the card that says what it is."""

import json
import pathlib
from collections.abc import Mapping, Sequence

import keras
import numpy as np
from scipy import stats

from transfer_keras import results
from transfer_keras.config import Experiment, render_template

NETWORK, CLASSES, CARD = "best.keras", "classes.json", "MODEL_CARD.md"
USE = """\
import json, keras, numpy
network, classes = keras.saving.load_model({network}), json.load(open({classes}))
picture = keras.utils.load_img("picture.jpg", target_size=({size}, {size}), \
interpolation="bilinear", keep_aspect_ratio=True)
print(classes[network.predict(numpy.array(picture)[None]).argmax()])"""


def write(
    folder: pathlib.Path,
    workdir: pathlib.Path,
    treatment: str,
    experiment: Experiment,
    *,
    classes: Sequence[str],
    training_images: int,
    advice: str,
    compared: int,
    others: Sequence[float],
) -> str:
    """Writes `best.keras`, `classes.json` and `MODEL_CARD.md` to a folder.

    Args:
        folder: to write to.
        workdir: where the network is.
        treatment: its name there.
        experiment: what it belongs to.
        classes: names, in the order of its outputs.
        training_images: how many it was trained on.
        advice: what the study found, in words.
        compared: how many networks it is the best of.
        others: top-1 of the networks of the same treatment, one a seed, itself included.

    Returns:
        The lines of Python that load and use it from here; those in the card do so beside it.
    """
    model = keras.saving.load_model(results.network_path(workdir, treatment), compile=False)
    chances = keras.layers.Softmax(dtype="float32", name="probabilities")(model.output)
    size = model.input_shape[1]
    with results.whole(folder / NETWORK) as partial:
        keras.Model(model.input, chances, name=f"{model.name}_best").save(partial)
    results.write_text(folder / CLASSES, json.dumps(list(classes), ensure_ascii=False) + "\n")
    row = results.read_row(workdir, treatment)
    label, predicted = results.read_answers(workdir, treatment)
    own = any(type(layer).__module__.startswith("transfer_keras") for layer in model.layers)

    def use(*paths: object) -> str:
        network, names = (json.dumps(str(path), ensure_ascii=False) for path in paths)
        imports = "import transfer_keras.surgery, transfer_keras.networks.alexnet\n" if own else ""
        return imports + USE.format(network=network, classes=names, size=size)

    card = render_template(
        "advice",
        CARD,
        row=row,
        experiment=experiment,
        settings=experiment.identity,
        size=size,
        unit=experiment.architecture.units[row.n - 1].name if row.n else None,
        interval=accuracy_interval(label == predicted),
        recalls=_recalls(label, predicted, classes),
        training_images=training_images,
        advice=advice,
        compared=compared,
        others=others,
        use=use(NETWORK, CLASSES),
        versions=results.read_experiment(workdir)["versions"],
    )
    results.write_text(folder / CARD, card)
    return use(folder / NETWORK, folder / CLASSES)


def accuracy_interval(right: np.ndarray) -> tuple[float, float]:
    """95 % interval of an accuracy over images, after Wilson (1927).

    Args:
        right: bool (images,).
    """
    test = stats.binomtest(int(right.sum()), right.size)
    interval = test.proportion_ci(0.95, method="wilson")
    return interval.low, interval.high


def _recalls(
    label: np.ndarray, predicted: np.ndarray, classes: Sequence[str]
) -> list[Mapping[str, object]]:
    """Of each class, how many pictures it has in the tests and which part of them was right."""
    found = []
    for place, name in enumerate(classes):
        mine = label == place
        found.append(
            {
                "name": name,
                "images": int(mine.sum()),
                "recall": float((predicted == label)[mine].mean()) if mine.any() else None,
            }
        )
    return found
