"""The recorded long runs are complete, without failures, and of the suite as it is now."""

import json
from pathlib import Path

import pytest

from conformance.differences import TORCH
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suites import suite_named

RECORDED = Path(__file__).parent / "recorded"


@pytest.mark.parametrize(
    ("target", "described", "unsupported"),
    [
        # Integers have no gradients in torch.
        ("torch", f"torch {TORCH}.", set(GRADIENTS)),
        ("formulas", "formulas", set()),
    ],
)
def test_exhaustive_suite_has_run(target: str, described: str, unsupported: set[str]) -> None:
    """All cases of the present suite were run, in the torch version that CI uses; none failed."""
    record = json.loads((RECORDED / f"exhaustive-{target}.json").read_text(encoding="utf-8"))
    suite = suite_named("exhaustive")
    assert record["suite"] == "exhaustive"
    assert record["target"] == target
    assert record["done"] == [[0, len(suite)]]
    assert record["suite_digest"] == suite.digest, "the suite has changed: run it again"
    assert record["environment"]["target"].startswith(described)
    assert record["failures_total"] == 0
    assert record["failures"] == []
    for op, counts in record["ops"].items():
        others = {name for name, count in counts.items() if count and name != "passed"}
        assert others == ({"unsupported"} if op in unsupported else set())
    # 882,432 geometries, in float64 and in float32.
    assert record["ops"]["forward"]["passed"] > 2 * 882_432
