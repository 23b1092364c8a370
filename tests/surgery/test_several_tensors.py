"""Units and cuts where several tensors pass: masks, skips, streams, tables, second heads."""

import itertools

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.several import MAKERS, examples
from support.small_network import LAYERS, as_numpy, make_donor, perturb, same, values

from transfer_keras import surgery
from transfer_keras.surgery import graph

# Unit -> layers, and the layers that make the tensors at its end; written down by hand.
EXPECTED = {
    "masked": {
        "token_embedding": (["token_embedding"], ["segments", "token_embedding", "mask"]),
        "segment_embedding": (["segment_embedding", "sum", "norm"], ["mask", "norm"]),
        "attention_0": (["attention_0", "attention_0_norm"], ["mask", "attention_0_norm"]),
        "wide_0": (["wide_0"], ["mask", "attention_0_norm", "wide_0"]),
        "narrow_0": (["narrow_0", "narrow_0_norm"], ["mask", "narrow_0_norm"]),
        "attention_1": (["attention_1", "attention_1_norm"], ["attention_1_norm"]),
        "wide_1": (["wide_1"], ["attention_1_norm", "wide_1"]),
        "narrow_1": (["narrow_1", "narrow_1_norm"], ["first_token"]),
        "head": (["head"], ["head"]),
    },
    "unet": {
        "down_1": (["down_1", "down_1_bn", "down_1_relu"], ["down_1_relu"]),
        "down_2": (
            ["pool_1", "down_2", "down_2_bn", "down_2_relu"],
            ["down_1_relu", "down_2_relu"],
        ),
        "bottom": (
            ["pool_2", "bottom", "bottom_bn", "bottom_relu", "rise_2", "join_2"],
            ["down_1_relu", "join_2"],
        ),
        "up_2": (["up_2", "up_2_bn", "up_2_relu", "rise_1", "join_1"], ["join_1"]),
        "up_1": (["up_1", "up_1_bn", "up_1_relu"], ["up_1_relu"]),
        "head": (["head"], ["head"]),
    },
    "image_and_table": {
        "conv_1": (["conv_1", "conv_1_bn", "conv_1_relu"], ["table", "conv_1_relu"]),
        "conv_2": (["conv_2", "pool"], ["table", "pool"]),
        "row": (["row", "join"], ["join"]),
        "both": (["both"], ["both"]),
        "head": (["head"], ["head"]),
    },
    "streams": {
        "a_1": (["a_1", "a_1_bn", "a_1_relu"], ["input_b", "a_1_relu"]),
        "b_1": (["b_1", "b_1_bn", "b_1_relu"], ["a_1_relu", "b_1_relu"]),
        "a_2": (["a_2", "a_2_bn", "a_2_relu", "a_pool"], ["b_1_relu", "a_pool"]),
        "b_2": (["b_2", "b_2_bn", "b_2_relu", "b_pool", "join"], ["join"]),
        "head": (["head"], ["head"]),
    },
    "auxiliary": {
        "conv_1": (["conv_1", "conv_1_bn"], ["conv_1_bn"]),
        "conv_2": (["conv_2", "conv_2_bn"], ["conv_2_bn"]),
        "conv_3": (["conv_3", "conv_3_bn", "side_pool"], ["conv_3_bn", "side_pool"]),
        "conv_4": (["conv_4", "conv_4_bn", "pool"], ["pool", "side_pool"]),
        "head": (["head"], ["side_pool", "head"]),
        "side_head": (["side_head"], ["head", "side_head"]),
    },
}
COUNTS_OF_SINGLE = {"masked": 3, "unet": 4, "image_and_table": 3, "streams": 2, "auxiliary": 3}


def ends(unit):
    """Lists the tensors at the end of a unit."""
    return list(unit.output) if isinstance(unit.output, tuple) else [unit.output]


def maker_names(model, tensors):
    """Names the layers that make tensors; operations of `keras.ops` have automatic names."""
    operations = [node.operation for node in graph.nodes(model)]
    indexing = [x for x in operations if type(x).__name__ == "GetItem"]
    own = dict(zip(map(id, indexing), ["mask", "first_token"], strict=False))
    return [own.get(id(graph.maker(x)), graph.maker(x).name) for x in tensors]


