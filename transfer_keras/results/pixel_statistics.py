"""The statistics of a task's pixels on disk: `WORKDIR/pixels-A.safetensors`."""

import pathlib

import numpy as np

from transfer_keras.files import DamagedFile, read_arrays


def read_pixels(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Reads pixel statistics: a mean of each channel or each pixel, and variances of the channels.

    Raises:
        DamagedFile: if they are none.
    """
    arrays = read_arrays(path).arrays
    if arrays.keys() != {"mean", "variance"} or arrays["variance"].ndim != 1:
        raise DamagedFile(path, f"holds {sorted(arrays)}, expected a mean and variances")
    channels = arrays["variance"].shape
    if arrays["mean"].ndim not in (1, 3) or arrays["mean"].shape[-1:] != channels:
        raise DamagedFile(path, f"has a mean of the shape {arrays['mean'].shape}")
    if not all(a.dtype.kind == "f" and np.isfinite(a).all() for a in arrays.values()):
        raise DamagedFile(path, "holds values that are no finite numbers")
    return arrays
