"""Measure the bounds: false alarms, faults caught, and fixed tolerances beside them.

    python -m conformance.tolerance_table [--results N] [--trials N] [--json FILE] [--docs FILE]
                                          [--fresh]

What is finished is kept in the JSON file, and a second start goes on from there. The tables go to
stdout and, between its markers, into the page of documentation.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
import platform
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import npconv
from conformance import algorithms
from npconv import bounds, compare, formats
from npconv.geometry import Geometry, parse
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Expected, expect, judge
from npconv.oracle.probe import MODES, Finding, _round, algorithm_of, probe
from npconv.oracle.protocol import Implementation

Array = np.ndarray[Any, np.dtype[Any]]
Arrays = tuple[Array, Array, Array, Array]
ROOT = Path(__file__).parent
MARKERS = "<!-- tolerance table: begin -->", "<!-- tolerance table: end -->"

SCALES = (1e-6, 1e-3, 1.0, 1e3, 1e6)
#: float16 has numbers up to 65504 only: products of 1e3 are left of it.
HALF_SCALES = (1e-6, 1e-3, 1.0, 1e3)
#: (batch, channels, features, groups, extents, kernel, stride, padding, dilation) with long sums:
#: of the output, of the input gradient, and of the weight gradient.
LONG = (
    (1, 2222, 2, 1, (4, 5), (3, 3), (1, 1), (1, 1), (1, 1)),
    (2, 1000, 3, 1, (6, 7), (4, 5), (2, 1), (1, 2), (1, 1)),
    (1, 2, 2222, 1, (4, 5), (3, 3), (1, 1), (1, 0), (1, 1)),
    (2, 2, 2, 1, (101, 102), (3, 2), (1, 1), (0, 1), (1, 1)),
    (16, 2, 3, 1, (36, 37), (3, 3), (1, 1), (1, 1), (1, 1)),
    (16, 555, 4, 1, (8, 9), (3, 3), (1, 1), (1, 1), (1, 1)),
)
TOLERANCES: dict[str, Callable[[Array, Array, str], bool]] = {
    "assert_close": lambda got, want, dtype: _close(got, want, *CLOSE[dtype]),
    "1e-3 / 1e-5": lambda got, want, _: _close(got, want, 1e-3, 1e-5),
    "1e-2 / 1e-2": lambda got, want, _: _close(got, want, 1e-2, 1e-2),
    "RMS 1e-3": lambda got, want, _: bool(
        math.sqrt(np.mean((got - want) ** 2)) <= 1e-3 * math.sqrt(np.mean(want**2))
    ),
}
#: torch.testing.assert_close's rtol and atol by dtype.
CLOSE = {
    "float64": (1e-7, 1e-7),
    "float32": (1.3e-6, 1e-5),
    "float16": (1e-3, 1e-5),
    "bfloat16": (1.6e-2, 1e-5),
}


def _close(got: Array, want: Array, rtol: float, atol: float) -> bool:
    return bool(np.all(np.abs(got - want) <= atol + rtol * np.abs(want)))


# ------------------------------------------------------- correct implementations


@dataclass(frozen=True)
class Row:
    """One correct implementation: its call, its dtype, and its arithmetic by operation."""

    name: str
    dtype: str
    run: Callable[[Arrays, tuple[Any, ...], Geometry], tuple[Any, ...]]
    arithmetic: Callable[[str, tuple[Any, ...], Geometry], str]
    serves: Callable[[Geometry], bool] = lambda _: True


def torch_run(
    dtype: str, onednn: bool = True, channels_last: bool = False
) -> Callable[[Arrays, tuple[Any, ...], Geometry], tuple[Any, ...]]:
    """Return torch's convolution and gradients of float64 arrays that the dtype holds."""
    import torch

    torch.set_num_threads(1)
    layout = torch.channels_last if channels_last else torch.contiguous_format

    def tensor(array: Array) -> Any:
        made = torch.from_numpy(array).to(getattr(torch, dtype))
        return made.contiguous(memory_format=layout) if made.ndim == 4 else made

    def run(arrays: Arrays, parameters: tuple[Any, ...], _: Any) -> tuple[Any, ...]:
        x, w, b, e = map(tensor, arrays)
        leaves = [leaf.requires_grad_() for leaf in (x, w, b)]
        with torch.backends.mkldnn.flags(enabled=onednn):
            y = torch.nn.functional.conv2d(*leaves, *parameters)
            gradients = torch.autograd.grad(y, leaves, e)
        return tuple(t.detach().double().numpy() for t in (y, *gradients))

    return run


