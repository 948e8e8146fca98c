"""Families of convolution bugs: when each shows, and cases that show it. No arrays here.

A family is a condition on cases: an implementation with a bug of the family is wrong in some of
the cases that fulfil it, in the operations named. Its own cases stand beside the sampled ones,
which rarely have the sizes that a family needs. Reports are of public trackers.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

from npconv.oracle.cases import Case, Padding
from npconv.oracle.conditions import Condition

FORWARD = ("forward",)
GRADIENTS = ("grad_input", "grad_weight", "grad_bias")
FACTORS = ("grad_input", "grad_weight")
BILINEAR = ("forward", *FACTORS)
OPS = ("forward", *GRADIENTS)

REALS = ("reals", "micro", "mega", "cancelling")
#: Data whose every element counts: a wrong sum differs from the right one.
TELLING = ("integers", "probe", *REALS)
WIDE = ("float32", "float64")
HALF = ("float16", "bfloat16")

#: Vector lengths and tile edges: sizes one below, at and one above each are asked.
EDGES = (4, 8, 16, 32, 64)
#: Where 16-bit indices and launch grids end.
LIMIT = 65_536
#: Products and elements of a case that plain Python takes well under a second for.
LIGHT = 60_000


@dataclass(frozen=True)
class Family:
    """Bugs that show in the same cases.

    `standard` has at least `least` cases of each dtype of `dtypes`, on data of `data`, that fulfil
    the condition and ask each operation of `ops`.
    """

    name: str
    #: What goes wrong.
    says: str
    condition: str
    ops: tuple[str, ...] = OPS
    #: The first part of the ids of its own cases, up to the dilation.
    shapes: tuple[str, ...] = ()
    reported: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = WIDE
    data: tuple[str, ...] = TELLING
    #: The kinds of data and the layouts that its own cases come in.
    drawn: tuple[str, ...] = ("integers", "reals")
    layouts: tuple[str, ...] = ("packed",)
    #: Whether its own cases have a bias; None for every other one.
    bias: bool | None = None
    least: int = 4

    def cases(self) -> Iterator[Case]:
        """Give its own cases: each shape in each dtype, on each kind of data, in each layout."""
        asked = (self.shapes, self.dtypes, self.drawn, self.layouts)
        for places in itertools.product(*(range(len(values)) for values in asked)):
            shape, dtype, data, layout = (
                values[place] for values, place in zip(asked, places, strict=True)
            )
            bias = sum(places) % 2 == 0 if self.bias is None else self.bias
            # What is laid out must be there.
            name = "bias" if bias or layout.endswith("_bias") else "nobias"
            yield Case.from_id(f"{shape}-{name}-m111-{dtype}-{layout}-{data}-seed0")

    def lightest(self) -> Case | None:
        """Return that of its own cases with least to compute; None where none is light."""
        found = min(((_work(case), case.id) for case in self.cases()), default=None)
        return Case.from_id(found[1]) if found is not None and found[0] <= LIGHT else None

    def holds(self, case: Case, op: str) -> bool:
        """Whether the case is one of the family's and asks this operation."""
        asks = op == "forward" or case.mask[GRADIENTS.index(op)] == "1"
        return (
            asks
            and case.illegal is None
            and case.data in self.data
            and case.dtype in self.dtypes
            and _parsed(self.condition).holds(case)
        )


_parsed = functools.cache(Condition.parse)


def _work(case: Case) -> int:
    """Count the products of the forward operation, and the elements."""
    geometry = case.geometry
    products = math.prod(
        (geometry.batch, geometry.out_channels, *geometry.out, geometry.forward_terms)
    )
    return products + math.prod(case.input_shape) + math.prod(case.weight_shape)


_LAYOUTS = (
    Family(
        "channel slice",
        "a slice of channels of a larger array is read as if it were the whole",
        "layout == 'channel_slice' and laid_out in ('all', 'input')",
        shapes=("n1c1f1g1-2x1-k1x1-s1x1-p0x0-d1x1", "n2c3f4g1-5x6-k3x2-s1x1-p1x1-d1x1"),
        reported=("pytorch/pytorch#180984",),
        layouts=("channel_slice", "channel_slice_input"),
    ),
    Family(
        "weight not packed",
        "the weight is read as packed though it is a slice, transposed or of channels last",
        "layout not in ('packed', 'readonly') and laid_out in ('all', 'weight')",
        shapes=("n1c2f2g1-3x4-k2x2-s1x1-p0x0-d1x1", "n2c3f3g1-2x3-k2x2-s1x1-p0x0-d1x1"),
        reported=("pytorch/pytorch#55781", "pytorch/pytorch#1246", "huggingface/candle#3735"),
        layouts=("stepped_weight", "transposed_weight", "channels_last_weight"),
    ),
    Family(
        "weight alone not packed",
        "whether to copy is decided by the input's strides alone",
        "layout not in ('packed', 'readonly') and laid_out == 'weight'",
        reported=("huggingface/candle#3735",),
    ),
    Family(
        "view with an offset",
        "a view that starts behind its memory's first element is read from the first",
        "layout in ('channel_slice', 'stepped', 'reversed')",
        reported=("huggingface/candle#3893",),
    ),
    Family(
        "grad_output not packed",
        "grad_output is read with packed strides",
        "layout not in ('packed', 'readonly') and laid_out in ('all', 'grad_output')",
        GRADIENTS,
        shapes=("n2c3f5g1-9x10-k3x3-s1x1-p1x1-d1x1", "n3c4f6g2-8x7-k3x2-s2x1-p1x0-d1x1"),
        reported=("pytorch/pytorch#708", "fla-org/flash-linear-attention#871"),
        layouts=("channel_slice_grad_output", "stepped_grad_output", "transposed_grad_output"),
    ),
    Family(
        "grad_output expanded",
        "strides of 0, as the gradient of a sum has them, are taken for 1: reads past the memory",
        "layout == 'expanded' and laid_out == 'grad_output'",
        GRADIENTS,
        shapes=(
            "n2c3f5g1-7x8-k3x3-s1x1-p1x1-d1x1",
            "n1c1f1g1-4x5-k1x1-s1x1-p0x0-d1x1",
            "n3c4f6g2-8x7-k3x2-s2x1-p1x0-d1x1",
        ),
        reported=("fla-org/flash-linear-attention#1139",),
        data=("integers",),
        drawn=("integers",),
        layouts=("expanded_grad_output",),
        least=3,
    ),
    Family(
        "formats mixed",
        "one array's memory format is taken for all: channels last beside packed ones",
        "layout == 'channels_last' and laid_out != 'all'",
        shapes=("n2c8f16g1-6x7-k3x3-s1x1-p1x1-d1x1", "n2c4f6g2-6x7-k3x2-s2x1-p1x1-d1x1"),
        layouts=("channels_last_input", "channels_last_weight", "channels_last_grad_output"),
    ),
    Family(
        "channels last with axes of one",
        "strides of axes of one element, which say nothing, decide the memory format",
        "layout == 'channels_last' and (height == 1 or width == 1 or in_channels == 1 "
        "or out_channels == 1)",
        shapes=(
            "n2c3f4g1-1x7-k1x3-s1x1-p0x1-d1x1",
            "n2c3f4g1-7x1-k3x1-s2x1-p1x0-d1x1",
            "n2c1f4g1-5x6-k3x3-s1x1-p1x1-d1x1",
            "n2c4f1g1-5x6-k1x1-s1x1-p0x0-d1x1",
        ),
        layouts=("channels_last",),
    ),
    Family(
        "negative strides",
        "an array that runs backwards is read forwards, or from outside its memory",
        "layout == 'reversed'",
    ),
    Family(
        "bias not packed",
        "the bias is read with a stride of one",
        "bias and layout in ('stepped', 'channel_slice', 'reversed') "
        "and laid_out in ('all', 'bias') and out_channels > 1",
        FORWARD,
        shapes=("n2c3f5g1-4x5-k3x2-s1x1-p0x0-d1x1",),
        reported=("MooreThreads/torch_musa#62",),
        layouts=("stepped_bias", "channel_slice_bias", "reversed_bias"),
    ),
    Family("read-only arrays", "read-only memory is refused or written to", "layout == 'readonly'"),
    Family(
        "groups in channels last",
        "the group count or channel offset is that of the other format",
        "layout == 'channels_last' and groups > 1",
        shapes=("n2c8f4g4-5x6-k3x3-s1x1-p1x1-d1x1", "n2c6f6g6-5x6-k3x3-s2x1-p1x1-d1x1"),
        reported=("apache/tvm#2241", "microsoft/onnxruntime#3443"),
        layouts=("channels_last",),
    ),
)  # fmt: skip

