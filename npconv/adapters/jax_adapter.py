"""JAX on the CPU: ``jax.lax.conv_general_dilated`` under ``jax.jit``, gradients by ``jax.vjp``."""

from __future__ import annotations

import functools
import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.pads import sides
from npconv.formats import available

Array = np.ndarray[Any, np.dtype[Any]]

#: How arrays come and go, and what JAX is told of it: axes of the image, axes of the kernel.
LAYOUTS = {
    "nchw": ((0, 1, 2, 3), (0, 1, 2, 3), ("NCHW", "OIHW", "NCHW")),
    "nhwc": ((0, 2, 3, 1), (2, 3, 1, 0), ("NHWC", "HWIO", "NHWC")),
}
#: JAX's names; both SAMEs have any stride, unlike PyTorch's 'same', so that one is not served.
PADDINGS = {"valid": "VALID", "same_upper": "SAME", "same_lower": "SAME_LOWER"}

#: What keeps partial sums in the format itself. JAX's convolution has no bias: the output is
#: rounded, then rounded once more; and the bias gradient is a sum whose parts are rounded.
ARITHMETIC = {
    name: dict.fromkeys(("forward", "grad_bias"), f"{name}-accumulate")
    for name in ("float16", "bfloat16")
}


def adapter(mode: str) -> SimpleNamespace:
    """Return the functions over JAX, on arrays of one of `LAYOUTS`."""
    # The pool of XLA's CPU client has a thread for each core, or as many as this says.
    os.environ.setdefault("NPROC", "1")
    import jax

    # Without it float64 becomes float32.
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    image, kernel, names = LAYOUTS[mode]
    back = tuple(int(axis) for axis in np.argsort(image))

    def convolve(
        input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        output = jax.lax.conv_general_dilated(
            input.transpose(image),
            weight.transpose(kernel),
            stride,
            padding,
            rhs_dilation=dilation,
            dimension_numbers=names,
            feature_group_count=groups,
            precision=jax.lax.Precision.HIGHEST,
        ).transpose(back)
        return output if bias is None else output + bias[:, None, None]

    # Compiled programs are forgotten again: a suite has more of them than memory is for.
    @functools.lru_cache(maxsize=64)
    def compiled(*parameters: Any) -> Any:
        return jax.jit(lambda *arrays: convolve(*arrays, *parameters))

    @functools.lru_cache(maxsize=64)
    def compiled_gradients(output_mask: tuple[bool, bool, bool], *parameters: Any) -> Any:
        def differentiate(grad_output: Any, *leaves: Any) -> Any:
            _, pull_back = jax.vjp(lambda *arrays: convolve(*arrays, *parameters), *leaves)
            gradients = pull_back(grad_output)
            return [one for one, on in zip(gradients, output_mask, strict=True) if on]

        return jax.jit(differentiate)

    def conv2d(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Array:
        run = compiled(stride, _pads(padding), dilation, groups)
        return np.asarray(run(input, weight, bias))

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
        if grad_output.dtype.kind in "iu":
            raise NotImplementedError("JAX differentiates floating-point and complex numbers only")
        run = compiled_gradients(tuple(output_mask), stride, _pads(padding), dilation, groups)
        bias = np.zeros(weight.shape[0], weight.dtype)
        # JAX's vjp multiplies by the other factor itself, PyTorch's convention by its conjugate:
        # https://docs.jax.dev/en/latest/notebooks/autodiff_cookbook.html#complex-numbers-and-differentiation
        found = iter(run(grad_output.conj(), input, weight, bias))
        return tuple(np.asarray(next(found)).conj() if on else None for on in output_mask)

    return SimpleNamespace(
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        version=lambda: jax.__version__,
        supports={
            # Of every number that arrays have: https://openxla.org/stablehlo/spec#convolution
            "dtypes": available(),
            "padding": ("pair", *PADDINGS, "four-sided"),
            "arithmetic": ARITHMETIC,
            "empty": ("batch", "channels"),
        },
    )


def _pads(padding: Any) -> Any:
    """Return JAX's name of a padding, or its pads before and after each axis."""
    if isinstance(padding, str):
        return PADDINGS[padding]
    return sides(padding)