@pytest.mark.parametrize("name", MAKERS)
def test_units(name):
    model = MAKERS[name]()
    model_units = surgery.units(model, cuts="several")
    found = {
        unit.name: ([x.name for x in unit.layers], sorted(maker_names(model, ends(unit))))
        for unit in model_units
    }
    assert found == {key: (a, sorted(b)) for key, (a, b) in EXPECTED[name].items()}
    assert list(found) == list(EXPECTED[name])
    assert sum(unit.parameters for unit in model_units) == model.count_params()
    assert len(surgery.units(model)) == COUNTS_OF_SINGLE[name], "the default stays"


@pytest.mark.parametrize("name", MAKERS)
def test_upper_of_lower_is_the_model(name):
    model = MAKERS[name]()
    perturb(model)
    inputs = examples(model)
    expected = as_numpy(model(inputs))
    model_units = surgery.units(model, cuts="several")
    for n in range(len(model_units) + 1):
        lower = surgery.lower(model, n, cuts="several")
        upper = surgery.upper(model, n, cuts="several")
        middle = lower(inputs)
        if n:
            tensors = ends(model_units[n - 1])
            assert isinstance(middle, list) == (len(tensors) > 1)
            # The values at the cut are those that the whole model has there.
            probe = keras.Model(model.input, tensors)
            keras.tree.map_structure(
                np.testing.assert_array_equal,
                as_numpy(keras.tree.flatten(middle)),
                as_numpy(keras.tree.flatten(probe(inputs))),
            )
        keras.tree.map_structure(np.testing.assert_array_equal, as_numpy(upper(middle)), expected)
        both = [{w.path for layer in side.layers for w in layer.weights} for side in (lower, upper)]
        assert not both[0] & both[1]
        assert len(both[0] | both[1]) == len(model.weights)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("mode", ["frozen", "fine_tune"])
def test_transplant_at_every_boundary(name, mode):
    donor = MAKERS[name]()
    perturb(donor)
    names = list(EXPECTED[name])
    for n in (1, 2, -1):
        model, report = surgery.transplant(donor, n, cuts="several", mode=mode, seed=0)
        lower = [x for unit in names[:n] for x in EXPECTED[name][unit][0]]
        for old, new in zip(donor.layers, model.layers, strict=True):
            if not old.weights:
                continue
            equal = all(same(a, b) for a, b in zip(old.weights, new.weights, strict=True))
            assert equal == (old.name in lower), old.name
            assert new.trainable == (old.name not in lower or mode == "fine_tune"), old.name
        copied = {row.weight.split("/")[0] for row in report if row.origin == "copied"}
        assert copied == {x for x in lower if donor.get_layer(x).weights}


def test_a_name_takes_all_that_the_layer_depends_on():
    model = MAKERS["streams"]()
    lower = surgery.lower(model, "b_2", cuts="several")
    assert [x.name for x in lower.layers if x.weights] == ["b_1", "b_1_bn", "b_2"]
    inputs = examples(model)
    other, conv = lower(inputs)
    assert same(other, inputs[0]), "the input of the other stream passes the cut"
    x = LAYERS.ReLU()(model.get_layer("b_1_bn")(model.get_layer("b_1")(inputs[1])))
    np.testing.assert_allclose(as_numpy(conv), as_numpy(model.get_layer("b_2")(x)), atol=1e-6)
    upper = surgery.upper(model, "b_2", cuts="several")
    assert same(upper([other, conv]), model(inputs))
    network, _ = surgery.transplant(model, "b_2", cuts="several", seed=0)
    frozen = [x.name for x in network.layers if x.weights and not x.trainable]
    assert frozen == ["b_1", "b_1_bn", "b_2"]


def test_one_tensor_stays_one_tensor():
    donor = make_donor()
    plain, several = surgery.units(donor), surgery.units(donor, cuts="several")
    assert plain == several
    assert surgery.lower(donor, 2, cuts="several").output.shape == (None, 384)


