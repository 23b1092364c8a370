"""What analyses of networks say, and which networks are analysed: no network is needed for it."""

import json
import math

import msgspec
import numpy as np
import pytest
from support.studies import write_experiment, write_study

from transfer_keras.config import UserError, choices, parse_treatment
from transfer_keras.results import Workdir, analyses, read_study
from transfer_keras.results.analyses import words
from transfer_keras.results.page import write_report

MARGIN = 0.02


def line(top1, first="A3B+", second="A5B+", shared=3, images=10_000, **changes):
    fields = {
        "sources": {}, "target": "B", "test_images": images, "first": first, "second": second,
        "shared_units": shared, "top1": top1,
        "positions": tuple(np.linspace(0, 1, len(top1)).tolist()),
        "loss": (None,) * len(top1), "chance": 0.1, "tested": (top1[0], top1[-1]),
    }  # fmt: skip
    return analyses.Interpolation(**{**fields, **changes})


def put_back(*resets, top1=0.8, treatment="A3B+", chance=0.1):
    return analyses.Reinitialisation(
        sources={}, target="B", test_images=400, treatment=treatment, top1=top1, chance=chance,
        tested=top1,
        resets=tuple(
            analyses.Reset(unit=f"unit{k}", distance=d, initial=initial, fresh=0.1)
            for k, (d, initial) in enumerate(resets, 1)
        ),
    )  # fmt: skip


def test_the_kinds_are_those_of_the_flag():
    assert sorted(analyses.KINDS) == sorted(choices.ANALYSES)


def test_a_barrier_is_the_largest_drop_below_the_line():
    record = line((0.8, 0.6, 0.7, 0.3, 0.6))
    between = (0.8, 0.75, 0.7, 0.65, 0.6)
    below = [above - top1 for above, top1 in zip(between, record.top1, strict=True)]
    assert record.barrier == pytest.approx(max(below)) == pytest.approx(0.35)
    assert record.barrier_share == pytest.approx(0.35 / (0.65 - 0.1))
    assert line((0.5, 0.7, 0.9)).barrier == pytest.approx(0)
    assert line((0.1, 0.1)).barrier_share is None


def test_a_barrier_counts_beyond_the_margin_and_chance():
    assert words.has_barrier(line((0.8, 0.77, 0.8)), MARGIN)
    assert not words.has_barrier(line((0.8, 0.785, 0.8)), MARGIN)
    assert not words.has_barrier(line((0.8, 0.77, 0.8), images=100), MARGIN)
    rng = np.random.default_rng(0)  # Two accuracies at one half differ by more in 1 of 20 draws.
    draws = rng.binomial(400, 0.5, (2, 20_000)) / 400
    bound = words.chance_bound(line((0.5, 0.5), images=400))
    assert np.mean(abs(draws[0] - draws[1]) > bound) == pytest.approx(0.05, abs=0.01)


def test_what_is_said_of_lines():
    flat, deep = line((0.8, 0.795, 0.8)), line((0.8, 0.3, 0.7), "baseB", "A3B+", 0)
    assert words.say_interpolation([flat, deep], MARGIN) == [
        "Of 1 pair of which some lower units began equal, 0 have a barrier: top-1 "
        "falls by 0.5 points below the line between the ends, most between A3B+ and A5B+ (1 % of "
        "what lies above chance there).",
        "Of 1 pair of which nothing began equal, 1 has a barrier: top-1 falls by 45 "
        "points below the line between the ends, most between baseB and A3B+ (69 % of what lies "
        "above chance there).",
        "The median barrier is 0.5 points where some units began equal and 45 points where nothing "
        "did: the direction that Neyshabur et al. (2020) found, who saw no barrier where all units "
        "but the head began equal.",
    ]
    against = words.say_interpolation([line((0.8, 0.3, 0.8)), line((0.8, 0.8), shared=0)], MARGIN)
    assert "not the direction that" in against[-1]
    assert words.differing_ends([flat]) == []
    assert (
        "Here A3B+ did not give" in words.differing_ends([line((0.8, 0.8), tested=(0.7, 0.8))])[0]
    )


