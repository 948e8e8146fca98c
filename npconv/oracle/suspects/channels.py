"""Groups, depthwise kernels, bias, masks, images of a batch: the wrong one, or none, or all."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np

from npconv.oracle.data import LARGEST
from npconv.oracle.suspects.fault import Array, Fault, NoArrayError, Problem
from npconv.oracle.suspects.tools import (
    FORWARD,
    GRAD_BIAS,
    GRAD_INPUT,
    GRAD_WEIGHT,
    GRADIENTS,
    OF_INPUT,
    OF_WEIGHT,
    OPS,
    SLIDING,
    grouped,
    input_index,
    joined,
    make,
    on,
    output_index,
    right,
    scaled,
    weight_index,
    zeroed,
)

_groups = functools.partial(make, family="groups")
_bias = functools.partial(make, family="bias")
_batch = functools.partial(make, family="batch")
_empties = functools.partial(make, family="empties")

_Index = Callable[[Array, int, int], Array]
_GROUPED = "groups > 1"


def _features(index: _Index) -> Callable[[Problem, str], Array | None]:
    """Take kernels in another order, given all numbers, groups and features of a group."""

    def compute(problem: Problem, op: str) -> Array | None:
        count, groups = problem.geometry.out_channels, problem.groups
        return weight_index(problem, op, index(np.arange(count), groups, count // groups))

    return compute


def _channels(index: _Index) -> Callable[[Problem, str], Array | None]:
    """Take input channels in another order, given all numbers, groups and channels of a group."""

    def compute(problem: Problem, op: str) -> Array | None:
        count, groups = problem.geometry.in_channels, problem.groups
        return input_index(problem, op, index(np.arange(count), groups, count // groups))

    return compute


def _outputs(index: _Index) -> Callable[[Problem, str], Array | None]:
    """Write output channels in another order."""

    def compute(problem: Problem, op: str) -> Array | None:
        count, groups = problem.geometry.out_channels, problem.groups
        return output_index(problem, op, index(np.arange(count), groups, count // groups))

    return compute


def _interleaved(number: Array, groups: int, size: int) -> Array:
    """Count members first and groups last: what is at (group, member) is at member*g + group."""
    return np.asarray(number % size * groups + number // size)


def _input_offset_by_features(problem: Problem, op: str) -> Array | None:
    """Begin a group's input channels at group * features, not at group * channels."""
    geometry = problem.geometry
    number, size = np.arange(geometry.in_channels), geometry.group_in
    wrong = number // size * geometry.group_out + number % size
    return input_index(problem, op, np.where(wrong < geometry.in_channels, wrong, -1))


def _weight_offset_by_channels(problem: Problem, op: str) -> Array | None:
    """Begin a group's kernels at group * channels, not at group * features."""
    geometry = problem.geometry
    number, size = np.arange(geometry.out_channels), geometry.group_out
    wrong = number // size * geometry.group_in + number % size
    return weight_index(problem, op, np.where(wrong < geometry.out_channels, wrong, -1))


def _all_groups_summed(problem: Problem, op: str) -> Array:
    """Give each group the sum of the weight gradients of all."""
    split = grouped(right(problem, op), problem.groups, 0)
    found = np.empty(split.shape, split.dtype)
    found[...] = split.sum(0, dtype=split.dtype)
    return joined(found, 0)


def _groups_left_zero(start: int, stop: int | None) -> Callable[[Problem, str], Array | None]:
    """Leave what belongs to some of the groups zero."""

    def compute(problem: Problem, op: str) -> Array | None:
        if problem.groups == 1:
            return None
        axis = 1 if op in (FORWARD, GRAD_INPUT) else 0
        found = grouped(right(problem, op), problem.groups, axis)
        np.moveaxis(found, axis, 0)[start:stop] = 0
        return joined(found, axis)

    return compute


