"""A trained network of the person's own, or of keras.applications, in the place of base A.

It is brought into the form of the networks that are made here: pixel values in 0..255 in, logits
out, every layer a layer of one graph.
"""

import functools
import os
import pathlib
import re
from typing import NamedTuple

import h5py
import keras

import transfer_keras.networks.alexnet  # noqa: F401  Its layers may be a donor's.
from transfer_keras import surgery
from transfer_keras.config import (
    DonorSettings,
    NetworkSettings,
    UserError,
    choices,
    first_few,
    memory,
    one_line,
)
from transfer_keras.networks import trained
from transfer_keras.networks.custom_classes import import_custom_objects
from transfer_keras.networks.pretrained.fitness import check_outputs, check_trainable
from transfer_keras.networks.pretrained.head import with_logits
from transfer_keras.networks.pretrained.hub import open_hub
from transfer_keras.networks.pretrained.input_scaling import (
    Affine,
    Scaling,
    leaves_pixels,
    measure_scaling,
    scale_pixels,
)

_UNSCALED = choices.PIXELS[0]
_SIDE = 224  # Of the networks of keras.applications that take any.


class Pretrained(NamedTuple):
    """A donor in the form of the networks that are made here.

    Attributes:
        model: float32 (batch, image_size, image_size, 3) of pixel values in 0..255 -> logits; the
            same one each time, which is not to be changed.
        has_new_head: whether a classifier was put on its features.
    """

    model: keras.Model
    has_new_head: bool


def open_pretrained(donor: DonorSettings, image_size: int | None) -> Pretrained:
    """Opens a donor; once, as long as the content of its file stays as it is.

    Args:
        donor: which, and what it takes.
        image_size: side of the pictures in pixels; None: what the donor was made for.

    Raises:
        UserError: if it cannot be had, or is no network for pictures.
    """
    return _open(donor, tuple(donor.identity.values()), image_size)


@functools.lru_cache(2)
def _open(donor: DonorSettings, identity: tuple, image_size: int | None) -> Pretrained:
    """Opens a donor whose content has this identity."""
    if donor.custom_objects:
        import_custom_objects(donor.custom_objects)
    if donor.is_application:
        model, scaling = _open_application(donor, image_size)
    elif donor.is_hub:
        model, scaling, usual_size = open_hub(donor)
        if model.inputs[0].shape[1] is None:
            image_size = image_size or usual_size
    else:
        model, scaling = _open_file(donor), None
    try:
        with surgery.limited_weights(memory.most_memory()):
            return _prepare(model, donor, scaling, image_size)
    except UserError:
        raise
    except surgery.TooLarge as error:
        raise UserError(f"{donor.what}: {error.finding}. {memory.describe_limit()}.") from error
    except surgery.SurgeryError as error:
        raise UserError(f"{donor.what}: {one_line(error)}") from error
    except Exception as error:
        # It computes with what a person's file says, and a backend has errors of its own for that.
        reason = surgery.reason(error).rstrip(".")
        raise UserError(
            f"{donor.what}: does not compute with pictures ({type(error).__name__}: "
            f"{reason}). Expected a network that gives numbers for pictures of 0..255; build it "
            "again in the program that made it, and save it again."
        ) from error


def _open_file(donor: DonorSettings) -> keras.Model:
    path = pathlib.Path(donor.path)
    if _holds_weights_only(path):
        raise UserError(
            f"--donor={path}: holds weights (HDF5) and no network. If they are of one of "
            f"keras.applications: --donor={choices.APPLICATIONS}NAME --donor_weights={path}."
        )
    return trained.open_file(
        path,
        "Expected a .keras or .h5 file of a functional or Sequential model without Lambda layers",
        custom_objects=donor.custom_objects,
    )


def _holds_weights_only(path: pathlib.Path) -> bool:
    """Tells whether it is an HDF5 file without a network; a damaged one is not told."""
    try:
        with h5py.File(path) as file:
            return "model_config" not in file.attrs
    except (OSError, RuntimeError, KeyError, ValueError):
        return False


def _open_application(donor: DonorSettings, image_size: int | None) -> tuple[keras.Model, str]:
    """Makes a network of keras.applications without its classifier, and names the module that has
    its preprocessing."""
    networks = {
        name: value
        for name, value in vars(keras.applications).items()
        if name[0].isupper() and callable(value)
    }
    if donor.name not in networks:
        raise UserError(f"{donor.what}: not there. Expected one of {', '.join(sorted(networks))}.")
    make, weights = networks[donor.name], donor.weights
    try:
        size = image_size or make(weights=None).input_shape[1] or _SIDE
        usual = choices.IMAGENET if weights == choices.IMAGENET else None
        model = make(include_top=False, pooling="avg", weights=usual, input_shape=(size, size, 3))
        if weights == choices.NO_WEIGHTS:
            model, _ = surgery.transplant(model, 0, seed=0)  # The same untrained one each time.
    except Exception as error:  # Keras raises no other kind where a download fails.
        url = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if not url:
            asked = f"--image_size={image_size}"
            if not isinstance(donor, NetworkSettings):
                asked += f", --donor_weights={weights}"
            raise UserError(
                f"{donor.what}: cannot be made ({asked}): {surgery.reason(error)}"
            ) from error
        raise UserError(
            f"--donor_weights={weights}: {url[1]} could not be downloaded. Fetch it elsewhere and "
            f"put it into {os.environ.get('KERAS_HOME', '~/.keras')}/models, or give its path: "
            "--donor_weights=PATH. With "
            f"--donor_weights={choices.NO_WEIGHTS} the donor is untrained."
        ) from error
    if weights not in (choices.NO_WEIGHTS, choices.IMAGENET):
        _load_weights(model, weights, donor.name)
    return model, make.__module__.rpartition(".")[2]


