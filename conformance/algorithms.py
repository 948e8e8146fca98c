"""Correct convolutions that sum in their own order or by their own algorithm; no test lives here.

What the bounds must not flag: einsum, term by term in either order, pairwise, Winograd and FFT.
Each function takes a `Geometry` and batched arrays, and returns (output, input gradient, weight
gradient, bias gradient); those of a class that serves stride 1 only say so by `serves`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from npconv import formulas
from npconv.bounds import winograd
from npconv.geometry import Geometry
from npconv.windows import (
    dilate,
    flip,
    pad_or_crop,
    slide,
    split_groups,
    swap_channels,
    windows,
)

Array = np.ndarray[Any, np.dtype[Any]]
Results = tuple[Array, Array, Array, Array]
#: A product, all elements of the result at once, by its place in the sum.
Products = tuple[int, Callable[[int], Array]]


def einsum(x: Array, w: Array, b: Array, e: Array, geometry: Geometry) -> Results:
    """Sum as NumPy's einsum does."""
    return (
        formulas.forward(x, w, geometry) + b[:, None, None],
        formulas.input_gradient(w, e, geometry),
        formulas.weight_gradient(x, e, geometry),
        formulas.bias_gradient(e),
    )


def summed(order: Callable[[Products], Array]) -> Callable[..., Results]:
    """Return a convolution whose sums are taken by `order`."""

    def convolution(x: Array, w: Array, b: Array, e: Array, geometry: Geometry) -> Results:
        y = order(_correlation(_input_windows(x, geometry), split_groups(w, geometry.groups, 0)))
        dx = order(_correlation(_error_windows(e, geometry), _adjoint(w, geometry)))
        dw = order(
            _weight_products(_input_windows(x, geometry), split_groups(e, geometry.groups, 1))
        )
        places = list(itertools.product(range(len(e)), *map(range, e.shape[2:])))
        db = order((len(places), lambda i: e[places[i][0], :, places[i][1], places[i][2]]))
        return (
            _join(y, 1) + b[:, None, None],
            _join(dx, 1),
            _join(dw, 0),
            db,
        )

    return convolution


def sequential(products: Products) -> Array:
    """Add one product after the other."""
    count, product = products
    total = product(0)
    for i in range(1, count):
        total = total + product(i)
    return total


def backwards(products: Products) -> Array:
    """Add one product after the other, the last one first."""
    count, product = products
    return sequential((count, lambda i: product(count - 1 - i)))


def pairwise(products: Products) -> Array:
    """Add the sums of two halves."""
    count, product = products

    def part(start: int, stop: int) -> Array:
        if stop - start == 1:
            return product(start)
        middle = (start + stop) // 2
        return part(start, middle) + part(middle, stop)

    return part(0, count)


def stored_in(dtype: Any) -> Callable[[Products], Array]:
    """Return an order that rounds every product and every partial sum to a shorter format."""

    def order(products: Products) -> Array:
        count, product = products
        total = product(0).astype(dtype)
        for i in range(1, count):
            total = total + product(i).astype(dtype)
        return total.astype(product(0).dtype)

    return order


def winograd_of(tile: int) -> Callable[..., Results]:
    """Return Winograd's convolution with square output tiles; stride and dilation 1 only."""

    def convolution(x: Array, w: Array, b: Array, e: Array, geometry: Geometry) -> Results:
        padded = pad_or_crop(
            split_groups(x, geometry.groups, 1), [(a.before, a.after) for a in geometry.axes]
        )
        errors = pad_or_crop(
            split_groups(e, geometry.groups, 1), [a.adjoint_pads for a in geometry.axes]
        )
        y = _winograd(padded, split_groups(w, geometry.groups, 0), tile)
        dx = _winograd(errors, _adjoint(w, geometry), tile)
        dw = _winograd_weight(padded, split_groups(e, geometry.groups, 1), geometry.kernel, tile)
        bias = e.sum(axis=(0, 2, 3), dtype=e.dtype)
        return _join(y, 1) + b[:, None, None], _join(dx, 1), _join(dw, 0), bias

    return convolution


