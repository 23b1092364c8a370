import itertools

import pytest

from transfer_keras import treatments
from transfer_keras.plan import plan, with_bases
from transfer_keras.treatments import Treatment, combine, parse


@pytest.mark.parametrize("name", ["A3B", "B3B", "B3B+", "R2B", "baseA", "baseB", "A12B+", "R1A"])
def test_notation_round_trip(name):
    assert parse(name).name == name


def test_fields():
    assert parse("A3B+") == Treatment(target="B", donor="A", n=3, fine_tune=True)
    assert parse("baseA") == Treatment(target="A")
    assert parse("A3B").needs == parse("baseA")
    assert parse("B3B+").needs == parse("baseB")
    assert parse("R3B").needs is None
    assert parse("A3B").base == parse("baseB")


@pytest.mark.parametrize(
    "text", ["A3C", "C3B", "A0B", "AB", "base", "baseC", "R3B+", "a3b", "A3B++", ""]
)
def test_bad_notation(text):
    with pytest.raises(ValueError, match=r"treatment|n must|no \+ here"):
        parse(text)


def test_combine_is_the_whole_figure():
    names = {t.name for t in combine(range(1, 8), ["frozen", "fine_tune"], ["other", "self"], "B")}
    assert names == {f"{d}{n}B{p}" for d in "AB" for n in range(1, 8) for p in ("", "+")}
    assert [t.name for t in combine([2], ["random"], treatments.SOURCES, "AB")] == ["R2A", "R2B"]


def test_seeds_differ_by_name_and_by_experiment():
    names = [
        f"{d}{n}{t}{p}" for d, n, t, p in itertools.product("AB", range(1, 8), "AB", ["", "+"])
    ]
    seeds = [parse(name).seed(s) for name in [*names, "baseA", "baseB"] for s in range(5)]
    assert len(set(seeds)) == len(seeds)
    # Written down, because another value would make every finished experiment unrepeatable.
    assert parse("baseA").seed(0) == 1523820717


def alone(_):
    return False


def test_plan_adds_bases_first():
    groups = plan([parse("A3B"), parse("B2B")], alone)
    assert [g.names for g in groups] == [("baseA",), ("baseB",), ("A3B",), ("B2B",)]
    assert [g.names for g in plan([parse("B1B")], alone)] == [("baseB",), ("B1B",)]
    assert [g.names for g in plan([parse("R1A")], alone)] == [("baseA",), ("R1A",)]
    assert [g.names for g in plan([parse("baseA")], alone)] == [("baseA",)]
    assert [t.name for t in with_bases([parse("A3B"), parse("A3B")])] == ["baseA", "baseB", "A3B"]


def test_plan_groups_by_target_and_what_fits():
    wanted = combine([1, 2, 3], ["frozen"], ["other"], ["A", "B"])
    asked = [wanted[3], *wanted, wanted[0]]
    groups = plan(asked, lambda group: len(group) <= 2)
    assert [g.names for g in groups[2:]] == [("B1A", "B2A"), ("B3A",), ("A1B", "A2B"), ("A3B",)]
    assert [g.target for g in groups[2:]] == ["A", "A", "B", "B"]
    groups = plan(asked, lambda group: True)
    assert [str(g) for g in groups] == ["baseA", "baseB", "B1A, B2A, B3A", "A1B, A2B, A3B"]
