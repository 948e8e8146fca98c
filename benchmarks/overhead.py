"""What npconv costs beside the implementation under test.

python benchmarks/overhead.py [--suite standard[::7]] [--json FILE]

Over the float32 cases of a suite that torch is asked, in one run and case by case in turn: the
seconds of torch's own forward and backward on tensors that are there already, each case a new shape
to torch; and those of npconv: arrays, right values, bounds, comparison, checks of memory and of the
second answer. Only the target's calls are not counted. Then the time of a small integer case, all
four results judged. Seconds are the processor's, of one thread: a busy machine changes little.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import npconv
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

SMALL = tuple(
    Case.from_id(f"n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-{dtype}-packed-integers-seed{seed}")
    for dtype in ("float32", "int32")
    for seed in range(200)
)


def torch_seconds(case: Case) -> float:
    """Seconds of torch's own forward and backward of a case."""
    import torch

    arrays = operands(case)
    assert arrays.grad_output is not None
    x, w = (
        adapters.to_torch(array).detach().requires_grad_()
        for array in (arrays.input, arrays.weight)
    )
    bias = None if arrays.bias is None else adapters.to_torch(arrays.bias).requires_grad_()
    error = adapters.to_torch(arrays.grad_output)
    leaves = [leaf for leaf in (x, w, bias) if leaf is not None]
    began = time.process_time()
    output = torch.nn.functional.conv2d(x, w, bias, *case.parameters)
    torch.autograd.grad(output, leaves, error)
    return time.process_time() - began


class Timed:
    """Npconv's own calls as a target, with the seconds that they take."""

    supports = {"dtypes": ["float32", "int32"]}  # noqa: RUF012  # as a user would write it

    def __init__(self) -> None:
        self.seconds = 0.0

    def conv2d(self, *arguments: Any) -> Any:
        """Return the output."""
        return self._timed(npconv.conv2d, arguments)

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return the gradients."""
        return self._timed(npconv.conv2d_backward, arguments)

    def _timed(self, function: Any, arguments: Any) -> Any:
        began = time.process_time()
        result = function(*arguments)
        self.seconds += time.process_time() - began
        return result


def npconv_seconds(case: Case) -> float:
    """Seconds that npconv spends on a case besides the target's."""
    target = Timed()
    it = Implementation.of(target, "npconv")
    began = time.process_time()
    outcome = run_case(it, case, OPS)
    seconds = time.process_time() - began - target.seconds
    assert all(verdict.status != "failed" for _, verdict in outcome.verdicts), case.id
    return seconds


def measure(suite: str, most: float) -> dict[str, Any]:
    """Return the figures; cases on which torch takes longer than `most` seconds are left out."""
    torch = adapters.load("torch")
    cases = [
        case
        for case in map(suite_named(suite).__getitem__, range(len(suite_named(suite))))
        if case.dtype == "float32" and case.illegal is None and torch.supports.asks(case)
    ]
    # Once each, so that neither pays for what is loaded at the first call.
    torch_seconds(cases[0])
    npconv_seconds(cases[0])
    theirs, ours, left_out = 0.0, 0.0, 0
    for case in cases:
        seconds = torch_seconds(case)
        if seconds > most:
            left_out += 1
            continue
        theirs += seconds
        ours += npconv_seconds(case)
    small = {}
    for dtype in ("float32", "int32"):
        times = [npconv_seconds(case) for case in SMALL if case.dtype == dtype]
        small[dtype] = round(1000 * statistics.median(times), 3)
    return {
        "suite": suite, "cases": len(cases) - left_out, "left_out": left_out,
        "torch_seconds": round(theirs, 3), "npconv_seconds": round(ours, 3),
        "ratio": round(ours / theirs, 2), "small_case_milliseconds": small,
    }  # fmt: skip


def main() -> None:
    """Measure, print, and write where asked."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", maxsplit=1)[0])
    parser.add_argument("--suite", default="standard")
    parser.add_argument("--most", type=float, default=1.0, help="seconds of torch on one case")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = measure(options.suite, options.most)
    print(json.dumps(found, indent=1))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
