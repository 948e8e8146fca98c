"""Stride, padding and dilation: windows that meet the wrong elements, wrong numbers of windows."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from npconv.geometry import Axis
from npconv.oracle.suspects.fault import Array, Fault, NoArrayError, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_INPUT,
    OF_INPUT,
    SLIDING,
    axes_of,
    gathered,
    inside,
    make,
    on,
    over,
    positions,
    right,
)

_stride = functools.partial(make, family="stride", ops=SLIDING)
_padding = functools.partial(make, family="padding", ops=SLIDING)
_dilation = functools.partial(make, family="dilation", ops=SLIDING)

#: Where taps of windows are along one axis, given that axis and the other one.
_Places = Callable[[Axis, Axis], Array]


@dataclass(frozen=True)
class _Windows:
    """Windows over other elements: a rule for rows and one for columns."""

    rows: _Places
    columns: _Places
    outside: float = 0

    def __call__(self, problem: Problem, op: str) -> Array | None:
        """Return the results; places beyond the image read `outside`."""
        (h, w), _ = axes_of(problem)
        return over(problem, op, self.rows(h, w), self.columns(w, h), self.outside)

    def leaves(self, problem: Problem) -> bool:
        """Whether a place lies beyond the padding."""
        (h, w), _ = axes_of(problem)
        return any(
            bool(((places < -axis.before) | (places >= axis.extent + axis.after)).any())
            for axis, places in ((h, self.rows(h, w)), (w, self.columns(w, h)))
        )


def _along(places: _Places, outside: float = 0) -> _Windows:
    """Use the same rule for both axes."""
    return _Windows(places, places, outside)


def _apart(rows: _Places, columns: _Places) -> _Windows:
    """Use one rule for rows and another for columns."""
    return _Windows(rows, columns)


def _own(axis: Axis, _: Axis) -> Array:
    return positions(axis)


#: One window alone has no stride.
_STRIDED = "stride_h > 1 and out_height > 1 or stride_w > 1 and out_width > 1"
_UNEQUAL_STRIDES = "stride_h != stride_w and (out_height > 1 or out_width > 1)"
_DILATED = "dilation_h > 1 and kernel_h > 1 or dilation_w > 1 and kernel_w > 1"
_UNEQUAL_DILATIONS = "dilation_h != dilation_w and (kernel_h > 1 or kernel_w > 1)"
_PADDED = "padding_top > 0 or padding_left > 0"
_UNEQUAL = "padding_top != padding_left"
_SIDED = "padding_top != padding_bottom or padding_left != padding_right"


def _either(text: str) -> str:
    """Write a condition for rows or columns: {h} is h or w, {top} top or left, and so on."""
    return " or ".join(
        text.format(h=h, top=top, bottom=bottom, height=height)
        for h, top, bottom, height in (
            ("h", "top", "bottom", "height"),
            ("w", "left", "right", "width"),
        )
    )


#: Some window hangs over an edge.
_TOUCHED = _either("padding_{top} > 0 or padding_{bottom} > remainder_{h}")


# ------------------------------------------------------------------ stride


def _ceil(problem: Problem, op: str) -> Array | None:
    """Count a window that hangs over the end where the stride leaves a remainder."""
    rows, columns = (
        positions(axis, out=-(-(axis.padded - axis.span) // axis.stride) + 1)
        for axis in problem.geometry.axes
    )
    if (len(rows), len(columns)) == problem.geometry.out:
        return None
    return over(problem, op, rows, columns)


def _first_residue(problem: Problem, op: str) -> Array | None:
    """Leave zero what is not a multiple of the stride from the first padded element."""
    found = right(problem, op).copy()
    for axis, number in zip(problem.geometry.axes, (-2, -1), strict=True):
        apart = (np.arange(axis.extent) + axis.before) % axis.stride != 0
        np.moveaxis(found, number, 0)[apart] = 0
    return found


def _without_remainder(problem: Problem, op: str) -> Array:
    """Return the input gradient without rows and columns that no window reached."""
    rows, columns = (max(1, min(a.extent, a.extent - a.remainder)) for a in problem.geometry.axes)
    return right(problem, op)[..., :rows, :columns]


def _in_front(problem: Problem, op: str) -> Array | None:
    """Put the rows and columns that no window reached before the others."""
    (h, _), (w, _) = axes_of(problem)
    return over(
        problem,
        op,
        positions(h, before=h.before - h.remainder),
        positions(w, before=w.before - w.remainder),
    )


def _pointwise(**wrong: int) -> Callable[[Problem, str], Array | None]:
    """Change the stride or padding of 1 x 1 kernels only."""

    def compute(problem: Problem, op: str) -> Array | None:
        if problem.geometry.kernel != (1, 1):
            return None
        rows, columns = (positions(axis, **wrong) for axis in problem.geometry.axes)
        return over(problem, op, rows, columns)

    return compute


_STRIDES = (
    _stride(
        "pointwise-ignores-stride",
        "takes a 1 x 1 kernel for a matrix product over all of the input, stride or not",
        _pointwise(stride=1),
        trigger=f"kernel_h == 1 and kernel_w == 1 and ({_STRIDED})",
        sources=("majianjia/nnom#84", "pytorch/pytorch#55381", "pulp-platform/pulp-nn#9"),
    ),
    _padding(
        "pointwise-ignores-padding",
        "takes a 1 x 1 kernel for a matrix product over the input, without its padding",
        _pointwise(before=0),
        trigger="kernel_h == 1 and kernel_w == 1 and (padding_top != 0 or padding_left != 0)",
        sources=("majianjia/nnom#84",),
    ),
    _stride(
        "strides-swapped",
        "swaps the strides of rows and columns",
        _along(lambda a, b: positions(a, stride=b.stride)),
        trigger=_UNEQUAL_STRIDES,
        sources=("nntrainer/nntrainer#1642", "google-ai-edge/LiteRT#9256"),
    ),
    _stride(
        "row-stride-for-both",
        "uses the stride of rows for columns too",
        _apart(_own, lambda a, b: positions(a, stride=b.stride)),
        trigger="stride_h != stride_w and out_width > 1",
        sources=("FluxML/Flux.jl#700", "Theano/Theano#601"),
    ),
    _stride(
        "column-stride-for-both",
        "uses the stride of columns for rows too",
        _apart(lambda a, b: positions(a, stride=b.stride), _own),
        trigger="stride_h != stride_w and out_height > 1",
        sources=("Theano/Theano#601",),
    ),
    _stride(
        "stride-ignored",
        "slides its windows by one element, whatever the stride",
        _along(lambda a, _: positions(a, stride=1)),
        trigger=_STRIDED,
        sources=("pytorch/pytorch#55381", "majianjia/nnom#84"),
    ),
    _stride(
        "row-stride-ignored",
        "ignores the stride of rows",
        _apart(lambda a, _: positions(a, stride=1), _own),
        trigger="stride_h > 1 and out_height > 1",
        sources=("Theano/Theano#602",),
    ),
    _stride(
        "column-stride-ignored",
        "ignores the stride of columns",
        _apart(_own, lambda a, _: positions(a, stride=1)),
        trigger="stride_w > 1 and out_width > 1",
        sources=("Theano/Theano#602",),
    ),
    _stride(
        "stride-applied-twice",
        "slides its windows by the square of the stride",
        _along(lambda a, _: positions(a, stride=a.stride**2)),
        trigger=_STRIDED,
        sources=("uxlfoundation/oneDNN#6035",),
    ),
    _stride(
        "stride-capped-at-2",
        "takes every stride beyond 2 for 2",
        _along(lambda a, _: positions(a, stride=min(2, a.stride))),
        trigger="stride_h > 2 and out_height > 1 or stride_w > 2 and out_width > 1",
        sources=("Theano/Theano#601", "Theano/Theano#699"),
    ),
    _stride(
        "windows-one-stride-late",
        "begins each window at the end of its step, not at the beginning",
        _along(lambda a, _: positions(a, before=a.before - (a.stride - 1))),
        trigger="stride_h > 1 or stride_w > 1",
        sources=("mil-tokyo/webdnn#796",),
    ),
    _stride(
        "stride-and-dilation-swapped",
        "swaps stride and dilation",
        _along(lambda a, _: positions(a, stride=a.dilation, dilation=a.stride)),
        trigger=_either("stride_{h} != dilation_{h} and (out_{height} > 1 or kernel_{h} > 1)"),
        sources=("huggingface/candle#2337",),
    ),
    _stride(
        "output-size-rounded-up",
        "counts one window more where the stride leaves a remainder",
        _ceil,
        ops=(FORWARD,),
        trigger="remainder_h > 0 or remainder_w > 0",
        sources=("mlpack/mlpack#2986", "pytorch/pytorch#9640"),
    ),
    _stride(
        "only-first-residue-of-input-gradient",
        "computes of the input gradient only every stride-th row and column, the rest stays zero",
        _first_residue,
        ops=(GRAD_INPUT,),
        trigger="stride_h > 1 and kernel_h > 1 or stride_w > 1 and kernel_w > 1 "
        "or stride_h > 1 and padding_top < 0 or stride_w > 1 and padding_left < 0",
        sources=("ROCm/rocm-libraries#7732",),
    ),
    _stride(
        "input-gradient-without-remainder",
        "returns an input gradient without the rows and columns that no window reaches",
        _without_remainder,
        ops=(GRAD_INPUT,),
        trigger="remainder_h > 0 and height > 1 or remainder_w > 0 and width > 1",
        sources=("f-dangel/backpack#30", "tracel-ai/burn#4799"),
    ),
    _stride(
        "remainder-of-input-gradient-in-front",
        "puts the rows and columns that no window reaches before the input gradient, not behind",
        _in_front,
        ops=(GRAD_INPUT,),
        trigger="remainder_h > 0 or remainder_w > 0",
        sources=("pytorch/pytorch#25101", "tracel-ai/burn#4799"),
    ),
    _stride(
        "all-row-and-column-parameters-swapped",
        "swaps stride, padding and dilation of rows and columns",
        _along(
            lambda a, b: positions(a, stride=b.stride, dilation=b.dilation, before=b.before)
        ),
        trigger=f"{_UNEQUAL_STRIDES} or {_UNEQUAL} or {_UNEQUAL_DILATIONS}",
        sources=("torch/cunn#470",),
    ),
)  # fmt: skip


# ------------------------------------------------------------------ padding


def _reflected(places: Array, extent: int) -> Array:
    if extent == 1:
        return np.zeros_like(places)
    period = 2 * (extent - 1)
    folded = places % period
    return np.asarray(np.minimum(folded, period - folded))


def _filled(rule: Callable[[Array, int], Array]) -> Callable[[Problem, str], Array | None]:
    """Fill the padding with elements of the image."""
    return _along(lambda a, _: rule(positions(a), a.extent))


def _mixed_sides(problem: Problem, op: str) -> Array | None:
    """Read pads (top, bottom, left, right) as (top, left, bottom, right)."""
    rows, columns = problem.geometry.axes
    return over(problem, op, positions(rows), positions(columns, before=rows.after))


def _fitting(problem: Problem, op: str, axes: Sequence[Axis]) -> Array | None:
    """Return the output of other axes: empty where no window fits, and no array of sizes below."""
    sizes = [axis.out for axis in axes]
    if min(sizes) < 0:
        raise NoArrayError("a size below 0")
    if 0 in sizes:
        batch, channels = problem.geometry.batch, problem.geometry.out_channels
        return np.empty((batch, channels, *sizes), problem.input.dtype)
    return on(
        problem, op,
        stride=tuple(axis.stride for axis in axes),
        dilation=tuple(axis.dilation for axis in axes),
        padding=tuple((axis.before, axis.after) for axis in axes),
    )  # fmt: skip


def _unpadded(problem: Problem, op: str) -> Array | None:
    """Return the output of the input without padding, which is smaller."""
    bare = [replace(axis, before=0, after=0) for axis in problem.geometry.axes]
    return None if (*bare,) == problem.geometry.axes else _fitting(problem, op, bare)


def _counted_without_padding(problem: Problem, op: str) -> Array | None:
    """Return as many windows of the padded input as fit the bare one: there may be none."""
    sizes = [(a.extent - a.span) // a.stride + 1 for a in problem.geometry.axes]
    return _so_many(problem, op, sizes)


def _so_many(problem: Problem, op: str, sizes: Sequence[int]) -> Array | None:
    """Return as many windows as asked for: none for 0, and no array is made of less."""
    axes = problem.geometry.axes
    if tuple(sizes) == problem.geometry.out:
        return None
    if min(sizes) < 0:
        raise NoArrayError("a size below 0")
    rows, columns = (positions(axis, out=out) for axis, out in zip(axes, sizes, strict=True))
    return over(problem, op, rows, columns)


def _unchecked(problem: Problem, op: str, *, rows: bool) -> Array | None:
    """Read left and right of a row what memory holds there; above and below too, if `rows`."""
    h, w = problem.geometry.axes
    flat = (positions(h) * w.extent)[:, :, None, None] + positions(w)
    planes = np.arange(problem.geometry.in_channels)[:, None, None, None, None]
    size = h.extent * w.extent
    if rows:
        index = planes * size + flat
        index = np.where((index >= 0) & (index < problem.input[0].size), index, -1)
    else:
        good = (inside(positions(h), h.extent) >= 0)[:, :, None, None] & (flat >= 0) & (flat < size)
        index = np.where(good, planes * size + flat, -1)
    return gathered(problem, op, index)


def _same_on_the_other_side(problem: Problem, op: str) -> Array | None:
    if not isinstance(problem.padding, str):
        return None
    return _along(lambda a, _: positions(a, before=a.after))(problem, op)


def _adjoint(pad: Callable[[Axis], int]) -> Callable[[Problem, str], Array | None]:
    """Pad the dilated grad_output by `pad` in front, where span - 1 - padding is right."""
    return _along(lambda a, _: positions(a, before=a.span - 1 - pad(a)))


_PADDINGS = (
    _padding(
        "same-with-its-odd-pixel-in-front",
        "puts the odd row or column of 'same' padding on the other side",
        _same_on_the_other_side,
        trigger=f"padding_form == 'string' and ({_SIDED})",
        sources=(
            "microsoft/onnxruntime#5368", "mil-tokyo/webdnn#796", "Lasagne/Lasagne#438",
        ),
    ),
    _padding(
        "sides-of-padding-swapped",
        "swaps top with bottom padding and left with right",
        _along(lambda a, _: positions(a, before=a.after)),
        trigger=_SIDED,
        sources=("espressif/esp-nn#31", "microsoft/onnxruntime#26215"),
    ),
    _padding(
        "pads-in-onnx-order",
        "reads (top, bottom, left, right) as (top, left, bottom, right)",
        _mixed_sides,
        trigger="padding_left != padding_bottom",
        sources=("rustnn/rustnn#27",),
    ),
    _padding(
        "asymmetric-padding-split-evenly",
        "splits the padding of an axis evenly between its sides",
        _along(lambda a, _: positions(a, before=(a.before + a.after) // 2)),
        trigger=_either(
            "padding_{top} != (padding_{top} + padding_{bottom}) // 2"
        ),
        sources=("FluxML/Flux.jl#1605",),
    ),
    _padding(
        "crop-ignored",
        "takes negative padding for none",
        _along(lambda a, _: positions(a, before=max(0, a.before))),
        trigger="padding_top < 0 or padding_left < 0",
        sources=("apache/tvm#4511",),
    ),
    _padding(
        "crop-taken-as-padding",
        "takes negative padding for positive",
        _along(lambda a, _: positions(a, before=abs(a.before))),
        trigger="padding_top < 0 or padding_left < 0",
        sources=("apache/tvm#4511",),
    ),
    _padding(
        "row-padding-ignored",
        "pads columns only",
        _apart(lambda a, _: positions(a, before=0), _own),
        trigger="padding_top != 0",
        sources=("pytorch/pytorch#37844",),
    ),
    _padding(
        "column-padding-ignored",
        "pads rows only",
        _apart(_own, lambda a, _: positions(a, before=0)),
        trigger="padding_left != 0",
        sources=("pytorch/pytorch#37844",),
    ),
    _padding(
        "paddings-swapped",
        "swaps the padding of rows and columns",
        _along(lambda a, b: positions(a, before=b.before)),
        trigger=_UNEQUAL,
        sources=("pytorch/pytorch#37844",),
    ),
    _padding(
        "row-padding-for-both",
        "uses the padding of rows for columns too",
        _apart(_own, lambda a, b: positions(a, before=b.before)),
        trigger=_UNEQUAL,
        sources=("Oldpan/Faceswap-Deepfake-Pytorch#1",),
    ),
    _padding(
        "column-padding-for-both",
        "uses the padding of columns for rows too",
        _apart(lambda a, b: positions(a, before=b.before), _own),
        trigger=_UNEQUAL,
        sources=("Oldpan/Faceswap-Deepfake-Pytorch#1",),
    ),
    _padding(
        "padding-all-behind",
        "begins its windows at the input's first element, as if all padding were behind it",
        _along(lambda a, _: positions(a, before=0)),
        trigger="padding_top != 0 or padding_left != 0",
        sources=("microsoft/onnxruntime#26215",),
    ),
    _padding(
        "padding-ignored",
        "does not pad at all, so that its output is smaller",
        _unpadded,
        ops=(FORWARD,),
        trigger=(
            "padding_top != 0 or padding_bottom != 0 or padding_left != 0 or padding_right != 0"
        ),
        sources=("microsoft/onnxruntime#4086",),
    ),
    _padding(
        "output-size-without-padding",
        "counts its windows as if there were no padding, though it pads",
        _counted_without_padding,
        ops=(FORWARD,),
        trigger=(
            "padding_top + padding_bottom > remainder_h "
            "or padding_left + padding_right > remainder_w "
            "or remainder_h - padding_top - padding_bottom >= stride_h "
            "or remainder_w - padding_left - padding_right >= stride_w"
        ),
        sources=("dotnet/TorchSharp#496",),
    ),
    _padding(
        "padding-doubled",
        "pads twice",
        _along(lambda a, _: positions(a, before=2 * a.before)),
        trigger="padding_top != 0 or padding_left != 0",
        sources=("root-project/root#22474",),
    ),
    _padding(
        "padding-halved",
        "takes the padding for the sum of both sides",
        _along(lambda a, _: positions(a, before=a.before // 2)),
        trigger="padding_top > 0 or padding_left > 0 or padding_top < -1 or padding_left < -1",
        sources=("keras-team/keras-core#488",),
    ),
    _padding(
        "padding-limited-to-half-the-kernel",
        "never pads by more than half of the kernel",
        _along(lambda a, _: positions(a, before=min(a.before, a.kernel // 2))),
        trigger=_either("padding_{top} > kernel_{h} // 2"),
        sources=("OpenPPL/ppl.nn#461", "xmos/ai_tools#330",),
    ),
    _padding(
        "padding-limited-to-kernel-less-1",
        "never pads by more than kernel - 1",
        _along(lambda a, _: positions(a, before=min(a.before, a.kernel - 1))),
        trigger=_either("padding_{top} > kernel_{h} - 1"),
        sources=("OpenPPL/ppl.nn#461", "xmos/ai_tools#330",),
    ),
    _padding(
        "padding-times-dilation",
        "multiplies the padding by the dilation",
        _along(lambda a, _: positions(a, before=a.before * a.dilation)),
        trigger=_either("padding_{top} != 0 and dilation_{h} > 1"),
        sources=("Theano/Theano#4729", "tensorflow/tensorflow#57128"),
    ),
    _padding(
        "edge-padding",
        "pads with the nearest elements of the image, not with zeros",
        _filled(lambda places, extent: np.clip(places, 0, extent - 1)),
        trigger=_TOUCHED,
        sources=("speechbrain/speechbrain#125",),
    ),
    _padding(
        "reflect-padding",
        "pads with the image reflected at its edge, not with zeros",
        _filled(_reflected),
        trigger=_TOUCHED,
        sources=("speechbrain/speechbrain#125", "pytorch/pytorch#152152"),
    ),
    _padding(
        "circular-padding",
        "pads with the other side of the image, not with zeros",
        _filled(lambda places, extent: places % extent),
        trigger=_TOUCHED,
        sources=("pytorch/pytorch#37844",),
    ),
    _padding(
        "ones-padding",
        "pads with ones, not with zeros",
        _along(_own, outside=1),
        ops=OF_INPUT,
        trigger=_TOUCHED,
        sources=("apache/tvm#13364",),
    ),
    _padding(
        "columns-not-checked",
        "reads beyond the left or right edge what memory holds there, of the next or last row",
        functools.partial(_unchecked, rows=False),
        trigger="height > 1 and (padding_left > 0 or padding_right > remainder_w)",
        sources=("espressif/esp-nn#31", "tensorflow/tfjs#5500"),
    ),
    _padding(
        "rows-and-columns-not-checked",
        "reads beyond any edge what memory holds there, of the next or last channel too",
        functools.partial(_unchecked, rows=True),
        trigger=_TOUCHED,
        sources=("espressif/esp-nn#31", "opencv/opencv#23151"),
    ),
    _padding(
        "input-gradient-padded-by-padding",
        "pads grad_output by the padding, not by span - 1 - padding",
        _adjoint(lambda a: a.before),
        ops=(GRAD_INPUT,),
        trigger=_either("span_{h} - 1 != 2 * padding_{top}"),
        sources=("HomericIntelligence/Odyssey#2949",),
    ),
    _padding(
        "input-gradient-pad-without-dilation",
        "pads grad_output by kernel - 1 - padding, which leaves out the dilation",
        _adjoint(lambda a: a.kernel - 1 - a.before),
        ops=(GRAD_INPUT,),
        trigger=_DILATED,
        sources=("pytorch/pytorch#13008", "pytorch/pytorch#16012", "pytorch/pytorch#23889"),
    ),
    _padding(
        "input-gradient-pad-not-negative",
        "does not crop grad_output where the padding is larger than span - 1",
        _adjoint(lambda a: max(0, a.span - 1 - a.before)),
        ops=(GRAD_INPUT,),
        trigger=_either("padding_{top} > span_{h} - 1"),
        sources=("ml-explore/mlx#833",),
    ),
    _padding(
        "input-gradient-pad-of-wrong-sign",
        "pads grad_output where it must crop, as the padding is larger than span - 1",
        _adjoint(lambda a: abs(a.span - 1 - a.before)),
        ops=(GRAD_INPUT,),
        trigger=_either("padding_{top} > span_{h} - 1"),
        sources=("ml-explore/mlx#833",),
    ),
    _padding(
        "input-gradient-pad-one-too-many",
        "pads grad_output by span - padding, one more than is right",
        _adjoint(lambda a: a.span - a.before),
        ops=(GRAD_INPUT,),
        trigger="True",
        sources=("mlpack/mlpack#2986",),
    ),
    _padding(
        "input-gradient-pad-one-too-few",
        "pads grad_output by span - 2 - padding, one less than is right",
        _adjoint(lambda a: a.span - 2 - a.before),
        ops=(GRAD_INPUT,),
        trigger="True",
        sources=("mlpack/mlpack#2986",),
    ),
    _padding(
        "input-gradient-not-cropped",
        "leaves the padding in the input gradient, as if there were none",
        _along(lambda a, _: positions(a, before=0)),
        ops=(GRAD_INPUT,),
        trigger="padding_top != 0 or padding_left != 0",
        sources=("Samsung/TICO#420",),
    ),
)  # fmt: skip


# ------------------------------------------------------------------ dilation


def _sized(
    span: Callable[[Axis, Axis], int],
) -> Callable[[Problem, str], Array | None]:
    """Return an output with as many windows as another span would leave.

    The span is that of an axis and of the axis of rows.
    """

    def compute(problem: Problem, op: str) -> Array | None:
        axes = problem.geometry.axes
        sizes = [(axis.padded - span(axis, axes[0])) // axis.stride + 1 for axis in axes]
        return _so_many(problem, op, sizes)

    return compute


_DILATIONS = (
    _dilation(
        "dilation-capped-at-2",
        "takes every dilation beyond 2 for 2",
        _along(lambda a, _: positions(a, dilation=min(2, a.dilation))),
        trigger=_either("dilation_{h} > 2 and kernel_{h} > 1"),
        sources=("apache/mxnet#1457", "dmlc/mshadow#102", "Tencent/ncnn#75"),
    ),
    _dilation(
        "dilation-ignored",
        "ignores the dilation",
        _along(lambda a, _: positions(a, dilation=1)),
        trigger=_DILATED,
        sources=("tensorflow/tensorflow#18454", "pytorch/pytorch#13008"),
    ),
    _dilation(
        "row-dilation-ignored",
        "ignores the dilation of rows",
        _apart(lambda a, _: positions(a, dilation=1), _own),
        trigger="dilation_h > 1 and kernel_h > 1",
        sources=("tenstorrent/tt-metal#19542",),
    ),
    _dilation(
        "column-dilation-ignored",
        "ignores the dilation of columns",
        _apart(_own, lambda a, _: positions(a, dilation=1)),
        trigger="dilation_w > 1 and kernel_w > 1",
        sources=("tenstorrent/tt-metal#19542",),
    ),
    _dilation(
        "dilations-swapped",
        "swaps the dilations of rows and columns",
        _along(lambda a, b: positions(a, dilation=b.dilation)),
        trigger=_UNEQUAL_DILATIONS,
        sources=("tinygrad/tinygrad#17805", "Theano/Theano#4874"),
    ),
    _dilation(
        "row-dilation-for-both",
        "uses the dilation of rows for columns too",
        _apart(_own, lambda a, b: positions(a, dilation=b.dilation)),
        trigger="dilation_h != dilation_w and kernel_w > 1",
        sources=("tenstorrent/tt-metal#19542",),
    ),
    _dilation(
        "column-dilation-for-both",
        "uses the dilation of columns for rows too",
        _apart(lambda a, b: positions(a, dilation=b.dilation), _own),
        trigger="dilation_h != dilation_w and kernel_h > 1",
        sources=("tenstorrent/tt-metal#19542",),
    ),
    _dilation(
        "dilation-applied-twice",
        "spreads its taps by the square of the dilation",
        _along(lambda a, _: positions(a, dilation=a.dilation**2)),
        trigger=_DILATED,
        sources=("root-project/root#22474",),
    ),
    _dilation(
        "dilation-counted-as-gap",
        "puts as many zeros as the dilation between taps, one too many",
        _along(lambda a, _: positions(a, dilation=a.dilation + 1)),
        trigger="kernel_h > 1 or kernel_w > 1",
        sources=("Tencent/ncnn#75",),
    ),
    _dilation(
        "output-size-without-dilation",
        "counts its windows as if there were no dilation",
        _sized(lambda a, _: a.kernel),
        ops=(FORWARD,),
        trigger=_either("remainder_{h} + span_{h} - kernel_{h} >= stride_{h}"),
        sources=("PaddlePaddle/Paddle#5242", "ROCm/rocMLIR#37", "torch/nn#857"),
    ),
    _dilation(
        "span-of-dilation-times-kernel",
        "counts its windows for a span of dilation x kernel",
        _sized(lambda a, _: a.dilation * a.kernel),
        ops=(FORWARD,),
        trigger=_either("remainder_{h} < dilation_{h} - 1"),
        sources=("tensorflow/tensorflow#57128", "oneapi-src/SYCLomatic#1833"),
    ),
    _dilation(
        "output-size-with-row-span-for-both",
        "counts its windows along both axes by the kernel and dilation of rows",
        _sized(lambda _, rows: rows.span),
        ops=(FORWARD,),
        trigger="remainder_w + span_w - span_h >= stride_w or remainder_w + span_w < span_h",
        sources=("tenstorrent/tt-metal#19542",),
    ),
)  # fmt: skip

# ------------------------------------------------------------------ sizes that follow


def _throughout(
    stride: Callable[[Axis, Axis], int] = lambda axis, _: axis.stride,
    dilation: Callable[[Axis, Axis], int] = lambda axis, _: axis.dilation,
    sides: Callable[[Axis, Axis], tuple[int, int]] = lambda axis, _: (axis.before, axis.after),
) -> Callable[[Problem, str], Array | None]:
    """Compute with other parameters, from which the output's size follows."""

    def compute(problem: Problem, op: str) -> Array | None:
        changed = []
        for pair in axes_of(problem):
            before, after = sides(*pair)
            changed.append(
                replace(
                    pair[0], stride=stride(*pair), dilation=dilation(*pair), before=before,
                    after=after,
                )
            )  # fmt: skip
        return _fitting(problem, op, changed)

    return compute


