"""Runs a study: splits x seeds x amounts of data, each with all its treatments, and its report.

python -m transfer_keras.sweep --flagfile=flags/demo.flags
"""

from absl import flags

from transfer_keras import cli, launch

flags.adopt_module_key_flags(cli)
for _name, _value in cli.WHOLE_CURVE.items():
    flags.FLAGS.set_default(_name, _value)


def main() -> None:
    """Flags in, one call into the library, the recommendation out."""
    experiments = cli.experiments_from_flags()
    folder = cli.study_folder_from_flags(experiments)
    first = experiments[0]
    count = f"{len(experiments)} experiment{'s' * (len(experiments) > 1)}"
    print(
        f"A study of {count}: {first.network} on {first.dataset}, "
        f"{first.steps:,} steps a network. Results: {folder}"
    )
    from transfer_keras import reporting, sweeping  # Imports TensorFlow: 6 s.

    if cli.is_dry_run():
        sweeping.plan(experiments, folder)
        print("Dry run: nothing was trained. Leave out --dry_run to train.")
        return
    sweeping.run(experiments, folder, flags=cli.flags_as_text)
    words = reporting.report(folder, folder / "report", overlay_paper=None)
    print(f"\n{words}\n\nThe report: {folder / 'report' / 'report.html'}")
    print(f"See every unit: tensorboard --logdir {folder}")


if __name__ == "__main__":
    launch.start(main)
