"""Two processes train one network together, over loopback."""

import json
import re
import signal
import socket
import time

import keras
import numpy as np
import pytest

from transfer_keras.config import UserError, launch, make_experiment
from transfer_keras.experiments.devices import use_devices
from transfer_keras.results import Workdir

EVERYONE = ("baseB", "B2B", "B2B+")
FLAGS = ["--dataset=formula_images/4x100x32", "--validations=2", "--optimizer=sgd",
         "--learning_rate=0.001", "--network=alexnet_small", "--keep_features=never"]  # fmt: skip
ALL = ["--n=2", "--mode=frozen,fine_tune", "--source=self"]
SHORT = [*ALL, "--steps=5"]
LONG = [*ALL, "--steps=30", "--metrics_every=0", "--checkpoint_every=0"]
BASE = ["--treatments=baseB", "--steps=1000", "--metrics_every=0", "--checkpoint_every=0"]
# Five steps in float32, whose sums are cut in two.
TOLERANCE = 1e-4


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def starter(program):
    def start(workdir, *flags, cluster=None):
        return program.start(
            "-m", "transfer_keras.train", *FLAGS, f"--workdir={workdir}", *flags, merge=True,
            environment={"TF_CONFIG": json.dumps(cluster)} if cluster else None,
        )  # fmt: skip

    return start


@pytest.fixture
def start(program):
    """Starts a short training in a workdir, alone or as one of a cluster."""
    return starter(program)


