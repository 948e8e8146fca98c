"""Images of shape (n, h, w, c): a convolution is a dense layer on every window.

npconv check examples/ways/channels_last.py
"""

import numpy as np
from shared import output_size

supports = {"groups": False}


class Dense:
    """y = x @ weight + bias over the last axis, whatever axes are before it."""

    def __init__(self, weight, bias=None):
        self.weight, self.bias = weight, bias

    def forward(self, x):
        """Return the output, and remember the input."""
        self.x = x
        y = x @ self.weight
        return y if self.bias is None else y + self.bias

    def backward(self, error):
        """Return the gradient of the input; keep those of weight and bias."""
        inputs, outputs = self.weight.shape
        errors = error.reshape(-1, outputs)
        self.grad_weight = self.x.reshape(-1, inputs).T @ errors
        self.grad_bias = errors.sum(0)
        return error @ self.weight.T


class Conv2D:
    """A convolution with a weight of shape (k, t, c, f)."""

    def __init__(self, weight, bias=None, stride=(1, 1), padding=(0, 0), dilation=(1, 1)):
        self.kernel, (channels, features) = weight.shape[:2], weight.shape[2:]
        self.stride, self.padding, self.dilation = stride, padding, dilation
        self.dense = Dense(weight.reshape(-1, features), bias)
        # The sizes in the order that channels-first code has them.
        self.weight_shape = (features, channels, *self.kernel)

    def forward(self, x):
        """Return the output (n, h, w, f)."""
        n, h, w, c = self.shape = x.shape
        size = output_size((n, c, h, w), self.weight_shape, *self._parameters())
        p, q = self.padding
        padded = np.pad(x, ((0, 0), (p, p), (q, q), (0, 0)))
        self.padded_shape, self.pixels = padded.shape, self._pixels(padded.shape[2], size)
        windows = np.take(padded.reshape(n, -1, c), self.pixels, axis=1)
        return self.dense.forward(windows.reshape(n, *size, -1))

    def backward(self, error):
        """Return the gradient of the input; the dense layer has those of weight and bias."""
        (n, h, w, c), (p, q) = self.shape, self.padding
        output_size((n, c, h, w), self.weight_shape, *self._parameters(), to_first(error).shape)
        windows = self.dense.backward(error)
        gradient = np.zeros(self.padded_shape, error.dtype)
        flat = gradient.reshape(n, -1, c)
        np.add.at(flat, (slice(None), self.pixels), windows.reshape(n, *self.pixels.shape, c))
        return gradient[:, p : p + h, q : q + w]

    def _parameters(self):
        return self.stride, self.padding, self.dilation, 1

    def _pixels(self, width, size):
        """Return the number of the pixel under each tap of each window: (windows, taps)."""
        (i, j), (k, t) = np.indices(size), np.indices(self.kernel)
        corners = i * self.stride[0] * width + j * self.stride[1]
        taps = k * self.dilation[0] * width + t * self.dilation[1]
        return corners.reshape(-1, 1) + taps.ravel()


def conv2d(x, weight, bias, stride, padding, dilation, _groups):
    """Return the output, channels first as npconv asks."""
    layer = Conv2D(weight.transpose(2, 3, 1, 0), bias, stride, padding, dilation)
    return to_first(layer.forward(to_last(x)))


def conv2d_backward(error, x, weight, stride, padding, dilation, _groups, output_mask):
    """Return the gradients of input, weight and bias, None where the mask is False."""
    layer = Conv2D(weight.transpose(2, 3, 1, 0), None, stride, padding, dilation)
    layer.forward(to_last(x))
    grad_input = to_first(layer.backward(to_last(error)))
    grad_weight = layer.dense.grad_weight.reshape(*layer.kernel, x.shape[1], -1)
    gradients = grad_input, grad_weight.transpose(3, 2, 0, 1), layer.dense.grad_bias
    return tuple(g if wanted else None for g, wanted in zip(gradients, output_mask, strict=True))


def to_last(array):
    """View (n, c, h, w) as (n, h, w, c)."""
    return array.transpose(0, 2, 3, 1)


def to_first(array):
    """View (n, h, w, c) as (n, c, h, w)."""
    return array.transpose(0, 3, 1, 2)