_GROUPS = (
    _groups(
        "interleaved-groups-in-weight-gradient",
        "takes input channel c*g + group for channel c of a group in the weight gradient",
        _channels(_interleaved),
        ops=(GRAD_WEIGHT,),
        trigger="groups > 1 and channels_per_group > 1",
        sources=("pytorch/pytorch#51430",),
    ),
    _groups(
        "group-0s-weights-for-all",
        "uses group 0's weights for every group",
        _features(lambda f, _, size: f % size),
        ops=OF_WEIGHT,
        trigger=_GROUPED,
        sources=("microsoft/onnxruntime#3443", "ml-explore/mlx#3800"),
    ),
    _groups(
        "last-groups-weights-for-all",
        "uses the last group's weights for every group",
        _features(lambda f, g, size: (g - 1) * size + f % size),
        ops=OF_WEIGHT,
        trigger=_GROUPED,
        sources=("microsoft/DirectML#234",),
    ),
    _groups(
        "weights-of-the-next-group",
        "uses the weights of the next group",
        _features(lambda f, g, size: (f + size) % (g * size)),
        ops=SLIDING,
        trigger=_GROUPED,
        sources=("modular/modular#6129",),
    ),
    _groups(
        "groups-in-reverse",
        "uses the groups' weights in reverse order",
        _features(lambda f, g, size: (g - 1 - f // size) * size + f % size),
        ops=SLIDING,
        trigger=_GROUPED,
        sources=("modular/modular#6129",),
    ),
    _groups(
        "group-0s-channels-for-all",
        "takes the first group's input channels for every group, as if there were no groups",
        _channels(lambda c, _, size: c % size),
        ops=SLIDING,
        trigger=_GROUPED,
        sources=("microsoft/onnxruntime#3443", "apache/tvm#2241"),
    ),
    _groups(
        "input-channels-interleaved",
        "takes channels g apart for one group, not channels in a row",
        _channels(_interleaved),
        ops=SLIDING,
        trigger="groups > 1 and channels_per_group > 1",
        sources=("pytorch/pytorch#51430",),
    ),
    _groups(
        "kernels-interleaved",
        "numbers kernels by feature first and group last, as depth multipliers come elsewhere",
        _features(_interleaved),
        ops=SLIDING,
        trigger="groups > 1 and features_per_group > 1",
        sources=("chainer/chainer#2067", "gmalivenko/onnx2keras#150"),
    ),
    _groups(
        "output-channels-interleaved",
        "writes output channels by feature first and group last",
        _outputs(_interleaved),
        ops=OPS,
        trigger="groups > 1 and features_per_group > 1",
        sources=("deeplearning4j/deeplearning4j#6885",),
    ),
    _groups(
        "first-kernel-of-a-group-for-all",
        "uses the first kernel of a group for all of its output channels",
        _features(lambda f, _, size: f // size * size),
        ops=OF_WEIGHT,
        trigger="features_per_group > 1",
        sources=("tensorflow/tensorflow#39997", "pytorch/pytorch#15140"),
    ),
    _groups(
        "first-channel-of-a-group-for-all",
        "uses the first input channel of a group in place of all",
        _channels(lambda c, _, size: c // size * size),
        ops=OF_INPUT,
        trigger="channels_per_group > 1",
        sources=("apache/tvm#2241",),
    ),
    _groups(
        "input-offset-by-output-channels",
        "begins a group's input channels at group x (F / groups), not at group x (C / groups)",
        _input_offset_by_features,
        ops=SLIDING,
        trigger="groups > 1 and channels_per_group != features_per_group",
        sources=("apache/tvm#2241", "pytorch/pytorch#19912"),
    ),
    _groups(
        "weight-offset-by-input-channels",
        "begins a group's kernels at group x (C / groups), not at group x (F / groups)",
        _weight_offset_by_channels,
        ops=SLIDING,
        trigger="groups > 1 and channels_per_group != features_per_group",
        sources=("pytorch/pytorch#19912",),
    ),
    _groups(
        "weight-gradients-of-groups-summed",
        "adds the weight gradients of all groups",
        _all_groups_summed,
        ops=(GRAD_WEIGHT,),
        trigger=_GROUPED,
        sources=("tracel-ai/burn#1891", "pytorch/pytorch#68868"),
    ),
    _groups(
        "only-first-group",
        "computes the first group and leaves the others zero",
        _groups_left_zero(1, None),
        ops=OPS,
        trigger=_GROUPED,
        sources=("pytorch/pytorch#18218", "ROCm/rocm-libraries#4998"),
    ),
    _groups(
        "last-group-left-zero",
        "does not compute the last group",
        _groups_left_zero(-1, None),
        ops=OPS,
        trigger=_GROUPED,
        sources=("pytorch/pytorch#19912",),
    ),
    _groups(
        "first-group-left-zero",
        "does not compute the first group",
        _groups_left_zero(0, 1),
        ops=OPS,
        trigger=_GROUPED,
        sources=("pytorch/pytorch#19912",),
    ),
)


# ------------------------------------------------------------------ bias


def _with_bias(terms: Callable[[Problem, Array], Array]) -> Callable[[Problem, str], Array | None]:
    """Add something else in the place of the bias; integers wrap, floats are rounded once more."""

    def compute(problem: Problem, op: str) -> Array | None:
        if problem.bias is None:
            return None
        channels = np.arange(problem.geometry.out_channels)
        index = terms(problem, channels)
        return on(problem, op, bias=problem.bias[index])

    return compute


def _times(factor: Callable[[Problem], int]) -> Callable[[Problem, str], Array | None]:
    """Add a multiple of the bias."""

    def compute(problem: Problem, op: str) -> Array | None:
        if problem.bias is None:
            return None
        return on(problem, op, bias=scaled(problem.bias, factor(problem)))

    return compute


def _placed(
    shape: Callable[[Problem, Array, Array], Array],
) -> Callable[[Problem, str], Array | None]:
    """Add a map of biases to the output without: the sum is rounded as the output is."""

    def compute(problem: Problem, op: str) -> Array | None:
        if problem.bias is None:
            return None
        bare = on(problem, op, bias=None)
        return (bare + shape(problem, problem.bias, bare)).astype(bare.dtype)

    return compute


def _ends(problem: Problem, _: Array, bare: Array) -> Array:
    """Spread a bias over the last axis by column number."""
    assert problem.bias is not None
    return np.asarray(problem.bias[np.arange(bare.shape[-1]) % problem.bias.size])


def _broadcast(problem: Problem, _: str) -> Array | None:
    """Add the bias of shape (F,) as NumPy does: along the last axis, or not at all."""
    if problem.bias is None:
        return None
    bare = on(problem, FORWARD, bias=None)
    if bare.shape[-1] not in (1, problem.bias.size) and problem.bias.size != 1:
        raise NoArrayError("the bias meets another number of columns")
    if bare.size * problem.bias.size > LARGEST:
        raise NoArrayError("more elements than memory is for")
    return np.asarray(bare + problem.bias).astype(bare.dtype)


def _rows(problem: Problem, _: Array, bare: Array) -> Array:
    assert problem.bias is not None
    return np.asarray(problem.bias[np.arange(bare.shape[-2]) % problem.bias.size][:, None])


def _images(problem: Problem, _: Array, bare: Array) -> Array:
    assert problem.bias is not None
    number = np.arange(bare.shape[0]) % problem.bias.size
    return np.asarray(problem.bias[number][:, None, None, None])


def _only(*parts: slice) -> Callable[[Problem, Array, Array], Array]:
    """Add the bias in a part of (n, f, y, x) alone."""

    def shape(_: Problem, bias: Array, bare: Array) -> Array:
        found = np.zeros(bare.shape, bare.dtype)
        found[parts] = np.broadcast_to(bias[:, None, None], bare.shape)[parts]
        return found

    return shape


_ALL = slice(None)
_FIRST = slice(1)

_BIASES = (
    _empties(
        "bias-lost-without-channels",
        "returns zeros, without the bias, where there are no input channels",
        lambda p, op: None if p.bias is None or p.input.shape[1] else np.zeros_like(right(p, op)),
        ops=(FORWARD,),
        trigger="bias and in_channels == 0",
        sources=("pytorch/pytorch#101356",),
        empty=True,
    ),
    _bias(
        "bias-forgotten",
        "does not add the bias",
        lambda p, op: None if p.bias is None else on(p, op, bias=None),
        ops=(FORWARD,),
        trigger="bias",
        sources=("sony/nnabla#691", "pytorch/pytorch#36173", "tenstorrent/tt-metal#10887"),
    ),
    _bias(
        "bias-added-twice",
        "adds the bias twice",
        _times(lambda _: 2),
        ops=(FORWARD,),
        trigger="bias",
        sources=("pytorch/pytorch#48661", "pytorch/pytorch#48514"),
    ),
    _bias(
        "bias-subtracted",
        "subtracts the bias",
        _times(lambda _: -1),
        ops=(FORWARD,),
        trigger="bias",
        sources=("ultralytics/yolov3#807",),
    ),
    _bias(
        "bias-added-for-every-group",
        "adds the bias once for each group",
        _times(lambda p: p.groups),
        ops=(FORWARD,),
        trigger="bias and groups > 1",
        sources=("pytorch/pytorch#48514",),
    ),
    _bias(
        "bias-added-for-every-channel",
        "adds the bias once for each input channel of the sum",
        _times(lambda p: p.geometry.group_in),
        ops=(FORWARD,),
        trigger="bias and channels_per_group > 1",
        sources=("pytorch/pytorch#48514", "tenstorrent/tt-metal#10887"),
    ),
    _bias(
        "bias-added-for-every-tap",
        "adds the bias once for each tap of the kernel",
        _times(lambda p: p.geometry.kernel[0] * p.geometry.kernel[1]),
        ops=(FORWARD,),
        trigger="bias and (kernel_h > 1 or kernel_w > 1)",
        sources=("pytorch/pytorch#48514",),
    ),
    _bias(
        "bias-0-for-all",
        "adds the first channel's bias to all channels",
        _with_bias(lambda _, f: f * 0),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-of-the-image",
        "adds bias[n] to image n, not bias[f] to channel f",
        _placed(_images),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-along-columns",
        "adds the bias along the width, as to channels in the last axis",
        _placed(_ends),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7", "tensorflow/tensorflow#30044"),
    ),
    _bias(
        "bias-without-its-axes",
        "adds the bias as it is, of shape (F,) and not (F, 1, 1), so that it meets the columns",
        _broadcast,
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7", "tensorflow/tensorflow#30044"),
    ),
    _bias(
        "bias-along-rows",
        "adds the bias along the height",
        _placed(_rows),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-of-the-group",
        "adds bias[group] to every channel of a group",
        _with_bias(lambda p, f: f // p.geometry.group_out),
        ops=(FORWARD,),
        trigger="bias and features_per_group > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-of-the-first-group",
        "begins again with the first bias in every group",
        _with_bias(lambda p, f: f % p.geometry.group_out),
        ops=(FORWARD,),
        trigger="bias and groups > 1",
        sources=("robertknight/rten#1408",),
    ),
    _bias(
        "bias-of-the-next-channel",
        "adds the next channel's bias",
        _with_bias(lambda _, f: (f + 1) % len(f)),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-in-the-first-image-only",
        "adds the bias to the first image of the batch only",
        _placed(_only(_FIRST)),
        ops=(FORWARD,),
        trigger="bias and batch > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-in-the-first-row-only",
        "adds the bias to the first row only",
        _placed(_only(_ALL, _ALL, _FIRST)),
        ops=(FORWARD,),
        trigger="bias and out_height > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-in-the-first-column-only",
        "adds the bias to the first column only",
        _placed(_only(_ALL, _ALL, _ALL, _FIRST)),
        ops=(FORWARD,),
        trigger="bias and out_width > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "bias-in-the-first-channel-only",
        "adds the bias to the first channel only",
        _placed(_only(_ALL, _FIRST)),
        ops=(FORWARD,),
        trigger="bias and out_channels > 1",
        sources=("kraiskil/onnx2c#7",),
    ),
    _bias(
        "negative-outputs-cut",
        "replaces negative outputs by zero, as a fused activation does",
        lambda p, op: (
            None
            if p.input.dtype.kind == "c"
            else np.where(right(p, op) < 0, np.zeros((), p.input.dtype), right(p, op))
        ),
        ops=(FORWARD,),
        trigger="dtype not in ('complex64', 'complex128', 'uint8', 'uint16', 'uint32', 'uint64')",
        sources=("opencv/opencv#23354",),
    ),
)


# ------------------------------------------------------------------ gradient of the bias


def _summed(*parts: slice) -> Callable[[Problem, str], Array | None]:
    """Sum a part of grad_output only."""

    def compute(problem: Problem, op: str) -> Array | None:
        assert problem.grad_output is not None
        found = np.zeros(problem.grad_output.shape, problem.grad_output.dtype)
        found[parts] = problem.grad_output[parts]
        return on(problem, op, grad_output=found)

    return compute


def _mean(count: Callable[[Problem], int]) -> Callable[[Problem, str], Array | None]:
    """Divide a gradient by a number of its terms."""

    def compute(problem: Problem, op: str) -> Array | None:
        return scaled(right(problem, op), 1, max(1, count(problem)))

    return compute


def _images_of(problem: Problem) -> int:
    return problem.geometry.batch


def _positions_of(problem: Problem) -> int:
    rows, columns = problem.geometry.out
    return rows * columns


def _taps_of(problem: Problem) -> int:
    rows, columns = problem.geometry.kernel
    return rows * columns


def _by_row(problem: Problem, op: str) -> Array | None:
    """Sum over images, channels and columns: one number for each row."""
    assert problem.grad_output is not None
    return on(problem, op, grad_output=problem.grad_output.swapaxes(1, 2))


_SUMMED_OVER_BATCH = "batch > 1"
_SPREAD = "out_height > 1 or out_width > 1"

_BIAS_GRADIENTS = (
    _bias(
        "bias-gradient-of-the-first-image",
        "sums the bias gradient over the first image only",
        _summed(_FIRST),
        ops=(GRAD_BIAS,),
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128", "tracel-ai/burn#248"),
    ),
    _bias(
        "bias-gradient-of-the-last-image",
        "keeps of the bias gradient the last image's only",
        _summed(slice(-1, None)),
        ops=(GRAD_BIAS,),
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128",),
    ),
    _bias(
        "bias-gradient-of-the-first-row",
        "sums the bias gradient over the first row only",
        _summed(_ALL, _ALL, _FIRST),
        ops=(GRAD_BIAS,),
        trigger="out_height > 1",
        sources=("snuspl/cruise#800",),
    ),
    _bias(
        "bias-gradient-of-the-first-column",
        "sums the bias gradient over the first column only",
        _summed(_ALL, _ALL, _ALL, _FIRST),
        ops=(GRAD_BIAS,),
        trigger="out_width > 1",
        sources=("snuspl/cruise#800",),
    ),
    _bias(
        "bias-gradient-by-row",
        "sums the bias gradient over channels, a number for each row",
        _by_row,
        ops=(GRAD_BIAS,),
        trigger="out_channels > 1 or out_height > 1",
        sources=("snuspl/cruise#800",),
    ),
    _bias(
        "bias-gradient-zero",
        "returns zeros for the bias gradient",
        lambda p, op: np.zeros_like(right(p, op)),
        ops=(GRAD_BIAS,),
        trigger="True",
        sources=("tracel-ai/burn#248",),
    ),
    _bias(
        "bias-gradient-of-the-first-group-only",
        "sums the bias gradient for the first group's channels only",
        lambda p, op: zeroed(right(p, op), 0, p.geometry.group_out),
        ops=(GRAD_BIAS,),
        trigger=_GROUPED,
        sources=("tracel-ai/burn#248",),
    ),
)


# ------------------------------------------------------------------ batch


def _image_order(order: Callable[[Array], Array]) -> Callable[[Problem, str], Array | None]:
    """Read the input's images in another order."""

    def compute(problem: Problem, op: str) -> Array | None:
        number = order(np.arange(problem.geometry.batch))
        if op == GRAD_INPUT:
            found = np.zeros_like(right(problem, op))
            for image, place in enumerate(number):
                found[place] += right(problem, op)[image]
            return found
        return on(problem, op, input=problem.input[number])

    return compute


def _part_of_batch(start: int, stop: int | None) -> Callable[[Problem, str], Array | None]:
    """Leave out the images of a slice, in results and in sums."""

    def compute(problem: Problem, op: str) -> Array | None:
        if op in (FORWARD, GRAD_INPUT):
            return zeroed(right(problem, op), 0, start, stop)
        assert problem.grad_output is not None
        left = zeroed(problem.grad_output, 0, start, stop)
        return None if left is None else on(problem, op, grad_output=left)

    return compute


def _squeezed(problem: Problem, op: str) -> Array | None:
    return right(problem, op)[0] if problem.geometry.batch == 1 else None


_BATCHES = (
    _batch(
        "batch-of-1-squeezed",
        "drops the batch axis of a single image",
        _squeezed,
        ops=(FORWARD, GRAD_INPUT),
        trigger="batch == 1 and not unbatched",
        sources=("NervanaSystems/neon#47",),
    ),
    _batch(
        "first-image-for-all",
        "reads the first image for every image of the batch",
        _image_order(lambda n: n * 0),
        ops=SLIDING,
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128",),
    ),
    _batch(
        "next-image",
        "reads the next image of the batch",
        _image_order(lambda n: (n + 1) % max(1, len(n))),
        ops=SLIDING,
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128",),
    ),
    _batch(
        "only-the-first-image",
        "works on the first image of the batch only",
        _part_of_batch(1, None),
        ops=OPS,
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128", "uxlfoundation/oneDNN#6035"),
    ),
    _batch(
        "only-the-last-image",
        "overwrites sums over the batch, so that the last image alone counts",
        _part_of_batch(0, -1),
        ops=(GRAD_WEIGHT, GRAD_BIAS),
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128", "clab/dynet#612"),
    ),
    _batch(
        "last-image-left-out",
        "leaves out the last image of the batch",
        _part_of_batch(-1, None),
        ops=OPS,
        trigger="True",
        sources=("uxlfoundation/oneDNN#6035",),
    ),
    _batch(
        "mean-over-batch",
        "divides gradients by the number of images",
        _mean(_images_of),
        ops=GRADIENTS,
        trigger=_SUMMED_OVER_BATCH,
        sources=("cbovar/ConvNetSharp#128", "rasmusbergpalm/DeepLearnToolbox#169"),
    ),
    _batch(
        "mean-over-positions",
        "divides gradients by the number of output positions",
        _mean(_positions_of),
        ops=(GRAD_WEIGHT, GRAD_BIAS),
        trigger=_SPREAD,
        sources=("Oneflow-Inc/oneflow#255",),
    ),
    _batch(
        "mean-over-batch-and-positions",
        "divides gradients by the number of images and output positions",
        _mean(lambda p: _images_of(p) * _positions_of(p)),
        ops=(GRAD_WEIGHT, GRAD_BIAS),
        trigger=f"{_SUMMED_OVER_BATCH} or {_SPREAD}",
        sources=("Oneflow-Inc/oneflow#255",),
    ),
    _batch(
        "mean-over-taps",
        "divides by the number of taps",
        _mean(_taps_of),
        ops=SLIDING,
        trigger="kernel_h > 1 or kernel_w > 1",
        sources=("Oneflow-Inc/oneflow#255",),
    ),
    _batch(
        "gradients-negated",
        "returns gradients with the wrong sign",
        lambda p, op: scaled(right(p, op), -1),
        ops=GRADIENTS,
        trigger="True",
        sources=("HomericIntelligence/Odyssey#2949",),
    ),
    _batch(
        "gradients-doubled",
        "returns gradients twice as large, as if each were added twice",
        lambda p, op: scaled(right(p, op), 2),
        ops=GRADIENTS,
        trigger="True",
        sources=("clab/dynet#612", "karpathy/llm.c#342"),
    ),
)


# ------------------------------------------------------------------ protocol

_masks = functools.partial(make, family="masks")
_ORDER = {GRAD_INPUT: 0, GRAD_WEIGHT: 1, GRAD_BIAS: 2}


def _reordered(problem: Problem, op: str, order: tuple[int, ...]) -> Array:
    return right(problem, GRADIENTS[order[_ORDER[op]]])


def _orders() -> Iterator[Fault]:
    """Give the ways to return three gradients in a wrong order."""
    names = ("input", "weight", "bias")
    for order in ((1, 0, 2), (2, 1, 0), (0, 2, 1), (1, 2, 0), (2, 0, 1)):
        yield _masks(
            "gradients-in-the-order-" + "-".join(names[place] for place in order),
            f"returns the gradients of {names[order[0]]}, {names[order[1]]} and "
            f"{names[order[2]]}, in this order",
            functools.partial(_reordered, order=order),
            ops=tuple(op for place, op in enumerate(GRADIENTS) if order[place] != place),
            trigger="True",
            sources=("pytorch/pytorch#75298",),
            series="order-of-gradients",
        )


_MASKS = (
    _masks(
        "mask-ignored",
        "computes every gradient, whatever output_mask says",
        None,
        ops=GRADIENTS,
        trigger="mask != '111'",
        sources=("pytorch/pytorch#75298", "pytorch/pytorch#75219"),
    ),
    _masks(
        "mask-shifted",
        "reads output_mask one place off: the input's flag for the weight, and so on",
        None,
        ops=GRADIENTS,
        trigger="mask not in ('111', '000')",
        sources=("pytorch/pytorch#75298", "sony/nnabla-ext-cuda#292"),
    ),
    _masks(
        "mask-reversed",
        "reads output_mask from its end",
        None,
        ops=GRADIENTS,
        trigger="mask not in ('111', '000', '101', '010')",
        sources=("pytorch/pytorch#75298",),
    ),
    _masks(
        "zeros-for-what-is-masked",
        "returns zeros, not None, where output_mask is False",
        None,
        ops=GRADIENTS,
        trigger="mask != '111'",
        sources=("pytorch/pytorch#75298",),
    ),
    *_orders(),
)

# ------------------------------------------------------------------ empty and single


def _first_tap(problem: Problem, op: str) -> Array | None:
    """Shift the padding of an image of one pixel so that only its first tap meets it."""
    if problem.geometry.extents != (1, 1):
        return None
    rows, columns = problem.geometry.axes
    pads = (0, rows.before + rows.after), (0, columns.before + columns.after)
    return right(replace(problem, padding=pads), op)


_EMPTIES = (
    _empties(
        "empty-batch-refused",
        "raises where the batch is empty",
        None,
        ops=OPS,
        trigger="batch == 0",
        sources=("FluxML/NNlib.jl#763", "Theano/Theano#3715", "FluxML/NNlib.jl#760"),
    ),
    _empties(
        "empty-channels-refused",
        "raises where there are no input channels",
        None,
        ops=OPS,
        trigger="in_channels == 0",
        sources=("pytorch/pytorch#101356",),
    ),
    _empties(
        "ones-for-an-empty-batch",
        "does not write the weight gradient of an empty batch, which must be zero",
        lambda p, op: None if p.geometry.batch else np.ones_like(right(p, op)),
        ops=(GRAD_WEIGHT, GRAD_BIAS),
        trigger="batch == 0",
        sources=("FluxML/NNlib.jl#763", "pytorch/pytorch#24341"),
        empty=True,
    ),
    _empties(
        "single-column-refused",
        "raises where the image and the kernel are one column wide",
        None,
        ops=OPS,
        trigger="width == 1 and kernel_w == 1",
        sources=("deeplearning4j/deeplearning4j#7281",),
    ),
    _empties(
        "unbatched-result-batched",
        "returns a batch of one for an image without a batch axis",
        None,
        ops=(FORWARD, GRAD_INPUT),
        trigger="unbatched",
        sources=("pytorch/pytorch#104860",),
    ),
    _empties(
        "unbatched-refused",
        "raises for an image without a batch axis",
        None,
        ops=OPS,
        trigger="unbatched",
        sources=("pytorch/pytorch#104860",),
    ),
    _empties(
        "single-pixel-takes-the-first-tap",
        "multiplies an image of one pixel by the kernel's first tap, wherever it lies",
        _first_tap,
        ops=SLIDING,
        trigger="height == 1 and width == 1 and (padding_top != 0 or padding_left != 0)",
        sources=("pytorch/pytorch#55381",),
    ),
)


FAULTS: tuple[Fault, ...] = (
    *_EMPTIES,
    *_MASKS,
    *_GROUPS,
    *_BIASES,
    *_BIAS_GRADIENTS,
    *_BATCHES,
)