_SIZES = (
    Family(
        "grouped with 16 output channels",
        "a path for blocks of 16 output channels runs over the groups' borders",
        "groups > 1 and out_channels % 16 == 0 and channels_per_group < 16",
        shapes=(
            "n2c4f16g2-6x7-k1x1-s1x1-p0x0-d1x1",
            "n2c4f16g2-6x7-k3x3-s1x1-p1x1-d1x1",
            "n1c6f32g2-5x6-k3x3-s1x1-p0x0-d1x1",
        ),
        reported=("pytorch/pytorch#19912", "pytorch/pytorch#18218"),
    ),
    Family(
        "grouped with a long kernel",
        "a path for groups handles short kernels only",
        "groups > 1 and (kernel_h >= 64 or kernel_w >= 64)",
        shapes=("n1c32f32g16-1x140-k1x128-s1x1-p0x0-d1x1", "n2c8f8g4-131x3-k65x1-s1x1-p0x0-d1x1"),
        reported=("modular/modular#6129",),
    ),
    Family(
        "long kernels",
        "kernels of 256 taps or more on an axis, or together, with more than one image",
        "batch > 1 and (kernel_h >= 256 or kernel_w >= 256 or kernel_h * kernel_w >= 256)",
        shapes=(
            "n2c1f2g1-3x260-k1x256-s1x1-p0x0-d1x1",
            "n3c2f1g1-259x2-k257x1-s1x1-p0x0-d1x1",
            "n2c1f1g1-18x20-k16x17-s1x1-p0x0-d1x1",
            "n2c2f2g2-300x3-k257x1-s3x1-p2x0-d1x1",
            "n2c1f1g1-401x3-k401x1-s1x1-p200x0-d1x1",
            "n2c1f2g1-2x1027-k1x1025-s1x1-p0x0-d1x1",
        ),
        reported=("tensorflow/tensorflow#11327", "tenstorrent/tt-metal#26405"),
    ),
    Family(
        "output not a multiple of 4",
        "the last elements of the output, fewer than a vector, are wrong",
        "out_height * out_width % 4 != 0 and out_height * out_width > 8",
        shapes=("n1c3f5g1-18x17-k3x3-s2x2-p1x1-d1x1", "n2c4f4g1-14x15-k1x1-s1x1-p0x0-d1x1"),
        reported=("Tencent/ncnn#1014",),
    ),
    Family(
        "maps below 16 x 16",
        "a packed path is wrong once the map is smaller than its tile",
        "height < 16 and width < 16 and in_channels % 4 == 0 and in_channels >= 32",
        shapes=(
            "n1c64f8g1-14x13-k1x1-s1x1-p0x0-d1x1",
            "n1c64f64g64-15x14-k3x3-s1x1-p0x0-d1x1",
        ),
        reported=("Tencent/ncnn#1384",),
    ),
    Family(
        "sums of many channels",
        "partial sums of blocks are lost or rounded where a reduction has many terms",
        "terms >= 4096",
        FORWARD,
        shapes=("n1c1024f3g1-5x6-k3x3-s1x1-p1x1-d1x1", "n2c4099f2g1-2x3-k1x1-s1x1-p0x0-d1x1"),
        reported=("Tencent/ncnn#5479",),
    ),
    Family(
        "no bias with several blocks",
        "without a bias the partial sums of the first block are overwritten",
        "not bias and terms >= 512",
        FORWARD,
        shapes=("n1c64f5g1-5x6-k3x3-s1x1-p1x1-d1x1", "n2c600f3g1-2x3-k1x1-s1x1-p0x0-d1x1"),
        reported=("tenstorrent/tt-metal#10887",),
        bias=False,
    ),
    Family(
        "reduction not a multiple of 32",
        "kernel times channels is rounded up to a block, and what lies behind is read",
        "terms % 32 != 0 and terms > 512",
        FORWARD,
        shapes=("n1c3f2g1-15x16-k14x14-s1x1-p0x0-d1x1", "n2c65f3g1-4x5-k3x3-s1x1-p1x1-d1x1"),
        reported=("ggml-org/ggml#274",),
    ),
    Family(
        "1x1 with a stride and few channels",
        "a 1x1 path that gathers strided rows reads a whole block of channels",
        "kernel_h == 1 and kernel_w == 1 and stride_h > 1 and in_channels <= 4 and batch >= 32",
        shapes=("n32c4f8g1-4x5-k1x1-s2x2-p0x0-d1x1", "n33c3f4g1-5x4-k1x1-s2x3-p0x0-d1x1"),
        reported=("uxlfoundation/oneDNN#6035",),
        layouts=("packed", "channels_last"),
    ),
    Family(
        "depthwise of 128 channels",
        "a depthwise path reads behind the last channel or row",
        "depthwise and in_channels >= 128",
        shapes=("n1c128f128g128-5x6-k3x3-s2x2-p1x1-d1x1", "n1c129f129g129-5x6-k3x3-s1x1-p1x1-d1x1"),
        reported=("opencv/opencv#23151",),
    ),
    Family(
        "depthwise around 24 channels",
        "the weight gradient is wrong at one number of channels, right one below and above",
        "depthwise and in_channels in (23, 24, 25) and stride_h > 1",
        ("grad_weight",),
        shapes=tuple(f"n1c{n}f{n}g{n}-6x7-k3x3-s2x2-p1x1-d1x1" for n in (23, 24, 25)),
        reported=("pytorch/pytorch#50042",),
    ),
    Family(
        "channels of a depthwise tail",
        "channels that do not fill a vector are left out or read twice",
        "depthwise and in_channels > 4 and in_channels % 4 != 0",
        shapes=tuple(f"n2c{n}f{n}g{n}-7x9-k3x3-s1x1-p1x1-d1x1" for n in (5, 7, 9, 15, 17, 33)),
        reported=("bhuman/CompiledNN#16",),
    ),
    Family(
        "large planes",
        "tiles of a large plane are lost in the weight gradient",
        "height * width >= 30000 and kernel_h >= 3",
        shapes=("n1c2f1g1-200x210-k5x5-s1x1-p2x2-d1x1", "n2c1f2g1-170x181-k3x3-s2x2-p1x1-d1x1"),
        reported=("ROCm/MIOpen#449",),
    ),
    Family(
        "batches above a tile",
        "images beyond the first tile of a batch are dropped, doubled or added in a race",
        "batch >= 16 and kernel_h > 1",
        shapes=(
            "n16c3f4g1-5x6-k3x3-s1x1-p1x1-d1x1",
            "n17c4f3g1-5x6-k3x2-s2x1-p1x1-d1x1",
            "n33c2f2g2-4x5-k2x3-s1x1-p0x1-d1x1",
        ),
        reported=("tensorflow/tensorflow#1299", "FluxML/NNlib.jl#197"),
    ),
    Family(
        "batch of one",
        "an axis of one image is dropped",
        "batch == 1 and not unbatched",
        reported=("NervanaSystems/neon#47",),
    ),
    Family(
        "more than one image",
        "gradients are those of one image",
        "batch > 1",
        GRADIENTS,
        reported=("cbovar/ConvNetSharp#128", "chelsea0x3b/dfdx#657"),
    ),
    Family(
        "Winograd 3x3",
        "tiles of 2, 4 or 6 outputs: the last ones of a row, or padding, are wrong",
        "kernel_h == 3 and kernel_w == 3 and stride_h == 1 and stride_w == 1 and dilation_h == 1 "
        "and dilation_w == 1 and groups == 1 and in_channels >= 16 and out_channels >= 16",
        shapes=(
            "n2c16f17g1-6x7-k3x3-s1x1-p1x1-d1x1",
            "n2c16f17g1-8x9-k3x3-s1x1-p0x0-d1x1",
            "n2c16f17g1-13x12-k3x3-s1x1-p1x1-d1x1",
            "n2c16f17g1-10x14-k3x3-s1x1-p2x2-d1x1",
            "n1c64f64g1-8x9-k3x3-s1x1-p1x1-d1x1",
        ),
        reported=("openvinotoolkit/openvino#33681", "adam-dziedzic/winograd#1"),
    ),
    Family(
        "kernels of FFT size",
        "kernels from 7 x 7 up at stride 1, which FFT and implicit paths take",
        "kernel_h >= 7 and kernel_w >= 7 and stride_h == 1 and stride_w == 1",
        shapes=(
            "n2c16f16g1-15x16-k7x7-s1x1-p3x3-d1x1",
            "n1c3f4g1-20x19-k11x11-s1x1-p5x5-d1x1",
            "n2c2f2g1-12x13-k9x8-s1x1-p0x0-d1x1",
        ),
    ),
    Family(
        "kernels of 5, 7 and 11",
        "paths written for one size of kernel, with the stride of well-known networks",
        "(kernel_h, kernel_w) in ((5, 5), (7, 7), (11, 11)) and stride_h > 1",
        shapes=(
            "n2c3f8g1-23x25-k7x7-s2x2-p3x3-d1x1",
            "n1c3f8g1-35x37-k11x11-s4x4-p2x2-d1x1",
            "n2c4f6g1-16x15-k5x5-s2x2-p2x2-d1x1",
            "n1c9f3g1-32x33-k5x5-s3x3-p1x1-d1x1",
        ),
        reported=("HomericIntelligence/Odyssey#2949",),
    ),
)  # fmt: skip


