r"""The largest error of an arithmetic, element by element: names, constants and gauges.

Nothing is judged here. A bound is ``growth * gauge`` plus what underflow and the result's own
rounding add; docs/tolerance.md derives every constant, and says what is assumed.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from npconv import formats
from npconv.arguments import Arguments, read, read_grad_output
from npconv.conv import Padding, Pair, conv2d, conv2d_bias, conv2d_input, conv2d_weight
from npconv.geometry import Geometry, shown
from npconv.windows import pad_or_crop, split_groups

Array = np.ndarray[Any, np.dtype[Any]]

OPS = ("forward", "grad_input", "grad_weight", "grad_bias")
CLASSES = ("direct", "winograd2", "winograd4", "winograd6", "fft")

#: Chance that a whole run of correct results has one false alarm, where signs are independent,
#: and the partial sums that such a run may have: docs/tolerance.md, 'Independent signs'.
FALSE_ALARM = 1e-9
PARTIAL_SUMS = 1e15
#: Hoeffding: one sum of n terms of independent signs exceeds LAMBDA times its 2-norm less often
#: than 2*exp(-LAMBDA**2/2), so all of them together less often than FALSE_ALARM.
LAMBDA = math.sqrt(2 * math.log(2 * PARTIAL_SUMS / FALSE_ALARM))


@dataclass(frozen=True, slots=True)
class Format:
    """A floating-point format: significand bits with the hidden one, exponents of 1.xxx."""

    name: str
    bits: int
    least: int
    most: int

    @property
    def unit(self) -> float:
        """Largest relative error of rounding to nearest."""
        return 2.0**-self.bits

    @property
    def normal(self) -> float:
        """The smallest normal number."""
        return math.ldexp(1.0, self.least)

    @property
    def spacing(self) -> float:
        """The distance between subnormal numbers."""
        return math.ldexp(1.0, self.least - self.bits + 1)

    @property
    def overflow(self) -> float:
        """From here up rounding to nearest gives infinity; infinity itself for float64."""
        if self.most == 1023:
            return math.inf
        return math.ldexp(2.0 - self.unit, self.most)


FORMATS = {
    "float64": Format("float64", 53, -1022, 1023),
    "float32": Format("float32", 24, -126, 127),
    "tf32": Format("tf32", 11, -126, 127),
    "bfloat16": Format("bfloat16", 8, -126, 127),
    "float16": Format("float16", 11, -14, 15),
}
FLOAT64 = FORMATS["float64"]
#: The format of a dtype's real part.
DTYPE_FORMATS = {
    **{name: FORMATS[name] for name in formats.FLOATS},
    "complex64": FORMATS["float32"],
    "complex128": FLOAT64,
}


@dataclass(frozen=True, slots=True)
class Arithmetic:
    """How inputs are rounded, products summed and the result rounded, and by which algorithm.

    Attributes
    ----------
    name : str
        As in ``float32/winograd4``.
    inputs, sums, result : Format
        Formats of the factors, of partial sums, and of the result.
    input_unit, sum_unit : float
        Largest relative error of rounding a factor, and of one operation of the sum: twice
        the format's where hardware is known to truncate.
    dropped : float
        Relative size of the products that a splitting leaves out, above `input_unit`.
    products : int
        Products summed for each product of the convolution.
    algorithm : str
        'direct', 'winograd2', 'winograd4', 'winograd6' or 'fft'.
    """

    name: str
    inputs: Format
    sums: Format
    result: Format
    input_unit: float
    sum_unit: float
    dropped: float = 0.0
    products: int = 1
    algorithm: str = "direct"


def _table() -> dict[str, Arithmetic]:
    f64, f32, tf32, bf16, f16 = (
        FORMATS[name] for name in ("float64", "float32", "tf32", "bfloat16", "float16")
    )
    truncated = 2 * f32.unit
    rows = [
        Arithmetic("float64", f64, f64, f64, f64.unit, f64.unit),
        Arithmetic("float32", f32, f32, f32, f32.unit, f32.unit),
        # Tensor cores cut factors to TF32 and align addends with truncation (Fasi, Higham,
        # Mikaitis and Pranesh, 'Numerical behavior of NVIDIA tensor cores', 2021).
        Arithmetic("tf32", tf32, f32, f32, 2 * tf32.unit, truncated),
        Arithmetic("bfloat16", bf16, f32, bf16, bf16.unit, truncated),
        Arithmetic("float16", f16, f32, f16, f16.unit, truncated),
        # x = x1 + x2 + x3 in bfloat16, each remainder rounded to nearest: |x2| <= 2**-8 |x|,
        # |x3| <= 2**-16 |x|, and nothing is left of 24 bits. Left out of the nine products:
        # those of weight 2**-16 and less (3 kept), 2**-24 and less (6 kept), none (9 kept).
        Arithmetic("bf16x3", f32, f32, f32, 0.0, truncated, 3.1 * 2.0**-16, 3),
        Arithmetic("bf16x6", f32, f32, f32, 0.0, truncated, 2.1 * 2.0**-24, 6),
        Arithmetic("bf16x9", f32, f32, f32, 0.0, truncated, 0.0, 9),
        Arithmetic("float16-accumulate", f16, f16, f16, f16.unit, f16.unit),
        Arithmetic("bfloat16-accumulate", bf16, bf16, bf16, bf16.unit, bf16.unit),
        Arithmetic("integer", f64, f64, f64, 0.0, 0.0),
    ]
    return {row.name: row for row in rows}


ARITHMETICS = _table()


def parse(name: str) -> Arithmetic:
    """Return the arithmetic of a name such as ``float32/winograd4``; else raise ValueError.

    Examples
    --------
    >>> from npconv import bounds
    >>> bounds.parse("float16/winograd2").sums.name
    'float32'
    >>> bounds.parse("tf32").inputs.bits
    11
    """
    base, slash, algorithm = str(name).partition("/")
    if (
        base not in ARITHMETICS
        or (slash and algorithm not in CLASSES)
        or (slash and base == "integer")
    ):
        raise ValueError(
            f"arithmetic={shown(name)} must be one of {', '.join(ARITHMETICS)}, "
            f"alone or with one of {', '.join('/' + c for c in CLASSES)}"
        )
    if not slash or algorithm == "direct":
        return ARITHMETICS[base]
    return replace(ARITHMETICS[base], name=name, algorithm=algorithm)


def default_for(dtype: str) -> str:
    """Return the name of the arithmetic that a dtype is expected to have."""
    if dtype in formats.SIGNED + formats.UNSIGNED:
        return "integer"
    return DTYPE_FORMATS[dtype].name


@dataclass(frozen=True, slots=True)
class Bound:
    """The largest error of each element, and the gauge that it is measured against."""

    values: Array
    gauge: Array


def error_bound(
    op: str,
    *arrays: Any,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    arithmetic: str | None = None,
) -> Array:
    r"""Return the largest error that an arithmetic can make, for any order of sums, any data.

    .. math::

        |\hat y - y| \le \bigl((1+u)^n (1+v)^2 - 1\bigr) \, (|x| * |w| + |b|)
            + u_r |y| + \text{underflow}

    with n roundings on the longest way from a factor to the result, u the error of one of them,
    v that of rounding a factor, and u_r that of rounding the result to fewer bits.

    Parameters
    ----------
    op : str
        'forward', 'grad_input', 'grad_weight' or 'grad_bias'.
    arrays
        What the operation's call takes first: (input, weight[, bias]), (input_size, weight,
        grad_output), (input, weight_size, grad_output), (grad_output).
    stride, padding, dilation, groups
        As in `conv2d`.
    arithmetic : str, optional
        A name such as 'float32', 'tf32', 'float16-accumulate' or 'float32/winograd4'; by default
        the arrays' dtype with a direct sum. Factors are taken to be rounded where their dtype
        has more bits than the arithmetic's.

    Returns
    -------
    numpy.ndarray
        float64, the result's shape. Infinity where a NaN or an infinity reaches, zero where all
        products are zero. For complex numbers one bound for both parts.

    Raises
    ------
    ValueError
        If there is no such operation or arithmetic; else as `conv2d`.
    TypeError
        As `conv2d`.

    Notes
    -----
    Source: Higham, 'Accuracy and Stability of Numerical Algorithms' (2002), chapters 3 and 24;
    Jeannerod and Rump, 'Improved error bounds for inner products in floating-point arithmetic'
    (2013); docs/tolerance.md derives the whole.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv
    >>> x = np.ones((1, 2, 3, 3), np.float32)
    >>> w = np.ones((1, 2, 3, 3), np.float32)
    >>> bound = npconv.error_bound("forward", x, w, arithmetic="float32")
    >>> bound.shape, round(float(bound[0, 0, 0, 0] / (18 * 18 * 2.0**-24)), 3)
    ((1, 1, 1, 1), 1.0)
    """
    call = arguments(op, arrays, stride, padding, dilation, groups)
    chosen = parse(default_for(call.dtype.name) if arithmetic is None else arithmetic)
    return bound(call, chosen).values


@dataclass(frozen=True, slots=True)
class Call:
    """One operation on its arrays, read: what `bound` and a reference value are made of."""

    op: str
    arrays: tuple[Any, ...]
    geometry: Geometry | None
    stride: Any
    padding: Any
    dilation: Any
    groups: Any
    dtype: np.dtype[Any]

    @property
    def factors(self) -> dict[str, Array]:
        """The arrays by name, without sizes."""
        names = {
            "forward": ("input", "weight", "bias"),
            "grad_input": ("input_size", "weight", "grad_output"),
            "grad_weight": ("input", "weight_size", "grad_output"),
            "grad_bias": ("grad_output",),
        }[self.op]
        return {
            name: array
            for name, array in zip(names, self.arrays, strict=False)
            if array is not None and not name.endswith("_size")
        }

    def on(self, factors: Mapping[str, Array], dtype: Any = None, calls: Any = None) -> Array:
        """Compute the operation on other arrays of the same shapes, by npconv's calls or others."""
        forward, to_input, to_weight, to_bias = (
            (conv2d, conv2d_input, conv2d_weight, conv2d_bias)
            if calls is None
            else (calls.conv2d, calls.conv2d_input, calls.conv2d_weight, calls.conv2d_bias)
        )
        rest = (self.stride, self.padding, self.dilation, self.groups)
        if self.op == "forward":
            bias = factors.get("bias")
            return np.asarray(
                forward(factors["input"], factors["weight"], bias, *rest, dtype=dtype)
            )
        error = factors["grad_output"]
        if self.op == "grad_input":
            return np.asarray(
                to_input(self.arrays[0], factors["weight"], error, *rest, dtype=dtype)
            )
        if self.op == "grad_weight":
            return np.asarray(
                to_weight(factors["input"], self.arrays[1], error, *rest, dtype=dtype)
            )
        return np.asarray(to_bias(error, dtype=dtype))


