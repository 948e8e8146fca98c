"""Arrays that remember how they were made: what stubs of engines that differentiate are made of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import npconv
from npconv.formats import available
from npconv.oracle.cases import Case
from npconv.oracle.protocol import Implementation

Array = np.ndarray[Any, np.dtype[Any]]
Pairs = Sequence[tuple[int, int]]


class Traced:
    """An array, and what it was made from: each source with the way of a gradient back to it."""

    def __init__(self, array: Any, *sources: tuple[Traced, Callable[[Array], Array]]) -> None:
        self.array = np.asarray(array)
        self.sources = sources

    @property
    def shape(self) -> tuple[int, ...]:
        """Return the array's shape."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the array's dtype."""
        return self.array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return np.array(self.array, dtype)

    def numpy(self) -> Array:
        """Return the array."""
        return self.array

    def view(self, dtype: Any) -> Traced:
        """Return the same bits as another dtype; no gradient comes back from there."""
        return Traced(self.array.view(dtype))

    def transpose(self, axes: Sequence[int]) -> Traced:
        """Return the array with its axes in another order."""
        back = np.argsort(axes)
        return Traced(self.array.transpose(axes), (self, lambda g: g.transpose(back)))

    def __getitem__(self, index: Any) -> Traced:
        return Traced(self.array[index], (self, lambda g: g.reshape(self.shape)))

    def __add__(self, other: Traced) -> Traced:
        return Traced(
            self.array + other.array, (self, np.asarray), (other, lambda g: _summed(g, other.shape))
        )

    def gradients(self, wanted: Sequence[Traced], cotangent: Any) -> list[Traced]:
        """Return the gradients of some of the arrays that this one was made from."""
        found: dict[int, Array] = {}

        def sweep(at: Traced, gradient: Array) -> None:
            found[id(at)] = gradient
            for source, way in at.sources:
                sweep(source, way(gradient))

        sweep(self, np.asarray(cotangent))
        return [Traced(found[id(one)]) for one in wanted]


def _summed(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of what was broadcast from a shape (F, 1, 1) or (F,) at the end."""
    if len(shape) == 1:
        gradient = np.moveaxis(gradient, -1, 1)
    return np.asarray(npconv.conv2d_bias(gradient)).reshape(shape)


def traced(array: Any) -> Traced:
    """Return an array as one that is traced; one that is stays what it is."""
    return array if isinstance(array, Traced) else Traced(array)


def itself(target: Any) -> Any:
    """Return a target that is loaded already; a name would be loaded once for all tests."""
    return target


def asked(target: Implementation) -> tuple[str, ...]:
    """Return ids of cases in each dtype and form of padding that a target is asked."""
    forms = ("1x0", "1_2x0_3", "-1_2x3_-1", "valid", "same", "same_upper", "same_lower")
    text = "n2c4f6g2-7x9-k3x2-s{}-p{}-d1x2-bias-m{}-{}-channels_last-integers-seed0"
    ids = [
        text.format("1x1" if form == "same" else "2x1", form, mask, dtype)
        for dtype in available()
        for form in forms
        for mask in ("111", "101")
    ]
    return tuple(name for name in ids if target.supports.asks(Case.from_id(name)))


def convolve(x: Any, weight: Any, stride: Any, pads: Pairs, dilation: Any, groups: int) -> Traced:
    """Return the convolution of NCHW and OIHW arrays.

    Gradients are the plain products of the other factor and the cotangent, nothing conjugated.
    """
    x, weight = traced(x), traced(weight)
    rest = stride, tuple(tuple(map(int, sides)) for sides in pads), dilation, groups

    def to_input(g: Array) -> Array:
        return npconv.conv2d_input(x.shape, weight.array, g.conj(), *rest).conj()

    def to_weight(g: Array) -> Array:
        return npconv.conv2d_weight(x.array, weight.shape, g.conj(), *rest).conj()

    output = npconv.conv2d(x.array, weight.array, None, *rest)
    return Traced(output, (x, to_input), (weight, to_weight))


def same(shape: Any, kernel: Any, stride: Any, dilation: Any, odd_first: bool = False) -> Pairs:
    """Return the pads of SAME: outputs for each stride begun, an odd one at the end or first."""
    pads = []
    for extent, taps, step, spread in zip(shape, kernel, stride, dilation, strict=True):
        total = max((-(-extent // step) - 1) * step + spread * (taps - 1) + 1 - extent, 0)
        less, more = total // 2, total - total // 2
        pads.append((more, less) if odd_first else (less, more))
    return pads
