"""Digests of what `npconv.exact` returns, so that every environment can be held to the same bits.

    python -m conformance.digests.make_exact

writes exact.json beside this file, after every case has been compared with the definition; it
takes a minute. A digest is the first 16 hex digits of SHA-256 over the little-endian bytes of
output, input gradient, weight gradient and bias gradient, in that order.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from conformance import exact_data
from npconv import definition, exact

FILE = Path(__file__).with_name("exact.json")
#: Cases of each dtype, result dtype and kind.
EACH = 22
#: dtypes of arrays and results, where they differ.
OTHERS = (
    ("float64", "float32"),
    ("float64", "float16"),
    ("float32", "float64"),
    ("float32", "float16"),
    ("float32", "complex64"),
    ("complex128", "complex64"),
    ("int64", "float64"),
    ("int64", "float32"),
    ("int32", "float16"),
    ("uint8", "int32"),
)


def entries() -> Iterator[tuple[str, str, str]]:
    """Yield (dtype, result dtype, kind): one line of digests each."""
    for dtype in (*exact_data.DTYPES, *exact_data.INTEGERS):
        for kind in kinds(dtype):
            yield dtype, dtype, kind
    for dtype, result in OTHERS:
        for kind in kinds(dtype):
            if kind in ("normal", "long_integers", "ties", "mixed", "subnormal"):
                yield dtype, result, kind


def kinds(dtype: str) -> tuple[str, ...]:
    """Return the kinds of data that a dtype has."""
    return (
        ("integers", "long_integers") if dtype in exact_data.INTEGERS else tuple(exact_data.KINDS)
    )


def case(dtype: str, kind: str, number: int) -> exact_data.Case:
    """Return a case; the key comes from the names, so that lines do not depend on one another."""
    name = f"{dtype} {kind} {number}".encode()
    key = int.from_bytes(hashlib.sha256(name).digest()[:8], "little")
    return exact_data.case(key, dtype, kind, size=2 + number % 6)


def computed(module: Any, given: exact_data.Case, dtype: str, result: str) -> dict[str, Any]:
    """Return the bits of a module's results, by operation."""
    asked = {} if dtype == result and module is exact else {"dtype": result}
    values = exact_data.results(module, given, **asked)
    return {name: exact_data.bits(value, result) for name, value in values.items()}


def digest(bits: dict[str, Any]) -> str:
    """Return the digest of a case's results."""
    words = (bits[name] for name in exact_data.OPERATIONS)
    data = b"".join(np.asarray(w, w.dtype.newbyteorder("<")).tobytes() for w in words)
    return hashlib.sha256(data).hexdigest()[:16]


def main() -> int:
    """Compare, then write."""
    lines: dict[str, list[str]] = {}
    elements = 0
    for dtype, result, kind in entries():
        digests = []
        for number in range(EACH):
            given = case(dtype, kind, number)
            got = computed(exact, given, dtype, result)
            want = computed(definition, given, dtype, result)
            for name in exact_data.OPERATIONS:
                if not np.array_equal(got[name], want[name]):
                    print(f"{dtype} {result} {kind} {number}: {name} differs from the definition")
                    return 1
                elements += got[name].size
            digests.append(digest(got))
        lines[f"{dtype} {result} {kind}"] = digests
    FILE.write_text(json.dumps(lines, indent=0) + "\n")
    print(f"{sum(map(len, lines.values()))} cases, {elements} numbers, all equal to the definition")
    return 0


if __name__ == "__main__":
    sys.exit(main())
