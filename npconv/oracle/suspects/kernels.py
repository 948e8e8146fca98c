"""Orientation: kernels and results flipped, transposed, shifted; taps left out; conjugates."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from npconv.oracle.suspects.fault import Array, Fault, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_INPUT,
    GRAD_WEIGHT,
    SLIDING,
    grouped,
    joined,
    make,
    on,
    right,
)

_fault = functools.partial(make, family="orientation")
_Change = Callable[[Array], Array]


def _kernel(change: _Change, back: _Change) -> Callable[[Problem, str], Array | None]:
    """Use another kernel, and give the weight gradient of that one."""

    def compute(problem: Problem, op: str) -> Array | None:
        if op == GRAD_WEIGHT:
            return back(right(problem, op))
        return on(problem, op, weight=change(problem.weight))

    return compute


def _flipped(*axes: int) -> _Change:
    return lambda array: np.flip(array, axes)


def _shifted(axis: int, step: int) -> _Change:
    """Put element i + step in the place of element i, zero where there is none."""

    def change(array: Array) -> Array:
        found = np.zeros(array.shape, array.dtype)
        source, target = np.moveaxis(array, axis, 0), np.moveaxis(found, axis, 0)
        size = len(source)
        for place in range(size):
            if 0 <= place + step < size:
                target[place] = source[place + step]
        return found

    return change


def _without(axis: int, place: int) -> _Change:
    """Replace one row or column of taps by zeros."""

    def change(array: Array) -> Array:
        found = array.copy()
        np.moveaxis(found, axis, 0)[place] = 0
        return found

    return change


def _turned(array: Array) -> Array:
    return np.rot90(array, axes=(-2, -1)) if array.shape[-1] == array.shape[-2] else array


def _transposed(array: Array) -> Array:
    return array.swapaxes(-1, -2) if array.shape[-1] == array.shape[-2] else array


def _turned_back(array: Array) -> Array:
    return np.rot90(array, -1, axes=(-2, -1)) if array.shape[-1] == array.shape[-2] else array


def _central(array: Array) -> Array:
    """Keep one tap of each kernel."""
    found = np.zeros(array.shape, array.dtype)
    place = (..., array.shape[-2] // 2, array.shape[-1] // 2)
    found[place] = array[place]
    return found


def _channels_not_swapped(problem: Problem, op: str) -> Array:
    """Read each group's kernels (f, c) as (c, f) without moving them, then swap."""
    split = grouped(problem.weight, problem.groups, 0)
    groups, features, channels, *taps = split.shape
    read = split.reshape(groups, channels, features, *taps).swapaxes(1, 2)
    return on(problem, op, weight=joined(np.ascontiguousarray(read), 0))


def _channels_swapped(problem: Problem, op: str) -> Array:
    """Write each group's weight gradient (c, f) where (f, c) belongs."""
    split = grouped(right(problem, op), problem.groups, 0)
    written = np.ascontiguousarray(split.swapaxes(1, 2)).reshape(split.shape)
    return joined(written, 0)


def _conjugated(*names: str) -> Callable[[Problem, str], Array | None]:
    def compute(problem: Problem, op: str) -> Array | None:
        if problem.input.dtype.kind != "c":
            return None
        changes = {name: np.conj(getattr(problem, name)) for name in names}
        return right(replace(problem, **changes), op)

    return compute


_LARGE = "kernel_h > 1 or kernel_w > 1"
_AXES = {
    "": ((-2, -1), "in both axes", _LARGE),
    "-in-rows": ((-2,), "top to bottom", "kernel_h > 1"),
    "-in-columns": ((-1,), "left to right", "kernel_w > 1"),
}
_RESULT = {
    FORWARD: ("output", "out_height", "out_width"),
    GRAD_INPUT: ("input-gradient", "height", "width"),
}


def _reversed(problem: Problem, op: str, axes: tuple[int, ...]) -> Array:
    return np.flip(right(problem, op), axes)


def _flips() -> Iterator[Fault]:
    for ending, (axes, where, trigger) in _AXES.items():
        yield _fault(
            f"kernel-not-flipped{ending}",
            f"does not flip the kernel {where} for the input gradient",
            _kernel(_flipped(*axes), _flipped(*axes)),
            ops=(GRAD_INPUT,),
            trigger=trigger,
            sources=("nntrainer/nntrainer#705", "mlpack/mlpack#3376"),
            series="kernel-not-flipped",
        )
        yield _fault(
            f"weight-gradient-reversed{ending}",
            f"correlates grad_output with the input, not the input with it: reversed {where}",
            _kernel(_flipped(*axes), _flipped(*axes)),
            ops=(GRAD_WEIGHT,),
            trigger=trigger,
            sources=("rasmusbergpalm/DeepLearnToolbox#169",),
            series="weight-gradient-reversed",
        )
    for ending, (axes, where, trigger) in _AXES.items():
        yield _fault(
            f"kernel-flipped{ending}",
            f"flips the kernel {where}: a convolution in the mathematical sense",
            _kernel(_flipped(*axes), _flipped(*axes)),
            ops=SLIDING,
            trigger=trigger,
            sources=("astrorama/SourceXtractorPlusPlus#72", "FluxML/NNlib.jl#208"),
            series="kernel-flipped",
        )
    for op, (called, height, width) in _RESULT.items():
        said = called.replace("-", " ")
        for ending, (axes, where, _) in _AXES.items():
            larger = {-2: f"{height} > 1", -1: f"{width} > 1"}
            yield _fault(
                f"{called}-reversed{ending}",
                f"swaps the factors of a correlation, so that its {said} is reversed {where}",
                functools.partial(_reversed, axes=axes),
                ops=(op,),
                trigger=" or ".join(larger[axis] for axis in axes),
                sources=("FluxML/NNlib.jl#208",),
                series=f"{called}-reversed",
            )


