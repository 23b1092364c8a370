"""How the learning rate rises and falls with the steps."""

import itertools

import keras

from transfer_keras.config import choices

# The paper's training: the rate falls to a tenth every 100,000 of 450,000 steps.
_DROP_EVERY = 100 / 450


class WarmUp(keras.optimizers.schedules.LearningRateSchedule):
    """Raises the rate linearly from 0 to that of another schedule, which then goes on.

    Args:
        schedule: whose rates, from the same step, are multiplied by what rises from 0 to 1.
        steps: after how many steps it is at 1.

    Call: step, counted from 0 -> the learning rate.
    """

    def __init__(self, schedule: keras.optimizers.schedules.LearningRateSchedule, steps: int):
        self._schedule, self._steps = schedule, steps

    def __call__(self, step):
        rate = keras.ops.convert_to_tensor(self._schedule(step))
        done = keras.ops.cast(step, rate.dtype) / self._steps
        return rate * keras.ops.minimum(done, 1.0)

    def get_config(self):
        """Gives its arguments."""
        return {"schedule": self._schedule, "steps": self._steps}


def make_schedule(
    kind: str, learning_rate: float, steps: int, warm_up: int = 0
) -> keras.optimizers.schedules.LearningRateSchedule:
    """Makes the learning rate by step, counted from 0, as Keras takes it.

    Args:
        kind: "step" divides the rate by ten after each 100/450 of the steps; "cosine" lets it fall
            to zero over the steps that are left after the warm-up.
        learning_rate: the highest.
        steps: of the training.
        warm_up: steps in which the rate rises from 0; fewer than `steps`.
    """
    if kind == choices.COSINE:
        if not warm_up:
            return keras.optimizers.schedules.CosineDecay(learning_rate, steps)
        return keras.optimizers.schedules.CosineDecay(
            0.0, steps - warm_up, warmup_target=learning_rate, warmup_steps=warm_up
        )
    drops = itertools.takewhile(
        lambda step: step < steps,
        (round(steps * _DROP_EVERY * k) for k in itertools.count(1)),
    )
    boundaries = [max(drop, 1) for drop in drops]
    rates = [learning_rate * 0.1**k for k in range(len(boundaries) + 1)]
    # Keras changes the rate after its boundary, Caffe at it.
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay(
        [boundary - 1 for boundary in boundaries], rates
    )
    return WarmUp(schedule, warm_up) if warm_up else schedule
