"""What faults are made of: right results of changed problems, sums over any map of indices.

Results are carried as npconv carries them and rounded once, so that a fault differs from the
right result by nothing but itself.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from npconv import formats
from npconv.conv import conv2d, conv2d_backward, conv2d_bias
from npconv.geometry import Axis
from npconv.oracle.suspects.fault import Array, Fault, Problem

FORWARD, GRAD_INPUT, GRAD_WEIGHT, GRAD_BIAS = OPS = (
    "forward",
    "grad_input",
    "grad_weight",
    "grad_bias",
)
GRADIENTS = OPS[1:]
#: Operations in which an array of weights, of the input, of grad_output takes part.
OF_WEIGHT = (FORWARD, GRAD_INPUT)
OF_INPUT = (FORWARD, GRAD_WEIGHT)
#: Operations that slide a window.
SLIDING = (FORWARD, GRAD_INPUT, GRAD_WEIGHT)

Compute = Callable[[Problem, str], Array | None]


def make(
    name: str,
    says: str,
    compute: Compute | None,
    *,
    family: str,
    ops: Sequence[str],
    sources: Sequence[str],
    trigger: str | None = None,
    kind: str = "structure",
    series: str | None = None,
    same_as: Sequence[str] = (),
    empty: bool = False,
) -> Fault:
    """Return a fault; `sources` are 'owner/repository#number'.

    `compute` is None where no single result is determined. It sees batched arrays, and none
    without elements unless `empty`.
    """
    results = functools.partial(_results, compute, tuple(ops), empty)
    links = tuple(
        "https://github.com/{}/issues/{}".format(*source.split("#")) for source in sources
    )
    leaves = getattr(compute, "leaves", None)
    return Fault(
        name, says, kind, family, tuple(ops), links, trigger, results, series, tuple(same_as),
        None if leaves is None else functools.partial(_leaves, leaves),
    )  # fmt: skip


def _leaves(leaves: Callable[[Problem], bool], problem: Problem) -> bool:
    """Ask of a batch whether windows leave the padded input."""
    if not (problem.input.size and problem.weight.size):
        return False
    return leaves(problem if problem.input.ndim == 4 else _batched(problem))


def _results(
    compute: Compute | None, ops: tuple[str, ...], empty: bool, problem: Problem, op: str
) -> Array | None:
    """Compute a fault's result where it has one, on a batch, silently."""
    if compute is None or op not in ops or (op != FORWARD and problem.grad_output is None):
        return None
    if not empty and not (problem.input.size and problem.weight.size):
        return None
    batched = problem.input.ndim == 4
    if not batched:
        problem = _batched(problem)
    with np.errstate(all="ignore"):
        found = compute(problem, op)
    if found is not None and not batched and op in (FORWARD, GRAD_INPUT) and found.ndim == 4:
        return np.asarray(found[0])
    return found


@functools.lru_cache(maxsize=4)
def _batched(problem: Problem) -> Problem:
    """Return the problem of one image in a batch."""
    grad = problem.grad_output
    return replace(
        problem, input=problem.input[None], grad_output=None if grad is None else grad[None]
    )


@functools.lru_cache(maxsize=8)
def right(problem: Problem, op: str) -> Array:
    """Return the right result of one operation, read-only; results are kept for a few problems."""
    if op == FORWARD:
        found = conv2d(problem.input, problem.weight, problem.bias, *problem.parameters)
    elif op == GRAD_BIAS:
        assert problem.grad_output is not None
        found = conv2d_bias(problem.grad_output)
    else:
        assert problem.grad_output is not None
        mask = op == GRAD_INPUT, op == GRAD_WEIGHT, False
        gradients = conv2d_backward(
            problem.grad_output, problem.input, problem.weight, *problem.parameters, mask
        )
        found = next(gradient for gradient in gradients if gradient is not None)
    found.flags.writeable = False
    return found


def on(problem: Problem, op: str, **changes: Any) -> Array:
    """Return the right result of a problem with some arrays or parameters replaced."""
    return right(replace(problem, **changes), op)


def dtype_name(problem: Problem) -> str:
    """Return the name of the problem's dtype."""
    return str(problem.input.dtype.newbyteorder("=").name)


# ------------------------------------------------------------------ channels in groups


def grouped(array: Array, groups: int, axis: int) -> Array:
    """Copy with `axis` split into (groups, rest)."""
    size = array.shape[axis] // groups
    return array.reshape(*array.shape[:axis], groups, size, *array.shape[axis + 1 :]).copy()


def joined(array: Array, axis: int) -> Array:
    """Merge `axis` and the next one."""
    return array.reshape(*array.shape[:axis], -1, *array.shape[axis + 2 :])


