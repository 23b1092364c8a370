"""What the network that was chosen reaches on other pictures: a choice flatters what is chosen."""

from collections.abc import Sequence

import numpy as np

from transfer_keras.results.statistics import Interval

_SAMPLES = 1000


def accuracy_of_choice(
    answers: Sequence[np.ndarray], *, samples: int = _SAMPLES, confidence: float = 0.95
) -> Interval:
    """Estimates the accuracy of a chosen network on pictures that it was not chosen by.

    The best of many on the same pictures is too good there. So the choice is repeated on pictures
    drawn with replacement, and what it takes is tested on those that were not drawn (Tsamardinos,
    Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation"). The choice is that of the advice: the highest mean over seeds,
    of equals the first, and of that the best seed.

    Args:
        answers: of each that can be chosen, bool (seeds, images), whether it was right; two images
            or more.
        samples: how often the choice is repeated; the samples are always the same.
        confidence: level of the interval.

    Returns:
        The mean over the samples, and the interval between their quantiles.

    Raises:
        ValueError: if there is nothing to choose from, or too few images.
    """
    tables = [np.atleast_2d(np.asarray(right, float)) for right in answers]
    if not tables or tables[0].shape[1] < 2:
        raise ValueError(
            "Expected the answers of one network or more to two images or more. Received: "
            f"{[table.shape for table in tables]}"
        )
    images = tables[0].shape[1]
    means = np.array([table.mean(axis=0) for table in tables])
    rng, found = np.random.default_rng(0), []
    for _ in range(samples):
        drawn = np.bincount(rng.integers(images, size=images), minlength=images)
        if drawn.all():
            continue
        chosen = tables[int(np.argmax(means @ drawn))]
        of_seed = chosen[int(np.argmax(chosen @ drawn))]
        found.append(of_seed[drawn == 0].mean())
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2])
    return Interval(float(np.mean(found)), float(low), float(high))
