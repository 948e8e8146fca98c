"""Draw docs/figures/negative-pad.svg: python docs/figures/negative_pad.py.

Every number in the picture comes from `npconv.geometry.Axis`.
"""

from pathlib import Path

from npconv.geometry import Axis

CELL, ROW, LEFT = 34, 26, 190
KERNEL, STRIDE = 3, 2
#: (input extent, padding): below, at and beyond kernel - 1; the first leaves a remainder.
PANELS = ((6, 0), (5, 2), (5, 4))


def rectangle(x: float, y: float, css: str, label: str) -> str:
    """Return one cell with its label."""
    text = f'<text x="{x + CELL / 2:g}" y="{y + 17:g}">{label}</text>' if label else ""
    return f'<rect class="{css}" x="{x:g}" y="{y:g}" width="{CELL}" height="{ROW}"/>{text}'


def panel(top: float, extent: int, padding: int, first: int) -> list[str]:
    """Draw one padding: the padded input, and below it the dilated errors and what is read."""
    axis = Axis(extent, KERNEL, STRIDE, 1, padding, padding)
    before, after = axis.adjoint_pads
    parts = []

    def place(position: int) -> float:
        return LEFT + CELL * (position - first)

    title = (
        f"padding {padding}: pad the errors by {axis.span - 1} - {padding} = {before} before, "
        f"{axis.span - 1} - {padding} + {axis.remainder} = {after} behind"
    )
    parts.append(f'<text class="title" x="8" y="{top + 4:g}">{title}</text>')
    parts.append(f'<text class="name" x="8" y="{top + 33:g}">padded input</text>')
    for position in range(axis.padded):
        element = position - padding
        inside = 0 <= element < extent
        css, label = ("data", f"x{element}") if inside else ("zero", "0")
        parts.append(rectangle(place(position), top + 16, css, label))
    parts.append(f'<text class="name" x="8" y="{top + 75:g}">dilated errors</text>')
    start, stop = -before, axis.dilated_out + after
    for position in range(min(0, start), max(axis.dilated_out, stop)):
        if not 0 <= position < axis.dilated_out:
            css, label = "added", "0"
        else:
            label = "0" if position % STRIDE else f"e{position // STRIDE}"
            css = "error" if start <= position < stop else "cropped"
        parts.append(rectangle(place(position), top + 58, css, label))
    left, right = place(start), place(stop)
    parts.append(
        f'<path d="M{left:g} {top + 90:g} v6 H{right:g} v-6"/>'
        f'<text x="{(left + right) / 2:g}" y="{top + 111:g}">'
        f"{extent} windows of {KERNEL}, one for each x</text>"
    )
    return parts


def main() -> None:
    """Write the picture beside this file."""
    first = min(-(KERNEL - 1), 0)
    body = [
        part
        for number, (extent, padding) in enumerate(PANELS)
        for part in panel(24 + 140 * number, extent, padding, first)
    ]
    css = (
        "text{font:13px sans-serif;text-anchor:middle;fill:#222}"
        ".title,.name{text-anchor:start}.title{font-weight:bold}"
        "rect{stroke:#444}.data{fill:#9ecae1}.zero{fill:#fff}.error{fill:#a1d99b}"
        ".added{fill:#fff;stroke-dasharray:4 3}.cropped{fill:#eee;stroke:#bbb}"
        "path{fill:none;stroke:#222}"
    )
    width, height = LEFT + CELL * 16, 24 + 140 * len(PANELS)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" role="img" width="{width}" height="{height}">',
        f"<style>{css}</style>",
        f'<rect x="0" y="0" width="{width}" height="{height}" style="fill:#fff;stroke:none"/>',
        *body,
        "</svg>",
    ]
    target = Path(__file__).with_name("negative-pad.svg")
    target.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
