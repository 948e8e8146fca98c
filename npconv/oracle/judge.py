"""One verdict on one result: structure first, then values, element by element. Verdicts are returned, never raised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.conv import conv2d, conv2d_backward
from npconv.formats import dtype_of, family, significand_bits
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, largest_integer

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True, slots=True)
class Failure:
    """What is wrong with one result, and where it is worst."""

    case: str
    op: str
    kind: str
    message: str
    ratio: float | None = None
    index: tuple[int, ...] | None = None
    got: str | None = None
    want: str | None = None


@dataclass(frozen=True, slots=True)
class Expected:
    """The right results of a case, by operation, and for inexact data the largest error of each element."""

    values: dict[str, Array]
    bounds: dict[str, Array] | None


def expect(case: Case, arrays: Operands) -> Expected:
    """Compute the right results: exact ones where the data is exact, else float64 results with bounds."""
    if is_exact(case):
        return Expected(_results(case, arrays, dtype_of(case.dtype)), None)
    wide = np.dtype(np.complex128 if family(dtype_of(case.dtype)) == "complex" else np.float64)
    values = _results(case, arrays, wide)
    sizes = Operands(
        *(
            None if a is None else _size(a)
            for a in (arrays.input, arrays.weight, arrays.bias, arrays.grad_output)
        )
    )  # type: ignore[arg-type]  # None only where there was None
    return Expected(values, _bounds(case, _results(case, sizes, np.dtype(np.float64))))


def is_exact(case: Case) -> bool:
    """Whether every order of summation gives the same value, so that results are compared to the bit."""
    if family(dtype_of(case.dtype)) == "integer":
        return True
    if case.data != "integers":
        return False
    limit, products = largest_integer(case.dtype, 1), _terms(case)
    limit = largest_integer(case.dtype, products) or 0
    if family(dtype_of(case.dtype)) == "complex":
        products *= 2
    return products * limit**2 + limit <= 2 ** significand_bits(case.dtype)


def judge(case: Case, op: str, result: Any, expected: Expected) -> Failure | None:
    """Compare one result with what is expected; None where it conforms."""
    want = expected.values[op]
    if not isinstance(result, np.ndarray):
        return Failure(case.id, op, "type", f"returned {type(result).__name__}, not a NumPy array")
    if result.shape != want.shape:
        return Failure(case.id, op, "shape", f"shape {result.shape}, not {want.shape}")
    if result.dtype.newbyteorder("=") != dtype_of(case.dtype):
        return Failure(case.id, op, "dtype", f"dtype {result.dtype.name}, not {case.dtype}")
    if expected.bounds is None:
        wrong = ~_same(result, want)
        return _worst(case, op, result, want, wrong, None) if wrong.any() else None
    wide = result.astype(want.dtype)
    nonfinite = ~np.isfinite(wide)
    if nonfinite.any():
        return _worst(case, op, result, want, nonfinite, None, kind="nonfinite")
    ratios = _size(wide - want) / expected.bounds[op]
    # `not <=` so that a ratio that is not a number counts as wrong.
    wrong = ~(ratios <= 1)
    return _worst(case, op, result, want, wrong, ratios) if wrong.any() else None


def _terms(case: Case) -> int:
    geometry = case.geometry
    return max(geometry.forward_terms, geometry.input_terms, geometry.weight_terms)


def _results(case: Case, arrays: Operands, dtype: np.dtype[Any]) -> dict[str, Array]:
    parameters = case.parameters
    mask = case.output_mask
    output = conv2d(arrays.input, arrays.weight, arrays.bias, *parameters, dtype=dtype)
    gradients = conv2d_backward(
        arrays.grad_output,
        arrays.input,
        arrays.weight,
        *parameters,
        mask,
        dtype=dtype,  # type: ignore[arg-type]  # a legal case has one
    )
    named = {
        "forward": output,
        **dict(zip(("grad_input", "grad_weight", "grad_bias"), gradients, strict=True)),
    }
    return {op: array for op, array in named.items() if array is not None}


def _bounds(case: Case, gauges: dict[str, Array]) -> dict[str, Array]:
    """Return the largest error of each element, for any order of summation.

    n products summed with unit roundoff u err by at most ``n*u*gauge`` to first order, where
    the gauge is the same sum over magnitudes (Jeannerod and Rump, 'Improved error bounds for
    inner products in floating-point arithmetic', 2013); the bias and the last rounding add
    one each, and the float64 value compared with has its own. Complex numbers have one gauge
    for both parts and twice the terms.
    """
    geometry = case.geometry
    terms = {
        "forward": geometry.forward_terms,
        "grad_input": geometry.input_terms,
        "grad_weight": geometry.weight_terms,
        "grad_bias": geometry.weight_terms,
    }
    unit = 2.0 ** -significand_bits(case.dtype)
    factor = 4 if family(dtype_of(case.dtype)) == "complex" else 1
    tiny = float(
        np.finfo(np.float32).tiny
        if significand_bits(case.dtype) <= 24
        else np.finfo(np.float64).tiny
    )
    return {
        op: factor * ((terms[op] + 3) * (unit + 2.0**-53) * gauge + (terms[op] + 2) * tiny)
        for op, gauge in gauges.items()
    }


def _size(array: Array) -> Array:
    """Return magnitudes; |re| + |im| for complex numbers."""
    if array.dtype.kind == "c":
        return np.asarray(np.abs(array.real) + np.abs(array.imag)).astype(np.float64)
    return np.abs(array.astype(np.float64))


def _same(result: Array, want: Array) -> Array:
    """Whether elements are equal; a zero's sign is left open, NaN equals NaN."""
    equal = np.asarray(result == want)
    return (
        equal if family(want.dtype) == "integer" else equal | ((result != result) & (want != want))
    )


def _worst(
    case: Case,
    op: str,
    result: Array,
    want: Array,
    wrong: Array,
    ratios: Array | None,
    kind: str = "values",
) -> Failure:
    """Describe the worst of the wrong elements."""
    with np.errstate(all="ignore"):
        if ratios is None:
            distance = np.abs(result.astype(np.complex128) - want.astype(np.complex128))
        else:
            distance = ratios
        distance = np.where(wrong, np.nan_to_num(distance, nan=np.inf, posinf=np.inf), -1)
    index = tuple(int(i) for i in np.unravel_index(int(np.argmax(distance)), wrong.shape))
    ratio = None if ratios is None or not np.isfinite(ratios[index]) else float(ratios[index])
    got, right = str(result[index]), str(want[index])
    count = int(np.count_nonzero(wrong))
    return Failure(
        case.id, op, kind, f"{count} of {wrong.size} elements differ; worst at {index}: got {got}, want {right}",
        ratio, index, got, right,
    )  # fmt: skip
