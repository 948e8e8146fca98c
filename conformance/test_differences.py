"""Each listed difference still occurs in the torch version that it is tied to; the docs list it."""

import dataclasses
from pathlib import Path
from types import ModuleType

import pytest

from conformance.differences import (
    DIFFERENCES,
    KINDS,
    TORCH,
    Difference,
    outcomes,
    page,
    shown_here,
)

PAGE = Path(__file__).parents[1] / "docs" / "differences.md"


@pytest.fixture(scope="module")
def torch() -> ModuleType:
    """torch, of the version that the table is tied to."""
    module: ModuleType = pytest.importorskip("torch", reason="the library that differs")
    assert module.__version__.split("+")[0].rsplit(".", 1)[0] == TORCH, (
        f"the table of differences is tied to torch {TORCH}: go through it with torch "
        f"{module.__version__}, then set TORCH"
    )
    return module


def check(entry: Difference, torch: ModuleType) -> None:
    """Compare both answers with the table's."""
    does, should = outcomes(entry, torch)
    assert should == entry.should, f"{entry.name}: npconv answers {should}, not {entry.should}"
    assert does != should, f"{entry.name}: torch differs no longer; remove the entry"
    assert does == entry.does, f"{entry.name}: torch answers {does}, not {entry.does}"


@pytest.mark.parametrize("entry", DIFFERENCES, ids=[entry.name for entry in DIFFERENCES])
def test_difference_still_occurs(entry: Difference, torch: ModuleType) -> None:
    """Both answer as the table says: torch as it does, npconv as the definition says."""
    if not shown_here(entry, torch):
        pytest.skip(f"this machine cannot show it: {entry.only}")
    check(entry, torch)


def test_settled_difference_is_noticed(torch: ModuleType) -> None:
    """An entry that torch no longer answers to, or answers otherwise, fails."""
    entry = DIFFERENCES[0]
    with pytest.raises(AssertionError, match="differs no longer"):
        check(dataclasses.replace(entry, torch="(2, 3, 3, 4)"), torch)
    with pytest.raises(AssertionError, match=r"torch answers \(2, 3, 3, 5\)"):
        check(dataclasses.replace(entry, torch="(2, 3, 3, 5)"), torch)
    with pytest.raises(AssertionError, match="npconv answers 7"):
        check(dataclasses.replace(entry, npconv="7"), torch)


def test_entries_are_complete() -> None:
    """Names are unique, kinds known, conditions in words where there are any."""
    assert len({entry.name for entry in DIFFERENCES}) == len(DIFFERENCES)
    for entry in DIFFERENCES:
        assert entry.kind in KINDS
        assert entry.does != entry.should
        assert bool(entry.only) == (entry.where != "True")


def test_documentation_lists_the_table() -> None:
    """docs/differences.md is what the table prints: python -m conformance.differences."""
    assert PAGE.read_text(encoding="utf-8") == page()
