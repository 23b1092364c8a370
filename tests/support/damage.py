"""Draws damages of the material and odd inputs, by Hypothesis, each told by plain values."""

import dataclasses
import re

import hypothesis
import hypothesis.strategies as st

from support.damaged_files import OUTSIDE
from support.material import SCENARIOS

# How often each scenario is drawn, of about a thousand: those that train take seconds.
WEIGHTS = {
    "train, done": 520, "report": 130, "report of a study": 30, "train --dry_run": 150,
    "report of an older workdir": 40, "sweep, done": 15, "train, in the middle": 30,
    "train on pictures, in the middle": 25, "train, older, in the middle": 4,
    "donor": 40, "predict": 25, "advise, again": 4,
}  # fmt: skip

# The kind of a file, by its path; the first that fits.
KINDS = {
    kind: re.compile(pattern)
    for kind, pattern in {
        "picture": r"pictures/",
        "donor": r"donor\.keras$",
        "prepared data: dataset_info.json": r"dataset_info\.json$",
        "prepared data: features.json": r"features\.json$",
        "prepared data: index": r"data/.*index",
        "prepared data: records": r"\.tfrecord",
        "prepared data: the rest": r"data/",
        "a checkpoint": r"checkpoints/.*/0",
        "the rest of checkpoints": r"checkpoints/.*/(?!group)",
        "group.json": r"group\.json$",
        "row.json": r"row\.json$",
        "experiment.json": r"experiment\.json$",
        "run.flags": r"run\.flags$",
        ".lock": r"\.lock$",
        "predictions": r"predictions\.",
        "pixels": r"pixels-",
        "curve.png": r"curve\.png$",
        "an old report": r"report/",
        "a network": r"network\.keras$",
        "best.keras": r"best\.keras$",
        "TensorBoard's events": r"tfevents",
        "plan.json": r"plan\.json$",
        "donors.json": r"donors\.json$",
        "classes.json": r"classes\.json$",
        "MODEL_CARD.md": r"MODEL_CARD\.md$",
        "the rest": r"\.\w+$",
        "a folder": r"",
    }.items()
}

_RAW = [
    "null", "true", "false", "NaN", "Infinity", "-Infinity", "0", "-1", "-0.0", "3.5", "1e308",
    "1e-400", "9223372036854775808", "9" * 400, "deep", '""', '"text"', '"NaN"', '"5"', "[]", "{}",
    "[[]]", "[null]", '["a", "a"]', '{"a": null}', '"../outside/secret.txt"', '"/nowhere/x"',
    '"a\\nb"', '"\\u001b[31mred"', '"<img src=x onerror=alert(1)>"', '"\\ud800"', '"\\u0000"',
    '"' + "long" * 100_000 + '"', "[" + "0," * 50_000 + "0]", "not JSON", "",
]  # fmt: skip
_TEXTS = [
    "", "\n", "null", "[]", "{}", "[1, 2", "\udcff\udcfe", "\ufeff{}", "\0" * 100, "x" * 1_000_000,
    "--nosuchflag=1\n", "--flagfile=run.flags\n", "\x1b]0;title\x07", "a\r\nb", "[" * 100_000,
]  # fmt: skip
_ARRAYS = [
    "object", "text", "shorter", "another axis", "empty", "negative", "out of range", "nan",
    "complex", "huge", "missing", "unknown", "facts",
]  # fmt: skip
_LITTER = [
    ".DS_Store", "Thumbs.db", "notes.txt", "my results/", ".ipynb_checkpoints/", "A9B/",
    "a\nb", "\udcff.txt", "o\u0308", "network (1).keras", "group.json.bak", ".partial-row.json",
    "0000000099.npz~", "mine.partial", ".hidden/",
]  # fmt: skip

