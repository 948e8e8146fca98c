"""NumPy arrays to torch tensors and back, bfloat16 and odd strides included; torch comes lazily."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from npconv.formats import dtype_of

Array = np.ndarray[Any, np.dtype[Any]]


def to_torch(array: Array) -> Any:
    """Return a torch tensor on an array's memory, or on a copy where torch cannot have that.

    NumPy's bfloat16 is the package ml_dtypes' own dtype, which torch does not know; the bits go
    across as 16-bit integers.

    Parameters
    ----------
    array : numpy.ndarray
        Any shape, strides and dtype that torch has: bfloat16 and float16 to float64, complex64
        and complex128, integers.

    Returns
    -------
    torch.Tensor
        On the CPU, with the array's shape, dtype and values. It shares the array's memory, so to
        write to one is to write to the other, read-only arrays included; but negative strides,
        strides that are no multiple of an element, and foreign byte order need a copy.

    Raises
    ------
    ModuleNotFoundError
        If torch is not installed.
    TypeError
        If torch has no such dtype.

    Examples
    --------
    >>> import numpy as np, pytest
    >>> torch = pytest.importorskip("torch")
    >>> from npconv.adapters import to_torch
    >>> to_torch(np.arange(3.0, dtype=np.float32)[::-1])
    tensor([2., 1., 0.])
    """
    import torch

    shared = array.astype(array.dtype.newbyteorder("="), copy=False)
    if any(step < 0 or step % array.itemsize for step in array.strides):
        shared = shared.copy()
    short = shared.dtype.name == "bfloat16"
    bits = shared.view(np.int16) if short else shared
    if bits.flags.writeable:
        tensor = torch.from_numpy(bits)
    else:
        # torch warns that it would let one write; what a kernel under test writes is noticed.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tensor = torch.from_numpy(bits)
    return tensor.view(torch.bfloat16) if short else tensor


def from_torch(tensor: Any) -> Array:
    """Return a tensor's values as a NumPy array, on its memory where that is on the CPU.

    Parameters
    ----------
    tensor : torch.Tensor
        On any device, of any strides, with or without a graph. Lazy conjugates and negatives are
        computed.

    Returns
    -------
    numpy.ndarray
        The tensor's shape, dtype and values; bfloat16 is that of the package ml_dtypes.

    Raises
    ------
    TypeError
        If NumPy has no such dtype, or ml_dtypes is not installed.

    Examples
    --------
    >>> import pytest
    >>> torch = pytest.importorskip("torch")
    >>> from npconv.adapters import from_torch
    >>> from_torch(torch.ones(2, requires_grad=True))
    array([1., 1.], dtype=float32)
    """
    import torch

    plain = tensor.detach().cpu().resolve_conj().resolve_neg()
    if plain.dtype == torch.bfloat16:
        return np.asarray(plain.view(torch.int16).numpy().view(dtype_of("bfloat16")))
    return np.asarray(plain.numpy())