def weight_index(problem: Problem, op: str, index: Array, *, written: bool = True) -> Array:
    """Take the kernels in another order: output channel f uses kernel index[f], -1 none.

    In the weight gradient the errors of channel f are added to what belongs to kernel
    index[f], or it is right where `written` is False.
    """
    if op == GRAD_WEIGHT:
        if not written:
            return right(problem, op)
        return _moved(right(problem, op), index, 0)
    return on(problem, op, weight=_taken(problem.weight, index, 0))


def input_index(problem: Problem, op: str, index: Array) -> Array:
    """Take the input's channels in another order: in place of channel c is index[c], -1 none."""
    if op == GRAD_INPUT:
        return _moved(right(problem, op), index, 1)
    return on(problem, op, input=_taken(problem.input, index, 1))


def output_index(problem: Problem, op: str, index: Array) -> Array:
    """Write the output's channels in another order: channel f is what belongs to index[f]."""
    if op == FORWARD:
        return _taken(right(problem, op), index, 1)
    assert problem.grad_output is not None
    return on(problem, op, grad_output=_moved(problem.grad_output, index, 1))


def _taken(array: Array, index: Array, axis: int) -> Array:
    taken = np.take(array, index, axis)
    gaps: list[Any] = [slice(None)] * array.ndim
    gaps[axis] = index < 0
    taken[tuple(gaps)] = 0
    return taken


def _moved(array: Array, index: Array, axis: int) -> Array:
    """Add element i along an axis to element index[i] of zeros: the adjoint of taking."""
    sums = np.zeros(array.shape, array.dtype)
    front, source = np.moveaxis(sums, axis, 0), np.moveaxis(array, axis, 0)
    for position, target in enumerate(index):
        if target >= 0:
            front[target] += source[position]
    return sums


# ------------------------------------------------------------------ windows by index


def axes_of(problem: Problem) -> tuple[tuple[Axis, Axis], tuple[Axis, Axis]]:
    """Return (rows, columns) and (columns, rows): each axis with the other one."""
    rows, columns = problem.geometry.axes
    return (rows, columns), (columns, rows)


def positions(
    axis: Axis,
    *,
    stride: int | None = None,
    dilation: int | None = None,
    before: int | None = None,
    out: int | None = None,
) -> Array:
    """Return which element (out, kernel) each tap of each window meets, anywhere on the line."""
    step = axis.stride if stride is None else stride
    spread = axis.dilation if dilation is None else dilation
    pad = axis.before if before is None else before
    count = axis.out if out is None else out
    return np.arange(count)[:, None] * step + np.arange(axis.kernel) * spread - pad


def inside(places: Array, extent: int) -> Array:
    """Replace places beyond the image by -1, which reads zero."""
    return np.where((places >= 0) & (places < extent), places, -1)


def over(
    problem: Problem, op: str, rows: Array, columns: Array, outside: float = 0
) -> Array | None:
    """Return the result with windows that meet these rows and columns; None where they are right.

    Places beyond the image read `outside`, and nothing is added back to them.
    """
    return gathered(problem, op, windows_at(problem, rows, columns), outside)


def windows_at(problem: Problem, rows: Array, columns: Array) -> Array:
    """Return which element (c, y, k, x, t) of an image each tap meets, -1 beyond its edges."""
    height, width = problem.geometry.extents
    r, c = inside(rows, height)[:, :, None, None], inside(columns, width)
    plane = np.where((r >= 0) & (c >= 0), r * width + c, -1)
    channels = np.arange(problem.geometry.in_channels)[:, None, None, None, None]
    return np.where(plane >= 0, channels * (height * width) + plane, -1)


@functools.lru_cache(maxsize=4)
def _right_windows(problem: Problem) -> Array:
    rows, columns = problem.geometry.axes
    return windows_at(problem, positions(rows), positions(columns))