def test_robust_and_critical_units():
    record = put_back((0, 0.8), (0.3, 0.79), (0.3, 0.85), (0.4, 0.6), (0.5, 0.45), (0.5, 0.1))
    kinds = [words.robustness(reset, record, MARGIN) for reset in record.resets]
    assert kinds == ["not trained", "robust", "robust", "between", "critical", "critical"]
    assert words.say_reinitialisation([record], MARGIN) == [
        "A3B+ (80.0 %): unit2, unit3 are robust; unit4 is between; unit5, unit6 are critical; "
        "unit1 is not trained."
    ]
    # Where there is little to lose, all of it may be within the margin.
    low = put_back((0.3, 0.105), top1=0.12)
    assert words.robustness(low.resets[0], low, MARGIN) == "critical"
    assert words.say_reinitialisation([low], MARGIN)[-1] == (
        "A3B+ is less than 10 points above chance: there, single units say little."
    )


def mcnemar(won, lost):
    """Sums the probabilities of all outcomes that are no likelier, in whole numbers."""
    ways = [math.comb(won + lost, k) for k in range(won + lost + 1)]
    return sum(x for x in ways if x <= ways[won]) / 2 ** (won + lost)


def test_classes_against_a_count_by_hand():
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 3], [60, 40, 50])  # Class 2 has no pictures.
    base = np.where(rng.random(150) < 0.6, label, (label + 1) % 4)
    chance = np.choose(label, [0.9, 0.6, 0.0, 0.3])
    predicted = np.where(rng.random(150) < chance, label, (label + 1) % 4)
    found = analyses.compare_by_class(label, predicted, base, list("abcd"))
    assert [one.difference for one in found] == sorted(one.difference for one in found)
    assert sorted(one.name for one in found) == ["a", "b", "d"]
    raw = {}
    for one in found:
        here = label == "abcd".index(one.name)
        right, base_right = (x[here] == label[here] for x in (predicted, base))
        assert (one.images, one.top1, one.base) == (here.sum(), right.mean(), base_right.mean())
        assert one.low < one.difference < one.high
        raw[one.name] = mcnemar(int((right & ~base_right).sum()), int((~right & base_right).sum()))
    order = sorted(raw, key=raw.get)
    holm, highest = {}, 0.0
    for rank, name in enumerate(order):
        highest = max(highest, min(1.0, (3 - rank) * raw[name]))
        holm[name] = highest
    assert {one.name: one.p_value for one in found} == pytest.approx(holm)
    assert min(holm.values()) < 0.05 < max(holm.values())


def pair(first, second, **more):
    return analyses.Pair(parse_treatment(first), parse_treatment(second), **more)


@pytest.mark.parametrize(
    ("first", "second", "more", "shared"),
    [
        ("A3B+", "A5B+", {}, 3), ("B5B+", "B3B+", {}, 3), ("A3B+", "B5B+", {}, 0),
        ("baseB", "B3B+", {}, 3), ("baseB", "A3B+", {}, 0), ("R3B", "R5B", {}, 3),
        ("A3B+", "A3B+", {"folder": "../b"}, 0), ("baseB", "baseB", {"folder": "../b"}, 0),
        ("A3B+", "A3B+", {"folder": "../b", "given_donor": True}, 3),
        ("B3B+", "B3B+", {"folder": "../b", "given_donor": True}, 0),
    ],
)  # fmt: skip
def test_units_that_began_equal(first, second, more, shared):
    assert pair(first, second, **more).shared_units == shared


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("study")
    write_study(folder)
    return folder


