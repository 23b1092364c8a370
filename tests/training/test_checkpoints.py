"""Checkpoints are saved, checked for damage, and read back."""

import hashlib
import json
import os
import re
import signal
import threading
import time

import keras
import numpy as np
import pytest
import safetensors.numpy
import tensorflow as tf
from support.training import Recorder, endless

from transfer_keras import surgery
from transfer_keras.config import Interrupted
from transfer_keras.config.errors import UserError
from transfer_keras.training import Resume, Schedule, Streams, train_networks
from transfer_keras.training.checkpoints import Checkpoints
from transfer_keras.training.optimizers import Recipe
from transfer_keras.training.signals import Stop, defer_signals

ARRAYS = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(7, np.int64), np.zeros((0,))]


def made(folder, *, every=0.0):
    warnings = []
    return Checkpoints(folder, every=every, warn=warnings.append), warnings


def test_round_trip_and_the_last_two_stay_on_disk(tmp_path):
    checkpoints, warnings = made(tmp_path)
    assert checkpoints.latest() is None
    for step in (9, 10, 200):
        checkpoints.save(step, [*ARRAYS, np.float32(step)], {"step": step, "nan": float("nan")})
    names = [path.name for path in sorted(tmp_path.iterdir())]
    assert names == ["0000000010.safetensors", "0000000200.safetensors"]
    arrays, facts = checkpoints.latest()
    assert facts["step"] == 200
    assert np.isnan(facts["nan"])
    for array, saved in zip(arrays, [*ARRAYS, np.float32(200)], strict=True):
        assert array.dtype == saved.dtype
        assert array.shape == saved.shape
        assert np.array_equal(array, saved)
    assert not warnings


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("place", [0, 40, 200, 500, -70, -64, -1])
def test_every_flipped_bit_is_found_and_the_one_before_is_used(tmp_path, place):
    checkpoints, warnings = made(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, ARRAYS, {"step": step})
    path = tmp_path / "0000000002.safetensors"
    content = path.read_bytes()
    path.write_bytes(flip(content, place % len(content)))
    assert checkpoints.latest()[1]["step"] == 1
    assert len(warnings) == 1
    assert "0000000002.safetensors is damaged: " in warnings[0]
    assert warnings[0].endswith(": set aside as 0000000002.damaged.")
    assert (tmp_path / "0000000002.damaged").exists()


@pytest.mark.parametrize("length", [0, 10, 64, 300, -64, -1])
def test_a_truncated_one_is_set_aside(tmp_path, length):
    checkpoints, warnings = made(tmp_path)
    for step in (1, 2):
        checkpoints.save(step, ARRAYS, {"step": step})
    path = tmp_path / "0000000002.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert checkpoints.latest()[1]["step"] == 1
    path = tmp_path / "0000000001.safetensors"
    path.write_bytes(path.read_bytes()[:length])
    assert checkpoints.latest() is None
    assert len(warnings) == 2


@pytest.mark.parametrize("name", ["0000000002.safetensors", "0000000002.npz"])
@pytest.mark.parametrize("kind", ["a folder", "a link to a folder", "a link to nothing", "a pipe"])
def test_what_lies_in_the_place_of_one_is_set_aside(tmp_path, kind, name):
    folder, elsewhere = tmp_path / "group", tmp_path / "elsewhere"
    folder.mkdir()
    elsewhere.mkdir()
    (elsewhere / "mine").touch()
    checkpoints, warnings = made(folder)
    for step in (1, 2):
        checkpoints.save(step, ARRAYS, {"step": step})
    (folder / "0000000002.safetensors").unlink()
    path = folder / name
    if kind == "a folder":
        path.mkdir()
        (path / "mine").touch()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to(elsewhere if kind == "a link to a folder" else "nothing")
    assert checkpoints.latest()[1]["step"] == 1
    assert len(warnings) == 1
    assert re.search(rf"{name} is .*: set aside as 0000000002\.damaged\.$", warnings[0])
    assert (elsewhere / "mine").exists()
    assert (folder / "0000000002.damaged" / "mine").exists() == (
        kind in ("a folder", "a link to a folder")
    )
    checkpoints.save(2, ARRAYS, {"step": 2})
    checkpoints.save(3, ARRAYS, {"step": 3})
    assert checkpoints.latest()[1]["step"] == 3
    assert len(warnings) == 1