def gathered(problem: Problem, op: str, index: Array, outside: float = 0) -> Array | None:
    """Return the result with windows over elements index (c, y, k, x, t) of each image, -1 none.

    None where these are the right ones. Where the number of windows is not grad_output's,
    gradients take the windows that both have.
    """
    if op == GRAD_BIAS:
        return None
    if np.array_equal(index, _right_windows(problem)) and not (outside and np.any(index < 0)):
        return None
    geometry, groups = problem.geometry, problem.groups
    dtype = problem.input.dtype
    carried = _carrier(problem)
    kernel = (groups, geometry.group_out, -1)
    weight = formats.load(problem.weight, carried).reshape(kernel)
    height, width = index.shape[1], index.shape[3]
    errors = None
    if op != FORWARD:
        assert problem.grad_output is not None
        height, width = (
            min(height, problem.grad_output.shape[2]),
            min(width, problem.grad_output.shape[3]),
        )
        index = index[:, :height, :, :width]
        grad = formats.load(problem.grad_output[:, :, :height, :width], carried)
        errors = grad.reshape(geometry.batch, groups, geometry.group_out, height * width)
    # (c, y, k, x, t) to (g, c*k*t, y*x).
    terms = math.prod(index.shape[::2]) // groups
    flat = index.transpose(0, 2, 4, 1, 3).reshape(groups, terms, height * width)
    if op == GRAD_INPUT:
        assert errors is not None
        columns = product(np.conj(weight).swapaxes(1, 2), errors)
        sums = np.zeros((geometry.batch, problem.input[0].size + 1), carried)
        np.add.at(sums.T, flat, np.moveaxis(columns, 0, -1))
        found = sums[:, :-1].reshape(problem.input.shape)
    else:
        image = formats.load(problem.input, carried).reshape(geometry.batch, -1)
        slot = np.full((geometry.batch, 1), outside).astype(carried)
        columns = np.concatenate([image, slot], axis=1)[:, flat]
        if op == FORWARD:
            found = product(weight, columns)
            found = found.reshape(geometry.batch, geometry.out_channels, height, width)
            if problem.bias is not None:
                found += formats.load(problem.bias, carried)[:, None, None]
        else:
            assert errors is not None
            found = product(errors, np.conj(columns).swapaxes(2, 3)).sum(0)
            found = found.reshape(problem.weight.shape)
    return formats.finish(found, dtype, dtype.newbyteorder("="))


def _carrier(problem: Problem) -> np.dtype[Any]:
    kind = formats.family(problem.input.dtype)
    return {
        "float": formats.FLOAT64,
        "complex": formats.COMPLEX128,
        "integer": formats.UINT64,
    }[kind]


def product(left: Array, right: Array) -> Array:
    """Multiply stacks of matrices; complex ones by parts, so that infinities stay apart."""
    if left.dtype.kind != "c":
        return np.asarray(np.matmul(left, right))
    real = np.matmul(left.real, right.real) - np.matmul(left.imag, right.imag)
    imaginary = np.matmul(left.real, right.imag) + np.matmul(left.imag, right.real)
    found = np.empty(real.shape, left.dtype)
    found.real, found.imag = real, imaginary
    return found


# ------------------------------------------------------------------ memory


def memory(array: Array) -> tuple[Array, int, tuple[int, ...]] | None:
    """Return what an array is a view of: flat elements, its offset and strides in elements.

    None where its owner's memory is not one block.
    """
    owner = array
    while isinstance(owner.base, np.ndarray):
        owner = owner.base
    flat = owner.reshape(-1, order="A") if owner.flags.forc else None
    if flat is None or owner.dtype != array.dtype or array.size == 0:
        return None
    item = array.itemsize
    offset = array.__array_interface__["data"][0] - owner.__array_interface__["data"][0]
    if offset % item or any(stride % item for stride in array.strides):
        return None
    return flat, offset // item, tuple(stride // item for stride in array.strides)


def read(array: Array, start: int, strides: Sequence[int], flat: Array) -> Array:
    """Return an array of the same shape read from `flat` with other strides; beyond it is zero."""
    index = np.full((1,) * array.ndim, start)
    for axis, (size, stride) in enumerate(zip(array.shape, strides, strict=True)):
        step = np.arange(size) * stride
        index = index + step.reshape(-1, *(1,) * (array.ndim - axis - 1))
    good = (index >= 0) & (index < flat.size)
    return np.where(good, flat[np.where(good, index, 0)], np.zeros((), array.dtype))


def packed_strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return strides in elements of a packed array."""
    strides = [1]
    for size in reversed(shape[1:]):
        strides.append(strides[-1] * size)
    return tuple(reversed(strides))


# ------------------------------------------------------------------ results


def zeroed(array: Array, axis: int, start: int, stop: int | None = None) -> Array | None:
    """Copy with part of an axis zero; None where there is no such part."""
    found = array.copy()
    part = np.moveaxis(found, axis, 0)[start:stop]
    if not part.size:
        return None
    part[...] = 0
    return found


def scaled(array: Array, factor: int, divisor: int = 1) -> Array:
    """Multiply by a fraction in the carried dtype and round once; integers divide down."""
    kind = formats.family(array.dtype)
    if kind == "integer":
        wide = array.astype(np.int64) * factor
        return (wide // divisor if divisor > 1 else wide).astype(array.dtype)
    wide_type = np.dtype(np.complex128 if kind == "complex" else np.float64)
    return formats.round_once(array.astype(wide_type) * factor / divisor, array.dtype)
