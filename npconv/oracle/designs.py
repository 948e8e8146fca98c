"""Sampled cases: covering designs over parameters, sizes, dtype, layout and data. No arrays here.

A design covers every combination of as many parameters as its strength says: first within what
a plain implementation may have declared, then within more and more, so that whoever is asked only
a part of the cases still meets every combination of that part.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any

from npconv import formats
from npconv.oracle.cases import DATA, LAYOUTS, ONE_LAID_OUT, Case, Padding
from npconv.oracle.covering import Factors, Row, covering

MASKS = ("111", "110", "101", "011", "100", "010", "001", "000")
KERNELS = (1, 2, 3, 4, 5, 7)
#: Padding of one axis: a number, or one more than the kernel.
PADDINGS = (0, 1, 2, 3, "over")
#: Padding before and after on one axis; a negative one crops.
SIDES = ((0, 0), (1, 0), (0, 1), (1, 2), (3, 1), (0, 4), (-1, 1), (2, -1), (-1, -1))
#: (stride, elements that no window reaches) of one axis.
STEPS = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (5, 3))
DILATIONS = (1, 2, 3)
#: (groups, input channels of a group, output channels of a group): dense, 1 < g < C, depthwise,
#: with a multiplier; few channels, and one below, at and above what vectors hold.
DENSE = ((1, 3, 2), (1, 1, 1), (1, 4, 5), (1, 5, 4), (1, 7, 9), (1, 8, 16), (1, 16, 8), (1, 17, 15))
GROUPED = ((2, 2, 3), (2, 1, 4), (3, 4, 2), (4, 3, 4), (8, 2, 2))
DEPTHWISE = ((3, 1, 1), (8, 1, 1), (17, 1, 1), (2, 1, 3), (4, 1, 2), (16, 1, 2))
STRUCTURES = (*DENSE, *GROUPED, *DEPTHWISE)
#: Those of pairs of values, and of the forms of padding that are not a pair.
FEW = ((1, 3, 2), (1, 8, 16), (2, 2, 3), (4, 3, 4), (3, 1, 1), (2, 1, 3))
BATCHES = (2, 1, 3, 5)
#: Windows of an axis beyond the fewest that its padding allows.
MORE_H = (0, 1, 2, 4)
MORE_W = (0, 1, 3, 6, 15)
#: Layouts that every implementation may have, and all that leave values alone.
USUAL = tuple(name for name in LAYOUTS if name not in ("reversed", "expanded"))
VIEWS = (*USUAL, "reversed")
#: Layouts of one array alone; a bias has one axis, and so fewer of them.
ALONE = tuple(
    name
    for name in ONE_LAID_OUT
    if not name.startswith("expanded") and name not in ("channels_last_bias", "transposed_bias")
)
OTHERS = tuple(name for name in formats.NAMES if name not in ("float32", "float64"))
INTEGERS = tuple(name for name in OTHERS if name not in formats.FLOATS + formats.COMPLEXES)

#: Forms of padding, with the factors that are theirs.
FORMS: dict[str, Factors] = {
    "pair": {"padding_h": PADDINGS, "padding_w": PADDINGS, "step_h": STEPS, "step_w": STEPS},
    "four-sided": {"padding_h": SIDES, "padding_w": SIDES, "step_h": STEPS, "step_w": STEPS},
    # Without a stride these alone make height and width, which must differ.
    "same": {"more_w": (3, 5, 7, 15)},
    "valid": {"step_h": STEPS, "step_w": STEPS},
    "same_upper": {"step_h": STEPS, "step_w": STEPS},
    "same_lower": {"step_h": STEPS, "step_w": STEPS},
}


def factors_of(form: str) -> dict[str, Sequence[Any]]:
    """Return every factor of a form of padding, with all its values."""
    return {
        "kernel_h": KERNELS,
        "kernel_w": KERNELS,
        "dilation_h": DILATIONS,
        "dilation_w": DILATIONS,
        "structure": STRUCTURES if form == "pair" else FEW,
        "batch": BATCHES,
        "bias": (True, False),
        "dtype": ("float32", "float64"),
        "layout": VIEWS,
        "data": DATA,
        "mask": MASKS,
        "more_h": MORE_H,
        "more_w": MORE_W,
        **FORMS[form],
    }


#: What an implementation may be asked, each within the next but one: no dilation and no groups,
#: no groups, no dilation, packed arrays only, all but negative strides; then everything. All but
#: the last ask for every gradient, so that each combination is met by each operation.
PROFILES: tuple[tuple[str, Factors], ...] = (
    ("plain", {"dilation_h": (1,), "dilation_w": (1,), "structure": DENSE}),
    ("without groups", {"structure": DENSE}),
    ("without dilation", {"dilation_h": (1,), "dilation_w": (1,)}),
    ("packed", {"layout": ("packed",)}),
    ("usual", {}),
    ("all", {"layout": VIEWS, "mask": MASKS}),
)
_NARROW: Factors = {"layout": USUAL, "mask": ("111",)}

#: Values that are drawn more often than others where a row is free to take any.
_OFTEN: Factors = {
    "data": ("integers",) * 3 + DATA,
    "more_h": (1, *MORE_H),
    "more_w": (1, *MORE_W),
}


def designed(strength: int, rows: int = 0) -> Iterator[Case]:
    """Give the cases of every form's designs: all profiles at the strength, for a pair.

    The other forms have two profiles, the last at strength 2, or one alone. `rows` random ones
    come first in each profile.
    """
    for form in FORMS:
        found: list[Row] = []
        for name, narrower in PROFILES if form == "pair" else PROFILES[-2:]:
            strong = 2 if name == "all" and form != "pair" else strength
            if name == "all" and form != "pair" and strength == 2:
                continue
            found += _profile(form, name, narrower, strong, rows if strong > 2 else 0, found)
        yield from (case_of(form, row) for row in found)


def _profile(
    form: str, name: str, narrower: Factors, strength: int, rows: int, given: Sequence[Row]
) -> list[Row]:
    """Return what the rows given lack of a profile's combinations."""
    factors = {**factors_of(form), **_NARROW, **narrower}
    if strength == 2:
        factors["structure"] = [one for one in factors["structure"] if one in FEW]
    often = {
        factor: [value for value in values if value in factors[factor]]
        for factor, values in _OFTEN.items()
        if factor not in FORMS[form]
    }
    return covering(
        factors, strength, form, name, strength,
        given=given, rows=rows, often=often, legal=functools.partial(is_legal, form),
    )  # fmt: skip


