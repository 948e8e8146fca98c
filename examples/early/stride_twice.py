"""A stride applied twice: the strides of memory take it in, and the slice behind takes it again.

npconv check examples/early/stride_twice.py
"""

import numpy as np
from numpy.lib.stride_tricks import as_strided

supports = {"groups": False}


def conv2d(x, weight, bias, stride, padding, dilation, _groups):
    """Return the output at every stride-th window of those that the stride left."""
    (k, t), (s, q), (d, r) = weight.shape[2:], stride, dilation
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding))).copy(order="C")
    rows = (padded.shape[2] - d * (k - 1) - 1) // s + 1
    columns = (padded.shape[3] - r * (t - 1) - 1) // q + 1
    if min(rows, columns, k, t, s, q, d, r, *x.shape, *weight.shape) < 1 or min(padding) < 0:
        raise ValueError("no window fits")
    image, channel, row, column = padded.strides
    windows = as_strided(
        padded,
        (*padded.shape[:2], rows, columns, k, t),
        (image, channel, row * s, column * q, row * d, column * r),
        writeable=False,
    )
    y = np.einsum("bchwkt,fckt->bfhw", windows[:, :, ::s, ::q], weight)
    return y if bias is None else y + bias[:, None, None]
