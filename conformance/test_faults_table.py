"""The measuring of planted faults: what others use stands beside it, and one entry is right."""

import functools
import json
from typing import Any

import pytest

import npconv
from conformance import faults_table
from conformance.faults_table import CORRECT, UNKNOWN, fault_entry
from conformance.planted import ALL
from conformance.usual_tests import USUAL
from npconv.oracle.suspects.fault import KINDS

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]


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


@functools.cache
def record() -> dict[str, Any]:
    """The recorded table."""
    found: dict[str, Any] = json.loads(faults_table.RECORD.read_text(encoding="utf-8"))
    return found


def test_the_page_is_that_of_the_whole_table() -> None:
    """Every planted fault has its entry, and docs/faults.md says what the record holds."""
    assert [entry["name"] for entry in record()["faults"]] == list(ALL)
    assert faults_table.PAGE.read_text(encoding="utf-8") == faults_table.page(record())
    assert record()["seconds"] <= 3600


def test_the_table_holds_what_is_promised() -> None:
    """All are caught, nearly all named with their own condition, and nothing is said of the right.

    Of each kind at least 95 of 100 are named; of 100 conditions at least 90 are the fault's own;
    each fault beside the catalogue has its condition, or its errors are described.
    """
    entries = record()["faults"]
    assert [entry["name"] for entry in entries if not entry["standard"]] == []
    for kind in KINDS:
        named = [entry["named"] for entry in entries if entry["kind"] == kind]
        assert named
        assert sum(named) >= 0.95 * len(named), kind
    listed = [entry for entry in entries if entry["name"] not in UNKNOWN]
    own = [entry["equivalent"] for entry in listed if entry["equivalent"] is not None]
    assert len(own) > 500
    assert sum(own) >= 0.9 * len(own)
    unknown = [entry for entry in entries if entry["name"] in UNKNOWN]
    assert len(unknown) >= 30
    assert all(found["says"] for entry in unknown for found in entry["diagnoses"])
    assert all(entry["diagnoses"] for entry in unknown)
    assert sorted(alarm["name"] for alarm in record()["correct"]) == sorted(CORRECT)
    assert all(alarm["failures"] == alarm["diagnoses"] == 0 for alarm in record()["correct"])
    assert all(alarm["cases"] >= 100 for alarm in record()["correct"])
