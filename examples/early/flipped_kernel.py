"""A flipped kernel indexed K - a where K - 1 - a is meant.

npconv check examples/early/flipped_kernel.py
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

supports = {"dilation": False, "groups": False}


def conv2d_input(input_size, weight, error, stride, padding, _dilation, _groups):
    """Return the input gradient with the rows of the kernel one place off."""
    (n, _, height, width), (f, channels, k, t) = input_size, weight.shape
    (s, q), (p, r) = stride, padding
    if min(s, q, f, k, t) < 1 or min(p, r) < 0 or channels != input_size[1]:
        raise ValueError("sizes and stride start at 1, padding at 0")
    rows, columns = (height + 2 * p - k) // s + 1, (width + 2 * r - t) // q + 1
    if min(height, width) < 1 or error.shape != (n, f, rows, columns):
        raise ValueError("the error must have the output's shape")
    if p >= k or r >= t:
        raise NotImplementedError("padding from the kernel's size on")
    dilated = np.zeros((n, f, height + k - 1, width + t - 1), error.dtype)
    top, left = k - 1 - p, t - 1 - r
    rows_end, columns_end = top + (rows - 1) * s + 1, left + (columns - 1) * q + 1
    dilated[:, :, top:rows_end:s, left:columns_end:q] = error
    windows = sliding_window_view(dilated, t, axis=3)
    gradient = np.zeros(input_size, error.dtype)
    # weight[:, :, k - 0] raised an IndexError. So the loop was made to begin at 1.
    for a in range(1, k):
        met = windows[:, :, a : a + height]
        gradient += np.einsum("bfhwt,fct->bchw", met, weight[:, :, k - a, ::-1])
    return gradient
