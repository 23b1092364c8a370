"""A run of TensorBoard: a folder with files of events."""

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
    """Appends to a run; what it held of this step and later ones counts no more.

    A context manager that closes it.

    Args:
        folder: of the run; made where it is not there, but not what is above it.
        step: from which on this file speaks.

    Raises:
        OSError: here and in every method, if the file cannot be written.
    """

    def __init__(self, folder: pathlib.Path, step: int = 0):
        folder.mkdir(exist_ok=True)
        with _told():
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
        with contextlib.suppress(OSError) if error else contextlib.nullcontext():
            self.close()  # What went wrong before is told, not this.

    def write(self, step: int, *summaries: Summary) -> None:
        """Adds points to the run, all of one step."""
        together = Summary()
        for summary in summaries:
            together.MergeFrom(summary)
        self._add(Event(wall_time=time.time(), step=step, summary=together))

    def flush(self) -> None:
        """Makes what was written visible to TensorBoard."""
        with _told():
            self._file.flush()

    def close(self) -> None:
        """Nothing more is written."""
        with _told():
            self._file.close()

    def _add(self, event: Event) -> None:
        with _told():
            self._file.write(event.SerializeToString())


def scalar(tag: str, value: float) -> Summary:
    """A point of a curve."""
    return scalar_pb(tag, float(value))


def histogram(tag: str, values: np.ndarray) -> Summary:
    """How finite values spread, in 30 intervals of one width; others are left out."""
    # TensorBoard's own function takes an array of values x intervals.
    finite = values if np.isfinite(values).all() else values[np.isfinite(values)]
    ends = (finite.min(), finite.max()) if finite.size else (0, 1)
    counts, edges = np.histogram(finite, bins=_INTERVALS, range=np.float64(ends))
    tensor = make_tensor_proto(np.stack([edges[:-1], edges[1:], counts], axis=1))
    metadata = histogram_metadata(None, None)
    return Summary(value=[Summary.Value(tag=tag, metadata=metadata, tensor=tensor)])


def text(tag: str, markdown: str) -> Summary:
    """A page, in Markdown."""
    return text_pb(tag, markdown)


def image(tag: str, pixels: np.ndarray) -> Summary:
    """A picture, uint8 (height, width, 3)."""
    return png(tag, tf.io.encode_png(pixels).numpy())


def png(tag: str, encoded: bytes) -> Summary:
    """A picture as the bytes of a PNG file."""
    size = struct.unpack(">II", encoded[16:24])  # Width and height in the file's first chunk.
    tensor = make_tensor_proto([*(str(side).encode() for side in size), encoded])
    value = Summary.Value(tag=tag, metadata=image_metadata(None, None), tensor=tensor)
    return Summary(value=[value])


@contextlib.contextmanager
def _told() -> Iterator[None]:
    """TensorFlow's errors of the file system as Python's."""
    try:
        yield
    except tf.errors.OpError as error:
        raise OSError(f"TensorBoard's events cannot be written: {error.message}") from error
