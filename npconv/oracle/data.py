"""The arrays of a case: the same bytes from the same id on every machine and NumPy version."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.conv import conv2d, conv2d_backward
from npconv.formats import COMPLEXES, FLOATS, dtype_of, round_once, significand_bits
from npconv.geometry import Geometry
from npconv.oracle.cases import OPERANDS, Case

Array = np.ndarray[Any, np.dtype[Any]]

#: Dtypes whose integers all come from one range; the others' from the widest of each array.
ONE_RANGE = ("float32", "float64", "complex128")
#: Which arrays an operation multiplies.
FACTORS = {
    "forward": ("input", "weight"),
    "grad_input": ("weight", "grad_output"),
    "grad_weight": ("input", "grad_output"),
    "grad_bias": ("grad_output",),
}
ROLES = ("input", "weight", "grad_output")
#: Numbers in the arrays of a case at the most: 2 GiB of what they are drawn from.
LARGEST = 2**28


@dataclass(frozen=True, slots=True)
class Operands:
    """Arrays of a case in its layout; `grad_output` is None for an illegal case."""

    input: Array
    weight: Array
    bias: Array | None
    grad_output: Array | None

    def named(self) -> dict[str, Array]:
        """Return those that exist, by name."""
        arrays = {
            "input": self.input,
            "weight": self.weight,
            "bias": self.bias,
            "grad_output": self.grad_output,
        }
        return {name: array for name, array in arrays.items() if array is not None}


def operands(case: Case) -> Operands:
    """Draw the arrays of a case.

    Integers come from the widest range that keeps every sum of products plus bias exact in
    the dtype, whatever the order of summation; where no range does, most of them are zero.
    Integer dtypes use their whole range and wrap, whatever the kind of data. Reals are uniform
    on (-1, 1), times a power of two, with as many bits as the dtype holds. The bias has
    distinct elements, none of them zero.

    Raises
    ------
    ValueError
        If the arrays hold more than `LARGEST` numbers.
    """
    geometry, shapes, counts = sizes(case)
    stream = _stream(case.id, sum(counts))
    raws = []
    for count in counts:
        raws.append(stream[:count])
        stream = stream[count:]
    numbers = _numbers(case, geometry, raws, shapes)
    arrays = [
        _lay_out(_typed(values, shape, case.dtype), case.layout_of(name))
        for values, shape, name in zip(numbers, shapes, OPERANDS, strict=False)
    ]
    input, weight, bias, *rest = arrays
    return Operands(input, weight, bias if case.bias else None, rest[0] if rest else None)


def sizes(case: Case) -> tuple[Geometry | None, list[tuple[int, ...]], list[int]]:
    """Return a case's geometry, None if it is illegal, and each array's shape and count of numbers.

    A complex element is two numbers. ValueError is raised for more than `LARGEST` together.
    """
    try:
        geometry = case.geometry
    except ValueError:
        geometry = None
    shapes = [case.input_shape, case.weight_shape, (case.out_channels,)]
    if geometry is not None:
        shapes.append(geometry.output_shape)
    parts = 2 if case.dtype in COMPLEXES else 1
    counts = [parts * math.prod(shape) for shape in shapes]
    if sum(counts) > LARGEST:
        raise ValueError(
            f"case {case.id} is too large: its arrays hold {sum(counts):,} numbers, and "
            f"{LARGEST:,} is the most"
        )
    return geometry, shapes, counts


def largest_integer(dtype: str, terms: int) -> int | None:
    """Return the largest S such that `terms` products up to S*S, and a bias, are exact in `dtype`.

    None for integer dtypes, whose sums wrap exactly. A complex product is two real ones.
    """
    if dtype not in FLOATS + COMPLEXES:
        return None
    products = 2 * terms if dtype in COMPLEXES else terms
    return max(1, math.isqrt(2 ** significand_bits(dtype) // (products + 1)))


def limits(case: Case) -> dict[str, int] | None:
    """Return the largest integer of each array of integer data; None for integer dtypes.

    For each operation the product of its factors' ranges is as large as exact sums allow:
    with A, B, C the most that |x||w|, |w||g| and |x||g| may be, x is up to sqrt(AC/B), and so on.
    """
    if case.dtype not in FLOATS + COMPLEXES:
        return None
    geometry = case.geometry if case.illegal is None else None
    counts = (1, 1, 1)
    if geometry is not None:
        counts = (geometry.forward_terms, geometry.input_terms, geometry.weight_terms)
    least = largest_integer(case.dtype, max(counts)) or 1
    if case.dtype in ONE_RANGE:
        return dict.fromkeys((*ROLES, "bias"), least)
    most = 2 ** significand_bits(case.dtype)
    # Three-product multiplication of complex numbers has partial sums of four.
    parts = 4 if case.dtype in COMPLEXES else 1
    a, b, c = (most // (parts * count + 1) for count in counts)
    if min(a, b, c) < 1:
        return dict.fromkeys((*ROLES, "bias"), 1)
    found = {
        "input": math.isqrt(a * c // b),
        "weight": math.isqrt(a * b // c),
        "grad_output": math.isqrt(b * c // a),
    }
    if min(found.values()) < 1:
        return dict.fromkeys((*ROLES, "bias"), least)
    return {**found, "bias": max(1, min(found["input"], found["weight"]))}


def survival(case: Case, op: str) -> float | None:
    """Return the largest chance that a wrong bilinear result is the right one on integer data.

    A bilinear form that is not zero vanishes on a random draw from a set S with probability at
    most 2/|S|; on arrays from two sets with 1/|S| + 1/|T| (Schwartz 1980, Zippel 1979). It says
    nothing of errors that are not bilinear: stale memory, saturation, rounded inputs. None
    where data is not of this kind; integer dtypes wrap, which is not a field.
    """
    ranges = limits(case)
    if case.data != "integers" or ranges is None:
        return None
    return min(1.0, sum(1 / (2 * ranges[name] + 1) for name in FACTORS[op]))


def _numbers(
    case: Case, geometry: Geometry | None, raws: list[Array], shapes: list[tuple[int, ...]]
) -> list[Array]:
    """Return the flat values of input, weight, bias and grad_output."""
    if case.dtype not in FLOATS + COMPLEXES:
        return [raw.view(np.int64) for raw in raws]
    if case.data == "integers":
        ranges = limits(case)
        assert ranges is not None
        drawn = [
            _distinct(raw, ranges["bias"]) if position == 2 else _integers(raw, ranges[name])
            for position, (raw, name) in enumerate(
                zip(raws, (*ROLES[:2], "bias", ROLES[2]), strict=False)
            )
        ]
        return _thinned(case, geometry, raws, drawn, shapes)
    if case.data == "probe":
        return _thinned(case, geometry, raws, _probe(case, raws, shapes), shapes)
    drawn = [_reals(raw, case.dtype) for raw in raws]
    if case.data in ("micro", "mega"):
        # float16 has numbers from 6e-8 to 65504 only.
        step = (4 if case.dtype == "float16" else 20) * (1 if case.data == "mega" else -1)
        scales = [step, step, 2 * step, step]
        return [values * 2.0**scale for values, scale in zip(drawn, scales, strict=False)]
    if case.data == "cancelling":
        return _cancelling(case, drawn, shapes)
    if case.data == "special":
        role, kind, place = (_draw(case.id, key) for key in ("role", "kind", "place"))
        position = (0, 1, 3)[role % 3] if len(drawn) == 4 else role % 2
        if drawn[position].size:
            drawn[position][place % drawn[position].size] = (np.nan, np.inf, -np.inf)[kind % 3]
    return drawn


def _probe(case: Case, raws: list[Array], shapes: list[tuple[int, ...]]) -> list[Array]:
    """Give some numbers all the bits that exact sums leave, the others one; no two long ones meet.

    Long are the input in even images and channels, the weight in odd input channels for even
    output channels, and grad_output in odd images and output channels, channels counted in
    their groups. Where a group has one input channel, a draw decides between input and weight.
    """
    terms = 1
    groups = max(1, case.groups)
    if len(raws) == 4:
        geometry = case.geometry
        terms = max(geometry.forward_terms, geometry.input_terms, geometry.weight_terms)
    bits, room = significand_bits(case.dtype), probe_room(case.dtype)
    if case.dtype in COMPLEXES:
        terms *= 4
    # Thinned out later where the least is more than exact sums allow.
    wide = max(1, min(2**bits - 1, 2**room // (terms + 1)), min(2**bits - 1, 2 ** (room - 11)))
    parts = 2 if case.dtype in COMPLEXES else 1
    swap = shapes[1][1] == 1 and _draw(case.id, "role") % 2 == 1
    drawn = []
    for position, (raw, shape) in enumerate(zip(raws, shapes, strict=True)):
        if position == 2:
            drawn.append(_distinct(raw, max(1, wide // 2)))
            continue
        index = np.indices(shape)
        channel = index[-3] % max(1, shape[-3] // (1 if position == 1 else groups))
        image = index[0] if len(shape) == 4 else np.zeros(shape, int)
        if position == 0:
            long = (image % 2 == 0) & ((channel + swap) % 2 == 0)
        elif position == 1:
            feature = index[0] % max(1, shape[0] // groups)
            long = ((channel + swap) % 2 == 1) & (feature % 2 == 0)
        else:
            long = (image % 2 == 1) & (channel % 2 == 1)
        long = np.repeat(long.reshape(-1), parts)
        drawn.append(np.where(long, _integers(raw, wide), _signs(raw)))
    return drawn


def probe_room(dtype: str) -> int:
    """Return the bits that sums of probing integers may have: more than 16-bit formats have."""
    return {"float16": 15, "bfloat16": 24}.get(dtype, significand_bits(dtype))


def probe_scales(case: Case) -> list[int]:
    """Return the exponents that scale the arrays of probing data beyond float16's range."""
    return [0, 0, 0, 0] if case.dtype in ("float16", "bfloat16") else [20, -20, 0, 20]


