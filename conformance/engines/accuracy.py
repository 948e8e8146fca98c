"""How accurate an engine is: its errors against correctly rounded results, on real numbers.

    python -m conformance.engines.accuracy ADAPTER [--json FILE]

The cases are fixed, and their arrays follow from their ids. Nothing is judged here: an engine is
within its bounds by the suite. What is measured is how far, and in units in the last place.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from conformance.engines import SHARES, SPARSELY
from npconv import __version__, adapters, exact
from npconv.bounds import DTYPE_FORMATS, Call, default_for
from npconv.bounds import parse as arithmetic_named
from npconv.compare import compare, reference
from npconv.formats import COMPLEXES, FLOATS, available
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.judge import calls
from npconv.oracle.protocol import OPS
from npconv.oracle.report import environment, write_whole
from npconv.oracle.run import Plan, WorkerLostError, called
from npconv.workers import TIMEOUT, Workers

Array = np.ndarray[Any, np.dtype[Any]]

#: (batch, channels, features, groups, extents, kernel, stride, padding, dilation): first layers,
#: single pixels, depthwise and grouped ones, and long sums of each operation. The extents of each
#: are distinct; batches of 16 are where some engines transform.
SIZES = (
    (2, 3, 8, 1, (17, 19), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 3, 16, 1, (37, 41), (7, 7), (2, 2), (3, 3), (1, 1)),
    (2, 64, 32, 1, (9, 7), (1, 1), (1, 1), (0, 0), (1, 1)),
    (2, 12, 12, 12, (15, 11), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 12, 18, 3, (13, 10), (3, 2), (2, 1), (1, 0), (1, 1)),
    (1, 6, 5, 1, (19, 23), (3, 3), (1, 1), (2, 2), (2, 2)),
    (4, 8, 16, 1, (12, 14), (5, 5), (1, 1), (2, 2), (1, 1)),
    (16, 8, 8, 1, (18, 20), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 512, 24, 1, (8, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (1, 24, 512, 1, (8, 7), (3, 3), (1, 1), (1, 1), (1, 1)),
    (8, 2, 3, 1, (45, 43), (3, 3), (1, 1), (0, 0), (1, 1)),
)
SEEDS = (0, 1)


class Errors(NamedTuple):
    """The errors of one operation on one case, element by element."""

    #: |error| / bound of the arithmetic that the engine is judged as.
    ratios: Array
    #: |error| in units in the last place of the correctly rounded result.
    ulps: Array


@dataclass
class Measured:
    """The errors of an operation in a dtype, over the cases."""

    cases: int = 0
    errors: list[Errors] = field(default_factory=list)

    def summary(self) -> dict[str, Any]:
        """Return the largest error and the median."""
        found: dict[str, Any] = {"cases": self.cases}
        for position, name in enumerate(Errors._fields):
            values = np.concatenate([each[position].ravel() for each in self.errors])
            found.setdefault("elements", values.size)
            found[name] = {"largest": _short(values.max()), "median": _short(np.median(values))}
        return found


def cases() -> Iterator[Case]:
    """Yield the cases: every size in every floating-point dtype, with a bias for every other."""
    for dtype in (*FLOATS, *COMPLEXES):
        for number, sizes in enumerate(SIZES):
            for seed in SEEDS:
                yield Case(*sizes, bool(number % 2), "111", dtype, "packed", "reals", seed)  # type: ignore[arg-type]  # rows of a table


def declared(target: str) -> tuple[str, dict[str, Any]]:
    """Return an adapter's name with its engine's version, and what it says that it supports."""
    supports = adapters.load(target).supports
    names = ("ops", "dtypes", "padding", "layouts", "dilation", "groups", "unbatched", "empty")
    return adapters.describe(target), {name: getattr(supports, name) for name in names}


def measured(target: str, case_id: str) -> dict[str, Errors] | str:
    """Run one case, in a worker; return the errors by operation, or why there are none."""
    case = Case.from_id(case_id)
    implementation = Plan(adapters.load, target, (case_id,)).implementation()
    if not implementation.supports.asks(case):
        return "not asked"
    arrays = operands(case)
    asked = calls(case, arrays)
    found = {}
    try:
        results = {}
        if "forward" in implementation.supports.ops:
            results["forward"] = implementation.forward(case, arrays)
        if implementation.gradient_calls:
            mask = tuple(op in implementation.supports.ops for op in OPS[1:])
            gradients = implementation.gradients(case, arrays, mask)  # type: ignore[arg-type]  # three bools
            results |= {op: a for op, a in zip(OPS[1:], gradients, strict=True) if a is not None}
    except NotImplementedError as error:
        return f"NotImplementedError: {error}"
    for op, result in results.items():
        name = implementation.supports.arithmetic.get((op, case.dtype), default_for(case.dtype))
        found[op] = errors(np.asarray(result), asked[op], name)
    return found


def errors(result: Array, call: Call, arithmetic: str) -> Errors:
    """Compare a result with the bound of an arithmetic, and with the correctly rounded result.

    Examples
    --------
    >>> import numpy as np
    >>> from conformance.engines.accuracy import errors
    >>> from npconv.bounds import arguments
    >>> x, w = np.array([[[[1.0, 3.0]]]]), np.array([[[[0.1, 0.7]]]])
    >>> call = arguments("forward", (x, w), 1, 0, 1, 1)
    >>> right = np.array([[[[2.1999999999999997]]]])
    >>> [errors(right + n * 2**-51, call, "float64").ulps.item() for n in (0, 1, -3)]
    [0.0, 1.0, 3.0]
    """
    compared = compare(result, reference(call, arithmetic_named(arithmetic), signs=True))
    rounded = call.on(call.factors, call.dtype, exact)
    return Errors(compared.ratios, ulps(result, rounded))


def ulps(result: Array, rounded: Array) -> Array:
    """Return errors in units in the last place of right results; parts of complex ones apart."""
    kind = DTYPE_FORMATS[rounded.dtype.name]
    if rounded.dtype.kind == "c":
        parts = [(result.real, rounded.real), (result.imag, rounded.imag)]
    else:
        parts = [(result, rounded)]
    found = []
    for got, right in parts:
        wide = right.astype(np.float64)
        exponents = np.maximum(np.frexp(wide)[1] - 1, kind.least)
        unit = np.ldexp(1.0, exponents - kind.bits + 1)
        found.append(np.abs(got.astype(np.float64) - wide) / unit)
    return np.concatenate([part.ravel() for part in found])


def table(target: str, progress: bool = False) -> dict[str, Any]:
    """Measure an adapter; return what the record holds.

    One that is run on a share of the suite is asked a share of the cases.
    """
    began = time.monotonic()
    found: dict[tuple[str, str], Measured] = defaultdict(Measured)
    missing: dict[str, int] = defaultdict(int)
    every = [case for case in cases() if case.dtype in available()]
    every = every[:: SPARSELY if target in SHARES else 1]
    with Workers(1, TIMEOUT) as workers:
        described, supports = called(workers, declared, target)
        for number, case in enumerate(every, 1):
            try:
                result = called(workers, measured, target, case.id)
            except WorkerLostError as error:
                result = error.kind
            except Exception as error:  # noqa: BLE001  # whatever an engine raises: the suite judges it
                result = f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"
            if isinstance(result, str):
                missing[result] += result != "not asked"
                continue
            for op, error in result.items():
                found[op, case.dtype].cases += 1
                found[op, case.dtype].errors.append(error)
            if progress and number % 20 == 0:
                print(f"accuracy of {target}: {number} of {len(every)} cases", file=sys.stderr)
    return {
        "npconv": __version__,
        "target": target,
        "environment": environment(described),
        "seconds": round(time.monotonic() - began, 1),
        "supports": supports,
        "ops": {
            op: {
                dtype: found[op, dtype].summary()
                for dtype in (*FLOATS, *COMPLEXES)
                if (op, dtype) in found
            }
            for op in OPS
            if any(key[0] == op for key in found)
        },
        "missing": {reason: count for reason, count in sorted(missing.items()) if count},
    }


def record(target: str, path: Path, progress: bool = True) -> None:
    """Measure an adapter and write the record."""
    write_whole(json.dumps(table(target, progress), indent=1, allow_nan=False) + "\n", path)


def _short(value: Any) -> float | None:
    """Return a number of three digits: more would change from machine to machine."""
    return float(f"{value:.3g}") if np.isfinite(value) else None


def main() -> None:
    """Measure one adapter; print the record, or write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("adapter", choices=adapters.NAMES, metavar="ADAPTER")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    if options.json:
        record(options.adapter, options.json)
    else:
        print(json.dumps(table(options.adapter), indent=1))


if __name__ == "__main__":
    main()
