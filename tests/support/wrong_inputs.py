"""Flags and variables that no program can use, by kind."""

import itertools
import json

NO_NUMBERS = ("nan", "inf", "-inf", "1e400", "fast", "", "1,5", "0x", "--1", "1" * 5000)
NO_COUNTS = (*NO_NUMBERS[:-1], "1.5", "-1", str(2**31), str(2**63), str(10**30), "1" * 5000)
NO_PATHS = (
    *("~nosuchuser", "~nosuchuser/a", "s3://bucket/a", "gs://bucket/a", "hdfs://host/a"),
    *("file:///a", "http://host/a", "a\nb", "a\rb", "a\x1b[31mb", "a\x00b", "a\u2028b", " a", "a "),
    *("a\udcff", "a" * 300, "loop/a", "loop", "file.txt/a"),
)
FLOATS = (
    *("learning_rate", "weight_decay", "group_memory", "features_memory", "checkpoint_every"),
    *("validation_split", "transferred_learning_rate", "layerwise_decay", "early_stopping_split"),
)
RATES = ("learning_rate", "transferred_learning_rate", "scratch_learning_rate")
COUNTS = (
    *("image_size", "steps", "batch_size", "views", "validations", "metrics_every", "group_size"),
    *("validation_seed", "folds", "warm_up_head", "early_stopping", "seed", "examples_per_class"),
)
ENUMS = (
    *("network", "optimizer", "schedule", "preprocessing", "mean", "bad_images", "exif"),
    *("keep_features", "strategy", "precision", "units", "batch_norm", "class_weights"),
    *("mode", "source", "target"),
)
PATHS = ("workdir", "data_dir", "leave_out", "custom_objects", "donor_weights", "split")


def _named(names, values):
    return [[f"--{name}={value}"] for name, value in itertools.product(names, values)]


def _task(**changes):
    task = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 0}}
    return json.dumps(task | changes)


# Kind -> flags of `train` that it has to refuse.
FLAGS = {
    "no number": _named(FLOATS, NO_NUMBERS),
    "no rate of float32": _named(RATES, ("0", "-1", "1e300", "1e39", "1e-300", "5e-324")),
    "no decay": [
        *_named(["layerwise_decay"], ("1e300", "1e-400", "0", "-1")),
        ["--layerwise_decay=1e9", "--mode=fine_tune", "--n=7"],
    ],
    "no count": _named(COUNTS, NO_COUNTS),
    "none of a few": _named(ENUMS, ("", "nothing", "None", "0", " ")),
    "no path": _named(PATHS, NO_PATHS),
    "no path of pictures": _named(["dataset"], [f"folder:{path}" for path in NO_PATHS]),
    "no path of a donor": _named(
        ["donor"], [*NO_PATHS, *(f"keras_hub:{p}" for p in ("~nosuchuser", "s3://b/a"))]
    ),
    "no devices": _named(
        ["devices"],
        ("cpu:99999", "cpu:65", "cpu:0", "cpu:-1", "cpu:", "cpu:1e3", "0,0", "0,00", "0,", "-1",
         "gpu:0", "cpu:" + "9" * 5000, "9" * 5000, "0\n"),
    ),
    "no size of drawn pictures": _named(
        ["dataset"],
        [f"formula_images/{amounts}" for amounts in (
            "100000000x6x8", "40x300x100000", "40x1000000000x32", "4x6", "4x6x8x8", "3x6x8",
            "4x5x8", "4x6x7", "x".join(["9" * 5000] * 3), "ax6x8", "4 x6x8", "-4x6x8",
        )],
    ),
    "no treatments": _named(
        ["treatments", "n"], ("", "A", "A3", "A0B", "A3C", "A99B", "A" + "9" * 5000 + "B", "é")
    ),
    "no split": _named(
        ["split"], ("halves", "-1", "0-", str(2**32), "9" * 5000, "donor", "whole", "", ","),
    ),
    "no flagfile": _named(
        ["flagfile"], ("none.flags", "folder", "bytes.flags", "loop.flags", "nested.flags")
    ),
    "not a flag": [["--stepz=3"], ["--noaugment=3"], ["--nosteps"], ["stray"], ["--", "stray"],
                   ["-"], ["--=3"], ["--seed"], ["--\udcff=1"], ["--a\nb=1"]],
    "what does not go together": [
        ["--treatments=A3B", "--n=2"], ["--views=2", "--noaugment"], ["--noscratch"],
        ["--augment", "--keep_features=always"], ["--units=block"], ["--split=whole"],
        ["--early_stopping_split=0.5"], ["--folds=2"], ["--group_by=x"], ["--leave_out=x"],
        ["--warm_up_head=9", "--steps=9"], ["--strategy=multi_worker", "--devices=cpu:2"],
        ["--seed=0,1"], ["--examples_per_class=1,2"], ["--dataset=folder:here", "--group_by=("],
        ["--dataset=folder:here", "--group_by=a{99999999999}"],
        ["--dataset=folder:here", f"--group_by={'(' * 5000}"],
    ],
}  # fmt: skip

