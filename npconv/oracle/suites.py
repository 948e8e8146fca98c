"""The suites: which cases are run, as sequences with a name and a digest. No arrays here."""

from __future__ import annotations

import functools
import hashlib
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from npconv.oracle.cases import Case, Padding
from npconv.oracle.covering import Row, draw, random_row
from npconv.oracle.designs import alone, designed, in_other_dtypes, on_other_data, unbatched
from npconv.oracle.families import families, illegal

NAMES = ("quick", "standard", "exhaustive")

_PART = re.compile(r"(?P<name>[a-z]+)\[(?P<start>\d*):(?P<stop>\d*)(:(?P<step>\d*))?\]")

#: Part of each suite's digest: raised when the arrays of its cases change.
REVISIONS = {"quick": 2, "standard": 2, "exhaustive": 1, "cases": 1}

KERNELS = (1, 2, 3, 4)
STRIDES = (1, 2, 3)
DILATIONS = (1, 2, 3)
#: (groups, input channels of a group, output channels of a group):
#: dense, 1 < g < C, depthwise, depthwise with a multiplier.
GROUPS = ((1, 3, 2), (2, 2, 3), (3, 1, 1), (2, 1, 3))
#: (kernel, padding) of one axis: padding to one more than the kernel.
KERNEL_PADDING = tuple((kernel, padding) for kernel in KERNELS for padding in range(kernel + 2))
#: (stride, remainder) of one axis: every number of elements that no window reaches.
STRIDE_REMAINDER = tuple((stride, remainder) for stride in STRIDES for remainder in range(stride))

#: Random rows of each profile of the designs of `standard`, before what they lack is added.
STANDARD_ROWS = 800
#: Cases of the second grid, which goes where the product cannot.
WIDE_SIZE = 60_000


@dataclass(frozen=True)
class Suite:
    """A named sequence of cases, built when they are asked for."""

    name: str
    digest: str
    length: int
    build: Callable[[int], Case]

    def __len__(self) -> int:
        """Return the number of cases."""
        return self.length

    def __getitem__(self, position: int) -> Case:
        """Return the case at a position from 0 up."""
        if not 0 <= position < self.length:
            raise IndexError(f"{self.name} has {self.length} cases, no case {position}")
        return self.build(position)


@functools.cache
def suite_named(name: str | tuple[str, ...]) -> Suite:
    """Return a suite by name, a part such as ``exhaustive[3::41]``, or one made of case ids."""
    if isinstance(name, tuple):
        return _listed("cases", [Case.from_id(text) for text in name])
    if name == "quick":
        return _listed(name, _once(_quick()))
    if name == "standard":
        return _listed(name, _once(_standard()))
    if name == "exhaustive":
        return _exhaustive()
    part = _PART.fullmatch(name)
    if part is not None and part["name"] in NAMES:
        return _part(name, suite_named(part["name"]), part)
    raise ValueError(
        f"suite {name!r} must be one of {', '.join(NAMES)}, or a part such as 'exhaustive[3::41]'"
    )


def _part(name: str, whole: Suite, part: re.Match[str]) -> Suite:
    """Return what a Python slice of the suite's positions names."""
    start, stop, step = (int(part[key]) if part[key] else None for key in ("start", "stop", "step"))
    if step == 0:
        raise ValueError(f"suite {name!r}: the step must be at least 1")
    positions = range(len(whole))[start:stop:step]
    if not positions:
        raise ValueError(f"suite {name!r} is empty: {whole.name} has {len(whole)} cases")
    digest = hashlib.sha256(f"{whole.digest} {positions}".encode()).hexdigest()[:16]
    return Suite(name, digest, len(positions), lambda position: whole[positions[position]])


def _listed(name: str, cases: Sequence[Case]) -> Suite:
    text = "\n".join([str(REVISIONS[name]), *(case.id for case in cases)])
    return Suite(
        name, hashlib.sha256(text.encode()).hexdigest()[:16], len(cases), cases.__getitem__
    )


def _once(cases: Iterator[Case]) -> list[Case]:
    """Return the cases without those that have come before."""
    return list(dict.fromkeys(cases))


# --------------------------------------------------------------- the product


@dataclass(frozen=True)
class Section:
    """A product of factors, walked by position, and how a row of it becomes a case."""

    factors: dict[str, Sequence[Any]]
    case: Callable[[Row], Case]
    #: Only every `every`-th row, from `first` on.
    every: int = 1
    first: int = 0

    def __len__(self) -> int:
        """Return the number of cases."""
        rows = 1
        for values in self.factors.values():
            rows *= len(values)
        return (rows - self.first + self.every - 1) // self.every

    def __getitem__(self, position: int) -> Case:
        """Return the case at a position: the last factor varies fastest."""
        number = self.first + position * self.every
        row = {}
        for name, values in reversed(self.factors.items()):
            number, digit = divmod(number, len(values))
            row[name] = values[digit]
        return self.case(row)


