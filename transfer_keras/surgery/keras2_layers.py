"""Makes layers of Keras 3 from what a file of Keras 2 says of them."""

import re
from collections.abc import Mapping

import keras

from transfer_keras.surgery import errors

MODELS = ("Functional", "Model", "Sequential")
_LAYERS_INSIDE = ("layer", "forward_layer", "backward_layer", "cell", "cells")
_CLASSES = {
    "BatchNormalizationV1": "BatchNormalization",
    "BatchNormalizationV2": "BatchNormalization",
    "SyncBatchNormalization": "BatchNormalization",
    "ThresholdedReLU": "ReLU",
}
# Layers of networks of keras.applications: Keras 3 names them in its own files by these modules.
_MODULES = {
    "CustomScaleLayer": "keras.src.applications.inception_resnet_v2",
    "LayerScale": "keras.src.applications.convnext",
    "StochasticDepth": "keras.src.applications.convnext",
}
# Class and entry of the config -> the name of the entry in Keras 3.
_ENTRIES = {("LeakyReLU", "alpha"): "negative_slope", ("ThresholdedReLU", "theta"): "threshold"}
# Entries that Keras 3 does not have -> the values with which they change nothing; None: any.
_OBSOLETE = {
    "adjustment": (None,),
    "batch_input_shape": None,
    "fused": None,
    "implementation": None,
    "input_length": None,
    "key_shape": None,
    "query_shape": None,
    "rng_type": None,
    "softmax_robust_masking": (False,),
    "time_major": (False,),
    "value_shape": None,
    "virtual_batch_size": (None,),
}
# Convolutions whose config has entries that are for others.
_ODD_CONVOLUTION = re.compile(r"Depthwise|Separable|Transpose")
_OBSOLETE_THERE = {
    "groups": (1, None),
    "kernel_constraint": None,
    "kernel_initializer": None,
    "kernel_regularizer": None,
}
_OF_TRANSPOSED = ("kernel_constraint", "kernel_initializer", "kernel_regularizer")
BY_HAND = (
    "Build the network again with Keras 3, with layers or `keras.ops` in its place, and take the "
    "weights: `new.load_weights(file)` of a .h5 file goes by the order of the layers that have "
    "some."
)


@keras.saving.register_keras_serializable(package="transfer_keras")
def hard_sigmoid_of_keras2(x):
    """Computes Keras 2's `hard_sigmoid`, which is steeper than that of Keras 3: 0.2 x + 0.5."""
    return keras.ops.clip(0.2 * x + 0.5, 0.0, 1.0)


def make_layer(entry: Mapping, custom_objects: Mapping, make_model) -> keras.Layer:
    """Makes a layer of what a file of Keras 2 says of it; code in the file is not run.

    Args:
        entry: {"class_name", "config", …}, and "name" if it is a layer of a functional model.
        custom_objects: name -> class or function, for those that are not Keras's own.
        make_model: function that makes a model of its entry, for models inside layers.

    Raises:
        UnreadableFile: if the class is not known, or holds code, or has a setting that Keras 3
            has not.
    """
    updated = _updated(entry, custom_objects, make_model)
    try:
        return keras.saving.deserialize_keras_object(updated, custom_objects=dict(custom_objects))
    except errors.UnreadableFile:
        raise
    except Exception as error:
        # Anything may come of a config that was edited.
        reason = errors.reason(error)
        raise errors.UnreadableFile(
            f"Layer '{_name(entry)}' ({entry['class_name']}) of Keras 2 cannot be made with Keras "
            f"{keras.__version__}: {reason[:300].rstrip('.')}. {BY_HAND}"
        ) from error


def refuse_lambda(name: str) -> errors.UnreadableFile:
    """Makes the error that says what to do about a layer whose function is code in the file."""
    return errors.UnreadableFile(
        f"Layer '{name}' is a Lambda: what it computes is code inside the file, which is not run. "
        "Build the network again in the program that made it, with a layer in its place (if it "
        "scales pixels: `keras.layers.Rescaling(1 / 127.5, offset=-1)` or what it computes), call "
        "`new.set_weights(old.get_weights())`, since a Lambda has no weights, and save `new`."
    )