def _beyond() -> Iterator[Family]:
    """Give the families of sizes past 16-bit indices, in shapes that are otherwise thin."""
    over = LIMIT + 1
    sizes = (
        ("input channels", f"in_channels > {LIMIT}", f"n1c{over}f1g1-1x2-k1x1-s1x1-p0x0-d1x1", ()),
        (
            "output channels",
            f"out_channels > {LIMIT}",
            f"n1c1f{over}g1-2x1-k1x1-s1x1-p0x0-d1x1",
            ("pytorch/pytorch#129207", "pytorch/pytorch#142836"),
        ),
        (
            "channels of a depthwise convolution",
            f"depthwise and in_channels >= {LIMIT}",
            f"n1c{LIMIT}f{LIMIT}g{LIMIT}-1x2-k1x2-s1x1-p0x0-d1x1",
            ("Dao-AILab/causal-conv1d#32",),
        ),
        (
            "images",
            f"batch > {LIMIT}",
            f"n{over}c1f1g1-1x2-k1x2-s1x1-p0x0-d1x1",
            ("pytorch/pytorch#96225",),
        ),
        (
            "rows",
            f"height > {LIMIT}",
            f"n1c1f2g1-{over + 1}x1-k3x1-s1x1-p0x0-d1x1",
            (),
        ),
        ("columns", f"width > {LIMIT}", f"n1c2f1g1-1x{over + 1}-k1x2-s1x1-p0x1-d1x1", ()),
        (
            "strided columns",
            f"width > {LIMIT} and stride_w > 1",
            f"n1c1f1g1-2x{over + 2}-k2x3-s1x2-p0x1-d1x1",
            (),
        ),
        (
            "positions of the output",
            f"batch * out_height * out_width > {LIMIT} and height < {LIMIT} and width < {LIMIT}",
            "n2c1f1g1-181x183-k1x1-s1x1-p0x0-d1x1",
            ("ml-explore/mlx#3893",),
        ),
        (
            "planes of the output",
            f"batch * out_channels > {LIMIT} and batch < {LIMIT} and out_channels < {LIMIT}",
            "n257c1f256g1-1x2-k1x1-s1x1-p0x0-d1x1",
            (),
        ),
        (
            "terms of an output",
            f"terms > {LIMIT} and in_channels < {LIMIT}",
            "n1c7283f1g1-3x4-k3x3-s1x1-p0x0-d1x1",
            (),
        ),
        ("padding", f"padding_left > {LIMIT}", f"n1c1f1g1-1x3-k1x2-s1x1-p0x{over}-d1x1", ()),
        ("stride", f"stride_w > {LIMIT}", f"n1c2f1g1-2x{over + 2}-k2x1-s1x{over}-p0x0-d1x1", ()),
        (
            "dilation",
            f"dilation_h > {LIMIT}",
            f"n1c1f2g1-{over + 3}x1-k2x1-s1x1-p0x0-d{over}x1",
            (),
        ),
    )
    for name, condition, shape, reported in sizes:
        yield Family(
            f"{name} past 65,536",
            "an index or a launch grid of 16 bits ends, and what lies beyond is lost",
            condition,
            shapes=(shape,),
            reported=reported,
            # The gradient with such a stride takes torch 2.13 half a minute in float32.
            dtypes=("float64",) if name == "stride" else WIDE,
            drawn=("integers",),
            least=1,
        )


