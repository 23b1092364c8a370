"""A person's network, or one of keras.applications, as donor."""

import dataclasses

import keras
import numpy as np
import pytest
from own_networks import body, classifier, layers, perturb, write_pictures

from transfer_keras import experiment, own_donor, results
from transfer_keras.errors import UserError
from transfer_keras.settings import Experiment
from transfer_keras.treatments import parse

PIXELS = np.random.default_rng(1).integers(0, 256, (5, 24, 24, 3)).astype(np.float32)


def ask(donor, *names, **settings):
    wanted = tuple(map(parse, names or ["A1B"]))
    return Experiment(wanted, donor=str(donor), split="donor", **settings)


def saved(tmp_path, model, name="own.keras"):
    model.save(tmp_path / name)
    return tmp_path / name


def answers(model, images):
    return keras.ops.convert_to_numpy(model(images, training=False))


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("activation", ["softmax", None])
def test_it_takes_pixels_and_gives_logits(tmp_path, activation):
    own = classifier(activation=activation)
    donor = own_donor.network(ask(saved(tmp_path, own)))
    logits = answers(donor, PIXELS)
    found = softmax(logits) if activation else logits
    assert found == pytest.approx(answers(own, PIXELS), abs=1e-5)


@pytest.mark.parametrize(
    ("pixels", "scaled"),
    [
        ("0..255", PIXELS),
        ("0..1", PIXELS / 255),
        ("-1..1", PIXELS / 127.5 - 1),
        ("mobilenet_v2", keras.applications.mobilenet_v2.preprocess_input(PIXELS.copy())),
        ("resnet50", keras.applications.resnet50.preprocess_input(PIXELS.copy())),
        ("densenet", keras.applications.densenet.preprocess_input(PIXELS.copy())),
        ("efficientnet", keras.applications.efficientnet.preprocess_input(PIXELS.copy())),
    ],
)
def test_pixels_are_scaled_as_the_donor_needs_them(tmp_path, pixels, scaled):
    own = classifier(scaling=False)
    donor = own_donor.network(ask(saved(tmp_path, own), donor_pixels=pixels))
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(own, scaled), abs=1e-5)


def test_grey_donors_see_grey_pictures(tmp_path):
    own = classifier((24, 24, 1))
    donor = own_donor.network(ask(saved(tmp_path, own)))
    grey = (PIXELS @ np.float32([0.2989, 0.5870, 0.1140]))[..., None]
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(own, grey), abs=1e-3)


def test_a_donor_of_bytes_and_any_size(tmp_path):
    own = classifier((None, None, 3), dtype="uint8")
    donor = own_donor.network(ask(saved(tmp_path, own), image_size=24))
    assert donor.input_shape == (None, 24, 24, 3)
    found = softmax(answers(donor, PIXELS))
    assert found == pytest.approx(answers(own, PIXELS.astype(np.uint8)), abs=1e-5)


def test_a_network_around_a_trunk_is_opened(tmp_path):
    inputs = keras.Input((24, 24, 3))
    trunk = keras.Model(inputs, body(inputs), name="trunk")
    whole = keras.Sequential([layers.Rescaling(1 / 255), trunk, layers.Dense(4, "softmax")])
    whole.build((None, 24, 24, 3))
    perturb(whole)
    known = own_donor.resolve(ask(saved(tmp_path, whole)))
    names = [unit.name for unit in known.architecture.units]
    assert names[:3] == ["c1", "c2", "f1"]
    assert len(names) == 4
    donor = own_donor.network(known)
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(whole, PIXELS), abs=1e-5)