def arguments(
    op: Any,
    arrays: Sequence[Any],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
    *,
    caller: str = "error_bound",
) -> Call:
    """Read an operation's arguments as its own call does; refuse an unknown operation."""
    if not isinstance(op, str) or op not in OPS:
        raise ValueError(f"{caller}: op={shown(op)} must be one of {', '.join(OPS)}")
    counts = {"forward": (2, 3), "grad_input": (3, 3), "grad_weight": (3, 3), "grad_bias": (1, 1)}
    low, high = counts[op]
    if not low <= len(arrays) <= high:
        wanted = f"{low}" if low == high else f"{low} or {high}"
        raise TypeError(f"{caller}: op={op!r} takes {wanted} arrays, not {len(arrays)}")
    if op == "grad_bias":
        grad, dtype, _ = read_grad_output(caller, arrays[0], None)
        return Call(op, (grad,), None, stride, padding, dilation, groups, dtype)
    named: dict[str, Any]
    sizes: dict[str, Any] = {}
    if op == "forward":
        named = {"input": arrays[0], "weight": arrays[1], "bias": (*arrays, None)[2]}
    elif op == "grad_input":
        sizes, named = {"input_size": arrays[0]}, {"weight": arrays[1], "grad_output": arrays[2]}
    else:
        sizes, named = {"weight_size": arrays[1]}, {"input": arrays[0], "grad_output": arrays[2]}
    read_: Arguments = read(caller, named, sizes, stride, padding, dilation, groups, None)
    given = tuple(
        tuple(int(size) for size in array)
        if position == (0 if op == "grad_input" else 1) and sizes
        else None if array is None else np.asarray(array)
        for position, array in enumerate(arrays)
    )  # fmt: skip
    return Call(op, given, read_.geometry, stride, padding, dilation, groups, read_.dtype)