#: Sizes around edges: name, condition on the size, and the shape of size n.
_AROUND = (
    ("channels of a group", "channels_per_group", "n2c{n}f3g1-4x5-k2x3-s1x1-p0x1-d1x1"),
    ("grouped channels", "channels_per_group", "n1c{n2}f4g2-4x5-k3x2-s2x1-p1x1-d1x1"),
    ("features of a group", "features_per_group", "n2c3f{n}g1-5x4-k3x2-s1x1-p1x0-d1x1"),
    ("grouped features", "features_per_group", "n1c4f{n2}g2-5x4-k2x3-s1x2-p1x1-d1x1"),
    ("groups", "groups", "n2c{n}f{n}g{n}-4x6-k3x2-s2x1-p1x0-d1x1"),
    ("height", "height", "n2c2f3g1-{n}x6-k3x2-s1x2-p1x0-d1x1"),
    ("width", "width", "n2c3f2g1-6x{n}-k2x3-s2x1-p0x1-d1x1"),
    ("output height", "out_height", "n1c2f3g1-{n2}x5-k2x2-s2x1-p0x0-d1x1"),
    ("output width", "out_width", "n1c3f2g1-5x{n2}-k2x2-s1x2-p0x0-d1x1"),
    ("width of a 1x1 kernel", "width", "n1c4f4g1-3x{n}-k1x1-s1x1-p0x0-d1x1"),
    ("batch", "batch", "n{n}c2f3g1-4x3-k3x2-s1x1-p1x0-d1x1"),
    ("terms of a 1x1 kernel", "terms", "n3c{n}f5g1-2x3-k1x1-s1x1-p0x0-d1x1"),
)


def _edges() -> Iterator[Family]:
    """Give the families of sizes one below, at and one above what a vector or tile holds."""
    for name, size, shape in _AROUND:
        for edge in EDGES:
            around = tuple(edge + step for step in (-1, 0, 1))
            yield Family(
                f"{name} around {edge}",
                "what does not fill a vector or tile is left out, read twice or overwritten",
                f"{size} in {around}",
                shapes=tuple(_unlike(shape, n) for n in around),
                drawn=("integers",),
                least=3,
            )


def _unlike(shape: str, n: int) -> str:
    """Fill in a size; height and width must not become equal."""
    text = shape.format(n=n, n2=2 * n)
    extents = text.split("-")[1]
    height, width = extents.split("x")
    return text if height != width else text.replace(f"-{extents}-", f"-{height}x{int(width) + 1}-")


_GROUPS = (
    Family(
        "groups of several channels",
        "the weight gradient of groups with more than one channel is reshaped wrongly",
        "groups > 1 and (channels_per_group > 1 or features_per_group > 1)",
        ("grad_weight",),
        reported=("pytorch/pytorch#51430",),
        least=50,
    ),
    Family(
        "groups with a stride",
        "1 < groups < channels together with a stride: each alone is right",
        "1 < groups and channels_per_group > 1 and (stride_h > 1 or stride_w > 1)",
        FACTORS,
        shapes=(
            "n2c4f6g2-7x9-k3x3-s2x2-p1x1-d1x1",
            "n2c8f8g4-9x8-k3x2-s3x2-p1x0-d1x1",
            "n1c12f6g3-11x10-k2x2-s4x4-p1x1-d1x1",
        ),
        reported=("ml-explore/mlx#3800", "pytorch/pytorch#68868"),
        least=100,
    ),
    Family(
        "groups with dropped rows",
        "the shape of the weight gradient grows by what no window reaches, in groups",
        "groups > 1 and (remainder_h > 0 or remainder_w > 0)",
        FACTORS,
        shapes=("n3c4f6g2-5x6-k2x2-s2x1-p0x0-d1x1",),
        reported=("ml-explore/mlx#2184",),
        least=50,
    ),
    Family(
        "depthwise height and width",
        "height and width are mixed up in a depthwise path",
        "depthwise and kernel_h != kernel_w",
        shapes=("n2c4f4g4-5x9-k2x5-s1x2-p0x2-d1x1", "n1c8f8g8-9x5-k5x1-s2x1-p2x0-d2x1"),
        reported=("torch/cunn#470", "microsoft/DirectML#234"),
        least=20,
    ),
    Family(
        "depthwise with a multiplier",
        "output channels are divided among the groups in the wrong order",
        "depthwise and features_per_group > 1",
        shapes=("n2c8f16g8-6x7-k3x3-s1x1-p1x1-d1x1", "n2c5f15g5-7x6-k3x2-s2x1-p1x1-d1x1"),
        reported=("ARM-software/ComputeLibrary#553",),
        least=20,
    ),
    Family(
        "many groups",
        "a number of groups that is a vector's length",
        "groups in (4, 8, 16, 32) and channels_per_group > 1 and features_per_group > 1",
        shapes=tuple(f"n2c{2 * g}f{3 * g}g{g}-5x6-k3x3-s1x1-p1x1-d1x1" for g in (4, 8, 16, 32)),
        reported=("ROCm/rocm-libraries#4998",),
    ),
    Family(
        "groups of one feature",
        "several channels in, one out, in each group",
        "groups > 1 and channels_per_group > 1 and features_per_group == 1",
        shapes=("n2c8f4g4-5x6-k3x3-s1x1-p1x1-d1x1", "n2c6f2g2-6x5-k2x3-s2x1-p1x0-d1x1"),
    ),
)

