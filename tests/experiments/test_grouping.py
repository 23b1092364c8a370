import itertools
import math

import pytest

from transfer_keras import networks, surgery
from transfer_keras.config import make_experiment
from transfer_keras.config.treatments import combine_treatments, parse_treatment
from transfer_keras.experiments.grouping import estimate_memory, plan_experiment

TASKS = {"A": range(5), "B": range(7)}
WHOLE = combine_treatments(range(1, 8), ["frozen", "fine_tune"], ["other", "self"], ["A", "B"])


@pytest.mark.parametrize(
    ("network", "size"),
    [("alexnet_mini", 32), ("alexnet_small", 32), ("alexnet_small", 64), ("alexnet", 227)],
)
def test_sizes_are_those_of_the_built_network(network, size):
    model = networks.build(network, image_size=size, classes=7)
    architecture = make_experiment(WHOLE, network=network).architecture
    for estimate, unit in zip(architecture.sizes(size, 7), surgery.units(model), strict=True):
        layers = [x for x in unit.layers if x.name not in ("pixels", "flatten")]
        values = sum(math.prod(layer.output.shape[1:]) for layer in layers)
        assert estimate.parameters == unit.parameters
        assert values <= estimate.activations <= 3 * values, unit.name
        assert unit.name == "fc8" or estimate.activations == values


def names(experiment):
    return [group.names for group in plan_experiment(experiment, TASKS)]


def test_parameters_are_those_of_the_networks():
    model = networks.build("alexnet_mini", image_size=32, classes=7)
    treatments = [parse_treatment(name) for name in ("A2B", "A5B+", "R7B", "baseB")]
    total = trained = 0
    for t in treatments:
        mode = "frozen" if t.mode in ("random", "base") else t.mode
        made = surgery.transplant(model, t.n, mode=mode, seed=1).model
        total += made.count_params()
        trained += sum(w.numpy().size for w in made.trainable_weights)
    estimate = estimate_memory(make_experiment(WHOLE), 7, treatments)
    assert (estimate.parameters, estimate.trained) == (total, trained)


def test_estimate_in_bytes_by_hand():
    experiment = make_experiment(WHOLE, batch_size=10, optimizer="sgd", metrics_every=0)
    sizes = experiment.architecture.sizes(32, 7)
    parameters = [size.parameters for size in sizes]
    activations = [size.activations for size in sizes]

    def bytes_of(*names):
        total = estimate_memory(experiment, 7, map(parse_treatment, names)).bytes
        return total - 2**30  # The process itself.

    # As itself; fused, with its gradients and momentum; activations and their gradients.
    assert bytes_of("baseB") == 4 * (4 * sum(parameters) + 20 * sum(activations))
    one = 4 * (
        sum(parameters) + 3 * sum(parameters[2:]) + 20 * sum(activations[2:])
        + sum(parameters[:2]) + 10 * sum(activations[:2])
    )  # fmt: skip
    assert bytes_of("A2B") == one
    assert bytes_of("A2B", "B2B") == 2 * one, "two donors"
    assert bytes_of("A2B", "A2B") < 2 * one, "one donor"
    bare, experiment = one, experiment.replace(metrics_every=1)
    # What is trained twice more, what is frozen once.
    assert bytes_of("A2B") == bare + 4 * (2 * sum(parameters[2:]) + sum(parameters[:2]))


def test_groups_by_memory_and_by_size():
    assert [len(group) for group in names(make_experiment(WHOLE, group_memory=64.0))] == [
        1,
        1,
        28,
        28,
    ]
    assert [len(group) for group in names(make_experiment(WHOLE, group_size=20))] == [
        1,
        1,
        20,
        8,
        20,
        8,
    ]
    assert all(len(group) == 1 for group in names(make_experiment(WHOLE, group_memory=1e-6)))
    limited = make_experiment(WHOLE, group_memory=1.5)
    groups = plan_experiment(limited, TASKS)
    assert len(groups) > 4
    for group, following in itertools.pairwise(groups[2:]):
        assert estimate_memory(limited, 7, group.treatments).bytes <= 1.5 * 2**30
        if group.target == following.target:
            more = (*group.treatments, following.treatments[0])
            assert estimate_memory(limited, 7, more).bytes > 1.4 * 2**30
