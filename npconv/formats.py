"""Number formats: the dtypes served, what sums are carried in, the one rounding at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Literal

import numpy as np

from npconv.geometry import shown

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]

FLOATS = ("bfloat16", "float16", "float32", "float64")
COMPLEXES = ("complex64", "complex128")
SIGNED = ("int8", "int16", "int32", "int64")
UNSIGNED = ("uint8", "uint16", "uint32", "uint64")
NAMES = FLOATS + COMPLEXES + SIGNED + UNSIGNED

FLOAT64 = np.dtype(np.float64)
COMPLEX128 = np.dtype(np.complex128)
INT64 = np.dtype(np.int64)
UINT64 = np.dtype(np.uint64)
OBJECT = np.dtype(object)


#: Bits of the significand, the hidden one included.
_SIGNIFICAND = {
    "bfloat16": 8,
    "float16": 11,
    "float32": 24,
    "float64": 53,
    "complex64": 24,
    "complex128": 53,
}


def significand_bits(name: str) -> int:
    """Return the significand bits of a float or complex dtype, the hidden one included."""
    return _SIGNIFICAND[name]


def dtype_of(name: str) -> DType:
    """Return the dtype of a name out of `NAMES`; bfloat16 needs the package ml_dtypes."""
    return np.dtype(_bfloat16() if name == "bfloat16" else name)


def available() -> tuple[str, ...]:
    """Return the names of the dtypes that can be had here: all, or all but bfloat16."""
    try:
        _bfloat16()
    except TypeError:
        return tuple(name for name in NAMES if name != "bfloat16")
    return NAMES


@lru_cache
def family(dtype: DType) -> str:
    """Return 'float', 'complex' or 'integer'; raise TypeError for what npconv does not serve."""
    name = dtype.name
    if name in FLOATS:
        return "float"
    if name in COMPLEXES:
        return "complex"
    if name in SIGNED or name in UNSIGNED:
        return "integer"
    raise TypeError(f"dtype {name} must be one of {', '.join(NAMES)}")


def result_dtype(given: DType, asked: Any) -> DType:
    """Return the native dtype of the result: that of the arrays, or the one asked for."""
    if asked is None:
        return given.newbyteorder("=")
    if isinstance(asked, str) and asked == "bfloat16":
        asked = _bfloat16()
    try:
        wanted: DType = np.dtype(asked).newbyteorder("=")
        target = family(wanted)
    except (TypeError, ValueError, SyntaxError, OverflowError):  # np.dtype raises all of them
        raise TypeError(f"dtype={shown(asked)} must be one of {', '.join(NAMES)}") from None
    source = family(given)
    if source != target == "integer":
        raise TypeError(
            f"dtype={wanted.name} must not be an integer type: the arrays are {given.name}"
        )
    if source == "complex" and target == "float":
        raise TypeError(f"dtype={wanted.name} must be complex: the arrays are {given.name}")
    return wanted


def _bfloat16() -> Any:
    try:
        import ml_dtypes
    except ImportError:
        raise TypeError("dtype 'bfloat16' needs the package ml_dtypes") from None
    return ml_dtypes.bfloat16


def carrier(given: DType, result: DType, terms: int, arrays: Sequence[Array]) -> DType:
    """Return the dtype that sums of `terms` products of the arrays' elements are carried in.

    float64 for real floats, complex128 for complex. Integers are exact in float64 where
    `terms` products of the dtype's largest magnitude and a bias stay within 2**53, which lets
    BLAS do the work; else they are carried modulo 2**64, which serves every integer result;
    a float result needs the sum itself, so there the elements' own magnitude decides between
    64 bits and Python ints.
    """
    if family(given) == "float":
        return FLOAT64
    if family(given) == "complex":
        return COMPLEX128
    limits = np.iinfo(given)
    if (terms + 1) * max(-int(limits.min), int(limits.max)) ** 2 <= 2**53:
        return FLOAT64
    if family(result) == "integer":
        return UINT64
    ends = [abs(int(end)) for array in arrays if array.size for end in (array.min(), array.max())]
    return UINT64 if (terms + 1) * max(1, *ends, 1) ** 2 < 2**63 else OBJECT


def load_dtype(dtype: DType, carried: DType) -> DType:
    """Return the dtype that elements are stored in before the arithmetic of `carried` reads them.

    Signed integers go through int64, whose bits are then read as uint64: addition and
    multiplication modulo 2**64 are the same for both, and unsigned overflow is defined.
    """
    return INT64 if carried == UINT64 and dtype.kind == "i" else carried


def load(array: Array, carried: DType, order: Literal["C", "K"] = "K") -> Array:
    """Return `array` in the dtype `carried`, converted exactly; a view where nothing changes."""
    stored = array.astype(load_dtype(array.dtype, carried), order, copy=False)
    return stored if stored.dtype == carried else stored.view(carried)


def finish(sums: Array, given: DType, result: DType) -> Array:
    """Round carried sums of elements of dtype `given` once to `result`.

    Integers wrap; floats go to nearest, ties to even.
    """
    if sums.dtype == UINT64 and given.name in SIGNED:
        sums = sums.view(np.int64)
    if family(result) == "integer":
        return (sums.astype(np.int64) if sums.dtype == FLOAT64 else sums).astype(result, copy=False)
    if sums.dtype == OBJECT:
        sums = _from_python_ints(sums, result)
    elif sums.dtype.kind in "iu":
        sums = _from_int64(sums, result)
    return round_once(sums, result)


def round_once(values: Array, result: DType) -> Array:
    """Round float64 to a float dtype, or complex128 to a complex one, with one rounding."""
    # NumPy works a name out anew each time, which takes longer than a small result.
    if result.itemsize == 2 and result.name == "bfloat16":
        return _odd_float32(values).astype(result)
    return values.astype(result, copy=False)


def _odd_float32(values: Array) -> Array:
    """Round float64 to float32 so that a later rounding to fewer bits is the only one that counts.

    Inexact values go to the neighbour with an odd last bit (Boldo and Melquiond, 'Emulation
    of FMA and correctly rounded sums: proved algorithms using rounding to odd', 2008): such a
    neighbour is never a tie, nor is it representable in the narrower format.
    """
    near = values.astype(np.float32)
    back = near.astype(np.float64)
    bits = near.view(np.int32)
    away = np.abs(back) > np.abs(values)
    inexact = (back != values) & ~np.isnan(values)
    return np.where(inexact, (bits - away) | 1, bits).astype(np.int32).view(np.float32)


def _from_int64(values: Array, result: DType) -> Array:
    """Convert 64-bit integers to float64 such that rounding that to `result` rounds only once.

    Where float64 is the result the conversion itself is that rounding. Else integers longer
    than 53 bits keep their top ones and fold the rest into the last, as rounding to odd does.
    """
    if result in (FLOAT64, COMPLEX128):
        return values.astype(FLOAT64)
    high, low = values >> 11, values & 0x7FF
    folded = (high | (low != 0)).astype(FLOAT64) * 2048.0
    return np.where(np.abs(values.astype(FLOAT64)) < 2.0**53, values.astype(FLOAT64), folded)


def _from_python_ints(values: Array, result: DType) -> Array:
    """Convert Python ints to float64 as `_from_int64` does."""
    floats = np.empty(values.shape, FLOAT64)
    keep_all = result in (FLOAT64, COMPLEX128)
    for index, value in np.ndenumerate(values):
        excess = max(0, int(value).bit_length() - 53)
        if keep_all or not excess:
            floats[index] = value
        else:
            sticky = value & ((1 << excess) - 1) != 0
            floats[index] = math.ldexp((value >> excess) | sticky, excess)
    return floats
