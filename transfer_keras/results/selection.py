"""What the network that was chosen reaches on other pictures: a choice flatters what is chosen."""

from collections.abc import Callable, Sequence

import numpy as np

from transfer_keras.results.statistics import Interval

DIGITS = 9  # To which means are equal: their sums are rounded.
_SAMPLES = 1000


def accuracy_of_choice(
    answers: Sequence[np.ndarray],
    reached: Interval,
    *,
    choose: Callable[[np.ndarray], int] = lambda means: int(np.argmax(np.round(means, DIGITS))),
    samples: int = _SAMPLES,
) -> Interval:
    """Estimates the accuracy of a chosen network on pictures that it was not chosen by.

    The best of many on the same pictures is too good there. So the choice is repeated on pictures
    drawn with replacement, and what it takes is tested on those that were not drawn (Tsamardinos,
    Greasidou and Borboudakis 2018, "Bootstrapping the out-of-sample predictions for efficient and
    accurate cross-validation"). Of what is chosen it is the best seed, as in the advice. The
    interval is that of the chosen network, moved by as much: quantiles of the samples would be
    those of a third of the pictures.

    Args:
        answers: of each that can be chosen, bool or float (seeds, images), what each image adds to
            its accuracy; two images or more.
        reached: what the chosen network reached on all these images, with its interval.
        choose: function from float (answers,), the mean of each over seeds and a sample of the
            images, to the index of what is chosen; where nothing is said, the highest, of equals
            the first.
        samples: how often the choice is repeated; the samples are always the same.

    Returns:
        The mean over the samples, and the interval; all within 0 and 1.

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
        chosen = tables[choose(means @ drawn / images)]
        of_seed = chosen[int(np.argmax(chosen @ drawn))]
        found.append(of_seed[drawn == 0].mean())
    expected = float(np.clip(np.mean(found), 0, 1))
    moved = expected - reached.estimate
    return Interval(expected, max(0.0, reached.low + moved), min(1.0, reached.high + moved))
