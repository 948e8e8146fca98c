"""The same loops, compiled by Numba.

npconv check examples/ways/loops_numba.py
"""

import numba
import numpy as np
from shared import crop, output_size, pad


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups)
    y = np.zeros((len(x), len(weight), *size))
    if bias is not None:
        y += bias[:, None, None]
    add_products(y, pad(x, padding, float), packed(weight), stride, dilation, groups)
    return y.astype(x.dtype)


def conv2d_backward(error, x, weight, stride, padding, dilation, groups, output_mask):
    """Return the gradients of input, weight and bias, None where the mask is False."""
    output_size(x.shape, weight.shape, stride, padding, dilation, groups, error.shape)
    padded, kernels, errors = pad(x, padding, float), packed(weight), packed(error)
    grad_padded, grad_weight = np.zeros_like(padded), np.zeros_like(kernels)
    add_gradients(grad_padded, grad_weight, errors, padded, kernels, stride, dilation, groups)
    gradients = crop(grad_padded, padding), grad_weight, errors.sum((0, 2, 3))
    return tuple(
        gradient.astype(x.dtype) if wanted else None
        for gradient, wanted in zip(gradients, output_mask, strict=True)
    )


def packed(array):
    """Copy to float64 in C order: the one type of array that the loops are compiled for."""
    return np.array(array, float, order="C")


# Numba checks no index: a wrong one reads or writes memory of something else.
@numba.njit
def add_products(y, x, w, stride, dilation, groups):
    """Add to each element of the output its products."""
    features, channels, rows, columns = w.shape
    for n in range(y.shape[0]):
        for f in range(features):
            first = f // (features // groups) * channels
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    total = y[n, f, i, j]
                    for c in range(channels):
                        for k in range(rows):
                            for t in range(columns):
                                u = i * stride[0] + k * dilation[0]
                                v = j * stride[1] + t * dilation[1]
                                total += x[n, first + c, u, v] * w[f, c, k, t]
                    y[n, f, i, j] = total


@numba.njit
def add_gradients(grad_x, grad_w, error, x, w, stride, dilation, groups):
    """Add each product's part to the gradients of its two factors."""
    features, channels, rows, columns = w.shape
    for n in range(error.shape[0]):
        for f in range(features):
            first = f // (features // groups) * channels
            for i in range(error.shape[2]):
                for j in range(error.shape[3]):
                    e = error[n, f, i, j]
                    for c in range(channels):
                        for k in range(rows):
                            for t in range(columns):
                                u = i * stride[0] + k * dilation[0]
                                v = j * stride[1] + t * dilation[1]
                                grad_x[n, first + c, u, v] += e * w[f, c, k, t]
                                grad_w[f, c, k, t] += e * x[n, first + c, u, v]
