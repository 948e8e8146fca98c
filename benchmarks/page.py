"""Write the figures of docs/performance.md from the recorded run.

    python -m benchmarks.page [--check]

Everything between the page's two marks is made from `recorded/layers.json`, which holds all
parts of the benchmark; `--check` writes nothing and exits with 1 where the page holds something
else.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.peers import OPERATIONS

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "recorded" / "layers.json"
PAGE = ROOT / "docs" / "performance.md"
#: Peers that are Python or NumPy alone.
PURE = ("numpy einsum", "classroom im2col", "onnx reference", "scipy", "python loops")
MARKS = ("<!-- figures: python -m benchmarks.page -->", "<!-- end of figures -->")


def tables(report: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    sections = [_setting(report), _aims(report), _means(report), _layers(report)]
    sections += [_small(report), _growth(report), _memory(report)]
    return "\n".join(line for section in sections for line in [*section, ""]).rstrip()


def _setting(report: dict[str, Any]) -> Iterator[str]:
    runs: dict[str, list[str]] = {}
    for part, run in report["runs"].items():
        runs.setdefault(json.dumps(run), []).append(part)
    for text, parts in runs.items():
        run = json.loads(text)
        found = run["environment"]
        versions = ", ".join(f"{n} {v}" for n, v in found["versions"].items() if v)
        yield f"- {', '.join(parts)}: `{run['command']}`, on {found['cores']} cores of"
        yield f"  {found['cpu']}, two threads for each; Python {found['python']}, {versions}."
        if run["skipped"]:
            yield f"  Not installed, and skipped: {', '.join(run['skipped'])}."


def _row(*cells: object) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"


def _aims(report: dict[str, Any]) -> Iterator[str]:
    """Say what was aimed at, and what was reached."""
    if not {"layers", "small", "memory"} <= report.keys():
        return
    yield "### Aims"
    yield ""
    yield _row("aim", "at most", "measured", "reached")
    yield _row("---", "---:", "---:", "---")
    for aim, limit, measured in _measured_aims(report):
        yield _row(aim, f"{limit:g}", f"{measured:.3g}", "yes" if measured <= limit else "no")


def _measured_aims(report: dict[str, Any]) -> Iterator[tuple[str, float, float]]:
    means = {(m["operation"], m["of"], m["over"]): m for m in report["means"]}
    shapes = report["shapes"]
    for operation, limit in (("forward", 0.5), ("grad_weight", 0.45), ("grad_input", 0.8)):
        found = means[operation, "npconv float64", "torch float64"]
        yield f"{operation}, float64, over torch float64, mean", limit, found["mean"]
        yield f"{operation}, float64, over torch float64, largest", 1.1, found["largest"]
    wide = [
        row["times"]["npconv float64"]["median_ms"] / row["times"]["matrix product"]["median_ms"]
        for row in report["layers"]
        if row["operation"] == "forward" and _depth(shapes[row["layer"]]) >= 64
    ]
    yield (
        "forward over the matrix product, largest with C/g x KH x KW of 64 or more",
        1.6,
        max(wide),
    )
    for operation in OPERATIONS:
        found = means[operation, "npconv float32", "torch float32"]
        yield f"{operation}, float32, over torch float32, mean", 2.5, found["mean"]
    for operation, _, over in (m for m in means if m[2] in PURE and m[1] == "npconv float64"):
        yield (
            f"{operation} over {over}, mean",
            0.1,
            means[operation, "npconv float64", over]["mean"],
        )
    first = report["small"][0]["case"]
    for row, limit in zip(report["small"][:2], (60, 200), strict=True):
        measured = 1e3 * row["times"]["npconv"]["median_ms"]
        yield f"{first}, {row['operation']}, microseconds", limit, measured
    yield "work space, MiB, largest", 64, max(row["mib"] for row in report["memory"])
    deep = [
        row["times"]["npconv float64"]["median_ms"] / row["times"]["torch float64"]["median_ms"]
        for row in report["layers"]
        if shapes[row["layer"]]["groups"] == shapes[row["layer"]]["channels"]
    ]
    mean = math.exp(statistics.fmean(map(math.log, deep)))
    yield "depthwise layers, float64, over torch float64, mean", 1, mean
    yield "depthwise layers, float64, over torch float64, largest", 1, max(deep)


def _depth(shape: dict[str, int]) -> int:
    return shape["channels"] // shape["groups"] * shape["kernel"] ** 2


def _means(report: dict[str, Any]) -> Iterator[str]:
    if "means" not in report:
        return
    yield "### Time over each peer's: geometric mean over the layers, and the largest"
    yield ""
    yield _row("operation", "time of", "over", "mean", "largest", "at")
    yield _row("---", "---", "---", "---:", "---:", "---")
    for m in report["means"]:
        mean, largest = f"{m['mean']:.3g}", f"{m['largest']:.3g}"
        yield _row(m["operation"], m["of"], m["over"], mean, largest, m["at"])


def _layers(report: dict[str, Any]) -> Iterator[str]:
    rows = report.get("layers", [])
    if not rows:
        return
    names = list(dict.fromkeys(name for row in rows for name in row["times"]))
    yield "### Milliseconds, medians"
    yield ""
    yield _row("layer", "operation", *names)
    yield _row("---", "---", *("---:" for _ in names))
    for row in rows:
        times = (row["times"].get(name) for name in names)
        cells = ("" if t is None else f"{t['median_ms']:.3g}" for t in times)
        yield _row(row["layer"], row["operation"], *cells)


def _small(report: dict[str, Any]) -> Iterator[str]:
    rows = report.get("small", [])
    if not rows:
        return
    yield "### Microseconds of small calls, medians (least)"
    yield ""
    names = list(rows[0]["times"])
    yield _row("case", "operation", *names)
    yield _row("---", "---", *("---:" for _ in names))
    for row in rows:
        cells = (
            f"{1e3 * t['median_ms']:.0f} ({1e3 * t['least_ms']:.0f})"
            for t in (row["times"][name] for name in names)
        )
        yield _row(row["case"], row["operation"], *cells)


def _growth(report: dict[str, Any]) -> Iterator[str]:
    rows = report.get("growth", [])
    if not rows:
        return
    yield "### Growth: exponent of the cost, of the extent in its square"
    yield ""
    names = list(rows[0]["exponents"])
    yield _row("in", "operation", "sizes", *names)
    yield _row("---", "---", "---", *("---:" for _ in names))
    for row in rows:
        sizes = f"{row['sizes'][0]} to {row['sizes'][-1]}"
        cells = (f"{row['exponents'][name]:.2f}" for name in names)
        yield _row(row["axis"], row["operation"], sizes, *cells)


def _memory(report: dict[str, Any]) -> Iterator[str]:
    rows = report.get("memory", [])
    if not rows:
        return
    yield "### Work space: peak beyond arguments and result, MiB"
    yield ""
    operations = list(dict.fromkeys(row["operation"] for row in rows))
    yield _row("call", "dtype", "of", "held", *operations)
    yield _row("---", "---", "---", "---:", *("---:" for _ in operations))
    found: dict[tuple[str, str, str], dict[str, Any]] = {}
    for row in rows:
        key = (row["layer"], row["dtype"], row["module"])
        found.setdefault(key, {})[row["operation"]] = row
    for key, cells in found.items():
        held = max(cell["held_mib"] for cell in cells.values())
        yield _row(*key, f"{held:.0f}", *(f"{cells[o]['mib']:.1f}" for o in operations))


def page(text: str, report: dict[str, Any]) -> str:
    """Return the page with the figures of a report."""
    before, rest = text.split(MARKS[0])
    _, after = rest.split(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{tables(report)}\n\n{MARKS[1]}{after}"


def main() -> None:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    text = PAGE.read_text(encoding="utf-8")
    wanted = page(text, json.loads(RECORD.read_text(encoding="utf-8")))
    if options.check:
        sys.exit(text != wanted)
    PAGE.write_text(wanted, encoding="utf-8")


if __name__ == "__main__":
    main()
