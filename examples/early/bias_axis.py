"""A bias broadcast along the wrong axis: right for channels last, wrong for channels first.

npconv check examples/early/bias_axis.py
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

supports = {"groups": False}


def conv2d(x, weight, bias, stride, padding, dilation, _groups):
    """Return the output, with the bias along the width."""
    if min(*stride, *dilation, *x.shape, *weight.shape) < 1 or min(padding) < 0:
        raise ValueError("sizes, stride and dilation start at 1, padding at 0")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    windows = sliding_window_view(padded, spans, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
    y = np.einsum("bchwkt,fckt->bfhw", windows, weight)
    # NumPy aligns shapes at their ends: (f,) meets (b, f, h, w) at w.
    return y if bias is None else y + bias