def fft(x: Array, w: Array, b: Array, e: Array, geometry: Geometry) -> Results:
    """Multiply the transforms of whole planes."""
    groups = geometry.groups
    padded = pad_or_crop(split_groups(x, groups, 1), [(a.before, a.after) for a in geometry.axes])
    kernel = dilate(split_groups(w, groups, 0), [a.dilation for a in geometry.axes])
    spread = dilate(split_groups(e, groups, 1), [a.stride for a in geometry.axes])
    shape = tuple(p + k for p, k in zip(padded.shape[-2:], kernel.shape[-2:], strict=True))
    fx, fw, fe = (np.fft.rfft2(a, shape) for a in (padded, kernel, spread))
    y = np.fft.irfft2(np.einsum("ngcyx,gfcyx->ngfyx", fx, fw.conj()), shape)
    dx = np.fft.irfft2(np.einsum("ngfyx,gfcyx->ngcyx", fe, fw), shape)
    dw = np.fft.irfft2(np.einsum("ngcyx,ngfyx->gfcyx", fx, fe.conj()), shape)
    steps = [slice(None, (a.out - 1) * a.stride + 1, a.stride) for a in geometry.axes]
    y = y[..., steps[0], steps[1]]
    pads = [
        (-a.before, a.before + a.extent - size)
        for a, size in zip(geometry.axes, shape, strict=True)
    ]
    taps = [slice(None, a.span, a.dilation) for a in geometry.axes]
    return (
        _join(y, 1).astype(x.dtype) + b[:, None, None],
        _join(pad_or_crop(dx, pads), 1).astype(x.dtype),
        _join(dw[..., taps[0], taps[1]], 0).astype(x.dtype),
        e.sum(axis=(0, 2, 3), dtype=e.dtype),
    )


# ----------------------------------------------------------------------- parts


def _input_windows(x: Array, geometry: Geometry) -> Array:
    pads = [(a.before, a.after) for a in geometry.axes]
    return windows(pad_or_crop(split_groups(x, geometry.groups, 1), pads), geometry)


def _error_windows(e: Array, geometry: Geometry) -> Array:
    spread = dilate(split_groups(e, geometry.groups, 1), [a.stride for a in geometry.axes])
    padded = pad_or_crop(spread, [a.adjoint_pads for a in geometry.axes])
    spans = tuple(a.span for a in geometry.axes)
    return slide(padded, spans, (1, 1), tuple(a.dilation for a in geometry.axes))


def _adjoint(w: Array, geometry: Geometry) -> Array:
    return swap_channels(flip(split_groups(w, geometry.groups, 0), 2))


def _correlation(view: Array, kernel: Array) -> Products:
    """Give the products of windows (n, g, c, y, x, k, t) and kernels (g, f, c, k, t)."""
    places = list(np.ndindex(kernel.shape[2:]))

    def product(i: int) -> Array:
        c, k, t = places[i]
        return np.asarray(view[:, :, c, None, :, :, k, t] * kernel[None, :, :, c, k, t, None, None])

    return len(places), product


def _weight_products(view: Array, errors: Array) -> Products:
    places = list(itertools.product(range(len(errors)), *map(range, errors.shape[-2:])))

    def product(i: int) -> Array:
        n, y, x = places[i]
        return np.asarray(errors[n, :, :, y, x][:, :, None, None, None] * view[n, :, None, :, y, x])

    return len(places), product


