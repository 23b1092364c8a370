"""Times the training of the paper's network and of `alexnet_small` against others.

python tools/benchmark_training.py --torch_python=.venv/torch/bin/python

Contenders, each in a process of its own, in turn, `--rounds` times; medians and ratios are printed:

- `ours`: the program's loop on pictures in memory, cropped and mirrored at random; one network.
- `bare`: the same step as a `tf.function` alone, on one batch that is in memory: what the loop, its
  monitors and its pictures cost is the difference.
- `keras`: the network written plainly, `Conv2D(groups=2)` and LRN in a layer, and `fit` on pictures
  in memory.
- `torch`: the network in PyTorch, eagerly, on one batch in memory; asked for by `--torch_python`, a
  Python that has it (`python -m venv ENV && ENV/bin/pip install torch numpy`).
- `group`: `ours` with as many fine-tuned treatments in a group as `--group` says, counted as
  pictures times networks.

Where TensorFlow finds a GPU it is used as it is; then the share of its peak is `--peak_tflops`'s,
from multiplications and additions of a whole step (2.854 forward passes for `alexnet`).
"""

import json
import pathlib
import statistics
import subprocess
import sys
import time

from absl import app, flags

from transfer_keras.config import ARCHITECTURES, Conv, set_environment

set_environment()

_NETWORKS = flags.DEFINE_list("networks", ["alexnet", "alexnet_small"], "Which.")
_CONTENDERS = flags.DEFINE_list("contenders", ["ours", "bare", "keras", "torch", "group"], "Which.")
_BATCH = flags.DEFINE_integer("batch_size", 64, "Pictures a step.", 1)
_STEPS = flags.DEFINE_integer("steps", 8, "Timed steps; of alexnet_small 20 times that.", 2)
_ROUNDS = flags.DEFINE_integer("rounds", 3, "Times that each contender has its turn.", 1)
_GROUP = flags.DEFINE_integer("group", 3, "Networks of `group`.", 2)
_TORCH = flags.DEFINE_string("torch_python", None, "A Python that has PyTorch; None: left out.")
_PEAK = flags.DEFINE_float("peak_tflops", None, "Of the GPU, to print how much of it is used.")
_ONE = flags.DEFINE_string("one", None, "NETWORK CONTENDER: that alone, in this process.")

_CLASSES = {"alexnet": 500, "alexnet_small": 20}
_STEP = 2.854  # Forward passes that a step of alexnet costs in arithmetic.


def main(_) -> None:
    """Measures every contender in turn, and prints a table."""
    if _ONE.value:
        network, contender = _ONE.value.split()
        print(json.dumps(_seconds(network, contender)))
        return
    for network in _NETWORKS.value:
        timings: dict[str, list[float]] = {}
        for _ in range(_ROUNDS.value):
            for contender in _CONTENDERS.value:
                if contender != "torch" or _TORCH.value:
                    timings.setdefault(contender, []).append(_turn(network, contender))
        ours = statistics.median(timings["ours"]) if "ours" in timings else None
        for contender, seconds in timings.items():
            one = statistics.median(seconds)
            rate = _BATCH.value * (_GROUP.value if contender == "group" else 1) / one
            line = f"{network:14}{contender:7}{rate:9,.1f} pictures a second"
            line += f"  {1000 * one:8.1f} ms a step"
            line += f"  ours takes {ours / one:.2f} of its time" if ours else ""
            print(line + _share(network, rate))


def _share(network: str, rate: float) -> str:
    if not _PEAK.value or network != "alexnet":
        return ""
    return f"  {2 * 722.4e6 * _STEP * rate / 1e12 / _PEAK.value:.0%} of the peak"