def probed(dtype: str, onednn: bool) -> dict[str, Finding]:
    """Probe torch; NumPy has no bfloat16, so arrays go through float32, which holds its numbers."""
    import torch

    run = torch_run(dtype, onednn)

    def forward(x: Array, w: Array, b: Any, *parameters: Any) -> Array:
        del b
        zeros = np.zeros(len(w))
        e = np.zeros(parse(x.shape, w.shape, *parameters).output_shape)
        return _as(run((_wide(x), _wide(w), zeros, e), parameters, None)[0], dtype)

    def backward(e: Array, x: Array, w: Array, *rest: Any) -> tuple[Any, ...]:
        *parameters, mask = rest
        zeros = np.zeros(len(w))
        found = run((_wide(x), _wide(w), zeros, _wide(e)), tuple(parameters), None)[1:]
        return tuple(_as(a, dtype) if on else None for a, on in zip(found, mask, strict=True))

    del torch
    target = SimpleNamespace(
        conv2d=forward, conv2d_backward=backward, supports={"dtypes": (dtype,)}
    )
    return probe(Implementation.of(target, "torch"), dtype, bounds.OPS, 60.0)


def _wide(array: Array) -> Array:
    return array.astype(np.float64)


def _as(array: Array, dtype: str) -> Array:
    return array.astype(formats.dtype_of(dtype))


def rows() -> list[Row]:
    """List the correct implementations."""
    found = []

    def fixed(name: str) -> Callable[[str, tuple[Any, ...], Geometry], str]:
        return lambda *_: name

    def by_probe(dtype: str, onednn: bool) -> Callable[[str, tuple[Any, ...], Geometry], str]:
        findings = probed(dtype, onednn)
        return lambda op, *_: findings[op].name

    found.append(Row("torch, float64", "float64", torch_run("float64"), fixed("float64")))
    found.append(Row("torch, float32, oneDNN", "float32", torch_run("float32"), fixed("float32")))
    found.append(
        Row(
            "torch, float32, without oneDNN",
            "float32",
            torch_run("float32", onednn=False),
            recognised,
        )
    )
    found.append(
        Row(
            "torch, float32, channels last",
            "float32",
            torch_run("float32", channels_last=True),
            fixed("float32"),
        )
    )
    for dtype, onednn in itertools.product(("float16", "bfloat16"), (True, False)):
        name = f"torch, {dtype}, {'oneDNN' if onednn else 'without oneDNN'}"
        found.append(Row(name, dtype, torch_run(dtype, onednn), by_probe(dtype, onednn)))
    for name, (convolution, arithmetic) in algorithms.ALGORITHMS.items():

        def run(
            arrays: Arrays, parameters: tuple[Any, ...], geometry: Geometry, f: Any = convolution
        ) -> tuple[Any, ...]:
            del parameters
            return tuple(_wide(a) for a in f(*(a.astype(np.float32) for a in arrays), geometry))

        def serves(geometry: Geometry, key: str = name) -> bool:
            return algorithms.serves(key, geometry)

        found.append(Row(f"{name}, float32", "float32", run, fixed(arithmetic), serves))
    return found


_SEEN: dict[tuple[Any, ...], str] = {}


def recognised(op: str, parameters: tuple[Any, ...], geometry: Geometry) -> str:
    """Return the class that probing finds for torch without oneDNN at these very sizes."""
    import torch

    from npconv import adapters

    key = (op, geometry.batch >= 16, geometry)
    if key not in _SEEN:
        case = Case(
            geometry.batch, geometry.in_channels, geometry.out_channels, geometry.groups,
            (geometry.extents[0], geometry.extents[1]), (geometry.kernel[0], geometry.kernel[1]),
            *parameters[:3], False, "111", "float32", "packed", "reals", 0,
        )  # fmt: skip
        with torch.backends.mkldnn.flags(enabled=False):
            found = algorithm_of(adapters.load("torch"), case, op)
        _SEEN[key] = "float32" if found == "direct" else f"float32/{found}"
    return _SEEN[key]


