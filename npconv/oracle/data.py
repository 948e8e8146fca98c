"""The arrays of a case: the same bytes from the same id on every machine and NumPy version."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.formats import COMPLEXES, FLOATS, dtype_of, significand_bits
from npconv.oracle.cases import Case

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Operands:
    """Arrays of a case in its layout; `bias` is None without one, `grad_output` for an illegal case."""

    input: Array
    weight: Array
    bias: Array | None
    grad_output: Array | None

    def named(self) -> dict[str, Array]:
        """Return those that exist, by name."""
        arrays = {
            "input": self.input,
            "weight": self.weight,
            "bias": self.bias,
            "grad_output": self.grad_output,
        }
        return {name: array for name, array in arrays.items() if array is not None}


def operands(case: Case) -> Operands:
    """Draw the arrays of a case.

    Integers come from the widest range that keeps every sum of products plus bias exact in
    the dtype, whatever the order of summation; integer dtypes use their whole range and wrap.
    Reals are uniform on (-1, 1) with as many bits as the dtype holds. The bias has distinct
    elements, none of them zero.
    """
    try:
        geometry = case.geometry
    except ValueError:
        geometry = None
    shapes = [case.input_shape, case.weight_shape, (case.out_channels,)]
    terms = 1
    if geometry is not None:
        shapes.append(geometry.output_shape)
        terms = max(geometry.forward_terms, geometry.input_terms, geometry.weight_terms)
    parts = 2 if case.dtype in COMPLEXES else 1
    counts = [parts * math.prod(shape) for shape in shapes]
    stream = _stream(case.id, sum(counts))
    limit = largest_integer(case.dtype, terms)
    arrays = []
    for position, (shape, count) in enumerate(zip(shapes, counts, strict=True)):
        raw, stream = stream[:count], stream[count:]
        if case.data == "reals" and case.dtype in FLOATS + COMPLEXES:
            numbers = _reals(raw, case.dtype)
        elif limit is None:
            numbers = raw.view(np.int64)
        else:
            numbers = _distinct(raw, limit) if position == 2 else _integers(raw, limit)
        arrays.append(_lay_out(_typed(numbers, shape, case.dtype), case.layout))
    input, weight, bias, *rest = arrays
    return Operands(input, weight, bias if case.bias else None, rest[0] if rest else None)


def largest_integer(dtype: str, terms: int) -> int | None:
    """Return the largest S with `terms` products of integers up to S, plus a bias, exact in `dtype`.

    None for integer dtypes, whose sums wrap exactly. A complex product is two real ones.
    """
    if dtype not in FLOATS + COMPLEXES:
        return None
    products = 2 * terms if dtype in COMPLEXES else terms
    return max(1, math.isqrt(2 ** significand_bits(dtype) // (products + 1)))


def _stream(text: str, count: int) -> Array:
    """Return `count` 64-bit numbers: SHAKE-128 of the id, which no library version changes."""
    return np.frombuffer(hashlib.shake_128(text.encode()).digest(8 * count), "<u8").astype(
        np.uint64
    )


def _integers(raw: Array, limit: int) -> Array:
    """Map to integers of magnitude up to `limit`."""
    return (raw % np.uint64(2 * limit + 1)).astype(np.int64) - limit


def _distinct(raw: Array, limit: int) -> Array:
    """Map to distinct integers of magnitude up to `limit`, as far as there are so many; none is zero."""
    step = max(1, limit // max(1, raw.size))
    sizes = np.arange(raw.size) % limit * step + (raw % np.uint64(step)).astype(np.int64) + 1
    return np.where(raw >> np.uint64(63), -sizes, sizes)


def _reals(raw: Array, dtype: str) -> Array:
    """Map to numbers in (-1, 1), random signs, with at most the dtype's number of bits."""
    bits = significand_bits(dtype)
    sizes = (raw >> np.uint64(64 - bits)).astype(np.float64) * 2.0**-bits
    return np.where(raw & np.uint64(1), -sizes, sizes)


def _typed(numbers: Array, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype not in COMPLEXES:
        return numbers.astype(dtype_of(dtype)).reshape(shape)
    parts = numbers.astype(np.float64).reshape(*shape, 2)
    return (parts[..., 0] + 1j * parts[..., 1]).astype(dtype_of(dtype))


def _lay_out(array: Array, layout: str) -> Array:
    """Return an array of the same values whose memory is laid out as the name says."""
    if layout == "readonly":
        array.flags.writeable = False
        return array
    if layout == "packed" or array.ndim < 3:
        return array
    if layout == "channels_last":
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, -3, -1)), -1, -3)
    if layout == "transposed":
        return np.ascontiguousarray(array.swapaxes(-1, -2)).swapaxes(-1, -2)
    if layout == "reversed":
        return np.ascontiguousarray(array[..., ::-1, ::-1])[..., ::-1, ::-1]
    lead, (channels, height, width) = array.shape[:-3], array.shape[-3:]
    if layout == "channel_slice":
        # The middle channels of a channels-last array that has one more on either side.
        base = np.full((*lead, height, width, channels + 2), 7, array.dtype)
        view = np.moveaxis(base, -1, -3)[..., 1:-1, :, :]
    else:
        base = np.full((*lead, channels, 2 * height + 1, 3 * width + 2), 7, array.dtype)
        view = base[..., 1::2, 2::3]
    view[...] = array
    return view
