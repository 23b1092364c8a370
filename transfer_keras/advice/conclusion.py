"""The end of a search: the report, the network that is recommended, and what is said of it."""

import pathlib
from collections.abc import Callable, Mapping, Sequence

from transfer_keras.advice import accuracy, model_card, transferability
from transfer_keras.advice.cost import TrainingCost
from transfer_keras.advice.first_answer import ESTIMATED_ON
from transfer_keras.advice.folds import fold_experiments, fold_workdirs, join_predictions
from transfer_keras.advice.stages import treatment_of
from transfer_keras.config import Experiment, choices
from transfer_keras.datasets import StreamedExamples
from transfer_keras.experiments import TaskData, estimate_memory
from transfer_keras.results import (
    BASE,
    FROZEN_TRANSFER,
    Price,
    Role,
    Runs,
    best_role,
    mean_top1,
    measure_accuracy,
    page,
    read_study,
    recommend_for_donor,
    table_for_donor,
)


def conclude(
    experiment: Experiment,
    folder: pathlib.Path,
    data: TaskData,
    runs: Runs,
    cost: TrainingCost,
    scores: Sequence[transferability.Score],
    held_out: StreamedExamples | None,
    notes: Sequence[str],
    *,
    margin: float,
    log: Callable[[str], None],
) -> None:
    """Writes the report, the network and its card, and logs the table and the advice.

    Args:
        experiment: of the first seed, with all that it trained.
        folder: of the study.
        data: of the experiment.
        runs: all that trained.
        cost: of trainings of the experiment.
        scores: estimates that were made before any training.
        held_out: pictures that nothing was chosen by; None: there are none.
        notes: lines for people: what was tried for the learning rates, what pictures are odd.
        margin: the loss that counts as none, in fractions of the test images.
        log: called with lines and tables for the user.
    """
    unit_names = {n: unit.name for n, unit in enumerate(experiment.architecture.units, 1)}
    prices = _prices(experiment, folder, runs, cost)
    settings = {"margin": margin, "prices": prices}
    text = recommend_for_donor(runs, unit_names, experiment.training.network, **settings)
    how = [_how_long(experiment, runs, len(data.train["B"])), *notes]
    advice = "\n".join([text, *how])
    page.write_report(folder, folder / "report", overlay_paper=False, margin=margin, notes=how)

    chosen = _chosen_network(experiment, folder, runs, data)
    calibration = model_card.write_network(folder, chosen, data.test["B"])
    network = folder / model_card.NETWORK
    expected = None
    if held_out is not None:
        batch = experiment.training.batch_size
        expected = accuracy.accuracy_on_held_out(folder, network, held_out, batch, runs.measure)
        if expected is None:
            log("No picture in test/ can be decoded.")
    if expected is None:
        answers = join_predictions(chosen.workdirs, chosen.treatment)
        reached = measure_accuracy(*answers, runs.measure)
        expected = accuracy.accuracy_of_advice(runs, reached, experiment.data.folds)
    top1 = [result.top1 for result in runs.of(best_role(runs))]
    count = len(runs.networks())
    selection = model_card.Selection(advice, count, top1, expected, calibration, runs.measure)
    command = model_card.write_card(folder, chosen, selection)

    if scores:
        frozen = {r.n: x for r, x in mean_top1(runs).items() if r.family == FROZEN_TRANSFER}
        said = transferability.describe(
            scores,
            pictures=min(ESTIMATED_ON, len(data.train["B"])),
            reached=frozen,
            measure=runs.measure,
        )
        log(f"\n{said}")
    log(f"\n{table_for_donor(runs, unit_names, **settings)}\n\n{advice}")
    if expected:
        log(f"On other pictures of this kind, {runs.measure} {expected}: {expected.basis}.")
    for trained in read_study(folder).networks:
        if trained.row.outcome != choices.TRAINED:
            log(f"Did not learn: {trained.row.treatment}, seed {trained.seed}.")
    log(f"\nThe network and its card: {folder / model_card.CARD}. Use it:\n\n{command}\n")
    log(f"The curve and all tables: {folder / 'report' / 'report.html'}")


def _how_long(experiment: Experiment, runs: Runs, images: int) -> str:
    """Writes how long the networks were trained."""
    training = experiment.training
    epochs = training.steps * training.batch_size / images
    head = "; a head alone was fitted" if training.fit_head else ""
    everything = "All, from scratch too," if BASE in mean_top1(runs) else "All"
    return (
        f"{everything} had {training.steps:,} steps ({epochs:.1f} epochs){head}: what learns "
        "slowly may gain from more."
    )


def _prices(
    experiment: Experiment, folder: pathlib.Path, runs: Runs, cost: TrainingCost
) -> Mapping[Role, Price]:
    """Gives what training each role alone costs, by the estimate that the search has corrected."""
    workdir, prices = fold_workdirs(folder, experiment)[0], {}
    for role in mean_top1(runs):
        treatment = treatment_of(role)
        row = workdir.row(treatment.name)
        held = estimate_memory(experiment, row.classes, [treatment]).bytes
        seconds = cost.seconds(experiment, [treatment])
        if treatment.fine_tune and experiment.training.head_first:  # It begins with another.
            seconds += cost.seconds(experiment, [treatment.frozen])
        prices[role] = Price(seconds, held, row.trainable_parameters)
    return prices


def _chosen_network(
    experiment: Experiment, folder: pathlib.Path, runs: Runs, data: TaskData
) -> model_card.ChosenNetwork:
    """Finds the network of the best treatment that did best itself."""
    role = best_role(runs)
    top1 = {seed: run.top1 for _, seed, each, run in runs.networks() if each == role}
    of_seed = experiment.replace(seed=max(top1, key=lambda seed: (top1[seed], -seed)))
    of_fold, *_ = fold_experiments(of_seed)
    return model_card.ChosenNetwork(
        treatment=treatment_of(role).name,
        experiment=of_fold,
        workdirs=fold_workdirs(folder, of_seed),
        classes=data.pair.tasks["B"].class_names,
        training_images=len(data.train["B"]),
    )
