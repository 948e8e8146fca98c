"""Covering designs: few rows in which every few factors' values stand together."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

Factors = Mapping[str, Sequence[Any]]
Row = dict[str, Any]
Array = np.ndarray[Any, np.dtype[Any]]

#: Rows that combinations are packed into at a time, by strength: fewer make fewer rows, slower.
_OPEN = {2: 8, 3: 2000}
#: How often the free values of a row are drawn again before its fixed ones are taken for illegal.
_TRIES = 50


def draw(count: int, *key: object) -> int:
    """Return a number below `count` that depends on `key` alone, on every machine and Python."""
    return (
        int.from_bytes(hashlib.blake2b(repr(key).encode(), digest_size=8).digest(), "big") % count
    )


def random_row(factors: Factors, *key: object) -> Row:
    """Draw a value of every factor."""
    return {name: values[draw(len(values), name, *key)] for name, values in factors.items()}


def covering(
    factors: Factors,
    strength: int,
    *key: object,
    given: Iterable[Row] = (),
    rows: int = 0,
    often: Mapping[str, Sequence[Any]] | None = None,
    legal: Callable[[Row], bool] | None = None,
) -> list[Row]:
    """Return rows until any `strength` factors' values have stood together in one, or in `given`.

    First come `rows` random ones, less those that are not legal. Combinations that are still
    missing are then packed, each into the first open row that it agrees with; what stays free is
    drawn. `often` lists, for a factor, the values to draw from, with repeats. Raises ValueError
    where no legal row is found for a combination.
    """
    design = _Design(factors, often or {}, key, legal)
    found = [row for row in map(design.row, design.draws(rows)) if legal is None or legal(row)]
    missing = design.missing([*given, *found], strength)
    while missing:
        missing, packed = _packed(missing, _OPEN.get(strength, 1))
        for bits, parts in packed:
            row = design.completed(bits)
            # Where the combinations make no legal row together, each has a row of its own.
            rows_made = [row] if row is not None else [design.completed_alone(p) for p in parts]
            found += rows_made
            made = [design.bits(row) for row in rows_made]
            missing = [one for one in missing if all(one[0] & ~bits for bits in made)]
    return found


class _Design:
    """The factors of a design, its draws, and the bits that stand for sets of values.

    A row, or a part of one, is an int: each value of each factor has a bit of its own.
    """

    def __init__(
        self,
        factors: Factors,
        often: Factors,
        key: Sequence[object],
        legal: Callable[[Row], bool] | None,
    ) -> None:
        self._factors = factors
        self._key = key
        self._legal = legal
        self._places = [
            {value: place for place, value in enumerate(values)} for values in factors.values()
        ]
        self._sizes = [len(values) for values in factors.values()]
        self._starts = list(itertools.accumulate(self._sizes, initial=0))[:-1]
        self._pools = [
            np.array([places[value] for value in often.get(name, factors[name])])
            for name, places in zip(factors, self._places, strict=True)
        ]
        self._drawn = 0
        self._waiting: list[list[int]] = []

    def draws(self, count: int) -> list[list[int]]:
        """Draw so many rows, as places of values: by SHAKE-128, which no version changes."""
        self._drawn += 1
        raw = self._stream(count * len(self._sizes), "rows", self._drawn)
        raw = raw.reshape(count, len(self._sizes))
        columns = [pool[raw[:, i] % len(pool)] for i, pool in enumerate(self._pools)]
        return [list(row) for row in zip(*(c.tolist() for c in columns), strict=True)]

    def row(self, places: Sequence[int]) -> Row:
        """Return the row of these places."""
        return {
            name: values[place]
            for (name, values), place in zip(self._factors.items(), places, strict=True)
        }

    def missing(self, rows: Sequence[Row], strength: int) -> list[tuple[int, int]]:
        """Return the combinations that no row has: their bits, and all bits of their factors."""
        places = [
            [
                where.get(row[name], -1)
                for name, where in zip(self._factors, self._places, strict=True)
            ]
            for row in rows
        ]
        # A row with a value that is none of a factor's lies outside: it covers nothing.
        inside = [row for row in places if min(row) >= 0]
        columns = np.array(inside, np.int64).reshape(-1, len(self._sizes)).T.copy()
        found = []
        for chosen in itertools.combinations(range(len(columns)), strength):
            codes = np.zeros(columns.shape[1], np.int64)
            for i in chosen:
                codes = codes * self._sizes[i] + columns[i]
            seen = np.zeros([self._sizes[i] for i in chosen], bool)
            seen.reshape(-1)[codes] = True
            mask = sum(((1 << self._sizes[i]) - 1) << self._starts[i] for i in chosen)
            starts = [self._starts[i] for i in chosen]
            found += [
                (
                    sum(1 << (start + place) for start, place in zip(starts, places, strict=True)),
                    mask,
                )
                for places in np.argwhere(~seen).tolist()
            ]
        order = np.argsort(self._stream(len(found), "order"), kind="stable")
        return [found[place] for place in order.tolist()]

    def bits(self, row: Row) -> int:
        """Return the bits of a row's values."""
        return sum(
            1 << (start + places[value])
            for start, places, value in zip(self._starts, self._places, row.values(), strict=True)
        )

    def completed(self, bits: int) -> Row | None:
        """Return a legal row with these values, the others drawn; None where none is found."""
        fixed = [
            ((bits >> start) & ((1 << size) - 1)).bit_length() - 1
            for start, size in zip(self._starts, self._sizes, strict=True)
        ]
        for _ in range(_TRIES):
            self._waiting = self._waiting or self.draws(256)
            drawn = self._waiting.pop()
            row = self.row([f if f >= 0 else d for f, d in zip(fixed, drawn, strict=True)])
            if self._legal is None or self._legal(row):
                return row
        return None

    def completed_alone(self, bits: int) -> Row:
        """Do so for one combination, of which a legal row must exist."""
        row = self.completed(bits)
        if row is None:
            held = {
                name: values[place]
                for (name, values), start in zip(self._factors.items(), self._starts, strict=True)
                for place in range(len(values))
                if bits >> (start + place) & 1
            }
            raise ValueError(f"no legal row has {held}")
        return row

    def _stream(self, count: int, *what: object) -> Array:
        text = repr((*self._key, *what))
        return np.frombuffer(hashlib.shake_128(text.encode()).digest(4 * count), "<u4")


def _packed(
    combinations: Iterable[tuple[int, int]], most: int
) -> tuple[list[tuple[int, int]], list[tuple[int, list[int]]]]:
    """Pack combinations into rows, `most` at a time: what fits into none, and the rows.

    A row is its bits, and those of each combination in it.
    """
    rows: list[int] = []
    parts: list[list[int]] = []
    others = []
    for bits, mask in combinations:
        for place, row in enumerate(rows):
            # Every value that the row has of these factors is the combination's.
            if not row & mask & ~bits:
                rows[place] = row | bits
                parts[place].append(bits)
                break
        else:
            if len(rows) < most:
                rows.append(bits)
                parts.append([bits])
            else:
                others.append((bits, mask))
    return others, list(zip(rows, parts, strict=True))
