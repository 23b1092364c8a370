"""Trains networks whose lower units come from a donor, and says what was lost.

python -m transfer_keras.train --n=3 --mode=frozen
"""

from absl import flags

from transfer_keras import results
from transfer_keras.config import Experiment, UserError, launch
from transfer_keras.config import flags as experiment_flags

flags.adopt_module_key_flags(experiment_flags)
_LIST_UNITS = flags.DEFINE_bool(
    "list_units", False, "Print the units of the --donor, of which --n chooses, and do no more."
)


def main() -> None:
    """Flags in, one call into the library, a table out."""
    experiment = experiment_flags.experiment_from_flags()
    if _LIST_UNITS.value:
        _list_units(experiment)
        return
    workdir = experiment_flags.workdir_from_flags(experiment)
    if experiment.architecture:  # Else it is not all known yet.
        results.check_workdir(workdir, experiment.identity)
    wanted = experiment.wanted
    waiting = [t.name for t in wanted if not results.is_done(workdir, t.name)]
    print(
        f"{experiment.title}, "
        f"{experiment.steps:,} steps a network. To train: {', '.join(waiting) or 'nothing'}. "
        f"Results: {workdir}"
    )
    from transfer_keras.experiments import (  # Imports TensorFlow: 6 s.
        describe_batch_norm,
        open_tasks,
        plan_table,
        resolve_all,
        run_experiment,
    )
    from transfer_keras.results import summary

    (experiment,) = resolve_all([experiment], train_here=True)
    if experiment.donor:
        print(describe_batch_norm(experiment))
    if experiment_flags.is_dry_run():
        pair = open_tasks(experiment, prepare=False)
        print(plan_table(experiment, pair.tasks, workdir))
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return
    treatments = run_experiment(
        experiment, workdir, flags=experiment_flags.flags_as_text(experiment, workdir)
    )
    if not treatments:
        print(f"Done; the first machine has written the results: {workdir}")
        return
    print(f"\n{summary.table(workdir, treatments)}\n")
    if probed := summary.probes(workdir, treatments):
        print(f"{probed}\n")
    for line in summary.failures(workdir, treatments):
        print(f"Did not learn: {line}.")
    if (picture := workdir / summary.CURVE).exists():
        print(f"The curve: {picture}")
    print(f"See every unit: tensorboard --logdir {workdir}")


def _list_units(experiment: Experiment) -> None:
    """Prints the table to choose n from."""
    if not experiment.donor:
        raise UserError("--list_units: of which network? Give --donor.")
    from transfer_keras.experiments import list_units  # Imports TensorFlow: 6 s.

    print(list_units(experiment))


if __name__ == "__main__":
    launch.start(main)