def _load_weights(model: keras.Model, path: str, name: str) -> None:
    """Sets the weights of a network to those of a file.

    Raises:
        UserError: if they are another network's, or the file is damaged.
    """
    expected = (
        f"Expected those of {name} without its classifier (`include_top=False`), as "
        "`save_weights` writes them into a .weights.h5 file"
    )
    try:
        surgery.check_weights_file(pathlib.Path(path), memory.most_memory())
        model.load_weights(path)
    except surgery.TooLarge as error:
        raise UserError(
            f"--donor_weights={path}: {error.finding}. {memory.describe_limit()}."
        ) from error
    except Exception as error:  # Anything may lie in the file.
        reason = surgery.reason(error).rstrip(".")
        raise UserError(f"--donor_weights={path}: {reason}. {expected}.") from error


def _prepare(
    model: keras.Model,
    donor: DonorSettings,
    scaling: str | Affine | None,
    image_size: int | None,
) -> Pretrained:
    """Brings a model to pixel values in 0..255 and to logits.

    Args:
        model: as it was opened.
        donor: says by `pixels` what the model takes, where it is known.
        scaling: what it is known to take otherwise.
        image_size: see `open_pretrained`.
    """
    what, pixels = donor.what, donor.pixels
    side, channels, dtype = _input(model, what, image_size)
    if not isinstance(model, keras.Sequential):
        # One tensor each; and no class that trains in its own way, for the step here is another.
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)
    if any(getattr(layer, "lora_enabled", False) for layer in surgery.flat_layers(model)):
        model = surgery.merge_lora(surgery.flatten(model))

    def on_pixels(scaling):
        image = keras.Input((side, side, 3), name="image")
        return surgery.flatten(model, inputs=scale_pixels(image, scaling, channels, dtype))

    _check_weights(model, what)
    _compute_in_float32(model)
    network = on_pixels(pixels or scaling or _UNSCALED)
    check_outputs(network, what)
    if pixels is None and scaling is None:
        itself = measure_scaling(network)
        if donor.unknown_pixels and not itself.scaled:
            network = on_pixels(donor.unknown_pixels)
        else:
            _check_scales(itself, what)
    elif pixels and not leaves_pixels(pixels):
        itself = measure_scaling(on_pixels(_UNSCALED))
        if itself.scaled:
            raise UserError(
                f"--donor_pixels={pixels}: {what} scales pixels itself (layer {itself.by}). Leave "
                "--donor_pixels out."
            )
    network, has_new_head = with_logits(network)
    network = surgery.with_plain_names(network)
    check_trainable(network, what)
    return Pretrained(network, has_new_head)


def _check_weights(model: keras.Model, what: str) -> None:
    if not surgery.has_kernel(model):
        raise UserError(
            f"{what}: has no weight of rank 2 or more, so no unit that could be transferred."
        )
    broken = [
        layer.name
        for layer in surgery.flat_layers(model)
        if not isinstance(layer, keras.Model) and any(map(_is_broken, layer.weights))
    ]
    if broken:
        raise UserError(
            f"{what}: has weights that are infinite or no numbers, in {first_few(broken)}. "
            "Expected a network as it was before its training diverged."
        )


def _is_broken(weight) -> bool:
    if not keras.backend.is_float_dtype(weight.dtype):
        return False
    return not bool(keras.ops.all(keras.ops.isfinite(weight)))


def _compute_in_float32(model: keras.Model) -> None:
    """Turns float16 into float32: to train in float16, losses would have to be scaled."""
    for layer in surgery.flat_layers(model):
        if layer.compute_dtype == "float16":
            layer.dtype_policy = "float32"


def _check_scales(itself: Scaling, what: str) -> None:
    if not itself.scaled:
        raise UserError(
            f"{what}: does not say what pixels it takes: no layer at its input scales them, as "
            f"Rescaling or Normalization would; it makes {itself.low:.3g} to {itself.high:.3g} of "
            f"0..255. Give --donor_pixels={', '.join(choices.PIXELS)}, or the module of "
            "keras.applications whose preprocessing it needs, as mobilenet_v2."
        )


def _input(model: keras.Model, what: str, image_size: int | None) -> tuple[int, int, str]:
    """Gives (side, channels, dtype) of the pictures that a model takes."""
    if isinstance(model, keras.Sequential) and not getattr(model, "inputs", None):
        raise UserError(
            f"{what}: was saved before it was built: give it keras.Input(...) or call it on data, "
            "and save it again."
        )
    shapes = [tuple(tensor.shape) for tensor in model.inputs or ()]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][3] not in (1, 3):
        raise UserError(
            f"{what}: takes {shapes or 'no known input'}. Expected pictures of the shape (batch, "
            "side, side, channels), of 1 or 3 channels."
        )
    if len(model.outputs) != 1:
        raise UserError(f"{what}: has {len(model.outputs)} outputs. Expected one.")
    _, height, width, channels = shapes[0]
    if height != width:
        raise UserError(f"{what}: takes pictures of {height} x {width}. Expected squares.")
    if height is None and image_size is None:
        raise UserError(f"{what}: takes pictures of any size. Give --image_size, in pixels.")
    if height and image_size and height != image_size:
        raise UserError(
            f"--image_size={image_size}: {what} takes {height} pixels. Leave --image_size out."
        )
    return height or image_size, channels, model.inputs[0].dtype
