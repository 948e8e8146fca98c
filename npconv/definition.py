"""Nothing but the definition of convolution and its gradients, as loops over Python numbers.

The second witness: it imports nothing of npconv and no array library, and it prefers what is
believed at sight over what is fast. The arithmetic is exact: int stays int, a finite float becomes
a Fraction, a complex number a pair of Fractions; inf and nan follow IEEE 754.
"""

import functools
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import product
from numbers import Complex, Real
from typing import Any, ParamSpec, TypeVar

__all__ = ["conv2d", "conv2d_backward", "conv2d_bias", "conv2d_input", "conv2d_weight"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

_INT, _REAL, _COMPLEX = range(3)
_INTEGERS = {f"{u}int{bits}": (bits, not u) for u in ("", "u") for bits in (8, 16, 32, 64)}
_FLOATS = {  # significand bits with the hidden one, exponents of the least and greatest normal
    "float16": (11, -14, 15),
    "bfloat16": (8, -126, 127),
    "float32": (24, -126, 127),
    "float64": (53, -1022, 1023),
}
_COMPLEXES = {"complex64": "float32", "complex128": "float64"}


def _named(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Put the function's name in front of every error it raises."""

    @functools.wraps(function)
    def named(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        try:
            return function(*args, **kwargs)
        except (TypeError, ValueError) as error:
            raise type(error)(f"definition.{function.__name__}: {error}") from None

    return named


@_named
def conv2d(
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    dtype: Any = None,
) -> Any:
    """Convolve a batch of images with a bank of kernels.

    ::

        output[n, f, oh, ow] = bias[f] + sum over c, kh, kw of
            input[n, first(f) + c, oh*sh + kh*dh - top, ow*sw + kw*dw - left] * weight[f, c, kh, kw]

    with first(f) = (f // (F/groups)) * C/groups, and input zero outside of its rows and columns.

    Parameters
    ----------
    input : (N, C, H, W) or (C, H, W), nested lists or anything with ``tolist``
        N and C may be 0; a nested list hides the sizes behind an empty axis and is then refused.
    weight : (F, C/groups, KH, KW)
    bias : (F,), optional
    stride, dilation : int or sequence of 1 or 2 ints, from 1 up
    padding : int or sequence of 1 or 2 ints from 0 up, str, or ((top, bottom), (left, right))
        'valid' is 0. 'same_upper' and 'same_lower' give ceil(H/sh) rows, an odd row of padding at
        the bottom or at the top; 'same' is 'same_upper' for stride 1 alone. Negative numbers, in
        the last form only, crop. Zeros of padding are operands: under an infinite weight, nan.
    groups : int from 1 up
    dtype : str or NumPy dtype, optional
        Convert each exact element once: integers wrap, floats round to nearest, ties to even.

    Returns
    -------
    nested lists of the output's shape, (N, F, OH, OW) or (F, OH, OW)
        of int, Fraction or pairs (re, im) of Fractions, with the floats inf and nan where not
        finite; under `dtype` of int, float or complex.

    Raises
    ------
    ValueError, TypeError
        A bad value or shape; a bad type.

    Notes
    -----
    Goodfellow, Bengio and Courville, Deep Learning (2016), ch. 9; Dumoulin and Visin,
    arXiv:1603.07285; torch.nn.functional.conv2d.

    Examples
    --------
    >>> conv2d([[[1, 2, 3], [4, 5, 6]]], [[[[1, 10]]]])
    [[[21, 32], [54, 65]]]
    """
    x = _read("input", input, (3, 4))
    w = _read("weight", weight, (4,))
    g = _geometry(x.shape, w.shape, stride, padding, dilation, groups)
    b = _read("bias", [0] * g.F if bias is None else bias, (1,), (g.F,))
    convert = _converter(dtype, x, w, b)
    output = []
    for n, f, oh, ow in product(range(g.N), range(g.F), range(g.OH), range(g.OW)):
        first = g.first_channel(f)
        total: Any = 0
        for c, kh, kw in product(range(g.CG), range(g.KH), range(g.KW)):
            row = oh * g.sh + kh * g.dh - g.top
            column = ow * g.sw + kw * g.dw - g.left
            inside = 0 <= row < g.H and 0 <= column < g.W
            element = x.values[n][first + c][row][column] if inside else x.zero
            total += element * w.values[f][c][kh][kw]
        output.append(convert(total * (x.unit * w.unit) + b.values[f] * b.unit))
    return _nest(output, g.output_size)


@_named
def conv2d_input(
    input_size: Any,
    weight: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    dtype: Any = None,
) -> Any:
    """Compute the gradient of conv2d with respect to its input.

    ::

        grad_input[n, first(f) + c, h, w] = sum of grad_output[n, f, oh, ow]
            * conj(weight[f, c, kh, kw]) over all f, oh, ow, kh, kw that read it, that is, with
            h = oh*sh + kh*dh - top and w = ow*sw + kw*dw - left

    Shapes, errors and sources as in `conv2d`, whose input has the shape `input_size`;
    grad_output has the shape of its output. Returns nested lists of shape `input_size`.

    Examples
    --------
    >>> conv2d_input((1, 1, 3), [[[[1, 10]]]], [[[1, 2]]])
    [[[1, 12, 20]]]
    """
    size = _ints("input_size", input_size, (3, 4), 0)
    w = _read("weight", weight, (4,))
    g = _geometry(size, w.shape, stride, padding, dilation, groups)
    return _input_gradient(g, w, _read("grad_output", grad_output, (3, 4), g.output_size), dtype)


def _input_gradient(g: "_Geometry", w: "_Array", e: "_Array", dtype: Any) -> Any:
    """Send the gradient e of each output element back along every tap that read an element."""
    convert = _converter(dtype, w, e)
    grad: dict[Any, Any] = dict.fromkeys(product(range(g.N), range(g.C), range(g.H), range(g.W)), 0)
    for n, f, oh, ow in product(range(g.N), range(g.F), range(g.OH), range(g.OW)):
        first = g.first_channel(f)
        for c, kh, kw in product(range(g.CG), range(g.KH), range(g.KW)):
            row = oh * g.sh + kh * g.dh - g.top
            column = ow * g.sw + kw * g.dw - g.left
            if 0 <= row < g.H and 0 <= column < g.W:
                term = e.values[n][f][oh][ow] * w.values[f][c][kh][kw].conjugate()
                grad[n, first + c, row, column] += term
    return _nest([convert(total * (e.unit * w.unit)) for total in grad.values()], g.input_size)


@_named
def conv2d_weight(
    input: Any,
    weight_size: Any,
    grad_output: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    *,
    dtype: Any = None,
) -> Any:
    """Compute the gradient of conv2d with respect to its weight.

    ::

        grad_weight[f, c, kh, kw] = sum over n, oh, ow of grad_output[n, f, oh, ow]
            * conj(input[n, first(f) + c, oh*sh + kh*dh - top, ow*sw + kw*dw - left])

    Shapes, errors and sources as in `conv2d`, whose weight has the shape `weight_size`;
    grad_output has the shape of its output. Returns nested lists of shape `weight_size`.

    Examples
    --------
    >>> conv2d_weight([[[1, 2, 3]]], (1, 1, 1, 2), [[[1, 10]]])
    [[[[21, 32]]]]
    """
    x = _read("input", input, (3, 4))
    size = _ints("weight_size", weight_size, (4,), 0)
    g = _geometry(x.shape, size, stride, padding, dilation, groups)
    return _weight_gradient(g, x, _read("grad_output", grad_output, (3, 4), g.output_size), dtype)


def _weight_gradient(g: "_Geometry", x: "_Array", e: "_Array", dtype: Any) -> Any:
    """Sum, for each tap, the gradient e of each output element times what the tap read there."""
    convert = _converter(dtype, x, e)
    grad = []
    for f, c, kh, kw in product(range(g.F), range(g.CG), range(g.KH), range(g.KW)):
        first = g.first_channel(f)
        total: Any = 0
        for n, oh, ow in product(range(g.N), range(g.OH), range(g.OW)):
            row = oh * g.sh + kh * g.dh - g.top
            column = ow * g.sw + kw * g.dw - g.left
            inside = 0 <= row < g.H and 0 <= column < g.W
            element = x.values[n][first + c][row][column] if inside else x.zero
            total += e.values[n][f][oh][ow] * element.conjugate()
        grad.append(convert(total * (e.unit * x.unit)))
    return _nest(grad, (g.F, g.CG, g.KH, g.KW))


@_named
def conv2d_bias(grad_output: Any, *, dtype: Any = None) -> Any:
    """Compute the gradient of conv2d with respect to its bias.

    ::

        grad_bias[f] = sum over n, oh, ow of grad_output[n, f, oh, ow]

    grad_output is (N, F, OH, OW) or (F, OH, OW); errors and sources as in `conv2d`. Returns a list
    of F numbers.

    Examples
    --------
    >>> conv2d_bias([[[1, 2], [3, 4]], [[10, 20], [30, 40]]])
    [10, 100]
    """
    e = _read("grad_output", grad_output, (3, 4))
    if 0 in e.shape[-3:]:
        raise ValueError(f"grad_output.shape={e.shape} may be empty along the batch only")
    return _bias_gradient(e, dtype)


def _bias_gradient(e: "_Array", dtype: Any) -> Any:
    """Sum the gradient e of each channel."""
    convert = _converter(dtype, e)
    grad: list[Any] = [0] * e.shape[-3]
    for image in e.values:
        for f, rows in enumerate(image):
            for row in rows:
                for error in row:
                    grad[f] += error
    return [convert(total * e.unit) for total in grad]


@_named
def conv2d_backward(
    grad_output: Any,
    input: Any,
    weight: Any,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
    output_mask: Any = (True, True, True),
    *,
    dtype: Any = None,
) -> tuple[Any, Any, Any]:
    """Compute the gradients of conv2d with respect to input, weight and bias.

    The formulas, shapes and errors are those of `conv2d_input`, `conv2d_weight` and `conv2d_bias`.
    Returns their three results, None where `output_mask` is False.

    Examples
    --------
    >>> conv2d_backward([[[1, 10]]], [[[1, 2, 3]]], [[[[1, 2]]]], output_mask=(True, True, False))
    ([[[1, 12, 20]]], [[[[21, 32]]]], None)
    """
    mask = _plain(output_mask)
    if not _is_sequence(mask) or not all(isinstance(_plain(wanted), bool) for wanted in mask):
        raise TypeError(f"output_mask={mask!r} must be 3 bools")
    if len(mask) != 3:
        raise ValueError(f"output_mask={mask!r} must be 3 bools")
    x = _read("input", input, (3, 4))
    w = _read("weight", weight, (4,))
    g = _geometry(x.shape, w.shape, stride, padding, dilation, groups)
    e = _read("grad_output", grad_output, (3, 4), g.output_size)
    return (
        _input_gradient(g, w, e, dtype) if mask[0] else None,
        _weight_gradient(g, x, e, dtype) if mask[1] else None,
        _bias_gradient(e, dtype) if mask[2] else None,
    )


# Numbers. Exact ones are int and Fraction; the two classes add what those cannot hold.


@dataclass(slots=True)
class _NonFinite:
    """inf, -inf or nan, next to which of a finite number only the sign counts."""

    value: float
    denominator = 1

    def __add__(self, other: Any) -> "_NonFinite":
        return _NonFinite(self.value + _sign(other))

    def __mul__(self, other: Any) -> "_NonFinite":
        return _NonFinite(self.value * _sign(other))

    def __neg__(self) -> "_NonFinite":
        return _NonFinite(-self.value)

    def conjugate(self) -> "_NonFinite":
        return self

    __radd__, __rmul__ = __add__, __mul__


def _sign(x: Any) -> float:
    """Return -1, 0 or 1 for a finite number, and inf, -inf or nan as they are."""
    return x.value if isinstance(x, _NonFinite) else float((x > 0) - (x < 0))


@dataclass(slots=True)
class _Pair:
    """A complex number; a real operand scales it."""

    re: Any
    im: Any

    def __add__(self, other: Any) -> "_Pair":
        if isinstance(other, _Pair):
            return _Pair(self.re + other.re, self.im + other.im)
        return _Pair(self.re + other, self.im)

    def __mul__(self, other: Any) -> "_Pair":
        if isinstance(other, _Pair):
            a, b, c, d = self.re, self.im, other.re, other.im
            return _Pair(a * c + -(b * d), a * d + b * c)
        return _Pair(self.re * other, self.im * other)

    def conjugate(self) -> "_Pair":
        return _Pair(self.re, -self.im)

    @property
    def denominator(self) -> int:
        return math.lcm(self.re.denominator, self.im.denominator)

    __radd__, __rmul__ = __add__, __mul__


def _number(x: Any) -> Any:
    """Return an element exactly, as int, Fraction, _NonFinite or _Pair."""
    if isinstance(x, bool) or not hasattr(x, "real"):
        raise TypeError(f"element {x!r} is not a number")
    if isinstance(x, int):
        return x
    if isinstance(x, Complex) and not isinstance(x, Real):
        return _Pair(_number(x.real), _number(x.imag))
    try:
        return Fraction(*x.as_integer_ratio())
    except (OverflowError, ValueError):
        return _NonFinite(float(x))


def _kind(x: Any) -> int:
    """Return which kind of result an element leads to."""
    return _COMPLEX if isinstance(x, _Pair) else _INT if isinstance(x, int) else _REAL


def _times(x: Any, denominator: int) -> Any:
    """Multiply an element by a common multiple of the denominators."""
    if isinstance(x, _Pair):
        return _Pair(_times(x.re, denominator), _times(x.im, denominator))
    return x if isinstance(x, _NonFinite) else int(x * denominator)


# Arrays: nested lists in and out.


@dataclass(frozen=True, slots=True)
class _Array:
    """An argument: each element is an entry of `values` times `unit`.

    Fractions are slow, integers are not, and convolution is linear in each argument: so the
    common denominator waits until a sum is complete.
    """

    shape: tuple[int, ...]
    values: Any  # nested lists of int, _NonFinite or _Pair; a lone image becomes a batch of one
    unit: int | Fraction
    kind: int

    @property
    def zero(self) -> Any:
        return _Pair(0, 0) if self.kind == _COMPLEX else 0


def _read(name: str, x: Any, axes: tuple[int, ...], expected: tuple[int, ...] = ()) -> _Array:
    """Read an array that has one of these numbers of axes and, where given, the expected shape."""
    shape = _shape(x)
    if not hasattr(x, "shape") and 0 in shape and shape == expected[: len(shape)]:
        shape = expected  # nested lists show no sizes behind an empty axis
    try:
        elements = list(_elements(x, shape))
    except (TypeError, ValueError) as error:
        raise type(error)(f"{name}: {error}") from None
    if len(shape) not in axes:
        raise ValueError(f"{name}.shape={shape} must have {_either(axes)} axes")
    if expected and shape != expected:
        raise ValueError(f"{name}.shape={shape} must be {expected}")
    declared = str(getattr(x, "dtype", ""))  # all that tells the kind of an empty array
    kind = _COMPLEX if "complex" in declared else _REAL if "float" in declared else _INT
    kind = max([kind, *map(_kind, elements)])
    if kind == _COMPLEX:
        elements = [a if isinstance(a, _Pair) else _Pair(a, 0) for a in elements]
    denominator = math.lcm(*(a.denominator for a in elements))
    flat = [_times(a, denominator) for a in elements]
    values = _nest(flat, (1, *shape) if len(shape) == 3 else shape)
    return _Array(shape, values, 1 if kind == _INT else Fraction(1, denominator), kind)


def _plain(x: Any) -> Any:
    """Return lists and Python numbers in place of an array library's."""
    return x.tolist() if hasattr(x, "tolist") else x


def _is_sequence(x: Any) -> bool:
    return isinstance(x, Sequence) and not isinstance(x, (str, bytes))


def _shape(x: Any) -> tuple[int, ...]:
    """Return an array's shape, or the one that the first elements of nested lists show."""
    if hasattr(x, "shape"):
        return tuple(x.shape)
    x = _plain(x)
    return (len(x), *(_shape(x[0]) if x else ())) if _is_sequence(x) else ()


def _elements(x: Any, shape: tuple[int, ...]) -> Iterator[Any]:
    """Yield the numbers of nested lists, which must have the shape."""
    x = _plain(x)
    if _is_sequence(x) != bool(shape) or (shape and len(x) != shape[0]):
        raise ValueError("nested lists are ragged")
    if not shape:
        yield _number(x)
    else:
        for part in x:
            yield from _elements(part, shape[1:])


def _nest(flat: list[Any], shape: tuple[int, ...]) -> Any:
    """Give a flat list its axes."""
    if len(shape) < 2:
        return flat
    step = math.prod(shape[1:])
    return [_nest(flat[i * step : (i + 1) * step], shape[1:]) for i in range(shape[0])]


# Geometry: parameters to plain ints.


@dataclass(frozen=True, slots=True)
class _Geometry:
    """The sizes of a convolution; CG counts the channels of a group."""

    batched: bool
    N: int
    C: int
    H: int
    W: int
    F: int
    CG: int
    KH: int
    KW: int
    OH: int
    OW: int
    sh: int
    sw: int
    dh: int
    dw: int
    top: int  # padding before the first row; negative where rows are cropped
    left: int
    groups: int

    @property
    def input_size(self) -> tuple[int, ...]:
        return (self.N, self.C, self.H, self.W)[not self.batched :]

    @property
    def output_size(self) -> tuple[int, ...]:
        return (self.N, self.F, self.OH, self.OW)[not self.batched :]

    def first_channel(self, f: int) -> int:
        """Return the first input channel in the group of output channel f."""
        return f // (self.F // self.groups) * self.CG


def _geometry(
    input_size: tuple[int, ...],
    weight_size: tuple[int, ...],
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: Any,
) -> _Geometry:
    """Check the sizes and parameters of a convolution against one another."""
    steps = _two("stride", stride, 1)
    gaps = _two("dilation", dilation, 1)
    (g,) = _ints("groups", groups, (), 1)
    shapes = f"[input {input_size}, weight {weight_size}]"
    n, c, *extents = input_size if len(input_size) == 4 else (1, *input_size)
    f, cg, *kernel = weight_size
    if 0 in (*extents, f, *kernel):
        raise ValueError(f"only the batch and the input channels may be empty {shapes}")
    if f % g:
        raise ValueError(f"groups={g} must divide out_channels={f} {shapes}")
    if cg * g != c:
        raise ValueError(f"groups={g} times weight channels={cg} must be in_channels={c} {shapes}")
    spans = [d * (k - 1) + 1 for d, k in zip(gaps, kernel, strict=True)]
    pads = _pads(padding, extents, spans, steps)
    padded = [extent + sum(pad) for extent, pad in zip(extents, pads, strict=True)]
    if max(padded) >= 2**63:
        raise ValueError(f"padding={padding!r} makes an extent overflow 64 bits")
    if spans[0] > padded[0] or spans[1] > padded[1]:
        raise ValueError(f"kernel spans {spans}, more than the padded input's {padded} {shapes}")
    out = [(p - s) // step + 1 for p, s, step in zip(padded, spans, steps, strict=True)]
    starts = [before for before, _ in pads]
    fields = [n, c, *extents, f, cg, *kernel, *out, *steps, *gaps, *starts, g]
    return _Geometry(len(input_size) == 4, *fields)


def _pads(
    padding: Any, extents: list[int], spans: list[int], stride: tuple[int, ...]
) -> list[tuple[int, int]]:
    """Return what is added before and after the rows, and the columns."""
    padding = _plain(padding)
    if padding == "valid":
        return [(0, 0), (0, 0)]
    if isinstance(padding, str):
        if padding not in ("same", "same_upper", "same_lower"):
            known = "'valid', 'same', 'same_upper' or 'same_lower'"
            raise ValueError(f"padding={padding!r} must be {known}")
        if padding == "same" and stride != (1, 1):
            raise ValueError(f"padding='same' needs stride=1, not {stride}")
        pads = []
        for extent, span, step in zip(extents, spans, stride, strict=True):
            out = -(-extent // step)
            total = max((out - 1) * step + span - extent, 0)
            half = total // 2
            pads.append((total - half, half) if padding == "same_lower" else (half, total - half))
        return pads
    if not _is_sequence(padding) or not any(_is_sequence(_plain(pair)) for pair in padding):
        rows, columns = _two("padding", padding, 0)
        return [(rows, rows), (columns, columns)]
    if [len(pair) if _is_sequence(pair) else 0 for pair in map(_plain, padding)] != [2, 2]:
        raise ValueError(f"padding={padding!r} must be ((top, bottom), (left, right))")
    (top, bottom), (left, right) = (_ints("padding", pair, (2,)) for pair in padding)
    return [(top, bottom), (left, right)]


def _ints(
    name: str, value: Any, lengths: tuple[int, ...], least: int | None = None
) -> tuple[int, ...]:
    """Return the ints of a sequence of one of these lengths, or a lone int as a sequence of 1."""
    value = _plain(value)
    entries = [_plain(entry) for entry in value] if lengths and _is_sequence(value) else [value]
    if any(isinstance(e, bool) or not hasattr(e, "__index__") for e in entries):
        raise TypeError(f"{name}={value!r} must be {'made of ints' if lengths else 'an int'}")
    numbers = tuple(map(operator.index, entries))
    if lengths and len(numbers) not in lengths:
        raise ValueError(f"{name}={value!r} must have {_either(lengths)} entries")
    if least is not None and min(numbers) < least:
        raise ValueError(f"{name}={value!r} must be at least {least}")
    return numbers


def _two(name: str, value: Any, least: int) -> tuple[int, int]:
    numbers = _ints(name, value, (1, 2), least)
    return numbers[0], numbers[-1]


def _either(numbers: tuple[int, ...]) -> str:
    return " or ".join(map(str, numbers))


# Results.


def _converter(dtype: Any, *arrays: _Array) -> Callable[[Any], Any]:
    """Return what turns an exact number into an element of the result."""
    kind = max(array.kind for array in arrays)
    name = getattr(dtype, "name", getattr(dtype, "__name__", dtype)) if dtype is not None else ""
    if not isinstance(name, str):
        raise TypeError(f"dtype={dtype!r} must be a name or a NumPy dtype")
    if dtype is not None and name not in {*_INTEGERS, *_FLOATS, *_COMPLEXES}:
        raise ValueError(f"dtype={name!r} must name a known number format")
    holds = _INT if name in _INTEGERS else _REAL if name in _FLOATS else _COMPLEX
    if holds < kind:
        raise TypeError(f"dtype={name!r} cannot hold {('', 'real', 'complex')[kind]} results")

    def part(x: Any) -> Any:
        if isinstance(x, _NonFinite):
            return x.value
        if dtype is None:
            return x
        if name in _INTEGERS:
            bits, signed = _INTEGERS[name]
            half = 2 ** (bits - 1) * signed
            return (x + half) % 2**bits - half
        return _round(x, *_FLOATS[_COMPLEXES.get(name, name)])

    def both(x: Any) -> Any:
        pair = x if isinstance(x, _Pair) else _Pair(x, Fraction(0))
        parts = part(pair.re), part(pair.im)
        return parts if dtype is None else complex(*parts)

    return both if (kind if dtype is None else holds) == _COMPLEX else part


def _round(x: int | Fraction, digits: int, least: int, greatest: int) -> float:
    """Round to nearest, ties to even (IEEE 754-2019, 4.3.1), in integers only."""
    n, d = abs(x.numerator), x.denominator
    exponent = n.bit_length() - d.bit_length()
    if n << max(-exponent, 0) < d << max(exponent, 0):
        exponent -= 1
    # Now 2**exponent <= |x| < 2**(exponent + 1), and the last digit is worth 2**last; below the
    # least normal number the digits stop where that one's do.
    last = max(exponent, least) - (digits - 1)
    n, d = n << max(-last, 0), d << max(last, 0)
    count, rest = divmod(n, d)
    if 2 * rest > d or (2 * rest == d and count % 2):
        count += 1
    overflows = count.bit_length() - 1 + last > greatest
    size = math.inf if overflows else math.ldexp(count, last)
    return -size if x < 0 else size
