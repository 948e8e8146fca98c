"""A user's own cases: files of case ids and layer shapes, and the lists that are shipped."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from npconv.geometry import shown
from npconv.oracle.cases import Case
from npconv.oracle.data import sizes

#: Kinds of data of a layer's cases: compared to the bit, and with a bound.
DATA = ("integers", "reals")

_KEYS = ("g", "mb", "ic", "ih", "iw", "oc", "oh", "ow", "kh", "kw", "sh", "sw", "ph", "pw", "dh",
         "dw")  # fmt: skip
_NEEDED = ("ic", "ih", "oc", "kh")
_DEFAULTS = {"g": 1, "mb": 2, "sh": 1, "ph": 0, "dh": 0}
#: An axis more than a 2-D convolution has.
_DEPTH = ("id", "od", "kd", "sd", "pd", "dd")

_PAIR = re.compile(r"([a-z]+)(\d{1,9})_?")
_NAME = re.compile(r"n(?:\"[^\"]*\"|'[^']*')$")
_CASE = re.compile(r"(n\d+)?c\d+f\d+g")


@dataclass(frozen=True, slots=True)
class Layer:
    """The sizes of one layer, as a line of a file gives them."""

    batch: int
    in_channels: int
    out_channels: int
    groups: int
    extents: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]

    @classmethod
    def parse(cls, text: str) -> Layer:
        """Read a shape such as ``mb2ic3ih224oc64oh112kh7sh2ph3n"conv1"``.

        The grammar is that of the problem descriptors of oneDNN's benchdnn: pairs of a key and a
        number in any order, ``_`` between them where that reads better, and a name at the end,
        which says nothing. The keys are ``g`` (groups, 1), ``mb`` (batch, 2), ``ic`` and ``oc``
        (channels of all groups), ``ih iw``, ``kh kw``, ``sh sw`` (stride, 1), ``ph pw`` (padding,
        0), ``dh dw`` (dilation less one, 0), ``oh ow``. What is not given of the width is as of
        the height. ``oh`` and ``ow`` are checked where they are given.

        Raises
        ------
        ValueError
            In one line, for text of another form, for a layer that is illegal or whose output
            has another size than it says.

        Notes
        -----
        Source: oneDNN, tests/benchdnn/doc/driver_conv.md.

        Examples
        --------
        >>> from npconv.oracle.layers import Layer
        >>> layer = Layer.parse('g2_ic4ih9iw11_oc6_kh3kw2_sh2_dh1_n"mine"')
        >>> layer.extents, layer.kernel, layer.stride, layer.dilation
        ((9, 11), (3, 2), (2, 2), (2, 2))
        >>> Layer.parse("ic3ih224oc64oh111kh7sh2ph3")
        Traceback (most recent call last):
        ValueError: layer 'ic3ih224oc64oh111kh7sh2ph3': oh=111, but the output has 112 rows
        """
        said = f"layer {shown(text)}"
        sizes = _sizes(said, text)
        for key in _NEEDED:
            if key not in sizes:
                raise ValueError(f"{said}: {key} is missing; ic, ih, oc and kh are needed")
        sizes = _DEFAULTS | sizes
        for key in ("ih", "kh", "sh", "ph", "dh"):
            sizes.setdefault(f"{key[0]}w", sizes[key])
        extents, kernel, stride, padding, (dilation_h, dilation_w) = (
            (sizes[f"{key}h"], sizes[f"{key}w"]) for key in "ikspd"
        )
        layer = cls(
            sizes["mb"], sizes["ic"], sizes["oc"], sizes["g"], extents, kernel, stride, padding,
            (dilation_h + 1, dilation_w + 1),
        )  # fmt: skip
        case = layer.case("float32", "integers")
        if case.illegal is not None:
            raise ValueError(f"{said}: {case.illegal}")
        for key, what, size in zip(
            ("oh", "ow"), ("rows", "columns"), case.geometry.out, strict=True
        ):
            if sizes.get(key, size) != size:
                raise ValueError(f"{said}: {key}={sizes[key]}, but the output has {size} {what}")
        return layer

    def case(self, dtype: str, data: str) -> Case:
        """Return the case of this layer in a dtype, with bias, on a kind of data."""
        return Case(
            self.batch, self.in_channels, self.out_channels, self.groups, self.extents,
            self.kernel, self.stride, self.padding, self.dilation, bias=True, mask="111",
            dtype=dtype, layout="packed", data=data, seed=0,
        )  # fmt: skip


def _sizes(said: str, text: str) -> dict[str, int]:
    """Return the numbers by key."""
    rest = _NAME.sub("", text.strip())
    sizes: dict[str, int] = {}
    position = 0
    while position < len(rest):
        match = _PAIR.match(rest, position)
        if match is None:
            raise ValueError(
                f"{said}: {shown(rest[position:])} must be keys with numbers, as in "
                'mb2ic3ih224oc64oh112kh7sh2ph3n"conv1"'
            )
        key, number = match.groups()
        if key in _DEPTH:
            raise ValueError(f"{said}: {key} is of 3-D convolution; there are {', '.join(_KEYS)}")
        if key not in _KEYS:
            raise ValueError(f"{said}: no key {key!r}; there are {', '.join(_KEYS)}")
        if key in sizes:
            raise ValueError(f"{said}: {key} stands twice")
        sizes[key] = int(number)
        position = match.end()
    return sizes


def shipped() -> tuple[str, ...]:
    """Return the names of the lists that come with npconv.

    Examples
    --------
    >>> from npconv.oracle.layers import shipped
    >>> shipped()
    ('mobilenet_v1', 'mobilenet_v2', 'resnet50')
    """
    folder = files("npconv") / "layers"
    names = (Path(entry.name) for entry in folder.iterdir())
    return tuple(sorted(name.stem for name in names if name.suffix == ".txt"))


def read_cases(name: str, dtypes: Sequence[str] | None = None) -> tuple[str, ...]:
    """Return the case ids of a shipped list, or of a file with an id or a layer in each line.

    A layer gives a case for each dtype, by default float32, and for each of `DATA`, with bias.
    Blank lines and what follows ``#`` say nothing. A file in the working folder that has the name
    of a shipped list is meant by ``./NAME``.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        With a line for each line of the file that is none: file and line, what it says, the rule.

    Examples
    --------
    >>> from npconv.oracle.layers import read_cases
    >>> read_cases("mobilenet_v1")[0]
    'n1c3f32g1-224x224-k3x3-s2x2-p1x1-d1x1-bias-m111-float32-packed-integers-seed0'
    """
    if name in shipped():
        text = (files("npconv") / "layers" / f"{name}.txt").read_text(encoding="utf-8")
    else:
        try:
            text = Path(name).read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(f"{name}: must be text in UTF-8") from None
        except FileNotFoundError:
            raise FileNotFoundError(
                f"there is no file {name!r}, and of lists there are {', '.join(shipped())}"
            ) from None
    return _cases(name, text, dtypes or ("float32",))


def _cases(name: str, text: str, dtypes: Sequence[str]) -> tuple[str, ...]:
    ids: dict[str, int] = {}
    errors = []
    for number, line in enumerate(text.splitlines(), 1):
        said = _without_comment(line)
        if not said:
            continue
        try:
            found = _of_line(said, dtypes)
        except ValueError as error:
            errors.append(f"{name}:{number}: {error}")
            continue
        first = next((ids[case] for case in found if case in ids), None)
        if first is not None:
            errors.append(f"{name}:{number}: {shown(said)} is the same as line {first}")
            continue
        ids.update(dict.fromkeys(found, number))
    if errors:
        more = len(errors) - _MOST
        rest = [f"{name}: and {more:,} more"] if more > 0 else []
        raise ValueError("\n".join([*errors[:_MOST], *rest]))
    if not ids:
        raise ValueError(f"{name}: holds neither a case id nor a layer")
    return tuple(ids)


#: Bad lines told of one file at the most.
_MOST = 20


def _without_comment(line: str) -> str:
    """Cut a comment off; a ``#`` within a layer's name is none."""
    match = re.match(r"(?:[^#\"']|\"[^\"]*\"|'[^']*')*", line)
    return match[0].strip() if match else ""


def _of_line(text: str, dtypes: Sequence[str]) -> list[str]:
    """Return the ids of a line's cases."""
    if text.startswith("--"):
        raise ValueError(
            f"{shown(text)}: options of benchdnn are not read; a line is a case id or a layer"
        )
    if _CASE.match(text):
        cases = [Case.from_id(text)]
    else:
        layer = Layer.parse(text)
        cases = [layer.case(dtype, data) for dtype in dtypes for data in DATA]
    sizes(cases[0])
    return [case.id for case in cases]
