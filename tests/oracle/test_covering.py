"""Covering designs: every pair stands in a row, no row is idle, and the draws never change."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from npconv.oracle.covering import draw, pairwise, random_row

FACTORS = [
    {"a": (1, 2), "b": ("x", "y", "z")},
    {"a": (1, 2, 3), "b": "pqrs", "c": (True, False), "d": (0.0, 0.5, 1.0)},
    {str(i): tuple(range(2 + i % 5)) for i in range(9)},
    {"only": (4, 5, 6)},
    {"one": (0,), "other": (1,)},
]


def pairs(rows: Sequence[Mapping[str, Any]]) -> set[tuple[str, Any, str, Any]]:
    """All pairs of values that stand together in a row."""
    return {(a, row[a], b, row[b]) for row in rows for a, b in itertools.combinations(row, 2)}


@pytest.mark.parametrize("factors", FACTORS)
def test_pairwise_covers_every_pair(factors: Mapping[str, Sequence[Any]]) -> None:
    """Each value of each factor stands with each value of each other factor."""
    wanted = {
        (a, x, b, y)
        for a, b in itertools.combinations(factors, 2)
        for x in factors[a]
        for y in factors[b]
    }
    rows = list(pairwise(factors, "key"))
    assert pairs(rows) == wanted
    assert all(list(row) == list(factors) for row in rows)


def test_pairwise_needs_few_rows() -> None:
    """The rows are fewer than half as many again as the largest two factors make necessary."""
    factors = {"a": range(18), "b": range(18), "c": range(6), "d": range(6), "e": range(3)}
    assert 18 * 18 <= len(list(pairwise(factors))) < 1.5 * 18 * 18


def test_pairwise_yields_no_idle_row() -> None:
    """Each row has a pair that no row before it has."""
    rows = list(pairwise(FACTORS[1], 1))
    for count in range(1, len(rows)):
        assert pairs(rows[: count + 1]) > pairs(rows[:count])


def test_pairwise_yields_what_given_rows_lack() -> None:
    """With the rows that are given every pair is covered; with all of them, nothing is left."""
    given = list(pairwise(FACTORS[1] | {"d": (0.0,)}, 3))
    rest = list(pairwise(FACTORS[1], 4, given=given))
    assert pairs([*given, *rest]) == pairs(list(pairwise(FACTORS[1], 5)))
    assert 0 < len(rest) < len(list(pairwise(FACTORS[1], 4)))
    assert list(pairwise(FACTORS[1], 6, given=[*given, *rest])) == []


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