def alone(strength: int) -> Iterator[Case]:
    """Give cases in which one array is laid out and the others are packed."""
    factors = factors_of("pair") | {"mask": ("111",), "batch": (2, 3)}
    ours = tuple(name for name in ALONE if name.endswith("_bias"))
    others = tuple(name for name in ALONE if name not in ours)
    yield from _cases("pair", factors | {"layout": others}, strength, "alone", rows=200)
    # A bias that is laid out must be there.
    there = {"layout": ours, "bias": (True,), "structure": FEW}
    yield from _cases("pair", factors | there, strength, "bias alone")


def unbatched(strength: int, rows: int = 0) -> Iterator[Case]:
    """Give cases without a batch axis."""
    return _cases("pair", factors_of("pair") | {"batch": (None,)}, strength, "unbatched", rows=rows)


def in_other_dtypes(strength: int, rows: int = 0) -> Iterator[Case]:
    """Give cases in every dtype but float32 and float64, on integers."""
    factors = factors_of("pair") | {"dtype": OTHERS, "data": ("integers",)}
    return _cases("pair", factors, strength, "dtypes", rows=rows)


def on_other_data(strength: int, rows: int = 0) -> Iterator[Case]:
    """Give cases of 16-bit and complex dtypes on every kind of data but integers."""
    factors = factors_of("pair") | {
        "dtype": tuple(name for name in OTHERS if name not in INTEGERS),
        "data": tuple(name for name in DATA if name != "integers"),
    }
    return _cases("pair", factors, strength, "data", rows=rows)


def _cases(
    form: str,
    factors: Factors,
    strength: int,
    *key: object,
    rows: int = 0,
) -> Iterator[Case]:
    found = covering(
        factors, strength, *key, strength,
        rows=rows, legal=functools.partial(is_legal, form),
    )  # fmt: skip
    return (case_of(form, row) for row in found)


def is_legal(form: str, row: Row) -> bool:
    """Whether a row may become a case: height and width differ, lest a fault hide behind it."""
    return extent_of(form, row, "h") != extent_of(form, row, "w")


def sides_of(form: str, row: Row, axis: str) -> tuple[int, int]:
    """Return the padding before and after an axis that is written as numbers, else zeros."""
    padding = row.get(f"padding_{axis}", 0)
    if form == "four-sided":
        return padding  # type: ignore[no-any-return]  # a pair, by `SIDES`
    width = row[f"kernel_{axis}"] + 1 if padding == "over" else padding
    return width, width


def extent_of(form: str, row: Row, axis: str) -> int:
    """Return the extent that gives `more` windows than the fewest, and the row's remainder."""
    stride, left = row.get(f"step_{axis}", (1, 0))
    more = row[f"more_{axis}"]
    if form.startswith("same"):
        # Whatever the extent, it is padded; what remains after division by the stride counts.
        return 1 + int(left) + int(more * stride)
    span = row[f"dilation_{axis}"] * (row[f"kernel_{axis}"] - 1) + 1
    first = span + left - sum(sides_of(form, row, axis))
    fewest = max(0, -((first - 1) // stride))
    return int(first + (fewest + more) * stride)


def case_of(form: str, row: Row) -> Case:
    """Return the case of a row."""
    groups, group_in, group_out = row["structure"]
    steps = [row.get(f"step_{axis}", (1, 0)) for axis in "hw"]
    sides = [sides_of(form, row, axis) for axis in "hw"]
    padding: Padding = form
    if form == "pair":
        padding = (sides[0][0], sides[1][0])
    elif form == "four-sided":
        padding = (sides[0], sides[1])
    return Case(
        batch=row["batch"],
        in_channels=groups * group_in,
        out_channels=groups * group_out,
        groups=groups,
        extents=(extent_of(form, row, "h"), extent_of(form, row, "w")),
        kernel=(row["kernel_h"], row["kernel_w"]),
        stride=(steps[0][0], steps[1][0]),
        padding=padding,
        dilation=(row["dilation_h"], row["dilation_w"]),
        bias=row["bias"],
        mask=row["mask"],
        dtype=row["dtype"],
        layout=row["layout"],
        data=row["data"],
        seed=0,
    )