def case_of(number: int, key: str) -> tuple[tuple[Any, ...], tuple[Any, ...], Geometry]:
    """Draw sizes: (shapes of input and weight), parameters, geometry; every 40th has long sums."""
    rng = np.random.default_rng([number, *key.encode()])
    if number % 40 == 0:
        n, channels, features, groups, extents, kernel, *rest = LONG[number // 40 % len(LONG)]
        stride, padding, dilation = rest
    else:
        groups = int(rng.choice([1, 1, 1, 2, 3]))
        channels, features = (groups * int(rng.integers(1, 9)) for _ in range(2))
        plain = number % 3 == 0
        n = 16 if number % 6 == 0 else int(rng.integers(1, 4))
        groups, channels = (1, channels) if plain else (groups, channels)
        square = int(rng.choice([3, 3, 5]))
        kernel = (square, square) if plain else (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
        stride = (1, 1) if plain else (int(rng.integers(1, 4)), int(rng.integers(1, 4)))
        dilation = (1, 1) if plain else (int(rng.integers(1, 3)), int(rng.integers(1, 3)))
        padding = (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
        extents = tuple(
            int(d * (k - 1) + 1 + rng.integers(1, 14))
            for k, d in zip(kernel, dilation, strict=True)
        )
        features -= features % groups
    shapes = (n, channels, *extents), (features, channels // groups, *kernel)
    parameters = (stride, padding, dilation, groups)
    return shapes, parameters, parse(*shapes, *parameters)


def arrays_of(row: Row, number: int, geometry: Geometry, scale: float, cancelling: bool) -> Arrays:
    """Draw arrays that the dtype holds: random signs, or sums that cancel."""
    rng = np.random.default_rng([number, 7])
    short = formats.dtype_of(row.dtype)
    shapes = (
        geometry.input_shape,
        geometry.weight_shape,
        (geometry.out_channels,),
        geometry.output_shape,
    )
    if row.dtype == "float16":
        sizes = [math.sqrt(scale)] * 2 + [scale, math.sqrt(scale)]
    else:
        sizes = [scale, 1.0, scale, scale] if number % 2 else [scale, scale, scale**2, scale]
    found = []
    for position, (shape, size) in enumerate(zip(shapes, sizes, strict=True)):
        array = rng.uniform(-1, 1, shape)
        if cancelling and position != 2:
            array = 1 + array / 64
            if position in (1, 3):
                array *= 1 - 2 * (np.indices(shape)[1:].sum(0) % 2)
        found.append(_wide(formats.round_once(array * size, short)))
    return found[0], found[1], found[2], found[3]


def alarms(row: Row, numbers: range) -> dict[str, Any]:
    """Judge one stretch of cases; count."""
    count: dict[str, Any] = {
        "judged": 0, "wrong": 0, "undecided": 0, "largest": 0.0, "longest": 0, "classes": {},
        **{f"alarms {name}": 0 for name in TOLERANCES},
    }  # fmt: skip
    scales = HALF_SCALES if row.dtype == "float16" else SCALES
    short = formats.dtype_of(row.dtype)
    for number in numbers:
        _, parameters, geometry = case_of(number, "alarms")
        if not row.serves(geometry):
            continue
        cancelling = number % 4 == 3
        x, w, b, e = arrays_of(row, number, geometry, scales[number % len(scales)], cancelling)
        results = row.run((x, w, b, e), parameters, geometry)
        cast = [a.astype(short) for a in (x, w, b, e)]
        given = (
            tuple(cast[:3]), (x.shape, cast[1], cast[3]), (cast[0], w.shape, cast[3]), (cast[3],)
        )  # fmt: skip
        for op, result, operands_ in zip(bounds.OPS, results, given, strict=True):
            name = row.arithmetic(op, parameters, geometry)
            call = bounds.arguments(op, operands_, *parameters)
            right = compare.reference(call, bounds.parse(name), signs=not cancelling)
            found = compare.compare(np.asarray(result).astype(short), right)
            wrong, open_ = bool(found.wrong.any()), bool(found.undecided.any())
            count["wrong"] += wrong
            count["undecided"] += open_ and not wrong
            count["judged"] += wrong or not open_
            if not open_:
                count["largest"] = max(count["largest"], float(found.ratios.max(initial=0.0)))
                count["longest"] = max(count["longest"], bounds.terms(call))
            count["classes"][name] = count["classes"].get(name, 0) + 1
            for label, rule in TOLERANCES.items():
                with np.errstate(all="ignore"):
                    count[f"alarms {label}"] += not rule(
                        np.asarray(result), right.values, row.dtype
                    )
    return count


def added(a: dict[str, Any], b: dict[str, Any]) -> dict[str, Any]:
    """Add two counts."""
    total = {}
    for key, old in a.items():
        new = b[key]
        if key == "classes":
            total[key] = {name: old.get(name, 0) + new.get(name, 0) for name in {**old, **new}}
        else:
            total[key] = max(old, new) if key in ("largest", "longest") else old + new
    return total


# ----------------------------------------------------------------------- faults

LENGTHS = {
    27: (3, 5, (3, 3)),
    288: (32, 33, (3, 3)),
    5000: (200, 199, (5, 5)),
    20000: (800, 801, (5, 5)),
}
KINDS = ("integers", "probe", "micro", "reals", "mega", "cancelling")
TITLES = {
    "integers": "integers", "probe": "probe", "micro": "reals 1e-6", "reals": "reals 1",
    "mega": "reals 1e6", "cancelling": "cancelling",
}  # fmt: skip


def _shortened(case: Case, arrays: Operands, bits: int) -> dict[str, Array]:
    """Compute with factors rounded to so many bits."""
    x, w, e = (
        _round(_wide(a), bits, MODES[0]).astype(np.float32)
        for a in (arrays.input, arrays.weight, arrays.grad_output)
        if a is not None
    )
    return _honest(case, Operands(x, w, arrays.bias, e))


def _honest(case: Case, arrays: Operands) -> dict[str, Array]:
    """Compute what a correct implementation gives: npconv's own results."""
    assert arrays.grad_output is not None
    return {
        "forward": npconv.conv2d(arrays.input, arrays.weight, arrays.bias, *case.parameters),
        "grad_input": npconv.conv2d_input(
            case.input_shape, arrays.weight, arrays.grad_output, *case.parameters
        ),
        "grad_weight": npconv.conv2d_weight(
            arrays.input, case.weight_shape, arrays.grad_output, *case.parameters
        ),
    }


def _in_float16(case: Case, arrays: Operands) -> dict[str, Array]:
    """Add products up in float16, term by term."""
    with np.errstate(all="ignore"):
        convolution = algorithms.summed(algorithms.stored_in(np.float16))
        bias = np.zeros(case.out_channels, np.float32) if arrays.bias is None else arrays.bias
        assert arrays.grad_output is not None
        found = convolution(arrays.input, arrays.weight, bias, arrays.grad_output, case.geometry)
    return dict(zip(bounds.OPS[:3], found, strict=False))


def _in_float32(case: Case, arrays: Operands) -> dict[str, Array]:
    short = Operands(**{name: a.astype(np.float32) for name, a in arrays.named().items()})
    return {op: a.astype(np.float64) for op, a in _honest(case, short).items()}


def _one(change: Callable[[Any], Any]) -> Callable[[Case, Operands], dict[str, Array]]:
    """Return a fault in one element, not a zero, of each result."""

    def faulty(case: Case, arrays: Operands) -> dict[str, Array]:
        results = _honest(case, arrays)
        rng = np.random.default_rng(case.seed)
        for result in results.values():
            places = np.flatnonzero(result)
            place = np.unravel_index(int(rng.choice(places)), result.shape)
            result[place] = change(result[place])
        return results

    return faulty


def _without_last_tap(case: Case, arrays: Operands) -> dict[str, Array]:
    weight = arrays.weight.copy()
    weight[..., -1, -1] = 0
    results = _honest(case, Operands(arrays.input, weight, arrays.bias, arrays.grad_output))
    results["grad_weight"][..., -1, -1] = 0
    return results


FAULTS: dict[str, tuple[str, Callable[[Case, Operands], dict[str, Array]]]] = {
    "TF32 inputs": ("float32", lambda case, arrays: _shortened(case, arrays, 11)),
    "bfloat16 inputs": ("float32", lambda case, arrays: _shortened(case, arrays, 8)),
    "float16 accumulation": ("float32", _in_float16),
    "float64 computed in float32": ("float64", _in_float32),
    "one element off by 1 %": ("float32", _one(lambda value: value * np.float32(1.01))),
    "one element off by 0.1 %": ("float32", _one(lambda value: value * np.float32(1.001))),
    "one element zero": ("float32", _one(lambda value: value * np.float32(0))),
    "last tap dropped": ("float32", _without_last_tap),
}


def fault_case(length: int, kind: str, dtype: str, seed: int) -> Case:
    """Give a case whose output has sums of `length` products."""
    channels, features, kernel = LENGTHS[length]
    if length >= 5000:
        features = 4
    extents = (kernel[0] + 2, kernel[1] + 3)
    return Case(
        2, channels, features, 1, extents, kernel, (1, 1), (1, 0), (1, 1), True, "111", dtype,
        "packed", kind, seed,
    )  # fmt: skip


def caught(fault: str, length: int, trials: int) -> dict[str, Any]:
    """Count the faulty results that each kind of data shows, here and by fixed tolerances."""
    dtype, make = FAULTS[fault]
    counts: dict[str, Any] = {}
    for kind in KINDS:
        seen = {op: dict.fromkeys(("results", "npconv", *TOLERANCES), 0) for op in bounds.OPS[:3]}
        for seed in range(trials):
            case = fault_case(length, kind, dtype, seed)
            arrays = operands(case)
            expected: Expected = expect(case, arrays)
            for op, result in make(case, arrays).items():
                seen[op]["results"] += 1
                with np.errstate(all="ignore"):
                    verdict = judge(case, op, result, expected)
                    seen[op]["npconv"] += verdict.status == "failed"
                    want = _wide(expected.values[op])
                    for label, rule in TOLERANCES.items():
                        seen[op][label] += not rule(_wide(result), want, dtype)
        counts[kind] = seen
    return counts


# ----------------------------------------------------------------------- output


def cpu() -> dict[str, Any]:
    """Return what figures depend on: processor, its flags for 16-bit formats, versions."""
    lines = (
        Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if Path("/proc/cpuinfo").exists()
        else []
    )
    known = dict(line.split(":", 1) for line in lines if ":" in line)
    known = {key.strip(): value.strip() for key, value in known.items()}
    wanted = (
        "avx2",
        "fma",
        "f16c",
        "avx512f",
        "avx512_bf16",
        "avx512_fp16",
        "amx_bf16",
        "amx_fp16",
    )
    flags = known.get("flags", "").split()
    import torch

    return {
        "cpu": known.get("model name", platform.machine()),
        "flags": [flag for flag in wanted if flag in flags],
        "flags missing": [flag for flag in wanted if flag not in flags],
        "python": platform.python_version(), "numpy": np.__version__, "torch": torch.__version__,
        "npconv": npconv.__version__,
    }  # fmt: skip


def percent(part: int, whole: int) -> str:
    """Write a share; 'all' and 'none' where it is that."""
    if not whole:
        return ""
    return "all" if part == whole else "none" if part == 0 else f"{100 * part / whole:.0f} %"


def tables(record: dict[str, Any]) -> str:
    """Return the tables as Markdown."""
    where = record["environment"]
    lines = [
        (
            f"Measured by `python -m conformance.tolerance_table` on {where['cpu']} "
            f"(has {', '.join(where['flags'])}; "
            f"lacks {', '.join(where['flags missing']) or 'none'}), "
            f"NumPy {where['numpy']}, torch {where['torch']}."
        ),
        "",
        (
            "False alarms over correct implementations. A fixed tolerance's column counts the "
            "results that it rejects."
        ),
        "",
        (
            "| implementation | arithmetic | judged | false alarms | undecided | largest ratio "
            f"| longest sum | {' | '.join(TOLERANCES)} |"
        ),
        f"|---|---|--:|--:|--:|--:|--:|{'--:|' * len(TOLERANCES)}",
    ]
    for name, count in record["alarms"].items():
        classes = ", ".join(f"{n} {c}" for n, c in sorted(count["classes"].items()))
        every = count["judged"] + count["undecided"]
        fixed = " | ".join(percent(count[f"alarms {label}"], every) for label in TOLERANCES)
        lines.append(
            f"| {name} | {classes} | {count['judged']:,} | {count['wrong']} "
            f"| {count['undecided']:,} "
            f"| {count['largest']:.2g} | {count['longest']:,} | {fixed} |"
        )
    lines += ["", "Faults in the output caught: the share that each kind of data shows."]

    def share(fault: str, lengths: Any, kind: str, ops: Any, rule: str = "npconv") -> str:
        parts = [
            record["faults"][key][kind][op]
            for length in lengths
            for key in [f"{fault}, {length}"]
            if key in record["faults"]
            for op in ops
        ]
        return percent(sum(p[rule] for p in parts), sum(p["results"] for p in parts))

    def table(heads: list[str], cells: Callable[[str], list[str]]) -> Iterator[str]:
        yield f"| fault | {' | '.join(heads)} |"
        yield f"|---|{'--:|' * len(heads)}"
        for fault in FAULTS:
            yield f"| {fault} | {' | '.join(cells(fault))} |"

    for length in LENGTHS:
        lines += ["", f"Sums of {length:,} products:", ""]
        lines += table(
            list(TITLES.values()),
            lambda fault, n=length: [share(fault, [n], kind, ["forward"]) for kind in KINDS],
        )
    lines += ["", "In the gradients of input and weight, all sizes together:", ""]
    both = ["grad_input", "grad_weight"]
    lines += table(
        list(TITLES.values()), lambda fault: [share(fault, LENGTHS, kind, both) for kind in KINDS]
    )
    lines += [
        "",
        (
            "Faults in the output caught by fixed tolerances, all lengths together, on reals of "
            "size 1e-6 / 1 / 1e6:"
        ),
        "",
    ]
    lines += table(
        list(TOLERANCES),
        lambda fault: [
            " / ".join(
                share(fault, LENGTHS, kind, ["forward"], label)
                for kind in ("micro", "reals", "mega")
            )
            for label in TOLERANCES
        ],
    )
    return "\n".join(lines)


def measure(results: int, trials: int, path: Path | None, fresh: bool) -> Iterator[dict[str, Any]]:
    """Yield the record, more complete each time; what `path` holds is not measured again."""
    empty: dict[str, Any] = {
        "results": results,
        "trials": trials,
        "environment": cpu(),
        "alarms": {},
        "stretches": {},
        "faults": {},
    }
    record = empty
    if path and path.exists() and not fresh:
        before = json.loads(path.read_text("utf-8"))
        if all(before.get(key) == empty[key] for key in ("results", "trials", "environment")):
            record = before
    for row in rows():
        start, count = record["stretches"].get(row.name, 0), record["alarms"].get(row.name)
        while count is None or count["judged"] < results:
            stretch = alarms(row, range(start, start + 40))
            count = stretch if count is None else added(count, stretch)
            start += 40
            record["alarms"][row.name], record["stretches"][row.name] = count, start
            yield record
    for length, fault in itertools.product(LENGTHS, FAULTS):
        key = f"{fault}, {length}"
        if key not in record["faults"]:
            record["faults"][key] = caught(fault, length, trials)
            yield record
    yield record


def main(arguments: list[str] | None = None) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--results", type=int, default=2000, help="judged results of each implementation"
    )
    parser.add_argument(
        "--trials", type=int, default=10, help="cases of each fault, length and kind of data"
    )
    parser.add_argument("--json", type=Path, default=ROOT / "recorded" / "tolerance.json")
    parser.add_argument(
        "--docs", type=Path, help="write the tables between the markers of this page"
    )
    parser.add_argument(
        "--fresh", action="store_true", help="measure again what the JSON file holds"
    )
    options = parser.parse_args(arguments)
    warnings.filterwarnings("ignore")
    began = saved = time.monotonic()
    record: dict[str, Any] = {}
    for record in measure(options.results, options.trials, options.json, options.fresh):
        if time.monotonic() - saved > 5:
            saved = time.monotonic()
            _write(options.json, record)
            done = f"{len(record['alarms'])} implementations, {len(record['faults'])} faults"
            print(f"{saved - began:.0f} s: {done}", file=sys.stderr, flush=True)
    _write(options.json, record)
    text = tables(record)
    print(text)
    if options.docs:
        page = options.docs.read_text("utf-8")
        head, rest = page.split(MARKERS[0])
        tail = rest.split(MARKERS[1])[1]
        options.docs.write_text(f"{head}{MARKERS[0]}\n{text}\n{MARKERS[1]}{tail}", "utf-8")
    return int(any(count["wrong"] for count in record["alarms"].values()))


def _write(path: Path, record: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    draft = path.with_suffix(".part")
    draft.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
    draft.replace(path)


if __name__ == "__main__":
    sys.exit(main())
