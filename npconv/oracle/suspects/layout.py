"""Memory read or written in another order than strides and shapes say."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from npconv.oracle.suspects.fault import Array, Fault, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_INPUT,
    GRAD_WEIGHT,
    GRADIENTS,
    OF_INPUT,
    OF_WEIGHT,
    OPS,
    SLIDING,
    make,
    memory,
    packed_strides,
    read,
    right,
)

_fault = functools.partial(make, family="layout")

#: Which operations read an array, and how a sentence calls it.
_ROLES = {
    "input": (OF_INPUT, "the input"),
    "weight": (OF_WEIGHT, "the weight"),
    "grad_output": (GRADIENTS, "grad_output"),
    "arrays": (OPS, "every array"),
    "bias": ((FORWARD,), "the bias"),
}
#: Start and strides, in elements, with which a kernel reads an array of a shape, offset, strides.
_Reading = Callable[[tuple[int, ...], int, tuple[int, ...]], tuple[int, Sequence[int]]]


def _lowest(shape: tuple[int, ...], offset: int, strides: tuple[int, ...]) -> int:
    """Return the address of an array's first byte, which negative strides do not begin at."""
    return offset + sum(
        min(0, stride * (size - 1)) for size, stride in zip(shape, strides, strict=True)
    )


def _reread(problem: Problem, op: str, role: str, reading: _Reading) -> Array | None:
    """Return the right result of arrays that were read with other strides."""
    changes: dict[str, Any] = {}
    if role == "bias" and problem.bias is None:
        return None
    for name in ("input", "weight", "grad_output") if role == "arrays" else (role,):
        array = getattr(problem, name)
        held = None if array is None else memory(array)
        if held is None:
            continue
        flat, offset, strides = held
        start, wrong = reading(array.shape, offset, strides)
        changes[name] = read(array, start, wrong, flat)
    return right(replace(problem, **changes), op) if changes else None


