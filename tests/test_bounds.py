"""The bounds hold for sums in any order, are reached by the worst, and have every term."""

import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import npconv
from npconv import bounds
from tests.strategies_for_tests import Array, Case, cases

ROUNDED = ("tf32", "bfloat16", "float16")


def call(op: str, case: Case, arrays: tuple[Any, ...]) -> bounds.Call:
    """The call of one operation on a case's (input, weight, bias, grad_output)."""
    x, w, b, g = arrays
    given = {
        "forward": (x, w) if b is None else (x, w, b),
        "grad_input": (x.shape, w, g),
        "grad_weight": (x, w.shape, g),
        "grad_bias": (g,),
    }[op]
    return bounds.arguments(op, given, *case.parameters.values())


def term_by_term(products: Array, dtype: Any) -> Array:
    """Sum (..., n) over the last axis in `dtype`, one after the other."""
    total = products[..., 0].astype(dtype)
    for i in range(1, products.shape[-1]):
        total = total + products[..., i].astype(dtype)
    return np.asarray(total)


@pytest.mark.parametrize("name", [*bounds.ARITHMETICS, "float32/fft", "tf32/winograd4"])
def test_parse_keeps_the_name(name: str) -> None:
    """An arithmetic's name is the one it was asked for by, but for the default class."""
    assert bounds.parse(name).name == name
    if "/" not in name and name != "integer":
        assert bounds.parse(f"{name}/direct") == bounds.parse(name)


@pytest.mark.parametrize("name", ["", "float8", "float32/", "float32/winograd3", "integer/fft", 32])
def test_parse_refuses_others_in_one_line(name: Any) -> None:
    """An unknown name raises ValueError with all that are known."""
    with pytest.raises(ValueError, match=r"^arithmetic=.* must be one of float64, .*/fft$"):
        bounds.parse(name)


@pytest.mark.parametrize(
    ("outputs", "taps"), list(itertools.product((1, 2, 3, 4, 6), (2, 3, 4, 5)))
)
def test_winograd_matrices_give_the_correlation(outputs: int, taps: int) -> None:
    """A^T [(G g) * (B^T d)] is the correlation of d and g, exactly."""
    found = bounds.winograd(outputs, taps)
    rng = np.random.default_rng(outputs)
    d = [int(i) for i in rng.integers(-9, 9, outputs + taps - 1)]
    g = [int(i) for i in rng.integers(-9, 9, taps)]
    left = [sum(a * b for a, b in zip(row, g, strict=True)) for row in found.kernel]
    right = [sum(a * b for a, b in zip(row, d, strict=True)) for row in found.data]
    both = [a * b for a, b in zip(left, right, strict=True)]
    for i, row in enumerate(found.output):
        expected = sum(d[i + k] * g[k] for k in range(taps))
        assert sum(a * b for a, b in zip(row, both, strict=True)) == expected


def test_bound_is_reached_by_the_worst_sum() -> None:
    """1 and many halves of its last bit, added one by one, err by nearly the whole bound."""
    n = 4096
    x = np.ones((1, n, 1, 1), np.float32)
    w = np.full((1, n, 1, 1), 2.0**-24, np.float32)
    w[0, 0] = 1.0
    got = term_by_term((x * w).reshape(1, n), np.float32)
    error = abs(float(got[0]) - (1 + (n - 1) * 2.0**-24))
    bound = npconv.error_bound("forward", x, w)
    assert 0.999 < error / bound.item() <= 1


@pytest.mark.parametrize("dtype", ["float16", "float32"])
@given(st.data())
@settings(max_examples=40)
def test_bound_holds_for_any_order(dtype: str, data: st.DataObject) -> None:
    """Sums in the format itself, in any order of any data, stay within the bound."""
    n = data.draw(st.integers(1, 300))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    wide = 2.0 ** rng.integers(-6, 6, (n, 1, 1)) if data.draw(st.booleans()) else 1.0
    x = (rng.normal(size=(1, n, 1, 1)) * wide).astype(dtype)
    w = rng.normal(size=(1, n, 1, 1)).astype(dtype)
    if data.draw(st.booleans()):
        w = np.abs(w) * np.where(np.arange(n) % 2, -1, 1).reshape(1, n, 1, 1).astype(dtype)
    order = rng.permutation(n)
    got = term_by_term((x * w).reshape(1, n)[:, order], dtype)
    name = {"float16": "float16-accumulate"}.get(dtype, dtype)
    bound = npconv.error_bound("forward", x, w, arithmetic=name)
    want = npconv.exact.conv2d(x, w, dtype=np.float64)
    assert abs(float(got[0]) - want.item()) <= bound.item() + 2.0**-53 * abs(want.item())


