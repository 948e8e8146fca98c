"""Inner products of many vectors at once: each with a radius around its exact value, or exact.

Three ways, from fast to slow: `plain` is one matrix product; `split` cuts the numbers so that
matrix products of the parts are exact where it matters; `exact` serves single elements and
leaves nothing open. What is done with values and radii is not decided here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]

#: Half the distance from 1 to the next float64: the relative error of one rounding.
UNIT = 2.0**-53
#: Vectors whose largest magnitude is in this range of exponents neither overflow nor underflow.
SAFE = (-400, 450)
#: Numbers that `exact` works on at a time.
CHUNK = 2**16
# All float64 products are multiples of 2**-SCALE.
SCALE = 2 * 1126


class Vectors:
    """Finite float64 vectors (g, rows, K) and what is worked out from them, once each."""

    def __init__(self, values: Array) -> None:
        self.values = values
        self._slices: dict[bool, Array] = {}

    @cached_property
    def squares(self) -> Array:
        """Sums of squares (g, rows), rounded, at least the exact sum less K * 2**-1022."""
        return np.asarray(np.einsum("gmk,gmk->gm", self.values, self.values))

    @cached_property
    def some(self) -> Array:
        """Which vectors (g, rows) are not zero."""
        return np.asarray(self.values.any(-1))

    @cached_property
    def tops(self) -> Array:
        """Exponents e (g, rows) with every magnitude below 2**e."""
        largest = self.values.max(-1, initial=0.0)
        return np.asarray(np.frexp(np.maximum(largest, -self.values.min(-1, initial=0.0)))[1])

    @property
    def safe(self) -> Array:
        """Which vectors can be cut, multiplied and summed without overflow or underflow."""
        return (self.tops >= SAFE[0]) & (self.tops <= SAFE[1])

    def slices(self, left: bool) -> Array:
        """Return the vectors cut, side by side along K.

        With v = v0 + v1 + v2, v0 and v1 of `bits` bits each and v2 the rest: (v0, v1, v2) of
        right vectors; of left ones (v1, v0, v2, v - v0, v), so that sections multiply.
        """
        if left not in self._slices:
            self._slices[left] = self._cut(left)
        return self._slices[left]

    def _cut(self, left: bool) -> Array:
        v, length = self.values, self.values.shape[-1]
        count = 5 if left else 3
        if v.strides[1] < v.strides[2]:
            cut = np.empty((v.shape[0], count * length, v.shape[1])).swapaxes(1, 2)
        else:
            cut = np.empty((*v.shape[:2], count * length))
        parts = [cut[..., i * length : (i + 1) * length] for i in range(count)]
        bits = slice_bits(length)
        last = self.tops[..., None] - bits
        rest = parts[3] if left else parts[2]
        first, second, tail = (parts[1], parts[0], parts[2]) if left else parts
        _round_to(v, np.ldexp(1.5, last + 52), first)
        np.subtract(v, first, out=rest)
        _round_to(rest, np.ldexp(1.5, last + 51 - bits), second)
        np.subtract(rest, second, out=tail)
        if left:
            parts[4][...] = v
        return cut

    def tails(self, left: bool) -> Array:
        """Return which vectors (g, rows) have bits beyond their first two slices."""
        length = self.values.shape[-1]
        tail = self.slices(left)[..., 2 * length : 3 * length]
        return np.asarray((tail.max(-1, initial=0.0) > 0) | (tail.min(-1, initial=0.0) < 0))


@dataclass(frozen=True, slots=True)
class Piece:
    """Vectors (g, rows, K) and (g, columns, K); `present` says which of `right` are operands."""

    left: Vectors
    right: Vectors
    present: Callable[[], Array] | None = None


def plain(
    shape: tuple[int, ...], pieces: Iterable[Piece], bias: Array, granule: float, *, wide: bool
) -> tuple[Array, Array]:
    r"""Return inner products (g, rows, columns) of shape `shape` plus bias, and their radii.

    Whatever the order of summation, with fused multiplication or without, n products have an
    error of at most :math:`n u \sum |a_i| |b_i| \le n u \|a\| \|b\|` (Jeannerod and Rump,
    'Improved error bounds for inner products in floating-point arithmetic', 2013; Cauchy and
    Schwarz). Where all products and the bias are multiples of `granule` (0: unknown) and
    :math:`\|a\| \|b\| + |bias|` is at most 2**53 of them, every partial sum is a float64 and
    the radius is 0. `wide` numbers have products beyond float64's exponents.
    """
    sums = np.zeros(shape)
    lefts, rights = np.zeros(shape[:2]), np.zeros(shape[::2])
    some, others = np.zeros(shape[:2], bool), np.zeros(shape[::2], bool)
    steps = longest = total = 0
    for piece in pieces:
        a, b = piece.left, piece.right
        part = np.matmul(a.values, b.values.swapaxes(1, 2))
        sums = np.add(sums, part, out=sums) if steps else part
        lefts, rights = lefts + a.squares, rights + b.squares
        if wide:
            some, others = some | a.some, others | b.some
        length = a.values.shape[-1]
        steps, longest, total = steps + 1, max(longest, length), total + length
    # 1.01 covers the rounding of the squares' sums, of their roots and of the radius; `tiny`
    # covers underflow, of squares and of products.
    tiny = 2.0**-1020 * total if wide else 0.0
    left, right = 1.01 * np.sqrt(lefts + tiny * some), 1.01 * np.sqrt(rights + tiny * others)
    if bias.any():
        sums += bias
    limit = 2.0**53 * granule
    slack = (longest + steps + 8) * UNIT
    bound = float(left.max(initial=0)) * float(right.max(initial=0)) + float(abs(bias).max())
    if bound <= limit:
        return sums, np.zeros((1, 1, 1))
    radius = np.multiply(slack * left[:, :, None], right[:, None, :])
    radius += 8 * UNIT * np.abs(bias)
    if wide:
        radius += tiny * (some[:, :, None] & others[:, None, :])
        radius[~np.isfinite(sums)] = np.inf
    if granule:
        gauge = left[:, :, None] * right[:, None, :] + abs(bias)
        radius[gauge <= limit] = 0.0
    return sums, radius


def split(
    shape: tuple[int, ...], pieces: Iterable[Piece], bias: Array
) -> tuple[Array, Array, Array]:
    r"""Return inner products plus bias as unevaluated sums of two float64, and their radii.

    Each vector is cut at `slice_bits` bits below its largest exponent, and again: products of
    slices, and sums of them, are then exact in a matrix product (Ozaki, Ogita, Oishi and Rump,
    'Error-free transformations of matrix multiplication', 2012):

    .. math:: a b = a_0 b_0 + (a_1 b_0 + a_0 b_1) + (a_2 b_0 + (a - a_0) b_1 + a b_2)

    Only the last bracket is rounded, unless both tails are zero. Its terms are below
    :math:`2^{e_a + e_b - 2 bits - 2}`, 3K of them. Sums are carried by TwoSum (Knuth), whose
    second error goes to the radius. Vectors outside `SAFE` get an infinite radius.
    """
    high, low, radius = np.zeros(shape), np.zeros(shape), np.zeros(shape)
    for piece in pieces:
        a, b = piece.left, piece.right
        length = a.values.shape[-1]
        if not length:
            continue
        left, right = a.slices(left=True), b.slices(left=False).swapaxes(1, 2)
        n = length
        for rows, columns in ((slice(n, 2 * n), n), (slice(0, 2 * n), 2 * n)):
            part = np.matmul(left[..., rows], right[:, :columns])
            high, error = two_sum(high, part)
            low, error = two_sum(low, error)
            radius += np.abs(error)
        low, error = two_sum(low, np.matmul(left[..., 2 * n :], right))
        radius += np.abs(error)
        cut = a.tails(left=True)[:, :, None] | b.tails(left=False)[:, None, :]
        if cut.any():
            factor = 1.01 * UNIT * (3.0 * length) ** 2 * 2.0 ** (-2 * slice_bits(length) - 2)
            size = np.ldexp(factor, a.tops)[:, :, None] * np.ldexp(1.0, b.tops)[:, None, :]
            radius += np.where(cut, size, 0.0)
        radius += np.where(a.safe, 0.0, np.inf)[:, :, None]
        radius += np.where(b.safe, 0.0, np.inf)[:, None, :]
    if bias.any():
        high, error = two_sum(high, bias)
        low, error = two_sum(low, error)
        radius += np.abs(error)
    return *two_sum(high, low), 1.01 * radius


def slice_bits(length: int) -> int:
    """Return how many bits a slice may have so that 2 * length products sum exactly."""
    return (53 - (2 * length - 1).bit_length()) // 2


def two_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """Return the rounded sum and its error, exactly (Knuth, TAOCP 2, 4.2.2)."""
    total = a + b
    shadow = total - a
    error = total - shadow
    np.subtract(a, error, out=error)
    error += b - shadow
    return total, error


def exact(
    pieces: Iterable[Piece], bias: Array, where: tuple[Array, ...], *, wide: bool
) -> tuple[Array, Array]:
    """Return single inner products plus bias, rounded to float64, and the sign of what is left.

    `where` holds their indices (g, rows, columns); `bias` has one number for each.
    """
    g, rows, columns = where
    parts: list[list[float]] = [[number] for number in bias.tolist()]
    whole: dict[int, int] = {}
    for piece in pieces:
        length = max(1, piece.left.values.shape[-1])
        for start in range(0, len(g), max(1, CHUNK // length)):
            some = slice(start, start + max(1, CHUNK // length))
            a = piece.left.values[g[some], rows[some]]
            b = piece.right.values[g[some], columns[some]]
            tame = _tame(a, b) if wide else np.ones(len(a), bool)
            for found, numbers in zip(
                (np.flatnonzero(tame) + start).tolist(),
                _distilled(a[tame], b[tame], wide=wide).T.tolist(),
                strict=True,
            ):
                parts[found] += numbers
            for index in np.flatnonzero(~tame).tolist():
                whole[index + start] = whole.get(index + start, 0) + _integer(a[index], b[index])
    pairs = [_total(numbers, whole.get(i)) for i, numbers in enumerate(parts)]
    value, rest = np.array(pairs).reshape(-1, 2).T
    return value, rest


def _round_to(values: Array, magnet: Array, out: Array) -> None:
    """Round to multiples of the last bit of `magnet`, which is 1.5 times a power of 2."""
    np.add(values, magnet, out=out)
    np.subtract(out, magnet, out=out)


def _tame(a: Array, b: Array) -> Array:
    """Return which pairs of vectors (m, K) have products, and errors of products, in range."""
    exponents = np.frexp(a)[1] + np.frexp(b)[1]
    met = (a != 0) & (b != 0)
    low = np.where(met, exponents, 0).min(-1, initial=0) > -900
    high = np.where(met, exponents, 0).max(-1, initial=0) < 960
    # Veltkamp's splitting multiplies by 2**27.
    return np.asarray(low & high & (np.maximum(abs(a), abs(b)).max(-1, initial=0) < 2.0**990))


def _distilled(a: Array, b: Array, *, wide: bool) -> Array:
    """Return a few numbers for each pair of vectors (m, K), whose exact sum is the inner product.

    Rounding all terms to multiples of a power of 2 that is high enough lets them be summed
    exactly; then the same with what is left of them (Rump, Ogita and Oishi, 'Accurate
    floating-point summation', part I, 2008, algorithm ExtractVector).
    """
    terms = a * b
    if wide:
        terms = np.concatenate([terms, _product_error(a, b, terms)], axis=-1)
    spare = (terms.shape[-1] + 1).bit_length()
    sums = []
    while terms.any():
        tops = np.frexp(abs(terms).max(-1))[1]
        magnet = np.ldexp(1.0, tops + spare)[:, None]
        taken = (magnet + terms) - magnet
        sums.append(taken.sum(-1))
        terms -= taken
    return np.array(sums).reshape(len(sums), len(terms))


def _product_error(a: Array, b: Array, product: Array) -> Array:
    """Return a * b - product, exactly (Dekker, 1971; Veltkamp's splitting)."""
    (a0, a1), (b0, b1) = _halves(a), _halves(b)
    return np.asarray(((a0 * b0 - product) + a0 * b1 + a1 * b0) + a1 * b1)


def _halves(v: Array) -> tuple[Array, Array]:
    scaled = v * (2.0**27 + 1)
    high = scaled - (scaled - v)
    return high, v - high


def _integer(a: Array, b: Array) -> int:
    """Return the inner product of two vectors as a multiple of 2**-SCALE."""
    total = 0
    met = (a != 0) & (b != 0)
    a, b = a[met], b[met]
    (a, first), (b, second) = np.frexp(a), np.frexp(b)
    shifts = (first + second + (SCALE - 106)).tolist()
    mantissas = ((v * 2.0**53).astype(np.int64).tolist() for v in (a, b))
    for x, y, shift in zip(*mantissas, shifts, strict=True):
        total += (x * y) << shift
    return total


def _total(numbers: list[float], whole: int | None) -> tuple[float, float]:
    """Return the exact sum rounded to float64, and the sign of the rest."""
    if whole is None:
        try:
            value = math.fsum(numbers)
            return value + 0.0, math.fsum([*numbers, -value])
        except OverflowError:
            whole = 0
    for number in numbers:
        above, below = number.as_integer_ratio()
        whole += (above << SCALE) // below
    try:
        value = whole / (1 << SCALE)
    except OverflowError:
        return (math.inf if whole > 0 else -math.inf), 0.0
    above, below = value.as_integer_ratio()
    rest = whole - (above << SCALE) // below
    return value, float((rest > 0) - (rest < 0))
