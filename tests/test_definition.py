"""The loops of npconv.definition against values worked by hand, PyTorch and IEEE 754 itself."""

import ast
import doctest
import inspect
import itertools
import math
import re
import sys
from fractions import Fraction
from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv import definition

INF, NAN = math.inf, math.nan

# N, C, (H, W), F, (KH, KW), stride, padding, dilation, groups; padding as definition takes it.
GRID: list[tuple[Any, ...]] = [
    (2, 3, (5, 6), 4, (2, 3), 1, 0, 1, 1),
    (1, 1, (1, 1), 1, (1, 1), 1, 0, 1, 1),
    (2, 4, (7, 5), 6, (3, 2), (2, 3), (1, 2), (2, 1), 2),
    (1, 6, (8, 9), 9, (2, 3), (3, 2), (2, 1), (1, 3), 3),
    (2, 3, (6, 7), 6, (3, 1), (1, 2), (0, 1), (2, 4), 3),  # depthwise, two outputs a channel
    (1, 2, (9, 11), 3, (2, 3), (4, 5), (0, 1), (3, 2), 1),  # remainders of 1 and 3
    (2, 2, (4, 3), 2, (1, 2), (5, 3), (2, 3), 1, 1),  # stride beyond the kernel, all-zero windows
    (2, 2, (3, 4), 3, (2, 1), [2], [3], [1], 1),  # padding beyond the kernel
    (1, 3, (5, 4), 2, (5, 4), 1, "valid", 1, 1),
    (2, 2, (5, 7), 3, (2, 4), 1, "same", (3, 1), 1),
    (1, 4, (6, 5), 2, (3, 2), 1, "same", (2, 3), 2),
    (2, 2, (6, 7), 3, (2, 3), (2, 1), ((1, 3), (0, 2)), (1, 2), 1),
    (1, 4, (7, 9), 4, (2, 3), (1, 2), ((-1, 2), (3, -2)), (3, 1), 2),
    (2, 2, (8, 7), 3, (2, 3), (2, 3), ((-2, -1), (-1, -1)), 1, 1),
]


def draw(rng: np.random.Generator, *shapes: tuple[int, ...]) -> list[np.ndarray]:
    """Draw small integers without zero, so that every term leaves a trace."""
    return [rng.integers(1, 8, s) * rng.choice([-1, 1], s) for s in shapes]


