"""A study's groups on the machines of a cluster: by Ray, or as an array of Slurm.

Every task is one group of one experiment. It begins when the bases that it needs are done, writes
into the workdir that all machines share, and goes on from the group's checkpoint where another was
cut off.
"""

import contextlib
import os
import pathlib
import shlex
import socket
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jinja2
import tqdm

from transfer_keras import dashboard, devices, group_training, grouping, lock, results, task_data
from transfer_keras import experiment as program
from transfer_keras.errors import UserError
from transfer_keras.plan import Group, with_bases
from transfer_keras.settings import Experiment
from transfer_keras.treatments import parse

_RETRIES = 20  # Of a group whose machine is lost.
_PATIENCE = 10  # Seconds.
_ENVIRONMENT = {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2"}


def run(
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
        flags: see `sweeping.run`.
        address: of a cluster that is there; None: one of this machine, for as long as it takes.
        gpus: of each group; None: one, where the cluster has any.
        say: called with a line for the user now and then.

    Raises:
        UserError: see `experiment.run`; or if Ray is not installed or not to be reached.
    """
    ray = _connected(address)
    try:
        resources = _resources(ray, gpus)
        words = ", ".join(f"{n:g} {name[4:-1].upper()}" for name, n in sorted(resources.items()))
        say(f"Ray: {sum(node['Alive'] for node in ray.nodes())} machine(s); a group takes {words}.")
        with contextlib.ExitStack() as stack:
            tasks = {}
            for experiment, workdir in _places(experiments, folder):
                if groups := _begun(experiment, workdir, flags, say, stack):
                    tasks |= _submit(ray, resources, experiment, workdir, groups)
            _wait(ray, tasks)
    finally:
        ray.shutdown()
    for experiment, workdir in _places(experiments, folder):  # What is not of a group.
        program.run(experiment, workdir, say=say, flags=flags(experiment, workdir))


def train_group(experiment: Experiment, workdir: pathlib.Path, names: Sequence[str], *_: Any):
    """One group of an experiment that was begun, on this machine.

    Args:
        experiment: whose.
        workdir: of it.
        names: of the group's treatments.
        _: what has to be done before.

    Returns:
        The names.

    Raises:
        UserError: if a base is not done; see also `group_training.train`.
    """
    group = Group(tuple(map(parse, names)))
    if all(results.is_done(workdir, name) for name in names):
        return names
    if missing := [name for name in _needed(group) if not results.is_done(workdir, name)]:
        raise UserError(f"{group} needs {', '.join(missing)}, which is not in {workdir}.")
    found = devices.use(experiment)
    data = task_data.read(experiment)
    with lock.hold(results.begin_group(workdir, names), say=print):
        group_training.train(experiment, workdir, data, group, found)
    return names


def train_task(experiments: Sequence[Experiment], folder: pathlib.Path, number: int) -> None:
    """One group of a study, by its number in the script that `slurm` writes.

    Raises:
        UserError: if there is no such group; see also `train_group`.
    """
    devices.use(experiments[0])
    tasks = _plan(experiments, folder)
    if number >= len(tasks):
        raise UserError(f"--task={number}: the study has {len(tasks)} groups, from 0 on.")
    experiment, workdir, group = tasks[number]
    if not (workdir / results.EXPERIMENT).exists():
        raise UserError(
            f"--task={number}: {workdir} was not made yet. Run the same with --cluster=slurm first."
        )
    train_group(experiment, workdir, group.names)


def slurm(
    experiments: Sequence[Experiment],
    folder: pathlib.Path,
    *,
    flags: Callable[[Experiment, pathlib.Path], str],
    arguments: Sequence[str],
) -> pathlib.Path:
    """Makes the workdirs of a study, and a script that trains its groups as arrays of Slurm: those
    of bases, then the others, then the report.

    Args:
        experiments, folder, flags: see `run`.
        arguments: of the program, without its name.

    Returns:
        The script.

    Raises:
        UserError: see `experiment.run`.
    """
    for experiment, workdir in _places(experiments, folder):
        with contextlib.ExitStack() as stack:
            _begun(experiment, workdir, flags, print, stack)
    tasks = _plan(experiments, folder)
    memory = experiments[0].group_memory  # Else each machine would make groups by its own.
    kept = [word for word in arguments if not word.startswith("--cluster")]
    sweep = [sys.executable, "-m", "transfer_keras.sweep", *kept, f"--group_memory={memory}"]
    bases = sum(not group.treatments[0].donor for _, _, group in tasks)
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("transfer_keras"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("slurm.sh").render(
        tasks=[f"{experiment.variant}: {group}" for experiment, _, group in tasks],
        folder=shlex.quote(os.getcwd()),
        sweep=shlex.quote(shlex.join(sweep)),
        bases=bases,
    )
    path = folder / "slurm.sh"
    results.write_text(path, text)
    return path


def _plan(experiments: Sequence[Experiment], folder: pathlib.Path) -> list[tuple]:
    """All (experiment, workdir, group) of a study, bases first, whatever is done already."""
    found = [
        (experiment, workdir, group)
        for experiment, workdir in _places(experiments, folder)
        for group in grouping.groups(experiment, task_data.open_tasks(experiment).tasks)
    ]
    return sorted(found, key=lambda task: task[2].treatments[0].donor is not None)


def _connected(address: str | None):
    os.environ.setdefault(
        "RAY_AUTH_MODE", "token"
    )  # Without it, anybody who reaches it may use it.
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "--cluster=ray: Ray is not installed. Run pip install 'transfer_keras[cluster]', or "
            "leave --cluster out: the same groups are then trained here, one after the other."
        ) from error
    if address:
        _check_reachable(address)
    own = {} if address else {"_node_ip_address": "127.0.0.1", "include_dashboard": False}
    try:
        ray.init(
            address=address or "local",
            log_to_driver=False,
            logging_level="ERROR",
            runtime_env={"env_vars": _ENVIRONMENT},
            **own,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--cluster=ray:{address or ''}: Ray does not begin ({error}).") from error
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


def _resources(ray, gpus: int | None) -> dict[str, float]:
    """What a group asks for: its GPUs with their share of the CPUs, or a machine's CPUs."""
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    with_gpus = [node for node in nodes if node.get("GPU")]
    gpus = (1 if with_gpus else 0) if gpus is None else gpus
    if not gpus:
        return {"num_cpus": min(node.get("CPU", 0) for node in nodes)}
    if not any(node["GPU"] >= gpus for node in with_gpus):
        most = max((node["GPU"] for node in with_gpus), default=0)
        raise UserError(f"--cluster_gpus={gpus}: no machine has so many; the most is {most:g}.")
    share = min(node.get("CPU", 0) / node["GPU"] for node in with_gpus)
    return {"num_gpus": gpus, "num_cpus": max(1, int(share * gpus))}


def _places(experiments: Sequence[Experiment], folder: pathlib.Path):
    return [(one, folder.resolve() / one.variant_name) for one in experiments]


def _begun(experiment, workdir: pathlib.Path, flags, say, stack) -> list[Group]:
    """The groups that are left of an experiment, whose workdir is made and held."""
    results.check_workdir(workdir, experiment.identity)
    wanted = with_bases(experiment.treatments)
    if all(results.is_done(workdir, treatment.name) for treatment in wanted):
        return []
    data = task_data.read(experiment)
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(lock.hold(workdir, say=say))
    program.begin(experiment, workdir, data.pair, flags(experiment, workdir))
    return program.groups_left(experiment, workdir, data.pair)


def _needed(group: Group) -> list[str]:
    """The bases that have to be done before it."""
    bases = {base.name for t in group.treatments for base in (t.needs, t.base) if base}
    return sorted(bases - set(group.names))


def _submit(ray, resources, experiment, workdir: pathlib.Path, groups: Sequence[Group]) -> dict:
    """What each task is of."""
    task = ray.remote(max_retries=_RETRIES, **resources)(train_group)
    by_name, tasks = {}, {}
    for group in groups:
        before = [by_name[name] for name in _needed(group) if name in by_name]
        reference = task.remote(experiment, workdir, group.names, *before)
        by_name |= dict.fromkeys(group.names, reference)
        tasks[reference] = (experiment, workdir, group)
    return tasks


def _wait(ray, tasks: dict) -> None:
    left = list(tasks)
    with tqdm.tqdm(total=len(left), unit=" groups") as bar:
        while left:
            (done,), left = ray.wait(left, num_returns=1)
            experiment, workdir, group = tasks[done]
            try:
                ray.get(done)
            except ray.exceptions.RayTaskError as error:
                if isinstance(error.cause, UserError):
                    raise error.cause from error
                raise
            bar.set_postfix_str(f"{experiment.variant}: {group}")
            bar.update()
            dashboard.curve(experiment, workdir)
