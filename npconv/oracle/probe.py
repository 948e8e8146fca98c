"""What arithmetic an implementation really has; nothing is judged here.

Three questions, each to integers whose right answer is exact: do factors keep all their bits, do
partial sums, and does an element stay where it belongs (transforms spread it over a tile). They
are asked only where small integers, which every arithmetic sums exactly, give what is right:
results that are wrong by whole terms, or NaN, show no arithmetic.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.bounds import DTYPE_FORMATS, FORMATS, Call, default_for
from npconv.formats import COMPLEXES, FLOATS, dtype_of
from npconv.oracle.cases import Case
from npconv.oracle.data import FACTORS, Operands
from npconv.oracle.judge import calls
from npconv.oracle.protocol import GRADIENTS, Implementation

Array = np.ndarray[Any, np.dtype[Any]]

#: Sizes to ask at: small ones, and such as blocked, transformed or other special code serves.
SIZES = (
    (2, 2, 3, (5, 6), (3, 2), (0, 0)),
    (2, 2, 3, (9, 8), (3, 2), (1, 0), (2, 1), (1, 2)),
    (16, 8, 8, (18, 20), (3, 3), (1, 1)),
    (16, 4, 8, (19, 21), (5, 5), (2, 2)),
)
#: Calls that one finding takes, about.
_CALLS = 25
MODES = ("to nearest, ties to even", "to nearest, ties away", "by truncation")


@dataclass(frozen=True, slots=True)
class Finding:
    """The name of the arithmetic found, and one sentence that says what shows it."""

    name: str
    says: str


def probe(
    implementation: Implementation, dtype: str, ops: tuple[str, ...], seconds: float = 3.0
) -> dict[str, Finding]:
    """Find the arithmetic of each operation in a dtype.

    Left out are sizes at which it raises, or is wrong by whole terms. Where
    sizes differ in their answer the one farthest from the dtype's own counts. Nothing is begun
    that would end after so many `seconds`.
    """
    began = time.perf_counter()
    found: dict[str, Finding] = {}
    if dtype not in FLOATS + COMPLEXES:
        return {op: Finding("integer", "integers wrap") for op in ops}
    for number, sizes in enumerate(SIZES):
        case = _case(dtype, *sizes)  # type: ignore[arg-type]  # rows of a table
        if not implementation.supports.asks(case):
            continue
        for op in ops:
            asking = _Probe(implementation, case, op)
            called = time.perf_counter()
            try:
                whole = asking.is_whole()
                now = time.perf_counter()
                if now + _CALLS * (now - called) > began + seconds:
                    return found
                if not whole:
                    continue
                finding = asking.finding()
            except KeyboardInterrupt:
                raise
            except BaseException:  # noqa: BLE001  # what raises, of any class, is judged elsewhere
                continue
            if number and finding.name != default_for(dtype):
                finding = Finding(finding.name, f"{finding.says} (batch of {sizes[0]})")
            if op not in found or _distance(finding.name, dtype) > _distance(found[op].name, dtype):
                found[op] = finding
    return found


def _distance(name: str, dtype: str) -> int:
    """Order names: the dtype's own, fft (others too at small sizes), Winograd, factors, sums."""
    if name == default_for(dtype):
        return 0
    if "/" in name:
        return int(name[-1]) if "/winograd" in name else 1
    return 20 if "accumulate" in name else 10


def _case(
    dtype: str,
    batch: int,
    channels: int,
    features: int,
    extents: Any,
    kernel: Any,
    padding: Any,
    stride: Any = (1, 1),
    dilation: Any = (1, 1),
) -> Case:
    return Case(
        batch, channels, features, 1, extents, kernel, stride, padding, dilation, False, "111",
        dtype, "packed", "reals", 0,
    )  # fmt: skip


def algorithm_of(implementation: Implementation, case: Case, op: str) -> str:
    """Return the class that an operation's algorithm has at a case's sizes, as far as it shows."""
    return "direct" if op == "grad_bias" else _Probe(implementation, case, op).algorithm()


