"""PyTorch on the CPU: ``torch.nn.functional.conv2d`` and autograd."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

GRADIENTS = ("grad_input", "grad_weight", "grad_bias")


def adapter() -> SimpleNamespace:
    """Return the functions over torch."""
    import torch
    from torch.nn.functional import conv2d

    # Threads gain nothing on a suite's small cases, and lose a lot where processes share the cores.
    torch.set_num_threads(1)
    # torch warns once of read-only arrays, which it would let one write to (nothing here does),
    # and once of the speed of 'same' with even kernels.
    warnings.filterwarnings("ignore", "The given NumPy array is not writable", UserWarning)
    warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
    tensor = torch.from_numpy

    def forward(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Array:
        bias_tensor = None if bias is None else tensor(bias)
        with torch.no_grad():
            output = conv2d(
                tensor(input), tensor(weight), bias_tensor, stride, padding, dilation, groups
            )
        return np.asarray(output.numpy())

    def backward(
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
            raise NotImplementedError(
                "torch differentiates floating-point and complex numbers only"
            )
        error = tensor(grad_output)
        # detach(): a leaf of its own, on the array's memory.
        bias = torch.zeros(weight.shape[0], dtype=error.dtype)
        leaves = [tensor(input).detach(), tensor(weight).detach(), bias]
        wanted = [leaf.requires_grad_() for leaf, on in zip(leaves, output_mask, strict=True) if on]
        if not wanted:
            return (None, None, None)
        output = conv2d(*leaves, stride, padding, dilation, groups)
        gradients = iter(torch.autograd.grad(output, wanted, error))
        return tuple(next(gradients).resolve_conj().numpy() if on else None for on in output_mask)

    return SimpleNamespace(
        conv2d=forward,
        conv2d_backward=backward,
        version=lambda: torch.__version__,
        supports={
            "dtypes": ("float16", "float32", "float64", "complex64", "complex128", "int64"),
            "padding": ("pair", "string"),
            # No torch tensor has a negative stride.
            "layouts": (
                "packed",
                "channels_last",
                "channel_slice",
                "stepped",
                "transposed",
                "readonly",
            ),
            # Gradients keep partial sums in the format itself: docs/tolerance.md.
            "arithmetic": {"float16": dict.fromkeys(GRADIENTS, "float16-accumulate")},
            "unbatched": True,
            # Without input channels torch 2.13 returns a wrong shape: see conformance/.
            "empty": ("batch",),
        },
    )
