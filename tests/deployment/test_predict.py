"""A network in one file, and what it says of pictures of every kind."""

import csv
import dataclasses
import io
import os
import pathlib

import keras
import numpy as np
import pytest
from PIL import Image
from scipy import special
from sklearn import metrics
from support.damaged_classifiers import DAMAGES
from support.forged_pictures import animation, claims

from transfer_keras.config import DonorSettings, UserError
from transfer_keras.datasets import Division, TaskPair
from transfer_keras.deployment import (
    NetworkFacts,
    open_classifier,
    predict_pictures,
    save_classifier,
)
from transfer_keras.deployment.classifier import Prediction
from transfer_keras.deployment.evaluation import Evaluation
from transfer_keras.deployment.network_file import read_facts
from transfer_keras.deployment.picture_list import find_pictures, labels_of
from transfer_keras.deployment.table import write_table
from transfer_keras.networks import pretrained

CLASSES = ("ants", "bees", "=cmd()")
FACTS = NetworkFacts(
    CLASSES, 32, 32, 4, temperature=2.0, certainty=(0.4, 0.6, 0.9), right=(0, 1, 1)
)


@pytest.fixture(scope="module")
def model():
    """Makes a network that gives logits of its own, far from equal."""
    keras.utils.set_random_seed(3)
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Rescaling(1 / 127.5, -1)(inputs)
    x = keras.layers.Conv2D(8, 3, activation="relu")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, keras.layers.Dense(3, kernel_initializer="he_normal")(x))


@pytest.fixture(scope="module")
def network(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "best.keras"
    save_classifier(path, model, FACTS)
    return path


def photograph(seed, size=(60, 45), mode="RGB"):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC).convert(mode)


