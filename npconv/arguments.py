"""What the user passed becomes one frozen `Arguments`: arrays, a checked geometry, dtypes.

Every public call reads its arguments here and nowhere else; every message names the function,
the argument with its value, the rule, and the shapes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv import formats
from npconv.geometry import Geometry, parse, shape, shown

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]


@dataclass(frozen=True, slots=True)
class Arguments:
    """One call, read; arrays not given are None, input and grad_output are always batched."""

    geometry: Geometry
    dtype: DType
    result: DType
    input: Array | None = None
    weight: Array | None = None
    bias: Array | None = None
    grad_output: Array | None = None

    def carrier(self, terms: int) -> DType:
        """Return the dtype in which sums of `terms` products are carried."""
        given = (self.input, self.weight, self.bias, self.grad_output)
        return formats.carrier(
            self.dtype, self.result, terms, [array for array in given if array is not None]
        )


def read(
    function: str,
    arrays: Mapping[str, Any],
    sizes: Mapping[str, Any],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    dtype: Any,
) -> Arguments:
    """Read a call: `arrays` by name (bias may be None), `sizes` for input_size or weight_size."""
    try:
        given = {
            name: _array(name, value)
            for name, value in arrays.items()
            if not (name == "bias" and value is None)
        }
        shapes = {name: array.shape for name, array in given.items()}
        for name, value in sizes.items():
            shapes[name.removesuffix("_size")] = shape(name, value)
        geometry = parse(
            shapes["input"],
            shapes["weight"],
            stride,
            padding,
            dilation,
            groups,
            bias_shape=shapes.get("bias"),
            output_shape=shapes.get("grad_output"),
        )
        own, result = _dtypes(given, dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{function}: {error}{_described(arrays, sizes)}") from None
    if not geometry.batched:
        given = {
            name: a[None] if name in ("input", "grad_output") else a for name, a in given.items()
        }
    return Arguments(geometry, own, result, **given)


def read_grad_output(function: str, grad_output: Any, dtype: Any) -> tuple[Array, DType, DType]:
    """Read the one argument of a bias gradient: (batched array, its dtype, the result's)."""
    try:
        grad = _array("grad_output", grad_output)
        if grad.ndim not in (3, 4):
            raise ValueError(
                f"grad_output of {grad.ndim} dimensions must be (N, C, H, W) or (C, H, W)"
            )
        if min(grad.shape[-3:]) < 1:
            raise ValueError(
                f"grad_output of shape {grad.shape} must be at least 1 along all but the batch axis"
            )
        own, result = _dtypes({"grad_output": grad}, dtype)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"{function}: {error}{_described({'grad_output': grad_output}, {})}"
        ) from None
    return grad if grad.ndim == 4 else grad[None], own, result


def read_mask(
    function: str, output_mask: Any, arrays: Mapping[str, Any]
) -> tuple[bool, bool, bool]:
    """Read an output_mask: three bools."""
    try:
        items = list(output_mask)
    except TypeError:
        items = None
    rule = f"output_mask={shown(output_mask)} must be 3 bools (input, weight, bias)"
    if items is None or not all(isinstance(item, (bool, np.bool_)) for item in items):
        raise TypeError(f"{function}: {rule}{_described(arrays, {})}")
    if len(items) != 3:
        raise ValueError(f"{function}: {rule}{_described(arrays, {})}")
    return bool(items[0]), bool(items[1]), bool(items[2])


def _array(name: str, value: Any) -> Array:
    """View `value` as an array of a served dtype."""
    if value is None:
        raise TypeError(f"{name}=None must be an array")
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must not be a masked array: its mask would be ignored")
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(
            f"{name} must be an array of numbers, which NumPy could not make of it ({reason})"
        ) from None
    try:
        formats.family(array.dtype)
    except TypeError as error:
        raise TypeError(f"{name} of {error}") from None
    return array


def _dtypes(arrays: Mapping[str, Array], asked: Any) -> tuple[DType, DType]:
    """Return the one dtype of the arrays, in native byte order, and the result's."""
    own = {name: array.dtype.newbyteorder("=") for name, array in arrays.items()}
    if len(set(own.values())) > 1:
        listed = ", ".join(f"{name} {dtype.name}" for name, dtype in own.items())
        raise TypeError(f"all arrays must share one dtype, not {listed}")
    dtype = next(iter(own.values()))
    return dtype, formats.result_dtype(dtype, asked)


def _described(arrays: Mapping[str, Any], sizes: Mapping[str, Any]) -> str:
    """List the shapes, as far as there are any."""
    known = [(name, _shape_of(value)) for name, value in arrays.items() if value is not None]
    known += [(name, _sizes_of(value)) for name, value in sizes.items()]
    listed = ", ".join(f"{name} {shown(size)}" for name, size in known if size is not None)
    return f" [{listed}]" if listed else ""


def _shape_of(value: Any) -> tuple[int, ...] | None:
    try:
        return tuple(np.shape(value))
    except (TypeError, ValueError, RuntimeError):
        return None


def _sizes_of(value: Any) -> tuple[int, ...] | None:
    try:
        return shape("", value)
    except (TypeError, ValueError):
        return None
