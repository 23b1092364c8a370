import itertools
import re

import pytest

from transfer_keras.config import UserError, make_experiment, treatments
from transfer_keras.config.plan import plan_groups, with_bases
from transfer_keras.config.treatments import Treatment, combine_treatments, parse_treatment


@pytest.mark.parametrize(
    "name",
    ["A3B", "B3B", "B3B+", "R2B", "baseA", "baseB", "A12B+", "R1A", "A3B-linear", "S3B", "S7A+"],
)
def test_notation_round_trip(name):
    assert parse_treatment(name).name == name


def test_fields():
    assert parse_treatment("A3B+") == Treatment(target="B", donor="A", n=3, fine_tune=True)
    assert parse_treatment("baseA") == Treatment(target="A")
    linear = parse_treatment("B3A-linear")
    assert linear == Treatment(target="A", donor="B", n=3, linear=True)
    assert (linear.mode, linear.role, linear.frozen_units) == ("linear", "AnB-linear", 3)
    assert (linear.family, linear.frozen.name) == ("BnA-linear", "B3A")
    assert parse_treatment("A3B").needs == parse_treatment("baseA")
    assert parse_treatment("B3B+").needs == parse_treatment("baseB")
    assert parse_treatment("R3B").needs is None
    assert parse_treatment("A3B").base == parse_treatment("baseB")
    drawn = parse_treatment("S3A+")
    assert (drawn.needs.name, drawn.base.name, drawn.frozen.name) == ("baseB", "baseA", "S3A")
    assert (drawn.mode, drawn.role, drawn.family) == ("fine_tune", "SnB+", "SnA+")
    assert (drawn.frozen.mode, drawn.frozen.role, drawn.frozen.frozen_units) == ("frozen", "SnB", 3)


@pytest.mark.parametrize(
    "text",
    ["A3C", "C3B", "A0B", "AB", "base", "baseC", "R3B+", "a3b", "A3B++", "", "A3B+-linear",
     "R3B-linear", "S3B-linear", "A3S", "S3B-", "baseS", "base-linear", "A3B-"],
)  # fmt: skip
def test_bad_notation(text):
    with pytest.raises(ValueError, match=r"treatment|n must|no \+ here|is for frozen units"):
        parse_treatment(text)


def test_combine_is_the_whole_figure():
    names = {
        t.name
        for t in combine_treatments(range(1, 8), ["frozen", "fine_tune"], ["other", "self"], "B")
    }
    assert names == {f"{d}{n}B{p}" for d in "AB" for n in range(1, 8) for p in ("", "+")}
    assert [t.name for t in combine_treatments([2], ["random"], treatments.SOURCES, "AB")] == [
        "R2A",
        "R2B",
    ]
    drawn = combine_treatments([2], treatments.MODES, ["statistics"], "AB")
    assert [t.name for t in drawn] == ["S2A", "S2A+", "R2A", "S2B", "S2B+", "R2B"]


def test_seeds_differ_by_name_and_by_experiment():
    names = [
        f"{d}{n}{t}{p}" for d, n, t, p in itertools.product("AB", range(1, 8), "AB", ["", "+"])
    ]
    seeds = [parse_treatment(name).seed(s) for name in [*names, "baseA", "baseB"] for s in range(5)]
    assert len(set(seeds)) == len(seeds)
    # Written down, because another value would make every finished experiment unrepeatable.
    assert parse_treatment("baseA").seed(0) == 1523820717
    assert parse_treatment("baseA").seed(0, "1") not in seeds


def test_drawn_units_have_one_seed_for_all_n_and_another_one_than_random_units():
    def seed(name):
        return parse_treatment(name).random_donor_seed(0, "1")

    assert seed("S3B") == seed("S3B+") == seed("S2B") != seed("R3B")
    assert seed("S3A") != seed("S3B")


UNITS = {"network": "alexnet_small", "split": "0"}  # Of eight units.


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("B8B", "baseB itself, of which nothing is trained"),
        ("A8B", "the head of baseA"),
        ("A8B+", "the head of baseA"),
        ("S8B+", "the head of baseA"),
        ("S8A", "a network of random values"),
        ("R8B", "an untrained network"),
        ("B8B-linear", "a linear classifier on the outputs of baseB"),
    ],
)
def test_all_units_are_refused_with_what_that_would_be(name, what):
    with pytest.raises(UserError, match=f"--treatments={re.escape(name)}: .* 8 units.*{what}"):
        make_experiment([name], **UNITS)


def test_a_base_that_is_trained_on_has_all_units():
    experiment = make_experiment(["B8B+", "B7B+", "A8A+"], **UNITS)
    continued = {t.name: experiment.continues_base(t) for t in experiment.all_treatments}
    assert continued == {
        "baseA": False, "baseB": False, "A8A+": True, "B8B+": True, "B7B+": False,
    }  # fmt: skip
    with pytest.raises(UserError, match="has 8 units, so 1 to 7 can be transferred"):
        make_experiment(["B9B+"], **UNITS)
    one = treatments.parse_treatment("B8B+")
    assert experiment.units_at_transferred_rate(one) == 0
    first = make_experiment(["B8B+", "B7B+"], head_first=True, **UNITS)
    assert [t.name for t in first.all_treatments] == ["baseB", "B7B", "B8B+", "B7B+"]


def test_fresh_weights_depend_on_the_split():
    """And not where version 0.1.0 began, nor with a donor, where there is one split."""
    splits = ("0", "1", "natural", "whole")
    made = [make_experiment(["baseA"], dataset="cifar10", split=split) for split in splits]
    base = parse_treatment("baseA")
    assert len({base.seed(*each.fresh_weights) for each in made}) == 4
    assert {each.identity["fresh_weights_by"] for each in made} == {"seed and split"}
    older = [each.replace(seeds_by_split=False) for each in made]
    assert {base.seed(*each.fresh_weights) for each in older} == {base.seed(0)}
    assert not any("fresh_weights_by" in each.identity for each in older)


def test_plan_adds_bases_first():
    def names(*treatments, **more):
        return [t.name for t in with_bases(map(parse_treatment, treatments), **more)]

    assert names("A3B", "B2B") == ["baseA", "baseB", "A3B", "B2B"]
    assert names("B1B") == ["baseB", "B1B"]
    assert names("R1A") == ["baseA", "R1A"]
    assert names("baseA") == ["baseA"]
    assert names("A3B", "A3B") == ["baseA", "baseB", "A3B"]
    assert names("A3B", given=["baseA"]) == ["baseB", "A3B"]
    assert names("A3B", "R1B", given=["baseA"], compare=False) == ["A3B", "R1B"]
    assert names("A3B", "B2B", given=["baseA"], compare=False) == ["baseB", "A3B", "B2B"]
    assert names("A3B", "baseB", given=["baseA"], compare=False) == ["baseB", "A3B"]


def test_plan_groups_by_target_and_what_fits():
    treatments = combine_treatments([1, 2, 3], ["frozen"], ["other"], ["A", "B"])
    repeated = with_bases([treatments[3], *treatments, treatments[0]])
    groups = plan_groups(repeated, lambda group: len(group) <= 2)
    assert [g.names for g in groups[2:]] == [("B1A", "B2A"), ("B3A",), ("A1B", "A2B"), ("A3B",)]
    assert [g.target for g in groups[2:]] == ["A", "A", "B", "B"]
    assert all(len(g.names) == 1 for g in plan_groups(repeated, lambda group: False))
    groups = plan_groups(repeated, lambda group: True)
    assert [str(g) for g in groups] == ["baseA", "baseB", "B1A, B2A, B3A", "A1B, A2B, A3B"]
