"""Arrays as pictures: small ones with their numbers, larger ones as images. No judging here."""

from __future__ import annotations

import base64
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.oracle.page.markup import Markup, element, join, svg
from npconv.oracle.page.reads import Box

Array = np.ndarray[Any, np.dtype[Any]]

#: Numbers are written into planes of at most so many elements, up to so many in one array.
WRITTEN, WRITTEN_IN_ALL = 150, 600
#: Rows and columns of a plane that are drawn; planes of an array; marks of single elements.
LONGEST, PLANES, MARKS = 64, 12, 100
#: From the least value over zero to the largest: blue, white, orange (ColorBrewer's PuOr and RdBu).
_COLOURS = np.array(
    [(33, 102, 172), (146, 197, 222), (247, 247, 247), (253, 184, 99), (179, 88, 6)], dtype=float
)
#: What is neither a number nor nothing: NaN and infinity.
_ODD = (240, 228, 66)


@dataclass(frozen=True, slots=True)
class Picture:
    """An array with its name, what a result's element reads of it, and that element itself."""

    name: str
    array: Array
    read: Box | None = None
    worst: tuple[int, ...] | None = None
    #: The value that has the strongest colour; by default the array's own largest.
    scale: float | None = None
    #: What the first of four axes counts: 'batch' or 'filter'.
    planes: str = "batch"


@dataclass(frozen=True, slots=True)
class _Part:
    """Rows and columns of planes that are drawn."""

    rows: slice
    columns: slice

    def holds(self, row: int, column: int) -> bool:
        return row in _run(self.rows) and column in _run(self.columns)


def _run(part: slice) -> range:
    return range(part.start, part.stop)


def scale_of(*arrays: Array) -> float:
    """Return the largest finite magnitude of all arrays; 1 where there is none."""
    largest = 0.0
    for array in arrays:
        with np.errstate(all="ignore"):
            sizes = np.abs(_wide(array))
        sizes = sizes[np.isfinite(sizes)]
        largest = max(largest, float(sizes.max(initial=0.0)))
    return largest or 1.0


def figure(picture: Picture) -> Markup:
    """Return all planes of an array, or those that matter most, with a caption."""
    shape = picture.array.shape
    four = picture.array.reshape((1,) * (4 - len(shape)) + shape)
    worst = None if picture.worst is None else (0,) * (4 - len(shape)) + picture.worst
    part = _part(four, picture.read, worst)
    planes = _planes(four, picture.read, worst)
    scale = picture.scale or scale_of(picture.array)
    drawn = four[:, :, part.rows, part.columns]
    in_plane = drawn.shape[2] * drawn.shape[3]
    written = in_plane <= WRITTEN and in_plane * len(planes) <= WRITTEN_IN_ALL
    texts = [_texts(drawn[n, c]) if written else None for n, c in planes]
    width = max((len(text) for plane in texts if plane for row in plane for text in row), default=0)
    cell = (max(22.0, 6.2 * width + 8), 22.0) if width else _pixel(drawn.shape[2:])
    if not planes or not in_plane:
        body = element("p", "It has no elements.", class_="note")
    else:
        body = element(
            "div",
            *(
                _plane(picture, four, plane, part, text, cell, scale, worst)
                for plane, text in zip(planes, texts, strict=True)
            ),
            class_="planes",
        )
    return element(
        "figure",
        element("figcaption", element("b", picture.name), " ", _extent(shape, len(planes), part)),
        body,
        class_="array",
    )


def _extent(shape: tuple[int, ...], planes: int, part: _Part) -> Markup:
    """Say the shape, and what of it is drawn."""
    whole = " × ".join(str(size) for size in shape)
    notes = []
    total = math.prod(shape[:-2])
    if planes < total:
        notes.append(f"{planes} of {total:,} planes")
    for name, axis, drawn in (("rows", -2, part.rows), ("columns", -1, part.columns)):
        if len(shape) >= -axis and drawn.stop - drawn.start < shape[axis]:
            notes.append(f"{name} {drawn.start}–{drawn.stop - 1} of {shape[axis]:,}")
    return element("span", whole, f" ({', '.join(notes)})" if notes else None, class_="shape")


