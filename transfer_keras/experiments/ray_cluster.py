"""A study's groups on the machines of a Ray cluster."""

import contextlib
import os
import pathlib
import signal
import socket
from collections.abc import Callable, Sequence

import tqdm

from transfer_keras.config import Experiment, Group, UserError
from transfer_keras.experiments.devices import hide_gpus
from transfer_keras.experiments.group_task import (
    bases_before,
    begin_experiment,
    study_workdirs,
    train_group_task,
)
from transfer_keras.experiments.sweep import check_sweep_data
from transfer_keras.experiments.tensorboard import write_curve

_RETRIES = 20  # Of a group whose machine is lost.
_PATIENCE = 10  # Seconds, for a cluster that does not answer.
_LOOPBACK = "127.0.0.1"
_OBJECTS = 100 * 2**20  # Bytes that Ray sets aside for values; tasks here pass files.
_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}


def run_on_ray(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: Callable[[Experiment, pathlib.Path], str],
    address: str | None,
    gpus: int | None,
    say: Callable[[str], None] = print,
) -> None:
    """Trains on a Ray cluster what is not on disk yet.

    Args:
        experiments: of one study.
        folder: of the study, at the same place on all machines.
        flags: see `sweep.run_sweep`.
        address: of a cluster that is there; None: one of this machine, for as long as it takes.
        gpus: of each group; None: one, where the cluster has any.
        say: called with a line for the user now and then.

    Raises:
        UserError: see `experiment.run`; or if Ray is not installed or not to be reached.
    """
    hide_gpus()  # They are the tasks'.
    check_sweep_data(experiments, folder)
    ray = _connected(address)
    try:
        resources = _resources(ray, gpus, experiments[0].group_memory)
        nodes = sum(node["Alive"] for node in ray.nodes())
        say(f"Ray: {nodes} machine(s); a group takes {_words(resources)}.")
        with contextlib.ExitStack() as stack:
            tasks = {}
            for experiment, workdir in study_workdirs(experiments, folder):
                if groups := begin_experiment(experiment, workdir, flags, say, stack):
                    tasks |= _submit(ray, resources, experiment, workdir, groups)
            if not tasks:
                say("All groups are on disk already.")
            _wait(ray, tasks)
    finally:
        ray.shutdown()


def _connected(address: str | None):
    # Without a token anybody who reaches it may use it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    own = {}
    if address:
        _check_reachable(address)
    else:
        # Else Ray takes the machine's address in the network for that of loopback.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
        own = {
            "_node_ip_address": _LOOPBACK,
            "include_dashboard": False,
            "object_store_memory": _OBJECTS,
        }
    import ray  # Reads these variables.

    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": _ENVIRONMENT},
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"--cluster=ray:{address or ''}: Ray does not begin ({error}).") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return ray


def _check_reachable(address: str) -> None:
    """Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_PATIENCE):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"--cluster=ray:{address}: nothing answers there ({error}). Expected HOST:PORT of a "
            "cluster, as RAY_AUTH_MODE=token ray start --head prints it; or leave out the address."
        ) from error


def _resources(ray, gpus: int | None, memory: float) -> dict[str, float]:
    """What a group asks for: its GPUs with their share of the CPUs, or a machine's CPUs and memory
    in GiB."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU")]
    gpus = (1 if with_gpus else 0) if gpus is None else gpus
    if gpus:
        most = max((node["GPU"] for node in with_gpus), default=0)
        if most < gpus:
            raise UserError(f"--cluster_gpus={gpus}: no machine has so many; the most is {most:g}.")
        share = min(node.get("CPU", 0) / node["GPU"] for node in with_gpus)
        return {"num_gpus": gpus, "num_cpus": int(share * gpus)}
    wanted = int(memory * 2**30)
    able = [node for node in nodes if node.get("CPU") and node.get("memory", 0) >= wanted]
    if not able:
        most = max(node.get("memory", 0) for node in nodes) / 2**30
        raise UserError(
            f"--group_memory={memory:.1f}: no machine of the cluster has a CPU and so many GiB; "
            f"the most is {most:.1f}."
        )
    return {"num_cpus": min(node["CPU"] for node in able), "memory": wanted}


def _words(resources: dict[str, float]) -> str:
    units = {"num_cpus": "CPU", "num_gpus": "GPU"}
    words = [f"{resources[name]:g} {unit}" for name, unit in units.items() if name in resources]
    if "memory" in resources:
        words.append(f"{resources['memory'] / 2**30:.1f} GiB")
    return ", ".join(words)


def _submit(ray, resources, experiment, workdir: pathlib.Path, groups: Sequence[Group]) -> dict:
    """What each task is of."""

    def task(here, names, *before):
        os.chdir(here)  # What is named by a relative path is found.
        train_group_task(experiment, workdir, names, say=lambda _: None)

    remote = ray.remote(max_retries=_RETRIES, **resources)(task)
    by_name, tasks = {}, {}
    for group in groups:
        before = [by_name[name] for name in bases_before(group) if name in by_name]
        reference = remote.remote(os.getcwd(), group.names, *before)
        by_name |= dict.fromkeys(group.names, reference)
        tasks[reference] = (experiment, workdir, group)
    return tasks


def _wait(ray, tasks: dict) -> None:
    left = list(tasks)
    with tqdm.tqdm(total=len(left), unit=" groups", disable=not left) as bar:
        while left:
            (done,), left = ray.wait(left, num_returns=1)
            experiment, workdir, group = tasks[done]
            try:
                ray.get(done)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                if isinstance(cause, UserError):
                    raise cause from error
                gist = str(cause).strip().splitlines()[0] if str(cause).strip() else ""
                raise UserError(
                    f"{group} of {experiment.variant} failed on the cluster: "
                    f"{type(cause).__name__}: {gist} Ray's logs have the rest; run the same again "
                    "to go on."
                ) from error
            bar.set_postfix_str(f"{experiment.variant}: {group}")
            bar.update()
            write_curve(experiment, workdir)
