"""Which parameters tell failing cases from the others, and what share of each value fails."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.conditions import NAMES, Value, features

Array = np.ndarray[Any, np.dtype[Any]]
Range = tuple[int, int]

#: Cases that are looked at, at the most, of those that fail and of the others.
SAMPLE = 6_000
#: What a user writes, or reads off a case's id at once: of two parameters that say much the same,
#: these are shown. What follows from several of them counts for so much less.
PLAIN = (
    "batch", "unbatched", "in_channels", "out_channels", "groups", "kernel_h", "kernel_w",
    "stride_h", "stride_w", "dilation_h", "dilation_w", "padding_form", "padding_top",
    "padding_left", "bias", "mask", "dtype", "layout", "data", "channels_per_group",
    "remainder_h", "remainder_w", "depthwise",
)  # fmt: skip
DERIVED = 0.75
#: Parameters that are shown, and values of each.
LEAST, SHOWN, VALUES, WORDS = 3, 6, 5, 7
#: A parameter that adds less than this share of all that there is to say is not shown.
NOTHING = 0.05


@dataclass(frozen=True, slots=True)
class Sample:
    """Cases, as the values of their parameters by name, and what each of them stands for."""

    columns: dict[str, list[Value]]
    failing: Array
    #: How many cases each one stands for.
    weights: Array
    #: Whether every case that was done was looked at.
    whole: bool

    def __len__(self) -> int:
        """Return the number of cases looked at."""
        return len(self.weights)


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter's values, put together to a few, and which of them each case has."""

    name: str
    labels: tuple[str, ...]
    codes: Array


@dataclass(frozen=True, slots=True)
class Share:
    """How many of the cases of one kind fail."""

    failing: float
    asked: float

    @property
    def value(self) -> float:
        """The share, from 0 to 1."""
        return self.failing / self.asked if self.asked else 0.0


def sample(
    done: Sequence[Range],
    failing: Sequence[Range],
    case_at: Callable[[int], Case],
    asked: Callable[[Case], bool],
) -> Sample:
    """Look at the failing positions and at the others, evenly spread where there are many.

    Illegal cases have no sizes and are left out; of cases that do not fail, those not `asked` too.
    """
    found: list[tuple[Case, bool]] = []
    weights: list[float] = []
    whole = True
    for number, ranges in enumerate((failing, without(done, failing))):
        total = sum(stop - start for start, stop in ranges)
        taken = min(total, SAMPLE)
        whole &= taken == total
        for position in spread(ranges, taken):
            case = case_at(position)
            if case.illegal is None and (number == 0 or asked(case)):
                found.append((case, number == 0))
                weights.append(total / taken)
    read = [features(case) for case, _ in found]
    columns = {name: [values[name] for values in read] for name in NAMES if name != "illegal"}
    return Sample(columns, np.array([fails for _, fails in found]), np.array(weights), whole)


def without(ranges: Sequence[Range], others: Sequence[Range]) -> list[Range]:
    """Return what of sorted ranges no other sorted range holds."""
    left: list[Range] = []
    cuts = list(others)
    for start, stop in ranges:
        position = start
        while cuts and cuts[0][1] <= position:
            cuts.pop(0)
        for first, last in cuts:
            if first >= stop:
                break
            if first > position:
                left.append((position, first))
            position = max(position, last)
        if position < stop:
            left.append((position, stop))
    return left


