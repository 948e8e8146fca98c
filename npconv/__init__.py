"""The oracle for 2-D convolution: the right answer, the right tolerance, the right explanation.

Arrays are NumPy arrays, NCHW and OIHW; names and argument order are PyTorch's.
"""

from npconv import definition, exact, testing
from npconv.bounds import error_bound
from npconv.conv import conv2d, conv2d_backward, conv2d_bias, conv2d_input, conv2d_weight
from npconv.oracle.check import check

__version__ = "0.1.0"

__all__ = [
    "check",
    "conv2d",
    "conv2d_backward",
    "conv2d_bias",
    "conv2d_input",
    "conv2d_weight",
    "definition",
    "error_bound",
    "exact",
    "testing",
]
