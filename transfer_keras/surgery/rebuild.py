"""Makes a model's graph again with other layers, and copies what layers hold."""

import tempfile
from collections.abc import Callable, Collection

import keras
import numpy as np

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.configs import is_of_keras
from transfer_keras.surgery.weights import own_weight_pairs, own_weights

Pairs = list[tuple[keras.Layer, keras.Layer]]


def rebuild(
    model: keras.Model,
    make: Callable[[keras.Layer], keras.Layer],
    *,
    seed: object,
    call: Callable = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    inputs=None,
    name: str | None = None,
    kind: type = keras.Model,
) -> tuple[keras.Model, Pairs]:
    """Makes the graph of a model again with new layers.

    Args:
        model: functional.
        make: function from a layer or operation (`keras.ops`) of the model to the new one; it is
            called once for each, in their order.
        seed: decides, with the place of a layer among the model's, on the layer's initial values.
        call: function that calls a new layer: from (layer, *args, **kwargs) to the outputs. It
            may give the outputs of another layer that does the same.
        inputs: the tensor to build upon, or one for each input of the model; None: new inputs.
        name: of the new model; None: the old name.
        kind: class of the new model, from `graph.class_of`.

    Returns:
        (new model, [(old layer, new layer)]). The pairs are without the inputs and without layers
        that `call` left out of the graph.
    """
    pairs: Pairs = []
    # Identity of a new layer or operation -> the place of the old one among the model's.
    places: dict[int, int] = {}

    def make_seeded(operation):
        place = len(places)
        with fresh.random_state("config", seed, place):
            new = make(operation)
        places[id(new)] = place
        if isinstance(operation, keras.Layer):
            pairs.append((operation, new))
        return new

    def call_seeded(operation, *args, **kwargs):
        if id(operation) not in places:
            return operation(*args, **kwargs)
        with fresh.random_state("build", seed, places[id(operation)]):
            return call(operation, *args, **kwargs)

    if inputs is not None:
        inputs = keras.tree.pack_sequence_as(model.input, keras.tree.flatten(inputs))
    copy = keras.models.clone_model(
        model, input_tensors=inputs, clone_function=make_seeded, call_function=call_seeded
    )
    used = {id(operation) for operation in copy.operations}
    pairs = [(old, new) for old, new in pairs if id(new) in used]
    return kind(copy.input, copy.output, name=name or model.name), pairs


def flat_pairs(pairs: Pairs) -> Pairs:
    """Lists pairs of layers and the pairs of all layers inside them, parents before children.

    Layers that are the activation of another and hold nothing are left out: one of the two may have
    a function in that place.
    """
    return [
        inner
        for old, new in pairs
        for inner in zip(_without_activations(old), _without_activations(new), strict=True)
    ]


def _without_activations(layer: keras.Layer) -> list[keras.Layer]:
    """Lists a layer and all layers inside it, but for activations without variables."""
    layers = graph.flat_layers(layer)
    activations = [getattr(inner, "activation", None) for inner in layers]
    left_out = {
        id(inner)
        for activation in activations
        if isinstance(activation, keras.Layer) and not activation.variables
        for inner in graph.flat_layers(activation)
    }
    return [inner for inner in layers if id(inner) not in left_out]


def copy_own_state(old: keras.Layer, new: keras.Layer) -> None:
    """Copies what a `.keras` file holds of one layer: weights, constants, vocabularies.

    The state of layers inside it is not copied; `flat_pairs` gives their pairs.
    """
    store: dict = {}
    values = [copied(weight) for weight in own_weights(old)] if _stores_by_itself(old) else []
    old.save_own_variables(store)
    new.load_own_variables({key: copied(value) for key, value in store.items()})
    # What a class stores in its own way may be less than its weights, and change them.
    for layer in (old, new) if values else ():
        for weight, value in zip(own_weights(layer), values, strict=True):
            weight.assign(value)
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def _stores_by_itself(layer: keras.Layer) -> bool:
    """Tells whether a class that is not Keras's own says how its weights are stored."""
    names = ("save_own_variables", "load_own_variables")
    owners = [next(kind for kind in type(layer).__mro__ if name in vars(kind)) for name in names]
    return not all(map(is_of_keras, owners))


