import keras
import numpy as np
import pytest
from support.small_network import as_numpy, images, make_donor, same, values

from transfer_keras import surgery


@pytest.fixture
def networks():
    donor = make_donor()
    return {
        "A2B": surgery.transplant(donor, 2, seed=1).model,
        "A2B+": surgery.transplant(donor, 2, mode="fine_tune", seed=2, head=3).model,
        "R1B": surgery.transplant(donor, 1, mode="random", seed=3).model,
    }


def test_fused_outputs_flags_and_dropout_are_each_networks_own(networks):
    x = images()
    fused = surgery.fuse(networks)
    count = sum(len(model.trainable_weights) for model in networks.values())
    assert len(fused.trainable_weights) == count
    for _ in range(2):  # Dropout's state moves with each call, and so must its copy.
        masked = fused(x, training=True)
        for name, model in networks.items():
            assert same(masked[name], model(x, training=True)), name
    plain = fused(x)
    for name, model in networks.items():
        assert same(plain[name], model(x)), name


def test_extract_gives_the_network_back(networks, tmp_path):
    x = images()
    fused = surgery.fuse(networks)
    for weight in fused.trainable_weights:
        weight.assign(weight * 1.5)
    for name, model in networks.items():
        part = surgery.extract(fused, name)
        assert part.name == name.replace("+", "_"), "TensorFlow takes no plus sign."
        predicted = part.predict(x, verbose=0)  # Compiled, and so rounded otherwise.
        np.testing.assert_allclose(predicted, as_numpy(part(x)), rtol=1e-4, atol=1e-5)
        assert [layer.name for layer in part.layers[1:]] == [x.name for x in model.layers[1:]]
        assert [x.trainable for x in part.layers[1:]] == [x.trainable for x in model.layers[1:]]
        assert same(part(x), fused(x)[name])
        scaled = values(model)
        for weight, value in values(part).items():
            layer = model.get_layer(weight.split("/")[0])
            moved = layer.trainable and "moving" not in weight
            assert same(value, scaled[weight] * 1.5 if moved else scaled[weight]), weight
        part.save(tmp_path / "part.keras")
        again = keras.saving.load_model(tmp_path / "part.keras")
        assert same(again(x), part(x))
        assert [x.trainable for x in again.layers] == [x.trainable for x in part.layers]


def test_extracted_shares_nothing_with_the_fused(networks):
    fused = surgery.fuse(networks)
    part = surgery.extract(fused, "A2B")
    before = values(part)
    for weight in fused.weights:
        weight.assign(weight + 1)
    assert all(same(before[k], v) for k, v in values(part).items())


def test_the_units_of_one_network_inside(networks):
    fused = surgery.fuse(networks)
    x = images()
    for name, model in networks.items():
        inside_units, expected = surgery.fused_units(fused, name), surgery.units(model)
        assert [unit.name for unit in inside_units] == [unit.name for unit in expected]
        for inside, alone in zip(inside_units, expected, strict=True):
            assert inside.parameters == alone.parameters
            for one, other in zip(inside.kernels, alone.kernels, strict=True):
                assert np.array_equal(as_numpy(one), as_numpy(other))
            assert {id(layer) for layer in inside.layers} <= {id(x) for x in fused.layers}
            output = keras.Model(fused.input, inside.output)(x)
            assert same(output, keras.Model(model.input, alone.output)(x))
    with pytest.raises(KeyError, match="No network named 'A9B'"):
        surgery.fused_units(fused, "A9B")


def test_unknown_name(networks):
    with pytest.raises(KeyError, match=r"No network named 'A3B'.*A2B"):
        surgery.extract(surgery.fuse(networks), "A3B")
    with pytest.raises(KeyError, match="not a fused model"):
        surgery.extract(networks["A2B"], "A2B")


def test_inputs_must_agree(networks):
    inputs = keras.Input((8, 8, 3))
    other = keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs))
    with pytest.raises(surgery.ShapeMismatch, match=r"Received: \{'other'"):
        surgery.fuse({**networks, "other": other})


def owners(fused, layer):
    """Lists the prefixes of all layers of the fused model that were once called `layer`."""
    names = (x.name.split("--", 1) for x in fused.layers if "--" in x.name)
    return sorted(prefix for prefix, name in names if name == layer)


def test_frozen_lower_parts_run_once(networks):
    donor, other = make_donor(), make_donor(seed=4)
    frozen = {f"A{n}": surgery.transplant(donor, n, seed=n).model for n in (1, 2, 3)}
    tuned = surgery.transplant(donor, 2, mode="fine_tune", seed=9).model
    other_networks = {f"B{n}": surgery.transplant(other, n, seed=n).model for n in (1, 2)}
    fused = surgery.fuse({**frozen, "A2+": tuned, **other_networks})
    assert owners(fused, "one") == ["0-A1", "3-A2_", "4-B1"]
    assert owners(fused, "one_bn") == ["0-A1", "3-A2_", "4-B1"]
    # A1's own is trained; A2 and A3 share the donor's.
    assert owners(fused, "two") == ["0-A1", "1-A2", "3-A2_", "4-B1", "5-B2"]
    assert len(owners(fused, "two_dropout")) == 6  # Each network has its own dropout.
    assert owners(fused, "three") == [
        f"{i}-{n}" for i, n in enumerate(["A1", "A2", "A3", "A2_", "B1", "B2"])
    ]
    x = images()
    masked = fused(x, training=True)
    for name, model in frozen.items():
        assert same(masked[name], model(x, training=True)), name
        part = surgery.extract(fused, name)
        assert [w.trainable for w in part.weights] == [w.trainable for w in model.weights]
    shared = next(x for x in fused.layers if x.name == "0-A1--one")
    before = as_numpy(fused(x))
    shared.kernel.assign(shared.kernel * 2)
    after = as_numpy(fused(x))
    changed = {name for name in after if not same(before[name], after[name])}
    assert changed == {"A1", "A2", "A3"}


