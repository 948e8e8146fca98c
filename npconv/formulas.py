"""The formulas themselves, literally: pad, slide windows, one einsum. What the public calls mean.

Each function takes arrays in the carried dtype and a `Geometry`. Axes are n g c h w (input),
g f c k t (weight), n g f y x (output); `geometry` holds the table of names.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from npconv.geometry import Geometry
from npconv.windows import dilate, flip, pad_or_crop, slide, split_groups, swap_channels, windows

Array = np.ndarray[Any, np.dtype[Any]]

# One letter per spatial axis, so that one formula serves any number of them.
_OUT, _TAPS = "xyz", "ktu"


def forward(input: Array, weight: Array, geometry: Geometry) -> Array:
    """Correlate: ``ngcyxkt,gfckt->ngfyx`` over the windows of the padded input."""
    x = split_groups(input, geometry.groups, 1)
    w = split_groups(weight, geometry.groups, 0)
    return _join(
        _correlate(
            windows(pad_or_crop(x, [(a.before, a.after) for a in geometry.axes]), geometry), w
        ),
        1,
    )


def weight_gradient(input: Array, grad_output: Array, geometry: Geometry) -> Array:
    """Contract windows with errors: ``ngcyxkt,ngfyx->gfckt``."""
    x = split_groups(input, geometry.groups, 1)
    e = split_groups(grad_output, geometry.groups, 1)
    out, taps = _letters(geometry)
    view = windows(pad_or_crop(x.conj(), [(a.before, a.after) for a in geometry.axes]), geometry)
    return _join(np.einsum(f"ngc{out}{taps},ngf{out}->gfc{taps}", view, e), 0)


def input_gradient(weight: Array, grad_output: Array, geometry: Geometry) -> Array:
    """Correlate the dilated, padded or cropped errors with the flipped, channel-swapped kernel."""
    w = split_groups(weight, geometry.groups, 0)
    e = split_groups(grad_output, geometry.groups, 1)
    errors = pad_or_crop(
        dilate(e, [a.stride for a in geometry.axes]), [a.adjoint_pads for a in geometry.axes]
    )
    spans, dilations = [a.span for a in geometry.axes], [a.dilation for a in geometry.axes]
    view = slide(errors, spans, [1] * len(spans), dilations)
    return _join(_correlate(view, swap_channels(flip(w.conj(), len(geometry.axes)))), 1)


def bias_gradient(grad_output: Array) -> Array:
    """Sum the errors over all but the channel axis."""
    axes = (0, *range(2, grad_output.ndim))
    return np.asarray(grad_output.sum(axis=axes, dtype=grad_output.dtype))


def _correlate(view: Array, kernel: Array) -> Array:
    axes = (view.ndim - 3) // 2
    out, taps = _OUT[:axes], _TAPS[:axes]
    output: Array = np.einsum(f"ngc{out}{taps},gfc{taps}->ngf{out}", view, kernel)
    return output


def _letters(geometry: Geometry) -> tuple[str, str]:
    return _OUT[: len(geometry.axes)], _TAPS[: len(geometry.axes)]


def _join(array: Array, axis: int) -> Array:
    """Merge the group axis with the channels behind it."""
    channels = array.shape[axis] * array.shape[axis + 1]
    return array.reshape(*array.shape[:axis], channels, *array.shape[axis + 2 :])