def test_normalisation_before_a_layer_belongs_to_that_layer():
    x, mask = keras.Input((3, 4)), keras.Input((3, 3), name="mask")
    inputs = [x, mask]
    for i in (1, 2):
        y = LAYERS.LayerNormalization(name=f"attention_norm_{i}")(x)
        y = LAYERS.MultiHeadAttention(1, 4, name=f"attention_{i}")(y, y, attention_mask=mask)
        x = LAYERS.Add(name=f"attention_add_{i}")([x, y])
        y = LAYERS.LayerNormalization(name=f"dense_norm_{i}")(x)
        y = LAYERS.Dense(4, name=f"dense_{i}")(y)
        x = LAYERS.Add(name=f"dense_add_{i}")([x, y])
    model = keras.Model(inputs, x)
    layers = [[x.name for x in unit.layers] for unit in surgery.units(model, cuts="several")]
    names = [f"{kind}_{i}" for i in (1, 2) for kind in ("attention", "dense")]
    assert layers == [
        [name.replace("_", "_norm_"), name, name.replace("_", "_add_")] for name in names
    ]


def test_no_such_kind_of_cut():
    for call in (surgery.units, lambda m, cuts: surgery.lower(m, 1, cuts=cuts)):
        with pytest.raises(ValueError, match=r"cuts must be one of .*'several'.*'many'"):
            call(make_donor(), cuts="many")
    with pytest.raises(ValueError, match="cuts must be one of"):
        surgery.transplant(make_donor(), "one", cuts="many", seed=0)


def test_the_table_shows_all_shapes():
    text = str(surgery.units(MAKERS["unet"](), cuts="several"))
    assert "(None, 8, 8, 4), (None, 4, 4, 5)" in text.splitlines()[2]


def test_blocks():
    model = MAKERS["unet"]()
    pattern = r"down|bottom|up|head"
    found = surgery.units(model, blocks=pattern, cuts="several")
    assert [(unit.name, len(unit.layers)) for unit in found] == [
        ("down", 7), ("bottom", 6), ("up", 8), ("head", 1),
    ]  # fmt: skip
    assert len(ends(found[0])) == 2
    inputs = examples(model)
    options = {"blocks": pattern, "cuts": "several"}
    middle = surgery.lower(model, "down", **options)(inputs)
    assert same(surgery.upper(model, "down", **options)(middle), model(inputs))
    named = surgery.block_names(model, cuts="several")
    assert [u.name for u in surgery.units(model, blocks=named, cuts="several")] == [
        "down_1", "down_2", "bottom", "up_2", "up_1", "head",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name",
    [
        "ResNet50V2",
        *(
            pytest.param(name, marks=pytest.mark.slow)
            for name in ("MobileNetV2", "DenseNet121", "InceptionV3", "NASNetMobile")
        ),
    ],
)
def test_it_refines_the_cuts_of_one_tensor(name):
    if name == "NASNetMobile" and keras.backend.backend() == "torch":
        pytest.skip("Keras has no NASNet on PyTorch")
    model = getattr(keras.applications, name)(weights=None)
    single, several = surgery.units(model), surgery.units(model, cuts="several")
    at = {id(unit.output): unit.index for unit in several}
    cut = [at[id(unit.output)] for unit in single]
    begins = [0, *cut[:-1]]
    for unit, begin, end in zip(single, begins, cut, strict=True):
        inner = [x for part in several[begin:end] for x in part.layers]
        assert {id(x) for x in inner} == {id(x) for x in unit.layers}
    weighted = [x for x in model.layers if surgery.has_kernel(x)]
    assert len(several) == len(weighted)
    assert sum(unit.parameters for unit in several) == model.count_params()


@st.composite
def graphs(draw):
    """Makes random models of dense layers, some called again, sums and activations."""
    tensors = [keras.Input((2,)) for _ in range(draw(st.integers(1, 2)))]
    inputs, dense = list(tensors), []
    for _ in range(draw(st.integers(2, 9))):
        some = st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=3, unique=True)
        chosen = [tensors[i] for i in draw(some)]
        x = LAYERS.Add()(chosen) if len(chosen) > 1 else chosen[0]
        kind = draw(st.sampled_from(["new", "again", "none"]))
        if kind == "new" or (kind == "again" and not dense):
            dense.append(LAYERS.Dense(2))
        x = LAYERS.ReLU()(x) if kind == "none" else dense[-1 if kind == "new" else 0](x)
        tensors.append(x)
    made = tensors[len(inputs) :]
    outputs = {len(made) - 1, draw(st.integers(0, len(made) - 1))}
    return keras.Model(inputs, [made[i] for i in sorted(outputs)])


