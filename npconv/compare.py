"""One result against what is right: ratios of errors to bounds, and where NaN belongs.

Nothing is raised here, and nothing is said in words.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npconv import exact
from npconv.bounds import Arithmetic, Call, bound, growth, size, terms

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Reference:
    """What a result is compared with.

    Attributes
    ----------
    values : numpy.ndarray
        The right result. Where it is NaN or infinity, so it must be.
    bound, gauge : numpy.ndarray or None
        The largest error of each element and the size it is measured against; None where
        results are compared to the bit.
    must, free : numpy.ndarray or None
        Where a NaN or an infinity among the arrays has to show, and where it may: a zero of
        the padding times infinity, or the rest of a tile.
    overflow, sums_overflow : float
        From here up the format of the result, and that of partial sums, has infinity only.
    any_kind : bool
        Whether NaN serves where infinity is right and the other way round.
    """

    values: Array
    bound: Array | None = None
    gauge: Array | None = None
    must: Array | None = None
    free: Array | None = None
    overflow: float = math.inf
    sums_overflow: float = math.inf
    any_kind: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """Element by element: |error| / bound, infinity where it has no size, and three verdicts."""

    ratios: Array
    wrong: Array
    nonfinite: Array
    undecided: Array


def reference(call: Call, arithmetic: Arithmetic, *, signs: bool = False) -> Reference:
    """Return the right result of a call, exact for 53 bits, with the bound of an arithmetic."""
    factors = call.factors
    poisoned = {name: ~np.isfinite(array) for name, array in factors.items()}
    clean = call
    if any(mask.any() for mask in poisoned.values()):
        zeroed = {name: np.where(poisoned[name], a.dtype.type(0), a) for name, a in factors.items()}
        clean = _with(call, zeroed)
    wide = np.dtype(np.complex128 if call.dtype.kind == "c" else np.float64)
    precise = arithmetic.sums.bits > 24
    with np.errstate(all="ignore"):
        values = clean.on(clean.factors, wide, exact if precise else None)
        found = bound(clean, arithmetic, value=values, signs=signs)
        # The right result's own rounding, or that of its float64 sums.
        own = 2.0**-53 * size(values)
        if not precise:
            own = own + growth(2.0**-53, 2 * terms(call) + 2) * found.gauge
        known = Reference(
            values,
            np.where(found.gauge > 0, found.values + own, 0.0),
            found.gauge,
            overflow=arithmetic.result.overflow,
            sums_overflow=arithmetic.sums.overflow,
        )
        return known if clean is call else _special(call, arithmetic, known, poisoned)


def compare(result: Array, right: Reference) -> Comparison:
    """Compare a result of the right shape and dtype."""
    with np.errstate(all="ignore"):
        if right.bound is None:
            wrong = ~same(result, right.values)
            nothing = np.zeros(wrong.shape, bool)
            odd = nothing
            if result.dtype.kind not in "iu":
                odd = wrong & (np.isfinite(result) != np.isfinite(right.values))
            return Comparison(np.where(wrong, np.inf, 0.0), wrong, odd, nothing)
        values = right.values
        want_finite = np.isfinite(values)
        got = result.astype(values.dtype)
        got_finite = np.isfinite(got)
        error = _distance(got, values)
        ratios = np.where(error > 0, error / right.bound, 0.0)
        # What float64 cannot hold is larger than any bound.
        ratios = np.where(np.isnan(ratios), np.inf, ratios)
        both = got_finite & want_finite
        near = _distance(values, np.zeros_like(values)) + right.bound >= right.overflow
        # Rounding to nearest may overflow here; partial sums where the gauge overflows.
        allowed = near & ~got_finite & want_finite & (got == np.sign(values.real) * np.inf)
        assert right.gauge is not None
        unsure = ~got_finite & want_finite & (right.gauge + right.bound >= right.sums_overflow)
        kind = same(got, values) | (right.any_kind & ~got_finite)
        fits = np.where(want_finite, allowed | unsure, kind & ~got_finite)
        if right.free is not None:
            fits = fits | (right.free & ~got_finite)
        # `not <=`, so that a ratio that is not a number counts as wrong.
        wrong = np.where(both, ~(ratios <= 1), ~fits)
        undecided = ~wrong & (
            (both & (right.bound >= right.gauge) & (right.gauge > 0)) | (unsure & ~allowed)
        )
        ratios = np.where(both, ratios, np.where(wrong, np.inf, 0.0))
        return Comparison(ratios, wrong, wrong & ~both, undecided)


def _distance(a: Array, b: Array) -> Array:
    """Return |a - b|; the larger of both parts for complex numbers."""
    if a.dtype.kind == "c":
        return np.asarray(np.maximum(np.abs(a.real - b.real), np.abs(a.imag - b.imag)))
    return np.asarray(np.abs(a - b))


def same(result: Array, want: Array) -> Array:
    """Return whether elements are equal; a zero's sign is left open, NaN equals NaN."""
    equal = np.asarray(result == want)
    if result.dtype.kind in "iu":
        return equal
    return np.asarray(equal | (np.isnan(result) & np.isnan(want)))


