"""A class: npconv makes one instance, without arguments, and calls its methods."""

import numpy as np


class Im2col:
    """Matrix products of columns; one function for each gradient that it has."""

    supports = {"groups": False}  # noqa: RUF012  # a dict says it shortest

    def __init__(self):
        self.calls = 0

    def conv2d(self, x, weight, bias, stride, padding, dilation, _groups):
        """Return the output."""
        columns, size = self._columns(x, weight.shape[2:], stride, padding, dilation)
        out = weight.reshape(len(weight), -1) @ columns
        out = out.reshape(len(x), len(weight), *size)
        return out if bias is None else out + bias[:, None, None]

    def conv2d_weight(self, x, weight_size, error, stride, padding, dilation, _groups):
        """Return the gradient of the weight."""
        columns, size = self._columns(x, weight_size[2:], stride, padding, dilation)
        if size != error.shape[2:]:
            raise ValueError(f"grad_output must have extents {size}, not {error.shape[2:]}")
        errors = error.reshape(*error.shape[:2], -1)
        return (errors @ columns.swapaxes(1, 2)).sum(0).reshape(weight_size)

    def conv2d_bias(self, error):
        """Return the gradient of the bias."""
        return error.sum((0, 2, 3))

    def _columns(self, x, kernel, stride, padding, dilation):
        """Return a column for each window, and the output's extents."""
        self.calls += 1
        if min(*stride, *dilation, *kernel, *x.shape[2:]) < 1:
            raise ValueError("stride, dilation and all sizes start at 1")
        padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
        spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True))
        windows = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=(2, 3))
        windows = windows[:, :, :: stride[0], :: stride[1], :: dilation[0], :: dilation[1]]
        size = windows.shape[2:4]
        return windows.transpose(0, 1, 4, 5, 2, 3).reshape(len(x), -1, size[0] * size[1]), size