def _turn(network: str, contender: str) -> float:
    python = _TORCH.value if contender == "torch" else sys.executable
    script = pathlib.Path(__file__).with_name("torch_alexnet.py")
    if contender == "torch":
        facts = {"batch": _BATCH.value, "steps": _steps(network),
                 "classes": _CLASSES[network], **_as_data(network)}  # fmt: skip
        command = [python, str(script), json.dumps(facts)]
    else:
        given = [flag.serialize() for flag in flags.FLAGS.get_flags_for_module(sys.argv[0])]
        ours = [f for f in given if f and not f.startswith("--one")]
        command = [python, __file__, *ours, f"--one={network} {contender}"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def _steps(network: str) -> int:
    return _STEPS.value * (1 if network == "alexnet" else 20)


def _as_data(network: str) -> dict:
    table = ARCHITECTURES[network]
    units = [{"kind": type(u).__name__, **{f: getattr(u, f) for f in u.__dataclass_fields__}}
             for u in table.units]  # fmt: skip
    return {"units": units, "image_size": table.image_size}


def _seconds(network: str, contender: str) -> float:
    """Measures the seconds of one step, after as many that warm up."""
    import numpy as np

    steps, classes = _steps(network), _CLASSES[network]
    table, rng = ARCHITECTURES[network], np.random.default_rng(0)
    side = table.resize or table.image_size
    count = 4 * _BATCH.value
    images = rng.integers(0, 256, (count, side, side, 3), np.uint8)
    labels = rng.integers(0, classes, count).astype(np.int32)
    if contender == "keras":
        return _keras(network, images, labels, steps)
    return _ours(network, images, labels, steps, contender)


def _ours(network: str, images, labels, steps: int, contender: str) -> float:
    import numpy as np
    import tensorflow as tf

    from transfer_keras import networks, surgery
    from transfer_keras.config import defaults
    from transfer_keras.datasets import Examples, Preprocessing
    from transfer_keras.training import (
        Recipe,
        Schedule,
        Streams,
        make_train_step,
        train_networks,
    )

    table, made = ARCHITECTURES[network], {**defaults.NETWORKS[network]}
    made.pop("preprocessing")
    made.pop("warm_up_share", None)
    recipe = Recipe(**{**made, "steps": 2 * steps, "batch_size": _BATCH.value})
    blueprint = networks.build(network, image_size=table.image_size, classes=_CLASSES[network])
    networks = {
        f"n{seed}": surgery.transplant(blueprint, 0, seed=seed, name=f"n{seed}").model
        for seed in range(_GROUP.value if contender == "group" else 1)
    }
    fused, strategy = surgery.fuse(networks), tf.distribute.get_strategy()
    cut = Preprocessing(table.image_size, images.shape[1], table.pad)
    examples = Examples(images, labels, np.arange(len(labels)), cut)
    if contender == "bare":
        ((pictures, answers),) = examples.training(batch_size=_BATCH.value, seed=0).take(1)
        step = make_train_step(fused, recipe.make_optimizer(), recipe, strategy)
        at = []
        for number in range(2 * steps):
            sums, _ = step(pictures, answers, tf.constant(False))
            if number % steps == steps - 1:
                sums.numpy()
                at.append(time.perf_counter())
        return (at[1] - at[0]) / steps

    at = []

    class Clock:
        def on_log(self, step, scores):
            at.append(time.perf_counter())

    streams = Streams(
        lambda start, _: examples.training(batch_size=_BATCH.value, seed=0, start=start),
        lambda _: examples.evaluation(batch_size=_BATCH.value).take(1),
        strategy,
    )
    schedule = Schedule(validate_every=2 * steps, log_every=steps)
    train_networks(fused, recipe, streams, schedule, monitors=[Clock()])
    return (at[1] - at[0]) / steps


def _keras(network: str, images, labels, steps: int) -> float:
    import keras
    import tensorflow as tf

    table, at = ARCHITECTURES[network], []
    side = table.image_size

    def norm(x):
        return tf.nn.local_response_normalization(x, depth_radius=2, alpha=2e-5, beta=0.75, bias=1)

    x = inputs = keras.Input((side, side, 3))
    x = keras.layers.Rescaling(1.0, offset=-128)(x)
    for unit in table.units:
        if isinstance(unit, Conv):
            x = keras.layers.Conv2D(
                unit.filters, unit.kernel, strides=unit.stride, padding=unit.padding,
                groups=unit.groups, activation="relu",
            )(x)  # fmt: skip
            x = keras.layers.MaxPooling2D(3, 2)(x) if unit.pool else x
            x = keras.layers.Lambda(norm)(x) if unit.norm else x
        else:
            x = keras.layers.Flatten()(x) if len(x.shape) > 2 else x
            last = unit.units is None
            x = keras.layers.Dense(unit.units or _CLASSES[network], None if last else "relu")(x)
            x = x if last else keras.layers.Dropout(unit.dropout)(x)
    model = keras.Model(inputs, x)
    optimizer = keras.optimizers.SGD(1e-3, momentum=0.9)
    if network == "alexnet_small":
        optimizer = keras.optimizers.Adam(1e-3)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])

    def augment(image, label):
        image = tf.pad(image, [[table.pad, table.pad], [table.pad, table.pad], [0, 0]])
        return tf.image.random_flip_left_right(tf.image.random_crop(image, (side, side, 3))), label

    pictures = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(labels)).repeat()
    pictures = pictures.map(augment, tf.data.AUTOTUNE).batch(_BATCH.value).prefetch(2)

    def note(batch, logs):
        if batch % steps == steps - 1:
            at.append(time.perf_counter())

    callback = keras.callbacks.LambdaCallback(on_train_batch_end=note)
    model.fit(pictures, steps_per_epoch=2 * steps, callbacks=[callback], verbose=0)
    return (at[1] - at[0]) / steps


if __name__ == "__main__":
    app.run(main)
