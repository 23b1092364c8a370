"""A person's network, or one of keras.applications, as donor."""

import keras
import numpy as np
import pytest
from support.networks import (
    PIXELS,
    answers,
    ask,
    body,
    classifier,
    layers,
    network,
    perturb,
    request,
    saved,
    softmax,
    unit_list,
    write_pictures,
)

from transfer_keras.config.errors import UserError
from transfer_keras.config.treatments import parse_treatment
from transfer_keras.experiments.run import run_experiment
from transfer_keras.networks import pretrained
from transfer_keras.results import Workdir


@pytest.mark.parametrize("activation", ["softmax", None])
def test_it_takes_pixels_and_gives_logits(tmp_path, activation):
    own = classifier(activation=activation)
    donor = network(request(saved(tmp_path, own)))
    logits = answers(donor, PIXELS)
    outputs = softmax(logits) if activation else logits
    assert outputs == pytest.approx(answers(own, PIXELS), abs=1e-5)


def test_a_network_around_a_trunk_is_opened(tmp_path):
    inputs = keras.Input((24, 24, 3))
    trunk = keras.Model(inputs, body(inputs), name="trunk")
    whole = keras.Sequential([layers.Rescaling(1 / 255), trunk, layers.Dense(4, "softmax")])
    whole.build((None, 24, 24, 3))
    perturb(whole)
    known = ask(saved(tmp_path, whole))
    names = [unit.name for unit in known.architecture.units]
    assert names[:3] == ["c1", "c2", "f1"]
    assert len(names) == 4
    donor = network(known)
    assert softmax(answers(donor, PIXELS)) == pytest.approx(answers(whole, PIXELS), abs=1e-5)


def test_sizes_are_those_of_the_layers(tmp_path):
    known = ask(saved(tmp_path, classifier()))
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
    known = ask(path, "A2B", units="block")
    assert [u.name for u in known.architecture.units] == ["stem", "block_1", "block_2", "out"]
    assert known.architecture.cuts == (1, 3, 5, 6)
    assert known.units_transferred(parse_treatment("A2B")) == 3
    assert known.architecture.sizes(16, 3)[1].parameters == 2 * (3 * 3 * 4 * 4 + 4)
    with pytest.raises(UserError, match=r"has 4 blocks\. .* Expected 1 to 3"):
        ask(path, "A4B", units="block")


@keras.saving.register_keras_serializable(package="tests")
class OwnTraining(keras.Model):
    """Trains in its own way."""

    def train_step(self, data):
        raise AssertionError("is not used here")


def test_a_class_that_trains_in_its_own_way_is_taken_for_its_graph(tmp_path):
    model = classifier()
    OwnTraining(model.inputs, model.outputs).save(tmp_path / "own.keras")
    opened = network(request(tmp_path / "own.keras"))
    assert type(opened) is type(keras.Model(model.inputs, model.outputs))
    ask(tmp_path / "own.keras", "A3B")


def test_low_rank_adapters_are_merged(tmp_path):
    model = classifier(activation=None)
    model.get_layer("f1").enable_lora(2)
    for weight in model.get_layer("f1").trainable_weights:
        weight.assign(weight + 0.1)
    expected = model.predict(PIXELS, verbose=0)
    model.save(tmp_path / "own.keras")
    opened = network(request(tmp_path / "own.keras"))
    np.testing.assert_allclose(opened.predict(PIXELS, verbose=0), expected, rtol=1e-4, atol=1e-4)
    assert len(opened.get_layer("f1").weights) == 2


def test_layers_that_are_frozen_in_the_file_are_named(tmp_path):
    model = classifier()
    assert pretrained_note(model, tmp_path / "all.keras") is None
    for layer in model.layers[:4]:
        layer.trainable = False
    assert pretrained_note(model, tmp_path / "some.keras").startswith(
        "2 layers are frozen in the donor's file (c1, c1_norm); where units are fine-tuned"
    )


def pretrained_note(model, path):
    model.save(path)
    asked = request(path)
    return pretrained.describe_frozen(asked.donor, asked.training.image_size)


