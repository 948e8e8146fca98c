"""npconv's literal formulas as an implementation under test, with one rounding at the end."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv import formats, formulas
from npconv.arguments import Arguments, read
from npconv.formats import available

Array = np.ndarray[Any, np.dtype[Any]]


def adapter() -> SimpleNamespace:
    """Return the four formulas, with the public calls' arguments and rounding around them."""
    return SimpleNamespace(
        conv2d=_conv2d,
        conv2d_backward=_conv2d_backward,
        supports={
            "dtypes": available(),
            "padding": ("pair", "string", "four-sided"),
            "unbatched": True,
            "empty": ("batch", "channels"),
        },
    )


def _conv2d(
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> Array:
    call = read(
        "conv2d",
        {"input": input, "weight": weight, "bias": bias},
        {},
        stride,
        padding,
        dilation,
        groups,
        None,
    )
    assert call.input is not None
    assert call.weight is not None
    carried = call.carrier(call.geometry.forward_terms)
    sums = formulas.forward(
        formats.load(call.input, carried), formats.load(call.weight, carried), call.geometry
    )
    if call.bias is not None:
        sums = sums + formats.load(call.bias, carried)[:, None, None]
    return _finished(call, sums, call.geometry.output_shape)


def _conv2d_backward(
    grad_output: Array,
    input: Array,
    weight: Array,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    output_mask: tuple[bool, bool, bool],
) -> tuple[Array | None, ...]:
    arrays = {"grad_output": grad_output, "input": input, "weight": weight}
    call = read("conv2d_backward", arrays, {}, stride, padding, dilation, groups, None)
    geometry = call.geometry
    assert call.input is not None
    assert call.weight is not None
    assert call.grad_output is not None
    x, w, e = (
        formats.load(array, call.carrier(max(geometry.input_terms, geometry.weight_terms)))
        for array in (call.input, call.weight, call.grad_output)
    )
    return (
        _finished(call, formulas.input_gradient(w, e, geometry), geometry.input_shape)
        if output_mask[0]
        else None,
        _finished(call, formulas.weight_gradient(x, e, geometry), geometry.weight_shape)
        if output_mask[1]
        else None,
        _finished(call, formulas.bias_gradient(e), (geometry.out_channels,))
        if output_mask[2]
        else None,
    )


def _finished(call: Arguments, sums: Array, shape: tuple[int, ...]) -> Array:
    return formats.finish(np.ascontiguousarray(sums), call.dtype, call.result).reshape(shape)
