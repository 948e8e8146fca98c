"""Convolution and its gradients, correctly rounded: every element is its exact value, rounded once.

Ziv's test ('Fast evaluation of elementary mathematical functions with correctly rounded last
bit', 1991): a value with a radius decides the rounding of almost every element, and only the
others are worked out further. The sums and their radii come from `splitting`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from npconv import conv, formats, operands, rounding
from npconv.arguments import Arguments, read, read_grad_output, read_mask
from npconv.conv import Padding, Pair
from npconv.operands import Tile

__all__ = ["conv2d", "conv2d_backward", "conv2d_bias", "conv2d_input", "conv2d_weight"]

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]


def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike = None,
) -> Array:
    arrays = {"input": input, "weight": weight, "bias": bias}
    call = read("exact.conv2d", arrays, {}, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        return conv.conv2d(input, weight, bias, stride, padding, dilation, groups, dtype=dtype)
    return _forward(call)


def conv2d_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike = None,
) -> Array:
    arrays, sizes = {"weight": weight, "grad_output": grad_output}, {"input_size": input_size}
    call = read("exact.conv2d_input", arrays, sizes, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups)
        return conv.conv2d_input(input_size, weight, grad_output, *where, dtype=dtype)
    return _input_gradient(call)


def conv2d_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike = None,
) -> Array:
    arrays, sizes = {"input": input, "grad_output": grad_output}, {"weight_size": weight_size}
    call = read("exact.conv2d_weight", arrays, sizes, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups)
        return conv.conv2d_weight(input, weight_size, grad_output, *where, dtype=dtype)
    return _weight_gradient(call)


def conv2d_bias(grad_output: ArrayLike, *, dtype: DTypeLike = None) -> Array:
    grad, given, result = read_grad_output("exact.conv2d_bias", grad_output, dtype)
    if formats.family(given) == "integer":
        return conv.conv2d_bias(grad_output, dtype=dtype)
    return _bias_gradient(grad, result)


def conv2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    output_mask: Sequence[bool] = (True, True, True),
    *,
    dtype: DTypeLike = None,
) -> tuple[Array | None, Array | None, Array | None]:
    arrays = {"grad_output": grad_output, "input": input, "weight": weight}
    mask = read_mask("exact.conv2d_backward", output_mask, arrays)
    call = read("exact.conv2d_backward", arrays, {}, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups, output_mask)
        return conv.conv2d_backward(grad_output, input, weight, *where, dtype=dtype)
    assert call.grad_output is not None
    return (
        _input_gradient(call) if mask[0] else None,
        _weight_gradient(call) if mask[1] else None,
        _bias_gradient(call.grad_output, call.result) if mask[2] else None,
    )


def _forward(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.input is not None
    assert call.weight is not None
    output = np.zeros(geometry.output_shape, call.result)
    view = output.reshape(geometry.batch, geometry.groups, geometry.group_out, *geometry.out)
    bias = None if call.bias is None else call.bias.reshape(geometry.groups, -1)
    _fill(view, operands.forward(call.input, call.weight, geometry), call.input, call.weight, bias)
    return output


def _input_gradient(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.weight is not None
    assert call.grad_output is not None
    gradient = np.zeros(geometry.input_shape, call.result)
    view = gradient.reshape(geometry.batch, geometry.groups, geometry.group_in, *geometry.extents)
    tiles = operands.input_gradient(call.weight, call.grad_output, geometry)
    _fill(view, tiles, call.weight, call.grad_output)
    return gradient


def _weight_gradient(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.input is not None
    assert call.grad_output is not None
    gradient = np.zeros(geometry.weight_shape, call.result)
    view = gradient.reshape(
        geometry.groups, geometry.group_out, geometry.group_in, *geometry.kernel
    )
    tiles = operands.weight_gradient(call.input, call.grad_output, geometry)
    _fill(view, tiles, call.input, call.grad_output)
    return gradient


def _bias_gradient(grad_output: Array, result: DType) -> Array:
    gradient = np.zeros(grad_output.shape[1], result)
    ones = np.ones(1, grad_output.dtype)
    _fill(gradient[None], operands.bias_gradient(grad_output), grad_output, ones)
    return gradient


def _fill(
    result: Array, tiles: Iterator[Tile], first: Array, second: Array, bias: Array | None = None
) -> None:
    """Write correctly rounded tiles into `result`."""
    complex_numbers = formats.family(first.dtype) == "complex"
    # What overflows or is invalid on the way is told by its radius.
    with np.errstate(all="ignore"):
        facts = rounding.facts(result.dtype, [first, second] + ([] if bias is None else [bias]))
        for tile in tiles:
            values = rounding.rounded(tile, _bias_rows(tile, bias, complex_numbers), facts)
            if complex_numbers:
                half = values.shape[1] // 2
                result.real[tile.where] = tile.shaped(values[:, :half])
                result.imag[tile.where] = tile.shaped(values[:, half:])
            else:
                result[tile.where] = tile.shaped(values)


def _bias_rows(tile: Tile, bias: Array | None, complex_numbers: bool) -> Array:
    """Return the bias of each row of a tile, (g, rows, 1)."""
    if bias is None:
        return np.zeros((1, 1, 1))
    rows = bias[tile.rows]
    halves = (rows.real, rows.imag) if complex_numbers else (rows,)
    return np.concatenate([formats.load(half, formats.FLOAT64) for half in halves], 1)[:, :, None]
