"""The flags of the program that advises what of a donor to take."""

import functools

import pytest
from support.refusals import refused

from transfer_keras.config import flag_types


@pytest.fixture
def advise(program):
    """Runs the program with flags, without TensorFlow."""
    return functools.partial(program, "-m", "transfer_keras.advise", light=True)


BAD = [
    ([], r"--donor: of which network shall be taken\? Give PATH\.keras or"),
    (["--donor=no.keras"], r"--donor=no\.keras: no such file"),
    (["--donor=keras.applications.X"], r"--dataset: of which pictures\? Give --dataset=folder:"),
    (["--donor=keras.applications.X", "--n=3"], r"--n: advise chooses what to train"),
    (["--donor=keras.applications.X", "--dry_run"], r"--dry_run: advise chooses"),
    (["--donor=keras.applications.X", "--split=0"], r"--split=0: with --donor all classes are B"),
    (["--donor=keras.applications.X", "--budget=soon"], r"expected a time, as 90s, 30m, 2h"),
    (["--donor=keras.applications.X", "--budget=0m"], r"expected a time"),
    (["--donor=keras.applications.X", "--dataset=folder:nowhere"], r"folder:nowhere: no such"),
    (["--donor=keras.applications.X", "--donor_weights=w.h5"], r"--donor_weights=w\.h5: no such"),
    (["--donor=keras.applications.X", "--layerwise_decay=0"], r"--layerwise_decay=0\.0: must be"),
    (["--donor=keras.applications.X", "--validation_split=1"], r"--validation_split=1\.0: exp"),
    (["--donor=keras.applications.X", "--seed=0,1"], r"--seed=0,1: a training takes one"),
]


@pytest.mark.parametrize(("given", "message"), BAD, ids=lambda x: " ".join(x)[-30:])
def test_bad_flags_answer_in_one_line_before_tensorflow(advise, program, given, message):
    refused(lambda: advise(*given), program.folder, message)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1m5s", 65)]
)
def test_durations(text, seconds):
    assert flag_types.Duration().parse(text) == seconds
