"""What becomes of BatchNorm in the lower units."""

from typing import Literal

import keras

Policy = Literal["frozen", "statistics_frozen", "train"]
POLICIES = ("frozen", "statistics_frozen", "train")


@keras.saving.register_keras_serializable(package="transfer_keras")
class FixedStatisticsBatchNormalization(keras.layers.BatchNormalization):
    """BatchNorm whose scale and shift are trained and whose statistics stay as they are.

    In Keras a BatchNorm layer either trains with the statistics of the batch or, with
    `trainable=False`, does not train at all; and `training=False` given in a functional graph
    is not heeded by `fit` (Keras 3.15).
    """

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs, training=False, mask=mask)
