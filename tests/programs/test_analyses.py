"""`report --analyses`, as a user runs it."""

import pytest
from support.refusals import refused
from support.studies import write_study

TRAINING = (
    "--dataset=formula_images/4x12x16", "--image_size=16", "--data_dir=data", "--batch_size=8",
    "--validations=1", "--metrics_every=0", "--steps=4", "--treatments=A2B+", "--workdir=run",
)  # fmt: skip


def test_classes_need_no_tensorflow(program, tmp_path):
    write_study(tmp_path / "study", splits=("0",), seeds=(0,))
    run = program(
        "-m", "transfer_keras.report", f"--workdir={tmp_path / 'study'}", "--analyses=classes",
        "--analyses_networks=A3B,B3B+", light=True,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("Analysed of split0-seed0: A3B, B3B+, of 26 networks; 1 pairs")
    page = (tmp_path / "study" / "report" / "report.html").read_text()
    assert "By class, against the base" in page
    assert "A3B against baseB: worse on class 0" in page


def test_all_of_a_training_and_again(program):
    (program.folder / "data").mkdir()
    assert program("-m", "transfer_keras.train", *TRAINING).returncode == 0
    report = (
        "-m", "transfer_keras.report", "--workdir=run", "--analyses=all",
        "--analyses_networks=baseB,A2B+",
    )  # fmt: skip
    first = program(*report)
    assert first.returncode == 0, first.stderr
    kept = sorted((program.folder / "run" / "analyses").iterdir())
    assert [path.name for path in kept] == [
        "classes-A2B+.json", "interpolation-baseB-A2B+.json", "probes-A2B+.json",
        "probes-baseB.json", "reinitialisation-A2B+.json", "reinitialisation-baseB.json",
    ]  # fmt: skip
    contents = [path.read_bytes() for path in kept]
    (program.folder / "data").rename(program.folder / "moved")  # It is not read again.
    second = program(*report)
    assert (second.returncode, second.stdout) == (0, first.stdout)
    assert [path.read_bytes() for path in kept] == contents

    # The data are elsewhere, and are found there.
    kept[1].unlink()
    assert "--data_dir=data: " in refused(lambda: program(*report), program.folder)
    assert program(*report, "--data_dir=moved").returncode == 0
    assert [path.read_bytes() for path in kept] == contents


@pytest.mark.parametrize(
    ("lacks", "says"),
    [
        ("all", "no network has all its files"),
        ("one", "has no network A3B that is done"),
        ("none", "A3B/network.keras cannot be used: it is damaged"),
    ],
)
def test_networks_that_are_missing_or_damaged(program, tmp_path, lacks, says):
    write_study(tmp_path / "study", splits=("0",), seeds=(0,))
    folder = tmp_path / "study" / "split0-seed0"
    for path in folder.glob({"all": "*/network.keras", "one": "A3B/network.keras"}.get(lacks, "-")):
        path.unlink()

    def report():
        return program(
            "-m", "transfer_keras.report", f"--workdir={tmp_path / 'study'}",
            "--analyses=reinitialisation", "--analyses_networks=A3B",
        )  # fmt: skip

    assert says in refused(report, tmp_path)
