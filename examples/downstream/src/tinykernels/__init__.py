"""Small float32 convolution kernels."""

from tinykernels.conv import conv2d, conv2d_backward

__all__ = ["conv2d", "conv2d_backward"]
