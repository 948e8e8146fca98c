"""The smallest target: one function, which says what it does not do."""

import numpy as np


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    if dilation != (1, 1) or groups != 1:
        raise NotImplementedError("dilation and groups")
    if min(*stride, *weight.shape, *x.shape[2:]) < 1:
        raise ValueError("strides and sizes start at 1")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, weight.shape[2:], axis=(2, 3))
    out = np.einsum("nchwkt,fckt->nfhw", windows[:, :, :: stride[0], :: stride[1]], weight)
    return out if bias is None else out + bias[:, None, None]
