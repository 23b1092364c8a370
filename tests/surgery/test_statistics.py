import keras
import numpy as np
import pytest
from support.small_network import images, make_donor, same, values

from transfer_keras import surgery

KEPT = {
    "one_bn/moving_mean", "one_bn/moving_variance", "three_bn/moving_mean",
    "three_bn/moving_variance",
}  # fmt: skip


def moments(tensor):
    """Computes mean and deviation by their definition."""
    mean = sum(tensor.ravel().tolist()) / tensor.size
    return mean, (sum((x - mean) ** 2 for x in tensor.ravel().tolist()) / tensor.size) ** 0.5


def large():
    """A network with tensors of thousands of values, each of another mean and deviation."""
    model = keras.Sequential(
        [keras.Input((12, 12, 3)), keras.layers.Conv2D(64, 5, name="one"),
         keras.layers.Flatten(name="flat"), keras.layers.Dense(40, name="two")]
    )  # fmt: skip
    rng = np.random.default_rng(0)
    for place, weight in enumerate(model.weights):
        weight.assign(rng.exponential(0.1 + place, weight.shape) - 2 * place)
    return model


def test_each_tensor_keeps_its_mean_and_deviation_alone():
    donor = large()
    old, new = values(donor), values(surgery.draw_like(donor, seed=0))
    assert old.keys() == new.keys()
    for name, tensor in old.items():
        mean, deviation = moments(tensor)
        found_mean, found_deviation = moments(new[name])
        # Five standard errors of a sample of the normal distribution.
        assert abs(found_mean - mean) < 5 * deviation / tensor.size**0.5, name
        assert abs(found_deviation / deviation - 1) < 5 / (2 * tensor.size) ** 0.5, name
        assert not np.isclose(new[name], tensor, rtol=1e-6).all(), name
    kernels = [tensor.ravel() for name, tensor in new.items() if name.endswith("kernel")]
    correlation = np.corrcoef(kernels[0], old["one/kernel"].ravel())[0, 1]
    assert abs(correlation) < 5 / kernels[0].size ** 0.5
    standard = [(tensor - tensor.mean()) / tensor.std() for tensor in kernels]
    assert abs(np.corrcoef(standard[0], standard[1][: kernels[0].size])[0, 1]) < 0.1
    # Normal, where the donor's values are skewed.
    centred = (kernels[1] - kernels[1].mean()) / kernels[1].std()
    assert abs((centred**3).mean()) < 0.1 < 1.5 < ((old["two/kernel"] - 1).ravel().std())


def test_what_no_gradient_changes_is_kept_and_the_donor_is_not_changed():
    donor = make_donor()
    donor.trainable = False
    before = values(donor)
    new = values(surgery.draw_like(donor, seed=0))
    assert same(values(donor), before)
    assert {name for name in new if same(new[name], before[name])} == KEPT
    assert all((new[name] >= 0).all() for name in KEPT if name.endswith("variance"))


def test_the_seed_decides_all():
    donor = make_donor()
    one, again, other = (values(surgery.draw_like(donor, seed=s)) for s in (1, 1, 2))
    assert same(one, again)
    assert {name for name in one if same(one[name], other[name])} == KEPT
    assert not same(one["one_bn/gamma"], one["one_bn/beta"])


def test_lower_units_of_it_are_taken_as_of_any_donor():
    drawn = surgery.draw_like(make_donor(), seed=0)
    model, report = surgery.transplant(drawn, 2, head=3, mode="frozen", seed=1)
    lower, new = values(drawn), values(model)
    assert same(new["two/kernel"], lower["two/kernel"])
    assert not same(new["three/kernel"], lower["three/kernel"])
    assert model(images()).shape == (4, 3)
    assert "two/kernel" in str(report)


def test_equal_values_stay_and_quantised_ones_are_refused():
    donor = make_donor(perturbed=False)
    drawn = values(surgery.draw_like(donor, seed=0))
    assert (drawn["three_bn/gamma"] == 1).all()
    assert (drawn["one/bias"] == 0).all()
    donor.get_layer("three").quantize("int8")
    with pytest.raises(surgery.NotRebuildable, match=r"'three' .*int8"):
        surgery.draw_like(donor, seed=0)
