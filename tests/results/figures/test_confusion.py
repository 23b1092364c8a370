import io

import numpy as np
import pytest
from PIL import Image

from transfer_keras.results.figures import confusion


def test_fractions_by_hand():
    label = np.array([0, 0, 0, 0, 1, 1])
    predicted = np.array([0, 2, 2, 1, 1, 1])
    expected = [[0.25, 0.25, 0.5], [0, 1, 0], [0, 0, 0]]  # No image of the last class.
    assert confusion.fractions(label, predicted, 3).tolist() == expected


@pytest.mark.parametrize("classes", [2, 60, 500])
def test_picture(classes):
    names = [f"a $very\\bad{{ name$ <b> {number}" for number in range(classes)]
    label = np.arange(classes)
    shown = confusion.draw(label, label, names, title="A3B")
    assert min(Image.open(io.BytesIO(shown)).size) > 300
