"""Linear CKA between two layers, accumulated over blocks of images.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", with the
unbiased estimator of HSIC of Song et al. (2012), "Feature Selection via Dependence Maximization",
summed over blocks as Nguyen et al. (2021), "Do Wide and Deep Networks Learn the Same Things?",
do: what has to be kept of a layer is a small matrix a block, however many features it has.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

BLOCK = 64
_FEWEST = 4  # The unbiased estimator divides by n - 3.


def grams(values: tf.Tensor) -> tf.Tensor:
    """Inner products of the images of each block, in the graph.

    Args:
        values: (images, ...).

    Returns:
        float32 (blocks, images a block, images a block): of blocks of `BLOCK` images, or of one
        block where there are fewer. Images after the last whole block are left out.
    """
    count = tf.shape(values)[0]
    size = tf.minimum(count, BLOCK)
    blocks = count // size
    features = tf.reshape(values, [count, -1])[: blocks * size]
    features = tf.reshape(tf.cast(features, tf.float32), [blocks, size, -1])
    # What all images share is nothing to the estimator, and much to single precision.
    features -= features[:, :1]
    return tf.matmul(features, features, transpose_b=True)


def centred(blocks: np.ndarray) -> np.ndarray:
    """U-centres matrices, scaled so that sums of products are unbiased HSIC.

    Székely and Rizzo (2014), "Partial distance correlation with methods for dissimilarities",
    definition 2 and proposition 1; the inner product of two such is HSIC_1 of Song et al.

    Args:
        blocks: (blocks, n, n), symmetric.

    Returns:
        float64 (blocks, n, n), with zeros on the diagonal; none if n < 4.
    """
    n = blocks.shape[-1]
    if n < _FEWEST:
        return np.zeros((0, n, n))
    matrix = blocks.astype(np.float64)
    diagonal = np.arange(n)
    matrix[:, diagonal, diagonal] = 0
    rows = matrix.sum(axis=-1, keepdims=True) / (n - 2)
    everything = matrix.sum(axis=(-2, -1), keepdims=True) / ((n - 1) * (n - 2))
    matrix = matrix - rows - rows.swapaxes(-1, -2) + everything
    matrix[:, diagonal, diagonal] = 0
    return matrix / np.sqrt(n * (n - 3))


def cka(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Debiased linear CKA of two layers.

    Args:
        one, other: the `centred` matrices of each, batch by batch, of the same images.

    Returns:
        0 to 1; 0 also where the estimate is below, as it is by chance for layers that have
        nothing in common; NaN where a layer is the same for all images.
    """
    both = sum(float(np.vdot(a, b)) for a, b in zip(one, other, strict=True))
    norms = [sum(float(np.vdot(a, a)) for a in layer) for layer in (one, other)]
    if not all(norm > 0 for norm in norms):
        return float("nan")
    return max(0.0, both / float(np.sqrt(norms[0] * norms[1])))
