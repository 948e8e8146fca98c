"""What is served, what sums are carried in, and the one rounding at the end."""

import itertools
import math
from typing import Any

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

import npconv
from npconv import definition, formats
from tests.strategies_for_tests import Array

HAS_BFLOAT16 = True
try:
    import ml_dtypes  # noqa: F401 - only whether it can be imported
except ImportError:
    HAS_BFLOAT16 = False

BFLOAT16 = pytest.param(
    "bfloat16", marks=pytest.mark.skipif(not HAS_BFLOAT16, reason="ml_dtypes is not installed")
)
FLOATS = ("float16", BFLOAT16, "float32", "float64")
INTEGERS = formats.SIGNED + formats.UNSIGNED

#: Significand bits and least exponent of a normal number.
SHAPES = {
    "float16": (11, -14),
    "bfloat16": (8, -126),
    "float32": (24, -126),
    "float64": (53, -1022),
}
GREATEST = {"float16": 65504.0, "bfloat16": 255 * 2.0**120, "float32": (2 - 2.0**-23) * 2.0**127}


SPECIAL = (0.0, math.inf, math.nan, 1.0, 1 / 3, math.pi, 5e-324, 2.0**-1022, 1.7e308)
#: Added to ties these decide them, or vanish where float32 comes first, as in 1 + 2**-8 + 2**-30.
NUDGES = tuple(sign * size for size in (0.0, 2.0**-12, 2.0**-22, 2.0**-28) for sign in (1, -1))


def traps(name: str) -> list[float]:
    """Return float64 numbers at, just under and just over what decides the rounding to `name`."""
    bits, least = SHAPES[name]
    steps = (0, 1, -1, -3, -bits, 1 - bits, -1 - bits)
    exponents = (0, 1, 7, *(least + step for step in steps))
    counts = (1, 2, 3, 2 ** (bits - 1), 2 ** (bits - 1) + 1, 2**bits - 1)
    found = [
        (count + half + nudge) * math.ldexp(1.0, max(exponent, least) - bits + 1)
        for exponent, count, half, nudge in itertools.product(exponents, counts, (0, 0.5), NUDGES)
    ]
    if name in GREATEST:
        greatest = GREATEST[name]
        edge = greatest + math.ldexp(0.5, math.frexp(greatest)[1] - bits)
        for value in (greatest, edge):
            found += [value, math.nextafter(value, 0), math.nextafter(value, math.inf)]
    return [sign * value for value in (*SPECIAL, *found) for sign in (1, -1)]


INTEGER_TRAPS = sorted(
    {
        base + offset
        for base in (
            0, 2**8, 2**9, 257, 2**11, 2**24, 2**25, 2**31, 2**53, 2**54, 2**62, 2**63 - 1024,
            2**63 - 513, 2**63 - 1, 2**64 - 2**11, 2**64 - 2**10, 2**64 - 1, 65504, 65519, 65520,
            2**40 + 2**16 + 1,
            2**40 + 2**32, 2**40 + 2**15, 2**60 + 2**36, 2**60 + 2**52,
        )
        for offset in (-3, -1, 0, 1, 2, 3)
    }
)  # fmt: skip


def as_rows(values: Any, dtype: Any) -> Array:
    """Array whose channels are the values, so that the bias gradient returns each of them."""
    return np.array(values, dtype).reshape(1, -1, 1, 1)


def same_bits(actual: Array, expected: list[Any]) -> None:
    """Compare with what Python floats say, signs of zeros and places of NaN included."""
    wanted = np.array(expected, np.float64)
    found = actual.astype(np.float64)
    different = ~(
        (found == wanted) & (np.signbit(found) == np.signbit(wanted))
        | (np.isnan(found) & np.isnan(wanted))
    )
    first = np.flatnonzero(different)[:3]
    assert not different.any(), [(int(i), found[i].hex(), wanted[i].hex()) for i in first]


@pytest.mark.parametrize("name", FLOATS)
def test_float64_is_rounded_once_to_every_float(name: str) -> None:
    """Ties, subnormals, overflow edges and double-rounding traps all go to the nearest."""
    values = [value for each in SHAPES for value in traps(each)]
    with np.errstate(over="ignore"):
        actual = formats.round_once(np.array(values), formats.dtype_of(name))
    finite = [value for value in values if math.isfinite(value)]
    exact = iter(definition.conv2d_bias(as_rows(finite, np.float64), dtype=name))
    expected = [next(exact) if math.isfinite(value) else value for value in values]
    # An exact zero has no sign; a rounded one keeps that of the number.
    expected = [math.copysign(e, v) if e == 0 else e for e, v in zip(expected, values, strict=True)]
    same_bits(actual, expected)


