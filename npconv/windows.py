"""Pad or crop, dilate, flip, swap channels, slide windows: arrays are moved here, element for element, never computed on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from npconv.geometry import Geometry

Array = np.ndarray[Any, np.dtype[Any]]


def pad_or_crop(array: Array, pads: Sequence[tuple[int, int]]) -> Array:
    """Copy `array` so that element i of a padded last axis is ``array[i - before]`` where that exists, else 0.

    All positive pads are added before any negative pad crops, so the rule above holds for
    every pair of signs, also where a crop is longer than the array.
    """
    lead = array.ndim - len(pads)
    extents = array.shape[lead:]
    padded = np.zeros(array.shape[:lead] + tuple(b + e + a for e, (b, a) in zip(extents, pads, strict=True)), array.dtype)
    source = tuple(slice(max(0, -b), max(0, e + min(0, a))) for e, (b, a) in zip(extents, pads, strict=True))
    target = tuple(slice(max(0, b), max(0, b) + max(0, e + min(0, a) - max(0, -b))) for e, (b, a) in zip(extents, pads, strict=True))
    padded[..., *target] = array[..., *source]
    return padded


def dilate(array: Array, steps: Sequence[int]) -> Array:
    """Copy `array` with ``step - 1`` zeros between neighbours along each of the last axes."""
    lead = array.ndim - len(steps)
    extents = array.shape[lead:]
    spread = np.zeros(array.shape[:lead] + tuple((e - 1) * s + 1 for e, s in zip(extents, steps, strict=True)), array.dtype)
    spread[..., *(slice(None, None, step) for step in steps)] = array
    return spread


def flip(array: Array, axes: int) -> Array:
    """View `array` with its last `axes` axes reversed."""
    return array[..., *(slice(None, None, -1),) * axes]


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
        tuple(axis.span for axis in geometry.axes),
        tuple(axis.stride for axis in geometry.axes),
        tuple(axis.dilation for axis in geometry.axes),
    )


def slide(padded: Array, spans: tuple[int, ...], strides: tuple[int, ...], dilations: tuple[int, ...]) -> Array:
    """View (..., h, w) read-only as windows (..., y, x, k, t): every stride-th one, every dilation-th element."""
    count = len(spans)
    every = np.lib.stride_tricks.sliding_window_view(padded, spans, axis=tuple(range(-count, 0)))
    return every[..., *(slice(None, None, s) for s in strides), *(slice(None, None, d) for d in dilations)]
