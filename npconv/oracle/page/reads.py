"""Which elements of a case's arrays one element of a result reads. Nothing is computed here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.geometry import Axis
from npconv.oracle.cases import Case

Indices = np.ndarray[Any, np.dtype[np.int64]]
#: What is read of an array of four axes: the product of these.
Box = tuple[Indices, Indices, Indices, Indices]


@dataclass(frozen=True, slots=True)
class _Met:
    """Along one axis: the elements, taps and windows that come together."""

    elements: Indices
    taps: Indices
    windows: Indices


def reads(case: Case, op: str, index: tuple[int, ...]) -> dict[str, Box]:
    """Return, by array, what the element `index` of an operation's result is made from.

    An unbatched case's arrays are taken as a batch of one.

    Examples
    --------
    >>> from npconv.oracle.cases import Case
    >>> case = Case.from_id(
    ...     "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
    ... )
    >>> [axis.tolist() for axis in reads(case, "forward", (1, 4, 0, 3))["input"]]
    [[1], [2, 3], [0, 1], [3, 5]]
    """
    geometry = case.geometry
    group_in, group_out = geometry.group_in, geometry.group_out
    all_batches = np.arange(geometry.batch)
    rows, columns = geometry.axes
    if op == "grad_bias":
        whole = tuple(np.arange(axis.out) for axis in geometry.axes)
        return {"grad_output": (all_batches, _one(index[0]), *whole)}  # type: ignore[dict-item]  # two axes
    if op == "grad_weight":
        filter_, channel, row, column = index
        channels = _one(filter_ // group_out * group_in + channel)
        down, across = _met(rows, tap=row), _met(columns, tap=column)
        return {
            "input": (all_batches, channels, down.elements, across.elements),
            "grad_output": (all_batches, _one(filter_), down.windows, across.windows),
        }
    batch, channel, row, column = index if case.batch is not None else (0, *index)
    if op == "forward":
        group = channel // group_out
        channels = np.arange(group * group_in, (group + 1) * group_in)
        down, across = _met(rows, window=row), _met(columns, window=column)
        return {
            "input": (_one(batch), channels, down.elements, across.elements),
            "weight": (_one(channel), np.arange(group_in), down.taps, across.taps),
        }
    group = channel // group_in
    filters = np.arange(group * group_out, (group + 1) * group_out)
    down, across = _met(rows, element=row), _met(columns, element=column)
    return {
        "weight": (filters, _one(channel % group_in), down.taps, across.taps),
        "grad_output": (_one(batch), filters, down.windows, across.windows),
    }


def _one(number: int) -> Indices:
    return np.array([number])


def _met(
    axis: Axis, *, element: int | None = None, tap: int | None = None, window: int | None = None
) -> _Met:
    """Hold one of the three and let another run; the third follows."""
    if element is None and window is None:
        windows = np.arange(axis.out)
        taps = np.full(axis.out, tap)
        elements = windows * axis.stride + taps * axis.dilation - axis.before
    elif element is None:
        taps = np.arange(axis.kernel)
        windows = np.full(axis.kernel, window)
        elements = windows * axis.stride + taps * axis.dilation - axis.before
    else:
        taps = np.arange(axis.kernel)
        elements = np.full(axis.kernel, element)
        ahead = element + axis.before - taps * axis.dilation
        windows = np.where(ahead % axis.stride == 0, ahead // axis.stride, -1)
    there = (elements >= 0) & (elements < axis.extent) & (windows >= 0) & (windows < axis.out)
    return _Met(*(np.unique(numbers[there]) for numbers in (elements, taps, windows)))
