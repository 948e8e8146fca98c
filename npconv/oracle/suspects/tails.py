"""Tails of tiles, first and last of an axis, sizes that an index does not hold."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator

import numpy as np

from npconv.oracle.suspects.fault import Array, Fault, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    OPS,
    SLIDING,
    grouped,
    inside,
    joined,
    make,
    on,
    over,
    positions,
    right,
    zeroed,
)

_tails = functools.partial(make, family="tails")
_sizes = functools.partial(make, family="sizes")

TILES = (4, 8, 16, 32, 64)

#: Axes of a result that kernels cut into tiles: operation, axis, what its elements are called,
#: and the name of its size in conditions.
_AXES: tuple[tuple[str, int, str, str], ...] = (
    (FORWARD, 1, "output channels", "out_channels"),
    (FORWARD, 2, "output rows", "out_height"),
    (FORWARD, 3, "output columns", "out_width"),
    (GRAD_INPUT, 1, "channels of the input gradient", "in_channels"),
    (GRAD_INPUT, 2, "rows of the input gradient", "height"),
    (GRAD_INPUT, 3, "columns of the input gradient", "width"),
    (GRAD_WEIGHT, 0, "output channels of the weight gradient", "out_channels"),
    (GRAD_WEIGHT, 1, "input channels of the weight gradient", "channels_per_group"),
    (GRAD_BIAS, 0, "channels of the bias gradient", "out_channels"),
)
_SOURCES = {
    "out_channels": ("pytorch/pytorch#19912", "pytorch/pytorch#18218"),
    "in_channels": ("pytorch/pytorch#21597", "XiaoMi/mace#345"),
    "channels_per_group": ("uxlfoundation/oneDNN#6035", "ROCm/composable_kernel#2478"),
    "height": ("pytorch/pytorch#25101",),
    "width": ("pytorch/pytorch#25101",),
    "out_height": ("Tencent/ncnn#1014", "Tencent/ncnn#1384"),
    "out_width": ("Tencent/ncnn#1014", "Tencent/ncnn#1384"),
}


def _name(called: str) -> str:
    return called.replace(" of the ", "-of-").replace(" ", "-")


def _tail_zero(axis: int, tile: int) -> Callable[[Problem, str], Array | None]:
    """Leave what is left after whole tiles zero, where there is a whole tile."""

    def compute(problem: Problem, op: str) -> Array | None:
        size = right(problem, op).shape[axis]
        if size < tile:
            return None
        return zeroed(right(problem, op), axis, size // tile * tile)

    return compute


def _tail_doubled(axis: int, tile: int) -> Callable[[Problem, str], Array | None]:
    """Add the last tile, moved to end with the axis, to what the tile before already wrote."""

    def compute(problem: Problem, op: str) -> Array | None:
        size = right(problem, op).shape[axis]
        if size < tile or not size % tile:
            return None
        found = right(problem, op).copy()
        part = np.moveaxis(found, axis, 0)[size - tile : size // tile * tile]
        part += part.copy()
        return found

    return compute


def _tail_repeated(axis: int, tile: int) -> Callable[[Problem, str], Array | None]:
    """Write to the tail what belongs to the beginning of the last whole tile."""

    def compute(problem: Problem, op: str) -> Array | None:
        size = right(problem, op).shape[axis]
        whole = size // tile * tile
        if size < tile or size == whole:
            return None
        found = right(problem, op).copy()
        front = np.moveaxis(found, axis, 0)
        front[whole:] = front[whole - tile : whole - tile + size - whole]
        return found

    return compute


def _flat_tail_zero(tile: int, *, plane: bool) -> Callable[[Problem, str], Array | None]:
    """Leave the tail of each plane, or of the whole result, zero."""

    def compute(problem: Problem, op: str) -> Array | None:
        found = right(problem, op).copy()
        rows = found.reshape(*found.shape[:2], -1) if plane else found.reshape(1, -1)
        size = rows.shape[-1]
        if size < tile or not size % tile:
            return None
        rows[..., size // tile * tile :] = 0
        return found

    return compute


def _tiled() -> Iterator[Fault]:
    for op, axis, called, size in _AXES:
        for tile in TILES:
            trigger = f"{size} > {tile} and {size} % {tile} != 0"
            yield _tails(
                f"{_name(called)}-modulo-{tile}-left-zero",
                f"leaves {called} after the last whole tile of {tile} zero",
                _tail_zero(axis, tile),
                ops=(op,),
                trigger=trigger,
                sources=_SOURCES[size],
                series=f"{_name(called)}-left-zero",
            )
            yield _tails(
                f"{_name(called)}-modulo-{tile}-added-twice",
                f"adds the overlap of the last tile of {tile} {called} twice",
                _tail_doubled(axis, tile),
                ops=(op,),
                trigger=trigger,
                sources=_SOURCES[size],
                series=f"{_name(called)}-added-twice",
            )
            yield _tails(
                f"{_name(called)}-modulo-{tile}-repeated",
                f"repeats in {called} after the last whole tile of {tile} what that tile has",
                _tail_repeated(axis, tile),
                ops=(op,),
                trigger=trigger,
                sources=_SOURCES[size],
                series=f"{_name(called)}-repeated",
            )
    for tile in TILES:
        yield _tails(
            f"positions-modulo-{tile}-left-zero",
            f"leaves output positions after the last whole tile of {tile} in each plane zero",
            _flat_tail_zero(tile, plane=True),
            ops=(FORWARD,),
            trigger=f"out_height * out_width > {tile} and out_height * out_width % {tile} != 0",
            sources=("Tencent/ncnn#1014",),
            series="positions-left-zero",
        )
        yield _tails(
            f"elements-modulo-{tile}-left-zero",
            f"leaves the elements after the last whole vector of {tile} of its output zero",
            _flat_tail_zero(tile, plane=False),
            ops=(FORWARD,),
            trigger=(
                f"batch * out_channels * out_height * out_width > {tile} and "
                f"batch * out_channels * out_height * out_width % {tile} != 0"
            ),
            sources=("ROCm/rocm-libraries#4611",),
            series="elements-left-zero",
        )


# ------------------------------------------------------------------ tails of sums


def _sum_tail(tile: int) -> Callable[[Problem, str], Array | None]:
    """Leave out of each sum the channels, or positions, after the last whole tile."""

    def compute(problem: Problem, op: str) -> Array | None:
        if op in (FORWARD, GRAD_INPUT):
            kernels = grouped(problem.weight, problem.groups, 0)
            axis = 2 if op == FORWARD else 1
            size = kernels.shape[axis]
            left = None if size < tile else zeroed(kernels, axis, size // tile * tile)
            return None if left is None else on(problem, op, weight=joined(left, 0))
        assert problem.grad_output is not None
        grad = problem.grad_output
        flat = grad.reshape(*grad.shape[:2], -1).copy()
        size = flat.shape[-1]
        if size < tile or not size % tile:
            return None
        flat[..., size // tile * tile :] = 0
        return on(problem, op, grad_output=flat.reshape(grad.shape))

    return compute


def _products_tail(problem: Problem, op: str, tile: int) -> Array | None:
    """Leave out the products after the last whole tile of channels x taps."""
    kernels = problem.weight.reshape(problem.weight.shape[0], -1).copy()
    size = kernels.shape[1]
    if size < tile or not size % tile:
        return None
    kernels[:, size // tile * tile :] = 0
    return on(problem, op, weight=kernels.reshape(problem.weight.shape))


_SUMS = {
    FORWARD: ("input channels", "channels_per_group", "output"),
    GRAD_INPUT: ("output channels", "features_per_group", "input gradient"),
    GRAD_WEIGHT: ("positions", "out_height * out_width", "weight gradient"),
    GRAD_BIAS: ("positions", "out_height * out_width", "bias gradient"),
}


def _summed() -> Iterator[Fault]:
    for op, (called, size, result) in _SUMS.items():
        for tile in TILES:
            yield _tails(
                f"sum-of-{result.replace(' ', '-')}-without-tail-modulo-{tile}",
                f"leaves {called} after the last whole tile of {tile} out of the sums of its "
                f"{result}",
                _sum_tail(tile),
                ops=(op,),
                trigger=f"{size} > {tile} and {size} % {tile} != 0",
                sources=("ggml-org/ggml#274", "pytorch/pytorch#21597"),
                series="sum-without-tail",
            )
    for tile in TILES:
        yield _tails(
            f"products-modulo-{tile}-left-out",
            f"leaves the products after the last whole tile of {tile}, of input channels x taps, "
            "out of its sums",
            functools.partial(_products_tail, tile=tile),
            ops=(FORWARD,),
            trigger=f"terms > {tile} and terms % {tile} != 0",
            sources=("ggml-org/ggml#274",),
            series="products-left-out",
        )


# ------------------------------------------------------------------ first and last


def _part_zero(problem: Problem, op: str, axis: int, start: int, stop: int | None) -> Array | None:
    return zeroed(right(problem, op), axis, start, stop)


def _ends() -> Iterator[Fault]:
    for op, axis, called, size in _AXES:
        for place, start, stop in (("last", -1, None), ("first", 0, 1)):
            yield _tails(
                f"{place}-of-{_name(called)}-left-zero",
                f"leaves the {place} of the {called} zero",
                functools.partial(_part_zero, axis=axis, start=start, stop=stop),
                ops=(op,),
                trigger="True",
                sources=_SOURCES[size],
                series=f"{_name(called)}-ends",
            )


def _inner_alone(problem: Problem, op: str) -> Array | None:
    """Leave the border of a plane zero."""
    found = np.zeros_like(right(problem, op))
    found[..., 1:-1, 1:-1] = right(problem, op)[..., 1:-1, 1:-1]
    return found


def _border_windows(problem: Problem, op: str) -> Array | None:
    """Leave out windows that hang over an edge."""
    whole = [
        np.all(inside(positions(axis), axis.extent) >= 0, axis=1) for axis in problem.geometry.axes
    ]
    keep = np.logical_and.outer(*whole)
    if op == FORWARD:
        return np.where(keep, right(problem, op), np.zeros((), problem.input.dtype))
    assert problem.grad_output is not None
    kept = np.where(keep, problem.grad_output, np.zeros((), problem.grad_output.dtype))
    return on(problem, op, grad_output=kept)


# ------------------------------------------------------------------ sizes beyond an index


def _rows_wrap(problem: Problem, op: str, bits: int) -> Array | None:
    """Keep the numbers of rows and columns in so many bits."""
    axes = problem.geometry.axes
    if max(axis.padded for axis in axes) <= 2**bits:
        return None
    rows, columns = (
        np.where(positions(a) >= 0, positions(a) % 2**bits, positions(a)) for a in axes
    )
    return over(problem, op, rows, columns)


def _beyond(axis: int, most: int) -> Callable[[Problem, str], Array | None]:
    """Leave everything from index `most` on zero."""
    return lambda p, op: zeroed(right(p, op), axis, most) if right(p, op).size else None


def _beyond_positions(problem: Problem, op: str) -> Array | None:
    """Leave image positions from 65,535 on, counted through the batch, zero."""
    geometry = problem.geometry
    found = right(problem, op).copy()
    number = np.arange(geometry.batch * geometry.out[0] * geometry.out[1])
    lost = (number >= 65_535).reshape(geometry.batch, 1, *geometry.out)
    return np.where(lost, np.zeros((), found.dtype), found) if lost.any() else None


def _kernel_in_8_bits(problem: Problem, op: str) -> Array | None:
    """Walk over as many taps as the low 8 bits of the kernel's extents say."""
    rows, columns = (taps % 256 for taps in problem.geometry.kernel)
    if (rows, columns) == problem.geometry.kernel:
        return None
    if op == GRAD_WEIGHT:
        found = np.zeros_like(right(problem, op))
        found[..., :rows, :columns] = right(problem, op)[..., :rows, :columns]
        return found
    kernel = np.zeros(problem.weight.shape, problem.weight.dtype)
    kernel[..., :rows, :columns] = problem.weight[..., :rows, :columns]
    return on(problem, op, weight=kernel)


