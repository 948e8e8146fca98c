"""A smaller case that shows the same: sizes and parameters go down while it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from npconv.oracle.cases import Case, Padding

#: Cases that one search runs at the most.
MOST = 160


def shrink(case: Case, still: Callable[[Case], bool], most: int = MOST) -> Case:
    """Return the smallest case found for which `still` holds, as it must for `case`.

    Whatever goes away goes for good, so that the end does not depend on luck but on the order of
    `smaller`; no single step of it leads further down, unless `most` trials were too few.
    """
    tried = {case}
    trials = 0
    again = True
    while again and trials < most:
        again = False
        for other in smaller(case):
            if other in tried or other.illegal is not None:
                continue
            tried.add(other)
            trials += 1
            if still(other):
                case, again = other, True
                break
            if trials >= most:
                break
    return case


def smaller(case: Case) -> Iterator[Case]:
    """Yield cases with less in them, those with much less first."""
    for changes in (
        {"layout": "packed"}, {"data": "integers"}, {"dtype": "float32"}, {"dtype": "float64"},
        {"bias": False}, {"seed": 0},
    ):  # fmt: skip
        if not (changes == {"dtype": "float64"} and case.dtype == "float32"):
            yield from _changed(case, **changes)
    yield from _channels(case)
    if case.batch is not None and case.batch > 1:
        yield replace(case, batch=1)
        yield replace(case, batch=case.batch - 1)
    yield from _paddings(case)
    for name in ("dilation", "stride", "kernel", "extents"):
        pair = getattr(case, name)
        low = {"kernel": (1, 2), "extents": (1, 2, 3)}.get(name, (1,))
        for axis in (0, 1):
            # To the least, half, and one less; both axes alike are left to two steps.
            for value in (*low, (pair[axis] + 1) // 2, pair[axis] - 1):
                if 1 <= value < pair[axis]:
                    changed = (value, pair[1]) if axis == 0 else (pair[0], value)
                    yield replace(case, **{name: changed})  # type: ignore[arg-type]  # pairs
    # A smaller kernel often needs less padding and less input with it.
    for axis in (0, 1):
        kernel, extents = list(case.kernel), list(case.extents)
        if kernel[axis] > 1 and extents[axis] > case.dilation[axis]:
            kernel[axis] -= 1
            extents[axis] -= case.dilation[axis]
            yield replace(case, kernel=(kernel[0], kernel[1]), extents=(extents[0], extents[1]))


def _changed(case: Case, **changes: object) -> Iterator[Case]:
    other = replace(case, **changes)  # type: ignore[arg-type]  # each change has its field's type
    if other != case:
        yield other


def _channels(case: Case) -> Iterator[Case]:
    """Yield cases of fewer groups, or fewer channels in each."""
    groups = max(1, case.groups)
    group_in, group_out = case.in_channels // groups, case.out_channels // groups

    def of(count: int, inside: int, outside: int) -> Case:
        return replace(case, groups=count, in_channels=count * inside, out_channels=count * outside)

    for count in (1, 2, groups - 1):
        if 1 <= count < groups:
            yield of(count, group_in, group_out)
    for count in (1, group_in // 2, group_in - 1):
        if 1 <= count < group_in:
            yield of(groups, count, group_out)
    for count in (1, group_out // 2, group_out - 1):
        if 1 <= count < group_out:
            yield of(groups, group_in, count)


def _paddings(case: Case) -> Iterator[Case]:
    padding: Padding = case.padding
    if case.padding_form != "pair":
        for pair in ((0, 0), (1, 0), (0, 1), (1, 1)):
            yield replace(case, padding=pair)
    if isinstance(padding, str):
        return
    (top, bottom), (left, right) = (
        side if isinstance(side, tuple) else (side, side) for side in padding
    )
    if case.padding_form == "pair":
        for rows, columns in (
            (0, 0), (0, left), (top, 0), (1, left), (top, 1), (top - 1, left), (top, left - 1),
        ):  # fmt: skip
            if 0 <= rows <= top and 0 <= columns <= left and (rows, columns) != (top, left):
                yield replace(case, padding=(rows, columns))
        return
    sides = [top, bottom, left, right]
    for position, side in enumerate(sides):
        for value in (0, side // 2 if side > 0 else -(-side // 2)):
            if value != side:
                changed = [*sides[:position], value, *sides[position + 1 :]]
                yield replace(case, padding=((changed[0], changed[1]), (changed[2], changed[3])))
