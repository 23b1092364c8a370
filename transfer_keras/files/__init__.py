"""Owns the reading and writing of files: whole or not there, through no link, checked when read."""

from transfer_keras.files.arrays import read_arrays, write_arrays
from transfer_keras.files.damage import DamagedFile, set_aside
from transfer_keras.files.opening import open_regular, open_to_append, read_bytes, read_text
from transfer_keras.files.removal import remove_files, remove_folder
from transfer_keras.files.typed_json import check_json, check_type, read_json
from transfer_keras.files.whole import PARTIAL, is_partial, write_json, write_text, write_whole

__all__ = [
    "PARTIAL",
    "DamagedFile",
    "check_json",
    "check_type",
    "is_partial",
    "open_regular",
    "open_to_append",
    "read_arrays",
    "read_bytes",
    "read_json",
    "read_text",
    "remove_files",
    "remove_folder",
    "set_aside",
    "write_arrays",
    "write_json",
    "write_text",
    "write_whole",
]
