"""The catalogue of faults: each computes what a convolution with just that fault returns."""

from __future__ import annotations

from npconv.oracle.suspects import channels, kernels, layout, numbers, states, tails, windows
from npconv.oracle.suspects.fault import Fault, Problem

__all__ = ["CATALOGUE", "Fault", "Problem", "named"]

#: Every fault, from those of few cases and plain parameters to the most general.
CATALOGUE: tuple[Fault, ...] = (
    *windows.FAULTS,
    *kernels.FAULTS,
    *channels.FAULTS,
    *tails.FAULTS,
    *layout.FAULTS,
    *numbers.FAULTS,
    *states.FAULTS,
)

_BY_NAME = {fault.name: fault for fault in CATALOGUE}


def named(name: str) -> Fault:
    """Return the fault of this name; raise KeyError where there is none."""
    return _BY_NAME[name]
