"""Networks in other formats, each compared with the network itself."""

import pathlib
import re

import keras
import numpy as np
import pytest
from PIL import Image

from transfer_keras.config import UserError, choices
from transfer_keras.deployment import NetworkFacts, export_network, formats, save_classifier

pytest.importorskip("onnxruntime")
pytest.importorskip("ai_edge_litert")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Makes a network with its list of validation pictures."""
    folder = tmp_path_factory.mktemp("advice")
    keras.utils.set_random_seed(5)
    inputs = keras.Input((24, 24, 3))
    normalization = keras.layers.Normalization()
    normalization.adapt(np.random.default_rng(2).uniform(0, 255, (9, 24, 24, 3)))
    x = normalization(inputs)
    x = keras.layers.Conv2D(8, 3, strides=2, use_bias=False)(x)
    x = keras.layers.ReLU(max_value=6.0)(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3)(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, keras.layers.Dense(2, kernel_initializer="he_normal")(x))
    save_classifier(folder / "best.keras", model, NetworkFacts(("cat", "dog"), 24, 24))
    rng = np.random.default_rng(0)
    paths = []
    for k in range(12):
        path = folder / "pictures" / ("cat", "dog")[k % 2] / f"{k}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (24, 24, 3)).astype(np.uint8)).save(path)
        paths.append(path)
    (folder / "validation.txt").write_text("".join(f"{path}\n" for path in paths))
    return folder


def export(folder, names, output, **options):
    lines = []
    try:
        export_network(folder / "best.keras", names, output, log=lines.append, **options)
    finally:
        lines = "\n".join(lines).splitlines()
    return lines


@pytest.mark.slow
def test_each_format_gives_the_same_classes(folder, tmp_path):
    lines = export(folder, choices.EXPORTS, tmp_path / "out", int8=True)
    expected = {"best_saved_model", "best.tflite", "best.onnx", "best_int8.tflite"}
    assert {path.name for path in (tmp_path / "out").iterdir()} == expected
    rows = {line.split("  ")[0].strip(): line for line in lines[2:]}
    assert list(rows) == ["keras", *choices.EXPORTS, formats.INT8]
    for name in choices.EXPORTS:
        assert " 0 of 12 " in rows[name]
    plain = keras.saving.load_model(folder / "best.keras")
    images = np.random.default_rng(1).uniform(0, 255, (3, 24, 24, 3)).astype(np.float32)
    for name in choices.EXPORTS:
        run = formats.FORMATS[name].open(tmp_path / "out" / f"best{formats.FORMATS[name].suffix}")
        for image in images:
            expected = plain.predict_on_batch(image[None])
            np.testing.assert_allclose(run(image[None]), expected, atol=1e-5)
    again = export(folder, ["saved_model"], tmp_path / "out")  # In place of the earlier one.
    assert " 0 of 12 " in again[-1]


@pytest.mark.parametrize("fault", ["another class", "another probability", "no number"])
def test_a_file_that_says_something_else_is_refused(folder, tmp_path, monkeypatch, fault):
    def wrong(run):
        def changed(images):
            answer = np.array(run(images))
            if fault == "another class":
                return answer[:, ::-1]
            return answer * (np.nan if fault == "no number" else 1.02)

        return changed

    honest = formats.FORMATS["saved_model"]
    lying = honest._replace(open=lambda path: wrong(honest.open(path)))
    monkeypatch.setitem(formats.FORMATS, "saved_model", lying)
    with pytest.raises(UserError, match="--format=saved_model: refused and removed"):
        export(folder, ["saved_model"], tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_missing_is_said_before_anything_is_written(folder, tmp_path, monkeypatch):
    lonely = tmp_path / "alone"
    lonely.mkdir()
    (lonely / "best.keras").write_bytes((folder / "best.keras").read_bytes())
    with pytest.raises(UserError, match=r"validation\.txt, the list of the validation pictures"):
        export(lonely, ["saved_model"], tmp_path / "out")
    (lonely / "validation.txt").write_text(f"{lonely / 'gone.png'}\n")
    with pytest.raises(UserError, match=r"1 of 1 cannot be read: .*gone\.png"):
        export(lonely, ["saved_model"], tmp_path / "out")
    monkeypatch.setitem(
        formats.FORMATS, "onnx", formats.FORMATS["onnx"]._replace(packages=("no_such_package",))
    )
    with pytest.raises(UserError, match=re.escape("pip install 'transfer_keras[export]'")):
        export(folder, ["onnx"], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_folder_of_ones_own_is_not_replaced(folder, tmp_path):
    (tmp_path / "best_saved_model").mkdir()
    (tmp_path / "best_saved_model" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="best_saved_model is there, and no SavedModel"):
        export(folder, ["saved_model"], tmp_path)
    assert pathlib.Path(tmp_path / "best_saved_model" / "mine.txt").read_text() == "mine"
