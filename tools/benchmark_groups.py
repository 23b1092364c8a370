"""Times a transfer curve trained in groups, one network at a time, by Keras's `fit`, and measured.

python tools/benchmark_groups.py --data_dir=tiny-imagenet-200.zip

Every contender trains the same treatments from the same donors for the same number of steps,
tests them twenty times and saves them, in a process of its own, in turn. All but the last leave
out what TensorBoard shows of each unit; `measured` is `groups` with that. The confusion matrix and
the line in HParams, written after the training, are in all but `fit`. The donors were trained
for ten steps, which costs the same as good ones. Seconds are from the
donors to the saved networks: imports and the reading of the data are left out, tracing,
testing and saving are not. Memory is the process's highest resident size.
"""

import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

from transfer_keras.config import (
    Experiment,
    combine_treatments,
    make_experiment,
    parse_treatment,
    set_environment,
)

set_environment()

UNITS = range(1, 8)
FROZEN = combine_treatments(UNITS, ["frozen"], ["other"], "B")
CASES = {
    "single": (parse_treatment("baseB"),),
    "main": tuple(map(parse_treatment, ("baseA", "baseB", "A3B"))),
    "frozen7": FROZEN,
    "curve22": (
        parse_treatment("baseB"),
        *combine_treatments(UNITS, ["frozen", "random"], ["other", "self"], "B"),
    ),
    "all28": combine_treatments(UNITS, ["frozen", "fine_tune"], ["other", "self"], "B"),
    "decode7": FROZEN,
}
CONTENDERS = ("groups", "alone", "fit", "measured")

_CASES = flags.DEFINE_multi_enum("case", list(CASES), list(CASES), "What is trained.")
_STEPS = flags.DEFINE_integer("steps", None, "Steps a network (default: the program's).", 10)
_CONTENDERS = flags.DEFINE_multi_enum("contender", CONTENDERS, CONTENDERS, "How; the first is 1.")
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Medians are over this many.", 1)
_DATA_DIR = flags.DEFINE_string("data_dir", None, "The Tiny ImageNet zip or folder, for decode7.")
_CHILD = flags.DEFINE_string("child", None, "CASE:CONTENDER, run in this very process.")
_DONORS = flags.DEFINE_string("donors", None, "Folder with the trained donors (of the child).")


def experiment(case: str, *, measured: bool = False) -> Experiment:
    """Makes the experiment of a case."""
    tiny = {"dataset": "tiny_imagenet", "data_dir": _DATA_DIR.value, "image_size": 64}
    return make_experiment(
        CASES[case],
        steps=_STEPS.value,
        group_size=10**6,
        metrics_every=None if measured else 0,
        **(tiny if case == "decode7" else {}),
    )


def main(_) -> None:
    """Runs every case in turn, every contender in turn."""
    if _CHILD.value:
        print(json.dumps(child(*_CHILD.value.split(":"))))
        return
    cases = [case for case in _CASES.value if case != "decode7" or _DATA_DIR.value]
    if len(cases) < len(_CASES.value):
        print("decode7 is left out: it needs --data_dir.")
    for case in cases:
        steps = experiment(case).training.steps
        print(
            f"\n{case}: {len(CASES[case])} networks, {steps} steps each, on {os.cpu_count()} cores"
        )
        with tempfile.TemporaryDirectory() as donors:
            measure(case, "donors", donors)
            runs = {contender: [] for contender in contenders(case)}
            for _ in range(_ROUNDS.value):
                for contender in runs:
                    runs[contender].append(measure(case, contender, donors))
        report(runs)


def contenders(case: str) -> tuple[str, ...]:
    """Lists the contenders of a case; a single network is the same alone and in a group."""
    left_out = "alone" if len(CASES[case]) == 1 else None
    return tuple(name for name in _CONTENDERS.value if name != left_out)


def measure(case: str, contender: str, donors: str) -> dict:
    """Runs one contender in a process of its own; gives its seconds and its peak memory in MiB."""
    command = [sys.executable, __file__, f"--child={case}:{contender}", f"--donors={donors}"]
    command += [f"--steps={_STEPS.value}"] if _STEPS.value else []
    command += [f"--data_dir={_DATA_DIR.value}"] if _DATA_DIR.value else []
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    out, err = process.communicate()
    if process.returncode:
        sys.exit(f"{case}, {contender} failed:\n{err[-2000:]}")
    return json.loads(out.splitlines()[-1])


def report(runs: dict[str, list[dict]]) -> None:
    """Prints the medians of every contender, and their ratios to those of the first."""
    first = next(iter(runs))
    medians = {
        name: {key: statistics.median(one[key] for one in measured) for key in ("seconds", "MiB")}
        for name, measured in runs.items()
    }
    for name, values in medians.items():
        ratios = {key: values[key] / medians[first][key] for key in values}
        everything = ", ".join(f"{run['seconds']:.1f}" for run in runs[name])
        print(
            f"  {name:7s} {values['seconds']:8.1f} s  x{ratios['seconds']:.2f}   "
            f"{values['MiB']:6.0f} MiB  x{ratios['MiB']:.2f}   ({everything} s)",
            flush=True,
        )