_STRIDES = (
    Family(
        "dropped rows",
        "the input gradient is computed for what windows reach and has no rows for the rest",
        "remainder_h > 0 or remainder_w > 0",
        FACTORS,
        reported=(
            "f-dangel/backpack#30",
            "mlpack/mlpack#2986",
            "torch/DEPRECEATED-torch7-distro#20",
        ),
        least=200,
    ),
    Family(
        "two or more dropped rows",
        "output padding of one row is all that is ever added",
        "remainder_h >= 2 or remainder_w >= 2",
        FACTORS,
        shapes=("n2c1f2g1-3x1603-k1x4-s1x4-p0x0-d1x1", "n2c3f4g1-14x13-k3x2-s4x5-p0x0-d1x1"),
        reported=("tracel-ai/burn#4799",),
        least=100,
    ),
    Family(
        "dropped rows on both axes",
        "the remainder of one axis is used for both",
        "remainder_h > 0 and remainder_w > 0 and remainder_h != remainder_w",
        FACTORS,
        shapes=("n2c3f4g1-12x14-k3x2-s4x5-p0x0-d1x1", "n2c4f4g2-10x11-k2x3-s3x4-p1x1-d1x1"),
        least=20,
    ),
    Family(
        "tail rows of the input gradient",
        "the last rows, which few windows reach, are wrong",
        "kernel_h > stride_h > 2 and (remainder_h > 0 or padding_top > 0)",
        ("grad_input",),
        shapes=("n1c9f3g1-32x33-k5x5-s3x3-p1x1-d1x1", "n2c3f2g1-16x17-k7x7-s3x3-p2x2-d1x1"),
        reported=("pytorch/pytorch#25101",),
        least=10,
    ),
    Family(
        "unequal strides",
        "the stride of one axis is used for both",
        "stride_h != stride_w",
        reported=("nntrainer/nntrainer#1642", "FluxML/Flux.jl#700"),
        least=200,
    ),
    Family(
        "strides from 3 up",
        "gradients are right for strides 1 and 2 only",
        "stride_h >= 3 or stride_w >= 3",
        FACTORS,
        reported=("Theano/Theano#601",),
        least=200,
    ),
    Family(
        "1x1 with a stride",
        "a 1x1 path that multiplies matrices takes no account of the stride",
        "kernel_h == 1 and kernel_w == 1 and (stride_h > 1 or stride_w > 1)",
        shapes=("n1c64f16g1-8x7-k1x1-s2x2-p0x0-d1x1", "n2c3f4g1-7x9-k1x1-s3x2-p0x0-d1x1"),
        reported=("pytorch/pytorch#55381", "majianjia/nnom#84"),
        least=20,
    ),
    Family(
        "1x1 with padding",
        "a 1x1 path that multiplies matrices takes no account of the padding",
        "kernel_h == 1 and kernel_w == 1 and (padding_top > 0 or padding_left > 0)",
        shapes=("n2c5f4g1-4x6-k1x1-s1x1-p1x2-d1x1", "n2c5f4g1-4x6-k1x1-s2x1-p1x0-d1x1"),
        reported=("majianjia/nnom#84", "pulp-platform/pulp-nn#9"),
        least=20,
    ),
    Family(
        "kernel of one element on one axis",
        "a kernel of 1 x K or K x 1 is taken for 1 x 1, or for one axis",
        "(kernel_h == 1) + (kernel_w == 1) == 1",
        reported=("FluxML/Flux.jl#700", "Oldpan/Faceswap-Deepfake-Pytorch#1"),
        least=200,
    ),
    Family(
        "stride beyond the kernel",
        "elements between windows belong to none, and their gradient is not zero, or not written",
        "stride_h > span_h or stride_w > span_w",
        shapes=("n2c2f3g1-9x11-k2x1-s4x3-p0x0-d1x1",),
        reported=("Tencent/ncnn#116", "tensorflow/tensorflow#889"),
        least=50,
    ),
    Family(
        "one window",
        "an output of one element on an axis, whatever the stride",
        "out_height == 1 or out_width == 1",
        shapes=("n3c4f5g1-3x4-k3x4-s2x3-p0x0-d1x1", "n2c4f5g1-5x4-k5x4-s1x1-p0x0-d1x1"),
        least=50,
    ),
    Family(
        "stride and dilation",
        "stride and dilation change places in the gradients, or are both applied to one axis",
        "stride_h != dilation_h and stride_h > 1 or stride_w != dilation_w and stride_w > 1",
        FACTORS,
        reported=("huggingface/candle#2337",),
        least=200,
    ),
)

