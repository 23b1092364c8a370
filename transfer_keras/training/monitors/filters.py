"""Pictures of the filters of a first layer."""

import math

import numpy as np

# Pixels that a filter is enlarged to, about.
_CELL = 32


def draw_filters(kernel: np.ndarray) -> np.ndarray:
    """Draws the filters in colour, side by side.

    Args:
        kernel: (height, width, 1 or 3, filters), of any range; each filter is scaled to 0..255
            by itself, its three channels together. A constant filter is grey, NaN is black.

    Returns:
        uint8 (height, width, 3), in rows and columns that are as equal as possible, with
        black lines between them.
    """
    height, width, channels, count = kernel.shape
    low, high = kernel.min(axis=(0, 1, 2)), kernel.max(axis=(0, 1, 2))
    flat = high <= low
    scaled = (kernel - low) / np.where(flat, 1, high - low)
    scaled = np.where(flat, 0.5, scaled)
    if channels == 1:
        scaled = np.repeat(scaled, 3, axis=2)
    pixels = np.round(255 * np.nan_to_num(scaled)).astype(np.uint8)
    times = max(1, round(_CELL / max(height, width)))
    pixels = pixels.repeat(times, axis=0).repeat(times, axis=1)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    height, width = height * times + 1, width * times + 1
    picture = np.zeros((rows * height + 1, columns * width + 1, 3), np.uint8)
    for place in range(count):
        top, left = place // columns * height + 1, place % columns * width + 1
        picture[top : top + height - 1, left : left + width - 1] = pixels[..., place]
    return picture


def structure_of_filters(kernel: np.ndarray) -> float:
    """Computes which part of the filters' power lies at middle frequencies.

    Filters that look like edges and blobs have most of it there. That of filters of independent
    values is the part of all frequencies that are middle ones.

    Args:
        kernel: (height, width, channels, filters), at least 5x5.

    Returns:
        The power at frequencies above 0 and up to a third of a cycle a pixel in both directions,
        as a part of that at all frequencies, 0..1.
    """
    power = (np.abs(np.fft.fft2(kernel, axes=(0, 1))) ** 2).sum(axis=(2, 3))
    rows, columns = (np.fft.fftfreq(side)[:, None] for side in kernel.shape[:2])
    middle = (abs(rows) <= 1 / 3) & (abs(columns.T) <= 1 / 3)
    middle[0, 0] = False
    return float(power[middle].sum() / power.sum())


def is_image_kernel(kernel_shape: tuple[int, ...]) -> bool:
    """Tells whether a kernel takes grey or coloured pictures.

    Args:
        kernel_shape: (height, width, channels, filters).
    """
    return len(kernel_shape) == 4 and kernel_shape[2] in (1, 3)
