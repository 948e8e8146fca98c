"""2-D convolution by im2col: one matrix product forward, two backward."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
Pair = tuple[int, int]


def conv2d(
    x: Float32,
    weight: Float32,
    bias: Float32 | None,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> Float32:
    """Convolve x (N, C, H, W) with weight (F, C/groups, KH, KW); return (N, F, OH, OW)."""
    columns, (out_h, out_w) = _im2col(x, weight, stride, padding, dilation, groups)
    out: Float32 = np.matmul(_rows(weight, groups), columns)
    out = out.reshape(len(x), len(weight), out_h, out_w)
    return out if bias is None else out + bias[:, None, None]


def conv2d_backward(
    grad: Float32,
    x: Float32,
    weight: Float32,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    groups: int,
) -> tuple[Float32, Float32, Float32]:
    """Return the gradients of x, of weight and of the bias."""
    columns, out = _im2col(x, weight, stride, padding, dilation, groups)
    errors = grad.reshape(len(x), groups, len(weight) // groups, -1)
    grad_weight = np.matmul(errors, columns.swapaxes(-1, -2)).sum(axis=0).reshape(weight.shape)
    grad_columns = np.matmul(_rows(weight, groups).swapaxes(-1, -2), errors)

    # col2im: every window gives its share back to the elements it was read from.
    taps = grad_columns.reshape(*x.shape[:2], *weight.shape[2:], *out)
    grad_padded = np.zeros_like(_pad(x, padding))
    for i, j, rows, cols in _taps(weight, out, stride, dilation):
        grad_padded[:, :, rows, cols] += taps[:, :, i, j]
    height, width = x.shape[2:]
    grad_x = grad_padded[:, :, padding[0] :, padding[1] :][:, :, :height, :width]
    return grad_x.copy(), grad_weight, grad.sum(axis=(0, 2, 3))


def _im2col(
    x: Float32, weight: Float32, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Float32, Pair]:
    """Lay each window out as a column (N, groups, C/groups * KH * KW, OH * OW)."""
    padded = _pad(x, padding)
    out_h, out_w = (
        (padded.shape[2 + a] - dilation[a] * (weight.shape[2 + a] - 1) - 1) // stride[a] + 1
        for a in range(2)
    )
    columns = np.empty((*x.shape[:2], *weight.shape[2:], out_h, out_w), np.float32)
    for i, j, rows, cols in _taps(weight, (out_h, out_w), stride, dilation):
        columns[:, :, i, j] = padded[:, :, rows, cols]
    return columns.reshape(len(x), groups, -1, out_h * out_w), (out_h, out_w)


def _taps(
    weight: Float32, out: Pair, stride: Pair, dilation: Pair
) -> Iterator[tuple[int, int, slice, slice]]:
    """Give each kernel element with the rows and columns of the padded input that it meets."""
    for i, j in np.ndindex(weight.shape[2:]):
        top, left = i * dilation[0], j * dilation[1]
        rows = slice(top, top + (out[0] - 1) * stride[0] + 1, stride[0])
        cols = slice(left, left + (out[1] - 1) * stride[1] + 1, stride[1])
        yield i, j, rows, cols


def _pad(x: Float32, padding: Pair) -> Float32:
    return np.pad(x, ((0, 0), (0, 0), (padding[0],) * 2, (padding[1],) * 2))


def _rows(weight: Float32, groups: int) -> Float32:
    return weight.reshape(groups, len(weight) // groups, -1)
