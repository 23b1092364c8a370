"""Where things lie."""

import pathlib

ROOT = pathlib.Path(__file__).parents[2]  # Of the checkout.
SHARED = ROOT.parent / "shared"  # Data for tests and measurements, where there is such a folder.
