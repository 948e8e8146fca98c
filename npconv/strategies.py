"""Hypothesis strategies: legal convolutions with their arrays, for property tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from npconv import geometry
from npconv.formats import COMPLEXES, NAMES, UNSIGNED, available, dtype_of
from npconv.geometry import PADDING_NAMES, Geometry, integer, shown
from npconv.oracle.data import framed, largest_integer

__all__ = ["Conv2dCase", "conv2d_cases"]

Array = np.ndarray[Any, np.dtype[Any]]
Pair = tuple[int, int]
Padding = str | Pair | tuple[Pair, Pair]

#: What an array's memory may be like.
LAYOUTS = (
    "packed", "channels_last", "channel_slice", "stepped", "reversed", "transposed", "readonly",
)  # fmt: skip
#: Forms of padding; a form 'string' stands for the names that PyTorch has.
FORMS = ("pair", "string", "four-sided")
#: The largest number drawn, where sums leave room for it.
_LARGEST = 9


@dataclass(frozen=True, slots=True, eq=False)
class Conv2dCase:
    """One legal convolution: its arrays and its parameters."""

    input: Array
    weight: Array
    bias: Array | None
    grad_output: Array
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int

    @property
    def forward(self) -> tuple[Any, ...]:
        """The arguments of `conv2d`, in order."""
        return (self.input, self.weight, self.bias, *self.parameters)

    @property
    def backward(self) -> tuple[Any, ...]:
        """The arguments of `conv2d_backward`, in order, up to `groups`."""
        return (self.grad_output, self.input, self.weight, *self.parameters)

    @property
    def parameters(self) -> tuple[Pair, Padding, Pair, int]:
        """Stride, padding, dilation and groups."""
        return self.stride, self.padding, self.dilation, self.groups


def conv2d_cases(
    *,
    dtypes: Sequence[str] = ("float32", "float64"),
    padding: Sequence[str] = ("pair",),
    layouts: Sequence[str] = ("packed",),
    groups: bool = True,
    bias: bool = True,
    unbatched: bool = False,
    empty: bool = False,
    max_batch: int = 3,
    max_channels: int = 3,
    max_extent: int = 8,
    max_kernel: int = 4,
    max_stride: int = 4,
    max_dilation: int = 3,
    max_padding: int = 4,
    elements: st.SearchStrategy[Any] | None = None,
) -> st.SearchStrategy[Conv2dCase]:
    """Draw legal convolutions with arrays for all operations.

    They are legal by construction, so that nothing is drawn in vain, and shrink to one image, one
    channel, one group, extents, kernel, stride and dilation of 1, no padding and no bias, as far as
    the property still fails.

    Parameters
    ----------
    dtypes : sequence of str
        Which the arrays may be of; all of a case have the same.
    padding : sequence of str
        Forms: 'pair', 'string' ('valid', and 'same' where the stride is 1), 'four-sided' (from
        ``-max_padding`` up, so that it may crop), or single names such as 'same_upper'.
    layouts : sequence of str
        Some of 'packed', 'channels_last', 'channel_slice', 'stepped', 'reversed', 'transposed',
        'readonly': what the memory of input, weight and grad_output may be like.
    groups, bias : bool
        Whether there may be more than one group, and a bias.
    unbatched, empty : bool
        Whether there may be no batch axis, and no images or no input channels.
    max_batch, max_channels, max_extent, max_kernel, max_stride, max_dilation, max_padding : int
        The largest sizes; channels are those of one group, in and out, and the groups themselves.
    elements : hypothesis strategy, optional
        Draws each number of each array, which is slow for all but small sizes. By default numbers
        are random integers whose sums are exact in the dtype: results of right code are
        equal to `npconv.conv2d` to the bit, whatever its order of summation.

    Returns
    -------
    hypothesis strategy of Conv2dCase
        With ``input``, ``weight``, ``bias`` (or None), ``grad_output``, ``stride``, ``padding``,
        ``dilation``, ``groups``; ``case.forward`` and ``case.backward`` are the arguments of
        `conv2d` and `conv2d_backward`.

    Raises
    ------
    ValueError
        If a name is unknown, a sequence is empty, or a size is below 1 (`max_padding`: 0).

    Examples
    --------
    >>> import npconv
    >>> import numpy as np
    >>> from hypothesis import find, given, settings
    >>> from npconv.strategies import conv2d_cases
    >>> @settings(max_examples=20)
    ... @given(conv2d_cases(padding=["pair", "string"]))
    ... def test_output_is_exact(case):
    ...     right = npconv.definition.conv2d(
    ...         *(a.tolist() if hasattr(a, "tolist") else a for a in case.forward)
    ...     )
    ...     np.testing.assert_array_equal(npconv.conv2d(*case.forward), right)
    >>> test_output_is_exact()
    >>> case = find(conv2d_cases(), lambda case: case.stride[1] > 1 and case.groups > 1)
    >>> case.input.shape, case.weight.shape, case.stride, case.padding, case.groups
    ((1, 2, 1, 1), (2, 1, 1, 1), (1, 2), (0, 0), 2)
    """
    limits = {
        "max_batch": max_batch,
        "max_channels": max_channels,
        "max_extent": max_extent,
        "max_kernel": max_kernel,
        "max_stride": max_stride,
        "max_dilation": max_dilation,
    }
    for name, value in limits.items():
        integer(name, value, least=1)
    integer("max_padding", max_padding, least=0)
    _some("dtypes", dtypes, NAMES)
    for name in dtypes:
        if name not in available():
            raise ValueError(f"conv2d_cases: dtypes={shown(dtypes)}: {name} needs ml_dtypes")
    _some("layouts", layouts, LAYOUTS)
    _some("padding", padding, (*FORMS, *PADDING_NAMES))
    return _cases(
        _Bounds(
            tuple(dtypes), tuple(padding), tuple(layouts), groups, bias, unbatched, empty,
            max_batch, max_channels, max_extent, max_kernel, max_stride, max_dilation, max_padding,
        ),
        elements,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Bounds:
    """What `conv2d_cases` was asked for."""

    dtypes: tuple[str, ...]
    padding: tuple[str, ...]
    layouts: tuple[str, ...]
    groups: bool
    bias: bool
    unbatched: bool
    empty: bool
    batch: int
    channels: int
    extent: int
    kernel: int
    stride: int
    dilation: int
    pad: int


def _some(name: str, given: Any, known: Sequence[str]) -> None:
    chosen = [] if isinstance(given, str) else list(given)
    if not chosen or any(item not in known for item in chosen):
        raise ValueError(
            f"conv2d_cases: {name}={shown(given)} must list some of {', '.join(known)}"
        )


@st.composite
def _cases(draw: st.DrawFn, bounds: _Bounds, elements: st.SearchStrategy[Any] | None) -> Conv2dCase:
    count = draw(st.integers(1, bounds.channels)) if bounds.groups else 1
    group_in, group_out = (draw(st.integers(1, bounds.channels)) for _ in range(2))
    batch: int | None = draw(st.integers(1, bounds.batch))
    if bounds.unbatched and draw(st.booleans()):
        batch = None
    if bounds.empty and draw(st.booleans()):
        # No images, no channels, or neither.
        nothing = draw(st.integers(1, 3))
        batch = 0 if batch is not None and nothing & 1 else batch
        group_in = 0 if nothing & 2 or batch is None else group_in
    form = draw(st.sampled_from(bounds.padding))
    strides = tuple(draw(st.integers(1, bounds.stride)) for _ in range(2))
    if form == "string":
        form = "valid"
        if strides == (1, 1):
            form = draw(st.sampled_from(("valid", "same")))
    if form == "same":
        strides = (1, 1)
    (height, kernel_h, dilation_h, pads_h), (width, kernel_w, dilation_w, pads_w) = (
        draw(_axis(bounds, form)) for _ in range(2)
    )
    padding: Any = form if form in PADDING_NAMES else (pads_h, pads_w)
    if form == "pair":
        padding = (pads_h[0], pads_w[0])
    lead = () if batch is None else (batch,)
    shape = (*lead, count * group_in, height, width)
    weight_shape = (count * group_out, group_in, kernel_h, kernel_w)
    dilation = (dilation_h, dilation_w)
    found = geometry.parse(shape, weight_shape, strides, padding, dilation, count)
    dtype = draw(st.sampled_from(bounds.dtypes))
    has_bias = bounds.bias and draw(st.booleans())
    shapes = [shape, weight_shape, found.output_shape, weight_shape[:1]]
    arrays = [
        _laid_out(array, draw(st.sampled_from(bounds.layouts)) if array.ndim > 2 else "packed")
        for array in draw(_arrays(shapes, dtype, found, elements))
    ]
    input, weight, grad_output, bias = arrays
    return Conv2dCase(
        input, weight, bias if has_bias else None, grad_output,
        (strides[0], strides[1]), padding, dilation, count,
    )  # fmt: skip


@st.composite
def _axis(draw: st.DrawFn, bounds: _Bounds, form: str) -> tuple[int, int, int, Pair]:
    """Draw extent, kernel, dilation and pads of an axis.

    The padded length comes first, then the pads within it: they shrink without a change of the
    output, to which plain extents then belong.
    """
    most = 0 if form in PADDING_NAMES else bounds.pad
    longest = bounds.extent + 2 * most
    free = form in PADDING_NAMES and form != "valid"
    kernel = draw(st.integers(1, bounds.kernel if free else min(bounds.kernel, longest)))
    dilation = 1
    if kernel > 1:
        fits = bounds.dilation if free else (longest - 1) // (kernel - 1)
        dilation = draw(st.integers(1, min(bounds.dilation, fits)))
    if free:
        return draw(st.integers(1, bounds.extent)), kernel, dilation, (0, 0)
    span = dilation * (kernel - 1) + 1
    length = span + draw(st.integers(0, longest - span))
    if form == "pair" and bounds.extent == 1:
        length |= 1  # one element between equal pads
    # The extent is what the pads leave: 1 at least, `bounds.extent` at the most.
    least, largest = length - bounds.extent, length - 1
    if form == "four-sided":
        before = draw(st.integers(max(-most, least - most), min(most, largest + most)))
        after = draw(st.integers(max(-most, least - before), min(most, largest - before)))
    else:
        before = after = draw(st.integers(max(0, (least + 1) // 2), min(most, largest // 2)))
    return length - before - after, kernel, dilation, (before, after)


@st.composite
def _arrays(
    draw: st.DrawFn,
    shapes: Sequence[tuple[int, ...]],
    dtype: str,
    found: Geometry,
    elements: st.SearchStrategy[Any] | None,
) -> list[Array]:
    if elements is not None:
        from hypothesis.extra import numpy as hnp

        return [draw(hnp.arrays(dtype_of(dtype), shape, elements=elements)) for shape in shapes]
    terms = max(1, found.forward_terms, found.input_terms, found.weight_terms)
    largest = min(_LARGEST, largest_integer(dtype, terms) or _LARGEST)
    least = 0 if dtype in UNSIGNED else -largest
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))

    def numbers(shape: tuple[int, ...]) -> Array:
        found = rng.integers(least, largest, shape, endpoint=True)
        if dtype in COMPLEXES:
            return (found + 1j * rng.integers(least, largest, shape, endpoint=True)).astype(dtype)
        return found.astype(dtype_of(dtype))

    return [numbers(shape) for shape in shapes]


def _laid_out(array: Array, layout: str) -> Array:
    if layout == "readonly":
        array.flags.writeable = False
        return array
    shape, view_of = framed(array.shape, layout)
    view = view_of(np.full(shape, 7, array.dtype))
    view[...] = array
    return view
