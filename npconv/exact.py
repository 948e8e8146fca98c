"""Convolution and its gradients, correctly rounded: every element is its exact value, rounded once.

Ziv's test ('Fast evaluation of elementary mathematical functions with correctly rounded last
bit', 1991): a value with a radius decides the rounding of almost every element, and only the
others are worked out further. The sums and their radii come from `splitting`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from npconv import conv, formats, operands, rounding
from npconv.arguments import Arguments, read, read_grad_output, read_mask
from npconv.conv import Padding, Pair
from npconv.operands import Tile

__all__ = ["conv2d", "conv2d_backward", "conv2d_bias", "conv2d_input", "conv2d_weight"]

Array = np.ndarray[Any, np.dtype[Any]]
DType = np.dtype[Any]


def conv2d(
    input: ArrayLike,
    weight: ArrayLike,
    bias: ArrayLike | None = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    r"""Correlate images with kernels as `npconv.conv2d` does, each element correctly rounded.

    .. math::

        y_{n,f,i,j} = \circ \Bigl( b_f + \sum_{c,k,t}
            x_{n,\; \lfloor f/F_g \rfloor C_g + c,\; i s_h + k d_h - p_h,\; j s_w + t d_w - p_w}
            \; w_{f,c,k,t} \Bigr)

    where :math:`\circ` rounds the exact sum of exact products once to the result's dtype, to
    nearest, ties to even; real and imaginary parts of complex results each for themselves.

    Parameters
    ----------
    input, weight, bias, stride, padding, dilation, groups, dtype
        As in `npconv.conv2d`.

    Returns
    -------
    numpy.ndarray
        As `npconv.conv2d`, and integers are its own. The same bits on every machine, with every
        NumPy, BLAS and number of threads.

    Raises
    ------
    ValueError, TypeError
        As `npconv.conv2d`.

    Notes
    -----
    A sum that is exactly zero is +0, and one that underflows keeps its sign. Overflow gives an
    infinity by IEEE 754's rule. Infinities and NaNs among the operands, zeros of padding
    included, act as in `npconv.definition`; every NaN is the quiet one without sign or payload.
    Sources: Ziv, 'Fast evaluation of elementary mathematical functions with correctly rounded
    last bit' (1991); Ozaki, Ogita, Oishi and Rump, 'Error-free transformations of matrix
    multiplication' (2012). docs/exact.md derives the radii.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> from npconv import exact
    >>> x = np.array([1e300, 1e-300, -1e300, 3.0]).reshape(1, 4, 1, 1)
    >>> w = np.array([1e300, 1e-300, 1e300, 5.0]).reshape(1, 4, 1, 1)
    >>> exact.conv2d(x, w).item()
    15.0

    A tie in float32 that a float64 sum cannot tell from 1 + 2**-24 + 2**-77:

    >>> x = np.array([1, 2.0**-24, 2.0**-77], np.float32).reshape(1, 3, 1, 1)
    >>> w = np.ones_like(x)
    >>> [float(call(x, w).item()).hex() for call in (npconv.conv2d, exact.conv2d)]
    ['0x1.0000000000000p+0', '0x1.0000020000000p+0']
    """
    arrays = {"input": input, "weight": weight, "bias": bias}
    call = read("exact.conv2d", arrays, {}, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        return conv.conv2d(input, weight, bias, stride, padding, dilation, groups, dtype=dtype)
    return _forward(call)


def conv2d_input(
    input_size: Sequence[int],
    weight: ArrayLike,
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    r"""Return the gradient of `conv2d` with respect to its input, each element correctly rounded.

    .. math::

        \bar x_{n,c,u,v} = \circ \sum_{f,k,t} \;
            \sum_{\substack{i s_h + k d_h - p_h = u \\ j s_w + t d_w - p_w = v}}
            \bar y_{n,f,i,j} \; w^*_{f,c,k,t}

    over the output channels f of c's group.

    Parameters
    ----------
    input_size, weight, grad_output, stride, padding, dilation, groups, dtype
        As in `npconv.conv2d_input`.

    Returns
    -------
    numpy.ndarray
        As `npconv.conv2d_input`, rounded as `conv2d` rounds. Only terms of this
        sum are operands, and an element without any is +0.

    Raises
    ------
    ValueError, TypeError
        As `npconv.conv2d_input`.

    Notes
    -----
    Sources: those of `conv2d` and `npconv.conv2d_input`.

    Examples
    --------
    >>> import numpy as np
    >>> from npconv import exact
    >>> w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> exact.conv2d_input((1, 1, 3, 4), w, np.array([[[[10.0, 1.0]]]]), stride=2)
    array([[[[10., 20.,  1.,  2.],
             [30., 40.,  3.,  4.],
             [ 0.,  0.,  0.,  0.]]]])
    """
    arrays, sizes = {"weight": weight, "grad_output": grad_output}, {"input_size": input_size}
    call = read("exact.conv2d_input", arrays, sizes, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups)
        return conv.conv2d_input(input_size, weight, grad_output, *where, dtype=dtype)
    return _input_gradient(call)


def conv2d_weight(
    input: ArrayLike,
    weight_size: Sequence[int],
    grad_output: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    dtype: DTypeLike | None = None,
) -> Array:
    r"""Return the gradient of `conv2d` with respect to its weight, each element correctly rounded.

    .. math::

        \bar w_{f,c,k,t} = \circ \sum_{n,i,j} \bar y_{n,f,i,j} \;
            x^*_{n,\; \lfloor f/F_g \rfloor C_g + c,\; i s_h + k d_h - p_h,\; j s_w + t d_w - p_w}

    Parameters
    ----------
    input, weight_size, grad_output, stride, padding, dilation, groups, dtype
        As in `npconv.conv2d_weight`.

    Returns
    -------
    numpy.ndarray
        As `npconv.conv2d_weight`, rounded as `conv2d` rounds. Zeros of
        padding are operands.

    Raises
    ------
    ValueError, TypeError
        As `npconv.conv2d_weight`.

    Notes
    -----
    Sources: those of `conv2d` and `npconv.conv2d_weight`.

    Examples
    --------
    >>> import numpy as np
    >>> from npconv import exact
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> exact.conv2d_weight(x, (1, 1, 2, 2), np.array([[[[10.0, 1.0]]]]), stride=2)
    array([[[[ 2., 13.],
             [46., 57.]]]])
    """
    arrays, sizes = {"input": input, "grad_output": grad_output}, {"weight_size": weight_size}
    call = read("exact.conv2d_weight", arrays, sizes, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups)
        return conv.conv2d_weight(input, weight_size, grad_output, *where, dtype=dtype)
    return _weight_gradient(call)


def conv2d_bias(grad_output: ArrayLike, *, dtype: DTypeLike | None = None) -> Array:
    r"""Return the gradient of the bias, :math:`\bar b_f = \circ \sum_{n,i,j} \bar y_{n,f,i,j}`.

    Parameters
    ----------
    grad_output, dtype
        As in `npconv.conv2d_bias`.

    Returns
    -------
    numpy.ndarray
        As `npconv.conv2d_bias`, rounded as `conv2d` rounds.

    Raises
    ------
    ValueError, TypeError
        As `npconv.conv2d_bias`.

    Notes
    -----
    Sources: those of `conv2d` and `npconv.conv2d_bias`.

    Examples
    --------
    >>> import numpy as np
    >>> from npconv import exact
    >>> exact.conv2d_bias(np.array([1e16, 1.0, -1e16]).reshape(1, 1, 1, 3))
    array([1.])
    """
    grad, given, result = read_grad_output("exact.conv2d_bias", grad_output, dtype)
    if formats.family(given) == "integer":
        return conv.conv2d_bias(grad_output, dtype=dtype)
    return _bias_gradient(grad, result)


def conv2d_backward(
    grad_output: ArrayLike,
    input: ArrayLike,
    weight: ArrayLike,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    output_mask: Sequence[bool] = (True, True, True),
    *,
    dtype: DTypeLike | None = None,
) -> tuple[Array | None, Array | None, Array | None]:
    """Return the three gradients of `conv2d`, each element correctly rounded.

    Parameters
    ----------
    grad_output, input, weight, stride, padding, dilation, groups, output_mask, dtype
        As in `npconv.conv2d_backward`.

    Returns
    -------
    tuple
        As `npconv.conv2d_backward`, rounded as `conv2d` rounds.

    Raises
    ------
    ValueError, TypeError
        As `npconv.conv2d_backward`.

    Notes
    -----
    Formulas and sources: those of `conv2d_input`, `conv2d_weight` and `conv2d_bias`.

    Examples
    --------
    >>> import numpy as np
    >>> from npconv import exact
    >>> x, w, g = np.ones((1, 2, 4, 5)), np.ones((3, 2, 2, 2)), np.ones((1, 3, 3, 4))
    >>> [None if a is None else a.shape for a in exact.conv2d_backward(g, x, w)]
    [(1, 2, 4, 5), (3, 2, 2, 2), (3,)]
    """
    arrays = {"grad_output": grad_output, "input": input, "weight": weight}
    mask = read_mask("exact.conv2d_backward", output_mask, arrays)
    call = read("exact.conv2d_backward", arrays, {}, stride, padding, dilation, groups, dtype)
    if formats.family(call.dtype) == "integer":
        where = (stride, padding, dilation, groups, output_mask)
        return conv.conv2d_backward(grad_output, input, weight, *where, dtype=dtype)
    assert call.grad_output is not None
    return (
        _input_gradient(call) if mask[0] else None,
        _weight_gradient(call) if mask[1] else None,
        _bias_gradient(call.grad_output, call.result) if mask[2] else None,
    )


def _forward(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.input is not None
    assert call.weight is not None
    output = np.zeros(geometry.output_shape, call.result)
    view = output.reshape(geometry.batch, geometry.groups, geometry.group_out, *geometry.out)
    bias = None if call.bias is None else call.bias.reshape(geometry.groups, -1)
    _fill(
        view, operands.forward(call.input, call.weight, geometry), [call.input, call.weight], bias
    )
    return output


def _input_gradient(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.weight is not None
    assert call.grad_output is not None
    gradient = np.zeros(geometry.input_shape, call.result)
    view = gradient.reshape(geometry.batch, geometry.groups, geometry.group_in, *geometry.extents)
    tiles = operands.input_gradient(call.weight, call.grad_output, geometry)
    _fill(view, tiles, [call.weight, call.grad_output])
    return gradient


def _weight_gradient(call: Arguments) -> Array:
    geometry = call.geometry
    assert call.input is not None
    assert call.grad_output is not None
    gradient = np.zeros(geometry.weight_shape, call.result)
    view = gradient.reshape(
        geometry.groups, geometry.group_out, geometry.group_in, *geometry.kernel
    )
    tiles = operands.weight_gradient(call.input, call.grad_output, geometry)
    _fill(view, tiles, [call.input, call.grad_output])
    return gradient


def _bias_gradient(grad_output: Array, result: DType) -> Array:
    gradient = np.zeros(grad_output.shape[1], result)
    _fill(gradient[None], operands.bias_gradient(grad_output), [grad_output])
    return gradient


def _fill(
    result: Array, tiles: Iterator[Tile], factors: list[Array], bias: Array | None = None
) -> None:
    """Write correctly rounded tiles into `result`."""
    complex_numbers = formats.family(factors[0].dtype) == "complex"
    # What overflows or is invalid on the way is told by its radius.
    with np.errstate(all="ignore"):
        facts = rounding.facts(result.dtype, factors + ([] if bias is None else [bias]))
        for tile in tiles:
            values = rounding.rounded(tile, _bias_rows(tile, bias, complex_numbers), facts)
            if complex_numbers:
                half = values.shape[1] // 2
                result.real[tile.where] = tile.shaped(values[:, :half])
                result.imag[tile.where] = tile.shaped(values[:, half:])
            else:
                result[tile.where] = tile.shaped(values)


def _bias_rows(tile: Tile, bias: Array | None, complex_numbers: bool) -> Array:
    """Return the bias of each row of a tile, (g, rows, 1)."""
    if bias is None:
        return np.zeros((1, 1, 1))
    rows = bias[tile.rows]
    halves = (rows.real, rows.imag) if complex_numbers else (rows,)
    return np.concatenate([formats.load(half, formats.FLOAT64) for half in halves], 1)[:, :, None]
