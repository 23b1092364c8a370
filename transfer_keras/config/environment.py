"""What TensorFlow and Keras read when they are imported: variables, and Keras's own file."""

import json
import os
import pathlib

from transfer_keras.config.errors import UserError

_BACKEND = "KERAS_BACKEND"
# oneDNN's kernels are on by themselves only on newer CPUs of Intel. On others too they train twice
# as fast (EfficientNet-Lite0 at 224 pixels: 2.5 s a step without them, 1.2 with them).
_VARIABLES = {_BACKEND: "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "2", "TF_ENABLE_ONEDNN_OPTS": "1"}
# Settings of Keras on which numbers depend, and what they have to be.
_NEEDED = {"floatx": "float32", "image_data_format": "channels_last", "epsilon": 1e-7}


def set_environment() -> dict[str, str]:
    """Sets the variables for this process, before it imports TensorFlow.

    What a person has set is left as it is, but for the backend: the programs train with
    `tf.distribute`.

    Returns:
        The variables, for processes that are started elsewhere.
    """
    os.environ[_BACKEND] = _VARIABLES[_BACKEND]
    return {name: os.environ.setdefault(name, value) for name, value in _VARIABLES.items()}


def check_keras_file() -> None:
    """Checks the settings that a person gave Keras for all their programs.

    Raises:
        UserError: if Keras could not read them, or they are others than the programs need.
    """
    folder = os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras")
    path = pathlib.Path(os.path.expanduser(folder)) / "keras.json"
    if not os.path.exists(path):
        return
    advice = "Mend or remove the file, or let the variable KERAS_HOME name another folder."
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: Keras's settings cannot be read ({error}). {advice}") from error
    if not isinstance(settings, dict):
        raise UserError(f"{path}: expected Keras's settings, as {json.dumps(_NEEDED)}. {advice}")
    for name, needed in _NEEDED.items():
        if (found := settings.get(name, needed)) != needed or type(found) is not type(needed):
            raise UserError(
                f"{path}: {name} is {json.dumps(found)}, and has to be {json.dumps(needed)}. "
                f"{advice}"
            )
