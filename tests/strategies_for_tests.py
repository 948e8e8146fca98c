"""Cases that several test files share, their arrays, and the Hypothesis strategy for them."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from npconv import geometry

Array = np.ndarray[Any, np.dtype[Any]]
Pads = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Case:
    """One convolution; batch None means unbatched."""

    batch: int | None
    groups: int
    group_in: int
    group_out: int
    extents: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    padding: Any
    dilation: tuple[int, ...]
    bias: bool = True

    @property
    def parameters(self) -> dict[str, Any]:
        """The keyword arguments of a call."""
        return {
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        lead = () if self.batch is None else (self.batch,)
        return (*lead, self.groups * self.group_in, *self.extents)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight."""
        return (self.groups * self.group_out, self.group_in, *self.kernel)

    @property
    def geometry(self) -> geometry.Geometry:
        """The parsed case."""
        return geometry.parse(
            self.input_shape, self.weight_shape, **self.parameters, spatial=len(self.extents)
        )

    def arrays(
        self, seed: int, dtype: str = "int64", low: int = -9, high: int = 9, scale: float = 1
    ) -> tuple[Array, Array, Array | None, Array]:
        """Draw (input, weight, bias, grad_output): integers, times `scale`, in `dtype`."""
        rng = np.random.default_rng(seed)

        def draw(shape: tuple[int, ...]) -> Array:
            numbers = rng.integers(low, high, shape, endpoint=True).astype(dtype)
            if numbers.dtype.kind == "c":
                numbers = numbers + 1j * rng.integers(low, high, shape, endpoint=True)
            return (numbers * scale).astype(dtype)

        channels = self.weight_shape[0]
        bias = (np.arange(channels) * 3 + 5).astype(dtype) * np.dtype(dtype).type(scale)
        x, w = draw(self.input_shape), draw(self.weight_shape)
        return x, w, bias if self.bias else None, draw(self.geometry.output_shape)


#: One axis: extent, kernel, stride, dilation, (before, after). The last six are past failures
#: of implementations that crop before they pad, or forget what no window reaches.
AXES = (
    (1, 1, 1, 1, (0, 0)),
    (5, 3, 1, 1, (0, 0)),
    (6, 2, 2, 1, (1, 1)),
    (7, 3, 3, 2, (2, 1)),
    (4, 4, 1, 3, (6, 5)),
    (8, 3, 2, 3, (0, 4)),
    (9, 2, 4, 5, (3, 0)),
    (3, 5, 2, 1, (4, 4)),
    (10, 1, 3, 1, (0, 0)),
    (6, 1, 7, 2, (9, 9)),
    (11, 4, 5, 2, (-2, 3)),
    (9, 3, 2, 1, (-1, -2)),
    (7, 2, 12, 3, (7, 8)),
    (13, 2, 6, 4, (5, -4)),
    (2, 2, 9, 2, (6, 7)),
    (12, 3, 11, 1, (3, 3)),
    (5, 2, 10, 1, (5, 6)),
    (1, 3, 8, 2, (9, 9)),
    (1, 1, 5, 1, (2, 2)),
    (2, 1, 4, 1, (-1, 0)),
    (3, 2, 3, 1, (-3, 6)),
    (3, 2, 2, 1, (6, -3)),
    (4, 2, 3, 1, (-5, 9)),
    (5, 1, 6, 3, (8, -6)),
)

#: Groups, input and output channels of each: dense, grouped, depthwise, depthwise with multiplier.
CHANNELS = ((1, 2, 3), (2, 3, 2), (3, 1, 1), (2, 1, 3), (1, 1, 1), (3, 2, 2))