def run_torch(
    case: tuple[Any, ...], arrays: list[np.ndarray], dtype: str = "float64"
) -> tuple[list[np.ndarray], Any]:
    """Return torch's output and its three gradients, and what draws a cotangent."""
    torch = pytest.importorskip("torch")
    *_, stride, padding, dilation, groups = case
    x, w, b = (torch.tensor(a, dtype=getattr(torch, dtype), requires_grad=True) for a in arrays)
    padded = x
    if isinstance(padding, tuple) and isinstance(padding[0], tuple):
        (top, bottom), (left, right) = padding
        padded = torch.nn.functional.pad(x, (left, right, top, bottom))
        padding = 0
    y = torch.nn.functional.conv2d(padded, w, b, stride, padding, dilation, groups)

    def backward(g: np.ndarray) -> list[np.ndarray]:
        grads = torch.autograd.grad(y, (x, w, b), torch.tensor(g, dtype=y.dtype))
        return [grad.numpy() for grad in grads]

    return y.detach().numpy(), backward


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel:UserWarning")
@pytest.mark.parametrize("case", GRID, ids=str)
def test_all_operations_agree_with_torch(case: tuple[Any, ...]) -> None:
    """On integers, where both are exact, output and gradients equal torch's."""
    n, c, size, f, kernel, *how = case
    rng = np.random.default_rng(0)
    x, w, b = draw(rng, (n, c, *size), (f, c // how[-1], *kernel), (f,))
    y, backward = run_torch(case, [x, w, b])
    (g,) = draw(rng, y.shape)
    assert definition.conv2d(x, w, b, *how) == y.tolist()
    grads = tuple(grad.tolist() for grad in backward(g))
    assert definition.conv2d_backward(g, x, w, *how) == grads
    assert definition.conv2d_input(x.shape, w, g, *how) == grads[0]
    assert definition.conv2d_weight(x, w.shape, g, *how) == grads[1]
    assert definition.conv2d_bias(g) == grads[2]


@pytest.mark.parametrize("case", [GRID[2], GRID[4], GRID[12]], ids=str)
def test_complex_agrees_with_torch(case: tuple[Any, ...]) -> None:
    """Complex output and gradients, with their conjugates, equal torch's complex128."""
    n, c, size, f, kernel, *how = case
    rng = np.random.default_rng(1)
    shapes = [(n, c, *size), (f, c // how[-1], *kernel), (f,)]
    x, w, b = (re + 1j * im for re, im in zip(draw(rng, *shapes), draw(rng, *shapes), strict=True))
    y, backward = run_torch(case, [x, w, b], "complex128")
    re, im = draw(rng, y.shape, y.shape)
    g = re + 1j * im
    assert definition.conv2d(x, w, b, *how, dtype="complex128") == y.tolist()
    assert definition.conv2d_backward(g, x, w, *how, dtype="complex128") == tuple(
        grad.tolist() for grad in backward(g)
    )


def test_unbatched_agrees_with_batch_of_one() -> None:
    """An input of three axes gives the results of its batch of one, without the batch axis."""
    x, w, g = draw(np.random.default_rng(2), (2, 4, 5), (3, 2, 2, 3), (3, 3, 3))
    assert [definition.conv2d(x, w)] == definition.conv2d(x[None], w)
    assert [definition.conv2d_input(x.shape, w, g)] == definition.conv2d_input(
        x[None].shape, w, g[None]
    )
    assert definition.conv2d_weight(x, w.shape, g) == definition.conv2d_weight(
        x[None], w.shape, g[None]
    )
    assert definition.conv2d_bias(g) == definition.conv2d_bias(g[None])


def test_conv2d_equals_hand_computation() -> None:
    """Stride, dilation, padding and bias do what their formula says."""
    x = [[[[1, 2, 3, 4], [5, 6, 7, 8]]]]
    w = [[[[1, 10]]]]
    # columns, padded by 1 and dilated by 2, stride 2: 0 1 2 3 4 0 -> (0, 2), (2, 4)
    # row 0: 100 + 0*1 + 2*10, 100 + 2*1 + 4*10; row 1: 100 + 6*10, 100 + 6*1 + 8*10
    want = [[[[120, 142], [160, 186]]]]
    assert definition.conv2d(x, w, [100], (1, 2), (0, 1), (1, 2)) == want


def test_groups_read_their_own_channels() -> None:
    """Output channels 0 and 1 read input channel 0, and 2 and 3 read channel 1."""
    w = [[[[1]]], [[[2]]], [[[3]]], [[[4]]]]
    # 5*1, 5*2 | 7*3, 7*4
    assert definition.conv2d([[[5]], [[7]]], w, groups=2) == [[[5]], [[10]], [[21]], [[28]]]


def test_gradients_equal_hand_computation() -> None:
    """Gradients collect the terms of a stride that leaves the last column unread."""
    x, w, g = [[[1, 2, 3, 4, 5, 6]]], [[[[10, 100]]]], [[[7, 9]]]
    # stride 3: windows (1, 2) and (4, 5); columns 2 and 5 are read by none
    # grad_input: 7*10, 7*100, -, 9*10, 9*100, -
    # grad_weight: 7*1 + 9*4, 7*2 + 9*5; grad_bias: 7 + 9
    want = ([[[70, 700, 0, 90, 900, 0]]], [[[[43, 59]]]], [16])
    assert definition.conv2d_backward(g, x, w, 3) == want


def test_padding_crops_after_padding() -> None:
    """Element i of the padded axis is a[i-before] where that exists, whatever the signs."""
    one = [[[[1]]]]
    # -3 before and +5 after one element: a[3], a[4], a[5] of an axis that has only a[0]
    assert definition.conv2d([[[9]]], one, padding=((0, 0), (-3, 5))) == [[[0, 0, 0]]]
    # kernel 1, stride 5, padding (2, 2), extent 1: only position 0 is met, a zero
    assert definition.conv2d([[[9]]], one, stride=5, padding=2) == [[[0]]]
    assert definition.conv2d([[[1, 2, 3, 4]]], one, padding=((0, 0), (-1, -1))) == [[[2, 3]]]
    assert definition.conv2d([[[1, 2]]], one, padding=((1, 0), (2, -1))) == [[[0] * 3, [0, 0, 1]]]


@pytest.mark.parametrize(
    ("extent", "kernel", "stride", "dilation", "upper"),
    [
        (5, 2, 1, 1, (0, 1)),  # out 5, total 4*1 + 2 - 5 = 1
        (5, 2, 1, 3, (1, 2)),  # out 5, total 4*1 + 4 - 5 = 3
        (7, 4, 2, 1, (1, 2)),  # out 4, total 3*2 + 4 - 7 = 3
        (7, 3, 3, 1, (1, 1)),  # out 3, total 2*3 + 3 - 7 = 2
        (7, 1, 3, 1, (0, 0)),  # out 3, total 2*3 + 1 - 7 = 0
        (8, 1, 3, 1, (0, 0)),  # out 3, total 2*3 + 1 - 8 < 0
        (9, 5, 4, 2, (4, 4)),  # out 3, total 2*4 + 9 - 9 = 8
    ],
)
def test_same_upper_and_lower_equal_explicit_padding(
    extent: int, kernel: int, stride: int, dilation: int, upper: tuple[int, int]
) -> None:
    """Both give ceil(extent/stride) and put an odd one at the end, or at the beginning."""
    rng = np.random.default_rng(3)
    lower = upper[::-1]
    for x_shape, w_shape, axis in [
        ((1, 1, extent, 1), (1, 1, kernel, 1), 0),
        ((1, 1, 1, extent), (1, 1, 1, kernel), 1),
    ]:
        x, w = draw(rng, x_shape, w_shape)
        for name, pad in [("same_upper", upper), ("same_lower", lower)]:
            pads = [(0, 0), (0, 0)]
            pads[axis] = pad
            y = definition.conv2d(x, w, None, stride, name, dilation)
            assert y == definition.conv2d(x, w, None, stride, pads, dilation)
            assert np.shape(y)[2 + axis] == -(-extent // stride)


def test_padding_may_reach_the_greatest_extent() -> None:
    """A padded axis of 2**63 - 1 elements is legal, and steps over what it does not read."""
    far = 2**63 - 3
    # rows of padding, then 5 and 7: a stride of 2**63 - 2 reads the first and the last
    y = definition.conv2d([[[5], [7]]], [[[[2]]]], None, (far + 1, 1), ((far, 0), (0, 0)))
    assert y == [[[0], [14]]]


sizes = st.integers(1, 3)
pads = st.integers(-2, 3)


@given(
    data=st.data(),
    groups=sizes,
    channels=st.tuples(sizes, sizes),
    kernel=st.tuples(sizes, sizes),
    dilation=st.tuples(sizes, sizes),
    stride=st.tuples(sizes, sizes),
    padding=st.one_of(
        st.sampled_from(["same_upper", "same_lower"]),
        st.tuples(st.tuples(pads, pads), st.tuples(pads, pads)),
    ),
)
def test_gradients_are_adjoints(
    data: st.DataObject,
    groups: int,
    channels: tuple[int, int],
    kernel: tuple[int, int],
    dilation: tuple[int, int],
    stride: tuple[int, int],
    padding: Any,
) -> None:
    """For every geometry <conv(x, w), g> = <x, grad_input> = <w, grad_weight>, exactly."""
    before_and_after = [0, 0] if isinstance(padding, str) else [sum(pair) for pair in padding]
    size = tuple(
        max(1, d * (k - 1) + 1 - p) + data.draw(st.integers(0, 2))
        for d, k, p in zip(dilation, kernel, before_and_after, strict=True)
    )
    rng = np.random.default_rng(data.draw(st.integers(0, 9)))
    x, w = draw(rng, (2, channels[0] * groups, *size), (channels[1] * groups, channels[0], *kernel))
    how = (stride, padding, dilation, groups)
    y = np.array(definition.conv2d(x, w, None, *how))
    (g,) = draw(rng, y.shape)
    inner = (y * g).sum()
    assert (np.array(definition.conv2d_input(x.shape, w, g, *how)) * x).sum() == inner
    assert (np.array(definition.conv2d_weight(x, w.shape, g, *how)) * w).sum() == inner


def test_integers_are_unbounded() -> None:
    """Without dtype an int neither wraps nor becomes a float."""
    y = definition.conv2d([[[2**70]]], [[[[2**70 + 1]]]], [1])
    assert y == [[[2**140 + 2**70 + 1]]]
    assert type(y[0][0][0]) is int


def test_floats_are_exact() -> None:
    """Floats lose nothing, however far apart, and results are Fractions, zeros included."""
    tiny, huge = 2.0**-1074, 2.0**1023
    y = definition.conv2d([[[tiny, huge]]], [[[[huge, huge]]]], [0.1])
    assert y == [[[Fraction(1, 2**51) + Fraction(2) ** 2046 + Fraction(0.1)]]]
    grad = definition.conv2d_input((1, 1, 3), [[[[0.5]]]], [[[0.5, 3]]], stride=2)
    assert grad == [[[Fraction(1, 4), 0, Fraction(3, 2)]]]
    assert [type(v) for v in grad[0][0]] == [Fraction] * 3
    # 1.5 * 0.25, 1.5 * 2.5, 1.5
    grads = definition.conv2d_backward([[[1.5]]], [[[2.5]]], [[[[0.25]]]])
    assert grads == ([[[0.375]]], [[[[3.75]]]], [1.5])
    # thirds, which no float holds
    assert definition.conv2d([[[Fraction(1, 3)]]], [[[[Fraction(3, 7)]]]]) == [[[Fraction(1, 7)]]]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble"])
def test_numpy_floats_are_read_exactly(dtype: str) -> None:
    """An array, a list of its rows or of its scalars means its elements' values."""
    x = np.array([[[3, 100], [7, -11]]], dtype) / np.array(3, dtype)
    want = [[[Fraction(*v.as_integer_ratio()) for v in row] for row in x[0]]]
    for form in (x, [list(x[0])], [[list(row) for row in x[0]]]):
        assert definition.conv2d(form, [[[[1]]]]) == want


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64", "uint64"])
def test_numpy_integers_become_python_integers(dtype: str) -> None:
    """Integers of any width stay integers and leave the width behind."""
    info = np.iinfo(dtype)
    x = np.array([[[info.min, info.max]]], dtype)
    for form in (x, [[list(x[0, 0])]]):
        got = definition.conv2d(form, np.array([[[[2]]]], dtype))
        assert got == [[[2 * int(info.min), 2 * int(info.max)]]]
        assert type(got[0][0][1]) is int


def test_bfloat16_is_read_exactly() -> None:
    """A bfloat16 array, whose tolist may give its own scalars, means its elements' values."""
    ml_dtypes = pytest.importorskip("ml_dtypes")
    x = np.array([[[1.5, -0.0078125, INF]]], ml_dtypes.bfloat16)
    assert definition.conv2d(x, [[[[1]]]]) == [[[1.5, -0.0078125, INF]]]


def test_torch_tensors_are_read() -> None:
    """A tensor means its elements' values, in bfloat16 and under autograd too."""
    torch = pytest.importorskip("torch")
    x = torch.tensor([[[1.5, 2.0]]], dtype=torch.bfloat16, requires_grad=True)
    w = torch.tensor([[[[2.0]]]])
    assert definition.conv2d(x, w) == [[[3, 4]]]
    assert definition.conv2d_input(x.shape, w, [[[1, 2]]]) == [[[2, 4]]]


def test_complex_results_are_pairs() -> None:
    """A complex result is a pair of Fractions, a zero without terms and a real bias included."""
    x, w = [[[1 + 2j, 0.5j]]], [[[[3 - 1j]]]]
    # (1 + 2i)(3 - i) = 5 + 5i; 0.5i (3 - i) = 0.5 + 1.5i; plus 1
    assert definition.conv2d(x, w, [1]) == [[[(6, 5), (Fraction(3, 2), Fraction(3, 2))]]]
    # stride 2 reads column 0 alone; (1 + i) conj(3 - i) = 2 + 4i; (1 + i) conj(1 + 2i) = 3 - i
    grads = definition.conv2d_backward([[[1 + 1j]]], x, w, 2)
    assert grads == ([[[(2, 4), (0, 0)]]], [[[[(3, -1)]]]], [(1, 1)])
    assert all(isinstance(part, Fraction) for pair in grads[0][0][0] for part in pair)


def same(got: Any, want: Any) -> bool:
    """Compare numbers, nan equal to nan and zeros by their sign."""
    return repr(float(got)) == repr(float(want))


@pytest.mark.parametrize("a", [INF, -INF, NAN, 2.0, -3.0, 0.0])
@pytest.mark.parametrize("b", [INF, -INF, NAN, 5.0, -7.0, 0.0])
def test_nonfinite_products_and_sums_follow_ieee(a: float, b: float) -> None:
    """Products and sums with inf and nan are those of Python's own floats."""
    ((product_,),) = definition.conv2d([[[a]]], [[[[b]]]])[0]
    assert same(product_, a * b + 0.0)  # an exact zero has no sign
    ((total,),) = definition.conv2d([[[a, b]]], [[[[1, 1]]]])[0]
    assert same(total, a + b)
    ((total,),) = definition.conv2d([[[a]]], [[[[1]]]], [b])[0]
    assert same(total, a + b)


def test_nonfinite_sums_ignore_how_large_finite_terms_are() -> None:
    """Finite terms beyond every float neither overflow nor cancel an infinity."""
    big = 2**2000
    assert definition.conv2d([[[INF, big]]], [[[[1, -big]]]]) == [[[INF]]]
    assert definition.conv2d([[[INF]]], [[[[Fraction(-1, big)]]]]) == [[[-INF]]]


def test_padding_zeros_are_operands_of_output_and_weight_gradient() -> None:
    """An infinite factor over padding gives nan, and only there."""
    y = definition.conv2d([[[1, 2]]], [[[[INF]]]], padding=(0, 1))[0][0]
    assert all(same(got, want) for got, want in zip(y, [NAN, INF, INF, NAN], strict=True))
    x, g = [[[1, 2, 3]]], [[[INF, 1, 1]]]
    # tap 0 meets 0 1 2, tap 1 meets 1 2 3, tap 2 meets 2 3 0
    grad = definition.conv2d_weight(x, (1, 1, 1, 3), g, padding=(0, 1))[0][0][0]
    assert all(same(got, want) for got, want in zip(grad, [NAN, INF, INF], strict=True))


def test_input_gradient_has_only_terms_that_exist() -> None:
    """No zero is invented between strides or at the border to meet an infinity."""
    w = [[[[INF, 1]]]]
    # stride 2, padding 1: 0 [a b c] 0, windows (0 a) (b c); a: tap 1 of the first
    grad = definition.conv2d_input((1, 1, 3), w, [[[2, 3]]], (1, 2), (0, 1))
    assert grad == [[[2, INF, 3]]]
    # stride 3 leaves columns 1 and 2 to no window
    assert definition.conv2d_input((1, 1, 3), [[[[INF]]]], [[[1]]], 3) == [[[INF, 0, 0]]]


def test_complex_nonfinite_takes_the_usual_formula() -> None:
    """(a + bi)(c + di) is (ac - bd) + (ad + bc)i, term by term, over padding too."""
    ((re, im),) = definition.conv2d([[[complex(INF, 1)]]], [[[[2 + 3j]]]])[0][0]
    assert (re, im) == (INF, INF)  # inf*2 - 1*3, inf*3 + 1*2
    ((re, im),) = definition.conv2d([[[complex(INF, 1)]]], [[[[2 + 0j]]]])[0][0]
    assert re == INF
    assert math.isnan(im)  # inf*0
    pad, _, _ = definition.conv2d([[[1j]]], [[[[complex(INF, 1)]]]], padding=(0, 1))[0][0]
    assert all(map(math.isnan, pad))  # 0*inf - 0*1, 0*1 + 0*inf
    g = [[[complex(INF, 1), 0j]]]
    pad = definition.conv2d_weight([[[1j]]], (1, 1, 1, 1), g, (1, 2), (0, 1))[0][0][0][0]
    assert all(map(math.isnan, pad))
    result = definition.conv2d([[[1j]]], [[[[complex(INF, 1)]]]], dtype="complex64")[0][0][0]
    assert math.isnan(result.real)  # 0*inf - 1*1
    assert result.imag == INF  # 0*1 + 1*inf


def rounded(value: Any, dtype: Any) -> Any:
    """Convert one exact value."""
    return definition.conv2d([[[value]]], [[[[1]]]], dtype=dtype)[0][0][0]


E16, EB, E32 = Fraction(1, 2**24), Fraction(1, 2**133), Fraction(1, 2**149)  # least subnormals
EPS = Fraction(1, 2**2000)  # lost by every rounding before the one
MAX16, MAX32 = 65504, 2**128 - 2**104
MAXB, MAX64 = 2**128 - 2**120, 2**1024 - 2**971


@pytest.mark.parametrize(
    ("dtype", "exact", "want"),
    [
        # halfway between 1 and 1 + 2**-7 goes to the even 1; anything more goes up, although
        # float32 and float64 would first round it back to halfway
        ("bfloat16", 1 + Fraction(1, 2**8), 1.0),
        ("bfloat16", 1 + Fraction(1, 2**8) + Fraction(1, 2**40), 1 + 2.0**-7),
        ("bfloat16", 1 + Fraction(1, 2**8) + EPS, 1 + 2.0**-7),
        ("bfloat16", 1 + Fraction(3, 2**8), 1 + 2.0**-6),
        ("bfloat16", 1 + Fraction(3, 2**8) - EPS, 1 + 2.0**-7),
        ("bfloat16", Fraction(1, 3), 171 * 2.0**-9),  # 2**9/3 = 170.67
        ("bfloat16", 257, 256.0),
        ("bfloat16", 259, 260.0),
        ("float16", 1 + Fraction(1, 2**11), 1.0),
        ("float16", 1 + Fraction(1, 2**11) + EPS, 1 + 2.0**-10),
        ("float16", -2049, -2048.0),
        ("float16", -2051, -2052.0),
        ("float32", 2**24 + 1, 2.0**24),
        ("float32", 2**24 + 1 + EPS, 2.0**24 + 2),
        ("float64", 2**53 + 1, 2.0**53),
        ("float64", 2**53 + 1 + EPS, 2.0**53 + 2),
        # subnormals: the tie below the least is zero, and zero keeps the sign of what vanished
        ("float16", E16 / 2, 0.0),
        ("float16", -E16 / 2, -0.0),
        ("float16", E16 / 2 + EPS, float(E16)),
        ("float16", E16 * 5 / 2, float(E16 * 2)),
        ("float16", E16 * 7 / 2, float(E16 * 4)),
        ("float16", E16 * Fraction(2047, 2), 2.0**-14),  # up into the normal numbers
        ("bfloat16", -EB * 3 / 2, float(-EB * 2)),
        ("bfloat16", EB / 2 + EPS, float(EB)),
        ("float32", E32 / 2, 0.0),
        ("float32", E32 / 2 + EPS, float(E32)),
        ("float64", Fraction(1, 2**1075), 0.0),
        ("float64", -Fraction(3, 2**1075), -(2.0**-1073)),
        ("float64", Fraction(5, 2**1076), 2.0**-1074),
        ("float64", -EPS, -0.0),
        ("float64", 0, 0.0),
        # overflow begins at the greatest number plus half of its last place
        ("float16", 65520 - EPS, 65504.0),
        ("float16", 65520, INF),
        ("float16", -65520, -INF),
        ("float32", MAX32 + 2**103 - EPS, float(MAX32)),
        ("float32", MAX32 + 2**103, INF),
        ("bfloat16", MAXB + 2**119 - EPS, float(MAXB)),
        ("bfloat16", MAXB + 2**119, INF),
        ("float64", MAX64 + 2**970 - EPS, sys.float_info.max),
        ("float64", -(MAX64 + 2**970), -INF),
        ("float64", 2**5000, INF),
        ("float16", -INF, -INF),
        ("float32", NAN, NAN),
    ],
)
def test_rounding_goes_once_to_nearest_even(dtype: str, exact: Any, want: float) -> None:
    """The exact value is rounded once: ties to even, subnormals, IEEE's overflow, signed zeros."""
    got = rounded(exact, dtype)
    assert type(got) is float
    assert same(got, want)


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_rounding_agrees_with_numpy_casts(dtype: str) -> None:
    """Every float64, near halves, subnormals and overflow above all, rounds as NumPy casts it."""
    info = np.finfo(dtype)
    rng = np.random.default_rng(4)
    exponents = np.arange(info.minexp - info.nmant - 3, info.maxexp + 2)
    grid = np.ldexp(rng.integers(2**info.nmant, 2 ** (info.nmant + 1), len(exponents)) + 0.0, 0)
    ties = np.ldexp(grid + 0.5, exponents - info.nmant)
    values = np.concatenate([ties, np.nextafter(ties, 0), np.nextafter(ties, INF), -ties])
    values = np.append(values, rng.normal(size=300) * 2.0 ** rng.integers(-20, 20, 300))
    with np.errstate(over="ignore", under="ignore"):
        want = values.astype(dtype).astype(np.float64)
    got = definition.conv2d([[values.tolist()]], [[[[1]]]], dtype=dtype)[0][0]
    assert [repr(v) for v in got] == [repr(v) for v in want.tolist()]


@given(st.fractions(max_denominator=2**70), st.integers(-1100, 1100))
def test_rounding_to_float64_agrees_with_python(value: Fraction, exponent: int) -> None:
    """Python's own correctly rounded division of integers gives the same float64."""
    exact = value * Fraction(2) ** exponent
    try:
        want = exact.numerator / exact.denominator
    except OverflowError:
        want = INF if exact > 0 else -INF
    assert same(rounded(exact, "float64"), want)


@pytest.mark.parametrize(
    ("dtype", "exact", "want"),
    [
        ("int8", 127, 127),
        ("int8", 128, -128),
        ("int8", -129, 127),
        ("uint8", 256, 0),
        ("uint8", -1, 255),
        ("int16", 2**15, -(2**15)),
        ("uint16", -(2**15), 2**15),
        ("int32", 2**31, -(2**31)),
        ("uint32", 2**32 + 5, 5),
        ("int64", 2**63, -(2**63)),
        ("int64", -(2**63), -(2**63)),
        ("uint64", 2**64 - 1, 2**64 - 1),
        ("uint64", 2**200 + 3, 3),
    ],
)
def test_integers_wrap(dtype: str, exact: int, want: int) -> None:
    """An integer result is the exact one modulo 2**bits."""
    assert rounded(exact, dtype) == want


def test_dtype_is_named_in_every_usual_way() -> None:
    """A name, a NumPy dtype of any byte order and a scalar type mean the same format."""
    value = Fraction(1, 3)
    for dtype in ("float32", np.float32, np.dtype("float32"), np.dtype(">f4")):
        assert rounded(value, dtype) == float(np.float32(1 / 3))
    third = float(np.float32(1 / 3))
    assert rounded(complex(1 / 3, -1 / 3), "complex64") == complex(third, -third)
    assert rounded(value, "complex64") == complex(third, 0)
    assert rounded(2**24 + 1, "complex64") == 2**24
    assert rounded(2**24 + 1, "complex128") == 2**24 + 1
    assert type(rounded(2, np.complex128)) is complex
    assert rounded(INF, "complex64") == complex(INF, 0)


def test_every_operation_converts_its_result() -> None:
    """The dtype reaches the output and each gradient, zeros without terms included."""
    x, w, g = [[[100, 3]]], [[[[5]]]], [[[200]]]
    how = {"stride": 2, "dtype": "int8"}
    assert definition.conv2d(x, w, **how) == [[[-12]]]  # 500 - 512
    # 200*5 = 1000 - 1024; 200*100 = 20000 - 78*256 = 32; 200 - 256
    grads = ([[[-24, 0]]], [[[[32]]]], [-56])
    assert definition.conv2d_backward(g, x, w, **how) == grads
    assert definition.conv2d_input((1, 1, 2), w, g, **how) == grads[0]
    assert definition.conv2d_weight(x, (1, 1, 1, 1), g, **how) == grads[1]
    assert definition.conv2d_bias(g, dtype="int8") == grads[2]
    assert type(definition.conv2d_input((1, 1, 2), w, g, 2, dtype="float16")[0][0][1]) is float


def test_output_mask_chooses_gradients() -> None:
    """Each of the eight masks leaves None exactly where it is False."""
    x, w, g = draw(np.random.default_rng(5), (1, 2, 3, 4), (2, 1, 2, 2), (1, 2, 2, 3))
    every = definition.conv2d_backward(g, x, w, groups=2)
    for mask in product((True, False), repeat=3):
        want = tuple(grad if wanted else None for grad, wanted in zip(every, mask, strict=True))
        assert definition.conv2d_backward(g, x, w, groups=2, output_mask=list(mask)) == want


def test_empty_batch_gives_empty_output_and_zero_gradients() -> None:
    """With no image the output is empty, and weight and bias have gradients of zeros."""
    x, w, g = np.zeros((0, 2, 4, 5)), np.ones((3, 2, 2, 2)), np.zeros((0, 3, 3, 4))
    assert definition.conv2d(x, w) == []
    zeros = (np.zeros(w.shape).tolist(), [0, 0, 0])
    assert definition.conv2d_backward(g, x, w) == ([], *zeros)
    assert definition.conv2d_backward([], x, w)[1] == zeros[0]  # sizes follow from the rest


def test_no_input_channels_give_the_bias() -> None:
    """A sum over no channels is zero, so that the bias alone remains."""
    x, w = np.zeros((2, 0, 2, 3)), np.zeros((2, 0, 1, 2))
    want = [[[[7, 7], [7, 7]], [[9, 9], [9, 9]]]] * 2
    assert definition.conv2d(x, w, [7, 9]) == want
    assert definition.conv2d(np.zeros((0, 2, 3)), w, [7, 9], groups=2) == want[0]
    g = np.ones((2, 2, 2, 2))
    assert definition.conv2d_backward(g, x, w) == ([[], []], [[], []], [8, 8])


def test_empty_arrays_keep_their_kind() -> None:
    """A gradient of no terms is an integer, a Fraction or a pair, as the arrays' dtype says."""
    for dtype, zero in [("int8", 0), ("float16", Fraction(0)), ("complex64", (0, 0))]:
        x, g = np.zeros((0, 1, 1, 1), dtype), np.zeros((0, 1, 1, 1), dtype)
        ((((got,),),),) = definition.conv2d_weight(x, (1, 1, 1, 1), g)
        assert (got, type(got)) == (zero, type(zero))
        (got,) = definition.conv2d_bias(g)
        assert (got, type(got)) == (zero, type(zero))
    with pytest.raises(TypeError, match="cannot hold real results"):
        definition.conv2d(np.zeros((0, 1, 1, 1)), np.ones((1, 1, 1, 1), int), dtype="int8")


X, W = np.ones((2, 4, 5, 6)), np.ones((6, 2, 2, 3))  # with groups=2
SHAPES = "[input (2, 4, 5, 6), weight (6, 2, 2, 3)]"
EMPTY = "only the batch and the input channels may be empty"
PADDINGS = "'valid', 'same', 'same_upper' or 'same_lower'"


@pytest.mark.parametrize(
    ("changed", "error", "line"),
    [
        ({"stride": 0}, ValueError, "stride=0 must be at least 1"),
        ({"stride": (1, 0)}, ValueError, "stride=(1, 0) must be at least 1"),
        ({"stride": (1, 2, 3)}, ValueError, "stride=(1, 2, 3) must have 1 or 2 entries"),
        ({"stride": []}, ValueError, "stride=[] must have 1 or 2 entries"),
        ({"stride": True}, TypeError, "stride=True must be made of ints"),
        ({"stride": np.True_}, TypeError, "stride=True must be made of ints"),
        ({"stride": (1, True)}, TypeError, "stride=(1, True) must be made of ints"),
        ({"stride": 1.0}, TypeError, "stride=1.0 must be made of ints"),
        ({"stride": "same"}, TypeError, "stride='same' must be made of ints"),
        ({"stride": b"\1"}, TypeError, "stride=b'\\x01' must be made of ints"),
        ({"stride": None}, TypeError, "stride=None must be made of ints"),
        ({"dilation": -1}, ValueError, "dilation=-1 must be at least 1"),
        ({"dilation": 1.5}, TypeError, "dilation=1.5 must be made of ints"),
        ({"groups": 0}, ValueError, "groups=0 must be at least 1"),
        ({"groups": (2,)}, TypeError, "groups=(2,) must be an int"),
        ({"groups": True}, TypeError, "groups=True must be an int"),
        ({"groups": 4}, ValueError, f"groups=4 must divide out_channels=6 {SHAPES}"),
        (
            {"groups": 3},
            ValueError,
            f"groups=3 times weight channels=2 must be in_channels=4 {SHAPES}",
        ),
        ({"padding": -1}, ValueError, "padding=-1 must be at least 0"),
        ({"padding": (0, -1)}, ValueError, "padding=(0, -1) must be at least 0"),
        ({"padding": False}, TypeError, "padding=False must be made of ints"),
        ({"padding": "full"}, ValueError, f"padding='full' must be {PADDINGS}"),
        (
            {"padding": "same", "stride": (1, 2)},
            ValueError,
            "padding='same' needs stride=1, not (1, 2)",
        ),
        (
            {"padding": ((1, 1),)},
            ValueError,
            "padding=((1, 1),) must be ((top, bottom), (left, right))",
        ),
        (
            {"padding": ((1, 1), 2)},
            ValueError,
            "padding=((1, 1), 2) must be ((top, bottom), (left, right))",
        ),
        ({"padding": ((1, 1), (2, 0.5))}, TypeError, "padding=(2, 0.5) must be made of ints"),
        (
            {"padding": 2**62},
            ValueError,
            f"padding={2**62} makes an extent overflow 64 bits",
        ),
        (
            {"padding": ((2**63 - 5, 0), (0, 0))},
            ValueError,
            f"padding={((2**63 - 5, 0), (0, 0))} makes an extent overflow 64 bits",
        ),
        (
            {"padding": ((-2, -2), (0, 0))},
            ValueError,
            f"kernel spans [2, 3], more than the padded input's [1, 6] {SHAPES}",
        ),
        (
            {"padding": ((0, 0), (0, -4))},
            ValueError,
            f"kernel spans [2, 3], more than the padded input's [5, 2] {SHAPES}",
        ),
        (
            {"dilation": (6, 1), "padding": (0, 1)},
            ValueError,
            f"kernel spans [7, 3], more than the padded input's [5, 8] {SHAPES}",
        ),
        ({"input": X[0, 0]}, ValueError, "input.shape=(5, 6) must have 3 or 4 axes"),
        ({"input": 5}, ValueError, "input.shape=() must have 3 or 4 axes"),
        ({"input": [[], []]}, ValueError, "input.shape=(2, 0) must have 3 or 4 axes"),
        ({"input": None}, TypeError, "input: element None is not a number"),
        ({"input": X > 0}, TypeError, "input: element True is not a number"),
        ({"input": [[["a"]]]}, TypeError, "input: element 'a' is not a number"),
        ({"input": [[[1, 2], [3]]]}, ValueError, "input: nested lists are ragged"),
        ({"input": [[[1, 2], [3, [4]]]]}, ValueError, "input: nested lists are ragged"),
        ({"input": [[[1, 2], 3]]}, ValueError, "input: nested lists are ragged"),
        ({"weight": W[0]}, ValueError, "weight.shape=(2, 2, 3) must have 4 axes"),
        (
            {"input": X[:, :, :0]},
            ValueError,
            f"{EMPTY} [input (2, 4, 0, 6), weight (6, 2, 2, 3)]",
        ),
        (
            {"weight": W[:0]},
            ValueError,
            f"{EMPTY} [input (2, 4, 5, 6), weight (0, 2, 2, 3)]",
        ),
        (
            {"weight": W[..., :0]},
            ValueError,
            f"{EMPTY} [input (2, 4, 5, 6), weight (6, 2, 2, 0)]",
        ),
        ({"bias": [1, 2]}, ValueError, "bias.shape=(2,) must be (6,)"),
        ({"bias": 1}, ValueError, "bias.shape=() must have 1 axes"),
        ({"dtype": "float8"}, ValueError, "dtype='float8' must name a known number format"),
        ({"dtype": ""}, ValueError, "dtype='' must name a known number format"),
        ({"dtype": bool}, ValueError, "dtype='bool' must name a known number format"),
        ({"dtype": 32}, TypeError, "dtype=32 must be a name or a NumPy dtype"),
        ({"dtype": "int64"}, TypeError, "dtype='int64' cannot hold real results"),
        (
            {"dtype": "float64", "bias": [1j] * 6},
            TypeError,
            "dtype='float64' cannot hold complex results",
        ),
    ],
    # Numbered: what a value looks like depends on NumPy's version.
    ids=map(str, itertools.count()),
)
def test_illegal_arguments_raise_one_line(
    changed: dict[str, Any], error: type[Exception], line: str
) -> None:
    """A bad value raises ValueError and a bad type TypeError, in one line that names it."""
    with pytest.raises(error) as caught:
        definition.conv2d(**{"input": X, "weight": W, "groups": 2, **changed})
    assert type(caught.value) is error
    assert str(caught.value) == f"definition.conv2d: {line}"


G = np.ones((2, 6, 4, 4))


@pytest.mark.parametrize(
    ("name", "args", "keywords", "line"),
    [
        (
            "conv2d_input",
            (X.shape, W, G[..., 1:]),
            {},
            "grad_output.shape=(2, 6, 4, 3) must be (2, 6, 4, 4)",
        ),
        (
            "conv2d_input",
            (X.shape[1:], W, G),
            {},
            "grad_output.shape=(2, 6, 4, 4) must be (6, 4, 4)",
        ),
        ("conv2d_input", (X.shape[2:], W, G), {}, "input_size=(5, 6) must have 3 or 4 entries"),
        ("conv2d_input", (5, W, G), {}, "input_size=5 must have 3 or 4 entries"),
        ("conv2d_input", ((4, -5, 6), W, G), {}, "input_size=(4, -5, 6) must be at least 0"),
        ("conv2d_input", (X.shape, W[0], G), {}, "weight.shape=(2, 2, 3) must have 4 axes"),
        ("conv2d_weight", (X, (2, 2, 3), G), {}, "weight_size=(2, 2, 3) must have 4 entries"),
        ("conv2d_weight", (X[0, 0], W.shape, G), {}, "input.shape=(5, 6) must have 3 or 4 axes"),
        (
            "conv2d_weight",
            (X, W.shape, G[:1]),
            {},
            "grad_output.shape=(1, 6, 4, 4) must be (2, 6, 4, 4)",
        ),
        ("conv2d_weight", (X, W.shape, []), {}, "grad_output.shape=(0,) must have 3 or 4 axes"),
        (
            "conv2d_backward",
            (G[:, 1:], X, W),
            {},
            "grad_output.shape=(2, 5, 4, 4) must be (2, 6, 4, 4)",
        ),
        ("conv2d_backward", (G, X, W), {"stride": 0}, "stride=0 must be at least 1"),
        (
            "conv2d_backward",
            (G, X, W),
            {"output_mask": (True, True)},
            "output_mask=(True, True) must be 3 bools",
        ),
    ],
)
def test_illegal_gradient_values_raise_one_line(
    name: str, args: tuple[Any, ...], keywords: dict[str, Any], line: str
) -> None:
    """Each gradient names itself and holds what it is given against the output's shape."""
    with pytest.raises(ValueError, match=re.escape(f"definition.{name}: {line}") + "$"):
        getattr(definition, name)(*args, **{"groups": 2, **keywords})


@pytest.mark.parametrize(
    ("name", "args", "keywords", "line"),
    [
        ("conv2d_input", ((4, 5.0, 6), W, G), {}, "input_size=(4, 5.0, 6) must be made of ints"),
        (
            "conv2d_weight",
            (X, W.shape, G),
            {"dtype": "int8"},
            "dtype='int8' cannot hold real results",
        ),
        ("conv2d_backward", (G, X, W), {"output_mask": True}, "output_mask=True must be 3 bools"),
        (
            "conv2d_backward",
            (G, X, W),
            {"output_mask": (True, 1, False)},
            "output_mask=(True, 1, False) must be 3 bools",
        ),
    ],
)
def test_illegal_gradient_types_raise_one_line(
    name: str, args: tuple[Any, ...], keywords: dict[str, Any], line: str
) -> None:
    """Each gradient names itself and refuses what is no int, no bool or no fitting dtype."""
    with pytest.raises(TypeError, match=re.escape(f"definition.{name}: {line}") + "$"):
        getattr(definition, name)(*args, **{"groups": 2, **keywords})


def test_illegal_bias_gradient_arguments_raise_one_line() -> None:
    """The bias gradient takes three or four axes of numbers, empty along the batch only."""
    for error, grad, line in [
        (ValueError, G[0, 0], "grad_output.shape=(4, 4) must have 3 or 4 axes"),
        (ValueError, [], "grad_output.shape=(0,) must have 3 or 4 axes"),
        (
            ValueError,
            G[:, :, :0],
            "grad_output.shape=(2, 6, 0, 4) may be empty along the batch only",
        ),
        (TypeError, [True], "grad_output: element True is not a number"),
    ]:
        with pytest.raises(error, match=re.escape(f"definition.conv2d_bias: {line}") + "$"):
            definition.conv2d_bias(grad)


def test_arguments_are_not_written_to() -> None:
    """Nested lists that are passed in stay as they were."""
    x, w, b, g = [[[1, 2.5]]], [[[[2]]]], [1], [[[3, 4]]]
    definition.conv2d(x, w, b)
    definition.conv2d_backward(g, x, w)
    assert (x, w, b, g) == ([[[1, 2.5]]], [[[[2]]]], [1], [[[3, 4]]])


def test_module_imports_only_the_standard_library() -> None:
    """The second witness shares no code with the package, and none with an array library."""
    imported = set()
    for node in ast.walk(ast.parse(inspect.getsource(definition))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    assert imported
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names


def test_public_names_are_complete_and_documented() -> None:
    """__all__ is sorted, names every public function, and each has an example that runs."""
    public = [
        name
        for name, value in vars(definition).items()
        if inspect.isfunction(value)
        and value.__module__ == definition.__name__
        and not name.startswith("_")
    ]
    assert definition.__all__ == sorted(public)
    examples = {
        t.name.partition("definition.")[2]: t for t in doctest.DocTestFinder().find(definition)
    }
    runner = doctest.DocTestRunner()
    for name in public:
        assert examples[name].examples
        assert runner.run(examples[name]).failed == 0
