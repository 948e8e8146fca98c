"""Covering designs: complete, few, the same everywhere."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from npconv.oracle.covering import covering, draw, random_row

FACTORS: list[dict[str, Sequence[Any]]] = [
    {"a": (1, 2), "b": ("x", "y", "z"), "c": (None, True)},
    {"a": (1, 2, 3), "b": "pqrs", "c": (True, False), "d": (0.0, 0.5, 1.0)},
    {str(i): tuple(range(2 + i % 4)) for i in range(7)},
    {"one": (0,), "other": (1,), "third": (2, 3)},
]


def combinations(rows: Sequence[Mapping[str, Any]], strength: int) -> set[tuple[Any, ...]]:
    """All combinations of so many factors' values that stand together in a row."""
    return {
        tuple((name, row[name]) for name in names)
        for row in rows
        for names in itertools.combinations(row, strength)
    }


def wanted(factors: Mapping[str, Sequence[Any]], strength: int) -> set[tuple[Any, ...]]:
    """All combinations that there are."""
    return {
        tuple(zip(names, values, strict=True))
        for names in itertools.combinations(factors, strength)
        for values in itertools.product(*(factors[name] for name in names))
    }


@pytest.mark.parametrize("strength", [2, 3])
@pytest.mark.parametrize("rows", [0, 7, 200])
@pytest.mark.parametrize("factors", FACTORS)
def test_design_covers_every_combination(
    factors: Mapping[str, Sequence[Any]], rows: int, strength: int
) -> None:
    """Any two, or three, factors' values stand together in a row, whatever rows came first."""
    found = covering(factors, strength, "key", rows=rows)
    assert combinations(found, strength) == wanted(factors, strength)
    assert all(list(row) == list(factors) for row in found)
    assert len(found) >= rows


def test_design_of_one_factor_has_its_values() -> None:
    """At strength 1 each value stands in a row."""
    assert {row["only"] for row in covering({"only": (4, 5, 6)}, 1)} == {4, 5, 6}


def test_design_needs_few_rows() -> None:
    """The rows are fewer than twice what the largest factors make necessary."""
    pairs = {"a": range(18), "b": range(18), "c": range(6), "d": range(6), "e": range(3)}
    assert 18 * 18 <= len(covering(pairs, 2)) < 1.5 * 18 * 18
    triples = {name: range(4) for name in "abcdef"}
    assert 4**3 <= len(covering(triples, 3)) < 3 * 4**3


def test_design_adds_what_given_rows_lack() -> None:
    """With the rows that are given all is covered; with all of them, nothing is left."""
    factors = FACTORS[1]
    given = covering(factors | {"d": (0.0,)}, 3, 3)
    rest = covering(factors, 3, 4, given=given)
    assert combinations([*given, *rest], 3) == wanted(factors, 3)
    assert 0 < len(rest) < len(covering(factors, 3, 4))
    assert covering(factors, 3, 6, given=[*given, *rest]) == []


def test_given_rows_outside_cover_nothing() -> None:
    """A given row with a value that is not among a factor's covers no pair of the others."""
    factors = FACTORS[0]
    given = [{"a": 9, "b": b, "c": c} for b, c in itertools.product("xyz", (None, True))]
    assert covering(factors, 2, given=given) == covering(factors, 2)


@pytest.mark.parametrize(("strength", "rows"), [(2, 0), (3, 50)])
def test_rows_are_legal(strength: int, rows: int) -> None:
    """Every row keeps a rule, and every combination is there: here all can keep it."""
    factors = FACTORS[2]

    def legal(row: Mapping[str, Any]) -> bool:
        return sum(row.values()) % 3 != 0

    found = covering(factors, strength, "legal", rows=rows, legal=legal)
    assert all(map(legal, found))
    assert combinations(found, strength) == wanted(factors, strength)


def test_combination_without_a_legal_row_is_an_error() -> None:
    """Where nothing legal has a combination, ValueError names it."""
    factors = {"a": (1, 2), "b": (1, 3), "c": (1, 4)}
    with pytest.raises(ValueError, match=r"no legal row has \{'a': 1, 'b': 1\}"):
        covering(factors, 2, legal=lambda row: row["a"] != row["b"])


def test_values_drawn_often_come_more_often() -> None:
    """Where values are drawn with repeats, random rows have them in that proportion."""
    factors = {"a": ("rare", "often"), "b": range(3)}
    found = covering(factors, 2, rows=4000, often={"a": ("often",) * 3 + ("rare",)})
    assert 2800 < sum(row["a"] == "often" for row in found) < 3200
    assert all(1200 < sum(row["b"] == value for row in found) < 1470 for value in range(3))


def test_designs_follow_from_their_key() -> None:
    """The same key gives the same rows, on every machine and Python; another one others."""
    first = covering(FACTORS[1], 3, "key", rows=3)
    assert first == covering(FACTORS[1], 3, "key", rows=3)
    assert first != covering(FACTORS[1], 3, "other", rows=3)
    assert [tuple(first[place].values()) for place in (0, 1, -1)] == [
        (1, "s", True, 0.0),
        (1, "s", False, 1.0),
        (2, "r", False, 1.0),
    ]


def test_draws_never_change() -> None:
    """A draw depends on its key alone: these are the numbers on every machine and Python."""
    assert [draw(1000, "wide", number, "h", "k") for number in range(5)] == [
        267,
        735,
        652,
        416,
        141,
    ]
    assert random_row(FACTORS[1], "key", 3) == random_row(FACTORS[1], "key", 3)


def test_draws_reach_every_value_about_equally() -> None:
    """Ten thousand draws of ten values are near a thousand of each."""
    drawn = [draw(10, "even", number) for number in range(10_000)]
    assert all(850 < drawn.count(value) < 1150 for value in range(10))