def test_a_write_that_fails_leaves_the_old_ones(tmp_path, monkeypatch):
    checkpoints, _ = made(tmp_path)
    checkpoints.save(1, ARRAYS, {"step": 1})

    def full(arrays, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(safetensors.numpy, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(2, ARRAYS, {"step": 2})
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["0000000001.safetensors"]
    assert checkpoints.latest()[1]["step"] == 1


def test_one_of_version_0_1_0_is_read(tmp_path):
    """It was an .npz file, whose last entry is the text of the facts, and then its SHA-256."""
    named = {f"{place:06d}": array for place, array in enumerate(ARRAYS)}
    facts = np.array(json.dumps({"step": 3, "loss": float("nan")}))
    path = tmp_path / "0000000003.npz"
    np.savez(path, **named, facts=facts)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    with path.open("ab") as file:
        file.write(digest.encode())
    checkpoints, warnings = made(tmp_path)
    arrays, facts = checkpoints.latest()
    assert all(map(np.array_equal, arrays, ARRAYS))
    assert facts["step"] == 3
    assert np.isnan(facts["loss"])
    content = path.read_bytes()
    path.write_bytes(flip(content, len(content) // 2))
    assert checkpoints.latest() is None
    assert "set aside as 0000000003.damaged" in warnings[0]


def test_what_is_no_checkpoint_is_left(tmp_path):
    checkpoints, warnings = made(tmp_path)
    for name in ("notes.npz", ".DS_Store", "mine.safetensors"):
        (tmp_path / name).write_text("mine")
    (tmp_path / "0000000000.safetensors").mkdir()
    for step in (1, 2, 3):
        checkpoints.save(step, ARRAYS, {"step": step})
    assert checkpoints.latest()[1] == {"step": 3}
    assert {"notes.npz", ".DS_Store", "mine.safetensors"} < {p.name for p in tmp_path.iterdir()}
    assert not warnings


def test_due(tmp_path):
    assert made(tmp_path, every=0)[0].due
    assert not made(tmp_path, every=1e6)[0].due


def network(seed):
    inputs = keras.Input((5,))
    x = keras.layers.Dropout(0.5)(keras.layers.Dense(16, activation="relu", name="d")(inputs))
    model = keras.Model(inputs, keras.layers.Dense(3, name="e")(x))
    return surgery.transplant(model, 0, seed=seed).model


class StopAt(Recorder):
    """Requests a stop after a step, as a signal would."""

    def __init__(self, step):
        super().__init__()
        self.stop, self.step = Stop(), step

    def on_log(self, step, scores):
        super().on_log(step, scores)
        if step == self.step:
            self.stop.signalled = True


def train(folder, *, stop_at=None, every=1e6, log_every=1, networks=("a", "b")):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 4, 5)).astype(np.float32)
    y = rng.integers(0, 3, (40, 4)).astype(np.int32)
    stream = tf.data.Dataset.from_tensor_slices((x, y))
    test = tf.data.Dataset.from_tensors((x[0], y[0]))
    fused = surgery.fuse({name: network(i + 1) for i, name in enumerate(networks)})
    recorder = StopAt(stop_at)
    checkpoints, saved = made(folder, every=every)[0], made(folder)[0].latest()
    ended = train_networks(
        fused,
        Recipe(23, 4, 1e-2, "adam", "cosine"),
        Streams(endless(stream), lambda _: test, tf.distribute.get_strategy()),
        Schedule(validate_every=7, log_every=log_every),
        resume=Resume(checkpoints, saved, recorder.stop),
        monitors=[recorder],
    )
    weights = {n: [w.numpy() for w in surgery.extract(fused, n).weights] for n in networks}
    return weights, ended, recorder.calls


@pytest.mark.parametrize("step", [1, 6, 7, 13, 22])
def test_going_on_gives_what_an_undisturbed_run_gives(tmp_path, step):
    quiet = tmp_path / "quiet"
    broken = tmp_path / "broken"
    for folder in (quiet, broken):
        folder.mkdir()
    expected, ended, _ = train(quiet)
    with pytest.raises(Interrupted, match=f"step {step} of 23"):
        train(broken, stop_at=step)
    resumed, again, calls = train(broken)
    assert calls[0] == ("on_train_begin", step)
    assert calls[-1][:2] == ("on_train_end", 23)
    for name, weights in expected.items():
        for one, other in zip(weights, resumed[name], strict=True):
            assert np.array_equal(one, other)
        assert again[name].tests == ended[name].tests
        assert again[name].predictions.scores == ended[name].predictions.scores
        assert again[name].scores == ended[name].scores


def test_sums_since_the_last_log_go_on(tmp_path):
    # The checkpoints of steps 21 and 22 remain.
    _, ended, _ = train(tmp_path, every=0, log_every=6)
    assert sorted(p.stem for p in tmp_path.iterdir()) == ["0000000021", "0000000022"]
    _, again, calls = train(tmp_path, log_every=6)
    assert calls[0] == ("on_train_begin", 22)
    assert {n: t.scores for n, t in again.items()} == {n: t.scores for n, t in ended.items()}


def test_a_stop_at_the_last_step_ends_the_training(tmp_path):
    _, ended, _ = train(tmp_path, stop_at=23)
    assert set(ended) == {"a", "b"}


def test_a_checkpoint_of_other_networks_is_refused(tmp_path):
    with pytest.raises(Interrupted):
        train(tmp_path, stop_at=3)
    with pytest.raises(UserError, match=r"values of other shapes .* Remove the folder"):
        train(tmp_path, networks=("a",))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_waits_and_the_second_does_not(number, capfd):
    before = signal.getsignal(number)
    with defer_signals() as stop:
        assert not stop.requested
        os.kill(os.getpid(), number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), number)
    assert signal.getsignal(number) is before
    assert "Again to stop at once" in capfd.readouterr().err


def test_a_deadline_is_as_the_first_signal(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    with defer_signals(deadline=101.0) as stop:
        assert not stop.requested
        now = 101.5
        assert stop.requested
        assert not stop.signalled


def test_other_threads_change_no_handlers():
    results = []

    def other():
        with defer_signals() as stop:
            results.append((signal.getsignal(signal.SIGINT), stop.requested))

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert results == [(signal.getsignal(signal.SIGINT), False)]
