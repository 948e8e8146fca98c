"""SciPy: ``scipy.signal.correlate`` of an image with each kernel, a group's channels at a time.

It pads with nothing and steps by one, so the image is padded before and sliced after. Forward
only: gradients of a strided convolution need zeros between the elements of grad_output, and
SciPy has no function that puts them there.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.pads import crops, sides
from npconv.formats import SIGNED, UNSIGNED

Array = np.ndarray[Any, np.dtype[Any]]


def adapter(method: str = "direct") -> SimpleNamespace:
    """Return SciPy's correlation as an implementation; `method` is SciPy's: direct or fft."""
    import scipy
    from scipy.signal import correlate

    def conv2d(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        _dilation: Any,
        groups: int,
    ) -> Array:
        images, kernels = _padded(input, padding), weight.conj()
        down, right = stride
        sums = [
            # SciPy conjugates the second factor, and a convolution does not.
            correlate(channels, kernel, "valid", method)[0, ::down, ::right]
            for image in images
            for channels, group in zip(
                np.split(image, groups), np.split(kernels, groups), strict=True
            )
            for kernel in group
        ]
        output = np.reshape(sums, (len(images), len(kernels), *sums[0].shape))
        return output if bias is None else output + bias[:, None, None]

    # https://docs.scipy.org/doc/scipy/reference/generated/scipy.signal.correlate.html takes any
    # numbers, has no dilation, and float16 is refused by its direct sums, as a "type".
    numbers = ("float32", "float64", "complex64", "complex128")
    return SimpleNamespace(
        conv2d=conv2d,
        version=lambda: scipy.__version__,
        supports={
            "dtypes": (*numbers, *SIGNED, *UNSIGNED),
            "padding": ("pair", "four-sided", "valid"),
            "dilation": False,
        },
    )


def _padded(input: Array, padding: Any) -> Array:
    """Return the images with their padding.

    Raises
    ------
    NotImplementedError
        For four sides of which one is negative: to crop is not NumPy's to pad.
    """
    if padding == "valid":
        return input
    if crops(padding):
        raise NotImplementedError("numpy.pad, which pads for SciPy, does not crop")
    return np.pad(input, ((0, 0), (0, 0), *sides(padding)))
