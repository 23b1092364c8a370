"""Docstrings of functions, methods and properties begin with a verb in the third person."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1] / "transfer_keras"
FILES = sorted(ROOT.rglob("*.py"))

REFUSED = {
    "A", "All", "Always", "An", "Another", "Any", "As", "At", "Both", "By", "Each", "Every", "For",
    "From", "How", "If", "In", "Is", "It", "Its", "None", "Of", "On", "One", "Or", "Same", "See",
    "Some", "That", "The", "Their", "There", "These", "They", "This", "Those", "Thus", "To", "What",
    "When", "Where", "Whether", "Which", "Who", "With",
}  # fmt: skip
# They end as verbs in the third person do. Words that can be both ("Names", "Times") are not here.
NOUNS = {
    "Amounts", "Arguments", "Axes", "Bases", "Batches", "Bytes", "Callbacks", "Classes", "Columns",
    "Devices", "Digits", "Donors", "Epochs", "Errors", "Examples", "Files", "Folders",
    "Gigabytes", "Gradients", "Hours", "Identities", "Images", "Layers", "Lines", "Logits",
    "Losses", "Messages", "Metrics", "Minutes", "Modules", "Networks", "Nodes", "Options",
    "Parameters", "Paths", "Pictures", "Pixels", "Plus", "Predictions", "Probabilities",
    "Properties", "Rows", "Seconds", "Settings", "Statistics", "Strings", "Tasks", "Tensors",
    "Treatments", "Tuples", "Units", "Values", "Variables", "Words",
}  # fmt: skip


def fault(docstring: str) -> str | None:
    """Describes what is wrong with the first words of a docstring."""
    first, second, *_ = [*docstring.split(maxsplit=2), "", ""]
    if first in REFUSED:
        return f"begins with {first!r}"
    if second == "of" and first.isalpha() and first != "Tells":
        return f"begins with '{first} of', which is no verb"
    if not re.fullmatch(r"[A-Z][a-z]+s,?", first) or first.rstrip(",") in NOUNS:
        return f"begins with {first!r}, which is no verb in the third person"
    return None


def faults(source: str) -> list[str]:
    """Lists the docstrings of a module whose beginning is refused, with their lines."""
    return [
        f"line {node.lineno}, {node.name}: {wrong}"
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (docstring := ast.get_docstring(node)) is not None
        and (wrong := fault(docstring))
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_first_words(path):
    assert faults(path.read_text()) == []


@pytest.mark.parametrize(
    "docstring",
    ["Finds the rows.", "Gives one.\n\nArgs:\n    x: a number.", "Reads, and checks, a file."],
)
def test_verbs_are_taken(docstring):
    assert fault(docstring) is None


@pytest.mark.parametrize(
    "docstring",
    ["Of a group.", "See `network`.", "Said as well; none of too few.", "Whether it is there.",
     "Its name.", "As `read`.", "Names of the rows.", "Seconds since then.", "(a, b) of each.",
     "`x` and more.", "finds the rows.", "Find the rows.", "This is one.", ""],
)  # fmt: skip
def test_what_is_no_verb_is_refused(docstring):
    assert fault(docstring)


def test_methods_and_inner_functions_are_read():
    source = '''
class One:
    """A class may be a noun."""

    @property
    def size(self):
        """Number of rows."""

    def rows(self):
        """Lists the rows."""

        def inner():
            """Of one row."""
'''
    assert [line.split(":")[0] for line in faults(source)] == ["line 6, size", "line 12, inner"]
