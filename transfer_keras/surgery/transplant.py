"""Makes a new network from the lower units of a donor, the rest freshly initialised."""

import dataclasses
from typing import Literal, NamedTuple

import keras
import numpy as np

from transfer_keras.surgery import errors, freezing, fresh, graph
from transfer_keras.surgery.units import Unit, units

Mode = Literal["frozen", "fine_tune", "random"]
MODES = ("frozen", "fine_tune", "random")


@dataclasses.dataclass(frozen=True)
class Origin:
    """Where one weight of the new network comes from: "copied" or "fresh"."""

    weight: str
    shape: tuple[int, ...]
    origin: str
    trainable: bool


class Report(tuple[Origin, ...]):
    """The `Origin` of every weight, in the order of the layers. Prints as a table."""

    def __str__(self):
        width = max([len(row.weight) for row in self] + [6])
        return "\n".join(
            f"{row.weight:<{width}}  {row.origin:<6}  "
            f"{'trainable' if row.trainable else 'frozen':<9}  {row.shape}"
            for row in self
        )


class Transplanted(NamedTuple):
    """The new network, and the origin of each of its weights."""

    model: keras.Model
    report: Report


def transplant(
    donor: keras.Model,
    n: int,
    *,
    head: int | None = None,
    mode: Mode = "frozen",
    seed: int,
    name: str | None = None,
) -> Transplanted:
    """A new network whose lower n units come from the donor.

    Args:
        donor: a functional model or a built `Sequential`; it is not changed.
        n: how many units, 0 to all of them (see `units`). With 0 everything is fresh.
        head: number of outputs of the new network's last weighted layer; None: as the donor.
        mode: "frozen": the lower units are copied and not trained; "fine_tune": copied and
            trained; "random": fresh and not trained.
        seed: all that is fresh is a function of this and of each layer's place in the network;
            so are the masks of all dropout layers, the lower ones included.
        name: of the new model; None: the donor's.

    Returns:
        (model, report): an uncompiled model that shares nothing with the donor and whose
        layers have the donor's names, and the origin of each of its weights.

    Raises:
        NotACutPoint: if there are not n units.
        SharedAcrossCut: if a layer is used both below and above the cut.
        NotRebuildable: if a layer cannot be made from its config.
        ShapeMismatch: if a new head is asked for but the last unit is to be copied.
        NotFresh: if a re-initialised kernel equals the donor's.
    """
    if mode not in MODES:
        raise ValueError(f"mode must be one of {MODES}. Received: {mode!r}")
    donor = graph.functional(donor)
    parts = units(donor)
    _check_cut(donor, parts, n)
    lower = {layer.name for unit in parts[:n] for layer in unit.layers}
    changes = _new_head(parts, n, head)
    model, places = _rebuild(donor, seed=seed, name=name, changes=changes)
    for place, (old, new) in places.items():
        if old.name in lower and mode != "random":
            copy_weights(old, new)
        elif old.name not in changes:
            _check_fresh(old, new, place)
    freezing.set_trainable([new for old, new in places.values() if old.name in lower],
                           mode == "fine_tune" and n > 0)  # fmt: skip
    copied = lower if mode != "random" else frozenset()
    return Transplanted(model, _report(places, copied))


def copy_weights(old: keras.Layer, new: keras.Layer) -> None:
    """Copies what `.keras` files hold of a layer and all inside it, constants included."""
    pairs = zip(graph.flat_layers(old), graph.flat_layers(new), strict=True)
    for source, target in pairs:
        store: dict = {}
        source.save_own_variables(store)
        target.load_own_variables({k: np.asarray(v) for k, v in store.items()})


def _check_cut(donor, parts: list[Unit], n: int) -> None:
    if not 0 <= n <= len(parts):
        raise errors.NotACutPoint(
            f"n must be 0 to {len(parts)}, the units of '{donor.name}': "
            f"{', '.join(unit.name for unit in parts)}. Received: n={n}"
        )
    above = {id(layer) for unit in parts[n:] for layer in unit.layers}
    shared = [layer.name for unit in parts[:n] for layer in unit.layers if id(layer) in above]
    if shared:
        raise errors.SharedAcrossCut(
            f"{', '.join(shared)} of '{donor.name}' is used below and above the cut at n={n}, so "
            "it can be neither copied nor fresh. Cut below its first use or above its last."
        )


def _new_head(parts: list[Unit], n: int, head: int | None) -> dict[str, dict]:
    """What must change in the config of the last weighted layer: {layer name: changes}."""
    if head is None:
        return {}
    last = next(layer for layer in parts[-1].layers if layer.name == parts[-1].name)
    key = {keras.layers.Dense: "units", keras.layers.Conv2D: "filters"}.get(type(last))
    if key is None:
        raise errors.NotRebuildable(
            f"A new head needs a last weighted layer that is Dense or Conv2D. Received: "
            f"'{last.name}' ({type(last).__name__})"
        )
    if n == len(parts) and getattr(last, key) != head:
        raise errors.ShapeMismatch(
            f"head={head} differs from the {getattr(last, key)} outputs of '{last.name}', but "
            f"n={n} copies that layer too. Give a smaller n."
        )
    return {last.name: {key: head}}


def _rebuild(donor, *, seed: int, name: str | None, changes: dict[str, dict]):
    """The donor's graph with all layers made anew: (model, {place: (old layer, new)})."""
    places = {}
    place_of = {}

    def make(layer):
        place = len(places)
        with fresh.random_state("config", seed, place):
            new = fresh.remake(layer, **changes.get(layer.name, {}))
        places[place] = (layer, new)
        place_of[id(new)] = place
        return new

    def call(operation, *args, **kwargs):
        if id(operation) not in place_of:
            return operation(*args, **kwargs)
        with fresh.random_state("build", seed, place_of[id(operation)]):
            return operation(*args, **kwargs)

    model = keras.models.clone_model(donor, clone_function=make, call_function=call)
    return keras.Model(model.input, model.output, name=name or donor.name), places


def _check_fresh(old: keras.Layer, new: keras.Layer, place: int) -> None:
    for before, after in zip(old.weights, new.weights, strict=True):
        value = keras.ops.convert_to_numpy(after)
        drawn = np.unique(value).size > 1
        if drawn and np.array_equal(value, keras.ops.convert_to_numpy(before)):
            raise errors.NotFresh(
                f"'{old.name}' (place {place}) came out with the donor's own {before.name}. "
                "Expected new random values. Its initialiser keeps a seed outside its config; "
                "take the seed out, or give another initialiser."
            )


def _report(places, copied) -> Report:
    return Report(
        Origin(
            weight=f"{new.name}/{weight.path.split('/')[-1]}",
            shape=tuple(weight.shape),
            origin="copied" if old.name in copied else "fresh",
            trainable=bool(weight.trainable and new.trainable),
        )
        for old, new in places.values()
        for weight in new.weights
    )
