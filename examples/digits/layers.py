"""The layers of the network, each with its gradient: convolutions are npconv's, the rest is NumPy.

A layer's `forward` keeps what its `backward` needs. `backward` takes the gradient of the output,
called the error, sets `gradients` in the order of `parameters`, and returns that of the input.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np

import npconv

Array = np.ndarray[Any, np.dtype[Any]]

#: Where the axes n c h w stand in an array that is stored as n h w c, and the way back; for
#: weights f c kh kw stored as kh kw c f.
IMAGES, BACK = (0, 3, 1, 2), (0, 2, 3, 1)
KERNELS, KERNELS_BACK = (3, 2, 0, 1), (2, 3, 1, 0)


class Layer(Protocol):
    """What the network asks of a layer."""

    parameters: list[Array]
    gradients: list[Array]

    def forward(self, x: Array) -> Array:
        """Return the output."""

    def backward(self, error: Array) -> Array:
        """Set `gradients`; return the gradient of the input."""


def he_normal(rng: np.random.Generator, shape: tuple[int, ...], fan_in: int) -> Array:
    """Draw weights with the deviation sqrt(2 / fan_in): He and others, arXiv:1502.01852.

    A sum of fan_in products then has, behind a ReLU, the mean square of what went in.
    """
    return rng.normal(0.0, math.sqrt(2 / fan_in), shape)


class Conv:
    """A convolution of images (n, c, h, w) with a weight (f, c, kh, kw) and a bias (f).

    Parameters
    ----------
    weight, bias : numpy.ndarray
        The parameters; they are changed in place by training.
    stride, padding : int
        As in `npconv.conv2d`.
    calls : module or object
        Has `conv2d` and `conv2d_backward` as `npconv check` asks for them, all arguments by
        position: npconv, or an implementation of your own.
    """

    def __init__(
        self, weight: Array, bias: Array, stride: int = 1, padding: int = 0, calls: Any = npconv
    ) -> None:
        self.parameters = [weight, bias]
        self.gradients: list[Array] = []
        self.stride, self.padding, self.calls = (stride, stride), (padding, padding), calls

    def forward(self, x: Array) -> Array:
        """Return the output (n, f, oh, ow)."""
        self.x = x
        weight, bias = self.parameters
        y = self.calls.conv2d(x, weight, bias, self.stride, self.padding, (1, 1), 1)
        return np.asarray(y)

    def backward(self, error: Array) -> Array:
        """Set the gradients of weight and bias; return that of the input."""
        geometry = (self.stride, self.padding, (1, 1), 1)
        to_input, *self.gradients = self.calls.conv2d_backward(
            error, self.x, self.parameters[0], *geometry, (True, True, True)
        )
        return np.asarray(to_input)


class ConvLast:
    """The same for images (n, h, w, c) with a weight (kh, kw, c, f).

    npconv takes arrays of any strides, so views in its order of axes are all that is needed.
    """

    def __init__(
        self, weight: Array, bias: Array, stride: int = 1, padding: int = 0, calls: Any = npconv
    ) -> None:
        self.parameters = [weight, bias]
        self.gradients: list[Array] = []
        self.first = Conv(weight.transpose(KERNELS), bias, stride, padding, calls)

    def forward(self, x: Array) -> Array:
        """Return the output (n, oh, ow, f)."""
        return self.first.forward(x.transpose(IMAGES)).transpose(BACK)

    def backward(self, error: Array) -> Array:
        """Set the gradients of weight and bias; return that of the input."""
        to_input = self.first.backward(error.transpose(IMAGES))
        to_weight, to_bias = self.first.gradients
        self.gradients = [to_weight.transpose(KERNELS_BACK), to_bias]
        return to_input.transpose(BACK)


class Relu:
    """max(x, 0), whose gradient at 0 is taken as 0."""

    def __init__(self) -> None:
        self.parameters: list[Array] = []
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        """Return the output."""
        self.positive = x > 0
        return np.where(self.positive, x, 0.0)

    def backward(self, error: Array) -> Array:
        """Return the gradient of the input."""
        return np.where(self.positive, error, 0.0)


class Dense:
    """All elements of an image to f numbers, with a weight (f, elements) and a bias (f)."""

    def __init__(self, weight: Array, bias: Array) -> None:
        self.parameters = [weight, bias]
        self.gradients: list[Array] = []

    def forward(self, x: Array) -> Array:
        """Return the output (n, f)."""
        weight, bias = self.parameters
        self.shape, self.rows = x.shape, x.reshape(len(x), -1)
        return self.rows @ weight.T + bias

    def backward(self, error: Array) -> Array:
        """Set the gradients of weight and bias; return that of the input."""
        self.gradients = [error.T @ self.rows, error.sum(axis=0)]
        return (error @ self.parameters[0]).reshape(self.shape)


def softmax(scores: Array) -> Array:
    """Return the probabilities (n, classes) that scores stand for."""
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def cross_entropy(scores: Array, labels: Array) -> tuple[float, Array]:
    """Return the mean of -log(the label's probability), and its gradient for the scores."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    images = np.arange(len(scores))
    losses = np.log(np.exp(shifted).sum(axis=1)) - shifted[images, labels]
    error = softmax(scores)
    error[images, labels] -= 1.0
    return float(losses.mean()), error / len(scores)
