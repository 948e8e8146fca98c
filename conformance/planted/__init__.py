"""Implementations with one planted fault each: what the suite and its diagnosis are measured with.

`npconv check conformance.planted:kernel_not_flipped` runs the fault 'kernel-not-flipped' of the
catalogue, and likewise each fault of `unlisted`, which no entry of the catalogue describes.
"""

from __future__ import annotations

from conformance.planted.implementation import Plantable, Planted
from conformance.planted.stateful import STATEFUL
from conformance.planted.unlisted import UNLISTED, Unlisted
from npconv.oracle.suspects import CATALOGUE

__all__ = ["ALL", "UNLISTED", "Plantable", "Planted", "Unlisted", "planted"]

#: Everything that can be planted, by name.
ALL: dict[str, Plantable] = {fault.name: fault for fault in (*CATALOGUE, *UNLISTED)}


def planted(fault: Plantable | str) -> Planted:
    """Return an implementation that is right but for one fault, given itself or by name."""
    found = ALL[fault] if isinstance(fault, str) else fault
    return STATEFUL.get(found.name, Planted)(found)


def __getattr__(name: str) -> Planted:
    """Return the implementation whose fault has this name, with underscores for dashes."""
    fault = ALL.get(name.replace("_", "-"))
    if fault is None:
        raise AttributeError(f"no planted fault is called {name!r}")
    return planted(fault)


def __dir__() -> list[str]:
    """List the implementations too."""
    return [*globals(), *(name.replace("-", "_") for name in ALL)]
