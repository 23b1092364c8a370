"""The accuracy on the straight line between two networks.

Neyshabur, Sedghi and Zhang (2020), "What is being transferred in transfer learning?": between two
networks that were fine-tuned from one donor it does not fall, as they lie in one basin of the loss;
between two that were trained from scratch it does.
"""

import math

import keras
import numpy as np
import tensorflow as tf

from transfer_keras.config import UserError
from transfer_keras.experiments.analyses.evaluation import Tester, chance_top1, network_file
from transfer_keras.experiments.context import Run
from transfer_keras.networks import alexnet, open_trained
from transfer_keras.results import Workdir, analyses
from transfer_keras.training import Progress

_POINTS = 11


def interpolate(run: Run, pair: analyses.Pair, store: analyses.Store) -> analyses.Interpolation:
    """Tests networks on the straight line between two, both ends included.

    All weights are interpolated, the moving statistics of BatchNorm too, which are not estimated
    again; so are the mean and the variance by which a network scales its pixels, where the two
    take off other ones.

    Args:
        run: of the first network.
        pair: both networks, which are done.
        store: gives the digests of their files.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if a file is damaged, or the two are of different architectures.
    """
    other = Workdir(run.workdir / pair.folder) if pair.folder else run.workdir
    ends = (
        open_trained(run.workdir.network_path(pair.first.name)),
        open_trained(other.network_path(pair.second.name)),
    )
    _check_alike(*ends, pair)
    weights = [model.get_weights() for model in ends]
    constants = [_constants(model) for model in ends]
    variables = _make_variable(ends[0])
    network, positions = ends[0], np.linspace(0, 1, _POINTS)
    title = f"the line from {pair.names[0]} to {pair.names[1]}"
    found = []
    with Progress(title, _POINTS) as bar:
        test = Tester(run, pair.first.target, network, bar, title)
        for t in positions:
            network.set_weights([_between(a, b, t) for a, b in zip(*weights, strict=True)])
            for variable, a, b in zip(variables, *constants, strict=True):
                variable.assign(_between(a, b, t))
            predictions = test()
            found.append(predictions.scores)
    rows = run.workdir.row(pair.first.name), other.row(pair.second.name)
    files = [network_file(pair.first), network_file(pair.second, pair.folder)]
    return analyses.Interpolation(
        sources=store.digests(files),
        target=pair.first.target,
        test_images=len(run.data.test[pair.first.target]),
        first=pair.names[0],
        second=pair.names[1],
        shared_units=pair.shared_units,
        positions=tuple(map(float, positions)),
        top1=tuple(scores.accuracy for scores in found),
        loss=tuple(s.loss if math.isfinite(s.loss) else None for s in found),
        chance=chance_top1(predictions),
        tested=tuple(row.top1 for row in rows),
    )


def _check_alike(first: keras.Model, second: keras.Model, pair: analyses.Pair) -> None:
    shapes = [
        [(layer.name, [tuple(w.shape) for w in layer.weights]) for layer in model.layers]
        for model in (first, second)
    ]
    if shapes[0] != shapes[1]:
        raise UserError(
            f"{' and '.join(pair.names)} are of different architectures: there is no line between "
            "them. Leave one out of --analyses_networks."
        )


def _between(first: np.ndarray, second: np.ndarray, t: float) -> np.ndarray:
    """Mixes two arrays; whole numbers, such as counts, are those of the nearer end."""
    if t in (0, 1) or not np.issubdtype(first.dtype, np.floating):
        return second if t > 0.5 else first
    mixed = (1 - t) * first.astype(np.float64) + t * second.astype(np.float64)
    return mixed.astype(first.dtype)


def _constants(model: keras.Model) -> list[np.ndarray]:
    """Gives what scales a network's pixels and is no weight, in the order of its layers."""
    return [
        np.asarray(keras.ops.convert_to_numpy(getattr(layer, name)))
        for layer, name in _with_constants(model)
    ]


def _make_variable(model: keras.Model) -> list[tf.Variable]:
    """Puts variables in the place of what `_constants` gives, so that one graph serves all."""
    variables = []
    for layer, name in _with_constants(model):
        variables.append(tf.Variable(getattr(layer, name), trainable=False))
        setattr(layer, name, variables[-1])
    return variables


def _with_constants(model: keras.Model) -> list[tuple[keras.Layer, str]]:
    found = []
    for layer in model.layers:
        if isinstance(layer, alexnet.MeanImage):
            found.append((layer, "mean"))
        elif isinstance(layer, keras.layers.Normalization) and not layer.weights:
            found += [(layer, "mean"), (layer, "variance")]
    return found
