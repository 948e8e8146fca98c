"""Correct rounding: equality with the definition to the bit, on data made to be hard to round."""

import itertools
import math
import sys
import tracemalloc
from fractions import Fraction
from importlib.util import find_spec
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npconv
from conformance import exact_data
from conformance.exact_proof import SETTINGS, sizes
from npconv import definition, exact, rounding, splitting

Array = np.ndarray[Any, np.dtype[Any]]

DTYPES = tuple(d for d in exact_data.DTYPES if d != "bfloat16" or find_spec("ml_dtypes"))
REALS = tuple(d for d in DTYPES if d in exact_data.FORMATS)


def check(case: exact_data.Case, dtype: str, result: str) -> None:
    """Compare all four operations with the definition."""
    got = exact_data.results(exact, case, dtype=result)
    want = exact_data.results(definition, case, dtype=result)
    for name, values in got.items():
        assert values.dtype == exact_data.dtype_of(result)
        expected = exact_data.bits(want[name], result)
        np.testing.assert_array_equal(exact_data.bits(values, result), expected, f"{dtype} {name}")


def dot(x: list[float], w: list[float], bias: float = 0.0, dtype: str = "float64") -> float:
    """One inner product plus bias, correctly rounded."""
    kind = exact_data.dtype_of(dtype)
    arrays = (np.array(v, kind) for v in (x, w))
    images, kernels = (v.reshape(1, -1, 1, 1) for v in arrays)
    return float(exact.conv2d(images, kernels, np.array([bias], kind))[0, 0, 0, 0])


@pytest.mark.parametrize(("dtype", "kind"), list(itertools.product(DTYPES, exact_data.KINDS)))
def test_exact_equals_definition(dtype: str, kind: str) -> None:
    """Every kind of data gives the definition's bits in every operation."""
    for number, changes in enumerate(SETTINGS):
        with sizes(changes):
            check(exact_data.case(7919 + number, dtype, kind, 3), dtype, dtype)


@given(
    key=st.integers(0, 2**64 - 1),
    dtype=st.sampled_from(DTYPES),
    kind=st.sampled_from(tuple(exact_data.KINDS)),
    size=st.integers(0, 4),
    changes=st.sampled_from(SETTINGS),
)
def test_exact_equals_definition_anywhere(
    key: int, dtype: str, kind: str, size: int, changes: dict[str, float]
) -> None:
    """Any geometry, kind of data, dtype and working size gives the definition's bits."""
    with sizes(changes):
        check(exact_data.case(key, dtype, kind, size), dtype, dtype)


@given(data=st.data(), dtype=st.sampled_from(("float16", "float32", "float64")))
def test_exact_rounds_any_sum(data: st.DataObject, dtype: str) -> None:
    """A sum of any products is the Fraction rounded once."""
    width = np.dtype(dtype).itemsize * 8
    number = st.floats(width=width, allow_nan=False, allow_infinity=False)
    terms = data.draw(st.lists(st.tuples(number, number), min_size=1, max_size=6))
    bias = data.draw(number)
    x, w = ([pair[i] for pair in terms] for i in (0, 1))
    total = sum((Fraction(a) * Fraction(b) for a, b in terms), Fraction(bias))
    expected = definition._round(total, *definition._FLOATS[dtype])
    got = dot(x, w, bias, dtype)
    assert (got, math.copysign(1, got)) == (expected, math.copysign(1, expected))


@pytest.mark.parametrize("dtype", REALS)
def test_exact_breaks_ties_to_even(dtype: str) -> None:
    """A tie goes to the even neighbour, and anything beyond it, however small, decides."""
    last = 2.0 ** (1 - exact_data.FORMATS[dtype][0])
    least = math.ldexp(1.0, exact_data.FORMATS[dtype][1])
    assert dot([1, last], [1, 0.5], dtype=dtype) == 1
    assert dot([1 + last, last], [1, 0.5], dtype=dtype) == 1 + 2 * last
    assert dot([1, last, least], [1, 0.5, least], dtype=dtype) == 1 + last
    assert dot([1, last, -least], [1, 0.5, least], dtype=dtype) == 1
    assert dot([1 + last, last, -least], [1, 0.5, least], dtype=dtype) == 1 + last
    assert dot([-1, last, -least], [1, -0.5, least], dtype=dtype) == -1 - last


