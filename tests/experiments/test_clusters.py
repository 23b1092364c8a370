"""A study on two Ray nodes of this machine, one of which dies; and as arrays of Slurm."""

import contextlib
import importlib.util
import ipaddress
import json
import os
import pathlib
import re
import subprocess
import sys
import time

import pytest

from transfer_keras.results import Workdir

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="needs pip install 'transfer_keras[cluster]'"
)

FLAGS = ["--dataset=formula_images/4x100x32", "--n=2", "--mode=frozen", "--target=B",
         "--group_size=1", "--validations=2", "--batch_size=8", "--group_memory=1"]  # fmt: skip
SMALL, FEW = ["--source=self", "--steps=3"], ("baseB", "B2B")
WIDE, EVERYONE = ["--source=other", "--steps=100"], ("baseA", "baseB", "A2B")


@pytest.fixture
def sweep(program):
    """Starts a study in a folder."""

    def start(folder, *arguments, study=SMALL, **settings):
        command = ["-m", "transfer_keras.sweep", *FLAGS, *study, f"--workdir={folder}", *arguments]
        of_ray = any(argument.startswith("--cluster=ray") for argument in arguments)
        return program.start(*command, merge=True, **{"fresh": of_ray} | settings)

    return start


def wait(process, status=0):
    try:
        output, _ = process.communicate(timeout=300)
    finally:
        process.kill()
    assert process.returncode == status, output[-3000:]
    return output


def rows(workdir, names):
    """Gives all values that do not depend on the clock, by network."""
    values = {}
    for name in names:
        row = json.loads((workdir / name / "row.json").read_text())
        values[name] = {key: value for key, value in row.items() if key != "seconds"}
    return values


@pytest.fixture
def secret(tmp_path):
    """Gives Ray's own variables: a token that no other cluster has."""
    path = tmp_path / "token"
    path.write_text("of-this-test-and-no-other-cluster")
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def children(process: int) -> set[int]:
    """Finds all processes below one, which is among them."""
    parents = {}
    for entry in pathlib.Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(entry.parent.name)] = int(fields[1])
    below = {process}
    while more := {child for child, parent in parents.items() if parent in below} - below:
        below |= more
    return below


@pytest.mark.slow
def test_a_node_dies_and_the_study_ends_as_if_it_had_not(sweep, tmp_path, secret, monkeypatch):
    """The group goes on from its checkpoint on the other node; all rows equal a plain run's."""
    for name, value in secret.items():
        monkeypatch.setenv(name, value)
    from ray.cluster_utils import Cluster

    folder, plain = tmp_path / "study", tmp_path / "plain"
    wait(sweep(plain, study=WIDE))
    workdir = folder / "split0-seed0"
    node = {
        "num_cpus": 1,
        "memory": 4 * 2**30,
        "include_dashboard": False,
        "object_store_memory": 80 * 2**20,
    }
    cluster = Cluster(initialize_head=True, head_node_args=node)
    try:
        doomed = cluster.add_node(num_cpus=1, memory=4 * 2**30, object_store_memory=80 * 2**20)
        cluster.wait_for_nodes()
        study = sweep(
            folder, f"--cluster=ray:{cluster.address}", "--checkpoint_every=0", study=WIDE
        )
        raylet = doomed.all_processes["raylet"][0].process.pid
        group = _group_with_checkpoint(workdir, raylet, study)
        cluster.remove_node(doomed, allow_graceful=False)
        output = wait(study)
    finally:
        cluster.shutdown()
    assert "2 machine(s); a group takes 1 CPU, 1.0 GiB." in output
    assert "3/3" in output
    assert Workdir(workdir).is_done(group)
    assert rows(workdir, EVERYONE) == rows(plain / "split0-seed0", EVERYONE)
    assert (folder / "report" / "report.html").exists()
    assert (workdir / "curve.png").exists()
    assert not list((workdir / "checkpoints").iterdir())


def _group_with_checkpoint(workdir: pathlib.Path, raylet: int, study) -> str:
    """Waits for the checkpoint of a group in training on that node; gives its first treatment."""
    end = time.monotonic() + 300
    while time.monotonic() < end and study.poll() is None:
        on_node = children(raylet)
        for lock in workdir.glob("checkpoints/*/.lock"):
            process = re.match(r"process (\d+)", lock.read_text())
            if (
                process
                and int(process[1]) in on_node
                and list(lock.parent.glob("[0-9]*.safetensors"))
            ):
                return json.loads((lock.parent / "group.json").read_text())[0]
        time.sleep(0.05)
    raise AssertionError(f"no group was met on the node: {study.communicate()[0][-3000:]}")


@pytest.mark.slow
def test_on_this_machine_alone(sweep, tmp_path, secret):
    """No address: a cluster of this machine, on loopback, with a token."""
    folder = tmp_path / "study"
    study = sweep(folder, "--cluster=ray", "--probes", environment=secret)
    addresses = set()
    while study.poll() is None and not list(folder.glob("*/baseB/row.json")):
        addresses |= listening(children(study.pid))
        time.sleep(0.2)
    output = wait(study)
    assert len(addresses) >= 1
    assert all(ipaddress.ip_address(address).is_loopback for address in addresses), addresses
    assert "1 machine(s)" in output
    by_network = rows(folder / "split0-seed0", FEW)
    assert all(row["probes"] for row in by_network.values())
    row = folder / "split0-seed0" / "B2B" / "row.json"
    written = row.stat().st_mtime_ns
    again = wait(sweep(folder, "--cluster=ray", "--probes", environment=secret))
    assert "All groups are on disk already." in again
    assert row.stat().st_mtime_ns == written


