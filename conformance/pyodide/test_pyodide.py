"""The recorded run in Pyodide is complete and without failures, and the page shows it."""

import json
from pathlib import Path
from typing import Any

import pytest

from conformance.digests import make_exact
from conformance.pyodide import inside
from npconv import cli
from npconv.oracle.cases import Case

#: The same on every NumPy.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[2]
RECORD: dict[str, Any] = json.loads(
    (ROOT / "conformance/recorded/pyodide.json").read_text(encoding="utf-8")
)


def test_suites_were_run_whole_and_nothing_failed() -> None:
    """Each target was asked all that it was to be asked, in a 32-bit WebAssembly."""
    assert RECORD["pointer_bits"] == 32
    asked = [(report["target"], report["suite"]) for report in RECORD["reports"]]
    assert asked == list(inside.ASKED)
    for report in RECORD["reports"]:
        assert report["environment"]["platform"].startswith("Emscripten")
        assert report["done"] == [[0, report["length"]]]
        assert report["failures_total"] == 0
        for counts in report["ops"].values():
            assert counts["passed"] > 30
            assert {name for name, count in counts.items() if count} == {"passed"}


def test_digests_are_those_of_every_other_machine() -> None:
    """All exact results that need no bfloat16 had the bits that are recorded for all."""
    recorded = json.loads(make_exact.FILE.read_text(encoding="utf-8"))
    without = sum(len(digests) for name, digests in recorded.items() if "bfloat16" not in name)
    assert RECORD["digests"]["same"] == RECORD["digests"]["compared"] == without == 2750


def test_arrays_of_cases_are_the_same_here() -> None:
    """An id decides its arrays, there as here."""
    assert len(RECORD["arrays"]) > 30
    for name, digest in RECORD["arrays"].items():
        assert inside.digest_of(Case.from_id(name)) == digest, name


def test_command_says_that_it_cannot_run() -> None:
    """One line, and the status of what could not run."""
    status, said = RECORD["command"]
    assert status == cli.COULD_NOT_RUN
    assert said == "npconv: this Python starts no processes: call npconv.check\n"


def test_page_shows_the_record() -> None:
    """The table is the record's."""
    page = (ROOT / "docs/pyodide.md").read_text(encoding="utf-8")
    assert inside.table(RECORD) in page
