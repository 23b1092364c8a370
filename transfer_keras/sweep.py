"""Runs a study: splits x seeds x amounts of data, each with all its treatments, and its report.

python -m transfer_keras.sweep --flagfile=flags/demo.flags
"""

from absl import flags

from transfer_keras import cli, launch, results, study

flags.adopt_module_key_flags(cli)
for _name, _value in cli.WHOLE_CURVE.items():
    flags.FLAGS.set_default(_name, _value)


def main() -> None:
    """Flags in, one call into the library, the recommendation out."""
    experiments = cli.experiments_from_flags()
    folder = cli.study_folder_from_flags(experiments)
    first = experiments[0]
    print(
        f"A study of {len(experiments)} experiments: {first.network} on {first.dataset}, "
        f"{first.steps:,} steps a network. Results: {folder}"
    )
    from transfer_keras import reporting, sweeping  # Imports TensorFlow: 6 s.

    if cli.is_dry_run():
        print(sweeping.plan(experiments, folder))
        print("Dry run: nothing was kept. Leave out --dry_run to train.")
        return
    folder.mkdir(parents=True, exist_ok=True)
    results.write_text(folder / study.FLAGS, cli.flags_as_text())
    sweeping.run(experiments, folder, flags=cli.flags_as_text)
    words = reporting.report(folder, folder / "report", overlay_paper=None)
    print(f"\n{words}\n\nThe report: {folder / 'report' / 'report.html'}")
    print(f"See every unit: tensorboard --logdir {folder}")


if __name__ == "__main__":
    launch.start(main)