def listening(processes: set[int]) -> set[str]:
    """Finds the addresses at which processes wait for connections."""
    sockets = set()
    for process in processes:
        with contextlib.suppress(OSError):
            for link in pathlib.Path(f"/proc/{process}/fd").iterdir():
                with contextlib.suppress(OSError):
                    sockets.add(os.readlink(link))
    addresses = set()
    for table, size in (("tcp", 4), ("tcp6", 16)):
        for line in pathlib.Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and f"socket:[{fields[9]}]" in sockets:
                in_memory = bytes.fromhex(fields[1].partition(":")[0])
                packed = b"".join(in_memory[k : k + 4][::-1] for k in range(0, size, 4))
                address = ipaddress.ip_address(packed)
                addresses.add(str(getattr(address, "ipv4_mapped", None) or address))
    return addresses


def test_flags_that_do_not_go_together(sweep, tmp_path):
    for flag, message in (
        ("--cluster=rey", "expected ray, ray:ADDRESS or slurm"),
        ("--task=1", "--task and --cluster: give one."),
        ("--strategy=multi_worker", "--cluster and --strategy=multi_worker (or TF_CONFIG): give"),
        ("--cluster_gpus=1", "--cluster_gpus is for --cluster=ray."),
        ("--devices=cpu:2", "--cluster and --devices=cpu:2: the cluster chooses the devices."),
    ):
        assert message in wait(sweep(tmp_path / "b", "--cluster=slurm", flag, light=True), 2)
    assert not (tmp_path / "b" / "split0-seed0").exists()


def test_clusters_that_are_not_there(sweep, tmp_path, secret):
    """Ray itself is not asked."""
    study = sweep(tmp_path / "a", "--cluster=ray:127.0.0.1:1", environment=secret, fresh=False)
    last = wait(study, 2).splitlines()[-1]
    assert last.startswith("sweep: --cluster=ray:127.0.0.1:1: nothing answers")
    output = wait(sweep(tmp_path / "d", "--task=0"), 2)
    assert "slurm" in output.splitlines()[-1]
    assert not any((tmp_path / name / "split0-seed0").exists() for name in "ad")


@pytest.mark.slow
def test_clusters_that_do_not_suffice(sweep, tmp_path, secret):
    study = sweep(tmp_path / "c", "--cluster=ray", "--group_memory=1e6", environment=secret)
    assert "no machine of the cluster has a CPU and so many GiB" in wait(study, 2).splitlines()[-1]
    output = wait(sweep(tmp_path / "c", "--cluster=ray", "--cluster_gpus=3", environment=secret), 2)
    assert "--cluster_gpus=3: no machine has so many" in output
    assert not (tmp_path / "c" / "split0-seed0").exists()


SBATCH = r'''#!{python}
"""A Slurm that runs an array's tasks at once, the dependencies having ended."""
import os, subprocess, sys
arguments = dict(word.lstrip("-").partition("=")[::2] for word in sys.argv[1:] if "=" in word)
with open({log!r}, "a") as log:
    log.write(" ".join(sys.argv[1:-1]) + "\n")
first, _, last = arguments.get("array", "0").partition("-")
for number in range(int(first), int(last or first) + 1):
    environment = {{**os.environ, "SLURM_ARRAY_TASK_ID": str(number)}}
    subprocess.run(["sh", "-c", sys.argv[-1]], check=True, env=environment, stdout=sys.stderr)
print(len(open({log!r}).readlines()))
'''


@pytest.mark.slow
def test_slurm_script(sweep, tmp_path):
    """The script, run by a stand-in for sbatch, trains bases, then treatments, and reports."""
    folder, log, bin_ = tmp_path / "study", tmp_path / "log", tmp_path / "bin"
    output = wait(sweep(folder, "--cluster=slurm"))
    assert output.splitlines()[-1] == f"Submit it: bash {folder / 'slurm.sh'}"
    for number, group in enumerate(FEW):
        assert f"# {number}: split 0, seed 0: {group}" in output
    bin_.mkdir()
    sbatch = bin_ / "sbatch"
    sbatch.write_text(SBATCH.format(python=sys.executable, log=str(log)))
    sbatch.chmod(0o755)
    environment = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "OPTIONS": "--gpus=1"}
    done = subprocess.run(
        ["bash", str(folder / "slurm.sh")], env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    jobs = log.read_text().splitlines()
    assert [re.search(r"--array=(\S+)", job) and re.search(r"--array=(\S+)", job)[1] for job in jobs
            ] == ["0-0", "1-1", None]  # fmt: skip
    assert "--dependency=afterok:1" in jobs[1]
    assert "--dependency=afterany:2" in jobs[2]
    assert all("--gpus=1" in job for job in jobs)
    assert Workdir(folder / "split0-seed0").done == sorted(FEW)
    assert (folder / "report" / "report.html").exists()


def test_a_task_needs_its_bases(sweep, tmp_path):
    """Two bases are one array, before that of the treatments."""
    folder = tmp_path / "study"
    output = wait(sweep(folder, "--cluster=slurm", study=WIDE))
    for number, group in enumerate(EVERYONE):
        assert f"# {number}: split 0, seed 0: {group}" in output
    assert re.findall(r"--array=(\S+)", output) == ["0-1", "2-2"]
    output = wait(sweep(folder, "--task=2", study=WIDE), 2)
    assert "needs baseA, baseB, which is not in" in output.splitlines()[-1]
    output = wait(sweep(folder, "--task=3", study=WIDE), 2)
    assert "--task=3: the study has 3 groups, from 0 on." in output