@pytest.mark.parametrize("dtype", REALS)
def test_exact_at_the_ends_of_a_format(dtype: str) -> None:
    """Overflow starts half a last bit above the greatest number, underflow at half the least."""
    bits, low, high = exact_data.FORMATS[dtype]
    top = math.ldexp(2 - 2.0 ** (1 - bits), high)
    half_last = math.ldexp(1.0, high - bits)
    least = math.ldexp(1.0, low - bits + 1)
    assert dot([top, half_last], [1, 1], dtype=dtype) == math.inf
    assert dot([top, half_last, least], [1, 1, -1], dtype=dtype) == top
    assert dot([top, top, -top, 1], [1, 1, 1, 1], dtype=dtype) == top
    assert dot([-top, -half_last], [1, 1], dtype=dtype) == -math.inf
    assert dot([least], [0.5], dtype=dtype) == 0
    assert dot([least, least], [0.5, least], dtype=dtype) == least
    assert dot([3 * least], [0.5], dtype=dtype) == 2 * least


@pytest.mark.parametrize("dtype", REALS)
def test_exact_signs_of_zero(dtype: str) -> None:
    """An exact zero is +0; a number that underflows keeps its sign."""
    least = math.ldexp(1.0, exact_data.FORMATS[dtype][1])
    for x, w, bias in (([-0.0], [1.0], -0.0), ([1.0, -1.0], [1.0, 1.0], 0.0), ([0.0], [-1.0], 0.0)):
        assert math.copysign(1, dot(x, w, bias, dtype)) == 1
    assert math.copysign(1, dot([-least], [least], 0.0, dtype)) == -1
    assert math.copysign(1, dot([-least, least, least], [least, least, least], 0, dtype)) == 1
    assert math.copysign(1, dot([least, -least], [least, 2 * least], 0.0, dtype)) == -1


def test_exact_sums_any_exponents() -> None:
    """What cancels at 1e300 squared leaves what is at 1e-300 squared, and all between."""
    assert dot([1e300, 1e-300, -1e300, 3.0], [1e300, 1e-300, 1e300, 5.0]) == 15
    assert dot([1e300, 1e-150, -1e300], [1e300, 1e-150, 1e300]) == 1e-150 * 1e-150
    assert dot([1e300, -1e300, 1.0], [1e300, 1e300, 0.0]) == 0
    assert dot([1e300, 1e300], [1e300, -1e300], 7.0) == 7


def test_exact_counts_bits_before_trusting_a_sum() -> None:
    """Integers one step beyond 2**53 are not taken for exact."""
    assert dot([2.0**53, 1], [1, 1], 1.0) == 2.0**53 + 2
    assert dot([2.0**27, 1], [2.0**26, 1], 1.0) == 2.0**53 + 2


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("float64", "float32"),
        ("float64", "float16"),
        ("float32", "float64"),
        ("float32", "complex64"),
        ("complex128", "complex64"),
        ("int64", "float64"),
        ("int64", "float32"),
        ("uint8", "int16"),
        *([("float64", "bfloat16")] if find_spec("ml_dtypes") else []),
    ],
)
def test_exact_rounds_to_other_dtypes(dtype: str, result: str) -> None:
    """dtype= rounds the exact value once to the dtype asked for."""
    for kind in ("normal", "integers", "long_integers", "ties", "mixed", "subnormal", "special"):
        if dtype in exact_data.DTYPES or kind in ("integers", "long_integers"):
            check(exact_data.case(104729, dtype, kind, 3), dtype, result)