def test_weights_that_are_no_numbers_are_named(tmp_path):
    own = classifier()
    own.get_layer("c2").bias.assign([np.inf, *[0] * 7])
    own.get_layer("f1").kernel.assign(np.full((8, 9), np.nan))
    with pytest.raises(UserError, match=r"weights that are infinite or no numbers, in c2, f1\. "):
        network(request(saved(tmp_path, own)))


def shared_layer():
    inputs = keras.Input((24, 24, 3))
    again = layers.Conv2D(3, 3, padding="same", name="again")
    x = again(layers.Rescaling(1 / 255)(inputs))
    x = layers.Conv2D(3, 3, padding="same", name="between")(x)
    x = layers.GlobalAveragePooling2D()(again(x))
    return keras.Model(inputs, layers.Dense(3, name="out")(layers.Dense(4, name="f")(x)))


def test_it_is_not_cut_where_a_layer_lies_on_both_sides(tmp_path):
    path = saved(tmp_path, shared_layer())
    known = ask(path, "A2B", "A3B+")
    assert known.architecture.cut_points == (2, 3)
    with pytest.raises(UserError, match=r"--treatments=A1B: a layer .* Expected .* n: 2, 3\."):
        ask(path, "A2B", "A1B")
    assert "Choose n of 2, 3 (at others a layer is used on both sides)" in unit_list(known)


def spectral(inside):
    """A network whose second convolution has its spectral norm divided off."""
    inputs = keras.Input((24, 24, 3))
    x = layers.Conv2D(4, 3, name="c1")(layers.Rescaling(1 / 255)(inputs))
    norm = layers.SpectralNormalization(layers.Conv2D(4, 3), name="spectral")
    x = layers.TimeDistributed(norm)(layers.Reshape((1, 22, 22, 4))(x)) if inside else norm(x)
    x = layers.Reshape((20, 20, 4))(x)
    return keras.Model(inputs, layers.Dense(3)(layers.GlobalAveragePooling2D()(x)))


def test_a_frozen_spectral_norm_keeps_still(tmp_path):
    own = spectral(inside=False)
    path, dataset = saved(tmp_path, own), write_pictures(tmp_path / "pictures")
    experiment = ask(path, "A2B", dataset=dataset, steps=4, batch_size=8, validations=1)
    workdir = Workdir(tmp_path / "run")
    run_experiment(experiment, workdir, log=lambda _: None)
    trained = keras.saving.load_model(workdir.network_path("A2B"), compile=False)
    for given, kept in zip(
        own.get_layer("spectral").weights, trained.get_layer("spectral").weights, strict=True
    ):
        np.testing.assert_array_equal(given, kept)


def test_what_moves_though_frozen_is_only_fine_tuned(tmp_path):
    path = saved(tmp_path, spectral(inside=True))
    known = ask(path, "A1B", "A2B+")
    assert "Unit 2 can only be fine-tuned: 'spectral'" in unit_list(known)
    for name in ("A2B", "R2B"):
        with pytest.raises(UserError, match=r"'spectral' \(Spec.* or freeze at most 1\."):
            ask(path, name)


def two_inputs():
    ends = [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))]
    return keras.Model(ends, layers.Dense(2)(layers.Flatten()(layers.Add()(ends))))


def without_weights():
    return keras.Sequential([keras.Input((24, 24, 3)), layers.GlobalAveragePooling2D()])


def one_unit():
    scaled = [keras.Input((24, 24, 3)), layers.Rescaling(1 / 255)]
    return keras.Sequential([*scaled, layers.Flatten(), layers.Dense(3)])


def unbuilt():
    return keras.Sequential([layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(3)])


BAD = [
    (lambda: classifier(scaling=False), {}, r"does not say what pixels it takes"),
    (classifier, {"image_size": 32}, r"--image_size=32: --donor=.* takes 24 pixels"),
    (lambda: classifier((None, None, 3)), {}, r"takes pictures of any size\. Give --image_size"),
    (lambda: classifier((24, 20, 3)), {}, r"takes pictures of 24 x 20\. Expected squares"),
    (lambda: classifier((24, 24, 4)), {}, r"Expected pictures of the shape .* 1 or 3 channels"),
    (two_inputs, {}, r"Expected pictures of the shape"),
    (without_weights, {}, r"has no weight of rank 2 or more, so no unit"),
    (one_unit, {}, r"has a single unit; at least two are needed"),
    (one_unit, {"units": "block"}, r"has a single block; at least two are needed"),
    (unbuilt, {}, r"own\.keras: was saved before it was built: give it keras\.Input"),
    (
        lambda: classifier(scaling=False, dtype="uint8"),
        {"donor_pixels": "0..1"},
        r"whole numbers \(uint8\)",
    ),
    (classifier, {"donor_pixels": "0..7"}, r"--donor_pixels=0\.\.7: expected 0\.\.255, 0\.\.1"),
]