_PADDINGS = (
    Family(
        "unequal padding",
        "the padding of one axis is used for the other",
        "padding_form == 'pair' and padding_top != padding_left",
        shapes=("n2c3f4g1-6x8-k1x7-s1x1-p0x3-d1x1",),
        reported=("pytorch/pytorch#37844", "dotnet/TorchSharp#496"),
        least=200,
    ),
    Family(
        "unequal sides",
        "top, bottom, left and right are taken in another order, or made symmetrical",
        "padding_form == 'four-sided' and "
        "(padding_top != padding_bottom or padding_left != padding_right)",
        shapes=(
            "n2c3f4g1-6x7-k2x2-s1x1-p0_1x0_1-d1x1",
            "n2c3f4g1-6x7-k2x2-s1x1-p1_0x1_0-d1x1",
            "n1c4f16g1-8x9-k3x3-s2x2-p0_1x0_1-d1x1",
        ),
        reported=("rustnn/rustnn#27", "microsoft/onnxruntime#26215", "FluxML/Flux.jl#1605"),
        least=50,
    ),
    Family(
        "sides that crop",
        "negative padding is taken for zero, or crops the wrong side",
        "padding_top < 0 or padding_bottom < 0 or padding_left < 0 or padding_right < 0",
        least=50,
    ),
    Family(
        "SAME with an odd sum",
        "the odd row or column goes to the other side",
        "padding_form == 'string' and "
        "(padding_top != padding_bottom or padding_left != padding_right)",
        shapes=(
            "n2c3f4g1-8x9-k3x3-s2x2-psame_upper-d1x1",
            "n2c3f4g1-7x6-k2x4-s1x1-psame_upper-d1x1",
            "n2c3f4g1-8x9-k3x2-s3x4-psame_upper-d1x1",
            "n2c3f4g1-8x9-k3x3-s2x2-psame_lower-d1x1",
            "n2c3f4g1-7x6-k2x4-s1x1-psame_lower-d1x1",
            "n2c3f4g1-8x9-k3x2-s3x4-psame_lower-d1x1",
            "n2c3f4g1-7x6-k2x4-s1x1-psame-d1x1",
            "n1c4f8g1-7x9-k6x2-s1x1-psame-d1x1",
        ),
        reported=(
            "espressif/esp-nn#31",
            "microsoft/onnxruntime#5368",
            "tracel-ai/burn#2676",
            "mil-tokyo/webdnn#796",
        ),
        least=50,
    ),
    Family(
        "SAME with unequal strides",
        "padding is computed with the other axis's stride",
        "padding_form == 'string' and stride_h != stride_w",
        shapes=tuple(
            f"n2c3f4g1-9x10-k3x3-s{step}-p{side}-d1x1"
            for side in ("same_upper", "same_lower")
            for step in ("3x4", "4x3")
        ),
        reported=("google-ai-edge/LiteRT#9256",),
        least=50,
    ),
    Family(
        "SAME with dilation",
        "padding is computed from the kernel, or from the other axis's dilation",
        "padding_form == 'string' and (padding_top > 0 or padding_bottom > 0) "
        "and dilation_h != dilation_w",
        shapes=("n2c1f1g1-8x9-k3x5-s1x1-psame-d2x3",),
        reported=("tinygrad/tinygrad#17805",),
        least=20,
    ),
    Family(
        "SAME where one window covers all",
        "the kernel is larger than the input, and padding makes up for it",
        "padding_form == 'string' and (padding_top >= height or padding_left >= width)",
        shapes=("n2c3f4g1-2x3-k5x7-s1x1-psame-d1x1", "n2c3f4g1-3x2-k7x5-s2x2-psame_upper-d1x1"),
        reported=("xmos/ai_tools#89",),
    ),
    Family(
        "padding from the kernel's span up",
        "windows that lie in the padding, whose gradients crop instead of padding",
        "padding_top >= span_h or padding_left >= span_w",
        shapes=(
            "n2c3f2g1-11x14-k3x3-s1x1-p4x4-d1x1",
            "n2c2f3g1-4x5-k2x1-s1x1-p2x1-d1x1",
            "n2c3f2g1-5x6-k3x2-s2x3-p5x4-d1x1",
        ),
        reported=("ml-explore/mlx#833", "OpenPPL/ppl.nn#461", "xmos/ai_tools#219"),
        least=50,
    ),
    Family(
        "padding beyond the input",
        "padding larger than the input itself",
        "padding_top > height or padding_left > width",
        shapes=("n2c3f2g1-3x2-k3x3-s1x1-p7x9-d1x1", "n1c2f2g2-2x3-k2x2-s3x2-p9x5-d1x1"),
        reported=("Maratyszcza/NNPACK#103",),
        least=10,
    ),
    Family(
        "padded edges in short integers",
        "zeros of padding have another value where integers are offset",
        "padding_form == 'pair' and (padding_top > 0 or padding_left > 0)",
        shapes=("n2c4f8g1-6x7-k3x3-s2x2-p1x1-d1x1",),
        reported=("apache/tvm#13364",),
        dtypes=("int8", "uint8"),
        data=("integers",),
        drawn=("integers",),
    ),
)

_DILATIONS = (
    Family(
        "dilation",
        "the output has a dilated shape, and undilated values",
        "dilation_h > 1 and kernel_h > 1 or dilation_w > 1 and kernel_w > 1",
        shapes=("n1c1f1g1-7x8-k3x3-s1x1-pvalid-d2x2", "n1c1f1g1-7x8-k3x3-s1x1-p0x0-d2x2"),
        reported=("tensorflow/tensorflow#18454", "pytorch/pytorch#13008"),
        least=200,
    ),
    Family(
        "dilation from 3 up",
        "a gap between taps that holds for dilation 2 only",
        "dilation_h > 2 and kernel_h > 1 or dilation_w > 2 and kernel_w > 1",
        shapes=(
            "n2c3f4g1-11x12-k3x3-s1x1-p4x4-d4x4",
            "n1c2f3g1-36x34-k3x3-s1x1-p8x16-d16x16",
            "n2c3f4g1-9x17-k2x3-s1x1-p0x0-d5x7",
        ),
        reported=("Tencent/ncnn#75", "apache/mxnet#1457"),
        least=100,
    ),
    Family(
        "unequal dilation",
        "the dilation of one axis is used for both",
        "dilation_h != dilation_w and kernel_h > 1 and kernel_w > 1",
        shapes=("n2c3f4g1-6x11-k3x3-s1x1-p0x0-d1x4",),
        reported=("tenstorrent/tt-metal#19542", "Theano/Theano#4729"),
        least=100,
    ),
    Family(
        "dilation with dropped rows",
        "the size of the gradient ignores dilation, or the remainder, or both",
        "(dilation_h > 1 and kernel_h > 1 and remainder_h > 0) or "
        "(dilation_w > 1 and kernel_w > 1 and remainder_w > 0)",
        FACTORS,
        shapes=("n2c3f4g1-14x13-k3x2-s4x3-p0x1-d2x3", "n2c4f4g2-16x15-k3x3-s3x4-p1x0-d3x2"),
        reported=("keras-team/keras#16930",),
        least=50,
    ),
    Family(
        "depthwise with dilation",
        "a depthwise path checks borders without dilation, or applies it twice",
        "depthwise and (dilation_h > 1 and kernel_h > 1 or dilation_w > 1 and kernel_w > 1)",
        shapes=("n2c4f4g4-9x10-k3x3-s1x1-p2x2-d2x2", "n1c3f3g3-136x17-k3x3-s2x2-p1x1-d3x3"),
        reported=("tensorflow/tensorflow#57128", "tensorflow/tfjs#5500"),
        least=50,
    ),
    Family(
        "span beyond the input",
        "a dilated kernel that fits into the padded input only",
        "span_h > height or span_w > width",
        shapes=("n2c3f4g1-4x5-k3x3-s1x1-p3x3-d4x4",),
        reported=("root-project/root#22474",),
        least=20,
    ),
)