@pytest.mark.parametrize("dtype", exact_data.INTEGERS)
def test_exact_integers_are_those_of_conv2d(dtype: str) -> None:
    """Integers wrap, as in conv2d."""
    case = exact_data.case(31, dtype, "long_integers", 4)
    for ours, theirs in zip(
        exact_data.results(exact, case).values(),
        exact_data.results(npconv, case).values(),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_ignores_order(dtype: str) -> None:
    """Channels in another order give the same bits, where a plain sum gives others."""
    draw = exact_data.Draw(5)
    x = exact_data.array(draw, (1, 300, 6, 7), dtype, "normal")
    w = exact_data.array(draw, (4, 300, 2, 3), dtype, "normal")
    order = np.argsort(draw.below(2**31, (300,)))
    np.testing.assert_array_equal(exact.conv2d(x[:, order], w[:, order]), exact.conv2d(x, w))
    if dtype == "float64":
        assert (npconv.conv2d(x[:, order], w[:, order]) != npconv.conv2d(x, w)).any()


@pytest.mark.parametrize("dtype", DTYPES)
def test_exact_nan_is_canonical(dtype: str) -> None:
    """Every NaN is the quiet one without sign and payload, wherever it comes from."""
    kind = exact_data.dtype_of(dtype)
    ones = np.ones((1, 1, 2, 2), kind)
    for number in (-np.nan, np.inf):
        x = ones.copy()
        x[0, 0, 0, 1] = number
        got = exact.conv2d(x, np.array([[[[1, 0]]]], kind))
        words = exact_data.bits(got.real.copy() if got.dtype.kind == "c" else got, PART[dtype])
        quiet = np.full(1, np.nan, exact_data.dtype_of(PART[dtype]))
        assert words[0] == exact_data.bits(quiet, PART[dtype])[0]


PART = {dtype: exact_data.PARTS.get(dtype, dtype) for dtype in DTYPES}


def test_exact_zeros_of_padding() -> None:
    """Zeros of padding meet an infinite weight; in the input gradient there are none."""
    x, w = np.ones((1, 1, 2, 2)), np.array([[[[np.inf, 1.0]]]])
    got = exact.conv2d(x, w, padding=(0, 1))
    np.testing.assert_array_equal(got[0, 0, 0], [np.nan, np.inf, np.inf])
    grad = exact.conv2d_input((1, 1, 2, 3), w, np.ones((1, 1, 2, 1)), stride=(1, 2))
    np.testing.assert_array_equal(grad[0, 0, 0], [np.inf, 1, 0])
    bars = exact.conv2d_weight(x, (1, 1, 1, 2), np.full((1, 1, 2, 3), np.inf), padding=(0, 1))
    np.testing.assert_array_equal(bars[0, 0, 0], [np.nan, np.nan])


def test_exact_takes_views_and_lists() -> None:
    """Strided, reversed, broadcast, read-only and byte-swapped arrays give what copies give."""
    rng = np.random.default_rng(3)
    x, w = rng.standard_normal((2, 4, 9, 8)), rng.standard_normal((4, 2, 3, 2))
    views = x[:, ::-1, ::2], w[..., ::-1, :]
    want = exact.conv2d(*(v.copy() for v in views), groups=2)
    got = exact.conv2d(*(v.astype(">f8") for v in views), groups=2)
    assert got.dtype == np.dtype("=f8")
    np.testing.assert_array_equal(got, want)
    for view in views:
        view.flags.writeable = False
    np.testing.assert_array_equal(exact.conv2d(*views, groups=2), want)
    wide = np.broadcast_to(x[:1, :, :, :1], x.shape)
    np.testing.assert_array_equal(
        exact.conv2d(wide, w, groups=2), exact.conv2d(wide.copy(), w, groups=2)
    )
    assert exact.conv2d([[[1.5, 2.5]]], [[[[2.0]]]]).tolist() == [[[3.0, 5.0]]]
    result = exact.conv2d(x, w, groups=2)
    assert result.base is None
    assert result.flags.writeable


def test_exact_empty_axes() -> None:
    """No images, or no channels: bias alone in the output, zeros in the gradients."""
    w = np.ones((2, 3, 2, 2), np.float32)
    assert exact.conv2d(np.ones((0, 3, 4, 4), np.float32), w).shape == (0, 2, 3, 3)
    empty = exact.conv2d_backward(
        np.ones((0, 2, 3, 3), np.float32), np.ones((0, 3, 4, 4), np.float32), w
    )
    assert [None if g is None else (g.shape, float(g.sum())) for g in empty] == [
        ((0, 3, 4, 4), 0),
        ((2, 3, 2, 2), 0),
        ((2,), 0),
    ]
    none = exact.conv2d(np.ones((1, 0, 2, 2)), np.ones((2, 0, 1, 1)), [0.5, -0.0])
    assert none[0, :, 0, 0].tolist() == [0.5, 0]
    assert not np.signbit(none).any()


def test_exact_backward_is_its_parts() -> None:
    """conv2d_backward returns what the three calls return, and None for what is not wanted."""
    case = exact_data.case(17, "float32", "moderate", 4)
    x, w, g = case.input, case.weight, case.grad_output
    parts = (
        exact.conv2d_input(x.shape, w, g, **case.parameters),
        exact.conv2d_weight(x, w.shape, g, **case.parameters),
        exact.conv2d_bias(g),
    )
    for wanted in itertools.product((True, False), repeat=3):
        got = exact.conv2d_backward(g, x, w, **case.parameters, output_mask=wanted)
        for part, want, mask in zip(got, parts, wanted, strict=True):
            assert (part is None) != mask
            if part is not None:
                np.testing.assert_array_equal(part, want)


def test_exact_names_itself_in_errors() -> None:
    """A message starts with the call that was made."""
    with pytest.raises(ValueError, match=r"^exact\.conv2d: groups=3 must divide in_channels=4"):
        exact.conv2d(np.ones((1, 4, 5, 5)), np.ones((6, 1, 3, 3)), groups=3)
    with pytest.raises(TypeError, match=r"^exact\.conv2d_backward: output_mask=1 must be 3 bools"):
        exact.conv2d_backward(np.ones(1), np.ones(1), np.ones(1), output_mask=1)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^exact\.conv2d_bias: "):
        exact.conv2d_bias(np.ones((1, 2, 3, 4), bool))


def test_exact_exports() -> None:
    """The public names are those of npconv's own calls."""
    assert sorted(exact.__all__) == exact.__all__
    assert all(callable(getattr(npconv, name)) for name in exact.__all__)


@given(key=st.integers(0, 2**64 - 1), kind=st.sampled_from(("normal", "ties", "moderate", "mixed")))
def test_radius_holds_the_exact_value(key: int, kind: str) -> None:
    """Both kinds of sums are within their radius, whose order of summation is BLAS's own."""
    draw = exact_data.Draw(key)
    bias = exact_data.array(draw, (1, 2, 1), "float64", kind)
    pieces = [
        splitting.Piece(
            splitting.Vectors(exact_data.array(draw, (1, 2, length), "float64", kind)),
            splitting.Vectors(exact_data.array(draw, (1, 3, length), "float64", kind)),
        )
        for length in (5, 1)
    ]
    with np.errstate(all="ignore"):
        sums, plain = splitting.plain((1, 2, 3), pieces, bias, 0.0, wide=True)
        high, low, radius = splitting.split((1, 2, 3), pieces, bias)
    for row, column in itertools.product(range(2), range(3)):
        value = Fraction(float(bias[0, row, 0]))
        for piece in pieces:
            a, b = piece.left.values[0, row], piece.right.values[0, column]
            value += sum(
                Fraction(x) * Fraction(y) for x, y in zip(a.tolist(), b.tolist(), strict=True)
            )
        where = 0, row, column
        if math.isfinite(plain[where]):
            assert abs(Fraction(float(sums[where])) - value) <= Fraction(float(plain[where]))
        if math.isfinite(radius[where]):
            total = Fraction(float(high[where])) + Fraction(float(low[where]))
            assert abs(total - value) <= Fraction(float(radius[where]))


def test_radius_holds_what_the_second_sum_loses() -> None:
    """108 bits, all in exact slices, do not fit two float64, and the radius says so."""
    numbers = (
        ([1.0, 2.0**-30], [1.0, 2.0**-23]),
        ([2.0**-20, 2.0**-60], [0.0, 2.0**-10 + 2.0**-47]),
    )
    pieces = [
        splitting.Piece(*(splitting.Vectors(np.array([[v]])) for v in vectors))
        for vectors in numbers
    ]
    high, low, radius = splitting.split((1, 1, 1), pieces, np.zeros((1, 1, 1)))
    value = 1 + Fraction(1, 2**53) + Fraction(1, 2**70) + Fraction(1, 2**107)
    error = abs(Fraction(high.item()) + Fraction(low.item()) - value)
    assert 0 < error <= Fraction(radius.item()) < Fraction(1, 2**100)


def test_stages_serve_what_they_are_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Integers need one matrix product, float64 its slices, and only hard sums go one by one."""
    calls: list[str] = []
    for name in ("plain", "split", "exact"):
        stage = getattr(splitting, name)

        def counted(*args: Any, stage: Any = stage, name: str = name, **options: Any) -> Any:
            calls.append(name)
            return stage(*args, **options)

        monkeypatch.setattr(rounding.splitting, name, counted)
    draw = exact_data.Draw(1)
    for dtype, kind, stages in (
        ("float64", "integers", ["plain"]),
        ("float32", "integers", ["plain"]),
        ("float32", "normal", ["plain"]),
        ("float64", "normal", ["split"]),
        ("float32", "odd_neighbours", ["plain"]),
        ("float64", "mixed", ["split", "exact"]),
    ):
        calls.clear()
        x = exact_data.array(draw, (1, 3, 5, 6), dtype, kind)
        w = exact_data.array(draw, (2, 3, 2, 2), dtype, kind)
        exact.conv2d(x, w)
        assert calls == stages, (dtype, kind)


@pytest.mark.skipif(sys.gettrace() is not None, reason="a tracer's own memory would be counted")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_exact_works_in_bounded_memory(dtype: str) -> None:
    """Beside arguments and results at most 64 MiB are in use, for images of 32 MiB."""
    rng = np.random.default_rng(2)
    x = rng.standard_normal((1, 64, 128, 256)).astype(dtype)
    w = rng.standard_normal((4, 64, 3, 3)).astype(dtype)
    for call in (
        lambda: exact.conv2d(x, w, stride=2),
        lambda: exact.conv2d_weight(x, w.shape, x[:, :4, :126, :254]),
    ):
        tracemalloc.start()
        result = call()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak - result.nbytes < 2**26
