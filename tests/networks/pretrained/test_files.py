"""Files that are given as donors, and networks of keras.applications."""

import keras
import numpy as np
import pytest
from support.keras2_files import Small
from support.networks import (
    PIXELS,
    answers,
    ask,
    classifier,
    network,
    request,
    saved,
    softmax,
    unit_list,
)

from transfer_keras import networks
from transfer_keras.config.errors import UserError

layers = keras.layers


def test_files_that_are_no_network(tmp_path):
    (tmp_path / "bad.keras").write_text("no zip")
    with pytest.raises(UserError, match=r"bad\.keras cannot be used: It is neither a \.keras"):
        network(request(tmp_path / "bad.keras"))
    with pytest.raises(UserError, match=r"--donor=none\.keras: no such file\. Expected the path"):
        ask("none.keras")


def test_files_of_the_older_format(tmp_path):
    own = classifier()
    own.save(tmp_path / "own.h5")
    own.save_weights(tmp_path / "own.weights.h5")
    probabilities = softmax(answers(network(request(tmp_path / "own.h5")), PIXELS))
    assert probabilities == pytest.approx(answers(own, PIXELS), abs=1e-5)
    with pytest.raises(UserError, match=r"no network.*NAME --donor_weights=.*own\.weights\.h5\."):
        network(request(tmp_path / "own.weights.h5"))


def test_files_of_keras_2(tmp_path):
    small = Small()
    path = small.write(tmp_path / "own.h5")
    assert softmax(answers(network(request(path)), small.pixels)) == pytest.approx(
        small.outputs(), abs=1e-5
    )
    assert "own: 4 units, pictures of 6 x 6" in unit_list(request(path))


def test_a_class_that_is_not_here_is_named(tmp_path):
    class Own(layers.ReLU):
        pass

    inputs = keras.Input((24, 24, 3))
    path = saved(tmp_path, keras.Model(inputs, layers.Dense(2)(Own()(inputs))))
    with pytest.raises(UserError, match=r"class 'Own' is not one of Keras's own\. Give --custom_"):
        network(request(path))


def test_a_path_from_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    saved(tmp_path, classifier())
    assert ask("~/own.keras") == ask(tmp_path / "own.keras")
    with pytest.raises(UserError, match=r"--donor_weights=none: is for networks of keras\.appl"):
        ask("~/own.keras", donor_weights="none")


def test_networks_of_any_size_take_224_pixels():
    donor = network(request("keras.applications.MobileNetV3Small", donor_weights="none"))
    assert donor.input_shape == (None, 224, 224, 3)


def test_applications_are_known_by_name():
    with pytest.raises(UserError, match=r"keras\.applications\.MobilNet: not there\. .*MobileNet,"):
        network(request("keras.applications.MobilNet", donor_weights="none"))


def test_weights_that_cannot_be_downloaded_are_an_error(monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # Nobody listens there.
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("KERAS_HOME", "elsewhere")
    donor_request = request("keras.applications.MobileNetV2", image_size=96)
    with pytest.raises(
        UserError,
        match=r"mobilenet_v2_weights.*no_top\.h5 could not be down.*elsewhere/models.*PATH",
    ):
        network(donor_request)


def test_weights_from_a_file(tmp_path):
    make = keras.applications.MobileNetV2
    trained = make(include_top=False, pooling="avg", weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "mine.weights.h5"
    trained.save_weights(path)
    name = "keras.applications.MobileNetV2"
    donor = network(request(name, donor_weights=str(path), image_size=32))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    scaled = keras.applications.mobilenet_v2.preprocess_input(images.copy())
    features = keras.Model(donor.input, donor.get_layer("head").input)
    assert answers(features, images) == pytest.approx(answers(trained, scaled), abs=1e-4)
    for content in (path.read_bytes()[:5000], b"PK"):
        path.write_bytes(content)
        with pytest.raises(UserError, match=r"^--donor_weights=.*\.h5: .*include_top"):
            network(request(name, donor_weights=str(path), image_size=32))


def test_an_untrained_donor_is_the_same_each_time(tmp_path):
    """It is made anew where others were opened in between."""
    experiment = ask("keras.applications.MobileNetV2", donor_weights="none", image_size=32)
    first = network(experiment)
    for number in range(2):
        network(request(saved(tmp_path, classifier(), f"{number}.keras")))
    again = network(experiment)
    assert again is not first
    heads = 2  # Its own, which is never taken.
    weights = first.get_weights()[:-heads], again.get_weights()[:-heads]
    for one, other in zip(*weights, strict=True):
        assert np.array_equal(one, other)


def test_a_network_of_the_paper_can_be_a_donor(program, tmp_path):
    """In a process of its own: its layers are known without being asked for."""
    mean = np.full((67, 67, 3), 110.0)
    networks.build("alexnet", image_size=67, classes=2, mean=mean).save(tmp_path / "own.keras")
    done = program("-m", "transfer_keras.train", "--donor=own.keras", "--list_units", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "own: 8 units, pictures of 67 x 67 pixels" in done.stdout