def _packed(
    shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> tuple[int, Sequence[int]]:
    return _lowest(shape, offset, strides), packed_strides(shape)


def _no_offset(
    _: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> tuple[int, Sequence[int]]:
    return (offset if min(strides) < 0 else 0), strides


def _magnitudes(
    shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> tuple[int, Sequence[int]]:
    return _lowest(shape, offset, strides), [abs(stride) for stride in strides]


def _assumed(
    axis: int, shape: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> tuple[int, Sequence[int]]:
    """Read one axis with the stride that it would have in a packed array."""
    wrong = list(strides)
    wrong[axis] = packed_strides(shape)[axis]
    if strides[axis] < 0:
        offset += strides[axis] * (shape[axis] - 1)
    return offset, wrong


def _swapped(
    _: tuple[int, ...], offset: int, strides: tuple[int, ...]
) -> tuple[int, Sequence[int]]:
    return offset, (*strides[:-2], strides[-1], strides[-2])


#: Views whose elements lie in another order, or not side by side.
_APART = "layout not in ('packed', 'readonly')"

_READINGS: tuple[tuple[str, str, _Reading, str, tuple[str, ...]], ...] = (
    (
        "memory-taken-as-packed",
        "reads the memory of {} as if it were packed, whatever its strides",
        _packed,
        _APART,
        (
            "pytorch/pytorch#55781",
            "pytorch/pytorch#708",
            "pytorch/pytorch#1246",
            "huggingface/candle#3735",
        ),
    ),
    (
        "offset-ignored",
        "reads {} from the start of its buffer, not from the view's first element",
        _no_offset,
        "layout in ('channel_slice', 'stepped')",
        ("huggingface/candle#3893", "pytorch/pytorch#180984"),
    ),
    (
        "negative-strides-ignored",
        "walks {} forwards where its strides are negative",
        _magnitudes,
        "layout == 'reversed'",
        ("cupy/cupy#10303", "pydata/numexpr#63"),
    ),
    (
        "inner-stride-taken-as-1",
        "takes neighbours in a row of {} for neighbours in memory",
        functools.partial(_assumed, -1),
        _APART,
        ("fla-org/flash-linear-attention#1139",),
    ),
    (
        "row-stride-taken-as-width",
        "takes the rows of {} to follow one another in memory",
        functools.partial(_assumed, -2),
        _APART,
        ("pytorch/pytorch#708",),
    ),
    (
        "channel-stride-taken-as-plane",
        "takes the channels of {} to follow one another in memory as whole planes",
        functools.partial(_assumed, -3),
        "layout in ('channels_last', 'channel_slice', 'stepped', 'expanded')",
        ("pytorch/pytorch#180984",),
    ),
    (
        "batch-stride-taken-as-packed",
        "takes the images of {} to follow one another without gaps",
        functools.partial(_assumed, 0),
        "layout in ('channel_slice', 'stepped', 'expanded')",
        ("pytorch/pytorch#708",),
    ),
    (
        "row-and-column-strides-swapped",
        "steps through {} with the strides of rows and columns swapped",
        _swapped,
        "height > 1 or width > 1 or kernel_h > 1 or kernel_w > 1",
        ("torch/cunn#470",),
    ),
)


#: Packed rows of one element are as far apart as elements.
_UNEQUAL = {
    role: f"{sizes} or {_APART}"
    for role, sizes in (
        ("input", "width > 1"),
        ("weight", "kernel_w > 1"),
        ("grad_output", "out_width > 1"),
        ("arrays", "width > 1 or kernel_w > 1 or out_width > 1"),
    )
}
_OF_A_BIAS = ("memory-taken-as-packed", "offset-ignored", "negative-strides-ignored")


def _laid_out(trigger: str, role: str) -> str:
    """Restrict a condition on layouts to cases in which an array has it."""
    if role == "arrays":
        return f"{trigger} and laid_out != 'bias'"
    if role == "bias":
        # Other layouts than these leave an array of one axis as it is.
        trigger = f"bias and {trigger} and layout not in ('channels_last', 'transposed')"
    return f"{trigger} and laid_out in ('all', '{role}')"


def _readings() -> Iterator[Fault]:
    for name, says, reading, trigger, sources in _READINGS:
        for role, (ops, called) in _ROLES.items():
            # A bias has one axis, so there is less to mistake.
            if role == "bias" and name not in _OF_A_BIAS:
                continue
            yield _fault(
                f"{name}-{role.replace('_', '-')}",
                says.format(called),
                functools.partial(_reread, role=role, reading=reading),
                ops=ops,
                trigger=_UNEQUAL[role] if reading is _swapped else _laid_out(trigger, role),
                sources=sources,
                series=name,
            )


# ------------------------------------------------------------------ permutations


def _as_read(array: Array, order: tuple[int, ...]) -> Array:
    """Read packed memory as an array whose axes come in `order`."""
    held = np.ascontiguousarray(array).reshape([array.shape[axis] for axis in order])
    return held.transpose(np.argsort(order))


def _permuted_read(problem: Problem, op: str, role: str, order: tuple[int, ...]) -> Array:
    changes: dict[str, Any] = {role: _as_read(getattr(problem, role), order)}
    return right(replace(problem, **changes), op)


def _permuted_result(problem: Problem, op: str, order: tuple[int, ...]) -> Array:
    return _as_written(right(problem, op), order)


def _as_written(array: Array, order: tuple[int, ...]) -> Array:
    """Write an array with its axes in `order` into memory that is then read as packed."""
    return np.ascontiguousarray(array.transpose(order)).reshape(array.shape)


#: Permutations of four axes that are in use come first.
_ORDERS = tuple(
    dict.fromkeys(
        [(0, 2, 3, 1), (2, 3, 1, 0), (0, 1, 3, 2), (1, 0, 2, 3), *itertools.permutations(range(4))]
    )
)
_PERMUTED = (
    (
        "input", "NCHW", OF_INPUT, ("apache/tvm#2241", "tinygrad/tinygrad#324"),
    ),
    (
        "weight", "OIHW", OF_WEIGHT, ("tensorflow/tensorflow#30044", "apache/tvm#9336"),
    ),
    (
        "grad_output", "NCHW", GRADIENTS, ("NVIDIA/cudnn-frontend#109",),
    ),
)  # fmt: skip
_WRITTEN = (
    ("output", "NCHW", FORWARD, ("NVIDIA/cudnn-frontend#109", "ROCm/AMDMIGraphX#5237")),
    ("grad-input", "NCHW", GRAD_INPUT, ("NVIDIA/cudnn-frontend#109",)),
    ("grad-weight", "OIHW", GRAD_WEIGHT, ("nntrainer/nntrainer#705",)),
)


def _trigger(order: tuple[int, ...], sizes: Sequence[str]) -> str:
    """Name the cases in which axes of more than one element change their order."""
    moved = [
        f"{sizes[first]} > 1 and {sizes[second]} > 1"
        for first, second in itertools.combinations(range(4), 2)
        if order.index(first) > order.index(second)
    ]
    return " or ".join(moved)


_SIZES = {
    "input": ("batch", "in_channels", "height", "width"),
    "weight": ("out_channels", "channels_per_group", "kernel_h", "kernel_w"),
    "grad_output": ("batch", "out_channels", "out_height", "out_width"),
}
_SIZES |= {
    "output": _SIZES["grad_output"],
    "grad-input": _SIZES["input"],
    "grad-weight": _SIZES["weight"],
}


def _permutations() -> Iterator[Fault]:
    for order in _ORDERS:
        if order == (0, 1, 2, 3):
            continue
        for role, letters, ops, sources in _PERMUTED:
            name = "".join(letters[axis] for axis in order)
            yield _fault(
                f"{role.replace('_', '-')}-read-as-{name.lower()}",
                f"reads the memory of {_ROLES[role][1]} as {name}, not as {letters}",
                functools.partial(_permuted_read, role=role, order=order),
                ops=ops,
                trigger=_trigger(order, _SIZES[role]),
                sources=sources,
                series=f"{role}-permuted",
            )
        for result, letters, op, sources in _WRITTEN:
            name = "".join(letters[axis] for axis in order)
            yield _fault(
                f"{result}-written-as-{name.lower()}",
                f"writes its {result.replace('-', ' ')} to memory as {name}, not as {letters}",
                functools.partial(_permuted_result, order=order),
                ops=(op,),
                trigger=_trigger(order, _SIZES[result]),
                sources=sources,
                series=f"{result}-permuted",
            )


def _follows_input(problem: Problem, op: str) -> Array | None:
    """Write as NHWC where the input's channels are next to each other in memory."""
    strides = problem.input.strides
    found = right(problem, op)
    last = strides[1] == min(abs(stride) for stride in strides)
    return _as_written(found, (0, 2, 3, 1)) if last and strides[1] < abs(strides[3]) else None


FAULTS: tuple[Fault, ...] = (
    *_readings(),
    _fault(
        "result-follows-the-inputs-layout",
        "writes channels last where the input has channels last, into memory that is not",
        _follows_input,
        ops=(FORWARD, GRAD_INPUT),
        trigger="layout in ('channels_last', 'channel_slice') and laid_out in ('all', 'input') "
        "and (height > 1 or width > 1)",
        sources=("pytorch/pytorch#180984", "ROCm/AMDMIGraphX#5237"),
    ),
    _fault(
        "height-and-width-of-the-result-swapped",
        "returns its result with rows and columns exchanged, in shape too",
        lambda p, op: right(p, op).swapaxes(-1, -2),
        ops=SLIDING,
        trigger="height > 1 or width > 1 or kernel_h > 1 or kernel_w > 1",
        sources=("torch/cunn#470", "mlpack/mlpack#3376"),
    ),
    *_permutations(),
)