@pytest.mark.parametrize("name", FLOATS)
def test_public_calls_round_once(name: str) -> None:
    """Forward and bias gradient of float64 with dtype= equal the definition, rounded once."""
    values = [value for value in traps(name) if math.isfinite(value) and abs(value) < 1e300]
    rows = as_rows(values, np.float64)
    expected = definition.conv2d_bias(rows, dtype=name)
    result = npconv.conv2d_bias(rows, dtype=formats.dtype_of(name))
    assert result.dtype == formats.dtype_of(name)
    assert result.astype(np.float64).tolist() == expected
    ones = np.ones((len(values), 1, 1, 1))
    forward = npconv.conv2d(rows, ones, groups=len(values), dtype=formats.dtype_of(name))
    assert forward.astype(np.float64).ravel().tolist() == expected


@pytest.mark.parametrize("name", FLOATS)
@hypothesis.given(values=st.lists(st.floats(), min_size=1, max_size=20))
def test_float64_is_rounded_once_whatever_it_is(name: str, values: list[float]) -> None:
    """The same for numbers that Hypothesis draws, and for halves of the format's own numbers."""
    values = [value for value in values if math.isfinite(value)] or [1.0]
    bits, _ = SHAPES[name]
    values += [
        math.ldexp(round(math.frexp(v)[0] * 2 ** (bits + 1)), math.frexp(v)[1] - bits - 1)
        for v in values
        if abs(v) < 1e300
    ]
    with np.errstate(all="ignore"):
        actual = formats.round_once(np.array(values), formats.dtype_of(name))
    assert actual.astype(np.float64).tolist() == definition.conv2d_bias(
        as_rows(values, np.float64), dtype=name
    )


def carried_as(values: list[int], carried: str) -> Array:
    """Sums as the contraction leaves them: Python ints, or 64 bits read as unsigned."""
    if carried == "object":
        return np.array(values, object)
    return np.array([value % 2**64 for value in values], np.uint64)


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize(
    ("carried", "given"),
    [("uint64", "int64"), ("uint64", "uint64"), ("object", "int64"), ("object", "uint64")],
)
def test_integers_are_rounded_once_to_every_float(name: str, carried: str, given: str) -> None:
    """int64, uint64 and longer sums take one rounding, 2**53 + 1 and 65519 among them."""
    values = list(INTEGER_TRAPS)
    if given == "int64":
        values = [sign * value for value in values for sign in (1, -1)]
    low, high = (-(2**63), 2**63 - 1) if given == "int64" else (0, 2**64 - 1)
    values = [v for v in values if low <= v <= high]
    if carried == "object":
        values += [2**64 + 1, 2**66 + 2**42 + 1, 2**70 + 2**17, 3**50, 10**30, 2**128 - 2**103]
    with np.errstate(over="ignore"):
        actual = formats.finish(
            carried_as(values, carried), np.dtype(given), formats.dtype_of(name)
        )
    expected = [definition.conv2d_bias([[[value]]], dtype=name)[0] for value in values]
    assert actual.astype(np.float64).tolist() == expected


@pytest.mark.parametrize("name", FLOATS)
@hypothesis.given(
    values=st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=20),
    cut=st.integers(0, 62),
)
def test_int64_is_rounded_once_whatever_it_is(name: str, values: list[int], cut: int) -> None:
    """The same for integers that Hypothesis draws, long and short."""
    values = [value >> cut for value in values]
    with np.errstate(over="ignore"):
        actual = formats.finish(
            carried_as(values, "uint64"), np.dtype("int64"), formats.dtype_of(name)
        )
    assert actual.astype(np.float64).tolist() == definition.conv2d_bias(
        [[[v]] for v in values], dtype=name
    )


@pytest.mark.parametrize("name", FLOATS)
@pytest.mark.parametrize("given", INTEGERS)
def test_public_calls_convert_integers_exactly_then_round(name: str, given: str) -> None:
    """The largest and smallest elements of each integer type, times 1, as every float."""
    limits = np.iinfo(given)
    values = [v for trap in INTEGER_TRAPS for v in (trap, -trap) if limits.min <= v <= limits.max]
    values += [int(limits.max), int(limits.min)]
    rows = as_rows(values, given)
    expected = definition.conv2d_bias(rows, dtype=name)
    wanted = formats.dtype_of(name)
    assert npconv.conv2d_bias(rows, dtype=wanted).astype(np.float64).tolist() == expected
    ones = np.ones((len(values), 1, 1, 1), given)
    forward = npconv.conv2d(rows, ones, groups=len(values), dtype=wanted)
    assert forward.dtype == wanted
    assert forward.astype(np.float64).ravel().tolist() == expected