def start_workers(start, workdirs, *flags):
    """Starts one training on two workers of this machine, each with its workdir."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    return [
        start(workdir, *flags, cluster={
            "cluster": {"worker": workers}, "task": {"type": "worker", "index": k},
        })
        for k, workdir in enumerate(workdirs)
    ]  # fmt: skip


@pytest.fixture
def start_two(start):
    """Starts one training on two workers that share a workdir."""

    def start_two(workdir, *flags):
        return start_workers(start, [workdir, workdir], *flags)

    return start_two


def wait(*processes, status=0):
    try:
        outputs = [process.communicate(timeout=240)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    for process, output in zip(processes, outputs, strict=True):
        assert process.returncode == status, output[-3000:]
    return outputs


def networks(workdir):
    return {name: keras.saving.load_model(Workdir(workdir).network_path(name)) for name in EVERYONE}


@pytest.mark.slow
def test_equals_one_process(start, start_two, tmp_path):
    """Weights, test scores, and that nobody but the first writes; measured units or not."""
    first, second = wait(*start_two(tmp_path / "two", *SHORT, "--metrics_every=3"))
    wait(start(tmp_path / "one", *SHORT, "--metrics_every=0"))
    wait(start(tmp_path / "mirrored", *SHORT, "--metrics_every=0", "--devices=cpu:2"))
    assert "2 machines, this one (worker:0) with the CPU" in first
    assert "batches of 32 = 2 x 16" in first
    assert second.splitlines()[-1].startswith("Done; the first machine has written the results")
    one, two, mirrored = (networks(tmp_path / x) for x in ("one", "two", "mirrored"))
    for name in EVERYONE:
        values = zip(two[name].weights, one[name].weights, mirrored[name].weights, strict=True)
        for value, expected, same in values:
            np.testing.assert_allclose(value.numpy(), expected.numpy(), atol=TOLERANCE)
            assert np.array_equal(value.numpy(), same.numpy())  # The same sums, over sockets.
        rows = [Workdir(tmp_path / folder).row(name) for folder in ("two", "one")]
        assert rows[0].loss == pytest.approx(rows[1].loss, abs=10 * TOLERANCE)
        assert rows[0].test_images == rows[1].test_images == 40
        for folder in ("one", "two"):  # One writer's events.
            assert len(list((tmp_path / folder / name).glob("events*"))) == 1


@pytest.fixture(scope="module")
def quiet(module_program, tmp_path_factory):
    """Runs a long training on two workers that nothing disturbs."""
    folder = tmp_path_factory.mktemp("quiet")
    wait(*start_workers(starter(module_program), [folder, folder], *LONG))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("lost", [0, 1])
def test_a_worker_is_lost_and_the_restart_equals_an_undisturbed_run(
    start_two, quiet, tmp_path, lost
):
    broken = tmp_path / "broken"
    processes = start_two(broken, *LONG)
    _until_checkpoint(broken, "B2B", processes)
    processes[lost].send_signal(signal.SIGKILL)
    (output,) = wait(processes[1 - lost], status=launch.LOST)
    assert output.splitlines()[-1].startswith("Another machine of this training is gone")
    assert "Run the same command on all of them again" in output
    processes[lost].communicate()
    outputs = wait(*start_two(broken, *LONG))
    assert "Going on with" in outputs[0]
    undisturbed = networks(quiet)
    for name, network in networks(broken).items():
        for value, expected in zip(network.weights, undisturbed[name].weights, strict=True):
            assert np.array_equal(value.numpy(), expected.numpy())


@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_signal_to_one_ends_both_workers(start_two, tmp_path, who):
    processes = start_two(tmp_path / "w", *BASE)
    _until_checkpoint(tmp_path / "w", "baseB", processes)
    processes[who].send_signal(signal.SIGTERM)
    (output,) = wait(processes[who], status=launch.STOPPED)
    assert output.splitlines()[-1].startswith("Stopped at step")
    (output,) = wait(processes[1 - who], status=launch.LOST)
    assert output.splitlines()[-1].startswith("Another machine of this training is gone")


def test_a_workdir_that_is_not_shared_is_refused(start, tmp_path):
    (tmp_path / "b").mkdir()
    processes = start_workers(start, [tmp_path / "a", tmp_path / "b"], *BASE)
    (output,) = wait(processes[1], status=2)
    assert "what the first machine wrote there cannot be seen from this one" in output
    wait(processes[0], status=launch.LOST)


def _until_checkpoint(workdir, first, processes):
    """Waits until the group that begins with a treatment has a checkpoint."""
    end = time.monotonic() + 200
    while time.monotonic() < end:
        assert all(process.poll() is None for process in processes)
        if list(workdir.glob(f"checkpoints/{first}*/[0-9]*.safetensors")):
            return
        time.sleep(0.01)
    raise AssertionError("no checkpoint")


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "--strategy=multi_worker: TF_CONFIG is not set."),
        ("{", "TF_CONFIG: cannot be read"),
        ("[" * 100_000, "TF_CONFIG: cannot be read"),
        ("[]", "TF_CONFIG: has no cluster."),
        ('{"cluster": {"worker": ["a:1", "b:2"]}}', "TF_CONFIG: has no task."),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
         "TF_CONFIG: task worker:1 is none of worker:0."),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": "0"}}',
         'TF_CONFIG: the task\'s index is "0", expected a number.'),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": true}}',
         "TF_CONFIG: the task's index is true, expected a number."),
        ('{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
         'TF_CONFIG: "a" is no address. Give HOST:PORT.'),
        ('{"cluster": {"worker": ["a:70000"]}, "task": {"type": "worker", "index": 0}}',
         'TF_CONFIG: "a:70000" is no address.'),
        ('{"cluster": {"worker": [7]}, "task": {"type": "worker", "index": 0}}',
         "TF_CONFIG: 7 is no address."),
        ('{"cluster": {"worker": "a:1"}, "task": {"type": "worker", "index": 0}}',
         'TF_CONFIG: worker is "a:1", expected a list of addresses.'),
        ('{"cluster": {"worker": ["a:1", "a:1"]}, "task": {"type": "worker", "index": 0}}',
         "TF_CONFIG: names an address twice."),
    ],
)  # fmt: skip
def test_bad_configurations(monkeypatch, config, message):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    if config:
        monkeypatch.setenv("TF_CONFIG", config)
    asked = make_experiment(["baseB"], strategy="multi_worker")
    with pytest.raises(UserError, match=f"^{re.escape(message)}"):
        use_devices(asked.training, asked.execution)


def test_a_bad_configuration_is_one_line_and_nothing_is_written(start, tmp_path, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", "{")
    (output,) = wait(start(tmp_path / "w", "--strategy=multi_worker"), status=2)
    assert output.splitlines()[-1].startswith("train: TF_CONFIG: cannot be read")
    assert "Traceback" not in output
    assert not (tmp_path / "w").exists()
