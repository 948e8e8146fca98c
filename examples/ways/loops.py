"""The definition as nested loops over Python's own numbers.

npconv check examples/ways/loops.py
"""

import numpy as np
from shared import crop, output_size, pad


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    """Return the output."""
    size = output_size(x.shape, weight.shape, stride, padding, dilation, groups)
    features, channels, rows, columns = weight.shape
    # Lists of floats: Python loops over them faster than over arrays.
    padded, kernels = pad(x, padding, float).tolist(), weight.astype(float).tolist()
    y = np.zeros((len(x), features, *size))
    for n, f, i, j in np.ndindex(y.shape):
        first = f // (features // groups) * channels
        total = 0.0 if bias is None else float(bias[f])
        for c in range(channels):
            for k in range(rows):
                u = i * stride[0] + k * dilation[0]
                for t in range(columns):
                    v = j * stride[1] + t * dilation[1]
                    total += padded[n][first + c][u][v] * kernels[f][c][k][t]
        y[n, f, i, j] = total
    return y.astype(x.dtype)


def conv2d_backward(error, x, weight, stride, padding, dilation, groups, output_mask):
    """Return the gradients of input, weight and bias, None where the mask is False."""
    output_size(x.shape, weight.shape, stride, padding, dilation, groups, error.shape)
    features, channels, rows, columns = weight.shape
    padded, kernels = pad(x, padding, float).tolist(), weight.astype(float).tolist()
    grad_padded = np.zeros_like(padded).tolist()
    grad_weight = np.zeros(weight.shape).tolist()
    for n, f, i, j in np.ndindex(error.shape):
        first, e = f // (features // groups) * channels, float(error[n, f, i, j])
        for c in range(channels):
            for k in range(rows):
                u = i * stride[0] + k * dilation[0]
                for t in range(columns):
                    v = j * stride[1] + t * dilation[1]
                    grad_padded[n][first + c][u][v] += e * kernels[f][c][k][t]
                    grad_weight[f][c][k][t] += e * padded[n][first + c][u][v]
    gradients = crop(np.array(grad_padded), padding), grad_weight, error.sum((0, 2, 3))
    return tuple(
        np.array(gradient, x.dtype) if wanted else None
        for gradient, wanted in zip(gradients, output_mask, strict=True)
    )