def nudge(model):
    kernel = model.get_layer("one").kernel
    value = np.array(keras.ops.convert_to_numpy(kernel))
    value.flat[-1] = np.nextafter(value.flat[-1], np.float32(np.inf))
    kernel.assign(value)


def thaw_bias(model):
    model.get_layer("one").bias.trainable = True
    model.get_layer("one").trainable = True
    model.get_layer("one").kernel.trainable = False


@pytest.mark.parametrize("change", [nudge, thaw_bias])
def test_what_differs_is_not_shared(change):
    donor = make_donor()
    models = {name: surgery.transplant(donor, 2, seed=1).model for name in ("left", "right")}
    assert len(owners(surgery.fuse(models), "one")) == 1
    change(models["right"])
    fused = surgery.fuse(models)
    assert len(owners(fused, "one")) == 2
    assert len(owners(fused, "two")) == 2, "sees another tensor"
    x = images()
    for name, model in models.items():
        assert same(fused(x)[name], model(x))


def test_one_other_entry_of_a_config_is_not_shared():
    inputs = keras.Input((4,))
    models = {
        str(slope): keras.Model(
            inputs, keras.layers.Dense(1, name="d")(keras.layers.LeakyReLU(slope, name="r")(inputs))
        )
        for slope in (0.1, 0.2)
    }
    assert len(owners(surgery.fuse(models), "r")) == 2


def test_statistics_that_move_are_not_shared_with_those_that_do_not():
    """Neither has a weight to train; their flags make the difference."""
    models = {}
    for trainable in (False, True):
        inputs = keras.Input((4,))
        norm = keras.layers.BatchNormalization(
            center=False, scale=False, trainable=trainable, name="bn"
        )
        outputs = keras.layers.Dense(1, name="d")(norm(inputs))
        models[str(trainable)] = keras.Model(inputs, outputs)
    models["again"] = surgery.transplant(models["False"], 0, seed=1).model
    models["again"].get_layer("bn").trainable = False
    fused = surgery.fuse(models)
    assert owners(fused, "bn") == ["0-False", "1-True"]
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    outputs = fused(x, training=True)
    assert all(same(outputs[name], model(x, training=True)) for name, model in models.items())


def test_what_is_trained_is_not_shared_though_it_begins_alike():
    donor = make_donor()
    models = {
        f"A{n}+": surgery.transplant(donor, n, mode="fine_tune", seed=n).model for n in (2, 3)
    }
    fused = surgery.fuse(models)
    assert len(owners(fused, "one")) == 2
    trained = sum(len(model.trainable_weights) for model in models.values())
    assert len(fused.trainable_weights) == trained


def test_operations_are_shared_by_their_arguments():
    models = {}
    table = np.zeros(3000, np.float32)  # NumPy's text of it leaves the middle out.
    for name, middle in (("a", 0), ("b", 0), ("c", 1)):
        keras.utils.clear_session()  # Automatic names begin again.
        table[1500] = middle
        inputs = keras.Input((3000,))
        outputs = keras.layers.Dense(1, name="d")(inputs * 2 + table.copy())
        models[name] = keras.Model(inputs, outputs)
    fused = surgery.fuse(models)
    x = np.ones((2, 3000), np.float32)
    assert all(same(fused(x)[name], model(x)) for name, model in models.items())
    kinds = [type(x).__name__ for x in fused.operations]
    assert kinds.count("Multiply") == 1
    assert kinds.count("Add") == 2


def test_a_layer_that_is_called_twice_is_each_networks_own():
    inputs = keras.Input((4,))
    models = {}
    for name in ("a", "b"):
        layer = keras.layers.Dense(4, name="twice", trainable=False, kernel_initializer="ones")
        models[name] = keras.Model(inputs, keras.layers.Dense(1, name="d")(layer(layer(inputs))))
    fused = surgery.fuse(models)
    assert len(owners(fused, "twice")) == 2
    x = np.ones((2, 4), np.float32)
    assert all(same(fused(x)[name], model(x)) for name, model in models.items())


def test_batch_norm_that_trains_nothing_but_moves_is_not_shared():
    """Without scale and shift there is no variable to train; its statistics move all the same."""

    def network():
        inputs = keras.Input((4,))
        x = keras.layers.BatchNormalization(center=False, scale=False, name="norm")(inputs)
        return keras.Model(inputs, keras.layers.Dense(2, name="out")(x))

    moving = surgery.fuse({"one": network(), "two": network()})
    assert len([x for x in moving.layers if x.name.endswith("--norm")]) == 2
    frozen = {name: network() for name in ("one", "two")}
    for model in frozen.values():
        surgery.set_trainable([model.get_layer("norm")], False)
    assert len([x for x in surgery.fuse(frozen).layers if x.name.endswith("--norm")]) == 1
