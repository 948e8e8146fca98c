"""One verdict on one result: structure first, then values. Verdicts are returned, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npconv.bounds import (
    DTYPE_FORMATS,
    OPS,
    Arithmetic,
    Call,
    arguments,
    default_for,
    parse,
)
from npconv.compare import Comparison, Reference, compare, reference
from npconv.conv import conv2d, conv2d_backward
from npconv.formats import COMPLEXES, SIGNED, UNSIGNED, dtype_of, family, significand_bits
from npconv.oracle.cases import Case
from npconv.oracle.data import FACTORS, Operands, limits, probe_room

Array = np.ndarray[Any, np.dtype[Any]]

#: Kinds of data whose numbers have random signs, independent of everything else.
RANDOM_SIGNS = ("reals", "micro", "mega")


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


#: What a result may be: the names of the report's counts.
STATUSES = (
    "passed", "failed", "unsupported", "expected_failures", "undecided", "not_reproducible",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was found of one result."""

    #: One of `STATUSES`.
    status: str
    #: The largest |error| / bound of all elements; None where bits were compared, or nothing.
    ratio: float | None = None
    failure: Failure | None = None
    #: What the implementation says to what it does not support.
    reason: str | None = None


def failed(failure: Failure) -> Verdict:
    """Return the verdict of a failure."""
    return Verdict("failed", failure.ratio, failure)


@dataclass(frozen=True, slots=True)
class Expected:
    """The right results of a case, by operation, with what they are compared by."""

    references: dict[str, Reference]
    #: Dtypes of results that are not the case's own, by operation.
    result_dtypes: Mapping[str, str] = field(default_factory=dict)

    @property
    def values(self) -> dict[str, Array]:
        """The right results."""
        return {op: reference.values for op, reference in self.references.items()}


def expect(
    case: Case,
    arrays: Operands,
    arithmetic: Mapping[str, str] | None = None,
    result_dtypes: Mapping[str, str] | None = None,
) -> Expected:
    """Compute the right results: to the bit where every order of sums gives them, else with bounds.

    `arithmetic` names that of operations which have not the dtype's own, `result_dtypes` the
    dtypes of results that are not the case's: sums are then rounded to that one.
    """
    given = {op: name for op, name in (result_dtypes or {}).items() if name != case.dtype}
    chosen = {
        op: _rounded_to(parse((arithmetic or {}).get(op) or default_for(case.dtype)), given.get(op))
        for op in OPS
    }
    exact = [op for op in OPS if is_exact(case, op, chosen[op], given.get(op))]
    found = {op: Reference(a) for op, a in _exact_results(case, arrays, exact, given).items()}
    if len(exact) < len(OPS):
        for op, call in calls(case, arrays).items():
            if op not in exact:
                # An expanded array repeats its numbers, signs and all.
                signs = case.data in RANDOM_SIGNS and case.layout_kind != "expanded"
                found[op] = reference(call, chosen[op], signs=signs)
    return Expected(found, given)


def _rounded_to(arithmetic: Arithmetic, result: str | None) -> Arithmetic:
    """Return the arithmetic with results rounded to a dtype instead of its own format."""
    if result is None or result not in DTYPE_FORMATS:
        return arithmetic
    return replace(arithmetic, result=DTYPE_FORMATS[result])


def is_exact(
    case: Case, op: str, arithmetic: Arithmetic | None = None, result: str | None = None
) -> bool:
    """Whether every order of sums gives the same value, so that bits are compared.

    So it is for data of integers where the arithmetic, by default the dtype's own, holds the
    factors and their sums, and its algorithm computes nothing but sums of products. They are
    rounded once to the dtype of the result, `result` where it is not the case's own.
    """
    if family(dtype_of(case.dtype)) == "integer":
        return True
    arithmetic = arithmetic or parse(default_for(case.dtype))
    if case.data not in ("integers", "probe") or arithmetic.algorithm != "direct":
        return False
    own = significand_bits(case.dtype)
    if case.data == "probe":
        # Factors take all of the dtype's bits and scales that float16 lacks.
        sums, factors = probe_room(case.dtype), own
    else:
        ranges = limits(case) or {}
        sums, factors = own, max(ranges[name] for name in FACTORS[op]).bit_length()
    return (
        not arithmetic.dropped
        and factors <= arithmetic.inputs.bits
        and sums <= arithmetic.sums.bits
        and significand_bits(result or case.dtype) <= arithmetic.result.bits
    )


def calls(case: Case, arrays: Operands) -> dict[str, Call]:
    """Return the calls of a legal case: the output, and each gradient that its mask asks for."""
    x, w, g = arrays.input, arrays.weight, arrays.grad_output
    given: dict[str, tuple[Any, ...]] = {
        "forward": (x, w) if arrays.bias is None else (x, w, arrays.bias),
        "grad_input": (case.input_shape, w, g),
        "grad_weight": (x, case.weight_shape, g),
        "grad_bias": (g,),
    }
    wanted = (True, *case.output_mask)
    return {
        op: arguments(op, given[op], *case.parameters)
        for op, on in zip(OPS, wanted, strict=True)
        if on
    }


def judge(case: Case, op: str, result: Any, expected: Expected) -> Verdict:
    """Compare one result with what is expected."""
    right = expected.references[op]
    misshapen = structure(case, op, result, expected)
    if misshapen is not None:
        return failed(misshapen)
    # A masked array's comparisons are masked too.
    result = np.asarray(result)
    found = compare(result, right)
    if found.wrong.any():
        with np.errstate(all="ignore"):
            return failed(_worst(case, op, result, right, found))
    ratio = None if right.bound is None else float(found.ratios.max(initial=0.0))
    return Verdict("undecided" if found.undecided.any() else "passed", ratio)


