"""Linear CKA between two layers, accumulated over batches of images.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", with the
unbiased estimator of HSIC of Song et al. (2012), "Feature Selection via Dependence Maximization",
averaged over batches as by Nguyen et al. (2021), "Do Wide and Deep Networks Learn the Same
Things?": of each layer only a small matrix a batch is kept, however many features it has. A batch
of n images has the weight n (n - 3), so that a short last one, which knows little, counts little.
"""

import math
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Images of a batch: the unbiased estimator divides by n - 3.
_FEWEST = 4
_FEATURES = 2**16  # That are multiplied at a time, so that few are held in double precision.


def centred_gram(values: tf.Tensor) -> tf.Tensor:
    """Computes the inner products of the images of a batch, U-centred; runs in the graph.

    Székely and Rizzo (2014), "Partial distance correlation with methods for dissimilarities",
    definition 2 and proposition 1, scaled so that the inner product of two such matrices is
    n (n - 3) times HSIC_1 of Song et al.

    Args:
        values: (images, ...), of known size but for the images.

    Returns:
        float64 (images, images), with zeros on the diagonal; zeros everywhere for fewer than 4.
    """
    images = tf.shape(values)[0]
    features = tf.reshape(values, [images, math.prod(values.shape[1:])])
    gram = tf.zeros([images, images], tf.float64)
    for first in range(0, features.shape[1], _FEATURES):
        some = tf.cast(features[:, first : first + _FEATURES], tf.float64)
        # What all images share does not change the estimate, but costs digits.
        some -= some[:1]
        gram += tf.matmul(some, some, transpose_b=True)
    zeros = tf.zeros(images, tf.float64)
    gram = tf.linalg.set_diag(gram, zeros)
    n = tf.cast(images, tf.float64)
    rows = tf.reduce_sum(gram, axis=0) / (n - 2)
    total = tf.reduce_sum(rows) / (n - 1)
    gram = tf.linalg.set_diag(gram - rows - rows[:, None] + total, zeros)
    return tf.where(images < _FEWEST, tf.zeros_like(gram), gram)


def linear_cka(one: Sequence[np.ndarray], other: Sequence[np.ndarray]) -> float:
    """Computes the debiased linear CKA of two layers.

    Args:
        one, other: the centred matrix of each batch, of the same images.

    Returns:
        0 to 1; 0 also where the estimate is negative, as it is by chance for layers that have
        nothing in common; NaN where a layer is the same for all images.
    """
    cross = sum(float(np.vdot(a, b)) for a, b in zip(one, other, strict=True))
    norms = [sum(float(np.vdot(a, a)) for a in layer) for layer in (one, other)]
    if not all(norm > 0 for norm in norms):
        return float("nan")
    return max(0.0, cross / float(np.sqrt(norms[0] * norms[1])))
