"""The table of planted faults: its page is its record, its figures what was asked for."""

import json

import numpy as np
import pytest

import npconv
from conformance import faults_table
from conformance.faults_table import PAGE, RECORD, UNKNOWN, fault_entry, page
from conformance.planted import ALL
from conformance.usual_tests import USUAL


def record() -> dict:  # type: ignore[type-arg]
    """Read the record."""
    return json.loads(RECORD.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_the_page_is_the_record() -> None:
    """docs/faults.md is what the record says, of every fault that can be planted."""
    found = record()
    assert PAGE.read_text(encoding="utf-8") == page(found)
    assert {entry["name"] for entry in found["faults"]} == set(ALL)


def test_the_figures_are_what_was_asked_for() -> None:
    """All are caught; 95 % of each kind are named, 90 % have their condition; no false alarm."""
    found = record()
    assert [entry["name"] for entry in found["faults"] if not entry["standard"]] == []
    listed = [entry for entry in found["faults"] if entry["name"] not in UNKNOWN]
    for kind in ("structure", "numerics", "state"):
        named = [entry["named"] for entry in listed if entry["kind"] == kind]
        assert np.mean(named) >= 0.95, kind
    known = [entry["equivalent"] for entry in listed if entry["equivalent"] is not None]
    assert np.mean(known) >= 0.9
    assert len(UNKNOWN) >= 30
    assert [e["diagnoses"] + e["failures"] for e in found["correct"]] == [0] * 3


def test_the_usual_tests_pass_what_is_right_and_can_fail() -> None:
    """None of them finds anything in npconv, and each finds a missing bias or a wrong gradient."""

    class Right:
        conv2d = staticmethod(npconv.conv2d)

        @staticmethod
        def conv2d_backward(*arguments: object) -> object:
            return npconv.conv2d_backward(*arguments)  # type: ignore[arg-type]

    class Wrong(Right):
        @staticmethod
        def conv2d(x: object, w: object, b: object, *rest: object) -> object:
            return 2 * npconv.conv2d(x, w, b, *rest)  # type: ignore[arg-type]

        @staticmethod
        def conv2d_backward(*arguments: object) -> object:
            gradients = npconv.conv2d_backward(*arguments)  # type: ignore[arg-type]
            return tuple(None if a is None else 3 * a for a in gradients)

    assert {name: finds(Right()) for name, finds in USUAL.items()} == dict.fromkeys(USUAL, False)
    assert {name: finds(Wrong()) for name, finds in USUAL.items()} == dict.fromkeys(USUAL, True)


def test_an_entry_says_what_became_of_a_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault is caught and named, with its trigger; a fault that shows nowhere is not caught."""
    monkeypatch.setattr(faults_table, "WITHIN", 40)
    monkeypatch.setattr(faults_table, "WITHOUT", 60)
    entry = fault_entry("bias-added-twice")
    assert entry["quick"]
    assert entry["standard"]
    assert entry["named"]
    assert entry["equivalent"]
    assert entry["diagnoses"][0]["suspect"] == "bias-added-twice"
