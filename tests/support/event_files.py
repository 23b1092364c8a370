"""Reads a run of TensorBoard as TensorBoard does where it has no data server."""

from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorflow import make_ndarray


def read(folder):
    """Reads {tag: [(step, value)]}; numbers are floats, all else arrays."""
    events = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    events.Reload()

    def value(proto):
        array = make_ndarray(proto)
        return float(array) if array.ndim == 0 and array.dtype != object else array

    return {
        tag: [(event.step, value(event.tensor_proto)) for event in events.Tensors(tag)]
        for tag in events.Tags()["tensors"]
    }
