"""Layers that are inserted, replaced and read out: right values, and nothing else changes."""

import keras
import numpy as np
import pytest
from support.small_network import LAYERS, as_numpy, images, make_donor, perturb, values

from transfer_keras import surgery


def dense(kernel, bias, x):
    return x @ as_numpy(kernel) + as_numpy(bias)


def branches():
    """A network whose layer `stem` is used three times: by two branches and as an output."""
    inputs = keras.Input((4,), name="x")
    stem = LAYERS.Dense(3, name="stem")(inputs)
    left = LAYERS.Dense(2, name="left")(stem)
    right = LAYERS.Dense(2, name="right")(stem)
    added = LAYERS.Add(name="added")([left, right])
    model = keras.Model(inputs, {"sum": added, "stem": stem}, name="branches")
    perturb(model)
    return model


def twins():
    """A network that calls its layer `twin` twice."""
    a, b = keras.Input((4,), name="a"), keras.Input((4,), name="b")
    twin = LAYERS.Dense(3, name="twin")
    model = keras.Model([a, b], LAYERS.Subtract(name="minus")([twin(a), twin(b)]), name="twins")
    perturb(model)
    return model


X = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)


def test_the_mask_of_a_replaced_layer_goes_with_it():
    """Keras notes masks in the calls of the layers above."""
    inputs = keras.Input((5,), dtype="int32")
    x = LAYERS.Embedding(9, 4, mask_zero=True, name="words")(inputs)
    model = keras.Model(inputs, LAYERS.SimpleRNN(3, name="rnn")(LAYERS.Dropout(0.1)(x)))
    perturb(model)
    tokens = np.array([[1, 2, 0, 0, 0], [3, 4, 5, 0, 0]])
    for masked in (False, True):
        new_layer = LAYERS.Embedding(9, 4, mask_zero=masked, name="words")
        new = surgery.replace(model, "words", new_layer)
        words = new_layer(tokens)
        mask = keras.ops.convert_to_tensor(tokens != 0) if masked else None
        expected = model.get_layer("rnn")(words, mask=mask)
        np.testing.assert_allclose(as_numpy(new(tokens)), as_numpy(expected), atol=1e-5)


def test_insert_is_on_every_path():
    model = branches()
    before = values(model)
    new = surgery.insert(model, after="stem", layer=LAYERS.Rescaling(3.0, 1.0, name="scaled"))
    stem = 3 * dense(*model.get_layer("stem").weights, X) + 1
    left, right = (dense(*model.get_layer(name).weights, stem) for name in ("left", "right"))
    out = as_numpy(new(X))
    np.testing.assert_allclose(out["stem"], stem, atol=1e-5)
    np.testing.assert_allclose(out["sum"], left + right, atol=1e-5)
    assert [x.name for x in new.layers] == ["x", "stem", "scaled", "left", "right", "added"]
    # The given network is as it was, and shares nothing.
    for name, value in values(model).items():
        np.testing.assert_array_equal(value, before[name])
    for name, value in values(new).items():
        np.testing.assert_array_equal(value, before[name])
    assert not {id(w) for w in new.weights} & {id(w) for w in model.weights}


def test_insert_keeps_flags_and_the_weights_of_the_new_layer():
    model = make_donor()
    surgery.set_trainable([model.get_layer("one_bn")], False)
    layer = LAYERS.Dense(8, name="adapter", trainable=False)
    layer.build((None, 8))
    expected = as_numpy(layer.weights)
    new = surgery.insert(model, after="three", layer=layer)
    assert new.get_layer("adapter") is layer
    assert not layer.trainable
    for value, old in zip(as_numpy(layer.weights), expected, strict=True):
        np.testing.assert_array_equal(value, old)
    assert [x.trainable for x in new.layers if x.name == "one_bn"] == [False]
    assert new.get_layer("one").trainable
    new.compile("sgd", "mse")
    new.fit(images(), np.zeros((4, 5)), verbose=0)


