"""Time, memory and growth of npconv beside its peers, on the layers of real networks.

    python -m benchmarks.layers [--only TEXT] [--peers A,B] [--repeats N] [--parts A,B]
                                [--json FILE] [--plot FILE]

All candidates of a layer are called in turn in one process, each after an untimed call of its
own, so that the machine's other work meets all alike; medians and minima are kept. Memory is
that of the operating system's accounts: a process' peak in a call beyond what it held before.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import peers
from benchmarks.memory import work_space
from benchmarks.peers import OPERATIONS, PEERS, Call, Layer, problem
from npconv import exact

LAYERS = {
    "resnet50 7x7/2 3-64": Layer(2, 3, 224, 64, 7, 2, 3),
    "resnet50 1x1 64-256": Layer(2, 64, 56, 256, 1),
    "resnet50 3x3 64": Layer(2, 64, 56, 64, 3, 1, 1),
    "resnet50 1x1/2 256-512": Layer(2, 256, 56, 512, 1, 2),
    "resnet50 3x3/2 128": Layer(2, 128, 56, 128, 3, 2, 1),
    "resnet50 3x3 256": Layer(2, 256, 14, 256, 3, 1, 1),
    "resnet50 1x1 1024-256": Layer(2, 1024, 14, 256, 1),
    "resnet50 3x3 512": Layer(2, 512, 7, 512, 3, 1, 1),
    "resnext 3x3 256 in 32": Layer(2, 256, 28, 256, 3, 1, 1, 32),
    "vgg16 3x3 3-64": Layer(1, 3, 224, 64, 3, 1, 1),
    "vgg16 3x3 128": Layer(1, 128, 112, 128, 3, 1, 1),
    "vgg16 3x3 512": Layer(1, 512, 28, 512, 3, 1, 1),
    "mobilenet depthwise 32": Layer(2, 32, 112, 32, 3, 1, 1, 32),
    "mobilenet depthwise/2 64": Layer(2, 64, 112, 64, 3, 2, 1, 64),
    "mobilenet depthwise 512": Layer(4, 512, 14, 512, 3, 1, 1, 512),
    "blog 4x4/2 3-15": Layer(64, 3, 50, 15, 4, 2),
}
#: Small cases as a conformance suite has them; the first is that of the aim.
SMALL = {"1x1 4-5": Layer(2, 4, 8, 5, 1), "3x3/2 grouped": Layer(2, 4, 9, 6, 3, 2, 1, 2)}
#: (layer, dtype, module, operation) whose work space is measured.
LARGE = {
    "batch 256 of 3x224x224": Layer(256, 3, 224, 4, 7, 2, 3),
    "3x3 512, batch 64": Layer(64, 512, 14, 512, 3, 1, 1),
    "1x1 64-256, batch 32": Layer(32, 64, 56, 256, 1),
    "depthwise 3x3 64, batch 16": Layer(16, 64, 112, 64, 3, 2, 1, 64),
    "3x3 2048-1024 at 7": Layer(4, 2048, 7, 1024, 3, 1, 1),
}
GROWTH = {
    "batch": [Layer(n, 64, 28, 64, 3, 1, 1) for n in (1, 2, 4, 8, 16, 32)],
    "channels": [Layer(2, c, 28, 64, 3, 1, 1) for c in (16, 32, 64, 128, 256)],
    "extent": [Layer(2, 64, h, 64, 3, 1, 1) for h in (14, 28, 56, 112)],
}
PARTS = ("layers", "small", "growth", "memory")
#: Idle threads of one library wait for work by spinning, on the cores that the next candidate
#: needs; a short wait lets each candidate have the time that it has alone.
SETTINGS = {
    "OPENBLAS_NUM_THREADS": "2",
    "OMP_NUM_THREADS": "2",
    "MKL_NUM_THREADS": "2",
    "NUMBA_NUM_THREADS": "2",
    "OPENBLAS_THREAD_TIMEOUT": "18",
    "GOMP_SPINCOUNT": "10000",
}
#: Seconds of a single call above which a candidate is called once only.
LONG = 0.5


def timed(run: Call) -> float:
    """Return the seconds of one call."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def in_turn(calls: dict[str, Call], repeats: int, each: int = 2) -> dict[str, list[float]]:
    """Time calls in turn, `each` at a time after an untimed one."""
    times: dict[str, list[float]] = {}
    for name, run in calls.items():
        first = timed(run)
        # A first call compiles, loads and allocates; only a long second one tells.
        times[name] = [timed(run)] if first > LONG else []
    slow = {name for name, kept in times.items() if kept and kept[0] > LONG}
    for _ in range(repeats):
        for name, run in calls.items():
            if name not in slow:
                run()
                times[name] += [timed(run) for _ in range(each)]
    return times


