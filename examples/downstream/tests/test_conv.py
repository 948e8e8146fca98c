"""tinykernels against npconv, on integers: equality, in whatever order the kernel adds."""

from dataclasses import dataclass, fields
from itertools import product

import numpy as np
import pytest
from numpy.typing import NDArray

import npconv
import tinykernels

Float32 = NDArray[np.float32]
Pair = tuple[int, int]

# N, H, W and KH, KW are 2, 11, 14 and 3, 5; channels differ from them and from each other, so that
# no two axes can be taken for one another.
INPUT_CHANNELS = {1: 4, 2: 12, 3: 12}
OUTPUT_CHANNELS = {1: 6, 2: 16, 3: 21}
STRIDES = ((1, 1), (2, 3), (3, 2))
PADDINGS = ((0, 0), (1, 2), (4, 3))
DILATIONS = ((1, 1), (2, 1), (1, 2))
CASES = tuple(product(STRIDES, PADDINGS, DILATIONS, INPUT_CHANNELS))


@dataclass(frozen=True)
class Arrays:
    """The arrays of one case."""

    x: Float32
    weight: Float32
    bias: Float32
    grad: Float32


def draw(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> Arrays:
    """Draw integers from -8 to 8: every sum of products stays far below 2**24."""
    rng = np.random.default_rng(20)

    def integers(*shape: int) -> Float32:
        return rng.integers(-8, 9, shape).astype(np.float32)

    x = integers(2, INPUT_CHANNELS[groups], 11, 14)
    weight = integers(OUTPUT_CHANNELS[groups], x.shape[1] // groups, 3, 5)
    bias = integers(len(weight))
    out = npconv.conv2d(x, weight, bias, stride, padding, dilation, groups)
    return Arrays(x, weight, bias, integers(*out.shape))


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CASES)
def test_forward_is_npconvs(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
    """The output equals npconv's, with a bias and without."""
    a = draw(stride, padding, dilation, groups)
    for bias in (a.bias, None):
        actual = tinykernels.conv2d(a.x, a.weight, bias, stride, padding, dilation, groups)
        expected = npconv.conv2d(a.x, a.weight, bias, stride, padding, dilation, groups)
        assert actual.dtype == expected.dtype
        np.testing.assert_array_equal(actual, expected)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CASES)
def test_backward_is_npconvs(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
    """The three gradients equal npconv's for a cotangent of random integers."""
    a = draw(stride, padding, dilation, groups)
    actual = tinykernels.conv2d_backward(a.grad, a.x, a.weight, stride, padding, dilation, groups)
    grad_x = npconv.conv2d_input(a.x.shape, a.weight, a.grad, stride, padding, dilation, groups)
    grad_weight = npconv.conv2d_weight(
        a.x, a.weight.shape, a.grad, stride, padding, dilation, groups
    )
    grad_bias = npconv.conv2d_bias(a.grad)
    for got, expected in zip(actual, (grad_x, grad_weight, grad_bias), strict=True):
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), CASES)
def test_data_are_exact(stride: Pair, padding: Pair, dilation: Pair, groups: int) -> None:
    """Sums of magnitudes stay within float32's exact integers, so equality may be asked."""
    a = draw(stride, padding, dilation, groups)
    size = Arrays(*(np.abs(getattr(a, field.name)) for field in fields(a)))
    sums = (
        npconv.conv2d(size.x, size.weight, size.bias, stride, padding, dilation, groups),
        *npconv.conv2d_backward(size.grad, size.x, size.weight, stride, padding, dilation, groups),
    )
    for each in sums:
        assert each is not None
        assert each.max() <= 2**24


@pytest.mark.parametrize("groups", INPUT_CHANNELS)
def test_extents_are_distinct(groups: int) -> None:
    """No two extents of an array's axes are alike, nor input and output channels."""
    a = draw((1, 1), (0, 0), (1, 1), groups)
    for shape in (a.x.shape, a.weight.shape, a.grad.shape):
        assert len(set(shape)) == len(shape)
    assert a.x.shape[1] != len(a.weight)
