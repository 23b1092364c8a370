"""The examples in the docstrings of the package and of its functions run as they stand."""

import doctest
import re

import keras
import numpy as np
import pytest

from transfer_keras import surgery

HAVE_EXAMPLES = {
    "GradualUnfreezing", "assert_unchanged", "below", "extract", "flatten", "freeze", "fuse",
    "insert", "layerwise_decay", "logits", "lower", "merge_lora", "outputs", "replace",
    "set_trainable", "snapshot", "swap_head", "transplant", "unfreeze", "unit_learning_rates",
    "units", "upper", "with_channels", "with_input",
}  # fmt: skip


@pytest.mark.slow
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


@pytest.mark.parametrize("name", surgery.__all__)
def test_examples_of_functions(name):
    names = {"keras": keras, "np": np, "surgery": surgery}
    # What the package exports is defined in its modules, which the finder would leave out.
    documented = doctest.DocTestFinder().find(getattr(surgery, name), name, False, globs=names)
    runner = doctest.DocTestRunner()
    tried = sum(runner.run(test).attempted for test in documented)
    assert tried or name not in HAVE_EXAMPLES
    assert runner.failures == 0


def test_every_function_of_the_list_is_exported():
    assert set(surgery.__all__) >= HAVE_EXAMPLES
