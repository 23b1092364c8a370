"""The ways to treat BatchNorm in the lower units."""

from typing import Literal

import keras

Policy = Literal["frozen", "statistics_frozen", "train"]
POLICIES = ("frozen", "statistics_frozen", "train")


@keras.saving.register_keras_serializable(package="transfer_keras")
class FixedStatisticsBatchNormalization(keras.layers.BatchNormalization):
    """BatchNorm whose scale and shift are trained and whose statistics stay as they are.

    In Keras a BatchNorm layer either trains with the statistics of the batch or, with
    `trainable=False`, does not train at all; and `fit` ignores a `training=False` that was given
    in a functional graph (Keras 3.15).
    """

    def call(self, inputs, training=None, mask=None):
        """Normalises with the layer's own statistics, in training too."""
        return super().call(inputs, training=False, mask=mask)