_SHAPES = (
    Family(
        "kernel height and width",
        "height and width of the kernel change places",
        "kernel_h != kernel_w",
        shapes=("n2c3f4g1-9x5-k6x1-s1x1-p0x0-d1x1", "n2c3f4g1-4x11-k2x7-s1x1-p1x0-d1x1"),
        reported=("mlpack/mlpack#3376", "FluxML/Flux.jl#700"),
        least=200,
    ),
    Family(
        "channels and features",
        "input and output channels of the weight change places in a gradient",
        "channels_per_group != features_per_group and channels_per_group > 1 "
        "and features_per_group > 1",
        shapes=("n2c5f3g1-6x7-k3x2-s1x1-p1x1-d1x1",),
        reported=("nntrainer/nntrainer#705", "NervanaSystems/neon#111"),
        least=200,
    ),
    Family(
        "kernel turned around",
        "a convolution where a correlation is meant: the kernel is flipped, or not in a gradient",
        "kernel_h * kernel_w > 1",
        reported=("astrorama/SourceXtractorPlusPlus#72", "huggingface/candle#801"),
        least=200,
    ),
    Family(
        "kernel as large as the input",
        "one window: a convolution that is a matrix product",
        "kernel_h == height and kernel_w == width",
        shapes=("n3c4f5g1-5x7-k5x7-s1x1-p0x0-d1x1", "n3c4f6g2-4x3-k4x3-s1x1-p1x1-d1x1"),
    ),
    Family(
        "one column",
        "a plane of one column or row, convolved by a kernel of one: 1-D in two dimensions",
        "width == 1 and kernel_w == 1 or height == 1 and kernel_h == 1",
        shapes=(
            "n2c4f4g1-10x1-k3x1-s1x1-p1x0-d1x1",
            "n2c4f4g1-1x10-k1x3-s1x1-p0x1-d1x1",
            "n1c2f2g1-7x1-k2x1-s1x1-p0x0-d1x1",
            "n2c3f5g1-1x15-k1x5-s1x2-p0x0-d1x2",
            "n2c1f2g1-15x1-k5x1-s1x1-p0x0-d1x1",
        ),
        reported=(
            "ml-explore/mlx#2190",
            "deeplearning4j/deeplearning4j#7281",
            "pytorch/pytorch#15140",
        ),
        least=20,
    ),
    Family(
        "one column with a stride or padding",
        "a plane of one column, strided or padded along the axis of one",
        "width == 1 and (stride_w > 1 or padding_left > 0)",
        shapes=(
            "n2c3f4g1-6x1-k3x2-s1x2-p0x1-d1x1",
            "n2c4f4g2-6x1-k2x1-s2x3-p0x0-d1x1",
            "n1c3f4g1-1x1-k3x2-s1x1-p1x1-d1x1",
            "n2c4f6g2-1x1-k2x3-s1x2-p1x2-d1x1",
        ),
        reported=("pytorch/pytorch#55381",),
    ),
    Family(
        "everything of one",
        "one image, one channel, one element, one tap",
        "batch == 1 and in_channels == 1 and out_channels == 1 and kernel_h * kernel_w == 1",
        shapes=("n1c1f1g1-1x2-k1x1-s1x1-p0x0-d1x1", "n1c1f1g1-2x1-k1x1-s3x2-p0x0-d1x1"),
    ),
    Family(
        "bias of several channels",
        "the bias is taken by image, or one number serves all channels",
        "bias and out_channels > 1",
        FORWARD,
        reported=("kraiskil/onnx2c#7",),
        least=200,
    ),
    Family(
        "no bias",
        "a bias that is not there is read",
        "not bias",
        reported=("sony/nnabla-ext-cuda#292",),
        least=200,
    ),
    Family(
        "gradient of the bias",
        "sums over rows, means instead of sums, or one image's sum",
        "out_channels > 1 and batch > 1 and out_height > 1 and out_width > 1",
        ("grad_bias",),
        reported=("snuspl/cruise#800", "tracel-ai/burn#248", "Oneflow-Inc/oneflow#255"),
        least=200,
    ),
    Family(
        "output_mask",
        "what the mask leaves out is computed, or what it asks for is not",
        "mask not in ('111', '000')",
        reported=("pytorch/pytorch#75298",),
        least=20,
    ),
    Family(
        "unbatched",
        "an input without a batch axis loses an axis too many, or none",
        "unbatched",
        shapes=("c3f4g1-5x6-k3x2-s1x1-p1x0-d1x1", "c4f6g2-7x6-k2x3-s2x1-p1x1-d1x1"),
        reported=("pytorch/pytorch#104860",),
        dtypes=("float16", "float32", "float64", "int64", "complex128"),
        drawn=("integers",),
        least=2,
    ),
    Family(
        "no images",
        "an empty batch fails, or leaves what was in the output and the weight's gradient",
        "batch == 0",
        shapes=(
            "n0c5f3g1-6x8-k3x2-s1x1-p1x0-d1x1",
            "n0c4f6g2-7x6-k2x3-s2x1-p1x1-d1x2",
            "n0c3f3g3-5x4-k1x1-s1x1-p0x0-d1x1",
        ),
        reported=(
            "FluxML/NNlib.jl#763",
            "Theano/Theano#3715",
            "pytorch/pytorch#24341",
        ),
        drawn=("integers",),
    ),
    Family(
        "no input channels",
        "a sum of nothing, which is the bias",
        "in_channels == 0 and batch > 0",
        shapes=("n2c0f8g1-5x6-k3x3-s2x1-p1x1-d1x1", "n1c0f4g2-6x5-k2x3-s1x1-p0x0-d1x1"),
        reported=("pytorch/pytorch#101356",),
        drawn=("integers",),
        least=3,
    ),
)

