"""Builds networks of Keras 3 from the configs of Keras 2."""

import dataclasses
from collections.abc import Mapping

import keras

from transfer_keras.surgery import errors, freezing, graph, keras2_ops
from transfer_keras.surgery.keras2_layers import MODELS, make_layer

# In the place of a layer's name: the value itself follows.
_CONSTANT = "_CONSTANT_VALUE"


@dataclasses.dataclass
class Part:
    """A layer that was made from a file of Keras 2.

    Attributes:
        name: its name in the file.
        layer: the layer or model of Keras 3.
        inside: of a model its layers, in the order of the file; None of any other layer.
        trainable: its flag.
    """

    name: str
    layer: keras.Layer
    inside: list["Part"] | None
    trainable: bool


def build(entry: Mapping, custom_objects: Mapping) -> Part:
    """Makes a layer or model, with all inside it, and sets their flags.

    Args:
        entry: what the file says of it: {"class_name", "config", …}.
        custom_objects: name -> class or function, for those that are not Keras's own.

    Raises:
        UnreadableFile: if there is something that Keras 3 cannot do.
    """
    part = _part(entry, custom_objects)
    _set_flags(part)
    return part


def _part(entry: Mapping, custom_objects: Mapping) -> Part:
    kind, config = entry["class_name"], entry["config"]
    if kind == "Sequential":
        return _sequential(config, custom_objects)
    if kind in MODELS:
        return _Graph(config, custom_objects).part
    if isinstance(config, dict) and "input_layers" in config:
        raise errors.UnreadableFile(
            f"'{config.get('name')}' is of the class '{kind}', a model with code of its own. "
            "Expected a functional model or a Sequential. Save "
            "`keras.Model(model.inputs, model.outputs)` of it with Keras 2."
        )
    config = {**config, "name": _free(config.get("name", ""), set())}
    layer = make_layer(
        {**entry, "config": config},
        custom_objects,
        lambda inner: build(inner, custom_objects).layer,
    )
    return Part(entry["config"].get("name", ""), layer, None, config.get("trainable", True))


def _set_flags(part: Part) -> None:
    """Sets the flags of models and of the layers in them; the flag of a model sets those inside."""
    if part.inside is None:
        if part.layer.trainable != part.trainable:
            freezing.set_flag(part.layer, part.trainable)
        return
    if not part.trainable:
        part.layer.trainable = False
    for inner in part.inside:
        _set_flags(inner)


def _free(name: str, taken: set[str]) -> str:
    """Gives a name that Keras 3 allows and nothing has."""
    name = name.replace("/", "_")
    free, count = name, 2
    while free in taken:
        free, count = f"{name}_{count}", count + 1
    return free


def _input(config: Mapping) -> keras.KerasTensor:
    """Makes an input of what the file says of an `InputLayer`."""
    if config.get("ragged"):
        raise errors.UnreadableFile(
            f"Input '{config['name']}' is ragged. Expected a tensor of one shape."
        )
    return keras.Input(
        batch_shape=config.get("batch_input_shape", config.get("batch_shape")),
        dtype=config.get("dtype"),
        sparse=bool(config.get("sparse")),
        name=_free(config["name"], set()),
    )


def _sequential(config, custom_objects: Mapping) -> Part:
    # Until Keras 2.2.2 the config was the list of layers.
    config = {"name": "sequential", "layers": config} if isinstance(config, list) else config
    model = keras.Sequential(name=_free(config["name"], set()))
    parts, taken = [], set()
    for place, entry in enumerate(config["layers"]):
        own = entry["config"]
        if entry["class_name"] == "InputLayer":
            model.add(_input(own))
            continue
        if place == 0 and isinstance(own, dict) and own.get("batch_input_shape"):
            model.add(_input({**own, "name": f"{own['name']}_input"}))
        part = _part(entry, custom_objects)
        part.layer.name = _free(part.layer.name, taken)
        taken.add(part.layer.name)
        model.add(part.layer)
        parts.append(part)
    if not model.built:
        if not config.get("build_input_shape"):
            raise errors.UnreadableFile(
                f"'{config['name']}' was saved before it was built, so the file does not say what "
                "it takes. Call it on data, or give it keras.Input(...), and save it again."
            )
        model.build(config["build_input_shape"])
    return Part(config["name"], model, parts, config.get("trainable", True))


class _NotYet(Exception):
    """A tensor that a call needs is not there yet."""


