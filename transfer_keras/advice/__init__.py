"""Owns the search, in a given time, for what to freeze and what to fine-tune."""

from transfer_keras.advice.budget import Budget
from transfer_keras.advice.race import race_donors
from transfer_keras.advice.search import advise
from transfer_keras.experiments import describe_donor

__all__ = ["Budget", "advise", "describe_donor", "race_donors"]