@pytest.mark.parametrize("given", INTEGERS)
@pytest.mark.parametrize(
    "result", [*INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]
)
def test_carrier_holds_the_largest_sums(given: str, result: str) -> None:
    """The carrier holds `terms` largest products and a bias exactly, or modulo 2**64."""
    own, wanted = np.dtype(given), np.dtype(result)
    limits = np.iinfo(own)
    largest = max(-int(limits.min), int(limits.max))
    for magnitude, terms in itertools.product(
        (1, 2**7, 2**15 - 1, 2**15, 2**24, 2**31 - 1, 2**31, largest),
        (0, 1, 2, 3, 511, 512, 4608, 2**22, 2**23, 2**37 - 1),
    ):
        extreme = min(magnitude, largest)
        element = -extreme if limits.min < 0 else extreme
        array = np.full((1, 1, 1, 1), element, own)
        carried = formats.carrier(own, wanted, terms, [array])
        total = terms * extreme**2 + extreme
        if carried == formats.FLOAT64:
            assert terms * largest**2 + largest <= 2**53
        elif wanted.kind in "iu":
            assert carried == formats.UINT64
        elif carried == formats.UINT64:
            assert total < 2**63
        else:
            assert carried == formats.OBJECT
            assert (terms + 1) * extreme**2 >= 2**63


def test_carrier_of_floats_is_double() -> None:
    """Real floats of every width are summed in float64, complex numbers in complex128."""
    for name in ("float16", "float32", "float64"):
        assert formats.carrier(np.dtype(name), np.dtype(name), 9, []) == np.float64
    for name in ("complex64", "complex128"):
        assert formats.carrier(np.dtype(name), np.dtype(name), 9, []) == np.complex128


LONG = (1, 128, 7, 8)  # with a 6 x 6 kernel, 4,608 products in each element


def long_case(dtype: str, low: int, high: int) -> tuple[Array, Array]:
    """Input and weight with 4,608 products in each of 2 x 2 x 3 sums."""
    rng = np.random.default_rng(7)
    x = rng.integers(low, high, LONG, endpoint=True).astype(dtype)
    w = rng.integers(low, high, (2, 128, 6, 6), endpoint=True).astype(dtype)
    return x, w


def by_python(x: Array, w: Array) -> list[Any]:
    """Sums of the long case in Python ints."""
    windows = np.lib.stride_tricks.sliding_window_view(x.astype(object), (6, 6), (2, 3))
    return np.einsum("nchwkt,fckt->nfhw", windows, w.astype(object)).tolist()


@pytest.mark.parametrize("given", ["int8", "int16", "int32", "int64", "uint8", "uint32", "uint64"])
@pytest.mark.parametrize("extreme", [True, False], ids=["extreme", "random"])
def test_long_integer_sums_are_exact(given: str, extreme: bool) -> None:
    """4,608 products, at worst all of the largest magnitude: float64 is the exact sum, rounded."""
    limits = np.iinfo(given)
    ends = (int(limits.min) or int(limits.max), int(limits.max))
    low, high = (ends[0], ends[0]) if extreme else ends
    rng = np.random.default_rng(8)
    x, w = (
        np.full(size, low, given)
        if extreme
        else rng.integers(min(low, 0), high, size, given, endpoint=True)
        for size in (LONG, (2, 128, 6, 6))
    )
    exact = by_python(x, w)
    assert (
        npconv.conv2d(x, w, dtype="float64").tolist()
        == np.array(exact, object).astype(float).tolist()
    )
    for wanted in INTEGERS:
        bits, signed = np.iinfo(wanted).bits, wanted in formats.SIGNED
        half = 2 ** (bits - 1) if signed else 0
        wrapped = ((np.array(exact, object) + half) % 2**bits - half).tolist()
        result = npconv.conv2d(x, w, dtype=wanted)
        assert result.dtype == wanted
        assert result.tolist() == wrapped


@pytest.mark.parametrize("name", ["float16", BFLOAT16])
def test_narrow_floats_are_not_summed_in_themselves(name: str) -> None:
    """4,608 products near 1 give the exact sum, rounded once, which narrow sums never reach."""
    dtype = formats.dtype_of(name)
    x, w = (array.astype(np.float64) for array in long_case("int64", 200, 256))
    x, w = (x / 256).astype(dtype), (w / 256).astype(dtype)
    exact = np.array(
        by_python((x.astype(float) * 256).astype(int), (w.astype(float) * 256).astype(int)), object
    )
    result = npconv.conv2d(x, w)
    assert result.dtype == dtype
    expected = definition.conv2d_bias([[[int(v)]] for v in exact.ravel()], dtype="float64")
    rounded = formats.round_once(np.array(expected) / 2**16, dtype)
    assert result.astype(float).ravel().tolist() == rounded.astype(float).tolist()
    assert (result.astype(float) > 2500).all()