def bound(
    call: Call, arithmetic: Arithmetic, *, value: Array | None = None, signs: bool = False
) -> Bound:
    """Return the bound of one operation.

    `signs` says that one factor's signs are random and independent of all else. `value` is the
    right result where the caller has it already; it is needed only where the result has fewer
    bits than the sums.
    """
    factors = {name: size(array) for name, array in call.factors.items()}
    if arithmetic.name == "integer":
        zero = np.zeros(call.on(factors).shape)
        return Bound(zero, zero)
    with np.errstate(all="ignore"):
        gauge = call.on(factors)
        # What float64 rounded away from the gauge itself.
        gauge = gauge * (1 + 2.0**-50 * (terms(call) + 8))
        errors = _direct(call, arithmetic, factors, gauge, signs)
        wide = gauge
        if arithmetic.algorithm != "direct" and call.op != "grad_bias":
            relative, wide = _transformed(call, arithmetic, factors, gauge)
            errors = np.maximum(errors, relative * wide)
        errors = errors + _small(call, arithmetic, factors) + _underflow(call, arithmetic, factors)
        if arithmetic.result.bits < arithmetic.sums.bits:
            if value is None:
                value = call.on(call.factors, _wide(call.dtype))
            errors = errors + arithmetic.result.unit * (size(value) + errors)
            errors = errors + _least(arithmetic.result)
        errors = np.where(wide == 0, 0.0, errors)
        if _overflowing(call, arithmetic, factors):
            errors = np.full_like(errors, np.inf)
    return Bound(np.where(np.isfinite(errors), errors, np.inf), wide)