class _Graph:
    """Makes a functional model: calls its layers in an order in which their inputs are there.

    Args:
        config: of the model.
        custom_objects: see `build`.
    """

    def __init__(self, config: Mapping, custom_objects: Mapping):
        self._entries = {entry["name"]: entry for entry in config["layers"]}
        self._parts: dict[str, Part] = {}
        # Name -> outputs of each call of the layer, with None where the file's count has a call
        # that belongs to another model.
        self._calls: dict[str, list] = {}
        self._taken: set[str] = set()
        self._operations: set[int] = set()
        for name, entry in self._entries.items():
            self._make(name, entry, custom_objects)
        self._run()
        inputs, outputs = (self._ends(config[key]) for key in ("input_layers", "output_layers"))
        model = keras.Model(inputs, outputs, name=_free(config["name"], set()))
        parts = [self._parts[name] for name in self._entries if name in self._parts]
        self.part = Part(config["name"], model, parts, config.get("trainable", True))

    def _make(self, name: str, entry: Mapping, custom_objects: Mapping) -> None:
        if entry["class_name"] == "InputLayer":
            tensor = _input({**entry["config"], "name": name})
            self._taken.add(graph.maker(tensor).name)
            self._calls[name] = [[tensor]]
            return
        self._calls[name] = []
        if entry["class_name"] in keras2_ops.CLASSES:
            return
        part = self._parts[name] = _part(entry, custom_objects)
        part.name = name
        part.layer.name = _free(name, self._taken)
        self._taken.add(part.layer.name)
        if part.inside is not None and not self._refers_to_first(name):
            # The first call of a nested model was the one that made it.
            self._calls[name].append(None)

    def _refers_to_first(self, name: str) -> bool:
        """Tells whether something takes the result of a layer's call number 0."""

        def refers(value) -> bool:
            if self._is_reference(value):
                further = value[3] if len(value) > 3 else None
                return (value[0] == name and value[1] == 0) or refers(further)
            items = value.values() if isinstance(value, dict) else value
            return isinstance(value, dict | list) and any(map(refers, items))

        return refers([entry["inbound_nodes"] for entry in self._entries.values()])

    def _run(self) -> None:
        """Makes all calls; those whose inputs are not there yet wait for the next round."""
        waiting = {name: list(entry["inbound_nodes"]) for name, entry in self._entries.items()}
        while any(waiting.values()):
            before = sum(map(len, waiting.values()))
            for name, nodes in waiting.items():
                while nodes:
                    try:
                        self._call(name, nodes[0])
                    except _NotYet:
                        break
                    nodes.pop(0)
            if sum(map(len, waiting.values())) == before:
                names = [name for name, nodes in waiting.items() if nodes]
                raise errors.UnreadableFile(
                    f"The inputs of {errors.first_few(names)} are not in the file."
                )

    def _call(self, name: str, node) -> None:
        """Makes one call of a layer or operation."""
        arguments: dict = {}
        first = self._first(node, arguments)
        arguments = {key: self._value(value) for key, value in arguments.items()}
        entry = self._entries[name]
        if name in self._parts:
            if isinstance(first, list) and len(first) == 1:
                first = first[0]
            outputs = keras.tree.flatten(self._parts[name].layer(first, **arguments))
        else:
            outputs = [keras2_ops.call(name, entry["config"]["function"], first, arguments)]
            self._name_operation(graph.maker(outputs[0]), name)
        self._calls[name].append(outputs)

    def _name_operation(self, operation, name: str) -> None:
        """Names an operation as the file does: Keras's own names may be those of layers."""
        if isinstance(operation, keras.Layer) or id(operation) in self._operations:
            # What does nothing gives the tensor itself.
            return
        self._operations.add(id(operation))
        operation.name = _free(name.replace(".", "_"), self._taken)
        self._taken.add(operation.name)

    def _first(self, node, arguments: dict):
        """Gives the first argument of a call, and gathers the others in `arguments`."""
        if self._is_reference(node):
            arguments |= node[3] if len(node) > 3 else {}
            return node[2] if node[0] == _CONSTANT else self._tensor(node)
        if isinstance(node, dict):
            return {key: self._first(value, arguments) for key, value in node.items()}
        if not isinstance(node, list):
            raise errors.UnreadableFile(f"The input {node!r} of a layer is not in the file.")
        return [self._first(value, arguments) for value in node]

    def _value(self, value):
        """Gives an argument with tensors in place of what stands for them."""
        if self._is_reference(value):
            return self._tensor(value)
        if isinstance(value, dict):
            return {key: self._value(item) for key, item in value.items()}
        return [self._value(item) for item in value] if isinstance(value, list) else value

    def _ends(self, structure):
        """Gives the inputs or outputs of the model; a list of one becomes the tensor."""
        found = self._value(structure)
        return found[0] if isinstance(found, list) and len(found) == 1 else found

    def _is_reference(self, value) -> bool:
        """Tells whether a value stands for a tensor: [name, number of call, number of output]."""
        return (
            isinstance(value, list)
            and len(value) in (3, 4)
            and isinstance(value[0], str)
            and (value[0] == _CONSTANT or value[0] in self._entries)
        )

    def _tensor(self, reference: list):
        name, call, output = reference[:3]
        if call >= len(self._calls[name]):
            raise _NotYet
        return self._calls[name][call][output]
