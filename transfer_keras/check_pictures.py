"""Finds what spoils a folder of pictures before anything is trained: copies, leaks, odd pictures.

python -m transfer_keras.check_pictures --dataset=folder:pictures
"""

import pathlib

from absl import flags

from transfer_keras.config import FOLDER, UserError, flag_types, image_folders, launch, paths
from transfer_keras.files import write_text

_LIST = "leave_out.txt"
_DATASET = flag_types.define_path(
    "dataset", None, "folder:PATH, a folder a class.", prefixes=(FOLDER,), required=True
)
_VALIDATION_SPLIT = flags.DEFINE_float(
    "validation_split", 0.2, "Part of the pictures that is tested on, without val/.", 0, 1
)
_VALIDATION_SEED = flags.DEFINE_integer(
    "validation_seed", 0, "Which of the pictures are tested on, without val/.", 0
)
_GROUP_BY = flags.DEFINE(
    flag_types.Pattern(),
    "group_by",
    None,
    "Regular expression; pictures of one group stay on one side, see train.",
    serializer=flags.ArgumentSerializer(),
)
_LEAVE_OUT = flag_types.define_path("leave_out", None, "List of pictures that are not looked at.")
_OUTPUT = flag_types.define_path(
    "output",
    "checked",
    "Folder to write the page to; no folder of pictures is written to.",
    required=True,
)
_FIX = flags.DEFINE_enum(
    "fix", None, ["list"], "list: also write OUTPUT/leave_out.txt, which --leave_out takes."
)


def main() -> None:
    """Looks at every picture, prints what was found, and writes the page."""
    if not _DATASET.value.startswith(FOLDER) or _DATASET.value == FOLDER:
        raise UserError(f"--dataset={_DATASET.value}: expected {FOLDER}PATH, a folder a class.")
    if not 0 < _VALIDATION_SPLIT.value < 1:
        raise UserError(
            f"--validation_split={_VALIDATION_SPLIT.value}: expected more than 0, less than 1."
        )
    output = pathlib.Path(_OUTPUT.value).expanduser()
    paths.check_output("output", output, is_folder=True)
    from transfer_keras.datasets import HEADING, Division, check_folder  # Imports TensorFlow: 6 s.

    division = Division(_VALIDATION_SPLIT.value, _VALIDATION_SEED.value, group_by=_GROUP_BY.value)
    if output.resolve().is_relative_to(image_folders.path_of(_DATASET.value).resolve()):
        raise UserError(f"--output={output}: lies in the folder of the pictures. Give another.")
    path = output / _LIST
    if _FIX.value and path.exists() and not path.read_bytes().startswith(HEADING.encode()):
        raise UserError(f"--output={output}: {_LIST} there is not of this program. Give another.")
    found = check_folder(_DATASET.value, division, _LEAVE_OUT.value)
    print(", ".join(f"{count:,} pictures in {split}" for split, count in found.splits.items()))
    print("\n".join(f"- {line}" for line in found.lines()) or "Nothing odd was found.")
    output.mkdir(parents=True, exist_ok=True)
    if _FIX.value:
        write_text(path, "".join(f"{line}\n" for line in found.list_lines))
        print(f"{found.to_leave_out:,} are listed: give --leave_out={path}")
    write_text(output / "pictures.html", found.page())
    print(f"The pictures: {output / 'pictures.html'}")


if __name__ == "__main__":
    launch.start(main, kept="Nothing was written.")