def size(array: Array) -> Array:
    """Return magnitudes as float64; |re| + |im| for complex numbers."""
    if array.dtype.kind == "c":
        parts = np.abs(array.real).astype(np.float64) + np.abs(array.imag).astype(np.float64)
        return np.asarray(parts)
    return np.asarray(np.abs(array.astype(np.float64)))


def terms(call: Call) -> int:
    """Return how many products one element of the result has, at the most."""
    geometry = call.geometry
    if geometry is None:
        grad = call.arrays[0]
        return int(grad.size // max(1, grad.shape[1]))
    if call.op == "forward":
        return geometry.forward_terms
    if call.op == "grad_weight":
        return geometry.weight_terms
    # Along an axis an element meets only the taps of its own residue modulo the stride.
    taps = [
        min(axis.out, -(-axis.kernel * math.gcd(axis.stride, axis.dilation) // axis.stride))
        for axis in geometry.axes
    ]
    return geometry.group_out * math.prod(taps)


def growth(unit: float, roundings: int) -> float:
    """Return ``(1 + unit)**roundings - 1``, a hair above; infinity where that is."""
    exponent = roundings * math.log1p(unit)
    return math.expm1(exponent) * (1 + 2.0**-40) if exponent < 700 else math.inf


def _roundings(call: Call, arithmetic: Arithmetic) -> int:
    """Return the most roundings between a product's factors and the result.

    n products summed in any order have at most n: its own and n - 1 additions, one fewer where
    they are fused; a bias is one more addition.
    """
    count = arithmetic.products * terms(call) + (call.op == "forward" and "bias" in call.factors)
    return max(1, count)


def _input_growth(call: Call, arithmetic: Arithmetic) -> float:
    """Return the relative error of a product that comes from rounding its factors."""
    given = DTYPE_FORMATS.get(call.dtype.name, FLOAT64)
    unit = arithmetic.input_unit if given.bits > arithmetic.inputs.bits else 0.0
    factors = 1 if call.op == "grad_bias" else 2
    return ((1 + unit) ** factors) * (1 + arithmetic.dropped) - 1


def _direct(
    call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array], gauge: Array, signs: bool
) -> Array:
    u, n = arithmetic.sum_unit, _roundings(call, arithmetic)
    entry = _input_growth(call, arithmetic)
    if call.dtype.kind == "c" and call.op != "grad_bias":
        # Both parts of a product from three real ones: sums of magnitude up to twice the gauge,
        # two more roundings on the way in and two on the way out; or four products, 2n terms.
        factor = max(2 * growth(u, n + 4), growth(u, 2 * n))
        return np.asarray(((1 + factor) * (1 + 2 * entry) - 1) * gauge)
    # The pieces of a splitting are a little more than the whole.
    pieces = 1.02 if arithmetic.products > 1 else 1.0
    worst = ((1 + pieces * growth(u, n)) * (1 + entry) - 1) * gauge
    # Truncation errs by more than the unit of a sum whose terms cancel.
    if not signs or n * u > 0.01 or u > arithmetic.sums.unit:
        return np.asarray(worst)
    squares = call.on({name: array * array for name, array in factors.items()})
    norm = np.sqrt(squares) * (1 + 2.0**-40)
    likely = u * (n * LAMBDA * norm * (1 + entry) + gauge * (1 + entry)) / (1 - n * u)
    return np.minimum(worst, likely + entry * gauge)


def _overflowing(call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array]) -> bool:
    """Whether a factor becomes infinite where it is rounded to the format of inputs."""
    given = DTYPE_FORMATS.get(call.dtype.name, FLOAT64)
    if given.bits <= arithmetic.inputs.bits:
        return False
    return any(
        array[np.isfinite(array)].max(initial=0) >= arithmetic.inputs.overflow
        for array in factors.values()
    )


def _small(call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array]) -> Array | float:
    """Return what is lost at most of factors too small to be rounded relatively: all of them.

    Such are subnormal numbers of the format that they are rounded to, and, as hardware may take
    them for zero, of every format but float16; pieces of a splitting vanish earlier.
    """
    given = DTYPE_FORMATS.get(call.dtype.name, FLOAT64)
    if given.bits <= arithmetic.inputs.bits and given.least > FORMATS["float32"].least:
        return 0.0
    least = max(arithmetic.inputs.normal, given.normal) * (
        2.0**24 if arithmetic.products > 1 else 1
    )
    lost: Array | float = 0.0
    for name, array in factors.items():
        small = (array > 0) & (array < least)
        if small.any():
            others = {
                other: np.zeros_like(found) if "bias" in (name, other) else found
                for other, found in factors.items()
            }
            lost = lost + call.on({**others, name: np.where(small, array, 0.0)})
    return 1.01 * lost


