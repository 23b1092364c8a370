"""LogME by brute force."""

import numpy as np
from scipy import linalg, optimize


def oracle(features, labels):
    """Computes the marginal likelihood of each class, (examples - 1) square after the mean is taken
    out; maximises it over both logarithms from many beginnings."""
    contrasts = linalg.helmert(len(labels))
    x = contrasts @ features
    x /= np.sqrt((x**2).sum(axis=1).mean())
    gram, identity = x @ x.T, np.eye(len(x))
    best = []
    for label in np.unique(labels):
        y = contrasts @ (labels == label)

        def negative(logs, y=y):
            alpha, beta = np.exp(logs)
            covariance = identity / beta + gram / alpha
            square = y @ np.linalg.solve(covariance, y)
            return (square + np.linalg.slogdet(2 * np.pi * covariance)[1]) / 2

        starts = [(a, b) for a in (-3, 1, 5) for b in (1, 5)]
        optima = [
            optimize.minimize(
                negative, start, method="L-BFGS-B", bounds=[(-12, 25), (-12, 18)], tol=1e-14
            )
            for start in starts
        ]
        best.append(-min(result.fun for result in optima))
    return np.mean(best) / len(labels)
