"""The networks of a group before their first step."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import keras

from transfer_keras import surgery
from transfer_keras.config import STATISTICS, Treatment, choices
from transfer_keras.experiments.context import Run
from transfer_keras.networks import put_linear_head

_AVERAGED = 0.1  # BatchNorm's averages reach back over this part of a training at the most.


class GroupNetworks(NamedTuple):
    """What a group is trained from.

    Attributes:
        fused: its networks as one model.
        frozen: name -> snapshot of what may not move in its network.
        references: name -> what its network is compared to: "donor", and "base" of its target,
            where that is trained; a base is compared to nothing.
    """

    fused: keras.Model
    frozen: Mapping[str, Mapping[str, str]]
    references: Mapping[str, Mapping[str, keras.Model]]


def make_networks(run: Run, treatments: Sequence[Treatment]) -> GroupNetworks:
    """Makes the networks from their donors, with fresh weights from seed and treatment alone.

    Args:
        run: has the donors, and the devices where the networks will be trained.
        treatments: of one target, whose donors are done.

    Raises:
        UserError: if a donor cannot be used.
    """
    target = treatments[0].target
    donors: dict[str | None, keras.Model] = {}
    networks = {}
    for treatment in treatments:
        if treatment.donor not in donors:
            donors[treatment.donor] = donor_network(run, treatment)
        networks[treatment.name] = treatment_network(run, treatment, donors[treatment.donor])
    frozen = {name: surgery.snapshot(model) for name, model in networks.items()}
    references: dict[str, dict[str, keras.Model]] = {t.name: {} for t in treatments}
    if run.experiment.execution.metrics_every and donors.keys() != {None}:
        base = treatments[0].base
        if target not in donors and base in run.experiment.all_treatments:
            donors[target] = run.source.finished(base)
        bases = {"base": donors[target]} if target in donors else {}
        references = {t.name: {"donor": donors[t.donor], **bases} for t in treatments}
    with run.devices.strategy.scope():
        fused = surgery.fuse(networks)
    return GroupNetworks(fused, frozen, references)


def donor_network(run: Run, treatment: Treatment) -> keras.Model:
    """Gives what the treatment's network is made of: a trained base, an untrained network, or one
    with drawn values."""
    random_seed = treatment.random_donor_seed(*run.experiment.fresh_weights)
    if treatment.donor == STATISTICS:  # One drawn donor, whose lower part all of them share.
        return surgery.draw_like(run.source.donor(treatment), seed=random_seed)
    if treatment.needs:
        return run.source.donor(treatment)
    untrained = run.source.untrained(treatment)
    if treatment.mode == "random":  # One untrained donor, too.
        return surgery.transplant(untrained, 0, seed=random_seed).model
    return untrained


def treatment_network(run: Run, treatment: Treatment, donor: keras.Model) -> keras.Model:
    """Makes the treatment's network before its first step.

    With `head_first`, one that is fine-tuned begins with the weights of the frozen network. A base
    that is trained on begins with all of its weights, and trains all of them.

    Its BatchNorm layers average over a tenth of the steps at the most: with the momentum of .99 or
    .999 that most have, a short training would be tested with statistics of its beginning.
    """
    training = run.experiment.training
    count = run.experiment.units_transferred(treatment)
    continues = run.experiment.continues_base(treatment)
    classes = len(run.data.pair.tasks[treatment.target])
    if treatment.linear:
        donor = put_linear_head(donor, count, classes)
    model, _ = surgery.transplant(
        donor,
        count,
        head={_head_name(donor): classes},
        mode="fine_tune" if treatment.mode == "fine_tune" else "frozen",
        seed=treatment.seed(*run.experiment.fresh_weights),
        batch_norm="train" if continues else run.source.batch_norm,
        dropout=run.source.frozen_dropout,
        unfreeze=True,
        name=treatment.name,
    )
    begun_with = run.experiment.begins_with(treatment)
    if begun_with and _may_begin_with(run, begun_with):
        begins_with = run.source.finished(begun_with)
        for layer in model.layers:
            layer.set_weights(begins_with.get_layer(layer.name).get_weights())
    momentum = max(0.0, 1 - 1 / (_AVERAGED * training.steps))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = min(layer.momentum, momentum)
    return model


def _head_name(donor: keras.Model) -> str:
    """Names the last weighted layer: the head of every donor here, whatever pooling follows it."""
    layers = [node.operation for node in surgery.nodes(donor)]
    return [x for x in layers if isinstance(x, keras.Layer) and surgery.has_kernel(x)][-1].name


def _may_begin_with(run: Run, frozen: Treatment) -> bool:
    """Tells whether a frozen network can be begun with: one that diverged cannot."""
    diverged = (
        run.workdir.is_done(frozen.name)
        and run.workdir.row(frozen.name).outcome == choices.DIVERGED
    )
    if diverged:
        run.log(f"{frozen} diverged: {frozen}+ begins without it.")
    return not diverged