def _least(result: Format) -> float:
    """Return the error of a rounding that underflows: gradual in float16, else flushed."""
    return result.spacing / 2 if result.least > -126 else result.normal


def _underflow(call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array]) -> float:
    """Return the most that underflow adds: once for each product and each addition."""
    n = _roundings(call, arithmetic) * (4 if call.dtype.kind == "c" else 1)
    lost = 2.0 * (n + 1) * _least(arithmetic.sums)
    if arithmetic.algorithm == "direct" or call.op == "grad_bias":
        return lost
    # What vanishes in a transform is multiplied by the other factor and by the matrices.
    largest = max((float(a[np.isfinite(a)].max(initial=0)) for a in factors.values()), default=0.0)
    return 2.0**10 * lost * (1 + largest)


def _wide(dtype: np.dtype[Any]) -> Any:
    return np.complex128 if dtype.kind == "c" else np.float64


# ------------------------------------------------------------ Winograd and FFT


def _transformed(
    call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array], gauge: Array
) -> tuple[float, Array]:
    """Return (relative error, gauge) of a class; of the direct sum where it does not apply."""
    assert call.geometry is not None
    entry = _input_growth(call, arithmetic)
    if arithmetic.algorithm == "fft":
        relative, wide = _fft(call, arithmetic, factors)
    elif all(axis.stride == axis.dilation == 1 for axis in call.geometry.axes):
        relative, wide = _winograd(call, arithmetic, factors, int(arithmetic.algorithm[-1]))
    else:
        return 0.0, gauge
    if call.dtype.kind == "c":
        relative, wide = (1 + 2 * relative) * (1 + growth(arithmetic.sum_unit, 4)) - 1, 2 * wide
    if call.op == "forward" and "bias" in factors:
        bias = factors["bias"].reshape(-1, *(1 for _ in call.geometry.axes))
        relative = (1 + relative) * (1 + arithmetic.sum_unit) - 1
        wide = wide + bias
    return (1 + relative) * (1 + entry) - 1, np.maximum(wide, gauge)


@dataclass(frozen=True, slots=True)
class Transform:
    """Matrices of F(m, r) on one axis: ``A^T [(G g) * (B^T d)]`` are m outputs of r taps."""

    output: tuple[tuple[Fraction, ...], ...]
    kernel: tuple[tuple[Fraction, ...], ...]
    data: tuple[tuple[Fraction, ...], ...]

    @property
    def amplification(self) -> tuple[Array, int]:
        """How much larger the absolute sums are than a direct one, per tap; and all roundings."""
        a, g, b = (
            np.array([[float(abs(x)) for x in row] for row in matrix])
            for matrix in (self.output, self.kernel, self.data)
        )
        # Rows of b are the points; summed over the elements of the tile.
        reach = np.einsum("is,sk,sa->ik", a, g, b).max(axis=0)
        counts = [int((matrix != 0).sum(axis=1).max()) for matrix in (a, g, b)]
        return reach, sum(count + 1 for count in counts)


