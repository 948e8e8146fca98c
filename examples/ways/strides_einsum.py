"""Windows by as_strided, which checks nothing, behind a guard that does.

npconv check examples/ways/strides_einsum.py
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided
from shared import output_size, pad


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups)
    view = windows(pad(x, padding), weight.shape, size, stride, dilation, groups)
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    y = np.einsum("bgchwkt,gfckt->bgfhw", view, kernels).reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


def conv2d_weight(x, weight_size, error, stride, padding, dilation, groups):
    """Return the gradient of the weight."""
    size = output_size(x.shape, weight_size, stride, padding, dilation, groups, error.shape)
    view = windows(pad(x, padding), weight_size, size, stride, dilation, groups)
    errors = error.reshape(len(x), groups, -1, *size)
    return np.einsum("bgchwkt,bgfhw->gfckt", view, errors).reshape(weight_size)


def conv2d_bias(error):
    """Return the gradient of the bias."""
    return error.sum((0, 2, 3))


def windows(padded, weight_shape, size, stride, dilation, groups):
    """View padded images as (batch, group, channel, row, column, tap row, tap column)."""
    _, channels, *kernel = weight_shape
    image, channel, row, column = padded.strides
    return guarded_view(
        padded,
        (len(padded), groups, channels, *size, *kernel),
        (
            *(image, channels * channel, channel),
            *(row * stride[0], column * stride[1]),
            *(row * dilation[0], column * dilation[1]),
        ),
    )


def guarded_view(array, shape, strides):
    """View packed memory with other strides, read-only; refuse a view that leaves it."""
    if not array.flags.c_contiguous:
        raise ValueError("only packed memory has an end that its size tells")
    if min(shape) < 1 or min(strides) < 0:
        raise ValueError("sizes start at 1, strides at 0")
    reach = sum((size - 1) * step for size, step in zip(shape, strides, strict=True))
    if reach + array.itemsize > array.nbytes:
        raise ValueError(
            f"the view reaches {reach + array.itemsize} bytes into memory of {array.nbytes}"
        )
    return as_strided(array, shape, strides, writeable=False)