def _thinned(
    case: Case,
    geometry: Geometry | None,
    raws: list[Array],
    drawn: list[Array],
    shapes: list[tuple[int, ...]],
) -> list[Array]:
    """Replace numbers by zeros until every sum of magnitudes is exact; most often none goes."""
    probing = case.data == "probe"
    scaled = probe_scales(case) if probing else [0] * 4
    most = 2 ** (probe_room(case.dtype) if probing else significand_bits(case.dtype))
    share = 2**32
    while (
        geometry is not None and len(drawn) == 4 and not _exact(case, geometry, drawn, shapes, most)
    ):
        share //= 2
        for position in (0, 3):
            keep = (raws[position] >> np.uint64(20)) % np.uint64(2**32) < np.uint64(share)
            drawn[position] = np.where(keep, drawn[position], 0)
        if share < 2**8:
            break
    return [
        values * 2.0**scale if scale else values
        for values, scale in zip(drawn, scaled, strict=False)
    ]


def _exact(
    case: Case,
    geometry: Geometry,
    drawn: list[Array],
    shapes: list[tuple[int, ...]],
    most: int,
) -> bool:
    """Whether every sum of magnitudes is at most `most`: by the largest numbers, else by all."""
    parts = 2 if case.dtype in COMPLEXES else 1
    x, w, b, g = (int(np.abs(a).max(initial=0)) for a in drawn)
    products = (
        (geometry.forward_terms, x * w, b * case.bias),
        (geometry.input_terms, w * g, 0),
        (geometry.weight_terms, x * g, 0),
        (geometry.weight_terms, g, 0),
    )
    if all(parts * terms * product + extra <= most for terms, product, extra in products):
        return True
    sizes = [
        np.abs(a).reshape(*shape, parts).sum(-1).astype(np.float64)
        for a, shape in zip(drawn, shapes, strict=True)
    ]
    forward = conv2d(sizes[0], sizes[1], sizes[2] if case.bias else None, *case.parameters)
    gradients = conv2d_backward(sizes[3], sizes[0], sizes[1], *case.parameters)
    found = [forward, *(gradient for gradient in gradients if gradient is not None)]
    return all(array.max(initial=0) <= most for array in found)