def turned(orientation):
    exif = Image.Exif()
    exif[274] = orientation
    return exif


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Makes pictures of every kind in two folders of classes."""
    folder = tmp_path_factory.mktemp("pictures")
    for label in ("ants", "bees"):
        (folder / label).mkdir()
        for number in range(3):
            photograph(number + 10 * (label == "bees")).save(folder / label / f"{number}.jpg")
    photograph(20, (4000, 3000)).save(folder / "ants" / "large.jpg")
    photograph(21, mode="L").save(folder / "ants" / "grey.png")
    photograph(22, mode="RGBA").save(folder / "ants" / "transparent.png")
    photograph(23, mode="CMYK").save(folder / "bees" / "cmyk.jpg")
    sixteen = np.asarray(photograph(24, mode="L"), np.uint16) * 257
    Image.fromarray(sixteen).save(folder / "bees" / "sixteen.png")
    photograph(25).save(folder / "bees" / "turned.jpg", exif=turned(6))
    photograph(26).save(folder / "bees" / "webp.webp", lossless=True)
    return folder


def test_keras_ignores_what_is_known_of_it(model, network):
    plain = keras.saving.load_model(network)
    assert read_facts(network) == FACTS
    pixels = np.random.default_rng(0).uniform(0, 255, (5, 32, 32, 3))
    expected = special.softmax(model.predict(pixels, verbose=0) / 2.0, axis=-1)
    np.testing.assert_allclose(plain.predict(pixels, verbose=0), expected, atol=1e-6)


def test_validation_and_predict_give_the_same_bits(network, pictures):
    """Streamed or in memory, together or one by one."""
    classifier = open_classifier(network)
    preprocessing = classifier.facts.make_preprocessing()
    for in_memory in (True, False):
        pair = TaskPair(f"folder:{pictures}", None, "donor", division=Division(0.9))
        every = pair.read(preprocessing, batch_size=2, in_memory=in_memory)
        for examples in (split["B"] for split in every):
            paths = [examples.records.name(place) for place in examples.numbers]
            seen = np.concatenate([x for x, _ in examples.evaluation(batch_size=4)])
            for path, pixels in zip(paths, seen, strict=True):
                assert np.array_equal(classifier.read(path), pixels), path
        assert len(paths) == 11  # And two to train on.
        expected = classifier.model.predict_on_batch(seen)
        answers = list(classifier.predict(paths, batch_size=len(paths)))
        assert np.array_equal([one.probabilities for one in answers], expected)
    alone = [next(iter(classifier.predict([path], batch_size=5))) for path in paths]
    together = list(classifier.predict(paths, batch_size=5))
    for one, other in zip(alone, together, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
        assert one.label == CLASSES[one.probabilities.argmax()] == other.label


def test_a_folder_becomes_a_table_and_a_page(network, pictures, tmp_path):
    (pictures / "ants" / "bad.jpg").write_bytes(b"nothing")
    (pictures / "ants" / "notes.md").write_text("no picture")
    lines = []
    try:
        predict_pictures(network, str(pictures), tmp_path / "o" / "out.csv", log=lines.append)
    finally:
        (pictures / "ants" / "bad.jpg").unlink()
    rows = list(csv.DictReader((tmp_path / "o" / "out.csv").open()))
    assert len(rows) == 14
    (bad,) = [row for row in rows if row["fault"]]
    assert bad["path"].endswith("bad.jpg")
    assert (bad["class"], bad["probability"]) == ("", "")
    assert any(line.startswith(f"{pictures / 'ants' / 'bad.jpg'} cannot be read") for line in lines)
    answers = {one.path: one for one in open_classifier(network).predict(find_pictures(pictures))}
    for row in rows:
        if not row["fault"]:
            answer = answers[row["path"]]
            order = np.argsort(-answer.probabilities)
            names = [row["class"], row["class_2"], row["class_3"]]
            assert [name.lstrip("'") for name in names] == [CLASSES[k] for k in order]
            assert float(row["probability"]) == pytest.approx(answer.probabilities.max(), abs=1e-6)
    text = "\n".join(lines)
    right = sum(row["class"] == pathlib.Path(row["path"]).parent.name for row in rows)
    assert f"Accuracy {right / 13:.3f} (95 % " in text
    page = (tmp_path / "o" / "evaluation.html").read_text()
    assert "1 more cannot be read and count for nothing." in page
    assert page.count("<figure><img") == 13 - right


def test_a_threshold_gives_unknown(network, pictures, tmp_path):
    lines = []
    probabilities = [
        one.probabilities.max() for one in open_classifier(network).predict(find_pictures(pictures))
    ]
    threshold = float(np.median(probabilities)) + 1e-5
    predict_pictures(
        network, str(pictures), tmp_path / "out.csv", threshold=threshold, log=lines.append
    )
    rows = list(csv.DictReader((tmp_path / "out.csv").open()))
    unknown = [row for row in rows if row["class"] == "unknown"]
    assert len(unknown) == sum(p < threshold for p in probabilities) > 0
    assert all(row["most_probable"].lstrip("'") in CLASSES for row in rows)
    text = "\n".join(lines)
    assert f"{len(unknown)} of 13 are unknown" in text
    lines.clear()
    predict_pictures(network, str(pictures), tmp_path / "o.csv", threshold=0.5, log=lines.append)
    assert lines[0] == ("--threshold=0.5 refuses 33.3% of 3 validation pictures; of the others "
                        "100.0% are right, of all 66.7%.")  # fmt: skip


def test_cells_are_no_formulas(tmp_path):
    predictions = [
        Prediction("=1+1.jpg", "=cmd()", np.array([0.1, 0.2, 0.7], np.float32)),
        Prediction("@x.jpg", None, None, "-cannot be read"),
    ]
    list(write_table(tmp_path / "t.csv", predictions, CLASSES))
    cells = [cell for row in csv.reader((tmp_path / "t.csv").open()) for cell in row]
    assert {"'=1+1.jpg", "'=cmd()", "'@x.jpg", "'-cannot be read"} <= {*cells}
    assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@"))]


def test_the_scores_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    probabilities = special.softmax(rng.normal(0, 2, (80, 4)), axis=-1).astype(np.float32)
    labels = rng.integers(0, 3, 80)  # No picture is of the last class.
    classes = ("a", "b", "c", "d")
    predictions = [Prediction(f"{k}.jpg", "", p) for k, p in enumerate(probabilities)]
    evaluation = Evaluation(predictions, labels, classes)
    predicted = probabilities.argmax(axis=-1)
    first, second = evaluation.lines()
    assert first.startswith(f"Accuracy {np.mean(labels == predicted):.3f} (95 % ")
    recalls = [np.mean(predicted[labels == k] == k) for k in range(3)]
    assert second.startswith(f"Balanced accuracy {np.mean(recalls):.3f} (95 % ")
    assert f"macro-F1 {metrics.f1_score(labels, predicted, average='macro'):.3f}" in second
    rows = [line.split() for line in evaluation.table().splitlines()[2:]]
    for k, row in enumerate(rows):
        precision = np.mean(labels[predicted == k] == k)
        assert row[:3] == [classes[k], str(np.sum(labels == k)), f"{precision:.3f}"]
        assert row[3] == (f"{recalls[k]:.3f}" if k < 3 else "-")
    half = dataclasses.replace(evaluation, threshold=0.6)
    sure = probabilities.max(axis=-1) >= 0.6
    assert half.lines()[0].startswith(f"--threshold=0.6: {80 - sure.sum()} of 80 are unknown")
    assert half.lines()[1].startswith(f"Accuracy {np.mean((labels == predicted)[sure]):.3f} ")
    assert dataclasses.replace(evaluation, threshold=1.0).lines()[1:] == []


def test_pictures_are_found_and_their_classes(tmp_path):
    for name in ("a/1.jpg", "a/deep/2.PNG", ".hidden/3.jpg", "a/.4.jpg", "b/notes.txt", "5.bmp"):
        path = tmp_path / "all" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    root = tmp_path / "all"
    expected = [str(root / name) for name in ("5.bmp", "a/1.jpg", "a/deep/2.PNG")]
    assert find_pictures(str(root)) == expected
    assert find_pictures(str(root / "5.bmp")) == expected[:1]
    (tmp_path / "list.txt").write_text("x/1.jpg\n\ny z.jpg\n")
    assert find_pictures(str(tmp_path / "list.txt")) == ["x/1.jpg", "y z.jpg"]
    assert labels_of(["q/b/1.jpg", "a/2.jpg"], ("a", "b")) == ([1, 0], None)
    assert labels_of(["q/b/1.jpg", "c/2.jpg"], ("a", "b")) == (None, "c/2.jpg")
    assert labels_of(["q/c/1.jpg", "c/2.jpg"], ("a", "b")) == (None, None)
    (root / "linked").symlink_to(tmp_path / "elsewhere")
    (root / "a" / "back").symlink_to(root)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "6.jpg").write_bytes(b"")
    assert find_pictures(str(root)) == [*expected, str(root / "linked" / "6.jpg")]
    (tmp_path / "bom.txt").write_bytes("\ufeffx/\u20281.jpg\r\ny.jpg".encode())
    assert find_pictures(str(tmp_path / "bom.txt")) == ["x/\u20281.jpg", "y.jpg"]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_network_is_one_line(network, tmp_path, damage):
    make, message = DAMAGES[damage]
    path = tmp_path / "best.keras"
    make(network, path)
    with pytest.raises(UserError) as error:
        open_classifier(path)
    begin = f"--network={path}" + ("" if message.startswith("cannot be used") else ":")
    assert str(error.value).startswith(f"{begin} {message}")
    assert "\n" not in str(error.value)


def test_what_is_read_is_not_written_over(network, pictures, tmp_path):
    path = tmp_path / "list.txt"
    path.write_text(f"{pictures / 'ants' / '0.jpg'}\n")
    for output, message in (
        (path, "is one of the files that are read"),
        (network, "is one of the files that are read"),
        (pictures / "ants" / "0.jpg", "is one of the files that are read"),
        (tmp_path, "is a folder. Expected the name of a CSV file"),
    ):
        before = None if output.is_dir() else output.read_bytes()
        with pytest.raises(UserError, match=message):
            predict_pictures(network, str(path), output)
        assert before is None or output.read_bytes() == before


def test_a_classifier_as_donor_gives_its_logits(model, network, tmp_path):
    """Without the temperature, which is of the old head; and it can be saved again."""
    settings = DonorSettings(path=str(network))
    donor = pretrained.open_pretrained(settings, None).model
    pixels = np.random.default_rng(0).uniform(0, 255, (4, 32, 32, 3)).astype(np.float32)
    np.testing.assert_allclose(donor.predict(pixels, verbose=0), model.predict(pixels, verbose=0),
                               atol=1e-5)  # fmt: skip
    save_classifier(tmp_path / "again.keras", donor, FACTS)
    last = keras.layers.Activation("linear", name="probabilities")
    named = keras.Model(model.input, last(model.output))
    save_classifier(tmp_path / "named.keras", named, FACTS)
    assert open_classifier(tmp_path / "named.keras").facts == FACTS


def test_a_palette_in_a_bmp_is_refused_as_in_training(network, tmp_path):
    photograph(1).convert("P").save(tmp_path / "x.bmp")
    (one,) = open_classifier(network).predict([str(tmp_path / "x.bmp")])
    assert one.fault.startswith("has a palette")


def test_one_picture_outside_the_classes_is_named(network, pictures, tmp_path):
    (tmp_path / "list.txt").write_text(f"{pictures / 'ants' / '0.jpg'}\n{tmp_path / 'x.jpg'}\n")
    photograph(3).save(tmp_path / "x.jpg")
    lines = []
    predict_pictures(network, str(tmp_path / "list.txt"), tmp_path / "o.csv", log=lines.append)
    assert (
        lines[-1] == f"No evaluation: {tmp_path / 'x.jpg'} lies in no folder with a class's name."
    )


def test_names_that_do_not_fit_are_refused(model, tmp_path):
    save_classifier(tmp_path / "n.keras", model, dataclasses.replace(FACTS, classes=("a", "b")))
    with pytest.raises(UserError, match="3 outputs, and 2 names of classes"):
        open_classifier(tmp_path / "n.keras")


def test_nothing_is_left_of_a_table_that_is_interrupted(tmp_path):
    def stopped():
        yield Prediction("a.jpg", "ants", np.array([1.0, 0, 0], np.float32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(write_table(tmp_path / "t.csv", stopped(), CLASSES))
    assert list(tmp_path.iterdir()) == []


def test_a_picture_that_is_cut_off_is_named(network, tmp_path):
    data = io.BytesIO()
    photograph(1, (400, 300)).save(data, "JPEG")
    (tmp_path / "half.jpg").write_bytes(data.getvalue()[:1500])
    (one,) = open_classifier(network).predict([str(tmp_path / "half.jpg")])
    assert one.probabilities is None
    assert one.fault.startswith("cannot be read (")


def test_what_would_fill_the_memory_or_block_is_named(network, tmp_path):
    (tmp_path / "large.png").write_bytes(claims("PNG", 100_000, 100_000))
    (tmp_path / "frames.gif").write_bytes(animation(4000, 300))
    with open(tmp_path / "long.png", "wb") as file:
        file.truncate(2**40)
    os.mkfifo(tmp_path / "pipe.png")
    paths = [str(tmp_path / n) for n in ("large.png", "frames.gif", "long.png", "pipe.png")]
    large, frames, long, pipe = (one.fault for one in open_classifier(network).predict(paths))
    assert large == frames
    assert large.startswith("has more than 178,956,970 pixels, which would fill the memory")
    assert long.startswith("is a file of 1,099,511,627,776 bytes")
    assert pipe == "is no file"
