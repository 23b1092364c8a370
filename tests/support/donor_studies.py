"""Studies of one donor for the tests, whose truth is known."""

import numpy as np

from transfer_keras.results import BASE, NetworkResult, Role, Runs, TargetTask

DONOR = TargetTask("donor", "B")
IMAGES = 400


def make_runs(levels, *, seeds=1, noise=0.0):
    """Makes the results of networks that are right on a part of the images, easy ones first.

    Args:
        levels: role -> the part of the images.
        seeds: number of seeds.
        noise: part of the images on which each network answers otherwise, by chance.
    """
    rng = np.random.default_rng(0)
    runs = {}
    for seed in range(seeds):
        runs[seed] = {}
        for role, level in levels.items():
            right = np.arange(IMAGES) < round(level * IMAGES)
            flipped = rng.random(IMAGES) < noise
            runs[seed][role] = NetworkResult(float((right ^ flipped).mean()), right ^ flipped)
    return Runs({DONOR: runs})


def truth(n, *, frozen_from=8):
    """Gives the top-1 at one n: freezing costs nothing up to a unit; fine-tuning is best at 6."""
    return {
        Role("AnB", n): 0.80 if n <= frozen_from else 0.80 - 0.07 * (n - frozen_from),
        Role("AnB+", n): 0.86 - 0.012 * abs(n - 6),
    }


def levels_at(tried, **settings):
    """Gives the top-1 of training from scratch and of both transfers at each n."""
    levels = {BASE: 0.5}
    for n in tried:
        levels |= truth(n, **settings)
    return levels


def make_runs_by_seed(levels):
    """Makes results from role -> the top-1 of each seed; None: not trained."""
    rng, runs = np.random.default_rng(0), {}
    for seed in range(max(map(len, levels.values()))):
        runs[seed] = {
            role: NetworkResult(top1[seed], rng.random(IMAGES) < top1[seed])
            for role, top1 in levels.items()
            if seed < len(top1) and top1[seed] is not None
        }
    return Runs({DONOR: runs})
