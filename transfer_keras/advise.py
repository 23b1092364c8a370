"""Says how many units of a trained network to freeze or fine-tune for one's own pictures.

python -m transfer_keras.advise --donor=keras.applications.MobileNetV2 --dataset=folder:pictures
"""

import os
import time

from absl import flags

from transfer_keras.config import TF_CONFIG, UserError, flag_types, launch
from transfer_keras.config import flags as experiment_flags

_BEGUN = time.monotonic()
_OTHERS = ("n", "mode", "source", "target", "treatments", "dry_run")  # What it chooses itself.
_CHOICES = ("steps", "warm_up_head")

flags.adopt_module_key_flags(experiment_flags)
_BUDGET = flags.DEFINE(
    flag_types.Duration(), "budget", "30m", "How long it may take, as 90s, 30m, 2h or 1h30m."
)
for _name, _value in experiment_flags.QUIET.items():
    flags.FLAGS.set_default(_name, _value)
flags.FLAGS.set_default("treatments", "baseB")  # None of the donor's units: it may have few.


def main() -> None:
    """Flags in, one call into the library."""
    for name in _OTHERS:
        if experiment_flags.is_given(name):
            raise UserError(
                f"--{name}: advise chooses what to train. Leave it out, or use train or sweep."
            )
    if os.environ.get(TF_CONFIG):
        raise UserError(f"{TF_CONFIG} is set: advise runs on one machine. Unset it.")
    experiment = experiment_flags.experiment_from_flags()
    if not experiment.donor:
        raise UserError(
            "--donor: of which network shall be taken? Give PATH.keras or "
            "keras.applications.NAME, and your pictures by --dataset=folder:PATH."
        )
    if not experiment_flags.is_given("dataset"):
        raise UserError(
            "--dataset: of which pictures? Give --dataset=folder:PATH, a folder a class."
        )
    folder = experiment_flags.study_folder_from_flags([experiment], kind="advice")
    print(f"{experiment.title}, in about {_BUDGET.value / 60:.3g} minutes. Results: {folder}")
    from transfer_keras.advice import advise, resolve_all  # Imports TensorFlow: 6 s.

    (experiment,) = resolve_all([experiment], train_here=True)
    advise(
        experiment,
        folder,
        budget=_BUDGET.value,
        begun=_BEGUN,
        chosen=[name for name in _CHOICES if experiment_flags.is_given(name)],
        flags=experiment_flags.flags_as_text,
    )


if __name__ == "__main__":
    launch.start(main)
