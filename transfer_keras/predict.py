"""Says what pictures show, by a network that advise has chosen.

python -m transfer_keras.predict --network=advice/best.keras --pictures=PATH --output=out.csv
"""

import pathlib

from absl import flags

from transfer_keras.config import flag_types, launch, paths

_NETWORK = flag_types.define_path(
    "network", None, "best.keras, as advise writes it.", required=True
)
_PICTURES = flag_types.define_path(
    "pictures",
    None,
    "A picture; a folder, with all that is in its folders; or a text file with a path a line.",
    required=True,
)
_OUTPUT = flag_types.define_path("output", "predictions.csv", "CSV file to write.", required=True)
_THRESHOLD = flags.DEFINE_float(
    "threshold", 0.0, "Below this probability the class is 'unknown'.", 0, 1
)
_CUSTOM_OBJECTS = flag_types.define_path(
    "custom_objects",
    None,
    "Python module, or path of a .py file, with the classes of the network that are not Keras's "
    "own; it is imported.",
)
_BATCH_SIZE = flags.DEFINE_integer("batch_size", 32, "Pictures that are asked about at once.", 1)


def main() -> None:
    """Turns flags into one call of the library."""
    output = pathlib.Path(_OUTPUT.value).expanduser()
    paths.check_output("output", output, is_folder=False)
    from transfer_keras.deployment import predict_pictures  # Imports TensorFlow: 6 s.

    predict_pictures(
        pathlib.Path(_NETWORK.value).expanduser(),
        _PICTURES.value,
        output,
        threshold=_THRESHOLD.value,
        batch_size=_BATCH_SIZE.value,
        custom_objects=_CUSTOM_OBJECTS.value,
    )


if __name__ == "__main__":
    launch.start(main, kept="Nothing was written.")
