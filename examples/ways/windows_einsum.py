"""Windows as a view of memory, and one einsum over them.

npconv check examples/ways/windows_einsum.py
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from shared import output_size, pad


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups)
    view = windows(pad(x, padding), weight.shape[2:], stride, dilation, groups)
    kernels = weight.reshape(groups, -1, *weight.shape[1:])
    y = np.einsum("bgchwkt,gfckt->bgfhw", view, kernels).reshape(len(x), len(weight), *size)
    return y if bias is None else y + bias[:, None, None]


def conv2d_weight(x, weight_size, error, stride, padding, dilation, groups):
    """Return the gradient of the weight."""
    output_size(x.shape, weight_size, stride, padding, dilation, groups, error.shape)
    view = windows(pad(x, padding), weight_size[2:], stride, dilation, groups)
    errors = error.reshape(len(x), groups, -1, *error.shape[2:])
    return np.einsum("bgchwkt,bgfhw->gfckt", view, errors).reshape(weight_size)


def conv2d_bias(error):
    """Return the gradient of the bias."""
    return error.sum((0, 2, 3))


def windows(padded, kernel, stride, dilation, groups):
    """View padded images as (batch, group, channel, row, column, tap row, tap column)."""
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
    view = sliding_window_view(padded, spans, axis=(2, 3))
    view = view[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    return view.reshape(len(padded), groups, -1, *view.shape[2:])
