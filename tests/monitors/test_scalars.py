import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorflow import make_ndarray

from transfer_keras.monitors.scalars import Scalars
from transfer_keras.training.scores import Predictions, Scores, Trained


def test_scalars_read_back_by_tensorboard(tmp_path):
    names = ["A3B", "B3B+"]
    monitor = Scalars({n: tmp_path / n for n in names})
    monitor.begin(0)
    for step in (10, 20):
        scores = {n: Scores(step / 7 + i, 1 / step) for i, n in enumerate(names)}
        monitor.training(step, scores, {n: np.array([3.0, 4.0]) * step for n in names})
        monitor.validation(step, {n: Scores(s.loss + 5, 0.5) for n, s in scores.items()})
    none = Predictions(*[np.zeros(1)] * 3)
    ended = {n: Trained(none, Scores(2.5, 0.5), "at chance", (), 1.0) for n in names}
    monitor.end(20, ended)
    monitor.close()
    for i, name in enumerate(names):
        events = EventAccumulator(str(tmp_path / name))
        events.Reload()
        assert sorted(events.Tags()["tensors"]) == [
            "accuracy/training",
            "accuracy/validation",
            "gradient_norm/training",
            "loss/training",
            "loss/validation",
            "outcome",
        ]
        found = events.Tensors("loss/training")
        assert [event.step for event in found] == [10, 20]
        values = [float(make_ndarray(event.tensor_proto)) for event in found]
        assert values == pytest.approx([10 / 7 + i, 20 / 7 + i])
        last = make_ndarray(events.Tensors("accuracy/validation")[-1].tensor_proto)
        assert float(last) == 0.5
        norm = make_ndarray(events.Tensors("gradient_norm/training")[-1].tensor_proto)
        assert float(norm) == pytest.approx(100)  # 3, 4, 5
        outcome = make_ndarray(events.Tensors("outcome")[0].tensor_proto)
        assert b"at chance" in outcome.item()
        assert b"2.5" in outcome.item()