def _cancelling(case: Case, drawn: list[Array], shapes: list[tuple[int, ...]]) -> list[Array]:
    """Give numbers near 1; signs alternate in the weight and in grad_output."""
    near = []
    for position, (values, shape) in enumerate(zip(drawn, shapes, strict=True)):
        parts = values.reshape(*shape, -1)
        signs = np.ones(shape)
        if position in (1, 3):
            axes = range(1, len(shape)) if position == 1 else range(len(shape) - 3, len(shape))
            for axis in axes:
                sign = 1.0 - 2.0 * (np.arange(shape[axis]) % 2)
                signs = signs * sign.reshape(-1, *(1,) * (len(shape) - axis - 1))
        near.append((signs[..., None] * (1 + parts / 64)).reshape(-1))
    near[2] = drawn[2] / 64
    wide = dtype_of("float64")
    short = dtype_of(case.dtype)
    if short.kind == "c":
        return near
    return [round_once(values, short).astype(wide) for values in near]


def _stream(text: str, count: int) -> Array:
    """Return `count` 64-bit numbers: SHAKE-128 of the id, which no library version changes."""
    return np.frombuffer(hashlib.shake_128(text.encode()).digest(8 * count), "<u8").astype(
        np.uint64
    )


def _draw(text: str, key: str) -> int:
    """Return one number that depends on the id and on what it is for."""
    return int.from_bytes(hashlib.shake_128(f"{key} of {text}".encode()).digest(8), "big")