_NUMBERS = (
    Family(
        "NaN and infinities",
        "a NaN is lost, or an infinity makes NaN of what it does not touch",
        "data == 'special'",
        shapes=(
            "n1c128f129g1-4x5-k3x3-s1x1-p1x1-d1x1",
            "n2c16f16g1-13x12-k7x7-s1x1-p3x3-d1x1",
            "n2c6f5g1-5x6-k3x3-s1x1-p1x1-d1x1",
        ),
        reported=(
            "pytorch/pytorch#12484",
            "tensorflow/tensorflow#60315",
            "XiaoMi/mace#345",
        ),
        data=("special",),
        drawn=("special",),
        least=50,
    ),
    Family(
        "cancellation",
        "large terms that cancel leave the error of an arithmetic that is not the dtype's",
        "data == 'cancelling' and terms > 1",
        BILINEAR,
        shapes=("n1c320f3g1-4x5-k3x3-s1x1-p1x1-d1x1",),
        reported=("pytorch/pytorch#35655",),
        drawn=("cancelling",),
        least=50,
    ),
    Family(
        "fewer bits than the dtype has",
        "float32 by way of TF32, float64 by way of float32",
        "data == 'probe'",
        BILINEAR,
        reported=("uxlfoundation/oneDNN#1268", "FluxML/NNlib.jl#67"),
        data=("probe",),
        drawn=("probe",),
        least=50,
    ),
    Family(
        "far from 1",
        "values near 1e-6 and 1e6, which an absolute tolerance or a flush to zero hides",
        "data in ('micro', 'mega')",
        BILINEAR,
        reported=("tensorflow/tensorflow#117677",),
        data=("micro", "mega"),
        drawn=("micro", "mega"),
        least=50,
    ),
    Family(
        "long sums in 16 bits",
        "sums are kept in the format itself, which stops growing",
        "terms >= 256",
        FORWARD,
        shapes=(
            "n1c64f3g1-5x6-k3x3-s1x1-p1x1-d1x1",
            "n2c600f3g1-2x3-k1x1-s1x1-p0x0-d1x1",
        ),
        reported=("uxlfoundation/oneDNN#5041", "pytorch/pytorch#105941"),
        dtypes=HALF,
    ),
    Family(
        "long sums of gradients in 16 bits",
        "sums over images and positions are kept in the format itself",
        "batch * out_height * out_width >= 256",
        ("grad_weight", "grad_bias"),
        shapes=("n4c3f4g1-17x19-k3x3-s1x1-p1x1-d1x1",),
        dtypes=HALF,
        least=2,
    ),
    Family(
        "groups in 16 bits",
        "a launch grid or a tile that is not multiplied by the groups",
        "groups > 1",
        shapes=("n2c8f8g2-8x9-k3x3-s1x1-p1x1-d1x1", "n1c16f16g16-7x8-k3x3-s1x1-p1x1-d1x1"),
        reported=("ROCm/rocm-libraries#4998",),
        dtypes=HALF,
        least=20,
    ),
    Family(
        "integers that wrap",
        "sums saturate, are kept in 16 bits, or go through floats",
        "terms > 1",
        shapes=(
            "n1c1f1g1-3x4-k1x2-s1x1-p0x0-d1x1",
            "n2c6f4g1-6x5-k3x3-s1x1-p1x1-d1x1",
            "n1c64f8g1-4x5-k3x3-s1x1-p1x1-d1x1",
            "n1c4f4g1-2x3-k1x1-s1x1-p0x0-d1x1",
        ),
        reported=(
            "cupy/cupy#6047",
            "Tencent/ncnn#783",
            "uxlfoundation/oneDNN#476",
            "uxlfoundation/oneDNN#1354",
            "pytorch/pytorch#21597",
        ),
        dtypes=("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        data=("integers",),
        drawn=("integers",),
        least=20,
    ),
    Family(
        "complex numbers",
        "gradients lack the conjugate, or real and imaginary parts change places",
        "in_channels > 0",
        shapes=("n1c1f1g1-2x1-k1x1-s1x1-p0x0-d1x1", "n2c4f6g2-6x5-k3x2-s2x1-p1x1-d1x2"),
        reported=("FluxML/Flux.jl#1876", "tensorflow/tensorflow#3348"),
        dtypes=("complex64", "complex128"),
        least=50,
    ),
)


def families() -> tuple[Family, ...]:
    """Return every family."""
    return (
        *_LAYOUTS, *_SIZES, *_edges(), *_beyond(), *_GROUPS, *_STRIDES, *_PADDINGS, *_DILATIONS,
        *_SHAPES, *_NUMBERS,
    )  # fmt: skip


# ------------------------------------------------------------------ what must be refused

#: Legal cases that a change makes illegal: with groups and dilation; with neither; plain in all;
#: depthwise. What an implementation has not declared it is not asked.
_LEGAL = tuple(
    Case.from_id(f"{shape}-bias-m111-float32-packed-integers-seed0")
    for shape in (
        "n2c4f6g2-7x9-k3x2-s2x1-p1x2-d1x2",
        "n2c4f6g1-7x9-k3x2-s2x1-p1x2-d1x1",
        "n2c4f6g1-7x9-k3x2-s1x1-p0x0-d1x1",
        "n2c6f6g6-7x9-k3x2-s1x2-p1x0-d1x1",
    )
)

Change = dict[str, "int | str | tuple[int, int] | Padding"]

#: Changes that break a rule wherever they are made.
_CHANGES: tuple[Change, ...] = (
    {"stride": (0, 1)}, {"stride": (1, 0)}, {"stride": (0, 0)}, {"stride": (-1, 1)},
    {"stride": (2, -3)},
    {"dilation": (0, 1)}, {"dilation": (1, 0)}, {"dilation": (1, -2)}, {"dilation": (-1, -1)},
    {"padding": (-1, 0)}, {"padding": (0, -2)}, {"padding": (-1, -1)},
    {"groups": 0}, {"groups": -1}, {"groups": -(2**63)},
    {"groups": 4, "in_channels": 6, "out_channels": 8},
    {"groups": 4, "in_channels": 8, "out_channels": 6}, {"groups": 12},
    {"out_channels": 0},
    {"kernel": (0, 2)}, {"kernel": (3, 0)}, {"kernel": (0, 0)},
    {"extents": (0, 9)}, {"extents": (7, 0)}, {"extents": (0, 0)},
    # Larger than the padded input by one, and by much.
    {"padding": (1, 0), "dilation": (1, 1), "kernel": (10, 2)},
    {"padding": (0, 2), "dilation": (1, 1), "kernel": (3, 14)},
    {"padding": (1, 1), "dilation": (1, 1), "kernel": (30, 40)},
    {"padding": (0, 0), "dilation": (4, 1), "kernel": (3, 2)},
    # Truncating division makes one window of the missing elements here, flooring none.
    {"extents": (4, 9), "padding": (0, 0), "dilation": (2, 1), "stride": (2, 1), "kernel": (3, 2)},
    {"extents": (2, 9), "padding": (0, 0), "dilation": (1, 1), "stride": (2, 1), "kernel": (3, 2)},
    {"extents": (7, 1), "padding": (0, 0), "dilation": (1, 1), "stride": (1, 3), "kernel": (3, 3)},
    {"padding": "same", "stride": (2, 1)}, {"padding": "same", "stride": (1, 2)},
    {"padding": "valid", "kernel": (8, 2), "dilation": (1, 1)},
    {"padding": ((-3, -2), (0, 0)), "kernel": (3, 2), "dilation": (1, 1)},
    {"padding": ((0, 0), (-9, 0)), "kernel": (3, 1), "dilation": (1, 1)},
)  # fmt: skip


def illegal() -> Iterator[Case]:
    """Give cases that must be refused, each one step away from a legal one."""
    for legal, change, dtype in itertools.product(_LEGAL, _CHANGES, WIDE):
        yield replace(legal, **change, dtype=dtype)  # type: ignore[arg-type]  # fields of Case