def _with(call: Call, factors: Mapping[str, Array]) -> Call:
    """Return the call on other arrays."""
    names = {
        "forward": ("input", "weight", "bias"),
        "grad_input": ("", "weight", "grad_output"),
        "grad_weight": ("input", "", "grad_output"),
        "grad_bias": ("grad_output",),
    }[call.op]
    arrays = tuple(
        factors.get(name, given) for name, given in zip(names, call.arrays, strict=False)
    )
    return replace(call, arrays=arrays)


def _special(
    call: Call, arithmetic: Arithmetic, known: Reference, poisoned: Mapping[str, Array]
) -> Reference:
    """Add where NaN and infinity must show and where they may.

    A non-finite element must reach each result that it is an operand of with an element of the
    other array. Over a zero of the padding, or one that a textbook's gradient puts between the
    elements of grad_output, it may show or not: 0 * inf is NaN, but whether such zeros are
    operands differs between correct implementations.
    """
    ones = {name: np.ones(array.shape) for name, array in call.factors.items()}
    must = np.zeros(known.values.shape, bool)
    for name, mask in poisoned.items():
        if mask.any():
            others = {other: ones[other] for other in ones if other != "bias"}
            if name == "bias":
                others = {other: np.zeros_like(a) for other, a in others.items()}
            must |= call.on({**others, name: mask.astype(np.float64)}) > 0
    free = _meets_zeros(call, poisoned)
    if arithmetic.algorithm != "direct" and call.op != "grad_bias":
        free = free | _spread(call, arithmetic, must | free)
    right = call.on(call.factors, known.values.dtype)
    loose = arithmetic.algorithm != "direct" or arithmetic.products > 1 or call.dtype.kind == "c"
    values = np.where(must, right, known.values)
    # A window with one such weight over an element and another over a zero: either kind.
    values = np.where(must & np.isfinite(values), np.nan, values)
    return replace(known, values=values, must=must, free=free, any_kind=loose)


def _meets_zeros(call: Call, poisoned: Mapping[str, Array]) -> Array:
    """Return where zeros of the padding, or between the errors (stride > 1), may meet a factor."""
    geometry = call.geometry
    if geometry is None:
        return np.zeros(call.factors["grad_output"].shape[1], bool)
    if call.op == "forward":
        hit = np.asarray(poisoned["weight"].any((1, 2, 3)))
        return np.broadcast_to(hit[:, None, None], geometry.output_shape)
    groups = geometry.groups
    if call.op == "grad_input":
        taps = poisoned["weight"].reshape(groups, geometry.group_out, geometry.group_in, -1)
        hit = np.asarray(taps.any((1, 3))).reshape(-1)
        return np.broadcast_to(hit[:, None, None], geometry.input_shape)
    errors, elements = poisoned["grad_output"], poisoned["input"]
    hit = np.asarray(errors.any((0, 2, 3) if errors.ndim == 4 else (1, 2)))
    # Where a tap finds an element within the output's extent, windows that the stride leaves
    # out included.
    near = [
        (place >= 0) & (place <= (axis.out - 1) * axis.stride)
        for axis in geometry.axes
        for place in [
            np.arange(axis.extent)[:, None] + axis.before - axis.dilation * np.arange(axis.kernel)
        ]
    ]
    planes = elements.any(0) if elements.ndim == 4 else elements
    found = np.einsum("chw,hk,wt->ckt", *(m.astype(np.float64) for m in (planes, *near))) > 0
    per_group = found.reshape(groups, 1, geometry.group_in, *geometry.kernel)
    per_group = np.broadcast_to(
        per_group, (groups, geometry.group_out, *per_group.shape[2:])
    ).reshape(geometry.weight_shape)
    return np.asarray(per_group | hit[:, None, None, None])


def _spread(call: Call, arithmetic: Arithmetic, reached: Array) -> Array:
    """Widen to whole tiles: a plane for FFT and for kernels, else a tile's reach on each side."""
    if arithmetic.algorithm == "fft" or call.op == "grad_weight":
        return np.broadcast_to(np.asarray(reached.any((-2, -1), keepdims=True)), reached.shape)
    reach = int(arithmetic.algorithm[-1]) - 1
    for axis in (-2, -1):
        pads = [(0, 0)] * reached.ndim
        pads[axis] = (reach, reach)
        view = np.lib.stride_tricks.sliding_window_view(
            np.pad(reached, pads), 2 * reach + 1, axis=axis
        )
        reached = np.asarray(view.any(-1))
    return reached