def child(case: str, contender: str) -> dict:
    """Measures one contender in this process."""
    import resource

    from transfer_keras.experiments import read_data, run_experiment
    from transfer_keras.results import Workdir

    settings = experiment(case, measured=contender == "measured")
    donors = pathlib.Path(_DONORS.value)
    if contender == "donors":
        bases = make_experiment(
            ["baseA", "baseB"],
            steps=10,
            validations=1,
            **_data(settings),
        )
        run_experiment(bases, Workdir(donors))
        return {}
    data = read_data(settings, in_memory=case != "decode7")
    begun = time.perf_counter()
    if contender == "fit":
        for treatment in settings.treatments:
            fit(settings, data, treatment, donors)
    else:
        train(settings, data, donors, together=contender != "alone")
    return {
        "seconds": time.perf_counter() - begun,
        "MiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _data(settings: Experiment) -> dict:
    dataset, data_dir = settings.data.dataset, settings.data.data_dir
    return {"dataset": dataset, "data_dir": data_dir, "image_size": settings.image_size}


def train(settings: Experiment, data, donors: pathlib.Path, *, together: bool) -> None:
    """Trains through the program's own loop."""
    from transfer_keras.config import Group
    from transfer_keras.experiments import Run, train_groups, use_devices
    from transfer_keras.results import Workdir

    bases = [t for t in settings.treatments if not t.donor]
    transfers = tuple(t for t in settings.treatments if t.donor)
    alone = [[Group((t,))] for t in (*bases, *transfers)]
    side_by_side = [[Group((t,)) for t in bases], [Group(transfers)] if transfers else []]
    devices = use_devices(settings.training, settings.execution)
    with tempfile.TemporaryDirectory() as folder:
        workdir = pathlib.Path(folder)
        for name in ("baseA", "baseB"):
            (workdir / name).symlink_to(donors / name)
        for base in bases:
            (workdir / base.name).unlink()
        for groups in filter(None, side_by_side if together else alone):
            train_groups(Run(settings, Workdir(workdir), data, devices), groups)


def fit(settings: Experiment, data, treatment, donors: pathlib.Path) -> None:
    """Trains as Keras's guide does: copies and freezes layers, compiles, fits, saves."""
    import keras
    import tensorflow as tf

    from transfer_keras import networks

    train_set, test_set = data.train[treatment.target], data.test[treatment.target]
    mean, variance = ([120.0] * 3, [4000.0] * 3)
    model = networks.build(
        settings.training.network,
        image_size=settings.image_size,
        classes=len(data.pair.tasks[treatment.target]),
        mean=mean,
        variance=variance,
    )
    if treatment.n:
        last = settings.architecture.units[treatment.n].name
        lower = model.layers[: model.layers.index(model.get_layer(last))]
        if treatment.donor != "R":
            donor = keras.saving.load_model(donors / f"base{treatment.donor}" / "network.keras")
            for layer in lower:
                layer.set_weights(donor.get_layer(layer.name).get_weights())
        if not treatment.fine_tune:
            for layer in lower:
                layer.trainable = False

    def decode(image):
        return tf.io.decode_jpeg(image, channels=3) if image.dtype == tf.string else image

    def augment(image, label):
        side, cut = settings.image_size, train_set.preprocessing
        image = decode(image)
        if cut.augment:
            image = tf.pad(image, [[cut.pad, cut.pad], [cut.pad, cut.pad], [0, 0]])
            image = tf.image.random_flip_left_right(tf.image.random_crop(image, (side, side, 3)))
        return image, label

    tune = tf.data.AUTOTUNE
    pictures = tf.data.Dataset.from_tensor_slices((stored(train_set), train_set.labels))
    pictures = pictures.shuffle(len(train_set)).repeat().map(augment, tune)
    tests = tf.data.Dataset.from_tensor_slices((stored(test_set), test_set.labels))
    tests = tests.map(lambda image, label: (decode(image), label), tune)
    model.compile(
        keras.optimizers.AdamW(
            keras.optimizers.schedules.CosineDecay(
                0.0,
                settings.training.steps - settings.training.learning_rate_warm_up,
                warmup_target=settings.training.learning_rate,
                warmup_steps=settings.training.learning_rate_warm_up,
            ),
            weight_decay=settings.training.weight_decay,
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        pictures.batch(settings.training.batch_size).prefetch(tune),
        steps_per_epoch=settings.training.steps // settings.training.validations,
        epochs=settings.training.validations,
        validation_data=tests.batch(250).prefetch(tune),
        verbose=0,
    )
    with tempfile.TemporaryDirectory() as folder:
        model.save(pathlib.Path(folder) / "network.keras")


def stored(examples):
    """Gives the pictures of a task, or where they are on disk the bytes of their files."""
    if hasattr(examples, "images"):
        return examples.images
    import tensorflow as tf

    records = examples.records
    handles = tf.unstack(records.fetch(tf.constant(examples.numbers)))
    return [records.encoded(handle).numpy() for handle in handles]


if __name__ == "__main__":
    app.run(main)
