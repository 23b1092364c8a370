"""Trains networks whose lower units come from a donor, and says what was lost.

python -m transfer_keras.train --n=3 --mode=frozen
"""

from absl import flags

from transfer_keras import cli, launch, results
from transfer_keras.plan import with_bases

flags.adopt_module_key_flags(cli)


def main() -> None:
    """Flags in, one call into the library, a table out."""
    experiment = cli.experiment_from_flags()
    workdir = cli.workdir_from_flags(experiment)
    wanted = with_bases(experiment.treatments)
    waiting = [t.name for t in wanted if not results.is_done(workdir, t.name)]
    print(
        f"{experiment.network} on {experiment.dataset}, split {experiment.split}, "
        f"{experiment.steps:,} steps a network. To train: {', '.join(waiting) or 'nothing'}. "
        f"Results: {workdir}"
    )
    from transfer_keras import experiment as program  # Imports TensorFlow: 6 s.
    from transfer_keras import summary, task_data

    if cli.is_dry_run():
        pair = task_data.open_tasks(experiment, prepare=False)
        print(summary.plan(experiment, pair.tasks, workdir))
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return
    treatments = program.run(experiment, workdir, flags=cli.flags_as_text(experiment, workdir))
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


if __name__ == "__main__":
    launch.start(main)
