"""Padding as engines take it: a number before and one after each axis."""

from __future__ import annotations

from typing import Any


def sides(padding: Any) -> tuple[tuple[int, int], ...]:
    """Return the pads before and after each axis; where one is given, it is both."""
    return tuple((p, p) if isinstance(p, int) else (p[0], p[1]) for p in padding)


def crops(padding: Any) -> bool:
    """Whether one of four sides is negative; a negative pad of both sides is illegal instead."""
    return any(not isinstance(p, int) and min(p) < 0 for p in padding)
