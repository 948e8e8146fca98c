"""The recorded long run is complete, without failures, and of the suite as it is now."""

import json
from pathlib import Path

from conformance.differences import TORCH
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suites import suite_named

RECORD = Path(__file__).parent / "recorded" / "exhaustive-torch.json"


def test_exhaustive_suite_has_run_on_torch() -> None:
    """All cases of the present suite were run, in the torch version that CI uses; none failed."""
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    suite = suite_named("exhaustive")
    assert record["suite"] == "exhaustive"
    assert record["done"] == [[0, len(suite)]]
    assert record["suite_digest"] == suite.digest, "the suite has changed: run it again"
    assert record["environment"]["target"].startswith(f"torch {TORCH}.")
    assert record["failures_total"] == 0
    assert record["failures"] == []
    for op, counts in record["ops"].items():
        others = {name for name, count in counts.items() if count and name != "passed"}
        # Integers have no gradients in torch.
        assert others == ({"unsupported"} if op in GRADIENTS else set())
    # 840,960 geometries, in float64 and in float32.
    assert record["ops"]["forward"]["passed"] > 2 * 840_000
