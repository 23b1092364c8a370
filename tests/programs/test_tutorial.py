"""docs/tutorial.md, run as it stands."""

import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
from support.paths import ROOT


@pytest.mark.slow
def test_the_tutorial_runs_as_it_stands(tmp_path):
    text = (ROOT / "docs" / "tutorial.md").read_text()
    blocks = re.findall(r"^```(bash|python)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [kind for kind, _ in blocks] == [
        *("bash", "python", "bash", "bash", "bash", "bash", "python", "bash")
    ]
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PATH": os.pathsep.join([str(pathlib.Path(sys.executable).parent), os.environ["PATH"]]),
        "KERAS_BACKEND": "tensorflow",
    }
    outputs = []
    for kind, code in blocks:
        command = [sys.executable, "-c", code] if kind == "python" else ["bash", "-euc", code]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        outputs.append(done.stdout)
    _, _, checked, units, advice, evaluation, answer, tuned = outputs
    assert "240 pictures in train, 60 pictures in validation" in checked
    assert re.search(
        r"^Accuracy [\d.]+ \(95 % [\d.]+ to [\d.]+\), over 60 ", evaluation, re.MULTILINE
    )
    assert re.search(r"^ *3 +conv3 ", units, re.MULTILINE)
    assert "Choose n from 1 to 7" in units
    assert re.search(r"^(Take the lower \d|Train from scratch)", advice, re.MULTILINE), advice
    assert "These are estimates" in advice
    assert answer.split()[-1] in json.loads((tmp_path / "advice" / "classes.json").read_text())
    card = (tmp_path / "advice" / "MODEL_CARD.md").read_text()
    assert 'keras.saving.load_model("best.keras")' in card
    assert "A5B+" in tuned