def second_grid() -> Iterator[Case]:
    """Pair each axis with each, channels, batch, bias and the form of the padding by turns."""
    for number, (rows, columns) in enumerate(itertools.product(AXES, AXES)):
        h, kh, sh, dh, ph = rows
        w, kw, sw, dw, pw = columns
        padding: Any = (ph, pw)
        if ph[0] == ph[1] >= 0 and pw[0] == pw[1] >= 0 and number % 2:
            padding = (ph[0], pw[0])
        groups, group_in, group_out = CHANNELS[number % 7 % len(CHANNELS)]
        yield Case(
            batch=(2, 3, None, 2, 1)[number % 5],
            groups=groups,
            group_in=group_in,
            group_out=group_out,
            extents=(h, w),
            kernel=(kh, kw),
            stride=(sh, sw),
            padding=padding,
            dilation=(dh, dw),
            bias=number % 4 != 0,
        )


SECOND_GRID = tuple(second_grid())


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, int, int, Pads]:
    """Draw a legal axis: extent, kernel, stride, dilation, pads; the extent is found last."""
    kernel = draw(st.integers(1, 4))
    dilation = draw(st.integers(1, 4))
    span = dilation * (kernel - 1) + 1
    stride = draw(st.integers(1, 12))
    before, after = (draw(st.integers(-4, span + 4)) for _ in range(2))
    least = max(1, span - before - after)
    return draw(st.integers(least, least + 7)), kernel, stride, dilation, (before, after)


@st.composite
def cases(draw: st.DrawFn, spatial: int = 2, most_products: int = 20_000) -> Case:
    """Draw a legal case of bounded work."""
    extents, kernel, stride, dilation, pads = zip(
        *(draw(axes()) for _ in range(spatial)), strict=True
    )
    groups, group_in, group_out = (draw(st.integers(1, 3)) for _ in range(3))
    batch = draw(st.sampled_from((2, 1, 3, None)))
    case = Case(
        batch,
        groups,
        group_in,
        group_out,
        extents,
        kernel,
        stride,
        pads,
        dilation,
        draw(st.booleans()),
    )
    products = math.prod(case.geometry.output_shape) * case.geometry.forward_terms
    if products > most_products:
        case = Case(batch, 1, 1, 1, extents, kernel, stride, pads, dilation, case.bias)
    return case


def loops(x: Array, w: Array, g: Array, case: Case) -> tuple[Array, Array, Array]:
    """Output without bias, input and weight gradient, term by term, for any number of axes."""
    y, dx, dw = np.zeros(g.shape, g.dtype), np.zeros(x.shape, g.dtype), np.zeros(w.shape, g.dtype)
    geometry = case.geometry
    for n, f in itertools.product(range(len(x)), range(len(w))):
        first = f // case.group_out * case.group_in
        for window in np.ndindex(*geometry.out):
            for c, *tap in np.ndindex(case.group_in, *geometry.kernel):
                place = tuple(
                    o * axis.stride + k * axis.dilation - axis.before
                    for o, k, axis in zip(window, tap, geometry.axes, strict=True)
                )
                if all(0 <= i < axis.extent for i, axis in zip(place, geometry.axes, strict=True)):
                    element, weight, error = (n, first + c, *place), (f, c, *tap), (n, f, *window)
                    y[error] += x[element] * w[weight]
                    dx[element] += g[error] * w[weight].conjugate()
                    dw[weight] += g[error] * x[element].conjugate()
    return y, dx, dw


#: One and three spatial axes: strides with remainders, crops, kernels wider than the input.
OTHER_AXES = (
    Case(2, 2, 3, 2, (9,), (3,), (2,), ((2, 1),), (2,)),
    Case(2, 1, 2, 3, (1,), (4,), (7,), ((9, 8),), (3,)),
    Case(3, 3, 1, 2, (8,), (2,), (5,), ((-2, 4),), (1,)),
    Case(2, 2, 2, 1, (4, 5, 3), (2, 1, 3), (3, 2, 1), ((1, 2), (0, 1), (2, 0)), (1, 2, 2)),
    Case(2, 1, 2, 3, (3, 2, 5), (3, 2, 2), (1, 3, 2), ((2, 1), (1, 3), (-1, 2)), (2, 1, 3)),
    Case(1, 3, 1, 1, (2, 7, 1), (1, 3, 2), (4, 1, 2), ((3, 3), (-1, -1), (2, 3)), (1, 2, 1)),
)
