"""Charts of counts and shares, as SVG. What they show is computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from npconv.oracle.page.markup import Markup, element, join, svg
from npconv.oracle.page.shares import Parameter, Share

#: Sizes of a heat map's cells and of what is between its blocks.
_CELL, _ROW, _GAP = 34.0, 22.0, 14.0
#: Width of one character of a label, about.
_CHARACTER = 6.6


def stacked_bar(counts: Mapping[str, int], label: str) -> Markup:
    """Return one bar, a part for each status; what occurs at all can be seen."""
    width, height, least = 320.0, 18.0, 3.0
    total = sum(counts.values())
    present = {name: count for name, count in counts.items() if count}
    small = [name for name, count in present.items() if count / total * width < least]
    rest = sum(count for name, count in present.items() if name not in small)
    left = width - least * len(small)
    parts, x = [], 0.0
    for name, count in present.items():
        wide = least if name in small else left * count / rest
        parts.append(
            element(
                "rect", element("title", f"{count:,} {name.replace('_', ' ')}"),
                x=x, y=0.0, width=wide, height=height, class_=f"s-{name}",
            )
        )  # fmt: skip
        x += wide
    return svg(width, height, *parts, label=label, class_="bar", stretched=True)


def histogram(counts: Mapping[int, int], bins: range, label: str) -> Markup:
    """Return the histogram of ratios on a logarithmic scale, with a line at 1.

    Bin k holds the ratios above 10^((k-1)/2) up to 10^(k/2); the first and the last hold all
    beyond them too.
    """
    left, width, top, tall = 16.0, 660.0, 18.0, 104.0
    step = (width - 2 * left) / len(bins)
    base = top + tall
    largest = max(counts.values(), default=1)

    def x_of(half_decades: int) -> float:
        return left + (half_decades - bins[0] + 1) * step

    parts: list[Markup] = []
    for number in bins:
        count = counts.get(number, 0)
        said = f"{_power(number - 1)} to {_power(number)}"
        if number == bins[0]:
            said = f"up to {_power(number)}"
        elif number == bins[-1]:
            said = f"above {_power(number - 1)}"
        # The square root keeps single failures visible beside thousands.
        length = max(2.0, tall * math.sqrt(count / largest)) if count else 0.0
        parts.append(
            element(
                "rect", element("title", f"{said}: {count:,}"),
                x=x_of(number - 1) + 1, y=base - length, width=step - 2, height=length,
                class_="s-failed" if number > 0 else "s-passed",
            )
        )  # fmt: skip
        if count:
            parts.append(
                element(
                    "text", _short(count), x=x_of(number - 1) + step / 2, y=base - length - 4,
                    class_="tick",
                )
            )  # fmt: skip
        if number % 2 == 0:
            x = x_of(number)
            parts.append(element("line", x1=x, x2=x, y1=base, y2=base + 4, class_="axis"))
            power = element(
                "tspan", f"{number // 2:d}".replace("-", "\u2212"), dy=-5, class_="power"
            )
            parts.append(
                element("text", "1", x=x, y=base + 17, class_="tick")
                if number == 0
                else element("text", "10", power, x=x, y=base + 18, class_="tick")
            )
    parts += [
        element("line", x1=left, x2=width - left, y1=base, y2=base, class_="axis"),
        element("line", x1=x_of(0), x2=x_of(0), y1=2, y2=base + 4, class_="limit"),
        element("text", "the bound", x=x_of(0) + 5, y=11, class_="note-text"),
    ]
    return svg(width, base + 26, *parts, label=label, class_="histogram")


def _power(half_decades: int) -> str:
    return f"{10 ** (half_decades / 2):.2g}"


def _short(count: int) -> str:
    """Write a count in the width of a bar."""
    for size, letter in ((10**6, "M"), (10**3, "k")):
        if count >= 10 * size:
            return f"{count // size}{letter}"
        if count >= size:
            return f"{count / size:.1f}{letter}"
    return str(count)


def heat_map(
    chosen: Sequence[Parameter], pairs: Mapping[tuple[int, int], Sequence[Share]], label: str
) -> Markup:
    """Return a triangle of blocks, one for each pair of parameters, darker where more fails.

    `pairs` holds, for two positions i < j in `chosen`, the shares of each value of j with each of
    i, the latter running fastest.
    """
    columns, rows = chosen[:-1], chosen[1:]
    margin = 24 + max(
        _CHARACTER * max([len(name) for one in rows for name in one.labels]),
        _CHARACTER * 1.1 * max(len(one.name) for one in rows),
    )
    lefts = _starts([len(one.labels) * _CELL for one in columns], margin)
    tops = _starts([len(one.labels) * _ROW for one in rows], 22.0, 16.0)
    parts: list[Markup] = []
    for j, row in enumerate(rows):
        parts.append(
            element("text", row.name, x=margin - 10, y=tops[j] - 7, class_="row parameter")
        )
        for b, text in enumerate(row.labels):
            y = tops[j] + b * _ROW + 15
            parts.append(element("text", text, x=margin - 10, y=y, class_="row value"))
        for i in range(j + 1):
            cells = pairs[i, j + 1]
            wide = len(columns[i].labels)
            for number, share in enumerate(cells):
                b, a = divmod(number, wide)
                said = f"{columns[i].name} {columns[i].labels[a]}, {row.name} {row.labels[b]}"
                parts.append(_cell(share, said, lefts[i] + a * _CELL, tops[j] + b * _ROW))
    bottom = tops[-1] + len(rows[-1].labels) * _ROW
    longest = max(len(text) for one in columns for text in one.labels)
    slanted = longest * _CHARACTER > _CELL + 2
    for i, column in enumerate(columns):
        for a, text in enumerate(column.labels):
            x, y = lefts[i] + (a + 0.5) * _CELL, bottom + 16
            turned = f"rotate(-40 {x:.1f} {y:.1f})" if slanted else None
            class_ = "row value" if slanted else "middle value"
            parts.append(element("text", text, x=x, y=y, transform=turned, class_=class_))
    below = bottom + (26 + 0.65 * _CHARACTER * longest if slanted else 34)
    for i, column in enumerate(columns):
        x = lefts[i] + len(column.labels) * _CELL / 2
        parts.append(element("text", column.name, x=x, y=below, class_="middle parameter"))
    width = lefts[-1] + len(columns[-1].labels) * _CELL + 8
    return svg(width, below + 8, *parts, label=label, class_="heat")


def _starts(sizes: Sequence[float], first: float, more: float = 0.0) -> list[float]:
    starts = [first]
    for size in sizes[:-1]:
        starts.append(starts[-1] + size + _GAP + more)
    return starts


def _cell(share: Share, said: str, x: float, y: float) -> Markup:
    place = {"x": x + 1, "y": y + 1, "width": _CELL - 2, "height": _ROW - 2}
    if not share.asked:
        return element("rect", element("title", f"{said}: no case"), class_="none", **place)
    failing, asked = round(share.failing), round(share.asked)
    title = element("title", f"{said}: {failing:,} of {asked:,} fail")
    step = heat(share)
    box = element("rect", title, class_=f"c{step}", **place)
    if not share.failing:
        return box
    return join(box, element("text", percent(share), x=x + _CELL / 2, y=y + 15, class_=f"t{step}"))


def heat(share: Share) -> int:
    """Return the step of the colour scale: 0 where nothing fails, 6 where everything does."""
    if share.failing >= share.asked:
        return 6
    return math.ceil(share.value * 5) if share.failing else 0


def percent(share: Share) -> str:
    """Return a share in percent, never 0 where something fails, nor 100 where something does not.

    Examples
    --------
    >>> percent(Share(1, 1000)), percent(Share(999, 1000)), percent(Share(1, 3))
    ('<1', '>99', '33')
    """
    value = 100 * share.value
    if share.failing and value < 1:
        return "<1"
    if share.failing < share.asked and value > 99:
        return ">99"
    return f"{value:.0f}"
