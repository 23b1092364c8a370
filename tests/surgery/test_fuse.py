import keras
import pytest
from small_network import images, make_donor, same, values

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
        assert part.name == name
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
