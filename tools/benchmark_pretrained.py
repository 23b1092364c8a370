"""Times what is done with a trained network against plain Keras, on one's own pictures.

python tools/benchmark_pretrained.py --dataset=folder:pictures --donors=network.keras

Contenders, each in a process of its own, in turn, `--rounds` times; medians and ratios are printed:

- `ours`: a group by the loop of `train`, from the features that are kept to the saved networks.
- `fit`: plain Keras as in its guide to transfer learning, in an environment as TensorFlow comes:
  a new head on the donor, what is frozen frozen, `compile`, `fit`.
- `fit_onednn`: the same with oneDNN's kernels, which the programs turn on.
- `features`: the features of the donor once, and scikit-learn's logistic regression (case `head`).
- `torch`: PyTorch on timm's network of the name, where `--torch_python` is a Python that has both
  (`torch_contender.py`; cases `pass`, `head`, `step`).

Cases (`--cases`):

- `pass`: one pass of the donor over all pictures, by `predict`.
- `head`: all but the head is frozen, `--epochs` epochs, a test in each.
- `depths`: four frozen depths, `--epochs` epochs; one group, and four trainings one after another.
- `step`: a step that trains everything.

Seconds are from the opened donor and pictures to the networks; tracing is among them, but for
`step`. The weights of `keras.applications` are downloaded; `--donor_weights=none` leaves that out,
which changes no time. Where TensorFlow finds a GPU it is used as it is. `features` needs
scikit-learn.
"""

import itertools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from absl import app, flags

_DONORS = flags.DEFINE_list("donors", ["keras.applications.MobileNetV2"], "As --donor of train.")
_WEIGHTS = flags.DEFINE_string("donor_weights", "imagenet", "Of donors of keras.applications.")
_DATASET = flags.DEFINE_string("dataset", None, "As of train: folder:PATH.", required=True)
_CASES = flags.DEFINE_list("cases", ["pass", "head", "depths", "step"], "Which.")
_CONTENDERS = flags.DEFINE_list("contenders", ["ours", "fit", "fit_onednn", "features"], "Which.")
_EPOCHS = flags.DEFINE_integer("epochs", 10, "Of `head` and `depths`.", 1)
_STEPS = flags.DEFINE_integer("steps", 5, "Timed steps.", 1)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each contender has its turn.", 1)
_TORCH = flags.DEFINE_string("torch_python", None, "A Python with torch and timm.")
_ONE = flags.DEFINE_string("one", None, "DONOR CASE CONTENDER: that alone, in this process.")

_BATCH = 32
_RATE = 1e-3
_TRAINED = ("ours", "fit", "fit_onednn")
_OF = {
    "pass": (*_TRAINED, "torch"), "head": (*_TRAINED, "features", "torch"), "depths": _TRAINED,
    "step": (*_TRAINED, "torch"),
}  # fmt: skip
# Names of timm's networks.
_TIMM = {"efficientnet_lite0": "efficientnet_lite0", "MobileNetV2": "mobilenetv2_100",
         "EfficientNetB0": "efficientnet_b0", "ResNet50": "resnet50"}  # fmt: skip


def main(_) -> None:
    """Measures every contender in turn, and prints a table."""
    if _ONE.value:
        donor, case, contender = _ONE.value.split()
        print(json.dumps(_measure(donor, case, contender)))
        return
    for donor in _DONORS.value:
        for case in _CASES.value:
            turns: dict[str, list[dict]] = {}
            for _ in range(_ROUNDS.value):
                for contender in (*_CONTENDERS.value, *(["torch"] if _TORCH.value else [])):
                    if contender in _OF[case]:
                        turns.setdefault(contender, []).append(_turn(donor, case, contender))
            _print(donor, case, turns)


def _print(donor: str, case: str, turns: dict[str, list[dict]]) -> None:
    medians = {
        name: statistics.median(turn["seconds"] for turn in measured)
        for name, measured in turns.items()
    }
    for name, seconds in medians.items():
        ratio = f"  {seconds / medians['ours']:6.2f} times ours" if "ours" in medians else ""
        top1 = turns[name][-1].get("top1")
        accuracy = f"  top-1 {', '.join(f'{value:.3f}' for value in top1)}" if top1 else ""
        print(f"{_name(donor):24}{case:8}{name:12}{seconds:9.2f} s{ratio}{accuracy}")