def test_a_few_networks_are_selected(folder):
    study = read_study(folder)
    ((kind, workdir),) = analyses.select_workdirs(study).items()
    assert (str(kind), workdir.path.name) == ("random", "split0-seed0")
    chosen = analyses.select_networks(study, workdir)
    assert [t.name for t in chosen.networks] == [
        "baseB", "baseA", "A2B", "A3B", "B2B", "B3B", "A2B+", "A3B+", "B2B+", "B3B+",
    ]  # fmt: skip
    assert [p.names for p in chosen.pairs] == [
        ("B1B+", "B2B+"), ("B2B+", "B3B+"), ("A1B+", "A2B+"), ("A2B+", "A3B+"), ("baseB", "B2B+"),
        ("baseB", "A2B+"), ("B2B+", "A2B+"), ("baseB", "split0-seed1/baseB"),
    ]  # fmt: skip
    assert [t.name for t in chosen.probed] == ["baseB", "baseA", "A2B", "A2B+"]
    assert chosen.done == 26
    assert "of 26 networks; 8 pairs of them; probes of 4" in chosen.description


def test_named_networks_are_selected(folder):
    study = read_study(folder)
    workdir = next(iter(analyses.select_workdirs(study).values()))
    names = [parse_treatment(name) for name in ("A3B", "B3B", "baseA")]
    chosen = analyses.select_networks(study, workdir, names)
    assert [t.name for t in chosen.networks] == ["baseA", "A3B", "B3B"]
    assert [p.names for p in chosen.pairs] == [("A3B", "B3B")]
    assert chosen.probed == chosen.networks
    with pytest.raises(UserError, match=r"--analyses_networks=A7B: .* has no network A7B that is"):
        analyses.select_networks(study, workdir, [parse_treatment("A7B")])
    many = [parse_treatment(f"{d}{n}B{end}") for d in "AB" for n in (1, 2, 3) for end in ("", "+")]
    with pytest.raises(UserError, match=r"are 12\. Give at most 10"):
        analyses.select_networks(study, workdir, many)


def test_a_given_donor_is_the_same_for_all_seeds(tmp_path):
    for seed, names in ((0, ("A1B+", "A2B+", "A3B+")), (1, ("A1B+", "A2B+"))):
        write_experiment(
            tmp_path / f"seed{seed}", split="donor", seed=seed, settings={"donor": "a.keras"},
            levels=dict.fromkeys(("baseB", *names), 0.5),
        )  # fmt: skip
    chosen = analyses.select_networks(read_study(tmp_path), Workdir(tmp_path / "seed0"))
    across = [(p.names, p.shared_units) for p in chosen.pairs if p.folder]
    assert across == [(("baseB", "seed1/baseB"), 0), (("A2B+", "seed1/A2B+"), 2)]


def test_what_did_not_learn_is_left_out(tmp_path):
    names = ("baseA", "baseB", "A2B+", "A3B+")
    write_experiment(
        tmp_path / "run", split="0", seed=0, levels=dict.fromkeys(names, 0.5),
        outcomes={"A2B+": choices.DIVERGED},
    )  # fmt: skip
    study = read_study(tmp_path)
    chosen = analyses.select_networks(study, Workdir(tmp_path / "run"))
    assert [t.name for t in chosen.networks] == ["baseB", "baseA", "A3B+"]
    write_experiment(
        tmp_path / "none" / "run", split="0", seed=0, levels=dict.fromkeys(names, 0.5),
        outcomes=dict.fromkeys(names, choices.AT_CHANCE),
    )  # fmt: skip
    nothing = read_study(tmp_path / "none")
    chosen = analyses.select_networks(nothing, Workdir(tmp_path / "none" / "run"))
    assert (chosen.networks, chosen.pairs, chosen.probed) == ((), (), ())


@pytest.fixture
def workdir(tmp_path):
    levels = {"baseA": 0.6, "baseB": 0.6, "A3B": 0.4, "A3B+": 0.7}
    write_experiment(tmp_path / "run", split="0", seed=0, levels=levels)
    return Workdir(tmp_path / "run")


