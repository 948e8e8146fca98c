"""Cases for `npconv.exact`, with data that is hard to round; no results and no expectations here.

All of it comes out of the raw 64-bit words of a Philox generator, through integers and powers
of 2 alone: the same key gives the same bits with every NumPy and on every machine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: Significand bits with the hidden one, exponents of the least and the greatest normal number.
FORMATS = {
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
PARTS = {"complex64": "float32", "complex128": "float64"}
DTYPES = (*FORMATS, *PARTS)
INTEGERS = tuple(f"{u}int{size}" for u in ("", "u") for size in (8, 16, 32, 64))
OPERATIONS = ("forward", "grad_input", "grad_weight", "grad_bias")


class Draw:
    """Random integers and floats from the raw words of Philox."""

    def __init__(self, key: int) -> None:
        self._bits = np.random.Philox(key=key)

    def below(self, limit: int, shape: Sequence[int] = ()) -> Array:
        """Integers from 0 to limit - 1, below 2**32."""
        count = int(np.prod(shape, dtype=int))
        words = np.asarray(self._bits.random_raw(count), np.uint64).reshape(tuple(shape))
        return ((words >> np.uint64(32)) % np.uint64(limit)).astype(np.int64)

    def pick(self, choices: Sequence[Any]) -> Any:
        """One of `choices`."""
        return choices[int(self.below(len(choices)))]

    def signs(self, shape: Sequence[int]) -> Array:
        """Numbers -1 and 1."""
        return self.below(2, shape) * 2.0 - 1

    def unit(self, shape: Sequence[int], bits: int) -> Array:
        """Numbers from 1 to 2 of either sign, with `bits` random significand bits."""
        low = self.below(2**31, shape).astype(np.float64) * 2.0**-62
        high = self.below(2**31, shape).astype(np.float64) * 2.0**-31
        kept = np.floor(np.ldexp(high + low, bits - 1))
        return self.signs(shape) * (1 + np.ldexp(kept, 1 - bits))


@dataclass(frozen=True, slots=True)
class Format:
    """A float format: significand bits, least and greatest exponent."""

    bits: int
    least: int
    most: int


def normal(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Full significands, exponents over a few binades."""
    return np.ldexp(draw.unit(shape, f.bits), -draw.below(7, shape))


