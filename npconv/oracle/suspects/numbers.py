"""Numerics: short sums, short factors, other roundings, transforms, integers that do not wrap."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npconv import formats
from npconv.oracle.suspects.fault import Array, Fault, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    OPS,
    SLIDING,
    dtype_name,
    make,
    on,
    right,
)

_fault = functools.partial(make, family="numerics", kind="numerics")
_dtypes = functools.partial(make, family="dtypes")

_Round = Callable[[Array], Array]

#: Significand bits and the least exponent of a normal number's last but one power: the format's
#: range as far as data can show it.
_FORMATS = {"tf32": (11, -126), "bfloat16": (8, -126), "float16": (11, -14), "float32": (24, -126)}
_OVERFLOW = {"float16": 65520.0, "bfloat16": 2.0**128, "tf32": 2.0**128, "float32": 2.0**128}


def _parts(array: Array, change: _Round) -> Array:
    """Change real and imaginary parts alike."""
    if array.dtype.kind != "c":
        return change(array)
    found = np.empty(array.shape, array.dtype)
    found.real, found.imag = change(array.real), change(array.imag)
    return found


def _rounded(array: Array, name: str, *, cut: bool = False) -> Array:
    """Round float64 to a format: to nearest, ties to even, or towards zero."""
    bits, least = _FORMATS[name]
    _, exponents = np.frexp(array)
    unit = np.maximum(exponents, least + 1) - bits
    scaled = np.ldexp(array, -unit)
    whole = np.trunc(scaled) if cut else np.rint(scaled)
    found = np.where(np.isfinite(array), np.ldexp(whole, unit), array)
    over = np.abs(found) >= _OVERFLOW[name]
    return np.asarray(np.where(over & np.isfinite(array), np.copysign(np.inf, array), found))


def _wide(array: Array) -> Array:
    return array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)


def _is_float(problem: Problem) -> bool:
    return formats.family(problem.input.dtype) != "integer"


def _bits(problem: Problem) -> int:
    return formats.significand_bits(dtype_name(problem))


def _factors(name: str, *, cut: bool = False) -> Callable[[Problem, str], Array | None]:
    """Round the factors to a shorter format; sums stay as they are."""

    def change(array: Array) -> Array:
        return _parts(_wide(array), functools.partial(_rounded, name=name, cut=cut)).astype(
            array.dtype
        )

    def compute(problem: Problem, op: str) -> Array | None:
        if not _is_float(problem) or _bits(problem) <= _FORMATS[name][0]:
            return None
        changes: dict[str, Any] = {"input": change(problem.input), "weight": change(problem.weight)}
        if problem.grad_output is not None:
            changes["grad_output"] = change(problem.grad_output)
        return on(problem, op, **changes)

    return compute


def _terms(problem: Problem, op: str) -> tuple[Array, Array]:
    """Return the factors of each sum as stacks (g, rows, terms) and (g, terms, columns)."""
    geometry, groups = problem.geometry, problem.groups
    weight = _wide(problem.weight).reshape(groups, geometry.group_out, -1)
    columns = _columns(problem)
    if op == FORWARD:
        return weight, columns
    assert problem.grad_output is not None
    split = _wide(problem.grad_output).reshape(geometry.batch, groups, geometry.group_out, -1)
    errors = split.transpose(1, 2, 0, 3).reshape(groups, geometry.group_out, -1)
    return errors, np.conj(columns).swapaxes(1, 2)


def _columns(problem: Problem) -> Array:
    """Copy the input to columns (g, c*k*t, n*y*x)."""
    rows, columns = problem.geometry.axes
    padded = _wide(_padded(problem))
    view = np.lib.stride_tricks.sliding_window_view(padded, (rows.span, columns.span), (-2, -1))
    view = view[:, :, :: rows.stride, :: columns.stride, :: rows.dilation, :: columns.dilation]
    return view.transpose(1, 4, 5, 0, 2, 3).reshape(
        problem.groups, -1, problem.geometry.batch * math.prod(problem.geometry.out)
    )


def _accumulated(problem: Problem, op: str, keep: _Round, most: int = 4096) -> Array | None:
    """Sum one product after the other, each partial sum passed through `keep`.

    The input gradient is left as it is: its sums have no one order.
    """
    if op == GRAD_INPUT:
        return None
    geometry = problem.geometry
    if op == GRAD_BIAS:
        assert problem.grad_output is not None
        left = np.moveaxis(_wide(problem.grad_output), 1, 0).reshape(geometry.out_channels, -1)
        sums = np.zeros(geometry.out_channels, left.dtype)
        for term in left.T[:most]:
            sums = _parts(sums + term, keep)
        return sums if left.shape[1] <= most else None
    first, second = _terms(problem, op)
    if first.shape[2] > most:
        return None
    total = np.zeros((*first.shape[:2], second.shape[2]), first.dtype)
    for place in range(first.shape[2]):
        total = _parts(total + first[:, :, place, None] * second[:, place, None], keep)
    if op == GRAD_WEIGHT:
        return total.reshape(problem.weight.shape)
    total = total.reshape(geometry.out_channels, geometry.batch, *geometry.out).swapaxes(0, 1)
    if problem.bias is not None:
        total = _parts(total + _wide(problem.bias)[:, None, None], keep)
    return np.ascontiguousarray(total)


def _short_sums(name: str, *, cut: bool = False) -> Callable[[Problem, str], Array | None]:
    """Keep partial sums in a format."""

    def compute(problem: Problem, op: str) -> Array | None:
        # What has no more bits than float32 may be summed in it.
        if not _is_float(problem) or (name == "float32" and _bits(problem) <= 24):
            return None
        keep = functools.partial(_rounded, name=name, cut=cut)
        found = _accumulated(problem, op, keep)
        return None if found is None else formats.round_once(found, problem.input.dtype)

    return compute


def _result(name: str, *, cut: bool = False) -> Callable[[Problem, str], Array | None]:
    """Round the result to a shorter format."""

    def compute(problem: Problem, op: str) -> Array | None:
        if not _is_float(problem) or _bits(problem) <= _FORMATS[name][0]:
            return None
        keep = functools.partial(_rounded, name=name, cut=cut)
        return _parts(_wide(right(problem, op)), keep).astype(problem.input.dtype)

    return compute


def _precise(problem: Problem, op: str) -> Array | None:
    """Return the result of a short dtype in float64; None for others."""
    if not _is_float(problem) or _bits(problem) > 24:
        return None
    wide = {
        name: None if array is None else _wide(array)
        for name in ("input", "weight", "bias", "grad_output")
        for array in (getattr(problem, name),)
    }
    return on(problem, op, **wide)


def _cut_result(problem: Problem, op: str) -> Array | None:
    """Cut what the dtype does not hold, where it must be rounded."""
    found = _precise(problem, op)
    if found is None:
        return None
    name = {"complex64": "float32"}.get(dtype_name(problem), dtype_name(problem))
    return _parts(found, functools.partial(_rounded, name=name, cut=True)).astype(
        problem.input.dtype
    )


# ------------------------------------------------------------------ transforms


def _fft(problem: Problem, op: str) -> Array | None:
    """Correlate by Fourier transforms in the dtype's own width."""
    if op != FORWARD or problem.input.dtype.name not in ("float32", "float64"):
        return None
    geometry = problem.geometry
    rows, columns = geometry.axes
    if rows.dilation * columns.dilation > 1 or max(rows.padded, columns.padded) > 512:
        return None
    padded = _padded(problem)
    sizes = tuple(axis.padded for axis in geometry.axes)
    groups = problem.groups
    x = padded.reshape(geometry.batch, groups, geometry.group_in, *sizes)
    w = problem.weight.reshape(groups, geometry.group_out, geometry.group_in, *geometry.kernel)
    short = np.complex64 if problem.input.dtype.name == "float32" else np.complex128
    spectrum = np.einsum(
        "ngcij,gfcij->ngfij",
        np.fft.rfft2(x).astype(short),
        np.conj(np.fft.rfft2(w, sizes)).astype(short),
    )
    found = np.fft.irfft2(spectrum, sizes)[
        ...,
        : sizes[0] - rows.span + 1 : rows.stride,
        : sizes[1] - columns.span + 1 : columns.stride,
    ]
    found = found.reshape(geometry.batch, -1, *found.shape[-2:]).astype(problem.input.dtype)
    return found if problem.bias is None else found + problem.bias[:, None, None]


