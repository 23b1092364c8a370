"""Owns the search, in a given time, for what to freeze and what to fine-tune."""

from transfer_keras.advice.search import advise
from transfer_keras.experiments import resolve_all

__all__ = ["advise", "resolve_all"]
