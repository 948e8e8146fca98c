"""PyTorch on the CPU: ``torch.nn.functional.conv2d`` and autograd."""

from __future__ import annotations

import warnings
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.tensors import from_torch, to_torch
from npconv.formats import available

Array = np.ndarray[Any, np.dtype[Any]]

GRADIENTS = ("grad_input", "grad_weight", "grad_bias")


def adapter() -> SimpleNamespace:
    """Return the functions over torch."""
    import torch
    from torch.nn.functional import conv2d

    # Threads gain nothing on a suite's small cases, and lose a lot where processes share the cores.
    torch.set_num_threads(1)
    # torch warns once of the speed of 'same' with even kernels.
    warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)

    def forward(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Array:
        arrays = (None if array is None else to_torch(array) for array in (input, weight, bias))
        with torch.no_grad():
            return from_torch(conv2d(*arrays, stride, padding, dilation, groups))

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
        error = to_torch(grad_output)
        # detach(): a leaf of its own, on the array's memory.
        bias = torch.zeros(weight.shape[0], dtype=error.dtype)
        leaves = [to_torch(input).detach(), to_torch(weight).detach(), bias]
        wanted = [leaf.requires_grad_() for leaf, on in zip(leaves, output_mask, strict=True) if on]
        if not wanted:
            return (None, None, None)
        output = conv2d(*leaves, stride, padding, dilation, groups)
        gradients = iter(torch.autograd.grad(output, wanted, error))
        return tuple(from_torch(next(gradients)) if on else None for on in output_mask)

    return SimpleNamespace(
        conv2d=forward,
        conv2d_backward=backward,
        version=lambda: torch.__version__,
        supports={
            "dtypes": [
                name
                for name in (
                    "bfloat16",
                    "float16",
                    "float32",
                    "float64",
                    "complex64",
                    "complex128",
                    "int64",
                )
                if name in available()
            ],
            "padding": ("pair", "same", "valid"),
            # No torch tensor has a negative stride.
            "layouts": (
                "packed",
                "channels_last",
                "channel_slice",
                "stepped",
                "transposed",
                "readonly",
                "expanded",
            ),
            "arithmetic": _arithmetic(torch),
            "unbatched": True,
            # Without input channels torch 2.13 returns a wrong shape: see conformance/.
            "empty": ("batch",),
        },
    )


def _arithmetic(torch: Any) -> dict[str, dict[str, str]]:
    """Name what gradients have that keep partial sums in the format itself: docs/tolerance.md."""
    try:
        own = torch.ops.mkldnn
        served = torch.backends.mkldnn.enabled and own._is_mkldnn_bf16_supported()  # noqa: SLF001  # no public one
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        served = False
    found = {"float16": dict.fromkeys(GRADIENTS, "float16-accumulate")}
    if not served:
        found["bfloat16"] = dict.fromkeys(GRADIENTS, "bfloat16-accumulate")
    return found
