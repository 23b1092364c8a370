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
    APPLICATIONS,
    IMAGENET,
    NO_WEIGHTS,
    PIXELS,
    Experiment,
    UserError,
)
from transfer_keras.networks import trained
from transfer_keras.networks.pretrained import head, input_scaling

_SIDE = 224  # Of the networks of keras.applications that take any.
_HDF5 = b"\x89HDF\r\n\x1a\n"  # How such files begin.


class _Opened(NamedTuple):
    """A donor, and whether a head was put on its features."""

    model: keras.Model
    new_head: bool


def network(experiment: Experiment) -> keras.Model:
    """The donor: float32 (batch, image_size, image_size, 3) of pixel values in 0..255 -> logits;
    the same one each time, which is not to be changed.

    Raises:
        UserError: if it cannot be had, or is no network for pictures.
    """
    return opened(experiment).model


def opened(experiment: Experiment) -> "_Opened":
    """See `network`; with whether a head was put on it."""
    return _opened(
        experiment.donor,
        tuple(experiment.identity[name] for name in ("donor", "donor_weights")),
        experiment.donor_weights,
        experiment.donor_pixels,
        experiment.image_size,
    )


@functools.lru_cache(2)
def _opened(
    donor: str, identity: tuple[str, str], weights: str, pixels: str | None, image_size: int | None
) -> _Opened:
    """See `network`; `identity` is that of the donor's content."""
    if donor.startswith(APPLICATIONS):
        model, scaling = _application(donor, weights, image_size)
    else:
        model, scaling = _file(donor), None
    try:
        return _prepared(model, f"--donor={donor}", pixels, scaling, image_size)
    except surgery.SurgeryError as error:
        raise UserError(f"--donor={donor}: {error}") from error


def _file(donor: str) -> keras.Model:
    path = pathlib.Path(donor)
    with path.open("rb") as file:
        older = file.read(len(_HDF5)) == _HDF5
    if older and _holds_network(path):
        raise UserError(
            f"--donor={donor}: is of Keras's older format (HDF5). Convert it: "
            f"keras.models.load_model('{path.name}').save('{path.stem}.keras')."
        )
    if older:
        raise UserError(
            f"--donor={donor}: holds weights (HDF5) and no network. If they are of one of "
            f"keras.applications: --donor={APPLICATIONS}NAME --donor_weights={donor}."
        )
    return trained.open_file(
        path, "Expected a .keras file of a functional or Sequential model without Lambda layers"
    )


def _holds_network(path: pathlib.Path) -> bool:
    try:
        with h5py.File(path) as file:
            return "model_config" in file.attrs
    except OSError:  # Damaged.
        return not path.name.endswith(".weights.h5")


def _application(donor: str, weights: str, image_size: int | None) -> tuple[keras.Model, str]:
    """A network of keras.applications without its classifier, and the module that has its
    preprocessing."""
    name = donor.removeprefix(APPLICATIONS)
    make = getattr(keras.applications, name, None)
    if not callable(make):
        known = [n for n, value in vars(keras.applications).items() if callable(value)]
        raise UserError(f"--donor={donor}: not there. Expected one of {', '.join(sorted(known))}.")
    size = image_size or make(weights=None).input_shape[1] or _SIDE
    given = IMAGENET if weights == IMAGENET else None
    try:
        model = make(include_top=False, pooling="avg", weights=given, input_shape=(size, size, 3))
        if weights == NO_WEIGHTS:
            model, _ = surgery.transplant(model, 0, seed=0)  # The same untrained one each time.
        elif weights != IMAGENET:
            model.load_weights(weights)
    except trained.UNUSABLE as error:
        raise UserError(
            f"--donor={donor}: {_one_line(error)} (--image_size={size}, --donor_weights={weights}; "
            "weights are those without the classifier, `include_top=False`)"
        ) from error
    except Exception as error:  # Keras raises no other kind where a download fails.
        url = re.search(r"URL fetch failure on (\S+?):? ", str(error))
        if not url:
            raise
        raise UserError(
            f"--donor_weights={weights}: {url[1]} could not be downloaded. Fetch it elsewhere and "
            f"put it into {os.environ.get('KERAS_HOME', '~/.keras')}/models, or give its path: "
            "--donor_weights=PATH. With "
            f"--donor_weights={NO_WEIGHTS} the donor is untrained."
        ) from error
    return model, make.__module__.rpartition(".")[2]


def _prepared(
    model: keras.Model, what: str, pixels: str | None, scaling: str | None, image_size: int | None
) -> _Opened:
    """The model on pixel values in 0..255, with logits for its output; `pixels` was asked for,
    `scaling` is what it is known to take."""
    side, channels, dtype = _input(model, what, image_size)
    if not isinstance(model, keras.Sequential) and not hasattr(model.output, "shape"):
        model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)

    def on_pixels(scaling):
        image = keras.Input((side, side, 3), name="image")
        return surgery.flatten(model, inputs=input_scaling.scaled(image, scaling, channels, dtype))

    _check_weights(model, what)
    _without_float16(model)
    if pixels is None and scaling is None:
        _check_scales(input_scaling.seen(on_pixels(PIXELS[0])), what)
    elif pixels and not input_scaling.is_as_it_is(pixels):
        itself = input_scaling.seen(on_pixels(PIXELS[0]))
        if itself.scaled:
            raise UserError(
                f"--donor_pixels={pixels}: {what} scales pixels itself (layer {itself.by}). Leave "
                "--donor_pixels out."
            )
    model, new_head = head.with_logits(on_pixels(pixels or scaling or PIXELS[0]))
    return _Opened(model, new_head)


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
        more = f" and {len(broken) - 5} more" if len(broken) > 5 else ""
        raise UserError(
            f"{what}: has weights that are infinite or no numbers, in {', '.join(broken[:5])}"
            f"{more}. Expected a network as it was before its training diverged."
        )


def _is_broken(weight) -> bool:
    if not keras.backend.is_float_dtype(weight.dtype):
        return False
    return not bool(keras.ops.all(keras.ops.isfinite(weight)))


def _without_float16(model: keras.Model) -> None:
    """Computed in float16 it could not be trained further: its losses would have to be scaled."""
    for layer in surgery.flat_layers(model):
        if layer.compute_dtype == "float16":
            layer.dtype_policy = "float32"


def _check_scales(itself: input_scaling.Seen, what: str) -> None:
    if not itself.scaled:
        raise UserError(
            f"{what}: does not say what pixels it takes: no layer at its input scales them, as "
            f"Rescaling or Normalization would; it makes {itself.low:.3g} to {itself.high:.3g} of "
            f"0..255. Give --donor_pixels={', '.join(PIXELS)}, or the module of "
            "keras.applications whose preprocessing it needs, as mobilenet_v2."
        )


def _input(model: keras.Model, what: str, image_size: int | None) -> tuple[int, int, str]:
    """(side, channels, dtype) of the pictures that it takes."""
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


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300].rstrip(".")
