"""PyTorch: ``conv2d`` with autograd, or ``torch.nn.grad``, in the ways that users ask for it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.tensors import from_torch, to_torch
from npconv.formats import COMPLEXES, FLOATS, available
from npconv.oracle.protocol import GRADIENTS

Array = np.ndarray[Any, np.dtype[Any]]

#: What torch multiplies besides floats and complex numbers, on the CPU alone.
INTEGERS = ("int64",)
#: No torch tensor has a negative stride.
LAYOUTS = (
    "packed", "channels_last", "channel_slice", "stepped", "transposed", "readonly", "expanded",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Mode:
    """What is asked of torch; all that is not named here is as torch comes.

    Attributes
    ----------
    device : str
        Where tensors are.
    cudnn : bool
        Whether kernels are those of CUDA and cuDNN, with their dtypes, sums and switches.
    onednn : bool
        Whether oneDNN may serve; without it torch's own kernels do, and NNPACK.
    channels_last : bool
        Whether images, kernels and errors have ``torch.channels_last``.
    compiled : bool
        Whether `torch.compile` makes the functions, anew for each case.
    nn_grad : bool
        Whether gradients are those of ``torch.nn.grad``, and nothing else is asked.
    tf32 : bool
        Whether cuDNN may compute float32 in TF32, as torch lets it unless it is told otherwise:
        https://docs.pytorch.org/docs/stable/notes/cuda.html
    """

    device: str = "cpu"
    cudnn: bool = False
    onednn: bool = True
    channels_last: bool = False
    compiled: bool = False
    nn_grad: bool = False
    tf32: bool = False


MODES = {
    "plain": Mode(),
    "native": Mode(onednn=False),
    "channels_last": Mode(channels_last=True),
    "compile": Mode(compiled=True),
    "nn_grad": Mode(nn_grad=True),
    "cuda": Mode("cuda", cudnn=True),
    "cuda_channels_last": Mode("cuda", cudnn=True, channels_last=True),
    "cuda_tf32": Mode("cuda", cudnn=True, tf32=True),
}


def adapter(mode: str = "plain", device: str | None = None) -> SimpleNamespace:
    """Return the functions over torch in one of `MODES`; on another device than its own, if given.

    Raises
    ------
    ModuleNotFoundError
        If torch is not installed.
    NotImplementedError
        If torch has not the device.
    """
    import torch

    chosen = MODES[mode] if device is None else replace(MODES[mode], device=device)
    if chosen.device == "cuda" and not torch.cuda.is_available():
        raise NotImplementedError(
            f"torch {torch.__version__} finds no CUDA device here, which mode {mode} needs"
        )
    # Threads gain nothing on a suite's small cases, and lose a lot where processes share the cores.
    torch.set_num_threads(1)
    # torch warns once of the speed of 'same' with even kernels.
    warnings.filterwarnings("ignore", "Using padding='same' with even kernel", UserWarning)
    functions = _of_nn_grad(torch, chosen) if chosen.nn_grad else _of_autograd(torch, chosen)
    return SimpleNamespace(
        **functions, version=lambda: torch.__version__, supports=_supports(torch, chosen)
    )


def _of_autograd(torch: Any, mode: Mode) -> dict[str, Callable[..., Any]]:
    """Return the output, and gradients by autograd."""
    conv2d = torch.nn.functional.conv2d
    if mode.compiled:
        conv2d = _Compiled(torch, conv2d)

    def forward(input: Array, weight: Array, bias: Array | None, *parameters: Any) -> Array:
        arrays = (
            None if array is None else _tensor(torch, mode, array)
            for array in (input, weight, bias)
        )
        with torch.no_grad(), _switches(torch, mode):
            return from_torch(conv2d(*arrays, *parameters))

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
        error = _tensor(torch, mode, grad_output)
        # detach(): a leaf of its own, on the array's memory.
        leaves = [_tensor(torch, mode, array).detach() for array in (input, weight)]
        leaves.append(torch.zeros(weight.shape[0], dtype=error.dtype, device=mode.device))
        wanted = [leaf.requires_grad_() for leaf, on in zip(leaves, output_mask, strict=True) if on]
        if not wanted:
            return (None, None, None)
        with _switches(torch, mode):
            output = conv2d(*leaves, stride, padding, dilation, groups)
            gradients = iter(torch.autograd.grad(output, wanted, error))
        return tuple(from_torch(next(gradients)) if on else None for on in output_mask)

    return {"conv2d": forward, "conv2d_backward": backward}


def _of_nn_grad(torch: Any, mode: Mode) -> dict[str, Callable[..., Any]]:
    """Return the two gradients that torch has as functions of their own."""
    from torch.nn import grad

    def conv2d_input(input_size: Any, weight: Array, grad_output: Array, *parameters: Any) -> Array:
        tensors = (_tensor(torch, mode, array) for array in (weight, grad_output))
        return from_torch(grad.conv2d_input(input_size, *tensors, *parameters))

    def conv2d_weight(
        input: Array, weight_size: Any, grad_output: Array, *parameters: Any
    ) -> Array:
        image, error = (_tensor(torch, mode, array) for array in (input, grad_output))
        return from_torch(grad.conv2d_weight(image, weight_size, error, *parameters))

    return {"conv2d_input": conv2d_input, "conv2d_weight": conv2d_weight}


class _Compiled:
    """`torch.compile` of a function, anew whenever shapes or parameters change.

    After a few sets of shapes torch stops compiling a function and runs it as it is, without a
    word: what is compiled is forgotten before that.
    """

    def __init__(self, torch: Any, function: Callable[..., Any]) -> None:
        # In this process: workers that are started for it cost seconds in each of npconv's own.
        torch._inductor.config.compile_threads = 1  # noqa: SLF001  # documented under this name
        # Complex convolutions are compiled to calls of the same kernels, as all others are.
        warnings.filterwarnings("ignore", "Torchinductor does not support code", UserWarning)
        self._reset = torch.compiler.reset
        # Without fullgraph, what cannot be compiled would run as it is, and pass for compiled.
        self._function = torch.compile(function, fullgraph=True)
        self._last: Any = None

    def __call__(self, input: Any, weight: Any, bias: Any, *parameters: Any) -> Any:
        shapes = (input.shape, weight.shape, bias is None, input.dtype)
        if self._last != (shapes, parameters):
            self._reset()
            self._last = shapes, parameters
        return self._function(input, weight, bias, *parameters)


def _tensor(torch: Any, mode: Mode, array: Array) -> Any:
    """Return an array as a tensor; only four axes have a memory format."""
    tensor = to_torch(array).to(mode.device)
    if mode.channels_last and tensor.ndim == 4:
        tensor = tensor.to(memory_format=torch.channels_last)
    return tensor


@contextlib.contextmanager
def _switches(torch: Any, mode: Mode) -> Iterator[None]:
    """Set what is torch's own and not the call's: for the call alone."""
    if mode.cudnn:
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=mode.tf32):
            yield
    elif not mode.onednn:
        # Not `mkldnn.flags`: it sets TF32 too, and torch warns of that.
        flags = torch.backends.mkldnn
        before, flags.enabled = flags.enabled, False
        try:
            yield
        finally:
            flags.enabled = before
    else:
        yield


def _supports(torch: Any, mode: Mode) -> dict[str, Any]:
    """Say what torch has in a mode."""
    dtypes = (
        *FLOATS,
        # torch.nn.grad raises NotImplementedError.
        *(() if mode.nn_grad else COMPLEXES),
        *(() if mode.nn_grad or mode.cudnn else INTEGERS),
    )
    return {
        "dtypes": [name for name in dtypes if name in available()],
        # Ints, by the signatures of torch.nn.grad; conv2d takes names too.
        "padding": ("pair",) if mode.nn_grad else ("pair", "same", "valid"),
        "layouts": LAYOUTS,
        "arithmetic": _arithmetic(torch, mode),
        # By its documentation torch.nn.grad takes images in batches only.
        "unbatched": not mode.nn_grad,
        # Without input channels torch 2.13 returns a wrong shape: see docs/differences.md.
        "empty": ("batch",),
    }


def _arithmetic(torch: Any, mode: Mode) -> dict[str, Any]:
    """Name what is not the dtype's own arithmetic: docs/tolerance.md says how that is known."""
    if mode.cudnn:
        return {"float32": "tf32", "complex64": "tf32"} if mode.tf32 else {}
    # Gradients that keep partial sums in the format itself.
    found = {"float16": dict.fromkeys(GRADIENTS, "float16-accumulate")}
    try:
        own = torch.ops.mkldnn
        served = torch.backends.mkldnn.enabled and own._is_mkldnn_bf16_supported()  # noqa: SLF001  # no public one
    except (AttributeError, RuntimeError):  # a torch without oneDNN
        served = False
    if not (served and mode.onednn):
        found["bfloat16"] = dict.fromkeys(GRADIENTS, "bfloat16-accumulate")
    return found
