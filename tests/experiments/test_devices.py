"""The flags for devices, precision and strategy, as the program takes them."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf

from transfer_keras.config import WorkerLost, make_experiment
from transfer_keras.experiments.devices import Devices, report_lost_workers, use_devices
from transfer_keras.results import Workdir

FLAGS = ["--dataset=formula_images/4x100x32", "--steps=4", "--validations=2", "--batch_size=8",
         "--metrics_every=0"]  # fmt: skip


@pytest.fixture
def train(program):
    """Runs a short training; gives the lines of its output, or of its errors if it fails."""

    def run(workdir, *flags, status=0, light=False):
        command = ["-m", "transfer_keras.train", *FLAGS, f"--workdir={workdir}", *flags]
        done = program(*command, light=light)
        assert done.returncode == status, done.stderr[-3000:]
        return (done.stderr if status else done.stdout).splitlines()

    return run


@pytest.mark.parametrize(
    ("flags", "light", "message"),
    [
        (["--devices=cpu:3"], False,
         "--batch_size=8: does not divide by 3 devices (3 logical devices of the CPU). Give 6 or "
         "9, or other --devices."),
        (["--devices=cpu:16"], False,
         "--batch_size=8: does not divide by 16 devices (16 logical devices of the CPU). Give 16, "
         "or other --devices."),
        (["--devices=0"], False,
         "--devices=0: there is no GPU 0; TensorFlow finds 0. Leave --devices out, or give cpu:2 "
         "to try two devices on the CPU."),
        (["--devices=two"], True,
         "--devices=two: expected numbers of GPUs, as 0 or 0,2, or cpu:2."),
        (["--devices=1,1"], True, "--devices=1,1: names a GPU twice."),
        (["--devices=cpu:2", "--strategy=multi_worker"], True,
         "--devices=cpu:2: is of one machine; see --strategy."),
        (["--devices=cpu:0"], True,
         "--devices=cpu:0: each device of the CPU holds the networks once more. Expected cpu:1 to "
         "cpu:64."),
    ],
)  # fmt: skip
@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="says what a CPU says")
def test_impossible_devices_are_refused(train, tmp_path, flags, light, message):
    """Before TensorFlow is imported, where it need not be asked."""
    assert train(tmp_path / "w", *flags, status=2, light=light)[-1] == f"train: {message}"
    assert not (tmp_path / "w").exists()


@pytest.mark.slow
def test_one_device_and_then_several_in_the_same_workdir(train, tmp_path):
    """The first line names them."""
    one = ["--treatments=baseB", "--strategy=one", "--devices=cpu:4"]
    lines = train(tmp_path / "w", *one)
    assert "Runs on 1 logical devices of the CPU, batches of 8, float32." in lines
    lines = train(tmp_path / "w", "--treatments=B3B", "--devices=cpu:2")
    assert "On disk already, not trained again: baseB" in lines
    assert "Runs on 2 logical devices of the CPU, batches of 8 = 2 x 4, float32." in lines


@pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="says what a CPU says")
def test_the_cpu_by_default_and_a_compiled_step(train, tmp_path):
    flags = ["--treatments=baseB", "--precision=mixed_bfloat16", "--jit_compile"]
    expected = (
        f"Runs on the CPU ({os.cpu_count()} cores), batches of 8, mixed_bfloat16, compiled by XLA."
    )
    assert expected in train(tmp_path / "w", *flags)


def test_bfloat16_computes_in_it_and_stores_float32(train, tmp_path):
    train(tmp_path / "w", "--treatments=baseB", "--precision=mixed_bfloat16", "--devices=cpu:2")
    network = keras.saving.load_model(Workdir(tmp_path / "w").network_path("baseB"))
    conv = network.get_layer("conv1")
    assert conv.compute_dtype == "bfloat16"
    assert {w.dtype for w in network.weights} == {"float32"}
    assert np.isfinite(Workdir(tmp_path / "w").row("baseB").loss)
    # Other numbers: another experiment.
    lines = train(tmp_path / "w", "--treatments=baseB", status=2, light=True)
    assert "precision is 'mixed_bfloat16' there, 'float32' here" in lines[-1]


def test_share_gives_what_the_chief_has():
    experiment = make_experiment(["A3B"])
    devices = use_devices(experiment.training, experiment.execution)
    assert devices.share(["A3B", 7]) == ["A3B", 7]
    assert (devices.workers, devices.replicas, devices.is_chief) == (1, 1, True)


@pytest.mark.parametrize("is_chief", [True, False])
def test_another_worker_may_be_gone_at_the_end_but_not_before(monkeypatch, is_chief):
    """It may end as soon as it has its sum, while this one still takes what it sent."""

    def socket_closed(devices, vector):
        raise tf.errors.UnavailableError(None, None, "CollectiveReduceV2: Socket closed /task:1")

    monkeypatch.setattr(Devices, "_sum", socket_closed)
    devices = Devices(tf.distribute.get_strategy(), 2, is_chief, "two machines")
    with pytest.raises(WorkerLost), report_lost_workers(devices):
        devices.share(None)
    devices.part()
