"""Several devices, played by the CPU, compute what one does."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.paths import ROOT

from transfer_keras.training import replicas

SCRIPT = ROOT / "tests" / "support" / "on_devices.py"
# Tolerances of twenty steps of a small network: sums are added in another order.
FLOAT64, FLOAT32 = 1e-12, 1e-5


# Of each process: its devices, and the folders of its trainings. A training has where it runs, its
# type, and the step to stop at; another one in its folder goes on from there.
ONE, ALL = "one", "all"
PROCESSES = [
    (2, {
        "one": [(ONE, "float64")],
        "two": [(ALL, "float64")],
        "1 then 2": [(ONE, "float64", "stop=12"), (ALL, "float64")],
    }),
    (2, {
        "one float32": [(ONE, "float32")],
        "2 then 1": [(ALL, "float64", "stop=12"), (ONE, "float64")],
        "one more": [(ONE, "float64", "more")],
        "two more": [(ALL, "float64", "more")],
        "more from 4": [(ONE, "float64", "stop=4", "more"), (ALL, "float64", "more")],
        "more from 8": [(ONE, "float64", "stop=8", "more"), (ALL, "float64", "more")],
    }),
    (2, {
        "plain": [(ALL, "float32", "plain")],
        "plain by Keras": [(ALL, "float32", "plain", "by_keras")],
    }),
    (4, {"four": [(ALL, "float64")], "four float32": [(ALL, "float32")]}),
]  # fmt: skip


@pytest.fixture(scope="module")
def trained(module_program, tmp_path_factory):
    """Gives a function from a folder's name to its numbers; the first one runs its process."""
    root = tmp_path_factory.mktemp("trained")

    def run(devices, folders):
        arguments = []
        for name, trainings in folders.items():
            (root / name).mkdir()
            arguments += [
                ",".join([where, dtype, str(root / name), *more])
                for where, dtype, *more in trainings
            ]
        done = module_program(str(SCRIPT), f"{devices}", *arguments)
        assert done.returncode == 0, done.stderr[-3000:]

    def numbers(name):
        path = root / name / "numbers.npz"
        if not path.exists():
            run(*next(process for process in PROCESSES if name in process[1]))
        with np.load(path) as arrays:
            return dict(arrays)

    return numbers


def assert_alike(numbers, expected, tolerance):
    assert numbers.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(
            numbers[name], value, rtol=tolerance, atol=tolerance, err_msg=name
        )


@pytest.fixture(scope="module")
def one(trained):
    return trained("one")


def test_one_device_trains_at_all(one):
    """Without this an equality of numbers would prove nothing."""
    kinds = {name.split()[0] for name in one}
    assert kinds >= {"training", "test", "gradients", "activations", "one", "two", "all"}
    assert not np.allclose(one["one weight 2"], one["two weight 2"])
    assert one["gradients 20"].min() > 0
    assert len(one["all label"]) == 53


@pytest.mark.parametrize("name", ["two", pytest.param("four", marks=pytest.mark.slow)])
def test_equals_one_device(trained, one, name):
    """Compares weights, scores, predictions, gradients and activations; with dropout and decay."""
    assert_alike(trained(name), one, FLOAT64)


@pytest.mark.slow
def test_float32(trained):
    expected = trained("one float32")
    assert expected["one weight 0"].dtype == np.float32
    assert_alike(trained("four float32"), expected, FLOAT32)


@pytest.mark.parametrize("name", ["1 then 2", pytest.param("2 then 1", marks=pytest.mark.slow)])
def test_a_checkpoint_goes_on_with_other_devices(trained, one, name):
    assert_alike(trained(name), after(12, one), FLOAT64)


@pytest.mark.slow
def test_networks_with_a_warm_up_end_early(trained):
    one_more = trained("one more")
    ends = {name: one_more[f"{name} ended"].tolist() for name in ("one", "two", "all")}
    assert ends == {"one": [2, 6], "two": [4, 8], "all": [8, 12]}  # Else equality says little.


@pytest.mark.slow
def test_learning_rates_class_weights_and_early_stopping_equal_one_device(trained):
    """There is a warm-up too."""
    assert_alike(trained("two more"), trained("one more"), FLOAT64)


@pytest.mark.slow
@pytest.mark.parametrize("step", [4, 8])
def test_they_go_on_with_other_devices(trained, step):
    """Goes on in the warm-up, and when two networks are done."""
    assert_alike(trained(f"more from {step}"), after(step, trained("one more")), FLOAT64)


def after(step: int, numbers: dict) -> dict:
    """Selects what was recorded after a step, and the results."""
    return {name: value for name, value in numbers.items() if _step(name) > step}


def _step(name: str) -> float:
    kind, step, *_ = [*name.split(), ""]
    recorded = kind in ("training", "test", "gradients", "activations")
    return int(step) if recorded else math.inf


@pytest.mark.slow
def test_batch_norm_by_the_fused_kernel_on_several_devices(trained):
    """With the statistics of each device, against what Keras computes there."""
    plain, by_keras = trained("plain"), trained("plain by Keras")
    assert_alike(plain, by_keras, FLOAT32)
    moved = [name for name in plain if "all weight" in name and plain[name].shape == (4,)]
    assert len(moved) == 5, "scale, shift and two statistics, and a bias"
    assert any(not np.array_equal(plain[name], by_keras[name]) for name in plain), "both by Keras"


def test_distribute_gives_each_process_its_rows_in_order():
    """One device gets the whole batch."""
    rows = tf.data.Dataset.from_tensor_slices((tf.range(12), tf.range(12)))
    contexts = []

    def stream(context):
        contexts.append(context)
        return rows.batch(6)

    batches = [
        x.numpy().tolist() for x, _ in replicas.distribute(tf.distribute.get_strategy(), stream)
    ]
    assert batches == [list(range(6)), list(range(6, 12))]
    (context,) = contexts
    assert (context.input_pipeline_id, context.num_input_pipelines) == (0, 1)
    assert context.num_replicas_in_sync == 1


def test_dropout_is_unchanged_on_one_device():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))
    with replicas.masks_of_whole_batch(model, tf.distribute.get_strategy()) as dropouts:
        assert dropouts == []
        assert type(model.layers[1]) is keras.layers.Dropout
