"""Draws what a study found, and says what to freeze.

python -m transfer_keras.report --workdir=runs
"""

import pathlib

from absl import flags

from transfer_keras.config import flag_types, launch, margin_flag, paths

flags.adopt_module_key_flags(margin_flag)
_WORKDIR = flag_types.define_path(
    "workdir", None, "Workdir of an experiment, or folder of a study's workdirs.", required=True
)
_OUTPUT = flag_types.define_path("output", None, "Folder to write to (default: WORKDIR/report).")
_OVERLAY_PAPER = flags.DEFINE_bool(
    "overlay_paper",
    None,
    "Draw the values of Yosinski et al. (2014) faintly (default: where the dataset is ImageNet).",
)
_PLAN = flags.DEFINE_bool(
    "plan", False, "Say how many splits and seeds would decide what is open, by --margin."
)


def main() -> None:
    """Writes the report of a study, and prints the recommendation."""
    from transfer_keras.results import page

    workdir = pathlib.Path(_WORKDIR.value).expanduser()
    output = pathlib.Path(_OUTPUT.value).expanduser() if _OUTPUT.value else workdir / "report"
    paths.check_output("output", output, is_folder=True)
    recommendation = page.write_report(
        workdir,
        output,
        overlay_paper=_OVERLAY_PAPER.value,
        margin=margin_flag.margin(),
        plan=_PLAN.value,
    )
    print(f"{recommendation}\n\nThe report: {output / 'report.html'}")


if __name__ == "__main__":
    launch.start(main, kept="What was drawn before is kept.", uses_keras=False)
