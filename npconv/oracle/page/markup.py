"""Elements of HTML and SVG as text: the only place where text is escaped."""

from __future__ import annotations

import html
import math


class Markup(str):
    """Text that is markup already; every other text is escaped when it becomes part of any."""

    __slots__ = ()


#: What stands between the tags of an element.
Content = str | int | None

#: Elements that have no end tag in HTML.
_VOID = {"br", "hr", "img", "link", "meta", "wbr"}


def plain(text: str) -> str:
    r"""Return text that any reader can hold: what is not printable is written as its escape.

    Examples
    --------
    >>> print(plain(f"no {chr(0)} and no {chr(0x202E)}"))
    no \x00 and no \u202e
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in text)


def escaped(content: Content) -> str:
    """Return what stands for this content inside an element or an attribute."""
    if content is None:
        return ""
    if isinstance(content, Markup):
        return content
    if isinstance(content, int):
        return f"{content:,}"
    return html.escape(plain(content), quote=False)


def join(*parts: Content) -> Markup:
    """Return the parts one after the other."""
    return Markup("".join(escaped(part) for part in parts))


def element(tag: str, *content: Content, **attributes: str | float | None) -> Markup:
    """Return one element; an attribute's last underscore falls, the others become hyphens.

    Examples
    --------
    >>> element("td", "<b>", 1234, class_="number", aria_label=None)
    '<td class="number">&lt;b&gt;1,234</td>'
    """
    given = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{_value(value)}"'
        for name, value in attributes.items()
        if value is not None
    )
    if tag in _VOID:
        return Markup(f"<{tag}{given}>")
    return Markup(f"<{tag}{given}>{join(*content)}</{tag}>")


def svg(
    width: float,
    height: float,
    *content: Content,
    label: str,
    class_: str,
    stretched: bool = False,
) -> Markup:
    """Return a picture that reads as its label where it cannot be seen."""
    return element(
        "svg", *content,
        viewBox=f"0 0 {_value(width)} {_value(height)}", width=width, height=height,
        role="img", aria_label=label, class_=class_,
        preserveAspectRatio="none" if stretched else None,
    )  # fmt: skip


def _value(value: str | float) -> str:
    if isinstance(value, str):
        return html.escape(plain(value))
    # Coordinates: no more digits than a screen has.
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
