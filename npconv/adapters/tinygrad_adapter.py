"""tinygrad on its CPU device: ``Tensor.conv2d``, gradients by ``Tensor.gradient``.

The device compiles each kernel with the program clang, which must be on the PATH.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.pads import sides
from npconv.formats import SIGNED, UNSIGNED, available, dtype_of

Array = np.ndarray[Any, np.dtype[Any]]

DEVICE = "CPU"
_LOCK = threading.Lock()
#: One thread, to run kernels and to compile them; and no cache on disk: it knows a kernel by its
#: source, not by the version of the compiler.
SETTINGS = {"NUM_CPU_THREADS": 1, "PARALLEL": 0, "CACHELEVEL": 0}
#: Sums of short integers are wider: https://docs.tinygrad.org/tensor/ops/#tinygrad.Tensor.sum
SUMS = {"int8": "int32", "int16": "int32", "uint8": "uint32", "uint16": "uint32"}
#: A convolution is a product, a sum and the bias added, each an operation of its own: what they
#: round, products of bfloat16 among it, stands in docs/findings/tinygrad.md.
ARITHMETIC = {
    "float16": {"forward": "float16-accumulate"},
    "bfloat16": dict.fromkeys(("forward", "grad_input", "grad_weight"), "bfloat16-accumulate"),
}


def adapter() -> SimpleNamespace:
    """Return the functions over tinygrad.

    Raises
    ------
    ModuleNotFoundError
        If tinygrad is not installed.
    NotImplementedError
        If its compiler is not there.
    """
    from tinygrad import Context, Tensor, dtypes, nn

    compiler = os.environ.get("CC", "clang")
    if shutil.which(compiler) is None:
        raise NotImplementedError(
            f"tinygrad compiles kernels for the CPU with clang, and there is no {compiler!r}"
        )

    def to_tinygrad(array: Array) -> Any:
        # tinygrad does not read the dtype of the package ml_dtypes: the bits go across.
        if array.dtype.name == "bfloat16":
            return Tensor(array.view(np.uint16), device=DEVICE).bitcast(dtypes.bfloat16)
        return Tensor(array, device=DEVICE)

    def from_tinygrad(tensor: Any) -> Array:
        if tensor.dtype == dtypes.bfloat16:
            bits: Array = tensor.bitcast(dtypes.uint16).numpy()
            return bits.view(dtype_of("bfloat16"))
        found: Array = tensor.numpy()
        return found

    def convolve(
        input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any, groups: int
    ) -> Any:
        if padding == "same":
            # conv2d takes numbers alone; the layer takes this name, and its stride as one number.
            step = stride[0] if stride[0] == stride[1] else stride
            sizes = input.shape[1], weight.shape[0], weight.shape[2:]
            layer = nn.Conv2d(*sizes, step, padding, dilation, groups)
            layer.weight, layer.bias = weight, bias
            return layer(input)
        return input.conv2d(weight, bias, groups, stride, dilation, _pads(padding))

    def conv2d(input: Array, weight: Array, bias: Array | None, *parameters: Any) -> Array:
        with _off_the_terminal(), Context(**SETTINGS):
            shift = None if bias is None else to_tinygrad(bias)
            output = convolve(to_tinygrad(input), to_tinygrad(weight), shift, *parameters)
            return from_tinygrad(output)

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
            raise NotImplementedError("tinygrad differentiates floating-point numbers only")
        bias = np.zeros(weight.shape[0], weight.dtype)
        with _off_the_terminal(), Context(**SETTINGS):
            leaves = x, w, b = [to_tinygrad(array) for array in (input, weight, bias)]
            output = convolve(x, w, b, stride, padding, dilation, groups)
            wanted = [leaf for leaf, on in zip(leaves, output_mask, strict=True) if on]
            found = iter(output.gradient(*wanted, gradient=to_tinygrad(grad_output)))
            return tuple(from_tinygrad(next(found)) if on else None for on in output_mask)

    # https://docs.tinygrad.org/dtypes/ has no complex numbers.
    floats = ("bfloat16", "float16", "float32", "float64")
    return SimpleNamespace(
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        version=lambda: importlib.metadata.version("tinygrad"),
        supports={
            "dtypes": [n for n in (*floats, *SIGNED, *UNSIGNED) if n in available()],
            "result_dtypes": SUMS,
            "padding": ("pair", "four-sided", "same"),
            "arithmetic": ARITHMETIC,
            "empty": ("batch", "channels"),
        },
    )


@contextlib.contextmanager
def _off_the_terminal() -> Iterator[None]:
    """Drop what the compiler prints; where it refuses a kernel, tinygrad raises."""
    with _LOCK, Path(os.devnull).open("wb") as nowhere:
        kept = os.dup(2)
        os.dup2(nowhere.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _pads(padding: Any) -> tuple[int, ...]:
    """Return the pads of columns, then of rows, as tinygrad and torch.nn.functional.pad do."""
    rows, columns = sides(padding)
    return (*columns, *rows)
