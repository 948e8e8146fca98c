"""Compare `npconv.exact` with the definition, element by element and to the bit.

    python -m conformance.exact_proof [--elements N] [-j JOBS] [--progress FILE] [--json FILE]

The reference is `npconv.definition`, which shares no code with the rest of the package: exact
sums of Fractions, rounded once. Data is that of `conformance.exact_data`, made to be hard to
round. Each case also draws one of several settings of the working sizes, so that short sums go
through what is meant for long ones, and through every stage. What is finished is kept in the
progress file, and a second start goes on from there.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from conformance import exact_data
from npconv import definition, exact, operands, rounding, splitting

#: Working sizes: as they are; a few numbers at a time; all stages in turn; straight to single sums.
SETTINGS: tuple[dict[str, float], ...] = (
    {},
    {"SIDE": 40, "TILE": 24, "LENGTH": 7, "CHUNK": 16},
    {"PATIENCE": -1.0},
    {"PATIENCE": 1.0, "SAMPLE": 4, "BATCH": 8},
)
#: Cases of each dtype and kind with longer sums: up to 143 products.
LONG = 4


@contextmanager
def sizes(changes: dict[str, float]) -> Iterator[None]:
    """Change constants of the modules for a while."""
    before = {}
    for name, value in changes.items():
        module = next(m for m in (operands, splitting, rounding) if hasattr(m, name))
        before[name] = module, getattr(module, name)
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, (module, value) in before.items():
            setattr(module, name, value)


def long_case(key: int, dtype: str, kind: str) -> exact_data.Case:
    """Draw a case with sums of 72 to 143 products."""
    draw = exact_data.Draw(key)
    return exact_data.Case(
        exact_data.array(draw, (1, 8, 14, 13), dtype, kind),
        exact_data.array(draw, (6, 8, 3, 4), dtype, kind),
        exact_data.array(draw, (6,), dtype, kind),
        exact_data.array(draw, (1, 6, 13, 11), dtype, kind),
        {"stride": 1, "padding": ((0, 1), (2, -1)), "dilation": 1, "groups": 1},
    )


def work(item: tuple[str, str, int]) -> dict[str, Any]:
    """Compare about `elements` elements of one dtype and kind."""
    dtype, kind, elements = item
    compared = dict.fromkeys(exact_data.OPERATIONS, 0)
    wrong: list[dict[str, Any]] = []
    number = 0
    while sum(compared.values()) < elements or number < LONG:
        key = exact_data.DTYPES.index(dtype) * 2**40 + list(exact_data.KINDS).index(kind) * 2**32
        if number < LONG:
            case, changes = long_case(key + number, dtype, kind), SETTINGS[number % 2 * 2]
        else:
            case = exact_data.case(key + number, dtype, kind, size=4 + number % 17)
            changes = SETTINGS[number % len(SETTINGS)]
        with sizes(changes):
            results = exact_data.results(exact, case)
        expected = exact_data.results(definition, case, dtype=dtype)
        for operation, values in results.items():
            compared[operation] += np.asarray(values).size
            got = exact_data.bits(values, dtype)
            want = exact_data.bits(expected[operation], dtype)
            if not np.array_equal(got, want):
                count = int(np.count_nonzero(got != want)) if got.shape == want.shape else -1
                wrong.append({"case": number, "operation": operation, "elements": count})
        number += 1
    return {"dtype": dtype, "kind": kind, "cases": number, "compared": compared, "wrong": wrong}


def main() -> int:
    """Run the comparison and write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=10_800_000, help="in all")
    parser.add_argument("-j", type=int, default=1, help="processes")
    parser.add_argument("--progress", type=Path, default=Path("exact_proof.jsonl"))
    parser.add_argument("--json", type=Path, help="where the record goes")
    options = parser.parse_args()

    share = -(-options.elements // (len(exact_data.DTYPES) * len(exact_data.KINDS)))
    lines = options.progress.read_text().splitlines() if options.progress.exists() else []
    done = [line for line in map(json.loads, lines) if line["share"] == share]
    finished = {(line["dtype"], line["kind"]) for line in done}
    items = [
        (dtype, kind, share)
        for dtype in exact_data.DTYPES
        for kind in exact_data.KINDS
        if (dtype, kind) not in finished
    ]
    start = time.monotonic()
    with multiprocessing.Pool(options.j) as pool, options.progress.open("a") as progress:
        for line in pool.imap_unordered(work, items):
            line["share"] = share
            done.append(line)
            progress.write(json.dumps(line) + "\n")
            progress.flush()
            count = sum(line["compared"].values())
            print(f"{line['dtype']} {line['kind']}: {count} elements, {len(line['wrong'])} wrong")
    report = record(done, time.monotonic() - start)
    text = json.dumps(report, indent=1)
    if options.json:
        options.json.write_text(text + "\n")
    print(text)
    return 1 if report["wrong"] else 0


def record(done: list[dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Add up finished lines."""

    def total(field: str, operation: str) -> dict[str, int]:
        counts: dict[str, int] = {}
        for line in done:
            name = line[field]
            counts[name] = counts.get(name, 0) + line["compared"][operation]
        return counts

    by_dtype = {op: total("dtype", op) for op in exact_data.OPERATIONS}
    by_kind = [total("kind", op) for op in exact_data.OPERATIONS]
    return {
        "claim": "npconv.exact equals npconv.definition rounded once, to the bit",
        "command": "python -m conformance.exact_proof " + " ".join(sys.argv[1:]),
        "elements": sum(sum(counts.values()) for counts in by_dtype.values()),
        "cases": sum(line["cases"] for line in done),
        "wrong": sum(len(line["wrong"]) for line in done),
        "elements_by_operation_and_dtype": by_dtype,
        "elements_by_kind": {k: sum(c.get(k, 0) for c in by_kind) for k in exact_data.KINDS},
        "complex_elements": "counted once, though both parts are compared",
        "seconds_of_this_run": round(seconds, 1),
        "environment": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "machine": platform.machine(),
        },
    }


if __name__ == "__main__":
    sys.exit(main())