_place = st.floats(0, 0.999, allow_subnormal=False)
_places = st.lists(_place, max_size=4).map(tuple)
_json_value = st.one_of(
    st.sampled_from(_RAW),
    st.sampled_from(_RAW),
    st.recursive(
        st.sampled_from(_RAW[:14]),
        lambda inner: st.lists(inner, min_size=1, max_size=3).map(lambda x: f"[{','.join(x)}]"),
        max_leaves=5,
    ),
)
_bytes = st.one_of(
    st.tuples(st.just("flip a bit"), _place, st.integers(0, 7)),
    st.tuples(st.just("flip a bit"), _place, st.integers(0, 7)),
    st.tuples(st.just("truncate"), _place),
    st.tuples(st.just("zeros"), _place, st.sampled_from([1, 16, 4096])),
    st.tuples(st.just("append"), st.binary(min_size=1, max_size=8).map(bytes.hex)),
    st.tuples(st.just("become"), st.sampled_from(_TEXTS)),
)
_tree = st.one_of(
    st.just(("remove",)),
    st.just(("a folder",)),
    st.tuples(st.just("a link"), st.sampled_from(["file", "folder", "nothing", "itself"])),
    st.just(("a pipe",)),
    st.just(("move",)),
    st.just(("future",)),
    st.tuples(st.just("litter"), st.sampled_from(_LITTER)),
)
_json = st.tuples(
    st.just("json"), _places, st.sampled_from(["replace"] * 4 + ["remove", "add", "append"]),
    _json_value,
)  # fmt: skip
_array = st.tuples(st.just("array"), _place, st.sampled_from(_ARRAYS))
_member = st.one_of(
    st.tuples(st.just("member"), _place, st.just("json"), _places, _json_value),
    st.tuples(st.just("member"), _place, st.sampled_from(["remove", "empty", "text", "climb"])),
)


@dataclasses.dataclass(frozen=True)
class Damage:
    """One damage of a scenario's files, or one odd input.

    Attributes:
        scenario: name of it.
        path: what is damaged, below the folder; of an input the flag.
        operation: see `damaged_files`; of an input ("flag", program, flags, environment).
    """

    scenario: str
    path: str
    operation: tuple

    @property
    def kind(self):
        """Names the kind of what is damaged."""
        if self.operation[0] == "flag":
            return f"input of {self.operation[1]}"
        return kind_of(self.path)

    def __str__(self):
        return f"{self.scenario}: {self.path}: {repr(self.operation)[:300]}"


def kind_of(path):
    """Names the kind of a file."""
    return next(kind for kind, pattern in KINDS.items() if pattern.search(path))


def listing(material):
    """Lists the files of each scenario by kind: scenario -> kind -> paths, sorted."""
    listed = {}
    for name, scenario in SCENARIOS.items():
        kinds = listed.setdefault(name, {})
        for read in scenario.reads:
            root = material / read
            files = [p for p in root.rglob("*") if p.is_file()] if root.is_dir() else [root]
            for path in sorted(files):
                relative = path.relative_to(material).as_posix()
                kinds.setdefault(kind_of(relative), []).append(relative)
    return listed


@st.composite
def damages(draw, files):
    """Draws a damage.

    Args:
        files: see `listing`.
    """
    names = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
    name = draw(st.sampled_from(names))
    kinds = files[name]
    if draw(st.integers(0, 11)) == 0:
        return _of_a_folder(draw, name, kinds)
    kind = draw(st.sampled_from(sorted(kinds)))
    path = draw(st.sampled_from(kinds[kind]))
    return Damage(name, path, draw(_operations(path, kind, kinds)))


def _operations(path, kind, kinds):
    """Gives the operations that suit a file."""
    special = []
    if path.endswith(".json"):
        special = [_json, _json, _json]
    elif path.endswith((".npz", ".safetensors")):
        special = [_array, _array]
    elif path.endswith(".keras"):
        special = [_member, _member]
    elif kind == "picture":
        special = [st.just(("huge picture",))]
    others = [other for other in kinds[kind] if other != path]
    if others and kind in ("picture", "row.json", "predictions", "experiment.json", "pixels"):
        special.append(st.tuples(st.just("exchange"), st.sampled_from(others)))
    return st.one_of(*special, _bytes, _tree)


def _of_a_folder(draw, name, kinds):
    """Draws a damage of a folder: removed, a file, a link, litter in it."""
    paths = [path for paths in kinds.values() for path in paths]
    folders = {path.rsplit("/", count)[0] for path in paths for count in (1, 2) if "/" in path}
    path = draw(st.sampled_from(sorted(folders)))
    operation = draw(
        st.one_of(
            st.sampled_from([("remove",), ("a file",), ("a folder",), ("a pipe",), ("move",)]),
            st.tuples(st.just("a link"), st.sampled_from(["file", "folder", "nothing", "itself"])),
            st.tuples(st.just("litter"), st.sampled_from(_LITTER)),
            st.tuples(st.just("litter"), st.sampled_from(_LITTER)),
        )
    )
    return Damage(name, path, operation)


# Bombs take seconds to make: there are as many as kinds of files that can be one.
def bombs(files):
    """Lists a damage for each kind of file that can claim or become gigabytes."""
    made = {}
    for name, kinds in files.items():
        for kind, paths in kinds.items():
            if paths[0].endswith((".npz", ".safetensors")):
                made.setdefault(kind, Damage(name, paths[0], ("array", 0.5, "bomb")))
            elif paths[0].endswith(".keras"):
                made[kind, name] = Damage(name, paths[0], ("member", 0.9, "bomb"))
    return list(made.values())


