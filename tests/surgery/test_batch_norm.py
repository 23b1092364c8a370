import keras
import numpy as np
import pytest
from support.small_network import images, make_donor, same, values

from transfer_keras import surgery

X, Y = images(4), np.array([0, 1, 2, 3])


def train(policy, mode="frozen"):
    """Trains two steps; gives what changed of the lower BatchNorm, the model, and its output."""
    donor = make_donor()
    model, _ = surgery.transplant(donor, 2, mode=mode, seed=1, batch_norm=policy)
    before = values(model)
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(X, Y, batch_size=2, verbose=0)
    moved = {
        name.split("/")[1]
        for name, value in values(model).items()
        if name.startswith("one_bn") and not same(value, before[name])
    }
    unchanged = same(values(model)["one/kernel"], before["one/kernel"])
    assert unchanged == (mode == "frozen")
    return moved, model, donor


AFFINE, STATISTICS = {"gamma", "beta"}, {"moving_mean", "moving_variance"}


@pytest.mark.parametrize(
    ("policy", "mode", "expected"),
    [
        (None, "frozen", set()),
        ("frozen", "frozen", set()),
        ("statistics_frozen", "frozen", AFFINE),
        ("train", "frozen", AFFINE | STATISTICS),
        (None, "fine_tune", AFFINE | STATISTICS),
        ("frozen", "fine_tune", set()),
        ("statistics_frozen", "fine_tune", AFFINE),
    ],
)
def test_what_moves(policy, mode, expected):
    assert train(policy, mode)[0] == expected


@pytest.mark.parametrize("policy", ["frozen", "statistics_frozen"])
def test_fixed_statistics_are_those_used_in_training(policy):
    donor = make_donor()
    model, _ = surgery.transplant(donor, 2, seed=1, batch_norm=policy)
    layer = model.get_layer("one_bn")
    x = np.random.default_rng(0).normal(5, 2, (3, 4, 4, 4)).astype(np.float32)
    w = {name.split("/")[1]: v for name, v in values(donor).items() if name.startswith("one_bn")}
    scale = w["gamma"] / np.sqrt(w["moving_variance"] + layer.epsilon)
    expected = (x - w["moving_mean"]) * scale + w["beta"]
    actual = keras.ops.convert_to_numpy(layer(x, training=True))
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)


def test_fixed_statistics_reload(tmp_path):
    _, model, _ = train("statistics_frozen")
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    for training in (False, None):
        actual, expected = (
            keras.ops.convert_to_numpy(m(X, training=training)) for m in (again, model)
        )
        assert same(actual, expected)
    assert again.get_layer("one_bn").trainable


def test_bad_policy():
    with pytest.raises(ValueError, match="batch_norm must be one of"):
        surgery.transplant(make_donor(), 2, seed=1, batch_norm="freeze")