def spread(ranges: Iterable[Range], count: int) -> list[int]:
    """Return so many positions of the ranges, evenly spread.

    Examples
    --------
    >>> spread([(0, 3), (10, 13)], 3)
    [0, 2, 11]
    """
    stretches = list(ranges)
    total = sum(stop - start for start, stop in stretches)
    wanted = (number * total // count for number in range(count))
    positions = []
    at, before = 0, 0
    for place in wanted:
        while place - before >= stretches[at][1] - stretches[at][0]:
            before += stretches[at][1] - stretches[at][0]
            at += 1
        positions.append(stretches[at][0] + place - before)
    return positions


def parameters(found: Sample) -> list[Parameter]:
    """Return the parameters that differ among the cases, each with a few values."""
    read = (_parameter(name, column, found) for name, column in found.columns.items())
    return [parameter for parameter in read if len(parameter.labels) > 1]


def _parameter(name: str, column: list[Value], found: Sample) -> Parameter:
    """Put a parameter's values together: numbers to ranges of like weight, words by use."""
    numbers = [v for v in column if isinstance(v, int) and not isinstance(v, bool)]
    groups = _ranges(numbers, found.weights) if numbers else _words(column, found)
    code = {value: number for number, (_, values) in enumerate(groups) for value in values}
    return Parameter(
        name, tuple(label for label, _ in groups), np.array([code[value] for value in column])
    )


def _ranges(column: list[int], weights: Array) -> list[tuple[str, Sequence[Value]]]:
    of: dict[int, float] = {}
    for value, weight in zip(column, weights, strict=True):
        of[value] = of.get(value, 0.0) + float(weight)
    values = sorted(of)
    if len(values) <= VALUES:
        return [(str(value), [value]) for value in values]
    groups: list[list[int]] = [[]]
    left, held = sum(of.values()), 0.0
    for number, value in enumerate(values):
        full = groups[-1] and held + of[value] / 2 >= left / (VALUES - len(groups) + 1)
        if full and len(groups) < VALUES and number:
            left -= held
            groups.append([])
            held = 0.0
        groups[-1].append(value)
        held += of[value]
    return [
        (str(group[0]) if len(group) == 1 else f"{group[0]}–{group[-1]}", group) for group in groups
    ]


def _words(column: list[Value], found: Sample) -> list[tuple[str, Sequence[Value]]]:
    words = list(dict.fromkeys(column))
    if len(words) > WORDS:
        failing: dict[Value, float] = dict.fromkeys(words, 0.0)
        for value, fails, weight in zip(column, found.failing, found.weights, strict=True):
            if fails:
                failing[value] += float(weight)
        words.sort(key=lambda value: (-failing[value], str(value)))
        first, rest = words[: WORDS - 1], words[WORDS - 1 :]
        return [*((_word(value), [value]) for value in sorted(first, key=str)), ("others", rest)]
    return [(_word(value), [value]) for value in sorted(words, key=str)]


def _word(value: Value) -> str:
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else str(value)


def telling(found: Sample, known: Sequence[Parameter], count: int = SHOWN) -> list[Parameter]:
    """Return the parameters that say most about which cases fail, the most telling first.

    First the two that say most together: a fault of two parameters may show in neither alone.
    Then, one by one, the one that adds most to what any shown one says (conditional mutual
    information maximisation: F. Fleuret, JMLR 5, 2004), so that none is shown twice by other names.
    """
    if len(known) <= 2:
        return list(known)
    counts = [1.0 if one.name in PLAIN else DERIVED for one in known]
    alone = [information(found, one) for one in known]
    pairs = {
        (i, j): information(found, known[i], known[j])
        for i, j in itertools.combinations(range(len(known)), 2)
    }

    def adds(new: int, shown: int) -> float:
        return (pairs[min(new, shown), max(new, shown)] - alone[shown]) * counts[new]

    def says(pair: tuple[int, int]) -> float:
        return pairs[pair] * counts[pair[0]] * counts[pair[1]]

    first, second = max(pairs, key=lambda pair: (round(says(pair), 9), -pair[0], -pair[1]))
    chosen = [first, second] if alone[first] >= alone[second] else [second, first]
    whole = float(_entropy(np.array([_share_of_all(found)]))[0])
    while len(chosen) < min(count, len(known)):
        rest = [number for number in range(len(known)) if number not in chosen]
        gain = {new: round(min(adds(new, one) for one in chosen), 9) for new in rest}
        best = max(rest, key=lambda new: (gain[new], -new))
        if len(chosen) >= LEAST and gain[best] < NOTHING * whole:
            break
        chosen.append(best)
    return [known[number] for number in chosen]


def information(found: Sample, *several: Parameter) -> float:
    """Return how many bits the parameters' values together say about whether a case fails.

    Less what as many values would say by chance (G. Miller and W. Madow, 1954).
    """
    if not len(found):
        return 0.0
    asked, failing = _counts(found, several)
    total = asked.sum()
    if not total:
        return 0.0
    used = asked > 0
    chance = (np.count_nonzero(used) - 1) / (2 * len(found) * np.log(2))
    inner = (asked[used] * _entropy(failing[used] / asked[used])).sum() / total
    return float(_entropy(np.array([failing.sum() / total]))[0] - inner - chance)


def _share_of_all(found: Sample) -> float:
    return float((found.weights * found.failing).sum() / found.weights.sum())


def shares(found: Sample, *several: Parameter) -> list[Share]:
    """Return the share of failing cases of each combination of values, the last running fastest."""
    asked, failing = _counts(found, several)
    return [Share(float(f), float(a)) for f, a in zip(failing, asked, strict=True)]


def _counts(found: Sample, several: Sequence[Parameter]) -> tuple[Array, Array]:
    code, size = np.zeros(len(found), dtype=np.int64), 1
    for parameter in several:
        code = code * len(parameter.labels) + parameter.codes
        size *= len(parameter.labels)
    return (
        np.bincount(code, found.weights, size),
        np.bincount(code, found.weights * found.failing, size),
    )


def _entropy(share: Array) -> Array:
    inside = np.clip(share, 1e-300, 1.0)
    outside = np.clip(1 - share, 1e-300, 1.0)
    return np.asarray(-(share * np.log2(inside) + (1 - share) * np.log2(outside)))