def brute_force(model, names):
    """Finds the tensors at the end of each unit by trying all sets of nodes.

    Args:
        model: functional, of few nodes.
        names: of the weighted layers, in the order of the units.
    """
    nodes = graph.nodes(model)
    maker = {id(x): i for i, node in enumerate(nodes) for x in node.output_tensors}
    parents = [[maker[id(x)] for x in node.input_tensors if id(x) in maker] for node in nodes]
    number = [1 + names.index(n.operation.name) if n.operation.name in names else 0 for n in nodes]
    closed = [
        set(below)
        for size in range(len(nodes) + 1)
        for below in itertools.combinations(range(len(nodes)), size)
        if all(parent in below for i in below for parent in parents[i])
    ]

    def alive(below):
        tensors = [*model.inputs, *(x for i in below for x in nodes[i].output_tensors)]
        used = [x for i in range(len(nodes)) if i not in below for x in nodes[i].input_tensors]
        used = {id(x) for x in [*used, *model.outputs]}
        return {id(x) for x in tensors} & used

    for k in range(1, len(names) + 1):
        above = set()
        for i in range(len(nodes)):
            if number[i] > k or any(parent in above for parent in parents[i]):
                above.add(i)
        must = {i for i in range(len(nodes)) if 0 < number[i] <= k} - above
        must = set(range(len(nodes))) if k == len(names) else must
        possible = [below for below in closed if must <= below and not below & above]
        fewest = min(len(alive(below)) for below in possible)
        yield alive(set().union(*(x for x in possible if len(alive(x)) == fewest)))


@settings(max_examples=100, deadline=None, derandomize=True)
@given(graphs())
def test_boundaries_are_those_found_by_trying_all(model):
    weighted = [layer for layer in model.layers if layer.weights]
    if not weighted:
        return
    found = surgery.units(model, cuts="several")
    names = [unit.name for unit in found]
    assert sorted(names) == sorted(layer.name for layer in weighted)
    expected = list(brute_force(model, names))
    assert [{id(x) for x in ends(unit)} for unit in found] == expected
    # Where one tensor carries all, and no layer is called on both sides, that is the boundary.
    single = surgery.units(model)
    whole = {
        id(unit.output)
        for unit in single
        if unit.output is not None and not surgery.used_on_both_sides(single, unit.index)
    }
    assert whole <= {id(unit.output) for unit in found}


def test_what_lies_below_lies_there_with_all_that_it_needs():
    inputs = keras.Input((2,))
    a, b = LAYERS.Dense(2, name="a")(inputs), LAYERS.Dense(2, name="b")(inputs)
    relu = LAYERS.ReLU(name="relu")(a)
    add = LAYERS.Add(name="add")([relu, b])
    tops = [LAYERS.Dense(2, name=f"top_{i}")(x) for i, x in enumerate([a, relu, add])]
    model = keras.Model(inputs, LAYERS.Concatenate(name="join")(tops))
    found = surgery.units(model, cuts="several")
    assert [unit.name for unit in found] == ["a", "b", "top_0", "top_1", "top_2"]
    # The sum alone in the place of b would be as few tensors, but it needs the activation.
    assert [graph.maker(x).name for x in ends(found[1])] == ["a", "b"]
    assert [{id(x) for x in ends(unit)} for unit in found] == list(
        brute_force(model, [unit.name for unit in found])
    )


def test_every_layer_is_in_one_unit():
    for make in MAKERS.values():
        model = make()
        held = [x.name for unit in surgery.units(model, cuts="several") for x in unit.layers]
        assert sorted(held) == sorted(
            x.name for x in model.layers if not isinstance(x, LAYERS.InputLayer)
        )


def test_the_model_is_left_as_it_was():
    model = MAKERS["masked"]()
    before = values(model)
    surgery.upper(model, 3, cuts="several")
    surgery.transplant(model, 3, cuts="several", seed=0)
    after = values(model)
    assert all(same(before[name], after[name]) for name in before)