# Inputs.

_text = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=9)
_VALUES = [
    "", " ", ",", "nan", "inf", "-1", "0", "1e300", "1e-300", "9" * 400, "9223372036854775808",
    "2147483647", "30000", "0x10", "1_000", "true", "1,1", "0-99999999", "5-1", "1\n--steps=5",
    "~nosuchuser/x", "outside", "/nowhere/x", "s3://bucket/x",
    "gs://bucket/x", "file:///etc/passwd", "http://localhost:1/x", "a" * 5000, "a/" * 3000,
    "\udcff", "o\u0308", "<img src=x>", "$(touch outside/ran)", "'; touch outside/ran #",
    "\x1b[31m", "loop", "empty", "text.txt", "binary", "pipe", f"{OUTSIDE}/folder",
    "nowhere/at/all", "donor.keras", "pictures", "folder:pictures", "folder:", "folder:empty",
    "folder:text.txt", "folder:loop", "folder:~nosuchuser", "keras.applications.__class__",
    "keras.applications.ResNet50.__init__", "keras.applications.", "hub:x", "cpu:99999", "cpu:-1",
    "gpu:0", "cpu:0,cpu:0", "formula_images/100000000x12x16", "formula_images/4x12x100000",
    "formula_images/4x", "formula_images/0x0x0", "no_such_dataset", "mnist", "A2B,A2B", "A99B",
    "AnB", "A2B-linear", "ray:nowhere", "slurm", "1s", "none", "all", "None", "é",
]  # fmt: skip
_CLUSTERS = [
    "", "{}", "[]", "null", "not JSON", '{"cluster": {}}', '{"cluster": {"worker": "a:1"}}',
    '{"cluster": {"worker": ["localhost"]}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["localhost:x"]}, "task": {"type": "worker", "index": 0}}',
    '{"cluster": {"worker": ["localhost:1"]}, "task": "worker"}',
    '{"cluster": {"worker": ["localhost:0"]}, "task": {"type": "worker", "index": "0"}}',
    '{"cluster": {"worker": ["localhost:99999"]}, "task": {"type": "worker", "index": 5}}',
    '{"cluster": {"worker": [1]}, "task": {"type": "x", "index": 0}}', "[" * 5000, "\udcff",
]  # fmt: skip
_INPUTS = {
    "train": ("--dataset=formula_images/4x12x16", "--data_dir=data", "--image_size=16",
              "--batch_size=8", "--steps=2", "--treatments=A2B", "--workdir=new", "--dry_run"),
    "sweep": ("--dataset=formula_images/4x12x16", "--data_dir=data", "--image_size=16",
              "--batch_size=8", "--steps=2", "--treatments=A2B", "--workdir=new",
              "--group_size=1", "--cluster=slurm"),
    "report": ("--workdir=run", "--output=new"),
    "predict": ("--network=advice/best.keras", "--pictures=pictures", "--output=new/out.csv"),
    "advise": (*SCENARIOS["advise, again"].flags[:-2], "--workdir=new", "--budget=1s"),
    "check_pictures": ("--dataset=folder:pictures", "--output=new"),
    "export": ("--network=advice/best.keras", "--output=new"),
}  # fmt: skip
PROGRAMS = tuple(_INPUTS)
_INPUT_WEIGHTS = ["train"] * 8 + ["sweep"] * 4 + ["report"] * 4 + [
    "predict", "advise", "check_pictures", "export",
]  # fmt: skip


@st.composite
def inputs(draw, flags):
    """Draws an odd value of a flag, or of a variable of the environment.

    Args:
        flags: program -> names of its flags.
    """
    program = draw(st.sampled_from(_INPUT_WEIGHTS))
    given = _INPUTS[program]
    if draw(st.integers(0, 24)) == 0:
        value = draw(st.sampled_from(_CLUSTERS))
        return Damage("input", "TF_CONFIG", ("flag", program, given, (("TF_CONFIG", value),)))
    name = draw(st.sampled_from(flags[program]))
    value = draw(st.one_of(st.sampled_from(_VALUES), st.sampled_from(_VALUES), _text))
    kept = tuple(flag for flag in given if not flag.startswith(f"--{name}="))
    return Damage("input", name, ("flag", program, (*kept, f"--{name}={value}"), ()))


def draw(strategy, count, seed=0):
    """Draws different examples, always the same ones for a seed."""
    if not count:
        return []
    drawn = {}

    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=2 * count,
        derandomize=False,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategy)
    def collect(example):
        drawn[example] = None

    collect()
    return list(drawn)[:count]
