"""Opens a classifier, and asks it about pictures in files."""

import concurrent.futures
import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf

# The layers that a network may have are known to Keras once these are imported.
from transfer_keras import networks
from transfer_keras.config import UserError
from transfer_keras.datasets import find_file_fault, find_large_picture, shorten_error
from transfer_keras.deployment.network_file import NetworkFacts, read_facts


class Prediction(NamedTuple):
    """What a network says of a picture.

    Attributes:
        path: of its file.
        label: the most probable class; None if it cannot be read.
        probabilities: float32 (classes,); None if it cannot be read.
        fault: why it cannot be read.
    """

    path: str
    label: str | None
    probabilities: np.ndarray | None
    fault: str | None = None


class Classifier:
    """A network with what is needed to use it.

    Args:
        model: pixels 0..255, float or uint8 (batch, image_size, image_size, 3) -> probabilities.
        facts: of it.
    """

    def __init__(self, model: keras.Model, facts: NetworkFacts):
        self.model, self.facts = model, facts
        preprocessing = facts.make_preprocessing()

        @tf.function(input_signature=[tf.TensorSpec([], tf.string)])
        def read(path):
            encoded = tf.io.read_file(path)
            if preprocessing.kind == "paper":
                stored = preprocessing.store(preprocessing.decode(encoded))
                return preprocessing.centre(stored[None])[0]
            return preprocessing.view(encoded)

        self._read = read

    def read(self, path: str) -> np.ndarray:
        """Reads a picture as the network takes it.

        Args:
            path: of its file.

        Returns:
            uint8 (image_size, image_size, 3).

        Raises:
            tf.errors.OpError: if it cannot be read.
        """
        return self._read(os.fsencode(path)).numpy()

    def predict(self, paths: Sequence[str], *, batch_size: int = 32) -> Iterator[Prediction]:
        """Asks about pictures, in their order.

        Args:
            paths: of the files.
            batch_size: so many are asked about at once; fewer are filled up with black pictures, so
                that what is said of a picture does not depend on how many there are.
        """
        blank = np.zeros([self.facts.image_size] * 2 + [3], np.uint8)
        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            for begin in range(0, len(paths), batch_size):
                batch = paths[begin : begin + batch_size]
                seen = list(pool.map(self._try_to_read, batch))
                images = [blank if isinstance(one, str) else one for one in seen]
                images += [blank] * (batch_size - len(images))
                answers = self.model.predict_on_batch(np.stack(images))
                for path, one, answer in zip(batch, seen, answers, strict=False):
                    if isinstance(one, str):
                        yield Prediction(path, None, None, one)
                    else:
                        yield Prediction(path, self.facts.classes[answer.argmax()], answer)

    def _try_to_read(self, path: str) -> np.ndarray | str:
        """Reads a picture, or says why it cannot be read."""
        try:
            if fault := find_file_fault(path):
                return fault
            return self.read(path)
        except OSError as error:
            return f"cannot be read ({error.strerror})"
        except tf.errors.OpError as error:
            fault = find_large_picture(pathlib.Path(path).read_bytes())
            return fault or f"cannot be read ({shorten_error(error)})"


def open_classifier(path: str | os.PathLike, *, custom_objects: str | None = None) -> Classifier:
    """Opens a network that `save_classifier` wrote; no code in it is run.

    Args:
        path: of the file.
        custom_objects: module, or path of a .py file, with classes that the network has and that
            are not Keras's own; it is imported.

    Raises:
        UserError: if it is none, or is damaged, or the module cannot be imported.
    """
    path = pathlib.Path(path)
    facts = read_facts(path)
    if custom_objects:
        networks.import_custom_objects(custom_objects)
    try:
        model = networks.open_file(path, "Make it anew by advise", custom_objects=custom_objects)
    except UserError as error:
        raise UserError(f"--network={error}") from error
    if model.output_shape[-1] != len(facts.classes):
        raise UserError(
            f"--network={path}: is damaged: {model.output_shape[-1]} outputs, and "
            f"{len(facts.classes)} names of classes. Make it anew by advise."
        )
    return Classifier(model, facts)