def test_insert_after_a_layer_that_is_called_twice():
    model = twins()
    new = surgery.insert(model, after="twin", layer=LAYERS.Rescaling(2.0, 5.0, name="scaled"))
    kernel, bias = model.get_layer("twin").weights
    expected = 2 * (dense(kernel, bias, X) - dense(kernel, bias, 3 * X))
    np.testing.assert_allclose(as_numpy(new([X, 3 * X])), expected, atol=1e-4)
    assert [layer.name for layer in new.layers].count("scaled") == 1


def test_insert_after_an_operation():
    inputs = keras.Input((4,))
    x = keras.ops.multiply(inputs, 2.0)
    name = next(o.name for o in keras.Model(inputs, x).operations if o.name.startswith("multiply"))
    model = keras.Model(inputs, LAYERS.Dense(3, name="one")(x))
    perturb(model)
    new = surgery.insert(model, after=name, layer=LAYERS.Rescaling(0.5, name="half"))
    expected = dense(*model.get_layer("one").weights, X)
    np.testing.assert_allclose(as_numpy(new(X)), expected, atol=1e-6)


def test_replace():
    model = branches()
    layer = LAYERS.Dense(2, name="right")
    new = surgery.replace(model, "right", layer)
    assert new.get_layer("right") is layer
    stem = dense(*model.get_layer("stem").weights, X)
    expected = dense(*model.get_layer("left").weights, stem) + dense(*layer.weights, stem)
    np.testing.assert_allclose(as_numpy(new(X))["sum"], expected, atol=1e-5)
    removed = surgery.replace(model, "right", LAYERS.Dense(2, use_bias=False, name="r"))
    assert len(removed.weights) == len(model.weights) - 1


def test_replace_a_layer_that_is_called_twice():
    new = surgery.replace(twins(), "twin", LAYERS.Rescaling(2.0, 1.0, name="scaled"))
    np.testing.assert_allclose(as_numpy(new([X, 3 * X])), -4 * X, atol=1e-5)


def test_replace_by_identity_removes_a_layer():
    model = make_donor()
    new = surgery.replace(model, "one_bn", LAYERS.Identity(name="nothing"))
    x = as_numpy(model.get_layer("pixels")(images()))
    x = as_numpy(model.get_layer("one")(x))
    upper = keras.Model(model.get_layer("one_relu").input, model.output)
    np.testing.assert_allclose(as_numpy(new(images())), as_numpy(upper(x)), atol=1e-5)


def test_replace_a_layer_that_got_a_mask():
    inputs = keras.Input((6,), dtype="int32")
    x = LAYERS.Embedding(5, 3, mask_zero=True, name="words")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(2, name="head")(LAYERS.LSTM(3, name="lstm")(x)))
    perturb(model)
    words = np.array([[1, 2, 3, 0, 0, 0], [4, 3, 2, 1, 2, 0]])
    table, *head = (
        weight for name in ("words", "head") for weight in model.get_layer(name).weights
    )
    rows = as_numpy(table)[words]
    # The mean is over what the mask leaves; the other layer takes no mask.
    mean = np.stack([rows[0, :3].mean(0), rows[1, :5].mean(0)])
    for layer, pooled in (
        (LAYERS.GlobalAveragePooling1D(name="mean"), mean),
        (LAYERS.GlobalMaxPooling1D(name="max"), rows.max(1)),
    ):
        new = surgery.replace(model, "lstm", layer)
        np.testing.assert_allclose(as_numpy(new(words)), dense(*head, pooled), atol=1e-5)


def test_outputs():
    model = branches()
    new = surgery.outputs(model, ["right", "stem", "added"])
    out = as_numpy(new(X))
    stem = dense(*model.get_layer("stem").weights, X)
    assert set(out) == {"right", "stem", "added"}
    np.testing.assert_allclose(out["stem"], stem, atol=1e-5)
    np.testing.assert_allclose(
        out["right"], dense(*model.get_layer("right").weights, stem), atol=1e-5
    )
    np.testing.assert_array_equal(out["added"], as_numpy(model(X))["sum"])
    assert new.get_layer("stem") is model.get_layer("stem")
    listed = as_numpy(surgery.outputs(model, ["right", "stem"], as_list=True)(X))
    np.testing.assert_array_equal(listed[1], out["stem"])


