"""The environment variables that TensorFlow and Keras read when they are imported."""

import os

_BACKEND = "KERAS_BACKEND"
# oneDNN's kernels are on by themselves only on newer CPUs of Intel. On others too they train twice
# as fast (EfficientNet-Lite0 at 224 pixels: 2.5 s a step without them, 1.2 with them).
_VARIABLES = {_BACKEND: "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}


def set_environment() -> dict[str, str]:
    """Sets the variables for this process, before it imports TensorFlow.

    What a person has set is left as it is, but for the backend: the programs train with
    `tf.distribute`.

    Returns:
        The variables, for processes that are started elsewhere.
    """
    os.environ[_BACKEND] = _VARIABLES[_BACKEND]
    return {name: os.environ.setdefault(name, value) for name, value in _VARIABLES.items()}