#: The points of evaluation in the order in which they are taken, infinity besides.
POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2), 4, -4, Fraction(1, 4), Fraction(-1, 4))


def winograd(outputs: int, taps: int) -> Transform:
    """Return the Toom-Cook matrices of F(outputs, taps) on the first `POINTS` and infinity.

    Examples
    --------
    >>> from npconv import bounds
    >>> [[str(x) for x in row] for row in bounds.winograd(2, 3).data]
    [['-1', '0', '1', '0'], ['0', '1', '1', '0'], ['0', '-1', '1', '0'], ['0', '-1', '0', '1']]
    """
    count = outputs + taps - 2
    points = [Fraction(point) for point in POINTS[:count]]
    norms = [math.prod((p - q for q in points if q != p), start=Fraction(1)) for p in points]
    output = tuple(
        (*(p**i for p in points), Fraction(int(i == outputs - 1))) for i in range(outputs)
    )
    kernel = [
        tuple(p**k / norm for k in range(taps)) for p, norm in zip(points, norms, strict=True)
    ]
    kernel.append(tuple(Fraction(int(k == taps - 1)) for k in range(taps)))
    data = [_polynomial([q for q in points if q != p], count + 1) for p in points]
    data.append(_polynomial(points, count + 1))
    return Transform(output, tuple(kernel), tuple(data))


def _polynomial(roots: Sequence[Fraction], length: int) -> tuple[Fraction, ...]:
    """Return the coefficients of the product of (z - root), the constant one first."""
    found = [Fraction(1)]
    for root in roots:
        found = [
            a - root * b for a, b in zip([Fraction(0), *found], [*found, Fraction(0)], strict=True)
        ]
    return (*found, *(Fraction(0),) * (length - len(found)))


