"""Hundreds of datasets that are wrong: each is read, or refused in one line."""

import collections
import signal

import pytest
import tensorflow as tf
from support.forged_datasets import CONFIG, forgeries

from transfer_keras.config import UserError, dataset_names, tasks
from transfer_keras.datasets import sources, task_pair
from transfer_keras.datasets.preprocessing import Preprocessing
from transfer_keras.datasets.task_pair import TaskPair

SECONDS = 60  # For each.


def outcome(forgery, folder, monkeypatch):
    """Opens a dataset and reads a batch; tells what became of it, and why."""

    def stop(*_):
        raise TimeoutError(f"{SECONDS} s are over")

    arguments = forgery.make(folder)
    fits = arguments.pop("fits", True)
    monkeypatch.setattr(task_pair, "_fits", lambda *_: fits)
    settings = {"data_dir": None, "split": "whole", **arguments}
    signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        dataset_names.check(settings["dataset"], settings["data_dir"])
        tasks.check_split(settings["split"])
        pair = TaskPair(**settings)
        train, _ = pair.read(Preprocessing(8, 8, augment=False), batch_size=2)
        try:
            for images, _ in train["A"].evaluation(batch_size=64).take(1):
                assert images.shape[1:] == (8, 8, 3)
        except tf.errors.OpError:  # As a training has it; see `run.name_bad_images`.
            pair.refuse_faults(train)
            raise
        return "read", ""
    except UserError as error:
        lines = str(error).splitlines()
        return ("refused" if len(lines) == 1 else "several lines"), str(error)
    except TimeoutError as error:
        return "hung", str(error)
    except Exception as error:  # What a program would end with a traceback.
        return "traceback", f"{type(error).__name__}: {error}"
    finally:
        signal.alarm(0)


@pytest.mark.slow
def test_every_one_is_read_or_refused(tmp_path_factory, monkeypatch):
    prepared = tmp_path_factory.mktemp("prepared")
    monkeypatch.setattr("tensorflow_datasets.core.constants.DATA_DIR", str(prepared / "default"))
    sources.open_source(f"formula_images/{CONFIG}", str(prepared)).prepare()
    counts, wrong = collections.defaultdict(collections.Counter), []
    for number, forgery in enumerate(forgeries(prepared)):
        folder = tmp_path_factory.mktemp(f"forged{number}")
        what, why = outcome(forgery, folder, monkeypatch)
        counts[forgery.kind][what] += 1
        if what not in ("read", "refused"):
            wrong.append(f"{forgery.kind}: {forgery.name}: {what}: {why[:300]}")
    for kind, found in counts.items():
        print(f"{kind:28} {dict(found)}")
    assert sum(found.total() for found in counts.values()) >= 150
    assert not wrong, "\n".join(wrong)
