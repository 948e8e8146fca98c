"""Faults that no entry of the catalogue describes: what the diagnosis says of the unknown.

Most depend on one combination of parameters, hit one place, or mix two faults.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from npconv.geometry import Axis
from npconv.oracle.suspects import Problem, named
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    GRADIENTS,
    OF_WEIGHT,
    SLIDING,
    inside,
    on,
    over,
    positions,
    right,
    scaled,
)

Array = np.ndarray[Any, np.dtype[Any]]


@dataclass(frozen=True)
class Unlisted:
    """A fault beside the catalogue.

    Attributes
    ----------
    name : str
        Unique, in kebab-case.
    truth : str
        What is wrong, in one sentence.
    trigger : str or None
        A condition outside of which every result is right, where there is one.
    ops : tuple of str
        The operations that it makes wrong.
    compute : callable
        The wrong results of batched problems; None where they are right.
    """

    name: str
    truth: str
    trigger: str | None
    ops: tuple[str, ...]
    compute: Callable[[Problem, str], Array | None]
    family: str = "unlisted"

    def results(self, problem: Problem, op: str) -> Array | None:
        """Return the wrong result of one operation; None where it is right."""
        if op not in self.ops or not (problem.input.size and problem.weight.size):
            return None
        batched = problem.input.ndim == 4
        if not batched:
            grad = None if problem.grad_output is None else problem.grad_output[None]
            problem = replace(problem, input=problem.input[None], grad_output=grad)
        with np.errstate(all="ignore"):
            found = self.compute(problem, op)
        if found is not None and not batched and op in (FORWARD, GRAD_INPUT):
            return np.asarray(found[0])
        return found


def _when(
    holds: Callable[[Problem], bool], compute: Callable[[Problem, str], Array | None]
) -> Callable[[Problem, str], Array | None]:
    """Compute wrongly only where a condition holds."""
    return lambda p, op: compute(p, op) if holds(p) else None


def _known(name: str) -> Callable[[Problem, str], Array | None]:
    """Return the results of a fault of the catalogue."""
    return named(name).results


def _changed(change: Callable[[Problem, Array], None]) -> Callable[[Problem, str], Array]:
    """Change a copy of the right result in place."""

    def compute(problem: Problem, op: str) -> Array:
        found = right(problem, op).copy()
        change(problem, found)
        return found

    return compute


def _weighted(change: Callable[[Problem, Array], Any]) -> Callable[[Problem, str], Array]:
    """Compute with another weight; it is changed in place."""

    def compute(problem: Problem, op: str) -> Array:
        weight = np.array(problem.weight)
        change(problem, weight)
        return on(problem, op, weight=weight)

    return compute


def _inputs(change: Callable[[Problem, Array], Any]) -> Callable[[Problem, str], Array]:
    """Compute with another input; it is changed in place."""

    def compute(problem: Problem, op: str) -> Array:
        image = np.array(problem.input)
        change(problem, image)
        return on(problem, op, input=image)

    return compute


def _axes(
    rows: Callable[[Axis], Array], columns: Callable[[Axis], Array]
) -> Callable[[Problem, str], Array | None]:
    def compute(problem: Problem, op: str) -> Array | None:
        h, w = problem.geometry.axes
        return over(problem, op, rows(h), columns(w))

    return compute


def _strided(problem: Problem) -> bool:
    return max(problem.stride) > 1


def _double(array: Array, where: Any) -> None:
    array[where] += array[where].copy()


def _without_centre(problem: Problem, op: str) -> Array:
    """Leave out the central tap, also from the weight gradient."""
    place = (..., problem.weight.shape[-2] // 2, problem.weight.shape[-1] // 2)
    found = np.array(right(problem, op) if op == GRAD_WEIGHT else problem.weight)
    found[place] = 0
    return found if op == GRAD_WEIGHT else on(problem, op, weight=found)


def _swapped_and_flipped(problem: Problem, op: str) -> Array | None:
    """Have both faults in one sum."""
    flipped = replace(problem, weight=problem.weight[..., ::-1, :])
    found = named("strides-swapped").results(flipped, op)
    return right(flipped, op) if found is None else found


def _neighbour_tap(_: Problem, weight: Array) -> None:
    weight[:, :, 0, 0] = np.roll(weight[:, :, 0, 0], 1, axis=0)


def _border_of_tile(problem: Problem, op: str) -> Array | None:
    """Leave out the last kernel column in output column 3, the last of the first tile of 4."""
    if problem.geometry.out[1] < 4:
        return None
    short = np.array(problem.weight)
    short[..., -1] = 0
    found = right(problem, op).copy()
    found[..., 3] = on(problem, op, weight=short)[..., 3]
    return found


def _decay(problem: Problem, op: str) -> Array:
    return right(problem, op) + problem.weight


def _skip_connection(problem: Problem, op: str) -> Array | None:
    found = right(problem, op)
    if found.shape != problem.input.shape:
        return None
    return found + problem.input


def _last_row_repeated(problem: Problem, op: str) -> Array | None:
    """Fill rows of the input gradient that no window reaches with the one before."""
    rows = problem.geometry.axes[0]
    reached = rows.extent - rows.remainder + rows.after
    if not 0 < reached < rows.extent:
        return None
    found = right(problem, op).copy()
    found[..., reached:, :] = found[..., reached - 1 : reached, :]
    return found


def _two_faults(first: str, second: str) -> Callable[[Problem, str], Array | None]:
    """Have one fault in even images and another in odd ones."""

    def compute(problem: Problem, op: str) -> Array | None:
        results = [named(name).results(problem, op) for name in (first, second)]
        found = right(problem, op).copy()
        for place, result in enumerate(results):
            if result is not None and result.shape == found.shape:
                found[place::2] = result[place::2]
        return found

    return compute


def _clamped(problem: Problem, op: str) -> Array | None:
    """Bound results by 100, whatever the dtype."""
    if problem.input.dtype.kind not in "fi" or problem.input.dtype.itemsize < 2:
        return None
    found = right(problem, op)
    return np.clip(found, -100, 100).astype(found.dtype)


def _absolute(problem: Problem, op: str) -> Array | None:
    if problem.input.dtype.kind not in "fi":
        return None
    return np.abs(right(problem, op))


def _corner_left_out(problem: Problem, op: str) -> Array | None:
    """Leave the window in the first corner out of gradients."""
    assert problem.grad_output is not None
    grad = np.array(problem.grad_output)
    grad[..., 0, 0] = 0
    return on(problem, op, grad_output=grad)


def _corner_twice(problem: Problem, op: str) -> Array | None:
    assert problem.grad_output is not None
    grad = np.array(problem.grad_output)
    _double(grad, (..., -1, -1))
    return on(problem, op, grad_output=grad)


def _odd_rows_left_out(problem: Problem, op: str) -> Array | None:
    """Leave out the last row of windows where there is an odd number of rows."""
    if problem.geometry.out[0] % 2 == 0:
        return None
    assert problem.grad_output is not None
    grad = np.array(problem.grad_output)
    grad[..., -1, :] = 0
    return on(problem, op, grad_output=grad)


def _edge_above(problem: Problem, op: str) -> Array | None:
    """Repeat the first row above the image; elsewhere the padding is zero."""
    rows, columns = problem.geometry.axes
    places = positions(rows)
    return over(problem, op, np.where(places < 0, 0, places), positions(columns))


def _bias_in_even_rows(problem: Problem, op: str) -> Array | None:
    if problem.bias is None:
        return None
    found = right(problem, op).copy()
    found[..., 1::2, :] = on(problem, op, bias=None)[..., 1::2, :]
    return found


def _bias_reversed(problem: Problem, op: str) -> Array | None:
    return None if problem.bias is None else on(problem, op, bias=problem.bias[::-1])


def _odd_images_shifted(_: Problem, image: Array) -> None:
    image[1::2] = np.roll(image[1::2], 1, axis=-1)


def _rows_rolled(_: Problem, image: Array) -> None:
    image[...] = np.roll(image, 1, axis=-2)


def _first_of_seven(_: Problem, found: Array) -> None:
    flat = found.reshape(-1)
    flat[7::7] = flat[6:-1:7]


def _checkerboard(_: Problem, found: Array) -> None:
    rows, columns = np.indices(found.shape[-2:])
    found[..., (rows + columns) % 5 == 4] = 0


def _first_element_added(problem: Problem, found: Array) -> None:
    found[..., 0, 0] += problem.input[:, :1, 0, 0]


def _last_group_turned(problem: Problem, found: Array) -> None:
    size = problem.geometry.group_out
    found[-size:] = found[-size:, ..., ::-1, :].copy()


def _second_group_odd_rows(problem: Problem, found: Array) -> None:
    size = problem.geometry.group_out
    found[:, size : 2 * size, 1::2] = 0


def _backwards(problem: Problem, op: str) -> Array | None:
    """Let taps of dilation 3 run backwards from the first."""
    rows, columns = (
        positions(axis, dilation=-3) if axis.dilation == 3 else positions(axis)
        for axis in problem.geometry.axes
    )
    return over(problem, op, rows, columns)


def _third_window_again(problem: Problem, op: str) -> Array | None:
    """Let the third row of windows look at what the second does."""
    rows, columns = problem.geometry.axes
    places = positions(rows)
    if len(places) < 3:
        return None
    places[2] = places[1]
    return over(problem, op, places, positions(columns))


def _inner_edge(problem: Problem, op: str) -> Array | None:
    """Take the image's last column for padding."""
    rows, columns = problem.geometry.axes
    places = inside(positions(columns), columns.extent - 1)
    return over(problem, op, positions(rows), places)