def keep(workdir):
    """Writes a record of each kind, of files as they are."""
    store = analyses.Store(workdir, print)
    analyses.compare_classes(analyses.select_networks(read_study(workdir.path), workdir), print)
    sources = {"sources": store.digests(["A3B+/network.keras"])}
    top1 = {"conv1": 0.5, "conv2": 0.25, "fc8": None}
    records = [
        line((0.8, 0.3, 0.7), "baseB", "A3B+", 0, **sources),
        msgspec.structs.replace(put_back((0, 0.8), (0.3, 0.1)), **sources),
        analyses.Probes(
            **sources, target="B", test_images=400, treatment="A3B+",
            tasks={"A": top1, "B": top1}, images={"A": 400, "B": 400},
        ),
    ]  # fmt: skip
    for record in records:
        store.write(record)
    return records


def test_records_are_read_as_they_were_written(workdir):
    for record in keep(workdir):
        fresh = analyses.Store(workdir, print)
        assert fresh.find(type(record), record.names) == record
        assert fresh.kept(type(record)) == [record]
    kept = analyses.Store(workdir, print).kept(analyses.ClassComparison)
    assert [record.treatment for record in kept] == ["A3B+", "A3B"]
    (one,) = kept[0].classes
    label, predicted = workdir.predictions("A3B+")
    assert one.top1 == np.mean(label == predicted)


def test_records_of_changed_networks_are_not_shown(workdir):
    keep(workdir)
    workdir.network_path("A3B+").write_bytes(b"another")
    store = analyses.Store(workdir, print)
    assert store.kept(analyses.Interpolation) == store.kept(analyses.Probes) == []
    assert len(store.kept(analyses.ClassComparison)) == 2  # They are of predictions.
    workdir.network_path("A3B+").unlink()
    assert analyses.Store(workdir, print).kept(analyses.Reinitialisation) == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: "{", lambda text: text.replace("0.8", "8.0"),
        lambda text: text.replace('"A3B+"', '"A1B+"'), lambda text: "\x00" * 40,
        lambda text: json.dumps(json.loads(text) | {"sources": 7}),
    ],
)  # fmt: skip
def test_damaged_records_are_set_aside_and_told(workdir, tmp_path, damage):
    keep(workdir)
    path = workdir / "analyses" / "reinitialisation-A3B+.json"
    path.write_text(damage(path.read_text()))
    text = write_report(workdir.path, tmp_path / "out")
    told = text.splitlines()[0]
    assert told.startswith(str(path)), told
    assert told.endswith(
        "It was renamed to reinitialisation-A3B+.json.damaged, and is left out; "
        "--analyses=reinitialisation makes it again."
    )
    assert not path.exists()
    assert "Each unit put back" not in (tmp_path / "out" / "report.html").read_text()


def test_what_lies_in_the_place_of_a_record_or_of_the_folder(workdir):
    (workdir / "analyses").write_text("")
    with pytest.raises(UserError, match="is no folder, and one is to be made"):
        analyses.Store(workdir, print).check_place()
    (workdir / "analyses").unlink()
    (workdir / "analyses" / "probes-A3B+.json").mkdir(parents=True)
    with pytest.raises(UserError, match=r"probes-A3B\+.json: is a folder.*Move it away"):
        analyses.Store(workdir, print).kept(analyses.Probes)


def test_the_page_shows_what_is_kept(workdir, tmp_path):
    write_report(workdir.path, tmp_path / "before")
    assert "What explains" not in (tmp_path / "before" / "report.html").read_text()
    keep(workdir)
    write_report(workdir.path, tmp_path / "after")
    page = (tmp_path / "after" / "report.html").read_text()
    for heading in (
        "What explains the gaps: run", "On the straight line between two networks",
        "Each unit put back", "By class, against the base", "What each unit gives away",
    ):  # fmt: skip
        assert heading in page
    assert "most between baseB and A3B+ (69 % of what lies above chance there)" in page
    assert "unit2 is critical; unit1 is not trained." in page
    for kind in choices.ANALYSES:
        assert (tmp_path / "after" / f"{kind}_run.png").read_bytes().startswith(b"\x89PNG")
    write_report(workdir.path, tmp_path / "again")
    for path in (tmp_path / "after").iterdir():  # The same bytes each time.
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