def grids() -> dict[str, dict[str, Sequence[Any]]]:
    """Return the factors of the exhaustive product, one entry for each form of padding."""
    rest: dict[str, Sequence[Any]] = {"groups": GROUPS, "bias": (True, False)}
    pair = {
        "kernel_padding_h": KERNEL_PADDING,
        "kernel_padding_w": KERNEL_PADDING,
        "step_h": STRIDE_REMAINDER,
        "step_w": STRIDE_REMAINDER,
        "dilation_h": DILATIONS,
        "dilation_w": DILATIONS,
    }
    named = {
        "kernel_h": KERNELS,
        "kernel_w": KERNELS,
        "dilation_h": DILATIONS,
        "dilation_w": DILATIONS,
    }
    steps = {"step_h": STRIDE_REMAINDER, "step_w": STRIDE_REMAINDER}
    return {"pair": pair | rest, "same": named | rest, "valid": named | steps | rest}


def _exhaustive() -> Suite:
    sections: list[Sequence[Case] | Section] = []
    # Every 11th row for the other dtypes: 11 divides none of the factors' lengths, so every
    # value of every factor comes up with every other.
    for dtype, every, first in (
        ("float64", 1, 0),
        ("float32", 1, 0),
        ("int64", 11, 0),
        ("complex128", 11, 5),
    ):
        for form, factors in grids().items():
            sections.append(
                Section(factors, functools.partial(_grid_case, form, dtype=dtype), every, first)
            )
    sections.append([*_empty(), *_unbatched(200), *_illegal()])
    sections.append(Section({"number": range(WIDE_SIZE)}, lambda row: _wide(row["number"])))
    starts = list(itertools.accumulate((len(section) for section in sections), initial=0))

    def build(position: int) -> Case:
        which = next(i for i, start in enumerate(starts[1:]) if position < start)
        return sections[which][position - starts[which]]

    text = repr(
        (
            REVISIONS["exhaustive"],
            grids(),
            WIDE_SIZE,
            starts,
            [section[0].id for section in sections],
        )
    )
    return Suite("exhaustive", hashlib.sha256(text.encode()).hexdigest()[:16], starts[-1], build)


def _grid_case(form: str, row: Row, dtype: str | None = None) -> Case:
    """Build a case of the product: extents give two windows or more and the row's remainder."""
    padding: Padding
    if form == "pair":
        (kernel_h, pad_h), (kernel_w, pad_w) = row["kernel_padding_h"], row["kernel_padding_w"]
        padding = (pad_h, pad_w)
    else:
        kernel_h, kernel_w = row["kernel_h"], row["kernel_w"]
        padding, pad_h, pad_w = form, 0, 0
    (stride_h, left_h), (stride_w, left_w) = row.get("step_h", (1, 0)), row.get("step_w", (1, 0))
    height = _extent(kernel_h, pad_h, stride_h, left_h, row["dilation_h"], least=3)
    width = _extent(kernel_w, pad_w, stride_w, left_w, row["dilation_w"], least=4)
    groups, group_in, group_out = row["groups"]
    return Case(
        batch=row.get("batch", 2),
        in_channels=groups * group_in,
        out_channels=groups * group_out,
        groups=groups,
        extents=(height, width if width != height else width + stride_w),
        kernel=(kernel_h, kernel_w),
        stride=(stride_h, stride_w),
        padding=padding,
        dilation=(row["dilation_h"], row["dilation_w"]),
        bias=row["bias"],
        mask=row.get("mask", "111"),
        dtype=dtype or row["dtype"],
        layout=row.get("layout", "packed"),
        data=row.get("data", "integers"),
        seed=row.get("seed", 0),
    )


