"""An output size that forgets the padding, though the image has it.

npconv check examples/early/size_without_padding.py
"""

from itertools import product

import numpy as np

supports = {"dilation": False, "groups": False}


def conv2d(x, weight, bias, stride, padding, _dilation, _groups):
    """Return the output without the windows that only the padding makes room for."""
    (height, width), (k, t), (s, q) = x.shape[2:], weight.shape[2:], stride
    if min(*stride, *x.shape, *weight.shape) < 1 or min(padding) < 0:
        raise ValueError("sizes and stride start at 1, padding at 0")
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    if k > padded.shape[2] or t > padded.shape[3]:
        raise ValueError("the kernel must fit the padded input")
    rows, columns = (height - k) // s + 1, (width - t) // q + 1
    y = np.zeros((len(x), len(weight), rows, columns), x.dtype)
    for i, j in product(range(rows), range(columns)):
        window = padded[:, :, i * s : i * s + k, j * q : j * q + t]
        y[:, :, i, j] = np.einsum("bckt,fckt->bf", window, weight)
    return y if bias is None else y + bias[:, None, None]
