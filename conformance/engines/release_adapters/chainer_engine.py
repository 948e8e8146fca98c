"""Chainer on NumPy: ``chainer.functions.convolution_2d`` and ``chainer.grad``."""

import chainer
import numpy as np


def engine():
    """Return functions, what they support, and the version."""
    return {
        "functions": {"conv2d": forward, "conv2d_backward": backward},
        "supports": {},
        "version": "chainer " + chainer.__version__,
    }


def output(x, weight, bias, stride, padding, dilation, groups):
    """Return the output as a variable."""
    return chainer.functions.convolution_2d(
        x, weight, bias, stride, padding, dilate=dilation, groups=groups
    )


def forward(*arguments):
    """Return the output."""
    with chainer.no_backprop_mode():
        return output(*arguments).array


def backward(grad_output, x, weight, stride, padding, dilation, groups, output_mask):
    """Return what automatic differentiation gives, None where the mask is False."""
    bias = np.zeros(len(weight), weight.dtype)
    leaves = [chainer.Variable(array) for array in (x, weight, bias)]
    out = output(*leaves, stride, padding, dilation, groups)
    wanted = [leaf for leaf, on in zip(leaves, output_mask) if on]  # noqa: B905  # Python 3.6
    if not wanted:
        return None, None, None
    gradients = iter(chainer.grad([out], wanted, [chainer.Variable(grad_output)]))
    return [next(gradients).array if on else None for on in output_mask]
