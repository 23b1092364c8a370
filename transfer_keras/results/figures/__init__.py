"""Owns the figures, drawn by Matplotlib: the paper's figures 2 and 3, the curve, reduced data, and
the confusion matrix."""

from transfer_keras.results.figures import confusion, curve, dissimilar, reduced, transfer

__all__ = ["confusion", "curve", "dissimilar", "reduced", "transfer"]
