"""Paths of the checkout and of the data beside it."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]  # Of the checkout.
SHARED = ROOT.parent / "shared"  # Data for tests and measurements, where there is such a folder.