def integers(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Small integers: sums are exact everywhere."""
    del f
    return draw.below(17, shape) - 8.0


def long_integers(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Integers of all significand bits: sums are ties and near-ties of integers."""
    size = min(f.bits, 31, f.most // 2)
    return draw.signs(shape) * draw.below(2**size, shape)


def ties(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Powers of 2 that put a sum at a tie, or off it by a bit that a double rounding loses."""
    p = f.bits
    steps = [0, 0, 0, -1, 1 - p, -p, -p - 1, -2 * p, -53, -54, -60, -106]
    exponents = np.array([step for step in steps if step > f.least])
    return draw.signs(shape) * np.ldexp(1.0, exponents[draw.below(len(exponents), shape)])


def odd_neighbours(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """1 and its neighbours, halves of last bits: ties of both parities."""
    last = 2.0 ** (1 - f.bits)
    choices = np.array([1, 1 + last, 1 - last / 2, 2.0 ** -min(f.bits, -f.least)])
    return draw.signs(shape) * choices[draw.below(4, shape)]


def cancelling(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Two magnitudes of either sign: sums cancel, often to zero."""
    size = np.abs(draw.unit((2,), f.bits))
    return draw.signs(shape) * size[draw.below(2, shape)]


def constant(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """One number everywhere."""
    return np.full(shape, draw.unit((1,), f.bits)[0])


def subnormal(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Exponents whose products lie around the least numbers of the format."""
    spread = draw.below(2 * f.bits, shape) - f.bits
    return np.ldexp(draw.unit(shape, f.bits), (f.least - f.bits) // 2 + spread // 2)


def least(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Subnormal numbers themselves beside numbers around 1."""
    small = np.ldexp(draw.below(2**7, shape).astype(np.float64), f.least - f.bits + 1)
    return np.where(draw.below(2, shape) == 1, draw.signs(shape) * small, normal(draw, shape, f))


def overflowing(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Products around the greatest number, with significands of ones."""
    size = 2 - 2.0 ** -draw.below(f.bits, shape)
    return draw.signs(shape) * np.ldexp(size, f.most // 2 - draw.below(2, shape))


def greatest(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """The greatest numbers beside 1, fractions and zeros: sums on the edge of overflow."""
    top = np.ldexp(2 - 2.0 ** (1 - f.bits), f.most)
    choices = np.array([top, 1.0, 0.0, np.ldexp(1.0, f.most - f.bits), 1.0, 0.5, 0.0, 0.0])
    return draw.signs(shape) * choices[draw.below(8, shape)]


def moderate(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Exponents over 40 binades."""
    reach = min(20, f.most)
    return np.ldexp(draw.unit(shape, f.bits), draw.below(2 * reach, shape) - reach)


def mixed(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Exponents over the whole format, 1e-300 to 1e300 for float64."""
    exponents = draw.below(f.most - f.least, shape) + f.least
    return np.ldexp(draw.unit(shape, f.bits), exponents)


def sparse(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """Zeros of both signs and a few numbers."""
    return normal(draw, shape, f) * (draw.below(4, shape) == 0)


def special(draw: Draw, shape: Sequence[int], f: Format) -> Array:
    """A few infinities, NaNs and zeros among numbers."""
    choices = np.array([np.inf, -np.inf, np.nan, 0.0])[draw.below(4, shape)]
    return np.where(draw.below(24, shape) == 0, choices, normal(draw, shape, f))


Kind = Callable[[Draw, Sequence[int], Format], Array]
KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        normal,
        integers,
        long_integers,
        ties,
        odd_neighbours,
        cancelling,
        constant,
        subnormal,
        least,
        overflowing,
        greatest,
        moderate,
        mixed,
        sparse,
        special,
    )
}


@dataclass(frozen=True, slots=True)
class Case:
    """One convolution with its arrays."""

    input: Array
    weight: Array
    bias: Array
    grad_output: Array
    parameters: dict[str, Any]


def dtype_of(name: str) -> np.dtype[Any]:
    """Return the NumPy dtype; ImportError where bfloat16 is not to be had."""
    if name == "bfloat16":
        import ml_dtypes

        return np.dtype(ml_dtypes.bfloat16)
    return np.dtype(name)


def array(draw: Draw, shape: Sequence[int], dtype: str, kind: str) -> Array:
    """Return an array of a kind of data; the parts of complex numbers are drawn apart."""
    wanted = dtype_of(dtype)
    if dtype in INTEGERS:
        words = draw.below(2**32, shape) * 2**31 + draw.below(2**31, shape)
        return (words if kind == "long_integers" else draw.below(17, shape) - 8).astype(wanted)
    limits = Format(*FORMATS[PARTS.get(dtype, dtype)])
    with np.errstate(all="ignore"):
        if dtype in PARTS:
            result = np.empty(shape, wanted)
            result.real = KINDS[kind](draw, shape, limits)
            result.imag = KINDS[kind](draw, shape, limits)
            return result
        return KINDS[kind](draw, shape, limits).astype(wanted)


def case(key: int, dtype: str, kind: str, size: int = 6) -> Case:
    """Draw a geometry with extents up to `size`, every parameter varied, and its arrays."""
    draw = Draw(key)

    def upto(limit: int, first: int = 1) -> int:
        return first + int(draw.below(limit - first + 1))

    groups = draw.pick((1, 1, 2, 3))
    kernel = (upto(3), upto(3))
    stride, dilation = (upto(3), upto(2)), (upto(2), upto(3))
    spans = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    four_sided = bool(draw.below(2))
    first = -2 if four_sided else 0
    sides = [(upto(3, first), upto(3, first)) for _ in range(2)]
    if not four_sided:
        sides = [(before, before) for before, _ in sides]
    extents = [
        max(1, span - before - after) + upto(size, 0)
        for span, (before, after) in zip(spans, sides, strict=True)
    ]
    input_shape = (upto(2), groups * upto(3), *extents)
    weight_shape = (groups * upto(3), input_shape[1] // groups, *kernel)
    out = [
        (extent + before + after - span) // step + 1
        for extent, (before, after), span, step in zip(extents, sides, spans, stride, strict=True)
    ]
    parameters: dict[str, Any] = {
        "stride": stride,
        "padding": tuple(sides) if four_sided else tuple(before for before, _ in sides),
        "dilation": dilation,
        "groups": groups,
    }
    return Case(
        array(draw, input_shape, dtype, kind),
        array(draw, weight_shape, dtype, kind),
        array(draw, weight_shape[:1], dtype, kind),
        array(draw, (input_shape[0], weight_shape[0], *out), dtype, kind),
        parameters,
    )


def results(module: Any, given: Case, **options: Any) -> dict[str, Any]:
    """Return what a module's calls make of a case, by operation."""
    gradients = module.conv2d_backward(
        given.grad_output, given.input, given.weight, **given.parameters, **options
    )
    output = module.conv2d(given.input, given.weight, given.bias, **given.parameters, **options)
    return dict(zip(OPERATIONS, (output, *gradients), strict=True))


def bits(values: Any, dtype: str) -> Array:
    """Return numbers of `dtype` as unsigned integers, the parts of complex ones apart.

    The definition's nested lists of Python numbers have been rounded already; as its NaNs have
    no bits, those of the quiet NaN without sign or payload stand for them.
    """
    wanted = dtype_of(dtype)
    if dtype in INTEGERS:
        return np.array(values, wanted).reshape(-1).view(f"u{wanted.itemsize}")
    if dtype in PARTS:
        numbers = np.array(values, wanted).reshape(-1).view(PARTS[dtype])
    else:
        numbers = np.array(values, np.float64 if isinstance(values, list) else None).astype(wanted)
    words = numbers.reshape(-1).view(f"u{numbers.itemsize}")
    quiet = np.full(1, np.nan, numbers.dtype).view(words.dtype)
    return (
        np.where(np.isnan(numbers.reshape(-1)), quiet, words) if isinstance(values, list) else words
    )
