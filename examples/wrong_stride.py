"""A convolution with a common fault, for seeing what npconv says of it.

npconv check examples/wrong_stride.py
"""

import numpy as np


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output, but step along the width as along the height."""
    if groups != 1:
        raise NotImplementedError("groups")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
    windows = windows[:, :, :: stride[0], :: stride[0], :: dilation[0], :: dilation[1]]
    out = np.einsum("bchwkt,fckt->bfhw", windows, weight)
    return out if bias is None else out + bias[:, None, None]
