"""A convolution without windows: one shifted, strided slice of the padded input for each tap.

npconv check examples/shift_and_add.py
"""

from itertools import product

import numpy as np


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    n, f, (oh, ow) = len(x), len(weight), _output_size(x, padded, weight, stride, dilation)
    grouped = padded.reshape(n, groups, -1, *padded.shape[2:])
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    out = np.zeros((n, groups, f // groups, oh, ow), x.dtype)
    for k, t in product(*map(range, weight.shape[2:])):
        rows, columns = _reached((k, t), (oh, ow), stride, dilation)
        out += np.einsum("ngchw,gfc->ngfhw", grouped[..., rows, columns], kernel[..., k, t])
    out = out.reshape(n, f, oh, ow)
    return out if bias is None else out + bias[:, None, None]


def conv2d_backward(error, x, weight, stride, padding, dilation, groups, output_mask):
    """Return the gradients of input, weight and bias, None where the mask is False."""
    padded = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    n, (oh, ow) = len(x), _output_size(x, padded, weight, stride, dilation)
    grouped = padded.reshape(n, groups, -1, *padded.shape[2:])
    errors = error.reshape(n, groups, -1, oh, ow)
    kernel = weight.reshape(groups, -1, *weight.shape[1:])
    grad_padded, grad_kernel = np.zeros_like(grouped), np.zeros_like(kernel)
    for k, t in product(*map(range, weight.shape[2:])):
        rows, columns = _reached((k, t), (oh, ow), stride, dilation)
        grad_padded[..., rows, columns] += np.einsum("ngfhw,gfc->ngchw", errors, kernel[..., k, t])
        grad_kernel[..., k, t] = np.einsum("ngfhw,ngchw->gfc", errors, grouped[..., rows, columns])
    (top, left), (height, width) = padding, x.shape[2:]
    grad_input = grad_padded.reshape(padded.shape)[..., top : top + height, left : left + width]
    gradients = (
        np.ascontiguousarray(grad_input),
        grad_kernel.reshape(weight.shape),
        error.sum((0, 2, 3)),
    )
    return tuple(g if wanted else None for g, wanted in zip(gradients, output_mask, strict=True))


def _output_size(x, padded, weight, stride, dilation):
    """Return the output's extents, or refuse what has none."""
    if min(*stride, *dilation, *weight.shape, *x.shape[2:]) < 1:
        raise ValueError("stride, dilation and all sizes start at 1")
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, weight.shape[2:], strict=True)]
    sizes = [
        (e - s) // step + 1 for e, s, step in zip(padded.shape[2:], spans, stride, strict=True)
    ]
    if min(sizes) < 1:
        raise ValueError("the kernel must fit the padded input")
    return sizes


def _reached(tap, sizes, stride, dilation):
    """Return the rows and the columns that a tap meets."""
    starts = (a * d for a, d in zip(tap, dilation, strict=True))
    ends = zip(starts, sizes, stride, strict=True)
    return tuple(slice(start, start + (size - 1) * step + 1, step) for start, size, step in ends)
