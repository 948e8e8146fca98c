"""Columns by index arithmetic and `take`, then matrix products; no stride trick.

npconv check examples/ways/im2col_take.py
"""

import numpy as np
from shared import crop, output_size, pad


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups)
    padded = pad(x, padding)
    index = positions(padded.shape, weight.shape[2:], size, stride, dilation)
    y = _matrices(weight, groups) @ _columns(padded, index, groups)
    y = y.reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


def conv2d_backward(error, x, weight, stride, padding, dilation, groups, output_mask):
    """Return the gradients of input, weight and bias, None where the mask is False."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups, error.shape)
    padded = pad(x, padding)
    index = positions(padded.shape, weight.shape[2:], size, stride, dilation)
    errors = error.reshape(len(x), groups, len(weight) // groups, -1)
    grad_input = grad_weight = grad_bias = None
    if output_mask[0]:
        columns = _matrices(weight, groups).swapaxes(1, 2) @ errors
        grad_padded = np.zeros_like(padded)
        # An element has as many columns as windows: plain `+=` would keep only one of them.
        flat = grad_padded.reshape(len(x), -1)
        np.add.at(flat, (slice(None), index), columns.reshape(len(x), *index.shape))
        grad_input = crop(grad_padded, padding).copy()
    if output_mask[1]:
        columns = _columns(padded, index, groups)
        grad_weight = (errors @ columns.swapaxes(2, 3)).sum(0).reshape(weight.shape)
    if output_mask[2]:
        grad_bias = error.sum((0, 2, 3))
    return grad_input, grad_weight, grad_bias


def positions(padded_shape, kernel, size, stride, dilation):
    """Return where each tap (rows) of each window (columns) is in a flattened padded image."""
    _, channels, height, width = padded_shape
    (i, j), (k, t) = np.indices(size), np.indices(kernel)
    corners = i * stride[0] * width + j * stride[1]
    taps = k * dilation[0] * width + t * dilation[1]
    planes = np.arange(channels)[:, None] * (height * width)
    return (planes + taps.ravel()).reshape(-1, 1) + corners.ravel()


def _matrices(weight, groups):
    """Return the kernels of each group as rows."""
    return weight.reshape(groups, len(weight) // groups, -1)


def _columns(padded, index, groups):
    """Return the windows of each image and group as columns."""
    columns = np.take(padded.reshape(len(padded), -1), index, axis=1)
    return columns.reshape(len(padded), groups, -1, index.shape[1])
