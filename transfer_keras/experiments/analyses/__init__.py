"""Owns what is computed of networks on disk to explain a gap; nothing is trained but probes."""

from transfer_keras.experiments.analyses.study import analyse_networks

__all__ = ["analyse_networks"]
