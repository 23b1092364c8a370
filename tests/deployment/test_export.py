"""Networks in other formats, each compared with the network itself."""

import re

import keras
import numpy as np
import pytest
from PIL import Image

from transfer_keras.config import UserError, choices
from transfer_keras.deployment import (
    NetworkFacts,
    export_network,
    exporting,
    formats,
    save_classifier,
)

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
    before = {path: path.read_bytes() for path in (tmp_path / "out").glob("*.*")}
    with pytest.raises(UserError, match=r"best_saved_model is there already\. Give another folder"):
        export(folder, ["saved_model", "onnx"], tmp_path / "out")
    assert {path: path.read_bytes() for path in (tmp_path / "out").glob("*.*")} == before


def test_one_format_that_fails_does_not_end_the_others(folder, tmp_path, monkeypatch):
    def fails(model, name, path, examples=None):
        raise UserError(f"--format={name}: the network cannot be written so")

    monkeypatch.setattr(exporting, "write_format", fails)
    with pytest.raises(UserError) as error:
        export(folder, ["saved_model", "onnx"], tmp_path / "out")
    assert str(error.value).count("cannot be written so") == 2
    assert list((tmp_path / "out").iterdir()) == []


def test_what_a_converter_raises_is_one_line(folder, tmp_path, monkeypatch):
    def broken(self, *arguments, **options):
        raise RuntimeError("an operation\nthat is not known")

    monkeypatch.setattr(keras.Model, "export", broken)
    message = "the network cannot be written so .an operation that is not known"
    with pytest.raises(UserError, match=message):
        export(folder, ["onnx"], tmp_path / "out")


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
    with pytest.raises(UserError, match="--format=saved_model: refused: of 12 pictures"):
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


@pytest.mark.parametrize("name", ["best_saved_model", "best.onnx"])
def test_what_is_there_is_not_replaced(folder, tmp_path, name):
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match=f"{name} is there already"):
        export(folder, ["saved_model", "onnx"], tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == [name, "mine.txt"]