def _fifth_product(_: Problem, weight: Array) -> None:
    weight.reshape(len(weight), -1)[:, 4:5] = 0


def _features_summed(_: Problem, weight: Array) -> None:
    weight[:1] = weight.sum(0, keepdims=True, dtype=weight.dtype)


def _last_image_backwards(problem: Problem, found: Array) -> None:
    other = on(problem, GRAD_INPUT, weight=problem.weight[::-1])
    found[-1] = other[-1]


UNLISTED: tuple[Unlisted, ...] = (
    Unlisted(
        "three-groups-stride-2-odd-width",
        "With 3 groups, a column stride of 2 and an odd width the output has the wrong sign.",
        "groups == 3 and stride_w == 2 and width % 2 == 1",
        (FORWARD,),
        _when(
            lambda p: p.groups == 3 and p.stride[1] == 2 and p.input.shape[-1] % 2 == 1,
            lambda p, op: scaled(right(p, op), -1),
        ),
    ),
    Unlisted(
        "central-tap-missing",
        "The central tap of each kernel is left out.",
        "True",
        SLIDING,
        _without_centre,
    ),
    Unlisted(
        "first-tap-of-the-neighbour",
        "Tap (0, 0) comes from the previous output channel's kernel.",
        "out_channels > 1",
        OF_WEIGHT,
        _weighted(_neighbour_tap),
    ),
    Unlisted(
        "tile-border-loses-a-column",
        "Output column 3, the last of a tile of 4, misses the last kernel column.",
        "out_width > 3",
        (FORWARD,),
        _border_of_tile,
    ),
    Unlisted(
        "wrong-constant",
        "Gradients of the input are 9/8 of what they should be.",
        "True",
        (GRAD_INPUT,),
        lambda p, op: scaled(right(p, op), 9, 8),
    ),
    Unlisted(
        "flipped-when-dilated",
        "With a dilation the kernel is flipped.",
        "dilation_h > 1 or dilation_w > 1",
        SLIDING,
        _when(lambda p: max(p.dilation) > 1, _known("kernel-flipped")),
    ),
    Unlisted(
        "group-0s-weights-when-strided",
        "With a stride the input gradient uses group 0's weights for every group.",
        "groups > 1 and (stride_h > 1 or stride_w > 1)",
        (GRAD_INPUT,),
        _when(_strided, _known("group-0s-weights-for-all")),
    ),
    Unlisted(
        "swapped-and-flipped",
        "Strides are swapped, and the kernel is flipped top to bottom.",
        "stride_h != stride_w or kernel_h > 1",
        (FORWARD,),
        _swapped_and_flipped,
    ),
    Unlisted(
        "column-dilation-ignored-in-groups",
        "With groups the dilation of columns is ignored.",
        "groups > 1 and dilation_w > 1 and kernel_w > 1",
        SLIDING,
        _when(lambda p: p.groups > 1, _known("column-dilation-ignored")),
    ),
    Unlisted(
        "last-groups-kernels-upside-down",
        "In the last group the rows of the weight gradient are in reverse.",
        "kernel_h > 1",
        (GRAD_WEIGHT,),
        _changed(_last_group_turned),
    ),
    Unlisted(
        "edge-padding-above",
        "Above the image the padding repeats its first row; elsewhere it is zero.",
        "padding_top > 0",
        SLIDING,
        _edge_above,
    ),
    Unlisted(
        "bias-in-even-rows",
        "The bias is added in even rows only.",
        "bias and out_height > 1",
        (FORWARD,),
        _bias_in_even_rows,
    ),
    Unlisted(
        "bias-in-reverse",
        "The biases are added in reverse order.",
        "bias and out_channels > 1",
        (FORWARD,),
        _bias_reversed,
    ),
    Unlisted(
        "odd-images-rolled",
        "Odd images are read one column to the side, around the edge.",
        "batch > 1 and width > 1",
        (FORWARD, GRAD_WEIGHT),
        _inputs(_odd_images_shifted),
    ),
    Unlisted(
        "rows-rolled-in-even-heights",
        "Images of even height are read one row lower, around the edge.",
        "height % 2 == 0",
        (FORWARD, GRAD_WEIGHT),
        _when(lambda p: p.input.shape[-2] % 2 == 0, _inputs(_rows_rolled)),
    ),
    Unlisted(
        "second-channel-of-three-ignored",
        "With 3 input channels in a group the second one is ignored.",
        "channels_per_group == 3",
        OF_WEIGHT,
        _when(
            lambda p: p.weight.shape[1] == 3,
            _weighted(lambda _, w: w[:, 1].fill(0)),
        ),
    ),
    Unlisted(
        "last-corner-counted-twice",
        "The last corner of grad_output counts twice in the bias gradient.",
        "True",
        (GRAD_BIAS,),
        _corner_twice,
    ),
    Unlisted(
        "first-window-left-out",
        "The window in the first corner is left out of gradients.",
        "True",
        GRADIENTS,
        _corner_left_out,
    ),
    Unlisted(
        "every-fifth-diagonal-zero",
        "Output elements on every fifth diagonal are zero.",
        "out_height + out_width > 5",
        (FORWARD,),
        _changed(_checkerboard),
    ),
    Unlisted(
        "first-element-leaks",
        "The first input element of an image is added to the first output of each channel.",
        "True",
        (FORWARD,),
        _changed(_first_element_added),
    ),
    Unlisted(
        "every-seventh-element-repeats",
        "Every seventh element in memory repeats the one before.",
        "batch * out_channels * out_height * out_width > 7",
        (FORWARD,),
        _changed(_first_of_seven),
    ),
    Unlisted(
        "portrait-negated",
        "Outputs higher than wide have the wrong sign.",
        "out_height > out_width",
        (FORWARD,),
        _when(
            lambda p: p.geometry.out[0] > p.geometry.out[1],
            lambda p, op: scaled(right(p, op), -1),
        ),
    ),
    Unlisted(
        "remainder-rows-repeat",
        "Rows of the input gradient that no window reaches repeat the last one reached.",
        "remainder_h > padding_bottom",
        (GRAD_INPUT,),
        _last_row_repeated,
    ),
    Unlisted(
        "stride-3-taken-for-4",
        "A stride of 3 is taken for 4.",
        "stride_h == 3 and out_height > 1 or stride_w == 3 and out_width > 1",
        SLIDING,
        _axes(
            lambda a: positions(a, stride=4 if a.stride == 3 else a.stride),
            lambda a: positions(a, stride=4 if a.stride == 3 else a.stride),
        ),
    ),
    Unlisted(
        "fourth-kernel-column-lost",
        "Kernels of 4 columns lose the last.",
        "kernel_w == 4",
        OF_WEIGHT,
        _when(lambda p: p.weight.shape[-1] == 4, _weighted(lambda _, w: w[..., -1].fill(0))),
    ),
    Unlisted(
        "padding-2-taken-for-1",
        "A padding of 2 rows above is taken for 1.",
        "padding_top == 2",
        SLIDING,
        _axes(
            lambda a: positions(a, before=1 if a.before == 2 else a.before),
            positions,
        ),
    ),
    Unlisted(
        "weight-decay",
        "The weight is added to its gradient.",
        "True",
        (GRAD_WEIGHT,),
        _decay,
    ),
    Unlisted(
        "skip-connection",
        "The input is added to an output of the same shape.",
        "in_channels == out_channels and height == out_height and width == out_width",
        (FORWARD,),
        _skip_connection,
    ),
    Unlisted(
        "second-groups-odd-rows-zero",
        "Odd output rows of the second group are zero.",
        "groups > 1 and out_height > 1",
        (FORWARD,),
        _changed(_second_group_odd_rows),
    ),
    Unlisted(
        "clamped-at-100",
        "Outputs are cut at -100 and 100.",
        "dtype not in ('complex64', 'complex128', 'int8', 'uint8', 'uint16', 'uint32', 'uint64')",
        (FORWARD,),
        _clamped,
    ),
    Unlisted(
        "absolute-values",
        "The input gradient is returned without its sign.",
        "dtype not in ('complex64', 'complex128', 'uint8', 'uint16', 'uint32', 'uint64')",
        (GRAD_INPUT,),
        _absolute,
    ),
    Unlisted(
        "kernels-of-the-last-image-in-reverse",
        "The last image's input gradient uses the kernels in reverse order.",
        "out_channels > 1",
        (GRAD_INPUT,),
        _changed(_last_image_backwards),
    ),
    Unlisted(
        "odd-last-row-left-out-of-weight-gradient",
        "With an odd number of output rows the last one is left out of the weight gradient.",
        "out_height % 2 == 1",
        (GRAD_WEIGHT,),
        _odd_rows_left_out,
    ),
    Unlisted(
        "dilation-3-runs-backwards",
        "Taps with a dilation of 3 run backwards from the first.",
        "dilation_h == 3 and kernel_h > 1 or dilation_w == 3 and kernel_w > 1",
        SLIDING,
        _backwards,
    ),
    Unlisted(
        "third-row-of-windows-repeats",
        "The third row of windows looks where the second does.",
        "out_height > 2",
        SLIDING,
        _third_window_again,
    ),
    Unlisted(
        "last-column-taken-for-padding",
        "The image's last column is taken for padding.",
        "True",
        SLIDING,
        _inner_edge,
    ),
    Unlisted(
        "fifth-product-left-out",
        "The fifth product of each sum is left out.",
        "terms > 4",
        (FORWARD,),
        _weighted(_fifth_product),
    ),
    Unlisted(
        "first-kernel-is-the-sum",
        "In the place of the first kernel is the sum of all.",
        "out_channels > 1",
        OF_WEIGHT,
        _weighted(_features_summed),
    ),
    Unlisted(
        "two-faults-by-image",
        "Even images have the kernel flipped left to right, odd ones have strides swapped.",
        "kernel_w > 1 or batch > 1 and stride_h != stride_w",
        (FORWARD,),
        _two_faults("kernel-flipped-in-columns", "strides-swapped"),
    ),
    Unlisted(
        "bias-gradient-doubled-in-two-groups",
        "With two groups the bias gradient is twice as large.",
        "groups == 2",
        (GRAD_BIAS,),
        _when(lambda p: p.groups == 2, lambda p, op: scaled(right(p, op), 2)),
    ),
)