def test_outputs_are_those_of_this_network():
    # A layer that was also called elsewhere: its `output` would be that of the other graph.
    layer = LAYERS.Dense(3, name="shared")
    other = keras.Input((4,))
    layer(LAYERS.Rescaling(0.0)(other))
    inputs = keras.Input((4,))
    model = keras.Model(inputs, LAYERS.Dense(2)(layer(inputs)))
    out = surgery.outputs(model, ["shared"])(X)["shared"]
    np.testing.assert_allclose(as_numpy(out), dense(*layer.weights, X), atol=1e-6)


def test_outputs_of_a_layer_that_is_called_twice():
    model = twins()
    weights = model.get_layer("twin").weights
    out = as_numpy(surgery.outputs(model, ["twin:2", "twin:1"])([X, 3 * X]))
    np.testing.assert_allclose(out["twin:1"], dense(*weights, X), atol=1e-5)
    np.testing.assert_allclose(out["twin:2"], dense(*weights, 3 * X), atol=1e-5)
    for name in ("twin", "twin:0", "twin:3"):
        with pytest.raises(surgery.UnknownLayer, match=r"'twin' is called 2 times.*'twin:1' or"):
            surgery.outputs(model, [name])


def test_outputs_of_a_layer_of_several():
    inputs = keras.Input((3, 2))
    y, _ = LAYERS.GRU(4, return_state=True, name="gru")(inputs)
    model = keras.Model(inputs, LAYERS.Dense(2)(y))
    out = surgery.outputs(model, ["gru"])(np.ones((2, 3, 2), np.float32))["gru"]
    np.testing.assert_array_equal(*as_numpy(list(out)))


def test_names_that_are_not_there():
    model = branches()
    with pytest.raises(surgery.UnknownLayer, match=r"no layer 'stemm'. Nearest names: stem"):
        surgery.insert(model, after="stemm", layer=LAYERS.ReLU())
    with pytest.raises(surgery.UnknownLayer, match="It is an input"):
        surgery.replace(model, "x", LAYERS.ReLU())
    nested = keras.Sequential([keras.Input((4,)), keras.Sequential([LAYERS.Dense(2, name="in")])])
    with pytest.raises(surgery.UnknownLayer, match=r"lies inside 'sequential.*flatten"):
        surgery.outputs(nested, ["in"])
    for names in ("stem", []):
        with pytest.raises(surgery.UnknownLayer, match="names: expected"):
            surgery.outputs(model, names)


def test_layers_that_do_not_fit():
    model = branches()
    with pytest.raises(surgery.ShapeMismatch, match=r"'left' \(Dense\).*kernel has shape \(3, 2\)"):
        surgery.insert(model, after="stem", layer=LAYERS.Dense(7, name="new"))
    with pytest.raises(surgery.ShapeMismatch, match=r"'added' \(Add\) cannot take"):
        surgery.replace(model, "right", LAYERS.Dense(7, name="new"))
    with pytest.raises(surgery.ShapeMismatch, match=r"'new' \(Conv2D\) cannot take"):
        surgery.insert(model, after="stem", layer=LAYERS.Conv2D(7, 3, name="new"))
    with pytest.raises(surgery.ShapeMismatch, match=r"'new' \(Conv2D\) cannot take"):
        surgery.replace(model, "stem", LAYERS.Conv2D(7, 3, name="new"))
    with pytest.raises(surgery.NotRebuildable, match="already has a layer 'right'"):
        surgery.insert(model, after="stem", layer=LAYERS.Dense(3, name="right"))
    with pytest.raises(surgery.NotRebuildable, match="already has a layer 'right'"):
        surgery.replace(model, "stem", LAYERS.Dense(3, name="right"))
    with pytest.raises(surgery.NotRebuildable, match=r"expected a Keras layer. Received: 3"):
        surgery.insert(model, after="stem", layer=3)
    inputs = keras.Input((3, 2))
    model = keras.Model(inputs, LAYERS.GRU(4, return_state=True, name="gru")(inputs)[0])
    with pytest.raises(surgery.ShapeMismatch, match="'gru' gives 2 tensors"):
        surgery.insert(model, after="gru", layer=LAYERS.ReLU())
