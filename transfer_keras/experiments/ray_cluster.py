"""A study's groups on the machines of a Ray cluster."""

import contextlib
import os
import pathlib
import signal
import socket
from collections.abc import Callable, Sequence

import tqdm

from transfer_keras.config import Experiment, UserError, set_environment
from transfer_keras.experiments.devices import hide_gpus
from transfer_keras.experiments.group_task import GroupTask, begin_experiment, train_group_task
from transfer_keras.experiments.grouping import memory_limit
from transfer_keras.experiments.ray_token import protect_token
from transfer_keras.experiments.sweep import FlagsOf, check_sweep_data
from transfer_keras.experiments.tensorboard import write_curve

_RETRIES = 20  # Of a group whose machine is lost.
_TIMEOUT = 10  # Seconds, for a cluster that does not answer.
_LOOPBACK = "127.0.0.1"
_OBJECTS = 100 * 2**20  # Bytes that Ray sets aside for values; tasks here pass files.


def run_on_ray(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: FlagsOf,
    address: str | None,
    gpus: int | None,
    log: Callable[[str], None] = print,
) -> None:
    """Trains on a Ray cluster what is not on disk yet.

    Args:
        experiments: of one study.
        folder: of the study, at the same place on all machines.
        flags: see `run_sweep`.
        address: of a cluster that is there; None: one of this machine, for as long as it takes.
        gpus: of each group; None: one, where the cluster has any.
        log: called with a line for the user now and then.

    Raises:
        UserError: see `run_experiment`; or if Ray is not installed or not to be reached.
    """
    hide_gpus()  # They are the tasks'.
    check_sweep_data(experiments, folder)
    ray = _connect(address)
    try:
        resources = _group_resources(ray, gpus, memory_limit(experiments[0].execution))
        nodes = sum(node["Alive"] for node in ray.nodes())
        log(f"Ray: {nodes} machine(s); a group takes {_describe_resources(resources)}.")
        with contextlib.ExitStack() as locks:
            submitted: dict = {}
            for experiment in experiments:
                if tasks := begin_experiment(experiment, folder, flags, log, locks):
                    submitted |= _submit(ray, resources, tasks)
            if not submitted:
                log("All groups are on disk already.")
            _wait(ray, submitted)
    finally:
        ray.shutdown()


def _connect(address: str | None):
    """Gives the module `ray`, connected to a cluster; without an address to one of its own."""
    # Without a token anybody who reaches it may use it.
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    own = {}
    if os.environ["RAY_AUTH_MODE"].lower() == "token":
        protect_token(make=not address)
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
            runtime_env={"env_vars": set_environment()},
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        raise UserError(f"--cluster=ray:{address or ''}: Ray does not begin ({error}).") from error
    for number, handler in handlers.items():
        signal.signal(number, handler)
    return ray


def _check_reachable(address: str) -> None:
    """Refuses an address where nothing answers; Ray itself would try for minutes."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=_TIMEOUT):
            pass
    except (OSError, ValueError, OverflowError) as error:
        raise UserError(
            f"--cluster=ray:{address}: nothing answers there ({error}). Expected HOST:PORT of a "
            "cluster, as RAY_AUTH_MODE=token ray start --head prints it; or leave out the address."
        ) from error


def _group_resources(ray, gpus: int | None, memory: float) -> dict[str, float]:
    """Says what a group asks for: its GPUs with their share of the CPUs, or a machine's CPUs and
    memory.

    Args:
        ray: the module, connected.
        gpus: of a group; None: one, where the cluster has any.
        memory: of a group, in GiB.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU")]
    gpus = (1 if with_gpus else 0) if gpus is None else gpus
    if gpus:
        most = max((node["GPU"] for node in with_gpus), default=0)
        if most < gpus:
            raise UserError(f"--cluster_gpus={gpus}: no machine has so many; the most is {most:g}.")
        share = min(node.get("CPU", 0) / node["GPU"] for node in with_gpus)
        return {"num_gpus": gpus, "num_cpus": int(share * gpus)}
    needed = int(memory * 2**30)
    able = [node for node in nodes if node.get("CPU") and node.get("memory", 0) >= needed]
    if not able:
        most = max(node.get("memory", 0) for node in nodes) / 2**30
        raise UserError(
            f"--group_memory={memory:.1f}: no machine of the cluster has a CPU and so many GiB; "
            f"the most is {most:.1f}."
        )
    return {"num_cpus": min(node["CPU"] for node in able), "memory": needed}


def _describe_resources(resources: dict[str, float]) -> str:
    units = {"num_cpus": "CPU", "num_gpus": "GPU"}
    parts = [f"{resources[name]:g} {unit}" for name, unit in units.items() if name in resources]
    if "memory" in resources:
        parts.append(f"{resources['memory'] / 2**30:.1f} GiB")
    return ", ".join(parts)


def _submit(ray, resources: dict[str, float], tasks: Sequence[GroupTask]) -> dict:
    """Submits the tasks of one experiment; gives Ray's reference of each -> the task."""

    def train(working_folder, task, *bases):
        os.chdir(working_folder)  # Relative paths of data and donors then lead to the same files.
        train_group_task(task, log=lambda line: None)

    remote = ray.remote(max_retries=_RETRIES, **resources)(train)
    by_name, submitted = {}, {}
    for task in tasks:
        bases = [by_name[name] for name in task.bases_before if name in by_name]
        reference = remote.remote(os.getcwd(), task, *bases)
        by_name |= dict.fromkeys(task.group.names, reference)
        submitted[reference] = task
    return submitted


def _wait(ray, submitted: dict) -> None:
    """Waits for all tasks.

    Raises:
        UserError: if one of them failed.
    """
    pending = list(submitted)
    with tqdm.tqdm(total=len(pending), unit=" groups", disable=not pending) as bar:
        while pending:
            (reference,), pending = ray.wait(pending, num_returns=1)
            task = submitted[reference]
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                cause = getattr(error, "cause", None) or error
                if isinstance(cause, UserError):
                    raise cause from error
                gist = str(cause).strip().splitlines()[0] if str(cause).strip() else ""
                raise UserError(
                    f"{task.group} of {task.experiment.variant} failed on the cluster: "
                    f"{type(cause).__name__}: {gist} Ray's logs have the rest; run the same again "
                    "to go on."
                ) from error
            bar.set_postfix_str(str(task))
            bar.update()
            write_curve(task.workdir, task.experiment.title)
