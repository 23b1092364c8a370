"""Finds the pictures that a person names: a file, a folder with all that is in it, or a list."""

import os
import pathlib
from collections.abc import Sequence

from transfer_keras.config import DECODED, UserError, image_folders, is_url, printable, read_lines

VALIDATION = "validation.txt"  # Beside a network: the pictures that it was validated on.
_LISTS = (".txt", ".lst")


def find_pictures(given: str) -> list[str]:
    """Lists the files of pictures.

    Args:
        given: path of a picture; of a folder, of which all pictures count, those in folders of it
            too, but what is hidden; or of a text file (.txt) with a path in each line.

    Returns:
        Paths; those of a folder are sorted.

    Raises:
        UserError: if there is nothing, or no picture.
    """
    if is_url(given):
        raise UserError(
            f"--pictures={printable(given)}: expected a path of this machine. Copy them to one."
        )
    path = pathlib.Path(os.path.expanduser(given))
    if os.path.isdir(path):
        found = sorted(_in_folder(path))
        if not found:
            raise UserError(
                f"--pictures={printable(given)}: no file there ends as pictures do "
                f"({', '.join(sorted(DECODED))})."
            )
        return found
    if not os.path.isfile(path):
        raise UserError(
            f"--pictures={printable(given)}: there is no such file or folder. Expected a picture, "
            "a folder, or a text file with a path in each line."
        )
    if path.suffix.lower() not in _LISTS:
        return [os.fspath(path)]
    lines = read_lines(f"--pictures={printable(given)}", path, "the path of a picture")
    found = [line for line in lines if line.strip()]
    if not found:
        raise UserError(f"--pictures={printable(given)}: has no line. Expected a path in each.")
    return found


def labels_of(paths: Sequence[str], classes: Sequence[str]) -> tuple[list[int] | None, str | None]:
    """Gives the class of each picture by the folder that it lies in.

    Args:
        paths: of the files.
        classes: names.

    Returns:
        Places in `classes`, or None where a folder has no class's name; and where some have one and
        some have not, the first picture that has none.
    """
    normal = image_folders.normal_form
    places = {normal(name): place for place, name in enumerate(classes)}
    labels = [places.get(normal(printable(pathlib.PurePath(path).parent.name))) for path in paths]
    if None not in labels:
        return labels, None
    some = any(label is not None for label in labels)
    return None, printable(paths[labels.index(None)]) if some else None


def _in_folder(folder: pathlib.Path) -> list[str]:
    pictures, seen = [], set()

    def refuse(error: OSError) -> None:
        raise UserError(
            f"--pictures={printable(folder)}: {printable(error.filename)} cannot be read "
            f"({error.strerror})."
        ) from error

    for root, folders, names in os.walk(folder, followlinks=True, onerror=refuse):
        if (real := os.path.realpath(root)) in seen:  # A link that leads back.
            folders.clear()
            continue
        seen.add(real)
        folders[:] = [name for name in folders if not name.startswith(".")]
        pictures += [
            os.path.join(root, name)
            for name in names
            if not name.startswith(".")
            and pathlib.PurePath(name).suffix.lower()
            in image_folders.DECODED | image_folders.NOT_DECODED
        ]
    return pictures