def test_int8_with_a_wider_dtype_does_not_wrap_on_the_way() -> None:
    """127 * 127 * 4,608 comes out whole in int32."""
    x, w = np.full(LONG, 127, np.int8), np.full((1, 128, 6, 6), 127, np.int8)
    assert npconv.conv2d(x, w, dtype=np.int32).tolist() == [[[[74322432] * 3] * 2]]
    assert npconv.conv2d(x, w).tolist() == [[[[(74322432 + 128) % 256 - 128] * 3] * 2]]


def test_integers_wrap_as_numpy_does() -> None:
    """An int8 result is the exact sum cast to int8 by NumPy, for every operation."""
    rng = np.random.default_rng(3)
    x, w, g = (
        rng.integers(-128, 127, s).astype(np.int8)
        for s in ((2, 4, 5, 6), (6, 2, 3, 2), (2, 6, 3, 5))
    )
    wide = [array.astype(np.int64) for array in (g, x, w)]
    narrow = npconv.conv2d_backward(g, x, w, groups=2)
    for result, exact in zip(narrow, npconv.conv2d_backward(*wide, groups=2), strict=True):
        assert result is not None
        assert exact is not None
        assert result.tolist() == exact.astype(np.int8).tolist()
        assert np.abs(exact).max() > 127


def test_complex_products_are_exact_then_rounded_part_by_part() -> None:
    """Complex results equal the definition's pairs of fractions, conjugates in gradients too."""
    rng = np.random.default_rng(4)
    parts = [rng.integers(-99, 99, (2, *s)) / 8 for s in ((2, 4, 4, 5), (6, 2, 3, 2), (2, 6, 2, 4))]
    for given, asked in (("complex128", None), ("complex64", None), ("complex64", "complex128")):
        x, w, g = ((p[0] + 1j * p[1]).astype(given) for p in parts)
        wanted = asked or given
        assert npconv.conv2d(x, w, groups=2, dtype=asked).tolist() == definition.conv2d(
            x, w, groups=2, dtype=wanted
        )
        actual = npconv.conv2d_backward(g, x, w, groups=2, dtype=asked)
        for result, expected in zip(
            actual, definition.conv2d_backward(g, x, w, groups=2, dtype=wanted), strict=True
        ):
            assert result is not None
            assert result.dtype == wanted
            assert result.tolist() == expected


@pytest.mark.parametrize("result", ["complex64", "complex128"])
@pytest.mark.parametrize("given", ["int64", "uint64", "float64"])
def test_reals_become_complex_with_one_rounding(given: str, result: str) -> None:
    """A real sum asked for as complex is rounded once, with imaginary part 0."""
    values = (
        [2**53 + 1, 2**24 + 1, 2**40 + 2**16 + 1, 2**63 - 1]
        if given != "float64"
        else [1 + 2.0**-24, 1e-40, 1 / 3]
    )
    rows = as_rows(values, given)
    expected = definition.conv2d_bias(
        rows, dtype={"complex64": "float32", "complex128": "float64"}[result]
    )
    actual = npconv.conv2d_bias(rows, dtype=result)
    assert actual.dtype == result
    assert actual.tolist() == [complex(value) for value in expected]


@pytest.mark.parametrize(
    ("given", "asked", "message"),
    [
        ("float32", "int32", "dtype=int32 must not be an integer type: the arrays are float32"),
        ("float64", np.uint8, "dtype=uint8 must not be an integer type: the arrays are float64"),
        ("complex64", "int64", "dtype=int64 must not be an integer type: the arrays are complex64"),
        ("complex128", float, "dtype=float64 must be complex: the arrays are complex128"),
        ("complex64", "float16", "dtype=float16 must be complex: the arrays are complex64"),
    ],
)
def test_result_dtype_refuses_what_loses_more_than_digits(
    given: str, asked: Any, message: str
) -> None:
    """Float to integer and complex to real raise TypeError."""
    with pytest.raises(TypeError) as caught:
        formats.result_dtype(np.dtype(given), asked)
    assert str(caught.value) == message


SERVED = (
    "bfloat16, float16, float32, float64, complex64, complex128, "
    "int8, int16, int32, int64, uint8, uint16, uint32, uint64"
)


