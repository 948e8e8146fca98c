"""Time and working memory of `npconv.exact` beside `npconv`, on layer shapes of 0.1 to 4 GFLOP.

    OPENBLAS_NUM_THREADS=1 python -m benchmarks.exact [--repeats N] [--json FILE]

Both are called in turn in one process, and medians are compared: a machine's other work then
meets both alike. Memory is the rise of the peak resident size during one call, in a fresh
process, less what the result takes.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import npconv
from benchmarks.memory import work_space
from npconv import exact

#: name: batch, channels, height, width, features, kernel, stride, padding, groups
LAYERS = {
    "resnet 7x7/2 first": (2, 3, 224, 224, 64, 7, 2, 3, 1),
    "resnet 3x3 64": (1, 64, 56, 56, 64, 3, 1, 1, 1),
    "resnet 3x3/2 128": (2, 128, 56, 56, 128, 3, 2, 1, 1),
    "resnet 1x1 64-256": (2, 64, 56, 56, 256, 1, 1, 0, 1),
    "resnet 3x3 256": (2, 256, 14, 14, 256, 3, 1, 1, 1),
    "resnet 3x3 512": (4, 512, 7, 7, 512, 3, 1, 1, 1),
    "resnext 3x3 grouped": (8, 256, 28, 28, 256, 3, 1, 1, 32),
    "mobilenet depthwise": (16, 512, 28, 28, 512, 3, 1, 1, 512),
    "vgg 3x3 128": (4, 128, 56, 56, 128, 3, 1, 1, 1),
}
OPERATIONS = ("forward", "grad_input", "grad_weight", "grad_bias")
DTYPES = ("float32", "float64")


def arrays(layer: str, dtype: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return input, weight and grad_output of a layer, and its parameters."""
    n, c, h, w, f, k, stride, padding, groups = LAYERS[layer]
    rng = np.random.default_rng(len(layer))
    out = [(extent + 2 * padding - k) // stride + 1 for extent in (h, w)]
    drawn = {
        "input": rng.standard_normal((n, c, h, w)).astype(dtype),
        "weight": rng.standard_normal((f, c // groups, k, k)).astype(dtype),
        "grad_output": rng.standard_normal((n, f, *out)).astype(dtype),
    }
    return drawn, {"stride": stride, "padding": padding, "groups": groups}


def call(module: Any, operation: str, a: dict[str, Any], p: dict[str, Any]) -> Callable[[], Any]:
    """Return one operation of a module, ready to be called."""
    x, w, g = a["input"], a["weight"], a["grad_output"]
    return {
        "forward": lambda: module.conv2d(x, w, **p),
        "grad_input": lambda: module.conv2d_input(x.shape, w, g, **p),
        "grad_weight": lambda: module.conv2d_weight(x, w.shape, g, **p),
        "grad_bias": lambda: module.conv2d_bias(g),
    }[operation]


def medians(calls: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Time calls in turn and return the median of each, in seconds."""
    times: list[list[float]] = [[] for _ in calls]
    for turn in range(repeats + 1):
        for run, kept in zip(calls, times, strict=True):
            start = time.perf_counter()
            run()
            if turn:
                kept.append(time.perf_counter() - start)
    return [statistics.median(kept) for kept in times]


def memory(layer: str, dtype: str, operation: str) -> float:
    """Run one call in this process and return its working memory in MiB."""
    given, parameters = arrays(layer, dtype)
    small = np.ones((1, 1, 64, 64), dtype)
    exact.conv2d_backward(small, small, small[..., :1, :1])
    return work_space(call(exact, operation, given, parameters))[1]


def measured_memory(layer: str, dtype: str, operation: str) -> float | None:
    """Measure in a fresh process; None where the system does not tell."""
    command = [sys.executable, "-m", "benchmarks.exact", "--memory", layer, dtype, operation]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else None


def main() -> None:
    """Measure everything and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--memory", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.memory:
        print(memory(*options.memory))
        return
    rows = []
    print(f"{'dtype':8} {'layer':22} {'operation':12} {'GFLOP':>6} {'conv ms':>8} ", end="")
    print(f"{'exact ms':>8} {'ratio':>6} {'MiB':>6}")
    for dtype in DTYPES:
        for layer, (_, c, _, _, _, k, *_, groups) in LAYERS.items():
            given, parameters = arrays(layer, dtype)
            flops = 2e-9 * given["grad_output"].size * (c // groups) * k * k
            for operation in OPERATIONS:
                calls = [call(m, operation, given, parameters) for m in (npconv, exact)]
                plain, rounded = medians(calls, options.repeats)
                space = measured_memory(layer, dtype, operation)
                row = {
                    "dtype": dtype,
                    "layer": layer,
                    "operation": operation,
                    "gflop": round(flops, 3),
                    "conv_ms": round(plain * 1e3, 3),
                    "exact_ms": round(rounded * 1e3, 3),
                    "ratio": round(rounded / plain, 2),
                    "working_mib": None if space is None else round(space, 1),
                }
                rows.append(row)
                print(
                    f"{dtype:8} {layer:22} {operation:12} {flops:6.2f} {plain * 1e3:8.2f} "
                    f"{rounded * 1e3:8.2f} {rounded / plain:6.2f} {space or 0:6.1f}",
                    flush=True,
                )
    if options.json:
        report = {
            "command": "python -m benchmarks.exact " + " ".join(sys.argv[1:]),
            "layers": LAYERS,
            "columns": "n c h w f k stride padding groups",
            "environment": {
                "python": platform.python_version(),
                "numpy": np.__version__,
                "machine": platform.machine(),
                "cores": os.cpu_count(),
                "OPENBLAS_NUM_THREADS": os.environ.get("OPENBLAS_NUM_THREADS"),
            },
            "rows": rows,
        }
        options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