def _shifts() -> Iterator[Fault]:
    for axis, called in ((-2, "row"), (-1, "column")):
        for step, where in ((1, "next"), (-1, "previous")):
            yield _fault(
                f"taps-shifted-to-{where}-{called}",
                f"takes tap K - k where K - 1 - k is meant: each {called} of the kernel is the "
                f"{where} one, the last of them missing",
                _kernel(_shifted(axis, step), _shifted(axis, -step)),
                ops=SLIDING,
                # A kernel of one tap has no other one.
                trigger="True",
                sources=("mlpack/mlpack#3376", "HomericIntelligence/Odyssey#2949"),
                series="taps-shifted",
            )
        for place, which in ((-1, "last"), (0, "first")):
            yield _fault(
                f"{which}-kernel-{called}-ignored",
                f"leaves out the {which} {called} of the kernel",
                _kernel(_without(axis, place), _without(axis, place)),
                ops=SLIDING,
                trigger="True",
                sources=("Tencent/ncnn#75", "pytorch/pytorch#50042"),
                series="taps-ignored",
            )


_COMPLEX = "dtype in ('complex64', 'complex128')"

FAULTS: tuple[Fault, ...] = (
    _fault(
        "weight-not-conjugated",
        "does not conjugate the weight for the input gradient",
        _conjugated("weight"),
        ops=(GRAD_INPUT,),
        trigger=_COMPLEX,
        sources=("FluxML/NNlib.jl#389", "tensorflow/tensorflow#4859"),
    ),
    _fault(
        "input-not-conjugated",
        "does not conjugate the input for the weight gradient",
        _conjugated("input"),
        ops=(GRAD_WEIGHT,),
        trigger=_COMPLEX,
        sources=("FluxML/NNlib.jl#389", "tensorflow/tensorflow#4859"),
    ),
    _fault(
        "weight-conjugated",
        "conjugates the weight, as an inner product does",
        _conjugated("weight"),
        ops=(FORWARD,),
        trigger=_COMPLEX,
        sources=("tensorflow/tensorflow#3348",),
    ),
    _fault(
        "gradients-conjugated",
        "returns the conjugate of the gradient",
        lambda p, op: np.conj(right(p, op)) if p.input.dtype.kind == "c" else None,
        ops=(GRAD_INPUT, GRAD_WEIGHT, "grad_bias"),
        trigger=_COMPLEX,
        sources=("tensorflow/tensorflow#3348",),
    ),
    *_flips(),
    _fault(
        "kernel-turned",
        "turns square kernels by 90 degrees",
        _kernel(_turned, _turned_back),
        ops=SLIDING,
        trigger="kernel_h == kernel_w and kernel_h > 1",
        sources=("mlpack/mlpack#3376",),
    ),
    _fault(
        "kernel-rows-and-columns-exchanged",
        "transposes square kernels",
        _kernel(_transposed, _transposed),
        ops=SLIDING,
        trigger="kernel_h == kernel_w and kernel_h > 1",
        sources=("torch/cunn#470", "mlpack/mlpack#3376"),
    ),
    _fault(
        "channels-of-kernel-not-swapped",
        "reads the kernel's input channels as output channels for the input gradient",
        _channels_not_swapped,
        ops=(GRAD_INPUT,),
        trigger="channels_per_group > 1 and features_per_group > 1",
        sources=("NervanaSystems/neon#111", "apache/tvm#9336"),
    ),
    _fault(
        "channels-of-weight-gradient-swapped",
        "writes the weight gradient with input and output channels exchanged in each group",
        _channels_swapped,
        ops=(GRAD_WEIGHT,),
        trigger="channels_per_group > 1 and features_per_group > 1",
        sources=("nntrainer/nntrainer#705",),
    ),
    _fault(
        "only-central-tap",
        "uses the kernel's central tap alone, as if it were 1 x 1",
        _kernel(_central, _central),
        ops=SLIDING,
        trigger=_LARGE,
        sources=("pytorch/pytorch#55381",),
    ),
    *_shifts(),
)