def test_features_get_a_head_of_their_own(tmp_path):
    inputs = keras.Input((24, 24, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    x = layers.Conv2D(6, 3, activation="relu", name="c1")(x)
    trunk = keras.Model(inputs, layers.Conv2D(8, 3, activation="relu", name="c2")(x))
    known = own_donor.resolve(ask(saved(tmp_path, trunk)))
    assert [unit.name for unit in known.architecture.units] == ["c1", "c2", "head"]
    donor = own_donor.network(known)
    features = answers(keras.Model(donor.input, donor.get_layer("c2").output), PIXELS)
    assert features == pytest.approx(answers(trunk, PIXELS), abs=1e-5)


def test_sizes_are_those_of_the_layers(tmp_path):
    known = own_donor.resolve(ask(saved(tmp_path, classifier())))
    c1, c2, f1, out = known.architecture.sizes(24, 7)
    assert c1.parameters == 3 * 3 * 3 * 6 + 6 + 4 * 6
    assert c1.macs == 3 * 3 * 3 * 6 * 22**2
    assert c1.activations == 24 * 24 * 3 + 3 * 22**2 * 6
    assert c2.macs == 3 * 3 * 6 * 8 * 20**2
    assert (f1.macs, out.macs) == (8 * 9, 9 * 7)
    assert known.architecture.cuts == (1, 2, 3, 4)


def test_blocks_are_cut_where_they_end(tmp_path):
    inputs = keras.Input((16, 16, 3))
    x = layers.Rescaling(1 / 255)(inputs)
    for name in ("stem", "block_1_a", "block_1_b", "block_2_a", "block_2_b"):
        x = layers.Conv2D(4, 3, padding="same", name=name)(x)
    x = layers.Dense(3, name="out")(layers.GlobalAveragePooling2D()(x))
    path = saved(tmp_path, keras.Model(inputs, x))
    known = own_donor.resolve(ask(path, "A2B", units="block"))
    assert [u.name for u in known.architecture.units] == ["stem", "block_1", "block_2", "out"]
    assert known.architecture.cuts == (1, 3, 5, 6)
    assert known.cut(parse("A2B")) == 3
    assert known.architecture.sizes(16, 3)[1].parameters == 2 * (3 * 3 * 4 * 4 + 4)
    with pytest.raises(UserError, match="has 4 blocks, so 1 to 3 can be transferred"):
        own_donor.resolve(ask(path, "A4B", units="block"))


def two_inputs():
    ends = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return keras.Model(ends, layers.Dense(2)(layers.Flatten()(layers.Add()(ends))))


BAD = [
    (lambda: classifier(scaling=False), {}, r"does not say what pixels it takes"),
    (classifier, {"image_size": 32}, r"--image_size=32: donor=.* takes 24 pixels"),
    (lambda: classifier((None, None, 3)), {}, r"takes pictures of any size\. Give --image_size"),
    (lambda: classifier((24, 20, 3)), {}, r"takes pictures of 24 x 20\. Expected squares"),
    (lambda: classifier((24, 24, 4)), {}, r"Expected pictures of the shape .* 1 or 3 channels"),
    (two_inputs, {}, r"Expected pictures of the shape"),
    (classifier, {"donor_pixels": "0..7"}, r"--donor_pixels=0\.\.7: expected 0\.\.255, 0\.\.1"),
]


@pytest.mark.parametrize(("make", "settings", "message"), BAD, ids=lambda x: str(x)[:20])
def test_what_does_not_fit_is_told(tmp_path, make, settings, message):
    with pytest.raises(UserError, match=message):
        own_donor.network(ask(saved(tmp_path, make()), **settings))


def test_files_that_are_no_network(tmp_path):
    (tmp_path / "bad.keras").write_text("no zip")
    with pytest.raises(UserError, match=r"bad\.keras cannot be used: it is no \.keras file"):
        own_donor.network(ask(tmp_path / "bad.keras"))
    with pytest.raises(UserError, match=r"--donor=none\.keras: no such file\. Expected the path"):
        ask("none.keras")


def test_applications_are_known_by_name():
    with pytest.raises(UserError, match=r"keras\.applications\.MobilNet: not there\. .*MobileNet,"):
        own_donor.network(ask("keras.applications.MobilNet", donor_weights="none"))


def test_weights_that_cannot_be_downloaded_are_told(monkeypatch, tmp_path):
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")  # Nobody listens there.
    monkeypatch.setenv("HOME", str(tmp_path))
    wanted = ask("keras.applications.MobileNetV2", image_size=96)
    with pytest.raises(
        UserError, match=r"mobilenet_v2_weights.*no_top\.h5 could not be down.*PATH"
    ):
        own_donor.network(wanted)


def test_weights_from_a_file(tmp_path):
    make = keras.applications.MobileNetV2
    trained = make(include_top=False, pooling="avg", weights=None, input_shape=(32, 32, 3))
    path = tmp_path / "mine.weights.h5"
    trained.save_weights(path)
    name = "keras.applications.MobileNetV2"
    donor = own_donor.network(ask(name, donor_weights=str(path), image_size=32))
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3)).astype(np.float32)
    scaled = keras.applications.mobilenet_v2.preprocess_input(images.copy())
    features = keras.Model(donor.input, donor.get_layer("head").input)
    assert answers(features, images) == pytest.approx(answers(trained, scaled), abs=1e-4)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"--donor=keras\.applications\.MobileNetV2: .*include_top"):
        own_donor.network(ask(name, donor_weights=str(path), image_size=32))