# What `train` refuses by the machine's state: variables.
KERAS_FILES = (
    "{", "[]", "null", "7", '"text"', "[" * 100_000, "\udcff",
    '{"floatx": "float16"}', '{"floatx": 32}', '{"image_data_format": "channels_first"}',
    '{"image_data_format": null}', '{"epsilon": 1}', '{"epsilon": "small"}', '{"epsilon": NaN}',
)  # fmt: skip
TF_CONFIGS = (
    "{", "[]", "null", "7", "{}", "[" * 100_000, _task(cluster=[]), _task(task=[]), _task(task={}),
    _task(cluster={"worker": "a:1"}), _task(cluster={"worker": {"0": "a:1"}}),
    *(_task(cluster={"worker": ["b:2", bad]}) for bad in (
        "a", "a:", ":1", "a:0", "a:70000", "a:-1", "a:b", "a b:1", "http://a:1", "a:1\n", 7, None,
        ["a:1"], "b:2",
    )),
    *(_task(task={"type": kind, "index": index}) for kind, index in (
        ("worker", "0"), ("worker", True), ("worker", None), ("worker", 0.0), ("worker", 2),
        ("worker", -1), ("chief", 0), (None, 0), (7, 0), ("ps", 0),
    )),
)  # fmt: skip

# What the other programs refuse before they import TensorFlow.
_SOME_PATHS = ("~nosuchuser", "s3://bucket/a", "a\nb", "a ", "a\udcff", "a" * 300, "loop")
_ADVISE = ["--donor=keras.applications.MobileNetV2", "--dataset=folder:here"]
PROGRAMS = {
    "sweep": [
        *_named(["workdir", "split", "dataset"], _SOME_PATHS),
        *_named(["margin"], ("nan", "inf", "0", "100", "-1", "much", "")),
        *_named(["task", "cluster_gpus"], ("-1", "1.5", "", str(2**63), "all")),
        *_named(["cluster"], ("", "rey", "ray:", "slurm ", "ray:a\nb")),
        ["--cluster=slurm"], ["--cluster=ray", "--task=1"], ["--task=0", "--devices=cpu:2"],
    ],
    "report": [
        [], *_named(["workdir"], ("", "none", "file.txt", *_SOME_PATHS)),
        *([f"--workdir={at}", f"--output={at}"] for at in _SOME_PATHS),
        *(["--workdir=here", f"--output={at}"] for at in ("file.txt", "file.txt/a")),
        *(["--workdir=here", f"--margin={margin}"] for margin in ("nan", "0", "1e400")),
        *(["--workdir=here", f"--analyses={kinds}"] for kinds in ("", "x", "all,", "probe", "all")),
        *(["--workdir=here", "--analyses=all", f"--analyses_networks={names}"]
          for names in ("", "A9", "A3B,", "baseC")),
        *(["--workdir=here", "--analyses=all", f"--data_dir={at}"]
          for at in ("none", *_SOME_PATHS)),
        ["--workdir=here", "--data_dir=folder"], ["--workdir=here", "--analyses_networks=A3B"],
    ],
    "predict": [
        [], ["--network=a"], *_named(["network", "pictures"], ("", *_SOME_PATHS)),
        *(["--network=a", "--pictures=b", flag] for flag in (
            "--output=", "--output=here", "--output=file.txt/a", "--output=s3://a/b",
            "--threshold=nan", "--threshold=2", "--threshold=-0.1", "--threshold=",
            "--batch_size=0", "--batch_size=1e3", f"--batch_size={2**63}",
        )),
    ],
    "export": [
        [], *_named(["network"], ("", *_SOME_PATHS)),
        *(["--network=a", flag] for flag in (
            "--output=file.txt", "--output=file.txt/a", "--output=~nosuchuser", "--format=",
            "--format=x", "--format=onnx,", "--tolerance=nan", "--tolerance=inf", "--tolerance=-1",
            "--quantise=int4", "--pictures=gs://a/b",
        )),
    ],
    "check_pictures": [
        [], *_named(["dataset"], ("", "cifar10", "folder:")),
        *_named(["dataset"], [f"folder:{at}" for at in _SOME_PATHS]),
        *(["--dataset=folder:here", flag] for flag in (
            "--output=", "--output=file.txt", "--validation_split=nan", "--validation_split=0",
            "--validation_split=1", "--validation_seed=-1", f"--validation_seed={2**63}",
            "--fix=all", "--leave_out=s3://a/b", "--group_by=(", "--group_by=a{99999999999}",
        )),
    ],
    "advise": [
        [], *([*_ADVISE, flag] for flag in (
            "--budget=", "--budget=0m", "--budget=soon", "--budget=-1h", f"--budget={'9' * 400}h",
            "--budget=nan", "--n=3", "--dry_run", "--seed=0,1", f"--seed={2**31}", "--split=0",
            "--margin=nan", "--donor=,", "--donor=a,a", "--workdir=~nosuchuser",
        )),
    ],
}  # fmt: skip
