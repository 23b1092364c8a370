import os

import pytest
from support.refusals import refuses

from transfer_keras.config import make_experiment, memory
from transfer_keras.experiments import grouping
from transfer_keras.experiments.data import open_tasks


def memory_limit(**settings):
    return grouping.memory_limit(make_experiment(["A3B"], **settings).execution)


@pytest.fixture(autouse=True)
def asked_anew():
    memory.gpu_memory.cache_clear()
    yield
    memory.gpu_memory.cache_clear()


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Puts a stand-in for NVIDIA's tool first on the path."""

    def install(script):
        path = tmp_path / "nvidia-smi"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")

    return install


def test_memory_is_at_most_the_machines():
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < memory.process_memory() <= pages


def test_memory_of_the_smallest_gpu(driver):
    driver("echo 81559; echo 24564")
    assert memory.gpu_memory() == 24564 * 2**20
    assert memory_limit() == 24564 / 2**11
    assert memory_limit(group_memory=3.0) == 3.0
    assert memory_limit(devices="cpu:2") == memory.process_memory() / 2**31


@pytest.mark.parametrize("script", ["exit 9", "echo no devices were found"])
def test_no_gpu(driver, script):
    driver(script)
    assert memory.gpu_memory() is None
    assert memory_limit() == memory.process_memory() / 2**31


def test_no_driver(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert memory.gpu_memory() is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"image_size": 30_000}, r"--batch_size=64: with 30000 pixels a side and 2 classes, base"),
        ({"batch_size": 10**7}, r"--batch_size=10000000: with 32 pixels a side"),
    ],
)
def test_what_no_machine_holds_is_refused_before_data_are_prepared(tmp_path, settings, message):
    experiment = make_experiment(["A3B"], data_dir=str(tmp_path), devices="cpu:1", **settings)
    with refuses(tmp_path, message, "Give a smaller --batch_size or --image_size"):
        open_tasks(experiment)


def test_outputs_count_too(tmp_path):
    experiment = make_experiment(["A3B"], devices="cpu:1")
    grouping.check_memory(experiment, 10_000)
    with refuses(tmp_path, r"and 100,000,000,000 classes, baseA takes at least [\d,.]+ GiB, and"):
        grouping.check_memory(experiment, 10**11)


def test_memory_that_another_machine_has(driver):
    """Of a batch on GPUs it is not known by how many it is divided."""
    driver("echo 20000")
    experiment = make_experiment(["A3B"], batch_size=10**7)
    grouping.check_memory(experiment)
    driver("exit 1")
    memory.gpu_memory.cache_clear()
    grouping.check_memory(experiment.replace(group_memory=1e6))