def _part(four: Array, read: Box | None, worst: tuple[int, ...] | None) -> _Part:
    """Choose the rows and columns around what matters."""
    parts = []
    for axis in (2, 3):
        size = four.shape[axis]
        middle = 0
        if worst is not None:
            middle = worst[axis]
        elif read is not None and len(read[axis]):
            middle = int(read[axis][0] + read[axis][-1]) // 2
        start = max(0, min(middle - LONGEST // 2, size - LONGEST))
        parts.append(slice(start, min(size, start + LONGEST)))
    return _Part(*parts)


def _planes(four: Array, read: Box | None, worst: tuple[int, ...] | None) -> list[tuple[int, int]]:
    """Choose the planes: what matters first, all in order where there is room."""
    batches, channels = four.shape[:2]
    first: list[tuple[int, int]] = [] if worst is None else [(worst[0], worst[1])]
    if read is not None:
        first += [(int(n), int(c)) for n in read[0][:PLANES] for c in read[1][:PLANES]]
    rest = [(n, c) for n in range(min(batches, PLANES)) for c in range(min(channels, PLANES))]
    return sorted(list(dict.fromkeys(first + rest))[:PLANES])


def _plane(
    picture: Picture,
    four: Array,
    plane: tuple[int, int],
    part: _Part,
    texts: list[list[str]] | None,
    cell: tuple[float, float],
    scale: float,
    worst: tuple[int, ...] | None,
) -> Markup:
    """Draw one plane with its marks."""
    values = four[plane][part.rows, part.columns]
    colours = _colours(values, scale)
    wide, high = cell
    height, width = values.shape[0] * high, values.shape[1] * wide
    inside = (
        element("image", href=_png(colours), width=width, height=height, preserveAspectRatio="none")
        if texts is None
        else _numbers(texts, colours, cell)
    )
    marks: list[Markup] = []
    read = picture.read
    if read is not None and plane[0] in read[0] and plane[1] in read[1]:
        marks = _read_marks(read, part, cell)
    label = _label(picture, four.shape, plane)
    here = worst is not None and worst[:2] == plane
    if here and worst is not None and part.holds(worst[2], worst[3]):
        x, y = (worst[3] - part.columns.start) * wide, (worst[2] - part.rows.start) * high
        marks.append(element("rect", x=x, y=y, width=wide, height=high, rx=2.0, class_="worst"))
    said = f"{picture.name}, {label}" + (", with the worst element marked" if here else "")
    said += ", with the elements read marked" if marks and not here else ""
    frame = svg(
        width + 4, height + 4,
        element("g", inside, *marks, transform="translate(2 2)"),
        label=said, class_="plane",
    )  # fmt: skip
    return element("div", frame, element("span", label, class_="label"), class_="cell")


def _label(picture: Picture, shape: tuple[int, ...], plane: tuple[int, int]) -> str:
    if picture.array.ndim == 1:
        return "by channel"
    names = [f"{picture.planes} {plane[0]}"] if shape[0] > 1 else []
    return ", ".join([*names, f"channel {plane[1]}"])


def _read_marks(read: Box, part: _Part, cell: tuple[float, float]) -> list[Markup]:
    """Outline what is read: each element, or the whole stretch where they are many."""
    rows = [int(r) for r in read[2] if int(r) in _run(part.rows)]
    columns = [int(c) for c in read[3] if int(c) in _run(part.columns)]
    wide, high = cell
    if not rows or not columns:
        return []
    dense = all(run[-1] - run[0] == len(run) - 1 for run in (rows, columns))
    if dense or len(rows) * len(columns) > MARKS:
        boxes = [(rows[0], rows[-1], columns[0], columns[-1])]
    else:
        boxes = [(row, row, column, column) for row in rows for column in columns]
    return [
        element(
            "rect",
            x=(left - part.columns.start) * wide + 1, y=(top - part.rows.start) * high + 1,
            width=(right - left + 1) * wide - 2, height=(bottom - top + 1) * high - 2,
            class_="read",
        )
        for top, bottom, left, right in boxes
    ]  # fmt: skip


def _numbers(texts: list[list[str]], colours: Array, cell: tuple[float, float]) -> Markup:
    wide, high = cell
    parts = []
    for i, row in enumerate(texts):
        for j, text in enumerate(row):
            red, green, blue = (int(part) for part in colours[i, j])
            dark = _luminance(red, green, blue) < 0.179
            parts.append(
                element(
                    "rect", x=j * wide, y=i * high, width=wide, height=high,
                    fill=f"#{red:02x}{green:02x}{blue:02x}",
                )
            )  # fmt: skip
            parts.append(
                element(
                    "text", text, x=(j + 0.5) * wide, y=i * high + 15,
                    class_="n light" if dark else "n",
                )
            )  # fmt: skip
    return join(*parts)


def _luminance(red: int, green: int, blue: int) -> float:
    """Return the relative luminance (WCAG 2.2); below 0.179 white reads better than black."""
    parts = (
        share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4
        for share in (red / 255, green / 255, blue / 255)
    )
    return sum(w * part for w, part in zip((0.2126, 0.7152, 0.0722), parts, strict=True))


def _pixel(extents: Sequence[int]) -> tuple[float, float]:
    side = max(3.0, min(18.0, 190 / max(1, *extents)))
    return side, side


def _wide(array: Array) -> Array:
    wide: Array = array.astype(np.complex128 if array.dtype.kind == "c" else np.float64)
    return wide


def _texts(plane: Array) -> list[list[str]]:
    return [[_text(value) for value in row] for row in plane]


def _text(value: Any) -> str:
    """Write one number short enough for a cell."""
    if isinstance(value, np.complexfloating):
        wide = complex(value)
        return f"{wide.real:.3g}{wide.imag:+.3g}i"
    if isinstance(value, np.integer):
        return str(int(value)) if abs(int(value)) < 10**6 else f"{float(value):.2g}"
    real = float(value)
    if real == int(real) if math.isfinite(real) else False:
        return str(int(real)) if abs(real) < 10**6 else f"{real:.3g}"
    return f"{real:.3g}"


def _colours(plane: Array, scale: float) -> Array:
    """Return red, green and blue of each element; a complex one by its larger part."""
    wide = _wide(plane)
    finite = np.isfinite(wide)
    if wide.dtype.kind == "c":
        wide = np.where(np.abs(wide.real) >= np.abs(wide.imag), wide.real, wide.imag)
    # A square root, so that small values can be told from zero.
    share = np.clip(np.where(finite, wide, 0.0) / scale, -1, 1)
    place = (np.sign(share) * np.sqrt(np.abs(share)) + 1) / 2 * (len(_COLOURS) - 1)
    known = np.arange(len(_COLOURS))
    mixed = np.stack([np.interp(place, known, _COLOURS[:, i]) for i in range(3)], axis=-1)
    mixed[~finite] = _ODD
    colours: Array = np.rint(mixed).astype(np.uint8)
    return colours


def _png(colours: Array) -> str:
    """Return an image of 8-bit RGB as a data URI (PNG, ISO/IEC 15948)."""
    height, width = colours.shape[:2]
    lines = np.zeros((height, 1 + 3 * width), dtype=np.uint8)  # each begins with filter 0
    lines[:, 1:] = colours.reshape(height, 3 * width)

    def chunk(name: bytes, data: bytes) -> bytes:
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    image = (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(lines.tobytes(), 9))
        + chunk(b"IEND", b"")
    )
    return "data:image/png;base64," + base64.b64encode(image).decode("ascii")