def summary(times: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Return median and minimum in milliseconds."""
    return {
        "median_ms": round(scale * 1e3 * statistics.median(times), 5),
        "least_ms": round(scale * 1e3 * min(times), 5),
        "calls": len(times),
    }


def measured_layers(
    layers: dict[str, Layer], names: Sequence[str], repeats: int
) -> list[dict[str, Any]]:
    """Time every peer on every layer and operation."""
    rows = []
    for title, layer in layers.items():
        for operation in OPERATIONS:
            calls: dict[str, Call] = {}
            problems = {dtype: problem(layer, dtype) for dtype in ("float64", "float32")}
            for name in names:
                factory, dtype = PEERS[name]
                call = factory(problems[dtype], operation)
                if call is not None:
                    calls[name] = call
            check(calls)
            times = in_turn(calls, repeats)
            scale = {"python loops": peers.python_scale(problems["float64"])}
            row = {
                "layer": title,
                "operation": operation,
                "gflop": round(layer.flops * 1e-9, 4),
                "times": {n: summary(t, scale.get(n, 1.0)) for n, t in times.items()},
            }
            rows.append(row)
            show(row)
    return rows


def check(calls: dict[str, Call]) -> None:
    """Compare results once: a peer that computes something else is no peer."""
    results = {n: c() for n, c in calls.items() if n not in ("matrix product", "python loops")}
    for name, result in results.items():
        short = name.endswith("32")
        expected = results.get("npconv float32" if short else "npconv float64", result)
        limit = (1e-4 if short else 1e-9) * max(1.0, float(np.abs(expected).max()))
        if result.shape != expected.shape or not np.allclose(result, expected, rtol=0, atol=limit):
            raise SystemExit(f"{name} computes something else")


def show(row: dict[str, Any]) -> None:
    """Print one row: milliseconds, and the ratio of npconv float64 to each."""
    own = row["times"].get("npconv float64")
    print(f"\n{row['layer']}  {row['operation']}  {row['gflop']:.3f} GFLOP", flush=True)
    for name, kept in row["times"].items():
        ratio = "" if own is None else f"{own['median_ms'] / kept['median_ms']:9.3f}"
        print(f"  {name:18} {kept['median_ms']:12.3f} ms  {kept['least_ms']:12.3f}  {ratio}")


def measured_small(repeats: int) -> list[dict[str, Any]]:
    """Time small calls of npconv and torch, many at a time: 2x4x7x9 with 3x3 kernels first."""
    rng = np.random.default_rng(0)
    first = peers.Problem(
        Layer(2, 4, 7, 5, 3, 1, 1),
        rng.random((2, 4, 7, 9)), rng.random((5, 4, 3, 3)), rng.random((2, 5, 7, 9)),
    )  # fmt: skip
    rows = []
    problems = {"2x4x7x9, 5 kernels 3x3": first}
    problems |= {title: problem(layer, "float64") for title, layer in SMALL.items()}
    for title, given in problems.items():
        for operation in ("forward", "backward"):
            calls = {"npconv": peers.of_npconv(given, operation)}
            if installed("torch"):
                calls["torch"] = peers.of_torch(given, operation)
            times = {n: [s / 20 for s in t] for n, t in in_turn(
                {n: lambda run=run: [run() for _ in range(20)] for n, run in calls.items()},
                20 * repeats, 1,
            ).items()}  # fmt: skip
            row = {"case": title, "operation": operation}
            row["times"] = {n: summary(t) for n, t in times.items()}
            rows.append(row)
            print(title, operation, *(
                f"{n} {1e3 * t['median_ms']:.1f} us (least {1e3 * t['least_ms']:.1f})"
                for n, t in row["times"].items()
            ), sep="  ", flush=True)  # fmt: skip
    return rows


def measured_growth(repeats: int) -> list[dict[str, Any]]:
    """Fit the exponent of the cost in batch, channels and extent (of its square)."""
    rows = []
    for axis, layers in GROWTH.items():
        sizes = [getattr(layer, axis) ** (2 if axis == "extent" else 1) for layer in layers]
        for operation in OPERATIONS:
            row: dict[str, Any] = {"axis": axis, "operation": operation, "sizes": sizes}
            row["times"], row["exponents"] = {}, {}
            names = ["npconv float64", *(["torch float64"] if installed("torch") else [])]
            per_size = []
            for layer in layers:
                given = problem(layer, "float64")
                calls = {n: PEERS[n][0](given, operation) for n in names}
                per_size.append(in_turn({n: c for n, c in calls.items() if c}, repeats))
            for name in names:
                times = [1e3 * statistics.median(found[name]) for found in per_size]
                slope = float(np.polyfit(np.log(sizes), np.log(times), 1)[0])
                row["times"][name] = [round(t, 4) for t in times]
                row["exponents"][name] = round(slope, 3)
            rows.append(row)
            print(axis, operation, row["exponents"], flush=True)
    return rows


def own_work_space(title: str, dtype: str, module: str, operation: str) -> dict[str, float]:
    """Return the work space of one call in this process, and what was held before it."""
    given = problem(LARGE[title], dtype)
    peers.of_npconv(problem(Layer(1, 2, 8, 3, 3), dtype), "backward", MODULES[module])()
    held, space = work_space(peers.of_npconv(given, operation, MODULES[module]))
    return {"held_mib": held, "mib": space}


MODULES: dict[str, Any] = {"npconv": peers.npconv, "npconv.exact": exact}


def measured_memory(only: str) -> list[dict[str, Any]]:
    """Measure the work space of large calls, each in a process of its own."""
    rows = []
    for title in LARGE:
        if only not in title:
            continue
        for module, dtype, operation in [
            (m, d, o) for m in MODULES for d in ("float32", "float64") for o in OPERATIONS
        ]:
            if module == "npconv.exact" and dtype == "float64":
                continue
            command = [sys.executable, "-m", "benchmarks.layers", "--work-space"]
            command += [title, dtype, module, operation]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            row = {"layer": title, "dtype": dtype, "module": module, "operation": operation}
            row |= json.loads(done.stdout)
            rows.append(row)
            print(
                f"{title:28} {module:13} {dtype} {operation:12} {row['mib']:8.1f} MiB", flush=True
            )
    return rows


def mean_ratio(rows: list[dict[str, Any]], over: str, operation: str, own: str) -> Any:
    """Return geometric mean and largest of own / over in medians, over the layers."""
    ratios = {
        row["layer"]: row["times"][own]["median_ms"] / row["times"][over]["median_ms"]
        for row in rows
        if row["operation"] == operation and over in row["times"] and own in row["times"]
    }
    if not ratios:
        return None
    worst = max(ratios, key=lambda layer: ratios[layer])
    mean = math.exp(statistics.fmean(math.log(r) for r in ratios.values()))
    return {"mean": float(f"{mean:.3g}"), "largest": float(f"{ratios[worst]:.3g}"), "at": worst}


def means(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the geometric means of npconv's time over each peer's, and of the limit's."""
    found = []
    pairs = [("npconv float32" if p.endswith("32") else "npconv float64", p) for p in PEERS]
    for operation in OPERATIONS:
        for own, over in [("matrix product", "torch float64"), *pairs]:
            ratio = None if over == own else mean_ratio(rows, over, operation, own)
            if ratio is not None:
                found.append({"operation": operation, "of": own, "over": over} | ratio)
    return found


def installed(package: str) -> str | None:
    """Return the version of a package, None where it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


NEEDS = {"torch": "torch", "jax": "jax", "onnx": "onnx", "scipy": "scipy", "numba": "numba"}


def environment() -> dict[str, Any]:
    """Return what the figures depend on."""
    cpu = next(
        (
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    versions = {name: installed(name) for name in ("numpy", *NEEDS.values())}
    return {
        "python": platform.python_version(),
        "cpu": cpu,
        "cores": os.cpu_count(),
        "load_before": os.getloadavg(),
        "versions": versions,
        "settings": SETTINGS,
    }


def plot(report: dict[str, Any], path: Path) -> None:
    """Draw npconv's time over torch's and over the bare matrix product, layer by layer."""
    import matplotlib as mpl

    mpl.use("svg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, len(OPERATIONS), figsize=(13, 5.5), sharey=True)
    titles = list(dict.fromkeys(row["layer"] for row in report["layers"]))
    for panel, operation in zip(panels, OPERATIONS, strict=True):
        for over, mark in (("torch float64", "o"), ("matrix product", "x")):
            points = [
                (row["times"]["npconv float64"]["median_ms"] / row["times"][over]["median_ms"], i)
                for i, title in enumerate(titles)
                for row in report["layers"]
                if (row["layer"], row["operation"]) == (title, operation) and over in row["times"]
            ]
            if points:
                panel.plot(*zip(*points, strict=True), mark, label=f"over {over}")
        panel.axvline(1.0, color="grey", linewidth=0.8)
        panel.set(title=operation, xscale="log", xlabel="time of npconv float64, relative")
        panel.set_yticks(range(len(titles)), titles)
        ticks = (0.25, 0.5, 1, 2, 4)
        panel.set_xticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
        panel.minorticks_off()
        panel.grid(axis="x", alpha=0.3)
    panels[0].invert_yaxis()
    figure.tight_layout(rect=(0, 0.06, 1, 1))
    figure.legend(*panels[0].get_legend_handles_labels(), loc="lower center", ncols=2)
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    """Measure and report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", metavar="TEXT", help="layers that hold this text")
    parser.add_argument("--peers", metavar="A,B", help=f"of {', '.join(PEERS)}")
    parser.add_argument(
        "--parts",
        metavar="A,B",
        default=",".join(PARTS),
        help="the others that FILE holds are kept",
    )
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--work-space", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work_space:
        print(json.dumps(own_work_space(*options.work_space)))
        return
    if any(os.environ.get(name) != value for name, value in SETTINGS.items()):
        # Threads are counted when a library is loaded.
        os.execve(
            sys.executable,
            [sys.executable, "-m", "benchmarks.layers", *sys.argv[1:]],
            os.environ | SETTINGS,
        )
    names = options.peers.split(",") if options.peers else list(PEERS)
    missing = [n for n in names if not installed(NEEDS.get(n.split()[0], "numpy"))]
    for name in missing:
        print(f"skipped: {name}, which is not installed")
    names = [name for name in names if name not in missing]
    if installed("torch"):
        import torch

        torch.set_num_threads(2)
    parts = options.parts.split(",")
    run = {
        "command": " ".join(["python -m benchmarks.layers", *sys.argv[1:]]),
        "environment": environment(),
        "skipped": missing,
    }
    kept: dict[str, Any] = {}
    if options.json and options.json.exists():
        kept = json.loads(options.json.read_text(encoding="utf-8"))
    report: dict[str, Any] = kept | {
        "runs": kept.get("runs", {}) | dict.fromkeys(parts, run),
        "shapes": {title: vars(layer) for title, layer in (LAYERS | LARGE).items()},
        "columns": "milliseconds; means are geometric, of npconv's median over the peer's",
    }
    if "small" in parts:
        report["small"] = measured_small(options.repeats)
    if "layers" in parts:
        chosen = {t: layer for t, layer in LAYERS.items() if options.only in t}
        report["layers"] = measured_layers(chosen, names, options.repeats)
        report["means"] = means(report["layers"])
        print()
        for mean in report["means"]:
            print("{of} over {over}, {operation}: {mean}, at most {largest} ({at})".format(**mean))
    if "growth" in parts:
        report["growth"] = measured_growth(options.repeats)
    if "memory" in parts:
        report["memory"] = measured_memory(options.only)
    if options.json:
        options.json.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if options.plot:
        plot(report, options.plot)


if __name__ == "__main__":
    main()