@pytest.mark.parametrize(("make", "settings", "message"), BAD, ids=lambda x: str(x)[:20])
def test_what_does_not_fit_is_refused(tmp_path, make, settings, message):
    with pytest.raises(UserError, match=message):
        unit_list(request(saved(tmp_path, make()), **settings))


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """Runs all kinds of treatments, four steps each."""
    folder = tmp_path_factory.mktemp("own")
    own = classifier()
    path = saved(folder, own)
    dataset = write_pictures(folder / "pictures")
    names = ["A1B", "A3B", "A2B+", "B2B", "R2B"]
    experiment = ask(path, *names, dataset=dataset, steps=4, batch_size=8, validations=2)
    experiment = experiment.replace(metrics_every=2)
    ran = run_experiment(experiment, Workdir(folder / "run"), log=lambda _: None)
    assert {t.name for t in ran} == {"baseB", *names}
    return own, folder / "run"


def test_frozen_units_are_the_donors(done):
    own, run = done
    given = {w.path: w.numpy() for w in own.weights}
    norms = {"c1_norm", "c2_norm"}  # By default they are kept where the rest is fine-tuned.
    for name, frozen in (
        ("A1B", {"c1", "c1_norm"}),
        ("A3B", {"c1", "c2", "f1", *norms}),
        ("A2B+", norms),
    ):
        model = keras.saving.load_model(Workdir(run).network_path(name))
        assert model.output_shape == (None, 3)
        for layer in model.layers:
            for weight in layer.weights:
                if layer.name == "out" or weight.path not in given:
                    assert layer.name == "out"
                    continue
                same = np.array_equal(weight.numpy(), given[weight.path])
                assert same == (layer.name in frozen), (name, weight.path)


def test_batch_norm_of_frozen_units_stays_and_of_trained_units_moves(done):
    _, run = done
    model = keras.saving.load_model(Workdir(run).network_path("A1B"))
    assert not model.get_layer("c1_norm").trainable
    assert model.get_layer("c2_norm").trainable
    assert model.get_layer("c2_norm").momentum == 0.0  # Of 4 steps a tenth is none.


def test_rows_are_of_all_validation_pictures(done):
    _, run = done
    rows = {name: Workdir(run).row(name) for name in ("baseB", "A3B", "A2B+", "R2B")}
    assert {row.test_images for row in rows.values()} == {3 * 2}
    assert rows["A3B"].trainable_parameters == 9 * 3 + 3
    assert not (run / "baseA").exists()
    facts = Workdir(run).read_facts()
    assert list(facts["data"]) == ["dataset", "B", "skipped_images", "contents"]
    assert facts["settings"]["donor"].startswith("own.keras ")


def test_another_donor_in_the_same_workdir_is_refused(done, tmp_path):
    own, run = done
    own.get_layer("out").bias.assign(np.ones(7))
    path = saved(tmp_path, own)
    dataset = f"folder:{run.parent / 'pictures'}"
    experiment = ask(path, "A1B", dataset=dataset, steps=4, batch_size=8)
    with pytest.raises(UserError, match=r"donor is 'own\.keras \w+' there, 'own\.keras \w+' here"):
        run_experiment(experiment, Workdir(run), log=lambda _: None)


def test_nothing_is_trained_towards_the_donors_own_task(tmp_path):
    path = saved(tmp_path, classifier())
    with pytest.raises(UserError, match=r"--treatments=B1A: with --donor, A is what the donor"):
        ask(path, "B1A")
    with pytest.raises(UserError, match=r"--preprocessing=paper takes a mean image off"):
        ask(path, preprocessing="paper")