def _clipped(**limits: int) -> Callable[[Problem, str], Array | None]:
    """Keep one parameter in too few bits."""

    def compute(problem: Problem, op: str) -> Array | None:
        ((name, bits),) = limits.items()
        given = getattr(problem, name)
        kept = tuple(value % 2**bits or 2**bits for value in given)
        if kept == given:
            return None
        rows, columns = (
            positions(axis, **{name: value})
            for axis, value in zip(problem.geometry.axes, kept, strict=True)
        )
        return over(problem, op, rows, columns)

    return compute


_SIZES = (
    _sizes(
        "output-channels-beyond-65535-left-zero",
        "leaves output channels from 65,536 on zero",
        _beyond(1, 65_536),
        ops=(FORWARD,),
        trigger="out_channels > 65536",
        sources=("pytorch/pytorch#129207", "pytorch/pytorch#142836"),
    ),
    _sizes(
        "output-rows-beyond-65535-left-zero",
        "leaves output rows from 65,535 on zero, as a launch grid ends there",
        _beyond(2, 65_535),
        ops=(FORWARD,),
        trigger="out_height > 65535",
        sources=("ml-explore/mlx#3893",),
    ),
    _sizes(
        "positions-beyond-65535-left-zero",
        "leaves positions from 65,535 on, counted through the batch, zero",
        _beyond_positions,
        ops=(FORWARD,),
        trigger="batch * out_height * out_width > 65535",
        sources=("ml-explore/mlx#3893",),
    ),
    _sizes(
        "rows-counted-in-16-bits",
        "counts rows and columns of the input in 16 bits",
        functools.partial(_rows_wrap, bits=16),
        ops=SLIDING,
        trigger="height > 65536 - padding_top or width > 65536 - padding_left",
        sources=("Dao-AILab/causal-conv1d#32", "pytorch/pytorch#44109"),
    ),
    _sizes(
        "rows-counted-in-8-bits",
        "counts rows and columns of the input in 8 bits",
        functools.partial(_rows_wrap, bits=8),
        ops=SLIDING,
        trigger="height > 256 - padding_top or width > 256 - padding_left",
        sources=("Dao-AILab/causal-conv1d#32",),
    ),
    _sizes(
        "kernel-counted-in-8-bits",
        "counts the kernel's taps in 8 bits",
        _kernel_in_8_bits,
        ops=SLIDING,
        trigger="kernel_h > 255 or kernel_w > 255",
        sources=("pytorch/pytorch#44109",),
    ),
    _sizes(
        "strides-in-2-bits",
        "keeps strides in 2 bits: 5 is taken for 1",
        _clipped(stride=2),
        ops=SLIDING,
        trigger="stride_h > 4 and out_height > 1 or stride_w > 4 and out_width > 1",
        sources=("Theano/Theano#601",),
    ),
)

