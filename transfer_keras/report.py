"""Draws what a study found, and says what to freeze.

python -m transfer_keras.report --workdir=runs
"""

import pathlib

from absl import flags

from transfer_keras.config import (
    UserError,
    check_keras_file,
    choices,
    flag_types,
    launch,
    margin_flag,
    paths,
)

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
_ANALYSES = flags.DEFINE(
    flag_types.Choices((*choices.ANALYSES, flag_types.ALL)),
    "analyses",
    None,
    "What explains a gap, by evaluation of a few networks of the first experiment of each kind of "
    "split: interpolation (accuracy on the straight line between two networks), reinitialisation "
    "(each unit put back to initial and to fresh values), classes (against the base), probes (of "
    "both tasks at each unit); several with commas, or all.",
    serializer=flag_types.CommaSerializer(),
)
_ANALYSES_NETWORKS = flags.DEFINE(
    flag_types.Treatments(),
    "analyses_networks",
    None,
    "Analyse these networks, as A3B,B3B+, and all pairs of them (default: the bases, and of each "
    "family those at the middle and the largest n).",
    serializer=flag_types.CommaSerializer(),
)
_DATA_DIR = flag_types.define_path(
    "data_dir",
    None,
    "Where the dataset is, for --analyses (default: where it was in the training).",
)


def main() -> None:
    """Writes the report of a study, and prints the recommendation."""
    from transfer_keras.results import page

    workdir = pathlib.Path(_WORKDIR.value).expanduser()
    output = pathlib.Path(_OUTPUT.value).expanduser() if _OUTPUT.value else workdir / "report"
    paths.check_output("output", output, is_folder=True)
    _analyse(workdir)
    recommendation = page.write_report(
        workdir,
        output,
        overlay_paper=_OVERLAY_PAPER.value,
        margin=margin_flag.margin(),
        plan=_PLAN.value,
    )
    print(f"{recommendation}\n\nThe report: {output / 'report.html'}")


def _analyse(workdir: pathlib.Path) -> None:
    """Computes the analyses that are asked for, as far as they are missing."""
    if _ANALYSES.value is None:
        for flag in (_ANALYSES_NETWORKS, _DATA_DIR):
            if flag.value is not None:
                raise UserError(
                    f"--{flag.name}: is for --analyses. Give --analyses=all, or leave it out."
                )
        return
    from transfer_keras.results import analyses, read_study

    kinds = choices.ANALYSES if flag_types.ALL in _ANALYSES.value else _ANALYSES.value
    data_dir = _DATA_DIR.value and str(pathlib.Path(_DATA_DIR.value).expanduser())
    if data_dir and not pathlib.Path(data_dir).exists():
        raise UserError(
            f"--data_dir={_DATA_DIR.value}: no such file or folder. Give where the dataset is."
        )
    study = read_study(workdir)
    selections = [
        analyses.select_networks(study, each, _ANALYSES_NETWORKS.value)
        for each in analyses.select_workdirs(study).values()
    ]
    for selection in selections:
        print(selection.description)
    if "classes" in kinds:
        for selection in selections:
            analyses.compare_classes(selection, print)
    if {*kinds} - {"classes"}:
        check_keras_file()
        from transfer_keras import experiments  # Imports TensorFlow: 6 s.

        experiments.analyse_networks(selections, kinds, data_dir=data_dir)


if __name__ == "__main__":
    launch.start(main, kept="What was drawn before is kept.", uses_keras=False)
