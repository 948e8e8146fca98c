"""The measuring of planted faults: what others use stands beside it, and one entry is right."""

import pytest

import npconv
from conformance import faults_table
from conformance.faults_table import fault_entry
from conformance.usual_tests import USUAL

#: The same on every NumPy.
pytestmark = pytest.mark.once


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
