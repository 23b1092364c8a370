"""Runs of TensorBoard: folders with files of events."""

import contextlib
import pathlib
import struct
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.histogram.metadata import create_summary_metadata as histogram_metadata
from tensorboard.plugins.image.metadata import create_summary_metadata as image_metadata
from tensorboard.plugins.scalar.summary_v2 import scalar_pb
from tensorboard.plugins.text.summary_v2 import text_pb
from tensorboard.util.tensor_util import make_tensor_proto

_INTERVALS = 30


class Events:
    """Appends to a run; TensorBoard then ignores what the run held of this step and later ones.

    A context manager that closes the file.

    Args:
        folder: that of the run; it is made where it is missing, but not the folders above it.
        step: the first step that this file holds.

    Raises:
        OSError: here and in every method, if the file cannot be written.
    """

    def __init__(self, folder: pathlib.Path, step: int = 0):
        folder.mkdir(exist_ok=True)
        with _errors_of_python():
            # An event file is a file of records; TensorBoard knows it by its name.
            self._file = tf.io.TFRecordWriter(
                str(folder / f"events.out.tfevents.{time.time_ns()}.v2")
            )
        self._add(Event(wall_time=time.time(), file_version="brain.Event:2"))
        start = SessionLog(status=SessionLog.START)
        self._add(Event(wall_time=time.time(), step=step, session_log=start))

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        # An earlier error is the one that is raised.
        with contextlib.suppress(OSError) if error else contextlib.nullcontext():
            self.close()

    def write(self, step: int, *summaries: Summary) -> None:
        """Adds points to the run, all of one step."""
        merged = Summary()
        for summary in summaries:
            merged.MergeFrom(summary)
        self._add(Event(wall_time=time.time(), step=step, summary=merged))

    def flush(self) -> None:
        """Makes what was written visible to TensorBoard."""
        with _errors_of_python():
            self._file.flush()

    def close(self) -> None:
        """Closes the file; nothing more can be written."""
        with _errors_of_python():
            self._file.close()

    def _add(self, event: Event) -> None:
        with _errors_of_python():
            self._file.write(event.SerializeToString())


def scalar_summary(tag: str, value: float) -> Summary:
    """Makes a point of a curve."""
    return scalar_pb(tag, float(value))


def histogram_summary(tag: str, values: np.ndarray) -> Summary:
    """Makes a histogram of the finite values, in 30 intervals of one width."""
    # TensorBoard's own function takes an array of values x intervals.
    finite = values if np.isfinite(values).all() else values[np.isfinite(values)]
    ends = (finite.min(), finite.max()) if finite.size else (0, 1)
    counts, edges = np.histogram(finite, bins=_INTERVALS, range=np.float64(ends))
    tensor = make_tensor_proto(np.stack([edges[:-1], edges[1:], counts], axis=1))
    metadata = histogram_metadata(None, None)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def text_summary(tag: str, markdown: str) -> Summary:
    """Makes a page of text, in Markdown."""
    return text_pb(tag, markdown)


def image_summary(tag: str, pixels: np.ndarray) -> Summary:
    """Makes a picture from pixels, uint8 (height, width, 3)."""
    return png_summary(tag, tf.io.encode_png(pixels).numpy())


def png_summary(tag: str, encoded: bytes) -> Summary:
    """Makes a picture from the bytes of a PNG file."""
    # Width and height stand in the file's first chunk.
    size = struct.unpack(">II", encoded[16:24])
    tensor = make_tensor_proto([*(str(side).encode() for side in size), encoded])
    value = Summary.Value(tag=tag, metadata=image_metadata(None, None), tensor=tensor)
    return Summary(value=[value])


@contextlib.contextmanager
def _errors_of_python() -> Iterator[None]:
    """Raises TensorFlow's errors of the file system as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's events cannot be written: {error.message}") from error
