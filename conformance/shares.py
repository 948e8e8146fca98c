"""Which share of the long grids a run takes: another one for every commit."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

#: Shares of the exhaustive suite. 61 divides no factor's length, so each share has every value
#: of every factor, and all shares together are the suite.
SHARES = 61

VARIABLE = "NPCONV_SHARE"


def share() -> int | None:
    """Return the share of this run, from 0 up; None for NPCONV_SHARE=all."""
    asked = os.environ.get(VARIABLE)
    if asked is None:
        return int(_commit()[:15] or "0", 16) % SHARES
    if asked == "all":
        return None
    if not asked.isdecimal() or int(asked) >= SHARES:
        raise ValueError(f"{VARIABLE}={asked!r} must be 'all' or a number from 0 to {SHARES - 1}")
    return int(asked)


def parts(name: str, count: int, *, every: int = 1, first: int = 0) -> list[str]:
    """Cut a suite, or the share `first` of `every`, into `count` parts that suites are named by."""
    return [f"{name}[{first + every * part}::{every * count}]" for part in range(count)]


def described() -> str:
    """Say which share is run, and how to repeat it."""
    number = share()
    if number is None:
        return "conformance: all shares"
    return f"conformance: share {number} of {SHARES} (repeat it with {VARIABLE}={number})"


def _commit() -> str:
    """Return the hash of the checked out commit; nothing outside a repository."""
    command = ["git", "rev-parse", "HEAD"]
    try:
        found = subprocess.run(
            command, cwd=Path(__file__).parent, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return found.stdout.strip()
