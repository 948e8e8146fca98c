"""The public calls, whose docstrings hold the formulas: read, contract, add the bias, round."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from npconv import correlate, formats
from npconv.arguments import Arguments, read, read_grad_output, read_mask

Array = np.ndarray[Any, np.dtype[Any]]
Pair = int | Sequence[int]
Padding = int | str | Sequence[int] | Sequence[Sequence[int]]


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
    r"""Correlate a batch of images with kernels, as ``torch.nn.functional.conv2d`` does.

    .. math::

        y_{n,f,i,j} = b_f + \sum_{c,k,t}
            x_{n,\; \lfloor f/F_g \rfloor C_g + c,\; i s_h + k d_h - p_h,\; j s_w + t d_w - p_w} \;
            w_{f,c,k,t}

    with :math:`x = 0` outside the image, :math:`C_g = C/g` and :math:`F_g = F/g` channels in a
    group, stride s, dilation d and p zeros above and to the left. As an einsum over the
    windows of the padded input, group by group: ``bchwkt,fckt->bfhw``.

    Parameters
    ----------
    input : array_like
        Images, shape (N, C, H, W), or (C, H, W) for a single one. N and C may be 0.
    weight : array_like
        Kernels, shape (F, C/groups, KH, KW), of the input's dtype.
    bias : array_like, optional
        One number for each output channel, shape (F,), of the input's dtype.
    stride : int or sequence of 1 or 2 ints
        Steps between windows, from 1 up.
    padding : int, str or sequence
        Zeros around the image. An int or 1 or 2 ints from 0 up; 'valid' (none); 'same'
        (stride 1 only; an odd row or column goes to the bottom or right); 'same_upper' and
        'same_lower' (ceil(H/stride) outputs for any stride; an odd one goes to the end or to the
        beginning); or ((top, bottom), (left, right)), where negative numbers crop.
    dilation : int or sequence of 1 or 2 ints
        Steps between a window's elements, from 1 up.
    groups : int
        Number of groups that input and output channels are divided into; each output channel
        sees the input channels of its group only.
    dtype : dtype_like, optional
        The result's dtype, by default that of the arrays.

    Returns
    -------
    numpy.ndarray
        Shape (N, F, OH, OW), or (F, OH, OW) for a single image, with
        ``OH = (H + top + bottom - dilation*(KH-1) - 1) // stride + 1``. Real floats are summed
        in float64, complex numbers in complex128, and rounded once; integers wrap.

    Raises
    ------
    ValueError
        If a parameter or a shape is illegal; the message says which, and why.
    TypeError
        If an argument has a wrong type, or the arrays differ in dtype.

    Notes
    -----
    Zeros of the padding are operands: an infinite weight over them gives NaN. Source: the
    definition in PyTorch's documentation of ``torch.nn.Conv2d``, in index notation after
    Dumoulin and Visin, 'A guide to convolution arithmetic for deep learning' (2016).

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> w = np.array([[[[1.0, 0.0], [0.0, -1.0]]]])
    >>> npconv.conv2d(x, w, bias=[0.5])
    array([[[[-4.5, -4.5, -4.5],
             [-4.5, -4.5, -4.5]]]])
    >>> npconv.conv2d(x, w, stride=2, padding=((0, 1), (-1, 0)))
    array([[[[-5.],
             [ 9.]]]])
    """
    arrays = {"input": input, "weight": weight, "bias": bias}
    return _forward(read("conv2d", arrays, {}, stride, padding, dilation, groups, dtype))


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
    r"""Return the gradient of `conv2d` with respect to its input.

    .. math::

        \bar x_{n,c,u,v} = \sum_{f,k,t} \;
            \sum_{\substack{i s_h + k d_h - p_h = u \\ j s_w + t d_w - p_w = v}}
            \bar y_{n,f,i,j} \; w^*_{f,c,k,t}

    over the output channels f of c's group. This is a correlation with stride 1: grad_output
    gets ``stride - 1`` zeros between its elements, is padded by ``span - 1 - padding`` on each
    side (``span = dilation*(K-1) + 1``; a negative pad crops) plus the rows that no window
    reached, and meets the kernel flipped in both spatial axes, its channel axes swapped.

    Parameters
    ----------
    input_size : sequence of ints
        Shape of the input, (N, C, H, W) or (C, H, W).
    weight : array_like
        Kernels, shape (F, C/groups, KH, KW).
    grad_output : array_like
        Gradient of the output, shape (N, F, OH, OW) or (F, OH, OW), of the weight's dtype.
    stride, padding, dilation, groups, dtype
        As in `conv2d`.

    Returns
    -------
    numpy.ndarray
        Gradient of the input, shape `input_size`. Complex weights are conjugated, as in PyTorch.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; also if grad_output has not the output's shape.

    Notes
    -----
    The zeros that the formula inserts are not operands: only terms of the sum above are ever
    multiplied, so an infinite weight reaches just the elements that it touched in `conv2d`.
    Source: docs/formulas.md derives it; the rule is relationship 14 in Dumoulin and Visin (2016).

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> w = np.array([[[[1.0, 2.0], [3.0, 4.0]]]])
    >>> npconv.conv2d_input((1, 1, 3, 4), w, np.array([[[[10.0, 1.0]]]]), stride=2)
    array([[[[10., 20.,  1.,  2.],
             [30., 40.,  3.,  4.],
             [ 0.,  0.,  0.,  0.]]]])
    """
    arrays = {"weight": weight, "grad_output": grad_output}
    sizes = {"input_size": input_size}
    return _input_gradient(
        read("conv2d_input", arrays, sizes, stride, padding, dilation, groups, dtype)
    )


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
    r"""Return the gradient of `conv2d` with respect to its weight.

    .. math::

        \bar w_{f,c,k,t} = \sum_{n,i,j} \bar y_{n,f,i,j} \;
            x^*_{n,\; \lfloor f/F_g \rfloor C_g + c,\; i s_h + k d_h - p_h,\; j s_w + t d_w - p_w}

    As an einsum over the windows of the padded input, group by group: ``bchwkt,bfhw->fckt``.

    Parameters
    ----------
    input : array_like
        Images, shape (N, C, H, W) or (C, H, W).
    weight_size : sequence of ints
        Shape of the weight, (F, C/groups, KH, KW).
    grad_output : array_like
        Gradient of the output, shape (N, F, OH, OW) or (F, OH, OW), of the input's dtype.
    stride, padding, dilation, groups, dtype
        As in `conv2d`.

    Returns
    -------
    numpy.ndarray
        Gradient of the weight, shape `weight_size`. Complex inputs are conjugated, as in PyTorch.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; also if grad_output has not the output's shape.

    Notes
    -----
    Zeros of the padding are operands, as in `conv2d`. Source: the chain rule applied to the
    definition; docs/formulas.md derives it.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> x = np.arange(12.0).reshape(1, 1, 3, 4)
    >>> npconv.conv2d_weight(x, (1, 1, 2, 2), np.array([[[[10.0, 1.0]]]]), stride=2)
    array([[[[ 2., 13.],
             [46., 57.]]]])
    """
    arrays = {"input": input, "grad_output": grad_output}
    sizes = {"weight_size": weight_size}
    return _weight_gradient(
        read("conv2d_weight", arrays, sizes, stride, padding, dilation, groups, dtype)
    )


def conv2d_bias(grad_output: ArrayLike, *, dtype: DTypeLike | None = None) -> Array:
    r"""Return the gradient of `conv2d` with respect to its bias.

    .. math::

        \bar b_f = \sum_{n,i,j} \bar y_{n,f,i,j}

    Parameters
    ----------
    grad_output : array_like
        Gradient of the output, shape (N, F, OH, OW) or (F, OH, OW).
    dtype : dtype_like, optional
        The result's dtype, by default that of `grad_output`.

    Returns
    -------
    numpy.ndarray
        Gradient of the bias, shape (F,).

    Raises
    ------
    ValueError, TypeError
        If grad_output has another rank, or a dtype that is not served.

    Notes
    -----
    Source: the bias enters every output element of its channel once, with factor 1.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> npconv.conv2d_bias(np.arange(12.0).reshape(1, 2, 2, 3))
    array([15., 51.])
    """
    return _bias_gradient(*read_grad_output("conv2d_bias", grad_output, dtype))


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
    """Return the three gradients of `conv2d`: those of input, weight and bias.

    Parameters
    ----------
    grad_output : array_like
        Gradient of the output, shape (N, F, OH, OW) or (F, OH, OW).
    input, weight : array_like
        What `conv2d` was given, of one dtype with grad_output.
    stride, padding, dilation, groups, dtype
        As in `conv2d`.
    output_mask : sequence of 3 bools
        Which gradients are wanted; the others are None and cost nothing.

    Returns
    -------
    tuple
        (grad_input, grad_weight, grad_bias): `conv2d_input`, `conv2d_weight` and `conv2d_bias`,
        whose formulas and sources hold here too.

    Raises
    ------
    ValueError, TypeError
        As `conv2d`; also if grad_output has not the output's shape, or the mask is not 3 bools.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> x, w, g = np.ones((1, 2, 4, 5)), np.ones((3, 2, 2, 2)), np.ones((1, 3, 3, 4))
    >>> [
    ...     None if a is None else a.shape
    ...     for a in npconv.conv2d_backward(g, x, w, output_mask=(True, False, True))
    ... ]
    [(1, 2, 4, 5), None, (3,)]
    """
    arrays = {"grad_output": grad_output, "input": input, "weight": weight}
    mask = read_mask("conv2d_backward", output_mask, arrays)
    call = read("conv2d_backward", arrays, {}, stride, padding, dilation, groups, dtype)
    assert call.grad_output is not None
    return (
        _input_gradient(call) if mask[0] else None,
        _weight_gradient(call) if mask[1] else None,
        _bias_gradient(call.grad_output, call.dtype, call.result) if mask[2] else None,
    )


def _forward(call: Arguments) -> Array:
    g = call.geometry
    output = np.empty(g.output_shape, call.result)
    grouped = output.reshape(g.batch, g.groups, g.group_out, *g.out)
    _fill(grouped, call, correlate.forward, (call.input, call.weight), g.forward_terms, call.bias)
    return output


def _input_gradient(call: Arguments) -> Array:
    g = call.geometry
    # Elements that no window meets are in no block: they stay zero.
    gradient = np.zeros(g.input_shape, call.result)
    grouped = gradient.reshape(g.batch, g.groups, g.group_in, *g.extents)
    arrays = (call.weight, call.grad_output)
    _fill(grouped, call, correlate.input_gradient, arrays, g.input_terms)
    return gradient


def _weight_gradient(call: Arguments) -> Array:
    g = call.geometry
    gradient = np.empty(g.weight_shape, call.result)
    grouped = gradient.reshape(g.groups, g.group_out, g.group_in, *g.kernel)
    arrays = (call.input, call.grad_output)
    _fill(grouped, call, correlate.weight_gradient, arrays, g.weight_terms)
    return gradient


def _fill(
    result: Array,
    call: Arguments,
    contraction: Callable[..., correlate.Blocks],
    arrays: tuple[Array | None, Array | None],
    terms: int,
    bias: Array | None = None,
) -> None:
    """Write the contraction's blocks into `result`, the bias added, each element rounded once."""
    carried = call.carrier(terms)
    out = result if result.dtype == carried else None
    with _silent():
        if bias is not None:
            ones = (1,) * len(call.geometry.axes)
            bias = formats.load(bias, carried).reshape(*result.shape[1:3], *ones)
        for where, sums in contraction(*arrays, call.geometry, carried, out):
            total = sums if bias is None else np.add(sums, bias[where[1:3]], out=sums)
            if out is None or not np.may_share_memory(total, out):
                result[where] = formats.finish(total, call.dtype, call.result)


def _bias_gradient(grad_output: Array, given: np.dtype[Any], result: np.dtype[Any]) -> Array:
    terms = grad_output.size // max(1, grad_output.shape[1])
    carried = formats.carrier(given, result, terms, (grad_output,))
    gradient = np.empty(grad_output.shape[1], result)
    with _silent():
        gradient[:] = formats.finish(correlate.bias_gradient(grad_output, carried), given, result)
    return gradient


def _silent() -> np.errstate:
    """Return the context of all arithmetic: overflow and NaN are results here, not accidents."""
    return np.errstate(all="ignore")
