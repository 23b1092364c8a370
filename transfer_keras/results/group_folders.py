"""The folders of groups in training: `WORKDIR/checkpoints/<group>/`, and what is written there."""

import hashlib
import pathlib
import re
from collections.abc import Callable, Sequence

from transfer_keras.files import DamagedFile, read_json, remove_folder, set_aside

# The names of the treatments of the group.
NAMES = "group.json"
FEATURES = "features"
# The names of all files that this program writes there.
_OWN = re.compile(r"group\.json(\.damaged)?|\.lock|\d{10}\.(safetensors|npz|damaged)|next\.partial")
_OF_FEATURES = re.compile(r"[0-9a-f]+\.(features|json)")
_FOLDER = re.compile(r"\w+\+?-\d+-[0-9a-f]{8}")


def folder_of(checkpoints: pathlib.Path, names: Sequence[str]) -> pathlib.Path:
    """Gives the path of a group's folder."""
    digest = hashlib.sha256(" ".join(names).encode()).hexdigest()[:8]
    return checkpoints / f"{names[0]}-{len(names)}-{digest}"


def find_folders(checkpoints: pathlib.Path) -> list[pathlib.Path]:
    """Lists the folders of groups, sorted; what others have put there is left out."""
    folders = sorted(checkpoints.glob("*"))
    return [f for f in folders if _FOLDER.fullmatch(f.name) and f.is_dir()]


def read_names(folder: pathlib.Path) -> tuple[str, ...]:
    """Reads which treatments a folder is for.

    Raises:
        FileNotFoundError: if the file is not there.
        DamagedFile: if it is damaged.
    """
    path = folder / NAMES
    names = read_json(path, tuple[str, ...], "Remove it; its checkpoints are used.")
    if not names or folder_of(folder.parent, names) != folder:
        raise DamagedFile(path, "names other treatments than its folder is for")
    return names


def may_go_on(
    folder: pathlib.Path, is_done: Callable[[str], bool], log: Callable[[str], None]
) -> bool:
    """Tells whether a group's checkpoints may still be needed; a damaged file of names is renamed.

    Args:
        folder: of the group.
        is_done: tells of a treatment's name whether it has all its files.
        log: called with a line for a damaged file.
    """
    path = folder / NAMES
    try:
        if path.exists():
            return not all(map(is_done, read_names(folder)))
    except DamagedFile as error:
        set_aside(error, log, "the group is planned again")
        return True
    is_aside = path.with_name(f"{path.name}.damaged").exists()
    return is_aside and not is_done(folder.name.partition("-")[0])


def remove_group_folder(folder: pathlib.Path) -> None:
    """Removes what this program wrote into a group's folder, and the folder if that was all."""
    for inner in [*(folder / FEATURES).glob("*"), folder / FEATURES]:
        remove_folder(inner, _OF_FEATURES)
    remove_folder(folder, _OWN)