def _extent(
    kernel: int, padding: int, stride: int, remainder: int, dilation: int, *, least: int
) -> int:
    """Return the smallest extent from `least` up with two windows or more and this remainder."""
    smallest = dilation * (kernel - 1) + 1 + stride + remainder - 2 * padding
    return smallest + -(-max(0, least - smallest) // stride) * stride


# --------------------------------------------------------- quick and standard


def _quick() -> Iterator[Case]:
    """Give every pair of parameter values, a light case of each family, some of every section."""
    yield from designed(2)
    yield from filter(None, (family.lightest() for family in families()))
    yield from _empty()
    yield from unbatched(1, 10)
    yield from _illegal()
    yield from (case for case in illegal() if case.groups == 1 and case.dtype == "float32")
    yield from (_wide(number) for number in range(40))
    yield from in_other_dtypes(1, 40)
    yield from on_other_data(1, 20)


def _standard() -> Iterator[Case]:
    """Give all of quick, every triple of parameter values, and all of the families."""
    yield from _quick()
    yield from designed(3, STANDARD_ROWS)
    yield from (case for family in families() for case in family.cases())
    yield from alone(2)
    yield from unbatched(2, 100)
    yield from in_other_dtypes(3, 3 * STANDARD_ROWS)
    yield from on_other_data(2, 100)
    yield from illegal()
    yield from (_wide(number) for number in range(1500))


def _unbatched(count: int) -> list[Case]:
    """Give cases of the pair product without a batch axis."""
    factors = grids()["pair"] | {"dtype": ("float32", "float64")}
    return [
        _grid_case("pair", random_row(factors, "unbatched", number) | {"batch": None})
        for number in range(count)
    ]


def _empty() -> list[Case]:
    """Give cases without images, without input channels, and without either."""
    factors = grids()["pair"] | {"dtype": ("float32", "float64")}
    cases = []
    for number, (batch, channels) in enumerate([(0, True), (2, False), (0, False)] * 4):
        row = random_row(factors, "empty", number) | {"batch": batch}
        groups, group_in, group_out = row["groups"]
        row["groups"] = (groups, group_in if channels else 0, group_out)
        cases.append(_grid_case("pair", row))
    return cases


def _wide(number: int) -> Case:
    """Draw from the second grid: strides to 12, padding to span + 4, extents from 1, crops."""

    def pick(count: int, *key: object) -> int:
        return draw(count, "wide", number, *key)

    groups, group_in, group_out = GROUPS[pick(len(GROUPS), "groups")]
    sided = pick(2, "sided") == 1
    axes = []
    for axis in "hw":
        kernel, dilation, stride = (
            1 + pick(5, axis, "k"),
            1 + pick(4, axis, "d"),
            1 + pick(12, axis, "s"),
        )
        span = dilation * (kernel - 1) + 1
        extent = 1 + pick(12, axis, "extent")
        if sided:
            before = pick(2 * span + 9, axis, "before") - span - 4
            after = pick(2 * span + 9, axis, "after") - span - 4
            # What is short of one window goes to the end, where it is a pad again.
            after += max(0, span - (before + extent + after))
        else:
            before = after = pick(span + 5, axis, "pad")
            extent = max(extent, span - 2 * before)
        axes.append((extent, kernel, stride, dilation, (before, after)))
    (
        (height, kernel_h, stride_h, dilation_h, pads_h),
        (width, kernel_w, stride_w, dilation_w, pads_w),
    ) = axes
    if height == width:
        width += 1
    return Case(
        batch=2, in_channels=groups * group_in, out_channels=groups * group_out, groups=groups,
        extents=(height, width), kernel=(kernel_h, kernel_w), stride=(stride_h, stride_w),
        padding=(pads_h, pads_w) if sided else (pads_h[0], pads_w[0]),
        dilation=(dilation_h, dilation_w),
        bias=pick(2, "bias") == 1, mask="111", dtype=("float64", "float32")[pick(2, "dtype")],
        layout="packed", data="integers", seed=number,
    )  # fmt: skip


def _illegal() -> list[Case]:
    """Give cases that must be refused, each one step away from a legal one."""
    legal = Case(
        2,
        4,
        6,
        2,
        (7, 9),
        (3, 2),
        (2, 1),
        (1, 2),
        (1, 2),
        True,
        "111",
        "float32",
        "packed",
        "integers",
        0,
    )
    changes: list[dict[str, Any]] = [
        {"stride": (0, 1)}, {"stride": (1, 0)}, {"stride": (-1, 1)}, {"stride": (2, -3)},
        {"dilation": (0, 1)}, {"dilation": (1, 0)}, {"dilation": (1, -2)},
        {"padding": (-1, 0)}, {"padding": (0, -2)},
        {"groups": 0}, {"groups": -1}, {"groups": 3},
        {"in_channels": 5}, {"out_channels": 5}, {"out_channels": 0},
        {"kernel": (0, 2)}, {"kernel": (3, 0)},
        {"extents": (0, 9)}, {"extents": (7, 0)},
        {"kernel": (10, 2)}, {"kernel": (3, 14)},
        # Truncating division makes one window of the missing element here, flooring none.
        {"extents": (4, 9), "padding": (0, 0), "dilation": (2, 1)},
        {"padding": "same"},
        {"padding": "valid", "kernel": (8, 2)},
    ]  # fmt: skip
    return [
        replace(legal, **change, dtype=dtype)
        for change in changes
        for dtype in ("float32", "float64")
    ]
