"""How many lower layers of a network transfer to another task, and what is lost where."""

__version__ = "0.1.0"
