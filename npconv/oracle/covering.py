"""Covering designs: few rows in which every pair of factor values stands together."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

Factors = Mapping[str, Sequence[Any]]
Row = dict[str, Any]


def draw(count: int, *key: object) -> int:
    """Return a number below `count` that depends on `key` alone, on every machine and Python."""
    return (
        int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") % count
    )


def random_row(factors: Factors, *key: object) -> Row:
    """Draw a value of every factor."""
    return {name: values[draw(len(values), name, *key)] for name, values in factors.items()}


def pairwise(factors: Factors, *key: object, given: Iterable[Row] = ()) -> Iterator[Row]:
    """Yield rows until every pair of values of every two factors has stood in one, or is `given`.

    Each row starts from a pair that is still missing and takes, factor by factor, the value
    that adds most missing pairs (the greedy step of Cohen, Dalal, Fredman and Patton, 'The
    AETG system', 1997).
    """
    names = list(factors)
    missing = {
        (first, a, second, b)
        for first, second in itertools.combinations(range(len(names)), 2)
        for a in range(len(factors[names[first]]))
        for b in range(len(factors[names[second]]))
    }
    for row in given:
        places = [values.index(row[name]) for name, values in factors.items()]
        missing -= {
            (first, places[first], second, places[second])
            for first, second in itertools.combinations(range(len(names)), 2)
        }
    for count, (first, a, second, b) in enumerate(sorted(missing)):
        if (first, a, second, b) not in missing:
            continue
        chosen = {first: a, second: b}
        order = sorted(
            set(range(len(names))) - {first, second}, key=lambda i: draw(2**32, i, count, *key)
        )
        for factor in order:
            options = range(len(factors[names[factor]]))
            chosen[factor] = max(
                options,
                key=lambda value: (
                    sum(
                        _pair(factor, value, other, with_) in missing
                        for other, with_ in chosen.items()
                    ),
                    draw(2**32, value, factor, count, *key),
                ),
            )
        missing -= {
            _pair(f, a, g, b) for (f, a), (g, b) in itertools.combinations(chosen.items(), 2)
        }
        yield {name: factors[name][chosen[position]] for position, name in enumerate(names)}


def _pair(first: int, a: int, second: int, b: int) -> tuple[int, int, int, int]:
    return (first, a, second, b) if first < second else (second, b, first, a)
