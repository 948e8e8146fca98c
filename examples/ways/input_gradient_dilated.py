"""The input gradient as a correlation: dilate the errors, pad or crop them, flip the kernel.

npconv check examples/ways/input_gradient_dilated.py
"""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from shared import output_size


def conv2d_input(input_size, weight, error, stride, padding, dilation, groups):
    """Return the gradient of the input."""
    output_size(input_size, weight.shape, stride, padding, dilation, groups, error.shape)
    spans = tuple(d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True))
    read = errors_read(error, input_size[2:], spans, stride, padding)
    view = sliding_window_view(read, spans, axis=(2, 3))[..., :: dilation[0], :: dilation[1]]
    view = view.reshape(len(error), groups, -1, *view.shape[2:])
    flipped = weight[:, :, ::-1, ::-1].reshape(groups, -1, *weight.shape[1:])
    return np.einsum("bgfhwkt,gfckt->bgchw", view, flipped).reshape(input_size)


def errors_read(error, extents, spans, stride, padding):
    """Return the errors with stride - 1 zeros between them, from where the first window begins.

    The first window begins span - 1 - padding before the first error: inside of the errors where
    that is negative. The last one ends just as far as there are windows for all of the input.
    """
    before = [span - 1 - p for span, p in zip(spans, padding, strict=True)]
    read = np.zeros((*error.shape[:2], *np.add(extents, spans) - 1), error.dtype)
    rows, columns = (
        _meeting(count, s, b, size)
        for count, s, b, size in zip(error.shape[2:], stride, before, read.shape[2:], strict=True)
    )
    read[:, :, rows[0], columns[0]] = error[:, :, rows[1], columns[1]]
    return read


def _meeting(count, stride, before, size):
    """Return the places that have an error, error i at before + i * stride, and which errors."""
    first = max(0, -(before // stride))
    last = max(first, min(count, (size - 1 - before) // stride + 1))
    place = before + first * stride
    return slice(place, place + (last - first) * stride, stride), slice(first, last)
