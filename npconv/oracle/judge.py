"""One verdict on one result: structure first, then values. Verdicts are returned, never raised."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.bounds import OPS, Arithmetic, Call, arguments, default_for, parse
from npconv.compare import Comparison, Reference, compare, reference
from npconv.conv import conv2d, conv2d_backward
from npconv.formats import COMPLEXES, dtype_of, family, significand_bits
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

    @property
    def values(self) -> dict[str, Array]:
        """The right results."""
        return {op: reference.values for op, reference in self.references.items()}


def expect(case: Case, arrays: Operands, arithmetic: Mapping[str, str] | None = None) -> Expected:
    """Compute the right results: to the bit where every order of sums gives them, else with bounds.

    `arithmetic` names that of operations which have not the dtype's own.
    """
    chosen = {op: parse((arithmetic or {}).get(op) or default_for(case.dtype)) for op in OPS}
    exact = [op for op in OPS if is_exact(case, op, chosen[op])]
    found = {op: Reference(a) for op, a in _exact_results(case, arrays, exact).items()}
    for op, call in calls(case, arrays).items():
        if op not in exact:
            found[op] = reference(call, chosen[op], signs=case.data in RANDOM_SIGNS)
    return Expected(found)


def is_exact(case: Case, op: str, arithmetic: Arithmetic | None = None) -> bool:
    """Whether every order of sums gives the same value, so that bits are compared.

    So it is for data of integers where the arithmetic, by default the dtype's own, holds the
    factors and their sums, and its algorithm computes nothing but sums of products.
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
        and own <= arithmetic.result.bits
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
    want = right.values
    if not isinstance(result, np.ndarray):
        message = f"returned {type(result).__name__}, not a NumPy array"
        return failed(Failure(case.id, op, "type", message))
    if result.shape != want.shape:
        return failed(Failure(case.id, op, "shape", f"shape {result.shape}, not {want.shape}"))
    if result.dtype.newbyteorder("=") != dtype_of(case.dtype):
        message = f"dtype {result.dtype.name}, not {case.dtype}"
        return failed(Failure(case.id, op, "dtype", message))
    with np.errstate(all="ignore"):
        found = compare(result, right)
        if found.wrong.any():
            return failed(_worst(case, op, result, right, found))
    ratio = None if right.bound is None else float(found.ratios.max(initial=0.0))
    return Verdict("undecided" if found.undecided.any() else "passed", ratio)


def _exact_results(case: Case, arrays: Operands, ops: list[str]) -> dict[str, Array]:
    """Return the results of exact operations in the case's dtype."""
    named: dict[str, Array | None] = {}
    if "forward" in ops:
        named["forward"] = conv2d(arrays.input, arrays.weight, arrays.bias, *case.parameters)
    mask = tuple(on and op in ops for op, on in zip(OPS[1:], case.output_mask, strict=True))
    if any(mask):
        assert arrays.grad_output is not None
        gradients = conv2d_backward(
            arrays.grad_output, arrays.input, arrays.weight, *case.parameters, mask
        )
        named |= dict(zip(OPS[1:], gradients, strict=True))
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