@given(cases(), st.sampled_from(bounds.OPS))
@settings(max_examples=60)
def test_terms_is_what_ones_add_up_to(case: Case, op: str) -> None:
    """No element has more products than `terms` says; without padding some has as many."""
    arrays = tuple(None if a is None else np.ones(a.shape) for a in case.arrays(0))
    found = call(op, case, (arrays[0], arrays[1], None, arrays[3]))
    most = found.on(found.factors).max(initial=0)
    assert most <= bounds.terms(found)
    if op in ("grad_weight", "grad_bias") and all(
        a.before <= 0 >= a.after for a in case.geometry.axes
    ):
        assert most == bounds.terms(found)


@pytest.mark.parametrize(
    ("stride", "dilation", "taps"), [(3, 1, 1), (2, 1, 4), (2, 2, 9), (4, 2, 4)]
)
def test_terms_of_the_input_gradient_follow_stride_and_dilation(
    stride: int, dilation: int, taps: int
) -> None:
    """An input element meets only the taps of its own residue modulo the stride."""
    x, w = np.ones((1, 1, 40, 40)), np.ones((5, 1, 3, 3))
    y = npconv.conv2d(x, w, None, stride, 0, dilation)
    found = bounds.arguments("grad_input", (x.shape, w, np.ones(y.shape)), stride, 0, dilation, 1)
    assert found.on(found.factors).max() == bounds.terms(found) == 5 * taps


@given(cases(), st.sampled_from(bounds.OPS[:3]))
@settings(max_examples=30)
def test_bound_does_not_change_with_scale(case: Case, op: str) -> None:
    """Powers of two on the arrays come out of the bound, but for underflow."""
    x, w, _, g = case.arrays(1, "float32", scale=0.25)
    one = bounds.bound(call(op, case, (x, w, None, g)), bounds.parse("float32")).values
    scaled = tuple((a * np.float32(2.0**20)).astype(np.float32) for a in (x, w, g))
    two = bounds.bound(
        call(op, case, (scaled[0], scaled[1], None, scaled[2])), bounds.parse("float32")
    ).values
    np.testing.assert_allclose(two, one * 2.0**40, rtol=1e-6)


@pytest.mark.parametrize("name", ROUNDED)
def test_rounded_inputs_are_within_their_own_bound_only(name: str) -> None:
    """Rounding factors breaks float32's bound and keeps that of the arithmetic."""
    rng = np.random.default_rng(0)
    bits = bounds.FORMATS[name].bits
    x, w = (rng.uniform(0.5, 1, shape).astype(np.float32) for shape in ((1, 8, 5, 6), (3, 8, 3, 3)))

    def rounded(a: Array) -> Array:
        fractions, exponents = np.frexp(a.astype(np.float64))
        return np.asarray(np.ldexp(np.rint(fractions * 2.0**bits), exponents - bits))

    got = npconv.conv2d(rounded(x), rounded(w))
    error = np.abs(got - npconv.conv2d(x.astype(np.float64), w.astype(np.float64)))
    assert (error <= npconv.error_bound("forward", x, w, arithmetic=name)).all()
    assert (error > npconv.error_bound("forward", x, w, arithmetic="float32")).any()


@pytest.mark.parametrize("op", bounds.OPS[:3])
def test_three_product_multiplication_is_within_the_complex_bound(op: str) -> None:
    """Complex sums from three real ones keep both parts within the one bound."""
    rng = np.random.default_rng(3)
    case = Case(2, 1, 4, 3, (5, 6), (3, 2), (1, 2), ((1, 0), (0, 1)), (1, 1), bias=False)
    x, w, _, g = case.arrays(0, "complex64")
    x, w, g = (
        (rng.normal(size=a.shape) + 1e-3j * rng.normal(size=a.shape)).astype(np.complex64)
        for a in (x, w, g)
    )
    found = call(op, case, (x, w, None, g))
    (first, a), (second, b) = found.factors.items()
    conjugated = "weight" if op == "grad_input" else "input"
    p, q = (
        v.conj() if n == conjugated and op != "forward" else v for n, v in ((first, a), (second, b))
    )
    t1, t2, t3 = (
        found.on({first: left, second: right}).astype(np.float32)
        for left, right in ((p.real, q.real), (p.imag, q.imag), (p.real + p.imag, q.real + q.imag))
    )
    want = found.on({first: a, second: b}, np.complex128)
    bound = bounds.bound(found, bounds.parse("float32")).values
    assert (np.abs(t1 - t2 - want.real) <= bound).all()
    assert (np.abs(t3 - t1 - t2 - want.imag) <= bound).all()


