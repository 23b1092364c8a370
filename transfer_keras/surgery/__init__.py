"""Surgery on Keras models: cut, transplant, freeze, fuse, and prove it.

Needs Keras 3 only, on any backend; knows nothing of the rest of this project. A network is a
row of `units` (its "layers" in the sense of Yosinski et al. 2014); n of them are lower, the
others upper. `freeze`, `unfreeze` and `set_trainable` set flags in place; all else leaves the model
that it is given as it is.

Freeze the lower part of MobileNetV2 for a new task of five classes. Everything above unit 20 is
initialised anew; frozen BatchNorm runs in inference mode:

```python
donor = keras.applications.MobileNetV2(weights=None, input_shape=(64, 64, 3))
print(surgery.units(donor))
model, report = surgery.transplant(donor, 20, head=5, mode="frozen", seed=0)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(images, labels, callbacks=[surgery.FrozenGuard()], verbose=0)
print(report)
```

Give a network a new head, and keep the rest with its flags:

```python
model = surgery.swap_head(donor, 7, seed=0)
```

Open a network that holds another one, so that the inner layers are units too, or blocks by their
names:

```python
trunk = keras.applications.MobileNet(weights=None, input_shape=(64, 64, 3), include_top=False)
pooling = keras.layers.GlobalAveragePooling2D()
network = keras.Sequential([trunk, pooling, keras.layers.Dense(5, "softmax", name="head")])
opened = surgery.logits(surgery.flatten(network))
print(surgery.units(opened, blocks=surgery.block_names(opened)))
```

Train three heads on one trunk at once. Each task keeps its own copy of what is trained, and
comes out as a model that stands alone:

```python
networks = {
    task: surgery.transplant(donor, -1, head=classes, seed=0).model
    for task, classes in {"colour": 3, "shape": 5, "size": 2}.items()
}
fused = surgery.fuse(networks)
fused.compile("adam", {task: "sparse_categorical_crossentropy" for task in networks})
fused.fit(images, {task: labels % 2 for task in networks}, verbose=0)
shape = surgery.extract(fused, "shape")
```
"""

from transfer_keras.surgery.block_names import block_names
from transfer_keras.surgery.channels import with_channels
from transfer_keras.surgery.containers import check_weights_file, limited_weights, read_member
from transfer_keras.surgery.cut import lower, upper, used_on_both_sides
from transfer_keras.surgery.editing import insert, outputs, replace
from transfer_keras.surgery.errors import (
    FrozenWeightChanged,
    NotACutPoint,
    NotFresh,
    NotRebuildable,
    ShapeMismatch,
    SharedAcrossCut,
    StaleFlags,
    SurgeryError,
    TooLarge,
    UnknownLayer,
    UnmatchedLayer,
    UnreadableFile,
    reason,
)
from transfer_keras.surgery.files import check_config, load, save
from transfer_keras.surgery.flatten import flatten
from transfer_keras.surgery.freezing import assert_unchanged, set_trainable, snapshot
from transfer_keras.surgery.frozen_part import digest_function, frozen_boundary
from transfer_keras.surgery.fuse import extract, fuse, fused_units
from transfer_keras.surgery.graph import flat_layers, nodes
from transfer_keras.surgery.guard import FrozenGuard
from transfer_keras.surgery.heads import swap_head
from transfer_keras.surgery.input_shape import with_input
from transfer_keras.surgery.logits import logits
from transfer_keras.surgery.lora import merge_lora
from transfer_keras.surgery.names import with_plain_names
from transfer_keras.surgery.report import Origin, Report
from transfer_keras.surgery.selection import below
from transfer_keras.surgery.spectral_norm import moves_while_frozen
from transfer_keras.surgery.statistics import draw_like
from transfer_keras.surgery.transplant import Transplanted, transplant
from transfer_keras.surgery.unfreezing import GradualUnfreezing, freeze, unfreeze
from transfer_keras.surgery.unit_rates import layerwise_decay, unit_learning_rates
from transfer_keras.surgery.units import Unit, Units, has_kernel, units

__all__ = [
    "FrozenGuard",
    "FrozenWeightChanged",
    "GradualUnfreezing",
    "NotACutPoint",
    "NotFresh",
    "NotRebuildable",
    "Origin",
    "Report",
    "ShapeMismatch",
    "SharedAcrossCut",
    "StaleFlags",
    "SurgeryError",
    "TooLarge",
    "Transplanted",
    "Unit",
    "Units",
    "UnknownLayer",
    "UnmatchedLayer",
    "UnreadableFile",
    "assert_unchanged",
    "below",
    "block_names",
    "check_config",
    "check_weights_file",
    "digest_function",
    "draw_like",
    "extract",
    "flat_layers",
    "flatten",
    "freeze",
    "frozen_boundary",
    "fuse",
    "fused_units",
    "has_kernel",
    "insert",
    "layerwise_decay",
    "limited_weights",
    "load",
    "logits",
    "lower",
    "merge_lora",
    "moves_while_frozen",
    "nodes",
    "outputs",
    "read_member",
    "reason",
    "replace",
    "save",
    "set_trainable",
    "snapshot",
    "swap_head",
    "transplant",
    "unfreeze",
    "unit_learning_rates",
    "units",
    "upper",
    "used_on_both_sides",
    "with_channels",
    "with_input",
    "with_plain_names",
]
