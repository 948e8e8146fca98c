"""What is run: one frozen `Case`, and the id from which it can be rebuilt. No arrays here."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, fields

from npconv.formats import NAMES
from npconv.geometry import PADDING_NAMES, Geometry, parse, shown

Pair = tuple[int, int]
Padding = str | Pair | tuple[Pair, Pair]

LAYOUTS = (
    "packed",
    "channels_last",
    "channel_slice",
    "stepped",
    "reversed",
    "transposed",
    "readonly",
    "expanded",
)
#: The arrays that a layout may be that of alone, as in `stepped_weight`; the others are packed.
OPERANDS = ("input", "weight", "bias", "grad_output")
ONE_LAID_OUT = tuple(
    f"{kind}_{operand}" for kind in LAYOUTS if kind != "packed" for operand in OPERANDS
)
#: integers, whose sums are exact; reals near 1, near 1e-6 and near 1e6; sums that cancel; integers
#: with more bits than a shorter format holds; reals with one NaN or infinity.
DATA = ("integers", "reals", "micro", "mega", "cancelling", "probe", "special")

_ID = re.compile(
    r"(?:n(?P<batch>\d+))?c(?P<in_channels>\d+)f(?P<out_channels>\d+)g(?P<groups>-?\d+)"
    r"-(?P<extents>\d+x\d+)-k(?P<kernel>\d+x\d+)-s(?P<stride>-?\d+x-?\d+)"
    r"-p(?P<padding>[a-z_]+|-?\d+x-?\d+|-?\d+_-?\d+x-?\d+_-?\d+)-d(?P<dilation>-?\d+x-?\d+)"
    r"-(?P<bias>bias|nobias)-m(?P<mask>[01]{3})"
    r"-(?P<dtype>[a-z]+\d+)-(?P<layout>[a-z_]+)-(?P<data>[a-z]+)-seed(?P<seed>\d+)",
    re.ASCII,
)
#: Characters of an id at the most: no size needs more, and Python reads no longer numbers.
_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Case:
    """One convolution and its gradients: sizes, parameters, dtype, layout, kind of data, seed.

    `batch` is None for an unbatched case; `mask` is the output_mask of the gradients as three
    digits. A case may be illegal: `geometry` then raises what npconv's own calls raise.
    """

    batch: int | None
    in_channels: int
    out_channels: int
    groups: int
    extents: Pair
    kernel: Pair
    stride: Pair
    padding: Padding
    dilation: Pair
    bias: bool
    mask: str
    dtype: str
    layout: str
    data: str
    seed: int

    @property
    def id(self) -> str:
        """The case's name: stable, readable, and enough for `from_id`.

        Examples
        --------
        >>> from npconv.oracle.cases import Case
        >>> Case.from_id(
        ...     "n2c4f6g2-7x9-k3x2-s2x1-p1_-1x0_2-d1x2-bias-m111-float32-packed-integers-seed0"
        ... ).padding
        ((1, -1), (0, 2))
        """
        batch = "" if self.batch is None else f"n{self.batch}"
        return (
            f"{batch}c{self.in_channels}f{self.out_channels}g{self.groups}"
            f"-{_pair(self.extents)}-k{_pair(self.kernel)}-s{_pair(self.stride)}"
            f"-p{_padding_text(self.padding)}-d{_pair(self.dilation)}"
            f"-{'bias' if self.bias else 'nobias'}-m{self.mask}"
            f"-{self.dtype}-{self.layout}-{self.data}-seed{self.seed}"
        )

    @classmethod
    def from_id(cls, text: str) -> Case:
        """Rebuild a case from its id; raise ValueError where it is none."""
        match = _ID.fullmatch(text.strip()) if len(text) <= _LONGEST else None
        if match is None:
            raise ValueError(
                f"case id {shown(text)} must look like "
                "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
            )
        found = match.groupdict()
        for name, allowed in (("dtype", NAMES), ("layout", LAYOUTS), ("data", DATA)):
            if found[name] not in (ONE_LAID_OUT if name == "layout" else ()) + allowed:
                raise ValueError(
                    f"case id {text!r}: {name} {found[name]!r} must be one of {', '.join(allowed)}"
                )
        values: dict[str, object] = {}
        for field in fields(cls):
            value = found[field.name]
            if field.name in ("extents", "kernel", "stride", "dilation"):
                values[field.name] = _read_pair(value)
            elif field.name in ("in_channels", "out_channels", "groups", "seed"):
                values[field.name] = int(value)
            else:
                values[field.name] = value
        values["batch"] = None if found["batch"] is None else int(found["batch"])
        values["bias"] = found["bias"] == "bias"
        values["padding"] = _read_padding(text, found["padding"])
        return cls(**values)  # type: ignore[arg-type]  # the loop above gives each field its type

    @property
    def input_shape(self) -> tuple[int, ...]:
        """Shape of the input."""
        batch = () if self.batch is None else (self.batch,)
        return (*batch, self.in_channels, *self.extents)

    @property
    def weight_shape(self) -> tuple[int, ...]:
        """Shape of the weight; also for groups that divide nothing."""
        return (self.out_channels, self.in_channels // max(1, self.groups), *self.kernel)

    @property
    def geometry(self) -> Geometry:
        """The checked sizes; raises ValueError for an illegal case."""
        return _geometry(self)

    @property
    def illegal(self) -> str | None:
        """The rule that an illegal case breaks; None for a legal one."""
        try:
            self.geometry  # noqa: B018  # it raises what is wrong
        except ValueError as error:
            return str(error)
        return None

    @property
    def parameters(self) -> tuple[Pair, Padding, Pair, int]:
        """Stride, padding, dilation and groups, in the order that every call takes them."""
        return self.stride, self.padding, self.dilation, self.groups

    @property
    def output_mask(self) -> tuple[bool, bool, bool]:
        """Which of grad_input, grad_weight and grad_bias are wanted."""
        return self.mask[0] == "1", self.mask[1] == "1", self.mask[2] == "1"

    @property
    def layout_kind(self) -> str:
        """One of `LAYOUTS`: that of all arrays, or of the one that is not packed."""
        return self.layout.removesuffix(f"_{self.laid_out}")

    @property
    def laid_out(self) -> str:
        """Which arrays have the layout: 'all', or one of `OPERANDS`."""
        if self.layout in LAYOUTS:
            return "all"
        return next(name for name in OPERANDS if self.layout.endswith(f"_{name}"))

    def layout_of(self, operand: str) -> str:
        """Return the layout of one of `OPERANDS`."""
        return self.layout_kind if self.laid_out in ("all", operand) else "packed"

    @property
    def plainness(self) -> tuple[int, int, str]:
        """What to sort by so that the case with least in it comes first."""
        plain = (
            self.groups == 1,
            self.stride == (1, 1),
            self.padding in ((0, 0), "valid"),
            self.dilation == (1, 1),
            self.layout == "packed",
            self.data == "integers",
        )
        sizes = (*self.input_shape, *self.weight_shape)
        return plain.count(False), sum(sizes), self.id

    @property
    def padding_form(self) -> str:
        """How the padding is written: 'pair', 'string' or 'four-sided'."""
        if isinstance(self.padding, str):
            return "string"
        return "pair" if isinstance(self.padding[0], int) else "four-sided"


@functools.lru_cache(maxsize=16)
def _geometry(case: Case) -> Geometry:
    """Parse a case once, however often its data and judge ask for the sizes."""
    return parse(
        case.input_shape,
        case.weight_shape,
        case.stride,
        case.padding,
        case.dilation,
        case.groups,
    )


def _pair(pair: Pair) -> str:
    return f"{pair[0]}x{pair[1]}"


def _read_pair(text: str) -> Pair:
    first, second = text.split("x")
    return int(first), int(second)


def _padding_text(padding: Padding) -> str:
    if isinstance(padding, str):
        return padding
    return "x".join(
        str(side) if isinstance(side, int) else f"{side[0]}_{side[1]}" for side in padding
    )


def _read_padding(case: str, text: str) -> Padding:
    if text[0].isalpha():
        if text not in PADDING_NAMES:
            raise ValueError(
                f"case id {case!r}: padding {text!r} must be one of {', '.join(PADDING_NAMES)}"
            )
        return text
    if "_" not in text:
        return _read_pair(text)
    (top, bottom), (left, right) = (side.split("_") for side in text.split("x"))
    return (int(top), int(bottom)), (int(left), int(right))
