"""Debiased linear CKA in plain NumPy, written from the papers."""

import numpy as np


def hsic(k, l):  # noqa: E741
    """Computes equation 5 of Song et al. (2012), entry by entry."""
    n = len(k)
    k, l = k - np.diag(np.diag(k)), l - np.diag(np.diag(l))  # noqa: E741
    first = np.trace(k @ l)
    second = k.sum() * l.sum() / ((n - 1) * (n - 2))
    third = 2 / (n - 2) * (k @ l).sum()
    return (first + second - third) / (n * (n - 3))


def gram(x):
    """Computes the inner products of images, (images, ...)."""
    x = x.reshape(len(x), -1).astype(np.float64)
    return x @ x.T


def oracle(x, y, batch):
    """Computes CKA of features (images, ...) over batches; the last may be smaller, and counts
    less."""
    sums = np.zeros(3)
    for start in range(0, len(x), batch):
        k, l = (gram(z[start : start + batch]) for z in (x, y))  # noqa: E741
        n = len(k)
        sums += n * (n - 3) * np.array([hsic(k, l), hsic(k, k), hsic(l, l)])
    return sums[0] / np.sqrt(sums[1] * sums[2])
