"""No code in a file of data is run, and no name reaches a page unescaped: the sources show it."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parents[1]
# Tools and tests run on a developer's machine, but a harmful habit is one there too.
SOURCES = sorted(
    path for folder in ("transfer_keras", "tools") for path in (ROOT / folder).rglob("*.py")
)
TEMPLATES = sorted((ROOT / "transfer_keras").glob("*/templates/*"))
# Modules that make objects, or run code, of what a file or a text says.
MODULES = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve", "marshal",
           "yaml", "torch.load", "code", "pty", "commands"}  # fmt: skip
CALLS = {"eval", "exec", "compile", "__import__"}
# "Owner.method" -> why it is never called.
METHODS = {
    "os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput", "yaml.load",
    "numpy.loads", "np.loads", "pandas.read_pickle", "torch.load", "markupsafe.Markup",
}  # fmt: skip
# Keyword -> the values that it never has.
KEYWORDS = {
    "shell": lambda value: not is_constant(value, False),
    "allow_pickle": lambda value: not is_constant(value, False),
    "safe_mode": lambda value: not is_constant(value, True),
    "verify": lambda value: is_constant(value, False),
}
# What becomes of each value in a template is decided in this one place.
RENDERS = "config/text.py"
# Template -> what it may show as it is: figures that we draw, whose text Matplotlib has escaped.
SAFE = {"report.html": {"section.figure", "one.figure"}}
# Markdown and scripts: what may stand as it is, of our own words alone.
CODE = {"MODEL_CARD.md": {"command", "with_pillow", "name"}}


def is_constant(node, value):
    return isinstance(node, ast.Constant) and node.value is value


def faults(source, name="module.py"):
    """Lists what a source must not have, a line each."""
    found = []
    for node in ast.walk(ast.parse(source)):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = {alias.name for alias in node.names}
            names |= (
                {f"{node.module}", *(f"{node.module}.{x}" for x in names)}
                if isinstance(node, ast.ImportFrom)
                else set()
            )
            if bad := {x for x in names if {x, x.partition(".")[0]} & MODULES or x in METHODS}:
                found.append(f"{line}: imports {', '.join(sorted(bad))}")
            if {"jinja2", "markupsafe"} & {x.partition(".")[0] for x in names} and name != RENDERS:
                found.append(f"{line}: templates are filled in by config.render_template alone")
        elif isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            if called in CALLS or called in METHODS:
                found.append(f"{line}: calls {called}")
            if called.endswith("from_string"):
                found.append(f"{line}: a template that is no file: {called}")
            for keyword in node.keywords:
                if keyword.arg in KEYWORDS and KEYWORDS[keyword.arg](keyword.value):
                    found.append(f"{line}: {keyword.arg}={ast.unparse(keyword.value)}")
                if keyword.arg == "autoescape" and ast.unparse(keyword.value) != (
                    "name.endswith('.html')"
                ):
                    found.append(f"{line}: autoescape={ast.unparse(keyword.value)}")
                if keyword.arg == "finalize" and "_ESCAPERS[" not in ast.unparse(keyword.value):
                    found.append(f"{line}: finalize={ast.unparse(keyword.value)}")
            if called == "jinja2.Environment":
                given = {keyword.arg for keyword in node.keywords}
                found += [f"{line}: no {x}" for x in ("autoescape", "finalize") if x not in given]
        elif isinstance(node, ast.Attribute) and node.attr == "enable_unsafe_deserialization":
            found.append(f"{line}: {node.attr}")
    return found


def template_faults(text, name):
    """Lists what a template must not have."""
    safe = set(re.findall(r"\{\{\s*([\w.]+)\s*\|\s*safe\b", text))
    found = [f"{one} | safe" for one in sorted(safe - SAFE.get(name, set()))]
    if len(re.findall(r"\|\s*safe\b", text)) != len(
        re.findall(r"\{\{\s*[\w.]+\s*\|\s*safe\s*\}\}", text)
    ):
        found.append("safe is a part of something longer")
    code = set(re.findall(r"\{\{\s*([\w.]+)\s*\|\s*code\s*\}\}", text))
    found += [f"{one} | code" for one in sorted(code - CODE.get(name, set()))]
    found += re.findall(r"\{%-?\s*(?:autoescape|include|import|from|extends)\b[^%]*", text)
    if name.endswith(".html"):
        for script in re.findall(r"<script.*?</script>", text, re.DOTALL):
            found += [f"a value in a script: {x}" for x in re.findall(r"\{[{%].*?[%}]\}", script)]
        found += [f"no quotes: {x}" for x in re.findall(r"[\w-]+=\{\{[^}]*\}\}", text)]
        found += re.findall(r"\b(?:on\w+|href|srcdoc)=\"[^\"#]*\{\{[^\"]*\"", text)
        if "Content-Security-Policy" not in text:
            found.append("no Content-Security-Policy")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_sources(path):
    name = str(path.relative_to(ROOT)).removeprefix("transfer_keras/")
    assert faults(path.read_text(), name) == []


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_templates(path):
    assert template_faults(path.read_text(), path.name) == []


def test_there_are_sources_and_templates():
    assert len(SOURCES) > 100
    assert {path.suffix for path in TEMPLATES} == {".html", ".md", ".sh"}


@pytest.mark.parametrize("source", [
    "import pickle", "from pickle import loads", "import joblib.numpy_pickle", "import yaml",
    "eval(x)", "exec(x)", "compile(x, '', 'exec')", "__import__(x)", "os.system(x)", "os.popen(x)",
    "subprocess.run(x, shell=True)", "subprocess.run(x, shell=y)", "np.load(x, allow_pickle=True)",
    "np.load(x, allow_pickle=y)", "keras.saving.load_model(x, safe_mode=False)",
    "load(x, safe_mode=y)", "import jinja2", "from markupsafe import Markup",
    "keras.config.enable_unsafe_deserialization()", "requests.get(x, verify=False)",
    "jinja2.Environment(autoescape=False, finalize=_ESCAPERS[x])", "environment.from_string(x)",
    "jinja2.Environment(autoescape=name.endswith('.html'))", "from os import system",
])  # fmt: skip
def test_a_source_that_would_be_unsafe_is_found(source):
    assert faults(source)


@pytest.mark.parametrize("source", [
    "model.eval()", "re.compile(x)", "np.load(x, allow_pickle=False)", "import pickled_onions",
    "subprocess.run(x, shell=False)", "keras.models.load_model(x)", "tf.function(jit_compile=True)",
])  # fmt: skip
def test_a_source_that_is_safe_is_not(source):
    assert not faults(source)


CSP = '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'">'


@pytest.mark.parametrize(("text", "name"), [
    (CSP + "{{ name | safe }}", "a.html"), (CSP + "{{ name|safe }}", "report.html"),
    (CSP + "{{ section.figure | lower | safe }}", "report.html"), ("{{ donor | code }}", "a.md"),
    (CSP + "{% autoescape false %}{{ x }}", "a.html"), (CSP + "{% include x %}", "a.html"),
    (CSP + "<script>var x = {{ x }};</script>", "a.html"), (CSP + "<p id={{ x }}>", "a.html"),
    (CSP + '<a href="{{ x }}">', "a.html"), (CSP + '<p onclick="f({{ x }})">', "a.html"),
    ("<p>{{ x }}</p>", "a.html"),
])  # fmt: skip
def test_a_template_that_would_be_unsafe_is_found(text, name):
    assert template_faults(text, name)
