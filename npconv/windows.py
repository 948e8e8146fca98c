"""Pad or crop, dilate, flip, swap channels, slide windows: elements move, nothing is computed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npconv.geometry import Geometry

Array = np.ndarray[Any, np.dtype[Any]]


def pad_or_crop(array: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Copy `array`, last axes padded: element i is ``array[i - before]`` where that exists, else 0.

    All positive pads are added before any negative pad crops, so the rule above holds for
    every pair of signs, also where a crop is longer than the array.
    """
    lead, extents = _split_shape(array, len(pads))
    padded, source, target = [], [], []
    for extent, (before, after) in zip(extents, pads, strict=True):
        kept = slice(max(0, -before), max(0, -before, extent + min(0, after)))
        padded.append(before + extent + after)
        source.append(kept)
        target.append(slice(kept.start + before, kept.stop + before))
    result = np.zeros((*lead, *padded), array.dtype)
    result[_last(target)] = array[_last(source)]
    return result


def dilate(array: Array, steps: Sequence[int]) -> Array:
    """Copy `array` with ``step - 1`` zeros between neighbours along each of the last axes."""
    lead, extents = _split_shape(array, len(steps))
    spread = [(extent - 1) * step + 1 for extent, step in zip(extents, steps, strict=True)]
    result = np.zeros((*lead, *spread), array.dtype)
    result[_last(_every(steps))] = array
    return result


def flip(array: Array, axes: int) -> Array:
    """View `array` with its last `axes` axes reversed."""
    view: Array = array[_last(_every([-1] * axes))]
    return view


def split_groups(array: Array, groups: int, axis: int) -> Array:
    """View `array` with `axis` split into (groups, rest); splitting an axis never copies."""
    size = array.shape[axis] // groups
    return array.reshape(*array.shape[:axis], groups, size, *array.shape[axis + 1 :])


def swap_channels(weight: Array) -> Array:
    """View a grouped weight (g, f, c, ...) as (g, c, f, ...): inputs and outputs change roles."""
    return weight.swapaxes(1, 2)


def windows(padded: Array, geometry: Geometry) -> Array:
    """View a padded array (..., h, w) read-only as its windows (..., y, x, k, t)."""
    return slide(
        padded,
        [axis.span for axis in geometry.axes],
        [axis.stride for axis in geometry.axes],
        [axis.dilation for axis in geometry.axes],
    )


def slide(
    padded: Array, spans: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> Array:
    """View (..., h, w) read-only as windows (..., y, x, k, t), strided and dilated."""
    last = tuple(range(-len(spans), 0))
    every = np.lib.stride_tricks.sliding_window_view(padded, tuple(spans), axis=last)
    view: Array = every[_last(_every([*strides, *dilations]))]
    return view


def _split_shape(array: Array, last: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    lead = array.ndim - last
    return array.shape[:lead], array.shape[lead:]


def _last(parts: Sequence[slice]) -> Any:
    """Return the index that takes `parts` of the last axes and all of those before."""
    return (..., *parts)


def _every(steps: Sequence[int]) -> list[slice]:
    return [slice(None, None, step) for step in steps]