@dataclass(frozen=True)
class _Probe:
    implementation: Implementation
    case: Case
    op: str

    def finding(self) -> Finding:
        own = default_for(self.case.dtype)
        algorithm = self.algorithm() if self.op != "grad_bias" else "direct"
        sums = self._sums()
        if algorithm != "direct":
            return Finding(f"{own}/{algorithm}", f"an element spreads as in {algorithm}")
        short, how = self._factors()
        if sums in ("float16", "bfloat16"):
            return Finding(f"{sums}-accumulate", f"accumulates in {sums}")
        if short and "/" in short:
            # F(2 x 2, 3 x 3) alone does not spread: its strays cancel exactly.
            still = self.op != "grad_weight"
            return Finding(f"{own}/winograd2" if still else short, f"transforms: {how}")
        if short:
            return Finding(short, f"inputs rounded as {_TITLES[short]}, {how}")
        if sums == "float32" and own == "float64":
            return Finding("float32", "accumulates in float32")
        result = self._result_rounding()
        return Finding(own, f"accumulates in {sums}{result}")

    def is_whole(self) -> bool:
        """Whether sums of -1, 0 and 1, which stay small, have all their terms and no others."""
        rng = np.random.default_rng(4)
        factors = {
            name: rng.integers(-1, 2, self._shape(name)) * (rng.random(self._shape(name)) < 0.3)
            for name in FACTORS[self.op]
        }
        got, call = self._run({name: array * 1.0 for name, array in factors.items()})
        right = call.on(call.factors)
        # Transforms round; half a term no arithmetic is off. NaN is not near anything.
        return got.shape == right.shape and bool(np.all(np.abs(got - right) < 0.5))

    def _run(self, factors: Mapping[str, Array]) -> tuple[Array, Call]:
        """Return what the implementation makes of arrays, as float64, and npconv's same call."""
        dtype = dtype_of(self.case.dtype)
        geometry = self.case.geometry
        shapes = {
            "input": self.case.input_shape,
            "weight": self.case.weight_shape,
            "grad_output": geometry.output_shape,
        }
        given = {
            name: factors.get(name, np.zeros(shape)).astype(dtype) for name, shape in shapes.items()
        }
        arrays = Operands(given["input"], given["weight"], None, given["grad_output"])
        with np.errstate(all="ignore"):
            if self.op == "forward":
                result = self.implementation.forward(self.case, arrays)
            else:
                mask = tuple(op == self.op for op in GRADIENTS)
                results = self.implementation.gradients(self.case, arrays, mask)  # type: ignore[arg-type]  # three bools
                result = results[GRADIENTS.index(self.op)]
        result = np.asarray(result)
        real = result.real if result.dtype.kind == "c" else result
        whole = {name: factors.get(name, np.zeros(shape)) for name, shape in shapes.items()}
        wide = Operands(whole["input"], whole["weight"], None, whole["grad_output"])
        return real.astype(np.float64), calls(self.case, wide)[self.op]

    def _shape(self, name: str) -> tuple[int, ...]:
        if name == "grad_output":
            return self.case.geometry.output_shape
        return self.case.input_shape if name == "input" else self.case.weight_shape

    def _factors(self) -> tuple[str | None, str]:
        """Multiply full significands by one; return what factors are rounded to, if, and how."""
        own = DTYPE_FORMATS[self.case.dtype]
        shorts = [
            n for n in ("bfloat16", "float16", "tf32", "float32") if FORMATS[n].bits < own.bits
        ]
        candidates = [(short, mode) for short in shorts for mode in MODES]
        rng = np.random.default_rng(0)
        changed = None
        # A bias gradient takes one number of each channel at a time.
        for _ in range(12 if self.op == "grad_bias" else 1):
            for name in FACTORS[self.op]:
                values = self._significands(rng, self._shape(name))
                other = {o: _single(self._shape(o)) for o in FACTORS[self.op] if o != name}
                if self.op == "grad_bias":
                    values *= _single(values.shape)[:, :1]
                # Powers of two around 1, so that float16 can hold it, then around 2**30.
                for exponent in (1 - own.bits, 30 - own.bits)[: 2 if own.least <= -126 else 1]:
                    scaled = values * 2.0**exponent
                    got, call = self._run({**other, name: scaled})
                    right = call.on({**other, name: scaled})
                    if np.array_equal(got, right):
                        # Not rounded; and so are not those that would have been.
                        continue
                    if exponent > 1 - own.bits and not np.isfinite(got).all():
                        return "float16", "beyond its range"
                    changed = changed or (name, other, scaled, got, right)
                    candidates = [
                        (short, mode)
                        for short, mode in candidates
                        if np.array_equal(
                            got,
                            call.on({**other, name: _round(scaled, FORMATS[short].bits, mode)}),
                        )
                    ]
        if changed is None:
            return None, ""
        name, other, scaled, got, right = changed
        if candidates:
            short, mode = candidates[0]
            return self._or_float16(short, name, other, scaled), mode
        error = float(np.max(np.abs(got - right)) / np.max(np.abs(right)))
        if 2.0**-18 <= error <= 2.0**-13 and own.bits == 24:
            return "bf16x3", f"relative error 2**{math.log2(error):.0f}"
        if error < 2.0 ** (6 - own.bits):
            return f"{default_for(self.case.dtype)}/fft", "single products are not exact"
        return None, ""

    def _significands(self, rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
        """Draw integers of the dtype's bits: odd ones, and ties of each shorter format."""
        bits = DTYPE_FORMATS[self.case.dtype].bits
        numbers = rng.integers(2 ** (bits - 1), 2**bits, shape) | 1
        for short in (8, 11, 24):
            if short < bits:
                half = 1 << (bits - short - 1)
                ties = (numbers & ~(2 * half - 1)) | half
                numbers = np.where(rng.random(shape) < 0.25, ties, numbers)
        return np.asarray(numbers * rng.choice([-1.0, 1.0], shape))

    def _or_float16(self, short: str, name: str, other: Mapping[str, Array], scaled: Array) -> str:
        """Tell float16 from TF32, which has as many bits, by its range."""
        if FORMATS[short].bits != 11 or DTYPE_FORMATS[self.case.dtype].bits == 11:
            return short
        got, _ = self._run({**other, name: scaled * 2.0**30})
        return "tf32" if np.isfinite(got).all() else "float16"

    def _sums(self) -> str:
        """Add ones between 2**k and -2**k; return the shortest format of partial sums."""
        rng = np.random.default_rng(1)
        for short, exponent in (("bfloat16", 9), ("float16", 13), ("float32", 26)):
            if exponent > DTYPE_FORMATS[self.case.dtype].most:
                return short
            for _ in range(4):
                factors = self._sandwich(rng, 2.0**exponent)
                got, call = self._run(factors)
                right = call.on(factors)
                # Only where both large terms are in the sum.
                inside = (
                    np.abs(call.on({n: np.abs(a) for n, a in factors.items()}))
                    > 1.5 * 2.0**exponent
                )
                inside &= np.abs(right) < 2.0 ** (exponent - 1)
                rounded = right.astype(dtype_of(self.case.dtype))
                rounded = rounded.real if rounded.dtype.kind == "c" else rounded
                # A wider result than the arrays need not have been rounded.
                lost = np.minimum(np.abs(got - rounded.astype(np.float64)), np.abs(got - right))
                lost = lost[inside]
                # Ones are lost; what transforms err by is less.
                if not np.all(lost < 0.5):
                    return short
        return "float64"

    def _sandwich(self, rng: np.random.Generator, large: float) -> dict[str, Array]:
        """Give a factor of ones and one with 2**k and -2**k among ones for each element's sum."""
        name = {"forward": "weight", "grad_input": "weight"}.get(self.op, "grad_output")
        shape = self._shape(name)
        array = np.ones(shape)
        axis = {"forward": 0, "grad_input": 1}.get(self.op, 1)
        moved = np.moveaxis(array, axis, 0)
        rest = moved.shape[1:]
        for row in moved:
            first, last = rng.choice(math.prod(rest), 2, replace=False)
            row[np.unravel_index(first, rest)] = large
            row[np.unravel_index(last, rest)] = -large
        others = {o: np.ones(self._shape(o)) for o in FACTORS[self.op] if o != name}
        return {**others, name: array}

    def _result_rounding(self) -> str:
        """Say how results that need more bits than they have are rounded, for 16-bit dtypes."""
        own = DTYPE_FORMATS[self.case.dtype]
        if own.bits > 11 or self.op == "grad_bias":
            return ""
        rng = np.random.default_rng(2)
        factors = {
            name: rng.integers(-15, 16, self._shape(name)) * 1.0 for name in FACTORS[self.op]
        }
        got, call = self._run(factors)
        right = call.on(factors)
        for mode in MODES:
            if np.array_equal(got, _round(right, own.bits, mode)):
                return f", results rounded {mode}"
        if np.array_equal(got, right):  # wider than the arrays
            return ""
        return ", results not rounded once"

    def algorithm(self) -> str:
        """Put one element into each plane of zeros; where it shows in others, tell the class.

        A transform spreads it, with rounding errors, over its tile: 2, 4 or 6 outputs wide, or
        two of them where its windows of 3 lie across a seam. Fourier transforms of 8 x 8 do as
        Winograd's of 6, with far smaller errors.
        """
        own = DTYPE_FORMATS[self.case.dtype]
        if own.bits < 24 or self.op == "grad_weight":
            return "direct"
        rng = np.random.default_rng(3)
        moving = "input" if self.op == "forward" else "grad_output"
        lone = np.zeros(self._shape(moving))
        for n, plane in enumerate(lone):
            # Round the middle, and in the corners, from where a small plane is not all reached.
            places = [tuple(max(0, size // 2 - 3 + n % 6) for size in plane.shape[1:])]
            places += [(0, 0), (-1, -1)] * (n in {6, 7} or len(lone) < 6)
            row, column = places[n % len(places)]
            plane[0, min(row, plane.shape[1] - 1), min(column, plane.shape[2] - 1)] = 1.0 + 2.0 ** (
                2 - own.bits
            )
        dense = rng.integers(2**23, 2**24, self._shape("weight")) * 2.0**-24
        got, call = self._run({moving: lone, "weight": dense})
        right = call.on(call.factors)
        strays = (got != 0) & (right == 0)
        if not strays.any():
            return "direct"
        shown = (strays | (right != 0)).any(1)
        boxes = [
            int(np.ptp(np.flatnonzero(plane.any(1 - axis)))) + 1
            for plane, stray in zip(shown, strays, strict=True)
            for axis in (0, 1)
            if stray.any() and self.case.kernel[axis] == 3
        ]
        error = float(np.max(np.abs(got - right))) / own.unit
        if not boxes or min(shown.shape[1:]) <= 6:
            return "fft"
        if max(boxes) <= 4:
            return "winograd2"
        if min(boxes) == 4:
            return "winograd4"
        return "winograd6" if error > 20 else "fft"


_TITLES = {"tf32": "TF32", "bf16x3": "two bfloat16"} | {
    n: n for n in ("bfloat16", "float16", "float32")
}


def _single(shape: tuple[int, ...]) -> Array:
    """Return zeros with ones such that every sum has one term at the most."""
    array = np.zeros(shape)
    array[0, 0, shape[2] // 2, shape[3] // 2] = 1.0
    return array


def _round(values: Array, bits: int, mode: str) -> Array:
    """Round float64 numbers to so many bits."""
    fractions, exponents = np.frexp(values)
    scaled = np.ldexp(fractions, bits)
    if mode == MODES[0]:
        rounded = np.rint(scaled)
    elif mode == MODES[1]:
        rounded = np.copysign(np.floor(np.abs(scaled) + 0.5), scaled)
    else:
        rounded = np.trunc(scaled)
    return np.asarray(np.ldexp(rounded, exponents - bits))
