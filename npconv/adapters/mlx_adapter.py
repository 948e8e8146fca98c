"""MLX on the CPU: ``mlx.core.conv_general`` on NHWC and OHWI arrays, gradients by ``vjp``."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.pads import sides
from npconv.formats import available, dtype_of
from npconv.oracle.cases import LAYOUTS

Array = np.ndarray[Any, np.dtype[Any]]


def adapter() -> SimpleNamespace:
    """Return the functions over MLX."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    import mlx.core as mx

    def to_mlx(array: Array) -> Any:
        # MLX does not read the dtype of the package ml_dtypes: the bits go across.
        if array.dtype.name == "bfloat16":
            return mx.array(array.view(np.uint16)).view(mx.bfloat16)
        # Without the dtype float64 becomes float32.
        return mx.array(array, getattr(mx, array.dtype.name))

    def from_mlx(array: Any) -> Array:
        if array.dtype == mx.bfloat16:
            return np.array(array.view(mx.uint16)).view(dtype_of("bfloat16"))
        return np.array(array)

    def convolve(
        input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        output = mx.conv_general(
            mx.transpose(input, (0, 2, 3, 1)),
            mx.transpose(weight, (0, 2, 3, 1)),
            stride=list(stride),
            padding=_pads(padding),
            kernel_dilation=list(dilation),
            groups=groups,
        )
        output = mx.transpose(output, (0, 3, 1, 2))
        return output if bias is None else output + bias[:, None, None]

    def conv2d(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Array:
        # On a Mac the default would be the GPU.
        with mx.stream(mx.cpu):
            shift = None if bias is None else to_mlx(bias)
            return from_mlx(
                convolve(to_mlx(input), to_mlx(weight), shift, stride, padding, dilation, groups)
            )

    def conv2d_backward(
        grad_output: Array,
        input: Array,
        weight: Array,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
        output_mask: tuple[bool, bool, bool],
    ) -> tuple[Array | None, ...]:
        bias = np.zeros(weight.shape[0], weight.dtype)
        with mx.stream(mx.cpu):
            leaves = [to_mlx(array) for array in (input, weight, bias)]

            def of_wanted(*wanted: Any) -> Any:
                given = iter(wanted)
                x, w, b = (
                    next(given) if on else leaf
                    for leaf, on in zip(leaves, output_mask, strict=True)
                )
                return convolve(x, w, b, stride, padding, dilation, groups)

            wanted = [leaf for leaf, on in zip(leaves, output_mask, strict=True) if on]
            _, gradients = mx.vjp(of_wanted, wanted, [to_mlx(grad_output)])
            found = iter(gradients)
            return tuple(from_mlx(next(found)) if on else None for on in output_mask)

    return SimpleNamespace(
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        version=lambda: mx.__version__,
        supports={
            "dtypes": [
                name
                for name in ("bfloat16", "float16", "float32", "float64")
                if name in available()
            ],
            "padding": ("pair", "four-sided"),
            # MLX takes no array of negative strides.
            "layouts": [layout for layout in LAYOUTS if layout != "reversed"],
            # MLX's convolution has no bias: the output is rounded, then rounded once more.
            "arithmetic": {
                name: {"forward": f"{name}-accumulate"} for name in ("float16", "bfloat16")
            },
            "empty": ("batch", "channels"),
        },
    )


def _pads(padding: Any) -> tuple[list[int], list[int]]:
    """Return the pads before the first row and column, and those after the last."""
    rows, columns = sides(padding)
    return [rows[0], columns[0]], [rows[1], columns[1]]
