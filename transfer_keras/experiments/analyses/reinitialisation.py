"""The accuracy of a network after each of its units was put back, the others as they are.

Zhang, Bengio and Singer (2019), "Are all layers created equal?": units that can be put back to
their initial values without loss are robust, those that cannot are critical; with fresh values few
are robust.
"""

import keras
import numpy as np

from transfer_keras import surgery
from transfer_keras.config import Treatment
from transfer_keras.experiments.analyses.evaluation import Tester, chance_top1, network_file
from transfer_keras.experiments.context import Run
from transfer_keras.experiments.group_networks import donor_network, treatment_network
from transfer_keras.results import analyses
from transfer_keras.training import Progress


def reinitialise(
    run: Run, treatment: Treatment, store: analyses.Store
) -> analyses.Reinitialisation:
    """Tests a network after each of its units was put back, to two kinds of values.

    Initial values are those that training began with: from the seeds of the experiment where they
    were drawn, from the donor where they were transferred. Fresh values are another draw. All
    weights of a unit are put back, the moving statistics of BatchNorm too.

    Args:
        run: what the network belongs to.
        treatment: of the network, which is done.
        store: gives the digests of files.

    Raises:
        Interrupted: if a stop was requested.
        UserError: if the file of the network or of its donor is damaged.
    """
    network = run.source.finished(treatment)
    initial = initial_network(run, treatment)
    seed = treatment.seed(*run.experiment.fresh_weights, "fresh")
    fresh = surgery.transplant(initial, 0, mode="fine_tune", seed=seed).model
    units = [surgery.units(model) for model in (network, initial, fresh)]
    title, resets = f"the units of {treatment} put back", []
    with Progress(title, 2 * len(units[0]) + 1) as bar:
        test = Tester(run, treatment.target, network, bar, title)
        whole = test()
        for trained, begun, drawn in zip(*units, strict=True):
            before, at_begin = (_weights(unit.layers) for unit in (trained, begun))
            top1 = []
            for values in (at_begin, _weights(drawn.layers)):
                _set_weights(trained.layers, values)
                top1.append(test().scores.accuracy)
            _set_weights(trained.layers, before)
            distance = _distance(before, at_begin)
            resets.append(
                analyses.Reset(unit=trained.name, distance=distance, initial=top1[0], fresh=top1[1])
            )
    files = [network_file(treatment)]
    if treatment.needs and treatment.needs.name not in run.experiment.given_bases:
        files.append(network_file(treatment.needs))
    if run.experiment.training.head_first and treatment.fine_tune:
        files.append(network_file(treatment.frozen))
    return analyses.Reinitialisation(
        sources=store.digests(files),
        target=treatment.target,
        test_images=len(whole.label),
        treatment=treatment.name,
        top1=whole.scores.accuracy,
        chance=chance_top1(whole),
        resets=tuple(resets),
        tested=run.workdir.row(treatment.name).top1,
    )


def initial_network(run: Run, treatment: Treatment) -> keras.Model:
    """Makes a network as it was before its first step."""
    return treatment_network(run, treatment, donor_network(run, treatment))


def _weights(layers) -> list[list[np.ndarray]]:
    return [layer.get_weights() for layer in layers]


def _set_weights(layers, values: list[list[np.ndarray]]) -> None:
    for layer, arrays in zip(layers, values, strict=True):
        layer.set_weights(arrays)


def _distance(after: list[list[np.ndarray]], before: list[list[np.ndarray]]) -> float | None:
    """Computes the L2 norm of what training changed, as a part of the norm before it."""
    pairs = [
        (x.astype(np.float64), y.astype(np.float64))
        for of_after, of_before in zip(after, before, strict=True)
        for x, y in zip(of_after, of_before, strict=True)
    ]
    moved = sum(float(((x - y) ** 2).sum()) for x, y in pairs)
    norm = sum(float((y**2).sum()) for _, y in pairs)
    distance = float(np.sqrt(moved / norm)) if norm else None
    return distance if distance is None or np.isfinite(distance) else None
