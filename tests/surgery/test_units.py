import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from transfer_keras import surgery
from transfer_keras.surgery import graph

COUNTS = {"ResNet50": 18, "MobileNetV2": 33, "EfficientNetB0": 39, "NASNetMobile": 3}
MORE = {
    "VGG16": 16,
    "VGG19": 19,
    "ResNet101": 35,
    "ResNet152": 52,
    "ResNet50V2": 18,
    "MobileNet": 28,
    "MobileNetV3Small": 28,
    "EfficientNetV2B0": 35,
    "ConvNeXtTiny": 23,
    "DenseNet121": 63,
    "InceptionV3": 17,
    "Xception": 17,
}


@pytest.mark.parametrize(
    ("name", "count"),
    [
        *COUNTS.items(),
        *(pytest.param(*item, marks=pytest.mark.slow) for item in MORE.items()),
    ],
)
def test_applications(name, count):
    if name == "NASNetMobile" and keras.backend.backend() == "torch":
        pytest.skip("Keras has no NASNet on PyTorch")
    model = getattr(keras.applications, name)(weights=None)
    model_units = surgery.units(model)
    assert len(model_units) == count
    held = [layer for unit in model_units for layer in unit.layers]
    assert {id(x) for x in held} == {id(x) for x in model.layers[1:]}
    assert sum(unit.parameters for unit in model_units) == model.count_params()
    assert [unit.index for unit in model_units] == list(range(1, count + 1))


def test_the_same_when_automatic_names_have_drifted():
    def build():
        inputs = keras.Input((8, 8, 3))
        x = keras.layers.ReLU()(keras.layers.Conv2D(4, 3)(inputs))
        x = keras.layers.Add()([x, keras.layers.Conv2D(4, 3, padding="same")(x)])
        return keras.Model(inputs, keras.layers.Conv2D(2, 1)(x))

    first, second = build(), build()
    assert first.layers[1].name != second.layers[1].name
    shapes = [
        [(u.index, len(u.layers), u.parameters, u.output.shape) for u in surgery.units(model)]
        for model in (first, second)
    ]
    assert shapes[0] == shapes[1]
    fresh = [surgery.transplant(model, 1, seed=4).model.weights[2:] for model in (first, second)]
    for a, b in zip(*fresh, strict=True):
        np.testing.assert_array_equal(*(keras.ops.convert_to_numpy(w) for w in (a, b)))


def test_what_belongs_to_a_unit():
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Rescaling(1 / 255),
            layers.Conv2D(4, 3, name="one"),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 3, name="two"),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.5),
            layers.Dense(2, name="three"),
            layers.Softmax(),
        ]
    )
    model_units = surgery.units(model)
    assert [(unit.name, len(unit.layers)) for unit in model_units] == [
        ("one", 5),
        ("two", 3),
        ("three", 2),
    ]
    assert model_units[0].output.shape == (None, 7, 7, 4)
    table = str(model_units).splitlines()
    assert table[1].split()[:4] == ["1", "one", "5", "128"]
    assert "100.0%" in table[-2]
    assert table[-1] == "3 units, 10 layers, 442 parameters"


def test_no_units():
    inputs = keras.Input((4,))
    with pytest.raises(surgery.NotACutPoint, match="no layer with a weight"):
        surgery.units(keras.Model(inputs, keras.layers.ReLU()(inputs)))


def test_no_graph():
    class Plain(keras.Model):
        pass

    with pytest.raises(surgery.NotRebuildable, match="Plain named"):
        surgery.units(Plain())


@st.composite
def graphs(draw):
    """Makes random models: each node adds one to three earlier tensors; one or two outputs."""
    tensors = [keras.Input((3,)) for _ in range(draw(st.integers(1, 2)))]
    inputs = list(tensors)
    for _ in range(draw(st.integers(1, 9))):
        parents = draw(
            st.lists(st.integers(0, len(tensors) - 1), min_size=1, max_size=3, unique=True)
        )
        chosen = [tensors[i] for i in parents]
        tensors.append(
            keras.layers.Add()(chosen) if len(chosen) > 1 else keras.layers.ReLU()(chosen[0])
        )
    made = tensors[len(inputs) :]
    outputs = {len(made) - 1, draw(st.integers(0, len(made) - 1))}
    return keras.Model(inputs, [made[i] for i in sorted(outputs)])


@settings(max_examples=200, deadline=None)
@given(graphs())
def test_cut_points_are_those_found_by_deleting_one_tensor_at_a_time(model):
    nodes = graph.nodes(model)

    def reaches_an_output(without):
        known = {id(t) for t in model.inputs}
        for node in nodes:
            out = node.output_tensors[0]
            if id(out) != without and any(id(t) in known for t in node.input_tensors):
                known.add(id(out))
        return any(id(t) in known for t in model.outputs)

    tensors = [node.output_tensors[0] for node in nodes]
    expected = [id(t) for t in tensors if not reaches_an_output(id(t))]
    cut_points = [id(t) for _, t in graph.segments(model) if t is not None]
    assert cut_points == expected