def _padded(problem: Problem) -> Array:
    """Pad, then crop, in the dtype of the input."""
    pads = [(axis.before, axis.after) for axis in problem.geometry.axes]
    found = np.pad(problem.input, [(0, 0), (0, 0), *((max(0, a), max(0, b)) for a, b in pads)])
    (top, bottom), (left, right_) = pads
    return found[
        ...,
        max(0, -top) : found.shape[-2] - max(0, -bottom),
        max(0, -left) : found.shape[-1] - max(0, -right_),
    ]


_WINOGRAD = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
            [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
        ],
        [
            [1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1],
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}  # fmt: skip


def _winograd(tile: int) -> Callable[[Problem, str], Array | None]:
    """Use Winograd's F(tile x tile, 3 x 3) where it applies, in the dtype's own width."""

    def compute(problem: Problem, op: str) -> Array | None:
        if op != FORWARD or problem.input.dtype.name not in ("float32", "float64"):
            return None
        geometry, groups = problem.geometry, problem.groups
        if geometry.kernel != (3, 3) or any(a.stride > 1 or a.dilation > 1 for a in geometry.axes):
            return None
        kind = problem.input.dtype
        data, kernel, result = (np.array(matrix, kind) for matrix in _WINOGRAD[tile])
        counts = [-(-size // tile) for size in geometry.out]
        padded = _padded(problem)
        grow = [(0, n * tile + 2 - size) for n, size in zip(counts, padded.shape[-2:], strict=True)]
        padded = np.pad(padded, [(0, 0), (0, 0), *grow])
        view = np.lib.stride_tricks.sliding_window_view(padded, (tile + 2,) * 2, (-2, -1))
        tiles = (data @ view[:, :, ::tile, ::tile] @ data.T).reshape(
            geometry.batch, groups, geometry.group_in, *counts, tile + 2, tile + 2
        )
        weights = (kernel @ problem.weight @ kernel.T).reshape(
            groups, geometry.group_out, geometry.group_in, tile + 2, tile + 2
        )
        sums = np.einsum("ngcijpq,gfcpq->ngfijpq", tiles, weights)
        found = (result @ sums @ result.T).swapaxes(-3, -2)
        found = found.reshape(geometry.batch, -1, counts[0] * tile, counts[1] * tile)
        found = np.ascontiguousarray(found[..., : geometry.out[0], : geometry.out[1]])
        return found if problem.bias is None else found + problem.bias[:, None, None]

    return compute


# ------------------------------------------------------------------ integers


def _exact_sums(problem: Problem, op: str) -> Array | None:
    """Return integer results that do not wrap in 64 bits, as float64 counts them; else None."""
    if _is_float(problem) or problem.input.dtype.itemsize > 2:
        return None
    wide = {
        name: None if array is None else array.astype(np.int64)
        for name in ("input", "weight", "bias", "grad_output")
        for array in (getattr(problem, name),)
    }
    return on(problem, op, **wide)


def _saturated(problem: Problem, op: str) -> Array | None:
    found = _exact_sums(problem, op)
    if found is None:
        return None
    limits = np.iinfo(problem.input.dtype)
    return np.clip(found, limits.min, limits.max).astype(problem.input.dtype)


def _through(dtype: Any, names: tuple[str, ...]) -> Callable[[Problem, str], Array | None]:
    """Compute integers in another dtype and convert the result back, as C does."""

    def compute(problem: Problem, op: str) -> Array | None:
        if dtype_name(problem) not in names:
            return None
        other = {
            name: None if array is None else array.astype(dtype)
            for name in ("input", "weight", "bias", "grad_output")
            for array in (getattr(problem, name),)
        }
        found = on(problem, op, **other)
        if found.dtype.kind == "f":
            limits = np.iinfo(problem.input.dtype)
            # Below the largest: float64 holds no 2**63 - 1.
            found = np.clip(np.nan_to_num(found), float(limits.min), float(limits.max) * (1 - 2e-7))
        return found.astype(problem.input.dtype)

    return compute


# ------------------------------------------------------------------ special values


def _with_special(change: _Round) -> Callable[[Problem, str], Array | None]:
    """Change NaN and infinity in all arrays."""

    def compute(problem: Problem, op: str) -> Array | None:
        if not _is_float(problem):
            return None
        changes: dict[str, Any] = {}
        for name in ("input", "weight", "grad_output"):
            array = getattr(problem, name)
            if array is not None and not np.isfinite(_wide(array)).all():
                changes[name] = _parts(_wide(array), change).astype(array.dtype)
        return on(problem, op, **changes) if changes else None

    return compute


def _largest(dtype: str) -> float:
    return 60_000.0 if dtype == "float16" else 2.0**100


def _infinity_cut(problem: Problem, op: str) -> Array | None:
    most = _largest(dtype_name(problem)) if _is_float(problem) else 0.0
    compute = _with_special(lambda a: np.where(np.isinf(a), np.copysign(most, a), a))
    return compute(problem, op)


def _nan_everywhere(problem: Problem, op: str) -> Array | None:
    """Return NaN where a transform mixes a NaN or infinity with everything else of its image."""
    if not _is_float(problem):
        return None
    found = right(problem, op)
    bad = ~np.isfinite(_wide(found))
    if not bad.any():
        return None
    axes = tuple(range(found.ndim - 2, found.ndim)) if found.ndim == 4 else (0,)
    return np.where(bad.any(axis=axes, keepdims=True), np.array(np.nan, found.dtype), found)


def _flushed(problem: Problem, op: str) -> Array | None:
    """Replace results below the least normal number by zero."""
    if not _is_float(problem):
        return None
    name = dtype_name(problem)
    least = {"float16": 2.0**-14, "float64": 2.0**-1022, "complex128": 2.0**-1022}.get(
        name, 2.0**-126
    )
    found = right(problem, op)
    return _parts(found, lambda a: np.where(np.abs(a) < least, np.zeros((), a.dtype), a))


# ------------------------------------------------------------------ the series

_SHORTER = {
    "float32": "dtype in ('float64', 'complex128')",
    "tf32": "dtype in ('float32', 'float64', 'complex64', 'complex128')",
    "bfloat16": "dtype in ('float16', 'float32', 'float64', 'complex64', 'complex128')",
    "float16": "dtype in ('float32', 'float64', 'complex64', 'complex128')",
}
_FLOATING = "dtype in ('bfloat16', 'float16', 'float32', 'float64', 'complex64', 'complex128')"
_FACTOR_SOURCES = {
    "float32": ("FluxML/NNlib.jl#67",),
    "tf32": ("uxlfoundation/oneDNN#1268",),
    "bfloat16": ("ROCm/composable_kernel#671",),
    "float16": ("Tencent/ncnn#5479",),
}


def _series() -> Iterator[Fault]:
    for name, trigger in _SHORTER.items():
        for cut, how in ((False, "rounds"), (True, "cuts")):
            yield _fault(
                f"factors-{'cut' if cut else 'rounded'}-to-{name}",
                f"{how} its factors to {name} before it multiplies",
                _factors(name, cut=cut),
                ops=OPS,
                trigger=trigger,
                sources=_FACTOR_SOURCES[name],
                series="short-factors",
            )
            yield _fault(
                f"result-{'cut' if cut else 'rounded'}-to-{name}",
                f"{how} its result to {name}",
                _result(name, cut=cut),
                ops=OPS,
                trigger=trigger,
                sources=_FACTOR_SOURCES[name],
                series="short-result",
            )
    for name in ("bfloat16", "float16", "float32"):
        for cut, how in ((False, ""), (True, ", which it cuts")):
            yield _fault(
                f"sums-in-{name}{'-cut' if cut else ''}",
                f"keeps partial sums in {name}{how}",
                _short_sums(name, cut=cut),
                ops=(FORWARD, GRAD_WEIGHT, GRAD_BIAS),
                trigger=_FLOATING if name != "float32" else _SHORTER["float32"],
                sources=("uxlfoundation/oneDNN#5041",)
                if name != "float32"
                else ("FluxML/NNlib.jl#67",),
                series="short-sums",
            )


_COMPLEX = "dtype in ('complex64', 'complex128')"


def _only_real(problem: Problem, op: str) -> Array | None:
    if problem.input.dtype.kind != "c":
        return None
    return right(problem, op).real.astype(problem.input.dtype)


def _cast(name: str) -> Callable[[Problem, str], Array | None]:
    """Return the result in one dtype, whatever the arrays' is."""

    def compute(problem: Problem, op: str) -> Array | None:
        if dtype_name(problem) == name or problem.input.dtype.kind == "c":
            return None
        return right(problem, op).astype(name)

    return compute


_DTYPES = (
    _dtypes(
        "result-always-float64",
        "returns float64 whatever the dtype",
        _cast("float64"),
        ops=OPS,
        trigger="dtype not in ('float64', 'complex64', 'complex128')",
        sources=("cupy/cupy#6047",),
    ),
    _dtypes(
        "result-always-float32",
        "returns float32 whatever the dtype",
        _cast("float32"),
        ops=OPS,
        trigger="dtype not in ('float32', 'complex64', 'complex128')",
        sources=("FluxML/NNlib.jl#67",),
    ),
    _dtypes(
        "real-part-only",
        "drops the imaginary part",
        _only_real,
        ops=OPS,
        trigger=_COMPLEX,
        sources=("hkaggarwal/modl#4", "Theano/Theano#2437"),
    ),
    _dtypes(
        "real-and-imaginary-exchanged",
        "exchanges real and imaginary parts of its result",
        lambda p, op: (
            np.conj(right(p, op)) * p.input.dtype.type(1j) if p.input.dtype.kind == "c" else None
        ),
        ops=OPS,
        trigger=_COMPLEX,
        sources=("FluxML/NNlib.jl#389",),
    ),
    _dtypes(
        "integers-saturate",
        "saturates integers, which must wrap",
        _saturated,
        ops=OPS,
        trigger="dtype in ('int8', 'int16', 'uint8', 'uint16')",
        sources=("uxlfoundation/oneDNN#375", "Tencent/ncnn#717"),
    ),
    _dtypes(
        "int64-summed-in-32-bits",
        "sums 64-bit integers in 32 bits",
        _through(np.int32, ("int64", "uint64")),
        ops=OPS,
        trigger="dtype in ('int64', 'uint64')",
        sources=("cupy/cupy#6047",),
    ),
    _dtypes(
        "int32-summed-in-16-bits",
        "sums 32-bit integers in 16 bits",
        _through(np.int16, ("int32", "uint32")),
        ops=OPS,
        trigger="dtype in ('int32', 'uint32')",
        sources=("Tencent/ncnn#717",),
    ),
    _dtypes(
        "int16-summed-in-8-bits",
        "sums 16-bit integers in 8 bits",
        _through(np.int8, ("int16", "uint16")),
        ops=OPS,
        trigger="dtype in ('int16', 'uint16')",
        sources=("cupy/cupy#6047",),
    ),
    _dtypes(
        "integers-through-float32",
        "computes integers in float32",
        _through(np.float32, formats.SIGNED + formats.UNSIGNED),
        ops=OPS,
        trigger=f"dtype in {formats.SIGNED + formats.UNSIGNED}",
        sources=("cupy/cupy#6047",),
    ),
    _dtypes(
        "integers-through-float64",
        "computes integers in float64",
        _through(np.float64, formats.SIGNED + formats.UNSIGNED),
        ops=OPS,
        trigger=f"dtype in {formats.SIGNED + formats.UNSIGNED}",
        sources=("cupy/cupy#6047",),
    ),
)

FAULTS: tuple[Fault, ...] = (
    *_DTYPES,
    _fault(
        "nan-lost",
        "takes NaN for zero",
        _with_special(lambda a: np.where(np.isnan(a), 0.0, a)),
        ops=SLIDING,
        trigger="data == 'special'",
        sources=("pytorch/pytorch#12484",),
    ),
    _fault(
        "infinity-cut",
        "takes infinity for a large number",
        _infinity_cut,
        ops=SLIDING,
        trigger="data == 'special'",
        sources=("tensorflow/tensorflow#60315",),
    ),
    _fault(
        "infinity-taken-for-nan",
        "makes NaN of infinity",
        _with_special(lambda a: np.where(np.isinf(a), np.nan, a)),
        ops=SLIDING,
        trigger="data == 'special'",
        sources=("tensorflow/tensorflow#60315",),
    ),
    _fault(
        "nan-in-the-whole-image",
        "spreads one NaN or infinity over the whole plane",
        _nan_everywhere,
        ops=SLIDING,
        trigger="data == 'special'",
        sources=("tensorflow/tensorflow#60315", "XiaoMi/mace#345"),
    ),
    _fault(
        "subnormal-results-flushed",
        "replaces results below the least normal number by zero",
        _flushed,
        ops=OPS,
        # No other dtype has cases with results so small.
        trigger="dtype == 'float16' and data not in ('integers', 'probe')",
        sources=("iree-org/iree#20242", "tensorflow/tensorflow#36514"),
    ),
    _fault(
        "result-cut-to-its-dtype",
        "cuts its sums to the dtype, which must be rounded to nearest",
        _cut_result,
        ops=OPS,
        trigger="dtype in ('bfloat16', 'float16', 'float32', 'complex64')",
        sources=("tensorflow/tensorflow#36514", "iree-org/iree#20242"),
    ),
    *_series(),
    _fault(
        "winograd-of-2",
        "transforms tiles of 2 x 2 outputs (Winograd) where sums of products are claimed",
        _winograd(2),
        ops=(FORWARD,),
        trigger="kernel_h == 3 and kernel_w == 3 and stride_h == 1 and stride_w == 1 "
        "and dilation_h == 1 and dilation_w == 1 and dtype in ('float32', 'float64')",
        sources=("tensorflow/tensorflow#60315", "opencv/opencv#23151"),
    ),
    _fault(
        "winograd-of-4",
        "transforms tiles of 4 x 4 outputs (Winograd) where sums of products are claimed",
        _winograd(4),
        ops=(FORWARD,),
        trigger="kernel_h == 3 and kernel_w == 3 and stride_h == 1 and stride_w == 1 "
        "and dilation_h == 1 and dilation_w == 1 and dtype in ('float32', 'float64')",
        sources=("pytorch/pytorch#35655", "opencv/opencv#23151"),
    ),
    _fault(
        "fourier-transforms",
        "multiplies Fourier transforms where sums of products are claimed",
        _fft,
        ops=(FORWARD,),
        trigger="dilation_h == 1 and dilation_w == 1 and dtype in ('float32', 'float64')",
        sources=("pytorch/pytorch#35655", "tensorflow/tensorflow#60315"),
    ),
)
