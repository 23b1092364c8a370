import numpy as np
import pytest
from support.event_files import read

from transfer_keras.training.monitors.events import Events
from transfer_keras.training.monitors.scalars import Scalars
from transfer_keras.training.scores import Predictions, Scores, Trained


def test_scalars_read_back_by_tensorboard(tmp_path):
    names = ["A3B", "B3B+"]
    runs = {name: Events(tmp_path / name) for name in names}
    monitor = Scalars(runs)
    for step in (10, 20):
        scores = {n: Scores(step / 7 + i, 1 / step) for i, n in enumerate(names)}
        monitor.on_log(step, {**scores, "another": Scores(0, 0)})
        monitor.on_test_end(step, {n: Scores(s.loss + 5, 0.5) for n, s in scores.items()})
    assert len(read(tmp_path / "A3B")["loss/validation"]) == 2  # Before it is closed.
    none = Predictions(*[np.zeros(1)] * 3)
    ended = {n: Trained(none, Scores(2.5, 0.5), "at chance", (), 1.0) for n in names}
    monitor.on_train_end(20, ended)
    for i, name in enumerate(names):
        runs[name].close()
        written = read(tmp_path / name)
        assert sorted(written) == [
            "accuracy/training",
            "accuracy/validation",
            "loss/training",
            "loss/validation",
            "outcome",
        ]
        losses = [(10, 10 / 7 + i), (20, 20 / 7 + i)]
        assert [step for step, _ in written["loss/training"]] == [10, 20]
        assert np.array(written["loss/training"]) == pytest.approx(np.array(losses))
        assert written["loss/validation"][0][1] == pytest.approx(10 / 7 + i + 5)
        assert written["accuracy/validation"][-1] == (20, 0.5)
        outcome = written["outcome"][0][1].item()
        assert b"at chance" in outcome
        assert b"2.5" in outcome
