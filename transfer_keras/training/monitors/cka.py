"""Linear CKA between two layers, accumulated over batches of images.

Kornblith et al. (2019), "Similarity of Neural Network Representations Revisited", with the
unbiased estimator of HSIC of Song et al. (2012), "Feature Selection via Dependence Maximization",
summed over batches as Nguyen et al. (2021), "Do Wide and Deep Networks Learn the Same Things?",
do: of each layer only a small matrix a batch is kept, however many features it has.
"""

from collections.abc import Sequence

import numpy as np
import tensorflow as tf

# Images of a batch: the unbiased estimator divides by n - 3.
_FEWEST = 4


def centred_gram(values: tf.Tensor) -> tf.Tensor:
    """Computes the inner products of the images of a batch, U-centred; runs in the graph.

    Székely and Rizzo (2014), "Partial distance correlation with methods for dissimilarities",
    definition 2 and proposition 1, scaled so that the inner product of two such matrices is HSIC_1
    of Song et al.

    Args:
        values: (images, ...).

    Returns:
        float32 (images, images), with zeros on the diagonal; zeros everywhere for fewer than 4.
    """
    images = tf.shape(values)[0]
    features = tf.reshape(tf.cast(values, tf.float32), [images, -1])
    # What all images share does not change the estimate, but costs single precision digits.
    features -= features[:1]
    gram = tf.matmul(features, features, transpose_b=True)
    zeros = tf.zeros(images)
    gram = tf.linalg.set_diag(gram, zeros)
    n = tf.cast(images, tf.float32)
    rows = tf.reduce_sum(gram, axis=0) / (n - 2)
    total = tf.reduce_sum(rows) / (n - 1)
    gram = tf.linalg.set_diag(gram - rows - rows[:, None] + total, zeros)
    return tf.where(images < _FEWEST, 0.0, gram / tf.sqrt(n * (n - 3)))


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