def _signs(raw: Array) -> Array:
    """Map to -1 and 1."""
    return 1 - 2 * (raw & np.uint64(1)).astype(np.int64)


def _integers(raw: Array, limit: int) -> Array:
    """Map to integers of magnitude up to `limit`."""
    return (raw % np.uint64(2 * limit + 1)).astype(np.int64) - limit


def _distinct(raw: Array, limit: int) -> Array:
    """Map to integers of magnitude up to `limit`, distinct as far as there are so many, not 0."""
    step = max(1, limit // max(1, raw.size))
    sizes = (
        np.arange(raw.size, dtype=np.int64) % limit * step
        + (raw % np.uint64(step)).astype(np.int64)
        + 1
    )
    return np.where(raw >> np.uint64(63), -sizes, sizes)


def _reals(raw: Array, dtype: str) -> Array:
    """Map to numbers in (-1, 1), random signs, with at most the dtype's number of bits."""
    bits = significand_bits(dtype)
    sizes = (raw >> np.uint64(64 - bits)).astype(np.float64) * 2.0**-bits
    return np.where(raw & np.uint64(1), -sizes, sizes)


def _typed(numbers: Array, shape: tuple[int, ...], dtype: str) -> Array:
    if dtype not in COMPLEXES:
        return numbers.astype(dtype_of(dtype)).reshape(shape)
    parts = numbers.astype(np.float64).reshape(*shape, 2)
    array = np.empty(shape, dtype_of(dtype))
    # By parts: 1j times an infinity is NaN.
    array.real, array.imag = parts[..., 0], parts[..., 1]
    return array


def framed(shape: tuple[int, ...], layout: str) -> tuple[tuple[int, ...], Callable[[Array], Array]]:
    """Return the shape of the memory that a layout takes, and which view of it is the array."""
    if layout in ("packed", "readonly", "expanded"):
        return shape, lambda base: base
    if len(shape) < 3:
        return _framed_bias(shape, layout)
    lead, (channels, height, width) = shape[:-3], shape[-3:]
    if layout == "channels_last":
        return (*lead, height, width, channels), lambda base: np.moveaxis(base, -1, -3)
    if layout == "transposed":
        return (*lead, channels, width, height), lambda base: base.swapaxes(-1, -2)
    if layout == "reversed":
        return shape, lambda base: base[..., ::-1, ::-1]
    if layout == "channel_slice":
        # The middle channels of a channels-last array that has one more on either side.
        return (
            (*lead, height, width, channels + 2),
            lambda base: np.moveaxis(base, -1, -3)[..., 1:-1, :, :],
        )
    return (
        (*lead, channels, 2 * height + 1, 3 * width + 2),
        lambda base: base[..., 1::2, 2::3],
    )


def _framed_bias(
    shape: tuple[int, ...], layout: str
) -> tuple[tuple[int, ...], Callable[[Array], Array]]:
    """Do so for an array of one axis, which has fewer ways to lie in memory."""
    if layout == "reversed":
        return shape, lambda base: base[::-1]
    if layout == "channel_slice":
        return (shape[0] + 2,), lambda base: base[1:-1]
    if layout == "stepped":
        return (3 * shape[0] + 2,), lambda base: base[2::3]
    return shape, lambda base: base


def _lay_out(array: Array, layout: str) -> Array:
    """Return an array of the same values whose memory is laid out as the name says.

    Only 'expanded' changes values: to the first of each plane, on strides of 0.
    """
    if layout == "readonly":
        array.flags.writeable = False
        return array
    if layout == "packed":
        return array
    if layout == "expanded" and array.ndim > 2:
        return np.broadcast_to(array[..., :1, :1].copy(), array.shape)
    shape, view_of = framed(array.shape, layout)
    view = view_of(np.full(shape, 7, array.dtype))
    view[...] = array
    return view
