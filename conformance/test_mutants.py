"""The list of planted faults still fits npconv's source, and its record holds all of them."""

import ast
import json
from collections import Counter

import pytest

from conformance.mutants import LIST, RECORD, ROOT, UNITS, DoesNotApplyError, Mutant, mutants

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

ENTRIES = mutants()


@pytest.mark.parametrize("mutant", ENTRIES, ids=[mutant.name for mutant in ENTRIES])
def test_mutant_applies(mutant: Mutant) -> None:
    """The old text stands where the entry says, and replacing it gives another program."""
    source = (ROOT / "npconv" / mutant.file).read_text(encoding="utf-8")
    planted = ast.parse(mutant.applied(source))
    assert ast.dump(planted) != ast.dump(ast.parse(source))


def test_list_covers_the_core() -> None:
    """Names and faults are unique; each file of the core has several, its tests exist."""
    assert max(Counter(mutant.name for mutant in ENTRIES).values()) == 1
    assert max(Counter((m.file, m.old, m.new, m.index) for m in ENTRIES).values()) == 1
    per_file = Counter(mutant.file for mutant in ENTRIES)
    assert set(per_file) == {f"{name}.py" for name in UNITS}
    assert min(per_file.values()) >= 10
    for mutant in ENTRIES:
        assert all((ROOT / test).is_file() for test in mutant.tests())


def test_mutant_that_does_not_apply_is_refused() -> None:
    """Text that is missing, ambiguous, or at a place that does not exist raises."""
    source = "a = 1\nb = 1\n"
    for old, index in (("c", None), ("1", None), ("1", 2), ("a", 1)):
        with pytest.raises(DoesNotApplyError, match=r"name: file\.py holds the old text \d times"):
            Mutant("name", "says", "file.py", old, "2", index).applied(source)
    assert Mutant("n", "s", "file.py", "1", "2", 1).applied(source) == "a = 1\nb = 2\n"
    assert Mutant("n", "s", "file.py", "1", "2", 0).applied(source) == "a = 2\nb = 1\n"


def test_record_says_that_every_mutant_is_killed() -> None:
    """The recorded run is of this list, and each of its mutants turned a test red."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    names = [entry["name"] for entry in record["mutants"]]
    assert names == [mutant.name for mutant in ENTRIES], f"run {record['command']}, {LIST.name}"
    assert all("::" in entry["killed_by"] for entry in record["mutants"])
    assert record["killed"] == record["count"] == len(ENTRIES)
    assert record["survived"] == []