def _name(donor: str) -> str:
    return donor.rpartition("keras.applications.")[2].rpartition("/")[2].removesuffix(".keras")


def _turn(donor: str, case: str, contender: str) -> dict:
    given = [flag.serialize() for flag in flags.FLAGS.get_flags_for_module(sys.argv[0])]
    command = [sys.executable, __file__, *filter(None, given)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "KERAS_BACKEND": "tensorflow"}
    if contender == "fit_onednn":
        environment["TF_ENABLE_ONEDNN_OPTS"] = "1"
    command.append(f"--one={donor} {case} {contender}")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    return json.loads(done.stdout.splitlines()[-1])


def _measure(donor: str, case: str, contender: str) -> dict:
    """Measures a contender in this process: seconds, and the top-1 of each network."""
    from transfer_keras.config import make_experiment, parse_treatment, set_environment

    if contender == "ours":
        set_environment()
    from transfer_keras.experiments import describe_donor, read_data

    settings = {"donor": donor, "dataset": _DATASET.value, "batch_size": _BATCH, "units": "block"}
    settings |= {"augment": False, "metrics_every": 0, "learning_rate": _RATE}
    if donor.startswith("keras.applications."):
        settings["donor_weights"] = _WEIGHTS.value
    first = make_experiment(["A1B"], describe_donor=describe_donor, **settings)
    top = max(first.architecture.cut_points)
    depths = sorted({max(1, round(top * part)) for part in (1, 0.9, 0.75, 0.55)})
    depths = [min(first.architecture.cut_points, key=lambda n: abs(n - d)) for d in depths]
    data = read_data(first)
    train, test = _arrays(data.train["B"]), _arrays(data.test["B"])
    steps = _EPOCHS.value * (len(train[1]) // _BATCH)
    asked = first.replace(steps=steps, validations=_EPOCHS.value)
    of_case = {"head": [f"A{top}B"], "depths": [f"A{n}B" for n in depths]}.get(case, [f"A{top}B+"])
    measures = {"ours": _ours, "features": _features, "torch": _torch}
    measure = measures.get(contender, _fit)
    return measure(
        asked.replace(treatments=tuple(map(parse_treatment, of_case))), data, train, test, case
    )


def _torch(experiment, data, train, test, case: str) -> dict:
    import numpy as np

    script = pathlib.Path(__file__).with_name("torch_contender.py")
    network = _TIMM[_name(experiment.donor.path)]
    numbers = [_EPOCHS.value, _STEPS.value, _BATCH, _RATE]
    with tempfile.TemporaryDirectory() as folder:
        arrays = f"{folder}/arrays.npz"
        names = ("images", "labels", "test_images", "test_labels")
        np.savez(arrays, **dict(zip(names, (*train, *test), strict=True)))
        command = [_TORCH.value, script, arrays, network, case, *map(str, numbers)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _arrays(examples):
    """Gives all centre crops and labels as arrays."""
    import numpy as np

    batches = list(examples.evaluation(batch_size=_BATCH).as_numpy_iterator())
    return tuple(map(np.concatenate, zip(*batches, strict=True)))


def _ours(experiment, data, train, test, case: str) -> dict:
    import tensorflow as tf

    from transfer_keras import surgery
    from transfer_keras.config import Group
    from transfer_keras.experiments import (
        Run,
        make_networks,
        make_recipe,
        make_streams,
        use_devices,
    )
    from transfer_keras.results import Workdir
    from transfer_keras.training import (
        Schedule,
        fused_batch_norm,
        make_train_step,
        train_networks,
    )

    devices = use_devices(experiment.training, experiment.execution)
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(f"{folder}/run")
        workdir.path.mkdir()
        run = Run(experiment, workdir, data, devices, log=lambda line: None)
        group = Group(experiment.treatments)
        if case == "step":
            fused = make_networks(run, group.treatments).fused
            recipe = make_recipe(experiment, fused, group.treatments, train[1])
            step = make_train_step(fused, recipe.make_optimizer(), recipe, devices.strategy)
            images, labels = (tf.constant(part[:_BATCH]) for part in train)
            no = tf.constant(False)
            return _median(lambda: step(images, labels, no)[0].numpy())
        if case == "pass":
            model = run.source.donor(group.treatments[0])

            @tf.function(reduce_retracing=True)
            def predict(images):
                with fused_batch_norm():
                    return model(tf.cast(images, tf.float32), training=False)

            begun = time.perf_counter()
            for images, _ in (train, test):
                for first in range(0, len(images), _BATCH):
                    predict(images[first : first + _BATCH]).numpy()
            return {"seconds": time.perf_counter() - begun}
        begun = time.perf_counter()
        fused = make_networks(run, group.treatments).fused
        trained = train_networks(
            fused,
            make_recipe(experiment, fused, group.treatments, train[1]),
            make_streams(run, group, fused),
            Schedule(experiment.training.validate_every, experiment.training.steps),
        )
        for name in group.names:
            surgery.extract(fused, name).save(f"{folder}/{name}.keras")
        seconds = time.perf_counter() - begun
        top1 = [trained[name].predictions.scores.accuracy for name in group.names]
        return {"seconds": seconds, "top1": top1}


def _median(step) -> dict:
    """Times single steps, after one that traces."""
    seconds = []
    for _ in range(1 + _STEPS.value):
        begun = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - begun)
    return {"seconds": statistics.median(seconds[1:])}


def _fit(experiment, data, train, test, case: str) -> dict:
    import keras
    import tensorflow as tf

    from transfer_keras.networks import pretrained

    opened = pretrained.open_pretrained(experiment.donor, experiment.training.image_size).model
    units = pretrained.count_units(experiment.donor, experiment.training.image_size).units
    classes, seconds, top1 = int(train[1].max()) + 1, 0.0, []
    if case == "pass":
        begun = time.perf_counter()
        for images, _ in (train, test):
            opened.predict(images, batch_size=_BATCH, verbose=0)
        return {"seconds": time.perf_counter() - begun}
    for treatment in experiment.treatments:
        begun = time.perf_counter()
        base = keras.models.clone_model(opened)
        base.set_weights(opened.get_weights())
        n = experiment.units_transferred(treatment)
        if not treatment.fine_tune:
            below = {layer.name for unit in units[:n] for layer in unit.layers}
            for layer in base.layers:
                layer.trainable = layer.name not in below
        x = keras.layers.Dense(classes, name="new_head")(base.layers[-2].output)
        model = keras.Model(base.input, x)
        model.compile(
            keras.optimizers.Adam(_RATE),
            keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            metrics=["accuracy"],
        )
        if case == "step":
            pictures = tf.data.Dataset.from_tensors((train[0][:_BATCH], train[1][:_BATCH]))
            ends = [time.perf_counter()]
            note = keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda batch, logs, ends=ends: ends.append(time.perf_counter())
            )
            model.fit(pictures.repeat(1 + _STEPS.value), callbacks=[note], verbose=0)
            steps = [end - begin for begin, end in itertools.pairwise(ends[1:])]
            return {"seconds": statistics.median(steps)}
        history = model.fit(
            *train, batch_size=_BATCH, epochs=_EPOCHS.value, validation_data=test, verbose=0
        )
        seconds += time.perf_counter() - begun
        top1.append(history.history["val_accuracy"][-1])
    return {"seconds": seconds, "top1": top1}


def _features(experiment, data, train, test, case: str) -> dict:
    import keras
    from sklearn.linear_model import LogisticRegression

    from transfer_keras.networks import pretrained

    opened = pretrained.open_pretrained(experiment.donor, experiment.training.image_size).model
    begun = time.perf_counter()
    trunk = keras.Model(opened.input, opened.layers[-2].output)
    fitted = LogisticRegression(max_iter=1000).fit(
        trunk.predict(train[0], batch_size=_BATCH, verbose=0), train[1]
    )
    top1 = fitted.score(trunk.predict(test[0], batch_size=_BATCH, verbose=0), test[1])
    return {"seconds": time.perf_counter() - begun, "top1": [float(top1)]}


if __name__ == "__main__":
    app.run(main)
