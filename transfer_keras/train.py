"""Trains networks whose lower units come from a donor, and says what was lost.

python -m transfer_keras.train --n=3 --mode=frozen
"""

from collections.abc import Sequence

from absl import flags

from transfer_keras.config import (
    PretrainedArchitecture,
    Request,
    Treatment,
    UserError,
    command,
    from_flags,
    launch,
    run_flags,
)
from transfer_keras.config import flags as experiment_flags
from transfer_keras.results import Workdir, as_begun

flags.adopt_module_key_flags(experiment_flags)
_LIST_UNITS = flags.DEFINE_bool(
    "list_units",
    False,
    "Print the units of the --donor or --network, of which --n chooses, and do no more.",
)


def main() -> None:
    """Turns flags into one call of the library, and prints its table."""
    request = from_flags.request()
    if _LIST_UNITS.value:
        _list_units(request)
        return
    experiment = request.complete(_describe_donor)
    workdir = Workdir(from_flags.workdir(experiment))
    (experiment,) = as_begun([experiment], workdir.path)
    workdir.check(experiment.identity)
    missing = [treatment.name for treatment in workdir.missing(experiment.all_treatments)]
    print(
        f"{experiment.title}, "
        f"{experiment.training.steps:,} steps a network. To train: "
        f"{', '.join(missing) or 'nothing'}. Results: {workdir}"
    )
    from transfer_keras import experiments  # Imports TensorFlow: 6 s.

    for note in experiments.donor_notes(experiment):
        print(note)
    if from_flags.is_dry_run():
        pair = experiments.open_tasks(experiment, prepare=False)
        print(experiments.plan_table(experiment, pair.tasks, workdir))
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return
    repeat = run_flags.flags_as_text(experiment, workdir.path)
    treatments = experiments.run_experiment(experiment, workdir, flags=repeat)
    if treatments:
        _print_results(workdir, treatments)
    else:
        print(f"Done; the first machine has written the results: {workdir}")


def _print_results(workdir: Workdir, treatments: Sequence[Treatment]) -> None:
    from transfer_keras.results import summary  # Imports Matplotlib.

    print(f"\n{summary.result_table(workdir, treatments)}\n")
    if probes := summary.probe_table(workdir, treatments):
        print(f"{probes}\n")
    for line in summary.convergence_lines(workdir, treatments):
        print(line)
    for line in summary.failure_lines(workdir, treatments):
        print(f"Did not learn: {line}.")
    if (picture := workdir / summary.CURVE).exists():
        print(f"The curve: {picture}")
    print(f"See every unit: {command('tensorboard', '--logdir', workdir)}")


def _list_units(request: Request) -> None:
    if not request.opened:
        raise UserError(
            "--list_units: of which network? Give --donor, or --network=keras.applications.NAME."
        )
    from transfer_keras import experiments  # Imports TensorFlow: 6 s.

    print(experiments.list_units(request))


def _describe_donor(request: Request) -> PretrainedArchitecture:
    print(f"Opening {request.opened.path} …")
    from transfer_keras import experiments  # Imports TensorFlow: 6 s.

    return experiments.describe_donor(request)


if __name__ == "__main__":
    launch.start(main)
