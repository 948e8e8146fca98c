"""User parameters become one frozen `Geometry` of ints: all size arithmetic and shape errors.

Nothing here touches an array or imports NumPy. Names, used everywhere in the package:

====== ============================== ======= =========================================
letter axis                           word    meaning on one spatial axis
====== ============================== ======= =========================================
n      batch                          extent  elements of the input
g      groups                         kernel  taps of the kernel
c      input channels of one group    span    ``dilation * (kernel - 1) + 1``
f      output channels of one group   before  padding ahead of element 0; negative crops
h w    input rows, columns            after   padding behind the last; negative crops
k t    kernel rows, columns           out     elements of the output
y x    output rows, columns           remainder  padded elements that no window reaches
====== ============================== ======= =========================================
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

#: The largest size that a signed 64-bit index can hold.
LARGEST = 2**63 - 1

#: Characters that the text of one value may take in a message.
LONGEST = 120

PADDING_NAMES = ("same", "same_lower", "same_upper", "valid")


@dataclass(frozen=True)
class Axis:
    """One spatial axis: window o and tap k meet input element o*stride + k*dilation - before."""

    extent: int
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int

    @cached_property
    def span(self) -> int:
        """Elements from a window's first tap to its last, both included."""
        return self.dilation * (self.kernel - 1) + 1

    @cached_property
    def padded(self) -> int:
        """Elements of the padded (or cropped) axis."""
        return self.before + self.extent + self.after

    @cached_property
    def out(self) -> int:
        """Number of windows."""
        return (self.padded - self.span) // self.stride + 1

    @cached_property
    def remainder(self) -> int:
        """Padded elements behind the last window, which no window reaches."""
        return (self.padded - self.span) % self.stride

    @cached_property
    def dilated_out(self) -> int:
        """Extent of the output once ``stride - 1`` zeros stand between its elements."""
        return (self.out - 1) * self.stride + 1

    @cached_property
    def adjoint_pads(self) -> tuple[int, int]:
        """Pads of the dilated output whose windows are the input's elements; negative ones crop."""
        return self.span - 1 - self.before, self.span - 1 - self.after + self.remainder

    def meet(self, tap: int, outputs: slice, inputs: slice) -> tuple[slice, slice] | None:
        """Where windows of `outputs` find elements of `inputs` under `tap`: (windows, elements).

        The same pairs serve both ways: reading an input window by window, and adding a
        gradient back to the elements that it came from. None where they never meet.
        """
        offset = tap * self.dilation - self.before
        first = max(outputs.start, -((offset - inputs.start) // self.stride))
        last = min(outputs.stop - 1, (inputs.stop - 1 - offset) // self.stride)
        if first > last:
            return None
        start = first * self.stride + offset
        return slice(first, last + 1), slice(
            start, start + (last - first) * self.stride + 1, self.stride
        )

    def band(self, outputs: slice) -> slice:
        """Return the elements from the first that `outputs` cover to the last, pads included."""
        start = outputs.start * self.stride - self.before
        return slice(start, start + (outputs.stop - 1 - outputs.start) * self.stride + self.span)

    def windows_over(self, inputs: slice) -> slice:
        """Return the windows that can reach the elements `inputs`; it may be empty."""
        first = max(0, -((self.span - 1 - inputs.start - self.before) // self.stride))
        return slice(
            first, max(first, min(self.out, (inputs.stop - 1 + self.before) // self.stride + 1))
        )

    @cached_property
    def residues(self) -> tuple[Residue, ...]:
        """The input's elements by their residue modulo the stride, of those that some tap meets.

        Element u and tap k meet in window (u + before - k*dilation) / stride. For the elements
        of one residue these are whole numbers for every period-th tap alone, and neighbours
        meet neighbouring windows: with those taps in reverse order it is a correlation of
        stride 1 over the windows.
        """
        period = self.stride // math.gcd(self.stride, self.dilation)
        step = self.dilation * period // self.stride
        found = []
        for tap in range(min(period, self.kernel)):
            first = (tap * self.dilation - self.before) % self.stride
            if first >= self.extent:
                continue
            count = -(-(self.extent - first) // self.stride)
            taps = -(-(self.kernel - tap) // period)
            last = tap + (taps - 1) * period
            before = -((first + self.before - last * self.dilation) // self.stride)
            after = count + step * (taps - 1) - before - self.out
            axis = Axis(self.out, taps, 1, step, before, after)
            reverse = slice(last, tap - 1 if tap else None, -period)
            found.append(Residue(first, self.stride, reverse, axis))
        return tuple(found)


@dataclass(frozen=True)
class Residue:
    """Elements first, first + stride, ... of an axis: windows of `axis` over the output."""

    first: int
    stride: int
    taps: slice
    axis: Axis

    def elements(self, places: slice) -> slice:
        """Return the elements at `places`, counted within the residue."""
        return slice(
            self.first + places.start * self.stride,
            self.first + (places.stop - 1) * self.stride + 1,
            self.stride,
        )


@dataclass(frozen=True)
class Geometry:
    """Every size of one convolution, checked."""

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    axes: tuple[Axis, ...]
    batched: bool = True

    @cached_property
    def group_in(self) -> int:
        """Input channels of one group."""
        return self.in_channels // self.groups

    @cached_property
    def group_out(self) -> int:
        """Output channels of one group."""
        return self.out_channels // self.groups

    @cached_property
    def extents(self) -> tuple[int, ...]:
        """Spatial extents of the input."""
        return tuple(axis.extent for axis in self.axes)

    @cached_property
    def kernel(self) -> tuple[int, ...]:
        """Taps of the kernel along each spatial axis."""
        return tuple(axis.kernel for axis in self.axes)

    @cached_property
    def out(self) -> tuple[int, ...]:
        """Spatial extents of the output."""
        return tuple(axis.out for axis in self.axes)

    @cached_property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input as the user gave it, without the batch axis if unbatched."""
        return (*(self.batch,)[: self.batched], self.in_channels, *self.extents)

    @cached_property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.out_channels, self.group_in, *self.kernel)

    @cached_property
    def output_shape(self) -> tuple[int, ...]:
        """Shape of the output as the user gets it, without the batch axis if unbatched."""
        return (*(self.batch,)[: self.batched], self.out_channels, *self.out)

    @cached_property
    def adjoint_parts(self) -> tuple[tuple[tuple[Residue, ...], Geometry], ...]:
        """The input gradient, residue by residue, as correlations over the output."""
        return tuple(
            (
                residues,
                Geometry(
                    self.batch,
                    self.out_channels,
                    self.in_channels,
                    self.groups,
                    tuple(residue.axis for residue in residues),
                ),
            )
            for residues in itertools.product(*(axis.residues for axis in self.axes))
        )

    @cached_property
    def forward_terms(self) -> int:
        """Products in one element of the output."""
        return self.group_in * math.prod(self.kernel)

    @cached_property
    def input_terms(self) -> int:
        """Products in one element of the input gradient, at the most."""
        return self.group_out * math.prod(self.kernel)

    @cached_property
    def weight_terms(self) -> int:
        """Products in one element of the weight gradient."""
        return self.batch * math.prod(self.out)


def parse(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    *,
    bias_shape: tuple[int, ...] | None = None,
    output_shape: tuple[int, ...] | None = None,
    spatial: int = 2,
) -> Geometry:
    """Check every size and parameter; raise ValueError or TypeError with the short fact alone."""
    values = (input_shape, weight_shape, stride, padding, dilation, groups)
    known = _parse_once if all(map(_is_plain, values)) else _parse
    return known(*values, bias_shape, output_shape, spatial)


def _is_plain(value: Any) -> bool:
    """Whether a value equals no other of another meaning, as True equals 1: fit for a key."""
    kind = type(value)
    if kind is tuple:
        return all(type(item) is int for item in value)
    return kind is int or kind is str


def _parse(
    input_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    bias_shape: tuple[int, ...] | None,
    output_shape: tuple[int, ...] | None,
    spatial: int,
) -> Geometry:
    _check_ranks(input_shape, weight_shape, spatial)
    strides = _per_axis("stride", stride, spatial, least=1)
    dilations = _per_axis("dilation", dilation, spatial, least=1)
    group_count = integer("groups", groups, least=1)

    batched = len(input_shape) == spatial + 2
    batch = input_shape[0] if batched else 1
    in_channels, *extents = input_shape[batched:]
    out_channels, weight_channels, *kernel = weight_shape
    _check_extents(extents, kernel, out_channels)
    _check_channels(in_channels, out_channels, weight_channels, group_count)
    if bias_shape is not None and bias_shape != (out_channels,):
        raise ValueError(
            f"bias of shape {bias_shape} must be ({out_channels},), one number per output channel"
        )

    pads = _pads(padding, extents, kernel, strides, dilations)
    axes = tuple(
        Axis(extent, taps, step, spread, before, after)
        for extent, taps, step, spread, (before, after) in zip(
            extents, kernel, strides, dilations, pads, strict=True
        )
    )
    geometry = Geometry(batch, in_channels, out_channels, group_count, axes, batched)
    _check_fit(geometry, padding, dilation)
    if output_shape is not None and output_shape != geometry.output_shape:
        raise ValueError(
            f"grad_output of shape {output_shape} must be {geometry.output_shape}, "
            "the output's shape"
        )
    return geometry


#: A suite calls each geometry many times over: with several dtypes, layouts and operations.
_parse_once = lru_cache(maxsize=256)(_parse)


def _check_ranks(input_shape: tuple[int, ...], weight_shape: tuple[int, ...], spatial: int) -> None:
    if len(input_shape) not in (spatial + 1, spatial + 2):
        ranks = f"{spatial + 2} or {spatial + 1} axes"
        wanted = "(N, C, H, W) or (C, H, W)" if spatial == 2 else ranks
        raise ValueError(f"input of {len(input_shape)} dimensions must be {wanted}")
    if len(weight_shape) != spatial + 2:
        raise ValueError(
            f"weight of {len(weight_shape)} dimensions must have {spatial + 2}: "
            "(out_channels, in_channels/groups, *kernel)"
        )


def _check_extents(extents: Sequence[int], kernel: Sequence[int], out_channels: int) -> None:
    if min(extents) < 1:
        raise ValueError(f"input extents {tuple(extents)} must be at least 1")
    if min(kernel) < 1:
        raise ValueError(f"kernel {tuple(kernel)} must be at least 1 along each axis")
    if out_channels < 1:
        raise ValueError(f"out_channels={out_channels} must be at least 1")


def _check_channels(in_channels: int, out_channels: int, weight_channels: int, groups: int) -> None:
    if in_channels % groups:
        raise ValueError(f"groups={groups} must divide in_channels={in_channels}")
    if out_channels % groups:
        raise ValueError(f"groups={groups} must divide out_channels={out_channels}")
    if weight_channels * groups != in_channels:
        raise ValueError(
            f"weight of {weight_channels} channels x groups={groups} "
            f"must equal in_channels={in_channels}"
        )


def _check_fit(geometry: Geometry, padding: Any, dilation: Any) -> None:
    """Refuse a kernel that does not fit the padded input, and sizes over 64 bits."""
    for position, axis in enumerate(geometry.axes):
        if max(axis.padded, axis.span) > LARGEST:
            raise ValueError(
                f"padding={shown(padding)}, dilation={shown(dilation)} give a size over 64 bits"
            )
        if axis.padded < axis.span:
            raise ValueError(
                f"the kernel spans {axis.span} elements ({axis.kernel} with "
                f"dilation={axis.dilation}) and must fit the padded input's {axis.padded} "
                f"({axis.extent} with padding={axis.before, axis.after}) "
                f"along spatial axis {position}"
            )
    # An empty axis makes no array small: NumPy counts the bytes of the others all the same.
    sides = (max(axis.padded, axis.extent) for axis in geometry.axes)
    padded = (geometry.batch, geometry.in_channels, *sides)
    arrays = (padded, geometry.weight_shape, geometry.output_shape)
    if max(math.prod(max(size, 1) for size in array) for array in arrays) > LARGEST // 16:
        raise ValueError(
            "the padded input, the weight or the output "
            "would take more bytes than 64 bits can count"
        )


def integer(name: str, value: Any, *, least: int) -> int:
    """Return `value` as an int from `least` up to 64 bits: the one gate for integer parameters."""
    number = _index(value)
    if number is None:
        raise TypeError(f"{name}={shown(value)} must be an int")
    return _within(name, value, number, least)


def shape(name: str, value: Any) -> tuple[int, ...]:
    """Return `value`, a sequence of sizes, as a tuple of ints."""
    items = _items(value)
    numbers = None if items is None else [_index(item) for item in items]
    if numbers is None or None in numbers:
        raise TypeError(f"{name}={shown(value)} must be a sequence of ints")
    return tuple(_within(name, value, number, 0) for number in numbers if number is not None)


def shown(value: Any) -> str:
    """Return the text of `value` for a message: its repr, on one line and of bounded length."""
    try:
        text = " ".join(line.strip() for line in repr(value).splitlines())
    except ValueError:  # Python prints no int of more than 4300 digits
        text = f"<{type(value).__name__}>"
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 3]}..."


def _index(value: Any) -> int | None:
    """Return an int for anything that is one; None for bools, floats, strings and the rest."""
    # type(...).__name__ catches the bools of array libraries without importing any.
    if isinstance(value, bool) or "bool" in str(getattr(value, "dtype", "")):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def _items(value: Any) -> list[Any] | None:
    """Return the items of an ordered sequence; None for scalars, strings, mappings and sets."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__getitem__"):
        return None
    try:
        return list(value)
    except TypeError:
        return None


def _within(name: str, value: Any, number: int, least: int, hint: str = "") -> int:
    if number < least:
        raise ValueError(f"{name}={shown(value)} must be at least {least}{hint}")
    if number > LARGEST:
        raise ValueError(f"{name}={shown(value)} must fit in 64 bits")
    return number


def _per_axis(
    name: str, value: Any, spatial: int, *, least: int, hint: str = ""
) -> tuple[int, ...]:
    """Read an int, or a sequence of one int or of one per axis; `hint` ends messages on values."""
    rule = f"{name}={shown(value)} must be an int or a sequence of 1 or {spatial} ints"
    number = _index(value)
    if number is not None:
        return (_within(name, value, number, least, hint),) * spatial
    items = _items(value)
    numbers = None if items is None else [_index(item) for item in items]
    if numbers is None or None in numbers:
        raise TypeError(rule)
    if len(numbers) not in (1, spatial):
        raise ValueError(rule + hint)
    checked = tuple(_within(name, value, item, least, hint) for item in numbers if item is not None)
    return checked * spatial if len(checked) == 1 else checked


def _pads(
    padding: Any,
    extents: list[int],
    kernel: list[int],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[tuple[int, int]]:
    """Read every form of padding as (before, after) per axis."""
    spatial = len(extents)
    if isinstance(padding, str):
        return _named_pads(padding, extents, kernel, strides, dilations)
    items = _items(padding)
    if items and any(_items(item) is not None for item in items):
        return [_side_pair(padding, item) for item in _sides(padding, items, spatial)]
    sides = "((top, bottom), (left, right))" if spatial == 2 else "pairs (before, after)"
    hint = f" (four sides are {sides}, where negative numbers crop)"
    try:
        pads = _per_axis("padding", padding, spatial, least=0, hint=hint)
        return [(number, number) for number in pads]
    except TypeError:
        raise TypeError(
            f"padding={shown(padding)} must be an int, a sequence of 1 or {spatial} ints, "
            f"{spatial} pairs (before, after), or one of {', '.join(map(repr, PADDING_NAMES))}"
        ) from None


def _sides(padding: Any, items: list[Any], spatial: int) -> list[Any]:
    if len(items) != spatial:
        raise ValueError(
            f"padding={shown(padding)} must have {spatial} pairs (before, after), "
            "one per spatial axis"
        )
    return items


def _side_pair(padding: Any, item: Any) -> tuple[int, int]:
    sides = _items(item)
    if sides is None or len(sides) != 2:
        raise ValueError(
            f"padding={shown(padding)} must have two ints (before, after) in each pair"
        )
    numbers = [_index(side) for side in sides]
    before, after = numbers
    if before is None or after is None:
        raise TypeError(f"padding={shown(padding)} must have two ints (before, after) in each pair")
    if max(abs(before), abs(after)) > LARGEST:
        raise ValueError(f"padding={shown(padding)} must fit in 64 bits")
    return before, after


def _named_pads(
    name: str,
    extents: list[int],
    kernel: list[int],
    strides: tuple[int, ...],
    dilations: tuple[int, ...],
) -> list[tuple[int, int]]:
    if name not in PADDING_NAMES:
        raise ValueError(
            f"padding={shown(name)} must be one of {', '.join(map(repr, PADDING_NAMES))}"
        )
    if name == "valid":
        return [(0, 0)] * len(extents)
    if name == "same" and max(strides) > 1:
        raise ValueError(
            f"padding='same' must have stride 1, not {strides} (use 'same_upper' or 'same_lower')"
        )
    pads = []
    for extent, taps, stride, dilation in zip(extents, kernel, strides, dilations, strict=True):
        out = -(-extent // stride)
        total = max((out - 1) * stride + dilation * (taps - 1) + 1 - extent, 0)
        small, large = total // 2, total - total // 2
        pads.append((large, small) if name == "same_lower" else (small, large))
    return pads