def copy_states(pairs: Pairs) -> None:
    """Copies the state of the first of each pair to the second.

    Raises:
        ShapeMismatch: if a layer came out of its config with other weights.
    """
    mismatched = []
    for old, new in pairs:
        weights = own_weight_pairs(old, new)
        shapes = [[tuple(w.shape) for w in side] for side in zip(*weights, strict=True)]
        if weights and shapes[0] != shapes[1]:
            mismatched.append(f"'{old.name}' has {shapes[0]}, its copy {shapes[1]}")
        else:
            copy_own_state(old, new)
    if mismatched:
        raise errors.ShapeMismatch(
            f"{len(mismatched)} layers came out of their config with other weights: "
            f"{'; '.join(mismatched)}. Their configs do not say all that made them."
        )


def copy_seed_states(old: keras.Layer, new: keras.Layer) -> None:
    """Copies the states of random seeds (dropout), in a layer and in all layers inside it."""
    own = {id(weight) for layer in (old, new) for weight in layer.weights}
    states = ([v for v in layer.variables if id(v) not in own] for layer in (old, new))
    for source, target in zip(*states, strict=True):
        target.assign(copied(source))


def copied(value) -> np.ndarray:
    """Copies an array into memory of its own: a training step in JAX frees the weights' buffers."""
    return np.array(keras.ops.convert_to_numpy(value))


def check_rebuildable(model: keras.Model, shared: Collection[str] = ()) -> None:
    """Refuses models of which a rebuilt copy would be different without an error.

    Args:
        model: functional.
        shared: names of layers that are used as they are and not made again.

    Raises:
        NotRebuildable: if weights are tied between layers, or a layer has LoRA.
    """
    check_ties(model)
    for layer in model.layers:
        if layer.name not in shared:
            check_layer(layer, model.name)


def check_ties(model: keras.Model) -> None:
    """Refuses models with weights that several layers hold, which copies would not.

    Raises:
        NotRebuildable: if there are such weights.
    """
    owners: dict[int, keras.Layer] = {}
    for layer in model.layers:
        for weight in layer.weights:
            owner = owners.setdefault(id(weight), layer)
            if owner is not layer:
                raise errors.NotRebuildable(
                    f"Layers '{owner.name}' and '{layer.name}' of '{model.name}' are tied: both "
                    f"hold {weight.path}. Made again they would not be. Put both into one "
                    "composite layer, which is rebuilt as one."
                )


def check_layer(layer: keras.Layer, of: str) -> None:
    """Refuses a layer with weights that its config does not restore.

    Args:
        layer: any layer; layers inside it are checked too.
        of: name of the model that it belongs to, for the message.

    Raises:
        NotRebuildable: if it has LoRA.
    """
    for inner in graph.flat_layers(layer):
        if getattr(inner, "lora_enabled", False):
            raise errors.NotRebuildable(
                f"Layer '{inner.name}' of '{of}' has LoRA, whose adapters a copy would lose. Give "
                "`surgery.merge_lora(model)`, in which they are merged into the kernels."
            )


def duplicate(model: keras.Model, make: Callable[[keras.Layer], keras.Layer], **options):
    """Copies a model: its graph with other layers of the same weights, flags and seed states.

    Args:
        model: functional.
        make: function from a layer or operation of the model to the new one; its initial values
            do not matter, since they are overwritten.
        **options: further arguments of `rebuild`.

    Raises:
        NotRebuildable: if `check_rebuildable` refuses the model, or a layer cannot be made from
            its config.
        ShapeMismatch: if a layer came out of its config with other weights.
    """
    check_rebuildable(model)
    copy, pairs = rebuild(model, make, seed=None, **options)
    pieces = flat_pairs(pairs)
    copy_states([pair for pair in pieces if pair[0] is not pair[1]])
    for old, new in pairs:
        copy_seed_states(old, new)
    freezing.copy_flags(pieces)
    return copy