def test_an_untrained_donor_is_the_same_each_time():
    wanted = ask("keras.applications.MobileNetV2", donor_weights="none", image_size=32)
    first = [w.copy() for w in own_donor.network(wanted).get_weights()]
    own_donor._opened.cache_clear()
    again = own_donor.network(wanted).get_weights()
    heads = 2  # Its own, which is never taken.
    for one, other in zip(first[:-heads], again[:-heads], strict=True):
        assert np.array_equal(one, other)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of all kinds of treatments, two steps each."""
    folder = tmp_path_factory.mktemp("own")
    own = classifier()
    path = saved(folder, own)
    dataset = write_pictures(folder / "pictures")
    names = ["A1B", "A3B", "A2B+", "B2B", "R2B"]
    wanted = ask(path, *names, dataset=dataset, steps=4, batch_size=8, validations=2)
    wanted = own_donor.resolve(dataclasses.replace(wanted, metrics_every=2))
    ran = experiment.run(wanted, folder / "run", say=lambda _: None)
    assert {t.name for t in ran} == {"baseB", *names}
    return own, folder / "run"


def test_frozen_units_are_the_donors(done):
    own, run = done
    given = {w.path: w.numpy() for w in own.weights}
    for name, frozen in (("A1B", {"c1"}), ("A3B", {"c1", "c2", "f1"}), ("A2B+", set())):
        model = keras.saving.load_model(results.network_path(run, name))
        assert model.output_shape == (None, 3)
        for layer in model.layers:
            unit = layer.name.removesuffix("_norm")
            for weight in layer.weights:
                if layer.name == "out" or weight.path not in given:
                    assert layer.name == "out"
                    continue
                same = np.array_equal(weight.numpy(), given[weight.path])
                assert same == (unit in frozen), (name, weight.path)


def test_batch_norm_of_frozen_units_stays_and_of_others_is_told_to_follow(done):
    _, run = done
    model = keras.saving.load_model(results.network_path(run, "A1B"))
    assert not model.get_layer("c1_norm").trainable
    assert model.get_layer("c2_norm").trainable
    assert model.get_layer("c2_norm").momentum == 0.0  # Of 4 steps a tenth is none.


def test_rows_are_of_all_validation_pictures(done):
    _, run = done
    rows = {name: results.read_row(run, name) for name in ("baseB", "A3B", "A2B+", "R2B")}
    assert {row.test_images for row in rows.values()} == {3 * 2}
    assert rows["A3B"].trainable_parameters == 9 * 3 + 3
    assert not (run / "baseA").exists()
    facts = results.read_experiment(run)
    assert list(facts["data"]) == ["dataset", "B", "skipped_images"]
    assert facts["settings"]["donor"].startswith("own.keras ")


def test_another_donor_in_the_same_workdir_is_refused(done, tmp_path):
    own, run = done
    own.get_layer("out").bias.assign(np.ones(7))
    path = saved(tmp_path, own)
    dataset = f"folder:{run.parent / 'pictures'}"
    wanted = own_donor.resolve(ask(path, "A1B", dataset=dataset, steps=4, batch_size=8))
    with pytest.raises(UserError, match=r"donor is 'own\.keras \w+' there, 'own\.keras \w+' here"):
        experiment.run(wanted, run, say=lambda _: None)


def test_nothing_is_trained_towards_the_donors_own_task(tmp_path):
    path = saved(tmp_path, classifier())
    with pytest.raises(UserError, match=r"--treatments=B1A: with --donor, A is what the donor"):
        ask(path, "B1A")
    with pytest.raises(UserError, match=r"--preprocessing=paper takes a mean image off"):
        ask(path, preprocessing="paper")
