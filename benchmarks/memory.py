"""Work space of one call by the operating system's own account; Linux."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def resident(field: str) -> int:
    """Return a field of the system's account of this process, in bytes."""
    account = Path("/proc/self/status").read_text(encoding="ascii")
    return 1024 * next(
        int(line.split()[1]) for line in account.splitlines() if line.startswith(f"{field}:")
    )


def work_space(call: Callable[[], Any]) -> tuple[float, float]:
    """Return what this process holds, and its peak in a call beyond that and the result, in MiB.

    What is loaded and set up once is no work space: the caller makes a small call before, and
    BLAS's own buffers are taken here.
    """
    np.matmul(np.ones((1024, 1024)), np.ones((1024, 1024)))
    # Memory that is free but still resident would be used again unseen.
    ctypes.CDLL(None).malloc_trim(0)
    # Writing 5 to this file sets the peak back to the present size.
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    result = call()
    space = resident("VmHWM") - before - result.nbytes
    return round(before / 2**20, 1), round(space / 2**20, 1)
