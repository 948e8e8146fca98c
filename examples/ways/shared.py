"""What every way begins with: the output's size, what is refused, and zeros around the image."""

import numpy as np


def output_size(x_shape, weight_shape, stride, padding, dilation, groups, error_shape=None):
    """Return the number of windows along height and width; refuse what has none."""
    (n, c, *extents), (f, channels, *kernel) = x_shape, weight_shape
    if min(*extents, f, *kernel, *stride, *dilation, groups) < 1 or min(padding) < 0:
        raise ValueError("sizes, stride, dilation and groups start at 1, padding at 0")
    if f % groups or channels * groups != c:
        raise ValueError("groups must divide the channels of input and weight")
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    axes = zip(extents, padding, spans, stride, strict=True)
    size = tuple((extent + 2 * p - span) // s + 1 for extent, p, span, s in axes)
    if min(size) < 1:
        raise ValueError("the kernel must fit the padded input")
    if error_shape not in (None, (n, f, *size)):
        raise ValueError("the error must have the output's shape")
    return size


def pad(x, padding, dtype=None):
    """Copy images into packed memory with zeros around them."""
    padded = np.zeros((*x.shape[:2], *_padded(x.shape[2:], padding)), dtype or x.dtype)
    crop(padded, padding)[...] = x
    return padded


def crop(padded, padding):
    """View what lies inside of the padding."""
    rows, columns = (
        slice(p, extent - p) for p, extent in zip(padding, padded.shape[2:], strict=True)
    )
    return padded[:, :, rows, columns]


def _padded(extents, padding):
    return (extent + 2 * p for extent, p in zip(extents, padding, strict=True))