def _matrices(outputs: int, taps: int, dtype: Any) -> tuple[Array, Array, Array]:
    """Return A^T, G and B^T; for one tap, or one output, nothing is transformed."""
    if taps == 1:
        return (
            np.eye(outputs, dtype=dtype),
            np.ones((outputs, 1), dtype),
            np.eye(outputs, dtype=dtype),
        )
    if outputs == 1:
        return np.ones((1, taps), dtype), np.eye(taps, dtype=dtype), np.eye(taps, dtype=dtype)
    found = winograd(outputs, taps)
    a, g, b = (
        np.array([[float(x) for x in row] for row in matrix], dtype)
        for matrix in (found.output, found.kernel, found.data)
    )
    return a, g, b


def _both(left: Array, right: Array, array: Array) -> Array:
    """Transform the last two axes, one after the other."""
    return np.asarray(
        np.einsum("pi,...ij->...pj", left, np.einsum("qj,...ij->...iq", right, array))
    )


def _tiles(
    padded: Array, counts: tuple[int, int], steps: tuple[int, int], sizes: tuple[int, int]
) -> Array:
    """Cut (..., h, w) into overlapping tiles (..., i, j, size, size), zeros behind the end."""
    needed = [(n - 1) * step + size for n, step, size in zip(counts, steps, sizes, strict=True)]
    grown = pad_or_crop(
        padded, [(0, n - h) for n, h in zip(needed, padded.shape[-2:], strict=True)]
    )
    view = np.lib.stride_tricks.sliding_window_view(grown, sizes, axis=(-2, -1))
    return np.asarray(view[..., :: steps[0], :: steps[1], :, :])


def _winograd(padded: Array, kernel: Array, tile: int) -> Array:
    outs = [h - k + 1 for h, k in zip(padded.shape[-2:], kernel.shape[-2:], strict=True)]
    (a0, g0, b0), (a1, g1, b1) = (_matrices(tile, k, padded.dtype) for k in kernel.shape[-2:])
    counts = (-(-outs[0] // tile), -(-outs[1] // tile))
    data = _both(b0, b1, _tiles(padded, counts, (tile, tile), (len(b0), len(b1))))
    weights = _both(g0, g1, kernel)
    found = _both(a0, a1, np.einsum("ngcijpq,gfcpq->ngfijpq", data, weights))
    joined = found.swapaxes(-3, -2).reshape(*found.shape[:3], counts[0] * tile, counts[1] * tile)
    return np.asarray(joined[..., : outs[0], : outs[1]])


def _winograd_weight(padded: Array, errors: Array, kernel: tuple[int, ...], tile: int) -> Array:
    (a0, g0, b0), (a1, g1, b1) = (_matrices(k, tile if k > 1 else 1, padded.dtype) for k in kernel)
    steps = (tile if kernel[0] > 1 else 1, tile if kernel[1] > 1 else 1)
    counts = tuple(-(-size // step) for size, step in zip(errors.shape[-2:], steps, strict=True))
    data = _both(b0, b1, _tiles(padded, counts, steps, (len(b0), len(b1))))
    factors = _both(g0, g1, _tiles(errors, counts, steps, steps))
    return _both(a0, a1, np.einsum("ngcijpq,ngfijpq->gfcpq", data, factors))


def _join(array: Array, axis: int) -> Array:
    shape = array.shape
    return array.reshape(*shape[:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :])


ALGORITHMS: dict[str, tuple[Callable[..., Results], str]] = {
    "NumPy einsum": (einsum, "float32"),
    "term by term": (summed(sequential), "float32"),
    "term by term, reversed": (summed(backwards), "float32"),
    "pairwise": (summed(pairwise), "float32"),
    "Winograd F(2x2)": (winograd_of(2), "float32/winograd2"),
    "Winograd F(4x4)": (winograd_of(4), "float32/winograd4"),
    "FFT": (fft, "float32/fft"),
}


def serves(name: str, geometry: Geometry) -> bool:
    """Whether an algorithm serves these parameters."""
    return not name.startswith("Winograd") or all(
        axis.stride == axis.dilation == 1 for axis in geometry.axes
    )


def names() -> Iterator[str]:
    """Yield the algorithms' names."""
    return iter(ALGORITHMS)