def test_bias_and_result_rounding_are_in_the_bound() -> None:
    """A large bias, and a result of fewer bits, each raise the bound by their rounding."""
    x, w = np.ones((1, 1, 1, 1), np.float16), np.ones((1, 1, 1, 1), np.float16)
    b = np.full(1, 1000, np.float16)
    short, long = (
        npconv.error_bound("forward", x, w, b, arithmetic=name).item()
        for name in ("float16", "float32")
    )
    assert long >= 1001 * 2.0**-24
    assert short - long >= 1001 * 2.0**-11
    assert npconv.error_bound("forward", x, w, arithmetic="float32").item() < long / 500


def test_bound_is_zero_where_all_products_are() -> None:
    """A window in the padding alone has no error; elsewhere underflow counts."""
    x, w = np.full((1, 1, 2, 2), 1e-30, np.float32), np.full((1, 1, 1, 1), 1e-30, np.float32)
    found = npconv.error_bound("forward", x, w, padding=1)
    assert found[0, 0, 0, 0] == 0
    assert found[0, 0, 1, 1] >= 2.0**-126


def test_subnormal_factors_may_be_taken_for_zero() -> None:
    """Hardware that reads subnormal numbers as zero loses all of them."""
    x, w = np.full((1, 1, 1, 1), 1e-40, np.float32), np.full((1, 1, 1, 1), 1e30, np.float32)
    assert npconv.error_bound("forward", x, w).item() >= 1e-10


def test_bound_is_infinite_where_nothing_is_known() -> None:
    """A NaN, an infinity, or a factor beyond the format's range leaves no finite bound."""
    w = np.ones((1, 1, 1, 1), np.float32)
    for value in (np.nan, np.inf):
        x = np.array([[[[1, value]]]], np.float32)
        assert (np.isfinite(npconv.error_bound("forward", x, w)) == [True, False]).all()
    large = np.full((1, 1, 1, 1), 1e6, np.float32)
    assert npconv.error_bound("forward", large, w, arithmetic="float16").item() == math.inf


def test_integers_have_no_error() -> None:
    """The bound of an integer dtype is zero."""
    ones = np.ones((1, 1, 2, 2), np.int32)
    assert not npconv.error_bound("forward", ones, ones).any()


def test_sign_bound_has_the_stated_chance() -> None:
    """A run's partial sums exceed their bound less often than stated; it is below the other."""
    chance = 2 * math.exp(-(bounds.LAMBDA**2) / 2) * bounds.PARTIAL_SUMS
    assert 0.99 * bounds.FALSE_ALARM <= chance <= 1.01 * bounds.FALSE_ALARM < 1e-8
    rng = np.random.default_rng(0)
    x, w = rng.uniform(-1, 1, (1, 5000, 1, 1)), rng.uniform(-1, 1, (1, 5000, 1, 1))
    found = bounds.arguments("forward", (x.astype("f4"), w.astype("f4")), 1, 0, 1, 1)
    worst, likely = (
        bounds.bound(found, bounds.parse("float32"), signs=signs).values.item()
        for signs in (False, True)
    )
    root = 2.0**-24 * 5000 * bounds.LAMBDA * math.sqrt(((x * w) ** 2).sum())
    assert root <= likely <= 1.1 * root < worst / 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("backward", 1), "op='backward' must be one of forward, grad_input"),
        ((np.ones((1, 1, 2, 2)), 1), "must be one of forward, grad_input"),
        (("forward", np.ones((1, 1, 2, 2))), "takes 2 or 3 arrays, not 1"),
        (("grad_bias", np.ones(3)), "grad_output of 1 dimensions"),
    ],
)
def test_error_bound_refuses_in_one_line(arguments: tuple[Any, ...], message: str) -> None:
    """An unknown operation, or arrays that are not its own, raise with the rule."""
    with pytest.raises((TypeError, ValueError), match=r"^error_bound: ") as caught:
        npconv.error_bound(*arguments)
    assert message in str(caught.value)
