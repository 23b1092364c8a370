"""Two networks compared class by class, from what they predict for the same test images."""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from transfer_keras.config import Treatment
from transfer_keras.results import statistics
from transfer_keras.results.analyses.records import ClassComparison, ClassDifference
from transfer_keras.results.analyses.selection import Selection
from transfer_keras.results.analyses.store import Store
from transfer_keras.results.workdir import Workdir


def compare_by_class(
    label: np.ndarray,
    predicted: np.ndarray,
    base_predicted: np.ndarray,
    class_names: Sequence[str],
) -> tuple[ClassDifference, ...]:
    """Compares two networks on the test images of each class.

    The interval of a difference is that of Bonett and Price (2012), see
    `statistics.paired_difference`; it is of the class alone. The p-value is that of McNemar's exact
    test (1947): of the images on which just one of the two is right, each has it with probability
    one half. It is corrected over the classes (Holm 1979).

    Args:
        label: int (images,), 0..classes-1.
        predicted: int (images,), of the network.
        base_predicted: int (images,), of the other.
        class_names: of all classes.

    Returns:
        A difference for each class that has test images, from the lowest to the highest.
    """
    right, base_right = predicted == label, base_predicted == label
    found = []
    for number, name in enumerate(class_names):
        here = label == number
        if not here.any():
            continue
        won, lost = right[here] & ~base_right[here], ~right[here] & base_right[here]
        differing = int(won.sum() + lost.sum())
        p_value = stats.binomtest(int(won.sum()), differing).pvalue if differing else 1.0
        interval = statistics.paired_difference(right[here], base_right[here])
        found.append((name, here, interval, p_value))
    adjusted = statistics.adjust_holm([p_value for *_, p_value in found])
    differences = [
        ClassDifference(
            name=str(name),
            images=int(here.sum()),
            base=float(base_right[here].mean()),
            top1=float(right[here].mean()),
            low=float(interval.low),
            high=float(interval.high),
            p_value=float(p_value),
        )
        for (name, here, interval, _), p_value in zip(found, adjusted, strict=True)
    ]
    return tuple(sorted(differences, key=lambda one: (one.difference, one.name)))


def compare_classes(selection: Selection, log: Callable[[str], None]) -> None:
    """Compares networks of a workdir with the base of their target, and keeps what is missing.

    Networks whose base is not there are left out.

    Args:
        selection: the networks.
        log: called with a line for each damaged file that was set aside.

    Raises:
        DamagedFile: if the predictions of a network are damaged.
    """
    workdir, store = selection.workdir, Store(selection.workdir, log)
    store.check_place()
    for treatment in selection.networks:
        if not treatment.donor or not workdir.is_done(treatment.base.name):
            continue
        if not store.find(ClassComparison, (treatment.name,)):
            store.write(_compare(workdir, treatment, store))


def _compare(workdir: Workdir, treatment: Treatment, store: Store) -> ClassComparison:
    label, predicted = workdir.predictions(treatment.name)
    _, base_predicted = workdir.predictions(treatment.base.name)
    names = workdir.read_facts()["data"].get(treatment.target)
    if not isinstance(names, list) or len(names) <= label.max():
        names = [f"class {number}" for number in range(label.max() + 1)]
    files = [workdir.predictions_path(t.name) for t in (treatment, treatment.base)]
    return ClassComparison(
        sources=store.digests(path.relative_to(workdir.path) for path in files),
        target=treatment.target,
        test_images=len(label),
        treatment=treatment.name,
        classes=compare_by_class(label, predicted, base_predicted, names),
    )