FAULTS: tuple[Fault, ...] = (
    *_SIZES,
    *_tiled(),
    *_summed(),
    *_ends(),
    _tails(
        "border-left-zero",
        "computes the inner part of a plane alone, its border stays zero",
        _inner_alone,
        ops=(FORWARD, GRAD_INPUT),
        trigger="True",
        sources=("Tencent/ncnn#1384", "apache/tvm#13364"),
    ),
    _tails(
        "windows-over-the-edge-left-out",
        "leaves out windows that hang over an edge",
        _border_windows,
        ops=OPS,
        trigger=(
            "padding_top > 0 or padding_left > 0 "
            "or padding_bottom > remainder_h or padding_right > remainder_w"
        ),
        sources=("apache/tvm#13364", "opencv/opencv#23151"),
    ),
    _tails(
        "half-of-the-output-channels-exchanged",
        "exchanges the halves of its output channels",
        lambda p, op: np.roll(right(p, op), p.geometry.out_channels // 2, 1),
        ops=(FORWARD,),
        trigger="out_channels > 1",
        sources=("pytorch/pytorch#15140",),
    ),
    _tails(
        "output-zero",
        "returns zeros",
        lambda p, op: np.zeros_like(right(p, op)),
        ops=SLIDING,
        trigger="True",
        sources=("google-ai-edge/LiteRT#9256",),
    ),
)
