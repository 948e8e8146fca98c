"""The tolerance table's quick part: no false alarm, faults caught, the page as recorded."""

import json
import warnings
from pathlib import Path

import pytest

pytest.importorskip("torch")

from conformance import tolerance_table as table

RECORD = table.ROOT / "recorded" / "tolerance.json"
PAGE = Path(__file__).parent.parent / "docs" / "tolerance.md"


@pytest.fixture(scope="module")
def rows() -> list[table.Row]:
    """The correct implementations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return table.rows()


def test_correct_implementations_are_not_flagged(rows: list[table.Row]) -> None:
    """No result of any correct implementation is out of its bound."""
    for row in rows:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            count = table.alarms(row, range(1, 13))
        assert count["judged"] > 0, row.name
        assert count["wrong"] == 0, (row.name, count)


@pytest.mark.parametrize("fault", [name for name in table.FAULTS if "0.1 %" not in name])
def test_faults_are_caught_at_every_scale(fault: str) -> None:
    """Some kind of data shows each fault in every output, and reals of every scale show it too."""
    counts = table.caught(fault, 27, 2)
    shares = {
        kind: found["forward"]["npconv"] / found["forward"]["results"]
        for kind, found in counts.items()
    }
    assert max(shares.values()) == 1
    assert min(shares[kind] for kind in ("micro", "reals", "mega")) > 0.4


def test_page_shows_the_record() -> None:
    """The page's tables are those of the recorded run, which had enough results and no alarm."""
    record = json.loads(RECORD.read_text("utf-8"))
    assert all(
        count["judged"] >= 2000 and not count["wrong"] for count in record["alarms"].values()
    )
    assert all(
        count["longest"] >= 19_000 or "accumulate" in str(count["classes"])
        for count in record["alarms"].values()
    )
    shown = PAGE.read_text("utf-8").split(table.MARKERS[0])[1].split(table.MARKERS[1])[0]
    assert shown.strip() == table.tables(record).strip()
