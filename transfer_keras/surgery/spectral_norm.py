"""A spectral normalisation that can be frozen."""

import keras


@keras.saving.register_keras_serializable(package="transfer_keras")
class FreezableSpectralNormalization(keras.layers.SpectralNormalization):
    """Spectral normalisation whose kernel and vector stay as they are while it is frozen.

    Keras's own layer divides its kernel by an estimate of the spectral norm in each call of a
    training, `trainable=False` or not (Keras 3.15). The kernel that it holds is divided already,
    so nothing is lost by leaving it as it is.
    """

    def call(self, inputs, training=False):
        """Calls the layer inside; in training its kernel is divided first, unless frozen."""
        return super().call(inputs, training=bool(training and self.trainable))


def moves_while_frozen(layer: keras.Layer) -> bool:
    """Tells whether a layer changes its own weights in training even where it is frozen."""
    known = (FreezableSpectralNormalization,)
    return isinstance(layer, keras.layers.SpectralNormalization) and not isinstance(layer, known)