def _name(entry: Mapping) -> str:
    return entry.get("name") or entry["config"].get("name", "")


def _updated(entry: Mapping, custom_objects: Mapping, make_model) -> dict:
    """Brings the entry of a layer to the form of Keras 3."""
    full = entry["class_name"]
    short = full.rpartition(">")[2]
    for name in (full, short):
        if keras.saving.get_registered_object(name, dict(custom_objects)) is not None:
            config = dict(entry["config"])
            return {"class_name": short, "config": config, "registered_name": name, "module": None}
    if short == "Lambda":
        raise refuse_lambda(_name(entry))
    module = "keras.layers"
    if not hasattr(keras.layers, _CLASSES.get(short, short)):
        module = _MODULES.get(short) or _module_in_keras(entry)
    if module is None:
        raise errors.UnreadableFile(
            f"Layer '{_name(entry)}' is of class '{short}', which Keras does not have. Give the "
            f"class, written for Keras 3: custom_objects={{'{short}': {short}}}."
        )
    config = {}
    for key, value in _without_obsolete(entry, short).items():
        if key in _LAYERS_INSIDE and value is not None:
            value = _inside(value, custom_objects, make_model)
        config[_ENTRIES.get((short, key), key)] = _updated_value(key, value)
    if short == "SyncBatchNormalization":
        config["synchronized"] = True
    name = _CLASSES.get(short, short)
    return {"class_name": name, "config": config, "registered_name": None, "module": module}


def _module_in_keras(entry: Mapping) -> str | None:
    """Gives Keras's own module of a class that is not among `keras.layers`, as the file has it."""
    module = re.sub(r"^tf_keras\.", "keras.", entry.get("module") or "")
    return module if module.startswith("keras.src.") else None


def _without_obsolete(entry: Mapping, short: str) -> dict:
    """Leaves out the entries that Keras 3 does not have, if they change nothing."""
    obsolete = dict(_OBSOLETE)
    if short.startswith("SpatialDropout"):
        obsolete |= {"noise_shape": None, "trainable": None}
    if _ODD_CONVOLUTION.search(short):
        obsolete |= _OBSOLETE_THERE
        if "Transpose" in short:
            obsolete = {k: v for k, v in obsolete.items() if k not in _OF_TRANSPOSED}
    config = {}
    for key, value in entry["config"].items():
        if key not in obsolete:
            config[key] = value
        elif obsolete[key] is not None and value not in obsolete[key]:
            raise errors.UnreadableFile(
                f"Layer '{_name(entry)}' ({short}) of Keras 2 has {key}={value!r}, which Keras 3 "
                f"does not have. Expected {key}={obsolete[key][0]!r}. {BY_HAND}"
            )
    return config


def _inside(value, custom_objects: Mapping, make_model):
    """Updates the entries of layers or models inside a layer."""
    if isinstance(value, list):
        return [_inside(item, custom_objects, make_model) for item in value]
    if value["class_name"] in MODELS:
        return keras.saving.serialize_keras_object(make_model(value))
    return _updated(value, custom_objects, make_model)


def _updated_value(key: str, value):
    """Updates a value of a config: an activation, a dtype, an axis, an initialiser and so on."""
    if key.endswith("activation"):
        name = value["config"] if isinstance(value, dict) else value
        return hard_sigmoid_of_keras2 if name == "hard_sigmoid" else value
    if key == "axis" and isinstance(value, list) and len(value) == 1:
        return value[0]
    if not isinstance(value, dict) or "class_name" not in value:
        return value
    if key == "dtype":
        return value["config"]["name"]
    if not isinstance(value.get("config"), dict) or key in _LAYERS_INSIDE:
        return value
    config = {k: v for k, v in value["config"].items() if k != "dtype"}
    if config.get("distribution") == "normal":
        config["distribution"] = "truncated_normal"
    kept = {k: v for k, v in value.items() if k not in ("module", "shared_object_id")}
    module = re.sub(r"^tf_keras\.", "keras.", value.get("module") or "")
    return {**kept, "config": config} | ({"module": module} if module else {})
