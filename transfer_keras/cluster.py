"""A study's groups on the machines of a cluster: by Ray, or as an array of Slurm.

Every task is one group of one experiment. It begins when the bases that it needs are done, writes
into the workdir that all machines share, and goes on from the group's checkpoint where another was
cut off.
"""

import contextlib
import os
import pathlib
import shlex
import signal
import socket
import sys
from collections.abc import Callable, Sequence

import jinja2
import tqdm

from transfer_keras import (
    dashboard,
    devices,
    group_training,
    grouping,
    probes,
    results,
    sweeping,
    task_data,
)
from transfer_keras import experiment as program
from transfer_keras.config import Experiment, Group, UserError, parse_treatment
from transfer_keras.results import hold_lock
from transfer_keras.training import Stop, signals_wait

_RETRIES = 20  # Of a group whose machine is lost.
_PATIENCE = 10  # Seconds, for a cluster that does not answer.
_LEASE = 180  # Seconds for which a file system may keep the lock of a machine that has died.
_LOOPBACK = "127.0.0.1"
_OBJECTS = 100 * 2**20  # Bytes that Ray sets aside for values; tasks here pass files.
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
    devices.hide_gpus()  # They are the tasks'.
    sweeping.check(experiments, folder)
    ray = _connected(address)
    try:
        resources = _resources(ray, gpus, experiments[0].group_memory)
        nodes = sum(node["Alive"] for node in ray.nodes())
        say(f"Ray: {nodes} machine(s); a group takes {_words(resources)}.")
        with contextlib.ExitStack() as stack:
            tasks = {}
            for experiment, workdir in _places(experiments, folder):
                if groups := _begun(experiment, workdir, flags, say, stack):
                    tasks |= _submit(ray, resources, experiment, workdir, groups)
            if not tasks:
                say("All groups are on disk already.")
            _wait(ray, tasks)
    finally:
        ray.shutdown()


def train_group(
    experiment: Experiment,
    workdir: pathlib.Path,
    names: Sequence[str],
    *,
    say: Callable[[str], None] = print,
    stop: Stop | None = None,
) -> None:
    """One group of an experiment that was begun, on this machine; its linear probes too.

    Args:
        experiment: whose.
        workdir: of it.
        names: of the group's treatments.
        say: called with a line for the user now and then.
        stop: see `loop.train`.

    Raises:
        UserError: if a base is not done; see also `group_training.train`.
    """
    group = Group(tuple(map(parse_treatment, names)))
    if missing := [name for name in _needed(group) if not results.is_done(workdir, name)]:
        raise UserError(f"{group} needs {', '.join(missing)}, which is not in {workdir}.")
    found = devices.use(experiment)
    say(devices.describe(found, experiment))
    data = task_data.read(experiment)
    with program.faults_told(data):
        if not all(results.is_done(workdir, name) for name in names):
            group_training.train(
                experiment, workdir, data, group, found, say=say, stop=stop, patience=_LEASE
            )
        if experiment.probes:
            left = program.unprobed(workdir, group.treatments)
            probes.run(experiment, workdir, data, left, stop=stop or Stop())


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
    with signals_wait() as stop:
        train_group(experiment, workdir, group.names, stop=stop)


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
        arguments: the flags that make the study.

    Returns:
        The script.

    Raises:
        UserError: see `experiment.run`.
    """
    sweeping.check(experiments, folder)
    for experiment, workdir in _places(experiments, folder):
        with contextlib.ExitStack() as stack:
            _begun(experiment, workdir, flags, print, stack)
    tasks = _plan(experiments, folder)
    sweep = [sys.executable, "-m", "transfer_keras.sweep", *arguments]
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


def _places(experiments: Sequence[Experiment], folder: pathlib.Path):
    return [(one, folder.resolve() / one.variant_name) for one in experiments]


def _begun(experiment, workdir: pathlib.Path, flags, say, stack) -> list[Group]:
    """What is left of an experiment, whose workdir is made and held."""
    results.check_workdir(workdir, experiment.identity)
    wanted = experiment.wanted
    done = [t for t in wanted if results.is_done(workdir, t.name)]
    unprobed = program.unprobed(workdir, done) if experiment.probes else []
    if len(done) == len(wanted) and not unprobed:
        return []
    data = task_data.read(experiment)
    workdir.mkdir(parents=True, exist_ok=True)
    stack.enter_context(hold_lock(workdir, say=say))
    program.begin(experiment, workdir, data.pair, flags(experiment, workdir))
    left = program.groups_left(experiment, workdir, data.pair)
    return [*left, *(Group((treatment,)) for treatment in unprobed)]


def _needed(group: Group) -> list[str]:
    """The bases that have to be done before it."""
    bases = {base.name for t in group.treatments for base in (t.needs, t.base) if base}
    return sorted(bases - set(group.names))


def _submit(ray, resources, experiment, workdir: pathlib.Path, groups: Sequence[Group]) -> dict:
    """What each task is of."""

    def task(here, names, *before):
        os.chdir(here)  # What is named by a relative path is found.
        train_group(experiment, workdir, names, say=lambda _: None)

    remote = ray.remote(max_retries=_RETRIES, **resources)(task)
    by_name, tasks = {}, {}
    for group in groups:
        before = [by_name[name] for name in _needed(group) if name in by_name]
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
            dashboard.curve(experiment, workdir)