def _winograd(
    call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array], tile: int
) -> tuple[float, Array]:
    r"""Return the relative error and the gauge of F(tile x tile, kernel).

    Every path from an element to an output has a bounded number of roundings, so the error is
    ``(1+u)**P - 1`` times :math:`|A^T| (\sum_c |G||g||G^T| \odot |B^T||d||B|) |A|` (Barabasz,
    Anderson, Soodhalter and Gregg, 'Error analysis and improving the accuracy of Winograd
    convolution', 2020). Where tiles begin is not known: each element of d is replaced by the
    largest around.
    """
    geometry = call.geometry
    assert geometry is not None
    reaches, roundings, around = [], 1, []
    for axis in geometry.axes:
        m, r = (axis.kernel, tile) if call.op == "grad_weight" else (tile, axis.kernel)
        if axis.kernel == 1 or m + r - 2 > len(POINTS):
            # One tap has nothing to transform; such long ones no such algorithm.
            reaches.append(np.ones(r))
            around.append((0, axis.kernel - 1))
            continue
        reach, count = winograd(m, r).amplification
        reaches.append(reach)
        roundings += count
        around.append((tile - 1, tile + axis.kernel - 2))
    groups = geometry.groups
    if call.op == "grad_weight":
        x = split_groups(_batched(factors["input"]), groups, 1)
        e = split_groups(_batched(factors["grad_output"]), groups, 1)
        near = _largest(x, [(a.before, a.after) for a in geometry.axes], around, geometry.kernel)
        wide = np.einsum("ngcyx,ngfyx->gfc", near, e) * math.prod(r.max() for r in reaches)
        shape = geometry.weight_shape
        wide = np.broadcast_to(wide.reshape(shape[:2])[..., None, None], shape)
        tiles = math.prod(-(-axis.out // tile) + 1 for axis in geometry.axes)
        return growth(arithmetic.sum_unit, roundings + max(1, geometry.batch * tiles)), wide
    weights = split_groups(factors["weight"], groups, 0)
    if call.op == "forward":
        d = split_groups(_batched(factors["input"]), groups, 1)
        pads = [(a.before, a.after) for a in geometry.axes]
        channels, letters = geometry.group_in, "gfc"
        total = np.einsum("gfckt,k,t->gfc", weights, *reaches)
        shape = geometry.output_shape
    else:
        d = split_groups(_batched(factors["grad_output"]), groups, 1)
        pads = [axis.adjoint_pads for axis in geometry.axes]
        channels, letters = geometry.group_out, "gcf"
        flipped = [reach[::-1] for reach in reaches]
        total = np.einsum("gfckt,k,t->gcf", weights, *flipped)
        shape = geometry.input_shape
    near = _largest(d, pads, around, geometry.kernel)
    wide = np.einsum(f"ng{letters[2]}yx,{letters}->ng{letters[1]}yx", near, total)
    return growth(arithmetic.sum_unit, roundings + channels), wide.reshape(shape)


def _batched(array: Array) -> Array:
    return array if array.ndim == 4 else array[None]


def _largest(
    array: Array,
    pads: Sequence[tuple[int, int]],
    around: Sequence[tuple[int, int]],
    kernel: Sequence[int],
) -> Array:
    """Return the largest magnitude around each window's first element: `before` to `after` it."""
    widened = [
        (p + before, q + after - taps + 1)
        for (p, q), (before, after), taps in zip(pads, around, kernel, strict=True)
    ]
    padded = pad_or_crop(array, widened)
    for axis, (before, after) in zip(range(-len(pads), 0), around, strict=True):
        view = np.lib.stride_tricks.sliding_window_view(padded, before + after + 1, axis=axis)
        padded = view.max(axis=-1)
    return padded


def _fft(call: Call, arithmetic: Arithmetic, factors: Mapping[str, Array]) -> tuple[float, Array]:
    r"""Return the relative error and the gauge of products of transforms of whole planes.

    One transform of length L errs by at most ``eta * log2(L)`` of its 2-norm (Higham 2002,
    theorem 24.2; Schatzman, 'Accuracy of the discrete Fourier transform', 1996); by Parseval and
    Cauchy-Schwarz a correlation of planes errs by that much of the product of their norms.
    """
    geometry = call.geometry
    assert geometry is not None
    u = arithmetic.sum_unit
    # Twice the constant of radix 2, u + gamma_4 * (sqrt(2) + u), serves radices to 11.
    eta = 2 * (u + 4.01 * u * (math.sqrt(2) + u))
    levels = sum(
        math.ceil(math.log2(max(2, axis.padded + 2 * axis.span))) for axis in geometry.axes
    )
    norms = {
        name: _norms(_batched(factors[name]) if name != "weight" else factors[name])
        for name in factors
        if name != "bias"
    }
    g = geometry.groups
    if call.op == "forward":
        (x, _), (_, w) = norms["input"], norms["weight"]
        wide = np.einsum("ngc,gfc->ngf", split_groups(x, g, 1), split_groups(w, g, 0))
        count, shape = geometry.group_in, geometry.output_shape
    elif call.op == "grad_input":
        (e, _), (_, w) = norms["grad_output"], norms["weight"]
        wide = np.einsum("ngf,gfc->ngc", split_groups(e, g, 1), split_groups(w, g, 0))
        count, shape = geometry.group_out, geometry.input_shape
    else:
        pairs = list(itertools.zip_longest(norms["input"], norms["grad_output"]))
        (x2, e2), (x1, e1) = pairs
        wide = np.minimum(
            *(
                np.einsum("ngc,ngf->gfc", split_groups(x, g, 1), split_groups(e, g, 1))
                for x, e in ((x2, e1), (x1, e2))
            )
        )
        count, shape = geometry.batch, geometry.weight_shape
    if call.op == "grad_weight":
        wide = np.broadcast_to(wide.reshape(shape[:2])[..., None, None], shape)
    else:
        lead = shape[: len(shape) - 2]
        wide = np.broadcast_to(wide.reshape(lead)[..., None, None], shape)
    error = eta * levels
    if error * 3 > 1:
        return math.inf, wide
    return (1 + error / (1 - error)) ** 3 * (1 + growth(u, count + 4)) - 1, wide


def _norms(array: Array) -> tuple[Array, Array]:
    """Return the 2-norm and the sum of magnitudes of each plane."""
    return np.sqrt((array * array).sum(axis=(-2, -1))), array.sum(axis=(-2, -1))