_sizes = functools.partial(make, ops=(FORWARD,))

_FOLLOWING = (
    _sizes(
        "strides-swapped-with-sizes",
        "swaps the strides of rows and columns, also for the output's size",
        _throughout(stride=lambda _, other: other.stride),
        family="stride",
        trigger="stride_h != stride_w",
        sources=("nntrainer/nntrainer#1642", "google-ai-edge/LiteRT#9256"),
    ),
    _sizes(
        "row-stride-for-both-with-sizes",
        "uses the stride of rows for columns too, also for the output's size",
        lambda problem, op: _throughout(stride=lambda *_: problem.geometry.axes[0].stride)(
            problem, op
        ),
        family="stride",
        trigger="stride_h != stride_w",
        sources=("FluxML/Flux.jl#700", "Theano/Theano#601"),
    ),
    _sizes(
        "column-stride-for-both-with-sizes",
        "uses the stride of columns for rows too, also for the output's size",
        lambda problem, op: _throughout(stride=lambda *_: problem.geometry.axes[1].stride)(
            problem, op
        ),
        family="stride",
        trigger="stride_h != stride_w",
        sources=("Theano/Theano#601",),
    ),
    _sizes(
        "stride-ignored-with-sizes",
        "slides its windows by one element, whatever the stride, and returns all of them",
        _throughout(stride=lambda *_: 1),
        family="stride",
        trigger="stride_h > 1 or stride_w > 1",
        sources=("pytorch/pytorch#55381", "majianjia/nnom#84"),
    ),
    _sizes(
        "stride-applied-twice-with-sizes",
        "slides its windows by the square of the stride, and returns no others",
        _throughout(stride=lambda axis, _: axis.stride**2),
        family="stride",
        trigger="stride_h > 1 or stride_w > 1",
        sources=("pytorch/pytorch#55381",),
    ),
    _sizes(
        "dilation-ignored-with-sizes",
        "ignores the dilation, also for the output's size",
        _throughout(dilation=lambda *_: 1),
        family="dilation",
        trigger=_DILATED,
        sources=("PaddlePaddle/Paddle#5242", "torch/nn#857"),
    ),
    _sizes(
        "dilations-swapped-with-sizes",
        "swaps the dilations of rows and columns, also for the output's size",
        _throughout(dilation=lambda _, other: other.dilation),
        family="dilation",
        trigger=_UNEQUAL_DILATIONS,
        sources=("tinygrad/tinygrad#17805",),
    ),
    _sizes(
        "paddings-swapped-with-sizes",
        "swaps the padding of rows and columns, also for the output's size",
        _throughout(sides=lambda _, other: (other.before, other.after)),
        family="padding",
        trigger="padding_top != padding_left or padding_bottom != padding_right",
        sources=("tinygrad/tinygrad#17805",),
    ),
    _sizes(
        "padding-doubled-with-sizes",
        "pads every side twice, also for the output's size",
        _throughout(sides=lambda axis, _: (2 * axis.before, 2 * axis.after)),
        family="padding",
        trigger=(
            "padding_top != 0 or padding_bottom != 0 or padding_left != 0 or padding_right != 0"
        ),
        sources=("microsoft/onnxruntime#4086",),
    ),
    _sizes(
        "padding-in-front-only-with-sizes",
        "pads the top and the left alone, also for the output's size",
        _throughout(sides=lambda axis, _: (axis.before, 0)),
        family="padding",
        trigger="padding_bottom != 0 or padding_right != 0",
        sources=("microsoft/onnxruntime#4086",),
    ),
)

FAULTS: tuple[Fault, ...] = (*_STRIDES, *_PADDINGS, *_DILATIONS, *_FOLLOWING)
