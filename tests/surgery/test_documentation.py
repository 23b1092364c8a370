"""The examples in the package's docstring run as they stand."""

import re

import keras
import numpy as np

from transfer_keras import surgery


def test_examples(capsys):
    examples = re.findall(r"```python\n(.*?)```", surgery.__doc__, re.DOTALL)
    assert len(examples) == 4
    rng = np.random.default_rng(0)
    names = {
        "keras": keras,
        "surgery": surgery,
        "images": rng.uniform(-1, 1, (4, 64, 64, 3)).astype(np.float32),
        "labels": rng.integers(0, 2, 4),
    }
    for example in examples:
        exec(example, names)
    printed = capsys.readouterr().out
    assert "predictions" in printed
    assert re.search(r"^ *14  conv_13 .*\n *15  head", printed, re.MULTILINE)
    assert "copied  frozen" in printed
    assert "fresh   trainable" in printed
    assert names["model"].output.shape == (None, 7)
    assert names["shape"].output.shape == (None, 5)
    assert [layer.trainable for layer in names["shape"].layers].count(True) == 2  # head, input
