"""Makes a model's graph again out of other layers, and copies what layers hold."""

import tempfile
from collections.abc import Callable, Collection

import keras
import numpy as np

from transfer_keras.surgery import errors, freezing, fresh, graph

Pairs = list[tuple[keras.Layer, keras.Layer]]


def rebuild(
    model: keras.Model,
    make: Callable[[keras.Layer], keras.Layer],
    *,
    seed: object,
    call: Callable = lambda layer, *args, **kwargs: layer(*args, **kwargs),
    inputs=None,
    name: str | None = None,
) -> tuple[keras.Model, Pairs]:
    """The graph of a model over new layers.

    Args:
        model: functional.
        make: gives the new layer or operation (`keras.ops`) for each of the model's, called once
            each, in their order.
        seed: with the place of a layer among the model's, decides on its initial values.
        call: (new layer, its arguments) -> its outputs, or those of another that does the same.
        inputs: a tensor to build upon, in place of the model's single input; None: new inputs.
        name: of the new model; None: the old name.

    Returns:
        (new model, [(old layer, new layer)] without the inputs and without those that `call`
        left out).
    """
    pairs: Pairs = []
    places: dict[int, int] = {}

    def made(operation):
        place = len(places)
        with fresh.random_state("config", seed, place):
            new = make(operation)
        places[id(new)] = place
        if isinstance(operation, keras.Layer):
            pairs.append((operation, new))
        return new

    def called(operation, *args, **kwargs):
        if id(operation) not in places:
            return operation(*args, **kwargs)
        with fresh.random_state("build", seed, places[id(operation)]):
            return call(operation, *args, **kwargs)

    if inputs is not None:
        inputs = keras.tree.pack_sequence_as(model.input, [inputs])
    copy = keras.models.clone_model(
        model, input_tensors=inputs, clone_function=made, call_function=called
    )
    used = {id(operation) for operation in copy.operations}
    pairs = [(old, new) for old, new in pairs if id(new) in used]
    return keras.Model(copy.input, copy.output, name=name or model.name), pairs


def flat_pairs(pairs: Pairs) -> Pairs:
    """The pairs and the pairs of all layers inside them."""
    return [
        inner
        for old, new in pairs
        for inner in zip(graph.flat_layers(old), graph.flat_layers(new), strict=True)
    ]


def copy_own_state(old: keras.Layer, new: keras.Layer) -> None:
    """Copies what a `.keras` file holds of one layer: weights, constants, vocabularies.

    Layers inside it are not copied; see `flat_pairs`.
    """
    store: dict = {}
    old.save_own_variables(store)
    new.load_own_variables({key: _copied(value) for key, value in store.items()})
    if hasattr(old, "save_assets"):
        with tempfile.TemporaryDirectory() as folder:
            old.save_assets(folder)
            new.load_assets(folder)


def copy_seed_states(old: keras.Layer, new: keras.Layer) -> None:
    """Copies how far the random numbers of dropout have come, in a layer and all inside it."""
    own = {id(weight) for layer in (old, new) for weight in layer.weights}
    states = ([v for v in layer.variables if id(v) not in own] for layer in (old, new))
    for source, target in zip(*states, strict=True):
        target.assign(_copied(source))


def _copied(value) -> np.ndarray:
    """A copy in memory of its own: a training step in JAX gives its weights' buffers away."""
    return np.array(keras.ops.convert_to_numpy(value))


def check_rebuildable(model: keras.Model, shared: Collection[str] = ()) -> None:
    """Refuses what would come out silently different.

    Raises:
        NotRebuildable: for weights tied between layers, and for LoRA or quantised layers.
    """
    owners: dict[int, keras.Layer] = {}
    for layer in model.layers:
        for weight in layer.weights:
            other = owners.setdefault(id(weight), layer)
            if other is not layer:
                raise errors.NotRebuildable(
                    f"Layers '{other.name}' and '{layer.name}' of '{model.name}' are tied: both "
                    f"hold {weight.path}. Made again they would not be. Put both into one "
                    "composite layer, which is rebuilt as one."
                )
        if layer.name not in shared:
            check_layer(layer, model.name)


def check_layer(layer: keras.Layer, of: str) -> None:
    """Refuses what a layer's config does not restore.

    Raises:
        NotRebuildable: for LoRA or quantised weights, naming the model that the layer is of.
    """
    for inner in graph.flat_layers(layer):
        if getattr(inner, "lora_enabled", False) or getattr(inner, "quantization_mode", None):
            kind = "LoRA" if getattr(inner, "lora_enabled", False) else "quantised weights"
            raise errors.NotRebuildable(
                f"Layer '{inner.name}' of '{of}' has {kind}, which its config does not "
                "restore. Save and load the model without them first (saving merges LoRA)."
            )


def duplicate(model: keras.Model, make: Callable[[keras.Layer], keras.Layer], **options):
    """The graph of a model over other layers that hold the same: weights, flags, seed states.

    Args:
        model: functional.
        make: see `rebuild`; initial values do not matter, since all is written over.
        **options: of `rebuild`.

    Raises:
        NotRebuildable: see `check_rebuildable`, or if a layer cannot be made from its config.
    """
    check_rebuildable(model)
    copy, pairs = rebuild(model, make, seed=None, **options)
    pieces = flat_pairs(pairs)
    for old, new in pieces:
        copy_own_state(old, new)
    for old, new in pairs:
        copy_seed_states(old, new)
    freezing.copy_flags(pieces)
    return copy
