import keras
import numpy as np
import pytest
from support.small_network import LAYERS, make_donor, same
from support.towers import EXPAND, make_tower

from transfer_keras import surgery


def flags(model):
    return [layer.trainable for layer in surgery.flat_layers(model)]


def test_flags_inside_a_composite_layer_come_back(tmp_path):
    model, _ = surgery.transplant(make_tower(), "block_1", seed=1, expand=EXPAND)
    assert len(model.trainable_weights) == 6
    surgery.save(model, tmp_path / "m.keras")
    plain = keras.saving.load_model(tmp_path / "m.keras")
    assert len(plain.trainable_weights) == 10, "Keras keeps them now: `save` is not needed"
    again = surgery.load(tmp_path / "m.keras")
    assert flags(again) == flags(model)
    assert [w.path for w in again.trainable_weights] == [w.path for w in model.trainable_weights]
    x = np.ones((2, 6), np.float32)
    for reloaded in (plain, again):
        assert same(reloaded(x), model(x))


@pytest.mark.parametrize("mode", ["frozen", "fine_tune", "random"])
def test_flags_of_plain_layers(mode, tmp_path):
    model, _ = surgery.transplant(make_donor(), 2, mode=mode, seed=1)
    surgery.save(model, tmp_path / "m.keras")
    assert flags(surgery.load(tmp_path / "m.keras")) == flags(model)


def test_a_file_of_keras_itself_loads_too(tmp_path):
    model = make_donor()
    model.save(tmp_path / "m.keras")
    assert flags(surgery.load(tmp_path / "m.keras")) == flags(model)


def test_code_in_a_file_is_not_run(tmp_path):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, LAYERS.Lambda(lambda t: t * 2, output_shape=(4,))(inputs))
    surgery.save(model, tmp_path / "m.keras")
    with pytest.raises(ValueError, match=r"[Ll]ambda"):
        surgery.load(tmp_path / "m.keras")