def structure(case: Case, op: str, result: Any, expected: Expected) -> Failure | None:
    """Return what is wrong with a result's type, shape or dtype, with what to do about it."""
    shape = expected.references[op].values.shape
    dtype = expected.result_dtypes.get(op, case.dtype)
    if not isinstance(result, np.ndarray):
        return Failure(case.id, op, "type", _no_array(result))
    if result.shape != shape:
        said = f"shape {result.shape}, not {shape}"
        return Failure(case.id, op, "shape", said + _shape_hint(result.shape, shape))
    if result.dtype.newbyteorder("=") != dtype_of(dtype):
        said = f"dtype {result.dtype.name}, not {dtype}"
        hint = _dtype_hint(result.dtype.name, dtype, case.dtype)
        return Failure(case.id, op, "dtype", said + hint)
    return None


def _no_array(result: Any) -> str:
    """Say what came instead of an array, and how to make one of it."""
    said = f"returned {type(result).__name__}, not a NumPy array"
    package = type(result).__module__.split(".")[0]
    if package == "torch" and hasattr(result, "cpu"):
        detach = ".detach()" if _told(result, "requires_grad") == "True" else ""
        return (
            f"returned a torch tensor on device {_told(result, 'device')}, not a NumPy array: "
            f"return result{detach}.cpu().numpy()"
        )
    if package in ("jax", "jaxlib"):
        return (
            f"returned a jax array on device {_told(result, 'device')}, not a NumPy array: "
            "return numpy.asarray(result)"
        )
    if package == "cupy":
        return "returned a cupy array, not a NumPy array: return result.get()"
    if result is None:
        return f"{said}: is a return missing?"
    if isinstance(result, (tuple, list)) and len(result) and isinstance(result[0], np.ndarray):
        return f"{said}: one of its {len(result)} arrays is wanted alone"
    if isinstance(result, (list, int, float, complex, np.generic)):
        return f"{said}: return numpy.asarray(result, dtype=input.dtype)"
    return said


def _told(result: Any, attribute: str) -> str:
    """Return the text of an attribute of what the code under test returned; it may raise."""
    try:
        return str(getattr(result, attribute, "?"))
    except Exception:  # noqa: BLE001  # a property of the code under test
        return "?"


def _shape_hint(shape: tuple[int, ...], right: tuple[int, ...]) -> str:
    """Say what a wrong shape looks like, where it looks like something."""
    if [size for size in shape if size != 1] == [size for size in right if size != 1]:
        return f": the same numbers with other axes of length 1, return result.reshape({right})"
    if len(shape) == len(right) and len(right) > 2:
        if shape == (*right[:-3], *right[-2:], right[-3]):
            return ": looks like channels last (NHWC), channels come before the extents"
        if shape == (*right[:-2], right[-1], right[-2]):
            return ": looks like height and width exchanged"
    return ""


def _dtype_hint(dtype: str, right: str, given: str) -> str:
    """Say how another dtype is returned, or declared where mixed precision is usual."""
    hint = "" if right == "bfloat16" else f": return result.astype({right!r})"
    if right == given and given in (*SIGNED, *UNSIGNED, "float16", "bfloat16"):
        hint += ", or" if hint else ":"
        hint += f" declare supports['result_dtypes'] = {{{given!r}: {dtype!r}}} if it is meant"
    return hint


def _exact_results(
    case: Case, arrays: Operands, ops: list[str], dtypes: Mapping[str, str]
) -> dict[str, Array]:
    """Return the results of exact operations, rounded once to the case's dtype or to `dtypes`."""
    named: dict[str, Array | None] = {}
    if "forward" in ops:
        named["forward"] = conv2d(
            arrays.input, arrays.weight, arrays.bias, *case.parameters, dtype=dtypes.get("forward")
        )
    wanted = [op for op, on in zip(OPS[1:], case.output_mask, strict=True) if on and op in ops]
    # One call for gradients of one dtype, which is all of them unless declared by operation.
    for dtype in {dtypes.get(op) for op in wanted}:
        mask = tuple(op in wanted and dtypes.get(op) == dtype for op in OPS[1:])
        assert arrays.grad_output is not None
        gradients = conv2d_backward(
            arrays.grad_output, arrays.input, arrays.weight, *case.parameters, mask, dtype=dtype
        )
        named |= {op: g for op, g in zip(OPS[1:], gradients, strict=True) if g is not None}
    return {op: array for op, array in named.items() if array is not None}


def _worst(case: Case, op: str, result: Array, right: Reference, found: Comparison) -> Failure:
    """Describe the worst of the wrong elements; a non-finite one before all others."""
    odd = bool(found.nonfinite.any())
    where = found.nonfinite if odd else found.wrong
    if right.bound is None:
        wide = np.complex128 if case.dtype in COMPLEXES else np.float64
        badness = np.abs(result.astype(wide) - right.values.astype(wide))
        badness = np.nan_to_num(badness, nan=np.inf, posinf=np.inf)
    else:
        badness = found.ratios
    index = tuple(
        int(i) for i in np.unravel_index(int(np.argmax(np.where(where, badness, -1))), where.shape)
    )
    ratio = float(found.ratios[index])
    got, want = str(result[index]), str(right.values[index])
    count, size = int(np.count_nonzero(where)), where.size
    what = "differ"
    if odd:
        what = "differ in NaN or infinity"
    return Failure(
        case.id, op, "nonfinite" if odd else "values",
        f"{count} of {size} elements {what}; worst at {index}: got {got}, want {want}",
        ratio if right.bound is not None and np.isfinite(ratio) else None, index, got, want,
    )  # fmt: skip