@pytest.mark.parametrize(
    "asked",
    [
        "bool", "O", "S3", "U1", "M8[s]", "m8", "longdouble", "clongdouble", "V4", "f4,f4", "f5",
        "(", ",", "i4,(", "\udcff", "f4,,", 3, 1.5, (1, 2), [], {}, ("f4", -1), ("f4", (2,)),
        [("a", "f4"), ("a", "f4")], object(),
        {"a": ("f4", 2**70)}, {"names": ["a"], "formats": []}, float("nan"), np.ones((2, 2)), bool,
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_result_dtype_refuses_what_is_not_served(asked: Any) -> None:
    """Whatever np.dtype makes of it, or raises for it, the answer is one TypeError on one line."""
    with pytest.raises(TypeError) as caught:
        formats.result_dtype(np.dtype("float32"), asked)
    assert str(caught.value).endswith(f" must be one of {SERVED}")
    assert str(caught.value).startswith("dtype=")
    assert "\n" not in str(caught.value)


def test_result_dtype_is_native() -> None:
    """The dtype of the arrays, or the one asked for, comes back in native byte order."""
    assert formats.result_dtype(np.dtype(">f4"), None) == np.dtype("=f4")
    assert formats.result_dtype(np.dtype("<i2"), ">i4") == np.dtype("=i4")
    assert formats.result_dtype(np.dtype("f4"), ">f8").isnative


@pytest.mark.parametrize("given", INTEGERS)
@pytest.mark.parametrize(
    "asked", [*INTEGERS, "float16", "float32", "float64", "complex64", "complex128"]
)
def test_result_dtype_lets_integers_become_anything(given: str, asked: str) -> None:
    """Integers may be asked for as any number type."""
    assert formats.result_dtype(np.dtype(given), asked) == asked


@pytest.mark.parametrize("name", [name for name in formats.NAMES if name != "bfloat16"])
def test_family_knows_every_served_dtype(name: str) -> None:
    """Byte order does not matter, and the family is that of NumPy's kind."""
    kind = {"f": "float", "c": "complex", "i": "integer", "u": "integer"}[np.dtype(name).kind]
    assert formats.family(np.dtype(name)) == kind
    assert formats.family(np.dtype(name).newbyteorder()) == kind


@pytest.mark.parametrize("name", ["?", "O", "S3", "U2", "M8[s]", "m8[s]", "g", "G", "V3"])
def test_family_refuses_the_others(name: str) -> None:
    """Bools, objects, text, times, extended precision and raw bytes raise TypeError."""
    dtype = np.dtype(name)
    with pytest.raises(TypeError) as caught:
        formats.family(dtype)
    assert str(caught.value) == f"dtype {dtype.name} must be one of {SERVED}"


@pytest.mark.skipif(not HAS_BFLOAT16, reason="ml_dtypes is not installed")
def test_bfloat16_is_served_by_name_and_by_type() -> None:
    """dtype='bfloat16' and ml_dtypes' own type mean the same."""
    import ml_dtypes

    rows = as_rows([1 + 2.0**-8 + 2.0**-30, 1 + 2.0**-8, -3.0], np.float64)
    by_name = npconv.conv2d_bias(rows, dtype="bfloat16")
    by_type = npconv.conv2d_bias(rows, dtype=ml_dtypes.bfloat16)
    assert by_name.dtype == by_type.dtype == ml_dtypes.bfloat16
    assert (
        by_name.astype(float).tolist() == by_type.astype(float).tolist() == [1 + 2.0**-7, 1.0, -3.0]
    )


@pytest.mark.parametrize("given", ["int8", "int32", "int64", "uint32", "uint64"])
def test_load_reads_64_bits_as_they_are(given: str) -> None:
    """Loading for arithmetic modulo 2**64 keeps each number modulo 2**64, from any byte order."""
    limits = np.iinfo(given)
    array = np.array([limits.min, 0, 1, limits.max], given)
    for source in (array, array.astype(array.dtype.newbyteorder())):
        loaded = formats.load(source, formats.UINT64)
        assert loaded.dtype == np.uint64
        assert loaded.tolist() == [int(value) % 2**64 for value in array]


def test_bfloat16_without_its_package_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ml_dtypes is missing, asking for bfloat16 raises TypeError with the package's name."""
    monkeypatch.setitem(__import__("sys").modules, "ml_dtypes", None)
    with pytest.raises(TypeError) as caught:
        formats.result_dtype(np.dtype("float32"), "bfloat16")
    assert str(caught.value) == "dtype 'bfloat16' needs the package ml_dtypes"
