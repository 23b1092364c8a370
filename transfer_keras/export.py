"""Writes a network that advise has chosen in other formats, each tried on all validation pictures.

python -m transfer_keras.export --network=advice/best.keras --format=saved_model,litert,onnx
"""

import pathlib

from absl import flags

from transfer_keras.config import UserError, choices, flag_types, launch, paths

_NETWORK = flag_types.define_path(
    "network", None, "best.keras, as advise writes it.", required=True
)
_FORMAT = flags.DEFINE_list(
    "format", [choices.SAVED_MODEL], f"Some of {', '.join(choices.EXPORTS)}."
)
_OUTPUT = flag_types.define_path("output", None, "Folder to write to (default: that of --network).")
_PICTURES = flag_types.define_path(
    "pictures",
    None,
    "On which each file is compared with the network: a picture, a folder, or a text file with a "
    "path a line (default: the validation pictures).",
)
_CUSTOM_OBJECTS = flag_types.define_path(
    "custom_objects",
    None,
    "Python module, or path of a .py file, with the classes of the network that are not Keras's "
    "own; it is imported.",
)
_QUANTISE = flags.DEFINE_enum(
    "quantise", None, ["int8"], "int8: also write a LiteRT file in integers of 8 bits."
)
_TOLERANCE = flags.DEFINE_float(
    "tolerance", 0.01, "A file is refused where the logarithm of a probability differs by more.", 0
)


def main() -> None:
    """Turns flags into one call of the library."""
    if not _FORMAT.value:
        raise UserError(f"--format=: expected some of {', '.join(choices.EXPORTS)}.")
    if unknown := [name for name in _FORMAT.value if name not in choices.EXPORTS]:
        raise UserError(f"--format={unknown[0]}: expected some of {', '.join(choices.EXPORTS)}.")
    network = pathlib.Path(_NETWORK.value).expanduser()
    output = pathlib.Path(_OUTPUT.value).expanduser() if _OUTPUT.value else network.parent
    paths.check_output("output", output, is_folder=True)
    from transfer_keras.deployment import export_network  # Imports TensorFlow: 6 s.

    export_network(
        network,
        list(dict.fromkeys(_FORMAT.value)),
        output,
        pictures=_PICTURES.value,
        int8=_QUANTISE.value == "int8",
        tolerance=_TOLERANCE.value,
        custom_objects=_CUSTOM_OBJECTS.value,
    )


if __name__ == "__main__":
    launch.start(main, kept="The formats that were done are kept.")
