"""Settings of architectures that Keras has, and of the tables' networks."""

import pytest

from transfer_keras.config import ARCHITECTURES, UserError, defaults, make_experiment
from transfer_keras.config.architectures import NamedUnit, PretrainedArchitecture
from transfer_keras.config.unit_kinds import UnitSize

NAME = "keras.applications.MobileNetV2"


def describe(request):
    """Stands for the opening of the network: three blocks of two units each."""
    sizes = (UnitSize(1, 1, 1),) * 3
    names = tuple(NamedUnit(f"block{k}") for k in range(3))
    assert request.opened.path == NAME
    return PretrainedArchitecture(names, (2, 4, 6), sizes, 32, (1, 2))


def given(treatments=("A1B",), **settings):
    return make_experiment(treatments, network=NAME, describe_donor=describe, **settings)


def test_both_bases_are_trained():
    experiment = given(["A2B", "B2B+"], units="block")
    assert [t.name for t in experiment.all_treatments] == ["baseA", "baseB", "A2B", "B2B+"]
    assert not experiment.donor
    assert experiment.units_transferred(experiment.treatments[0]) == 4
    assert experiment.title == f"{NAME} on formula_images, split 0, seed 0"
    assert experiment.subject == "formula_images-MobileNetV2"
    usual = defaults.GIVEN_NETWORKS
    assert experiment.training.optimizer == usual["optimizer"]
    assert experiment.training.learning_rate_warm_up == usual["steps"] * usual["warm_up_share"]


def test_identity_says_what_is_counted():
    one, blocks = given(), given(units="block")
    assert one.identity["network"] == NAME
    assert (one.identity["units"], blocks.identity["units"]) == ("unit", "block")
    assert one.identity["donor"] is None


def test_identity_of_older_folders_goes_on():
    """A folder that was begun without a warm-up has no word of it."""
    identity = make_experiment(["A3B"], network="alexnet_small").identity
    assert "learning_rate_warm_up" not in identity
    assert make_experiment(["A3B"], learning_rate_warm_up=7).identity["learning_rate_warm_up"] == 7


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_each_network_has_settings_and_a_warm_up_in_proportion(name):
    share = defaults.NETWORKS[name].get("warm_up_share", 0)
    training = make_experiment(["A1B"], network=name, steps=1000).training
    assert training.learning_rate_warm_up == round(1000 * share)
    assert make_experiment(["A1B"], network=name, steps=1).training.learning_rate_warm_up == 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"preprocessing": "paper"}, r"--preprocessing=paper .* this network brings its own"),
        ({"mean": "target"}, r"--mean=target: this network scales pixels by itself"),
        ({"donor_pixels": "0..1"}, r"--donor_pixels=0\.\.1: is about a --donor"),
        ({"batch_norm": "train"}, r"--batch_norm=train: is about a --donor"),
        ({"units": "layer"}, r"--units=layer: expected one of unit, block"),
        ({"treatments": ["A3B"]}, rf"--treatments=A3B: {NAME} has 3 units. .* Expected 1 to 2"),
        ({"steps": 10, "learning_rate_warm_up": 10}, r"--learning_rate_warm_up=10: .* 10 steps"),
        ({"learning_rate_warm_up": -1}, r"--learning_rate_warm_up=-1: expected 0 or more"),
    ],
)
def test_refusals(change, message):
    with pytest.raises(UserError, match=message):
        given(**change)
