"""Says how many units of a trained network to freeze or fine-tune for one's own pictures.

python -m transfer_keras.advise --donor=keras.applications.MobileNetV2 --dataset=folder:pictures
"""

import os
import time

from absl import flags

from transfer_keras.config import (
    UserError,
    choices,
    flag_types,
    from_flags,
    launch,
    margin_flag,
    run_flags,
)
from transfer_keras.config import flags as experiment_flags

_BEGUN = time.monotonic()
# What it chooses itself, always or where nothing is said.
_CHOSEN_FLAGS = ("n", "mode", "source", "target", "treatments", "dry_run")
_CHOSEN_SETTINGS = (
    *("steps", "warm_up_head", "validations", "scratch", "augment", "views"),
    *("head_first", "learning_rate", "transferred_learning_rate", "scratch_learning_rate"),
    *("layerwise_decay", "class_weights", "fit_head"),
)

flags.adopt_module_key_flags(experiment_flags)
flags.adopt_module_key_flags(margin_flag)
_BUDGET = flags.DEFINE(
    flag_types.Duration(), "budget", "30m", "How long it may take, as 90s, 30m, 2h or 1h30m."
)


def main() -> None:
    """Turns flags into one call of the library."""
    for name in _CHOSEN_FLAGS:
        if from_flags.is_given(name):
            raise UserError(
                f"--{name}: advise chooses what to train. Leave it out, or use train or sweep."
            )
    if os.environ.get(choices.TF_CONFIG):
        raise UserError(f"{choices.TF_CONFIG} is set: advise runs on one machine. Unset it.")
    requests = from_flags.requests_of_donors()
    if not requests[0].donor:
        raise UserError(
            "--donor: of which network shall be taken? Give PATH.keras or "
            "keras.applications.NAME, or several with commas between them, and your pictures by "
            "--dataset=folder:PATH."
        )
    if not from_flags.is_given("dataset"):
        raise UserError(
            "--dataset: of which pictures? Give --dataset=folder:PATH, a folder a class."
        )
    folder = from_flags.study_folder(requests[:1], kind="advice")
    title = ", or ".join(request.title for request in requests)
    print(f"{title}, in about {_BUDGET.value / 60:.3g} minutes. Results: {folder}")
    # Imports TensorFlow: 6 s.
    from transfer_keras.advice import Budget, advise, describe_donor, race_donors

    budget = Budget(_BUDGET.value, _BEGUN)
    budget.check_seeds(requests[0])
    experiments = [request.complete(describe_donor) for request in requests]
    fixed = [name for name in _CHOSEN_SETTINGS if from_flags.is_given(name)]
    experiment, prepared, notes = experiments[0], None, ()
    if len(experiments) > 1:
        experiment, prepared, notes = race_donors(experiments, folder, budget, fixed=fixed)
    advise(
        experiment,
        folder,
        budget,
        fixed=fixed,
        prepared=prepared,
        notes=notes,
        margin=margin_flag.margin(),
        flags=run_flags.flags_as_text,
    )


if __name__ == "__main__":
    # Of the donor's units none is asked for: it may have few.
    launch.start(main, {**experiment_flags.QUIET, "treatments": "baseB"})
