"""SciPy's correlation as a convolution: groups, padding and strides around it; its own verdict.

SciPy is stood in for by npconv, so that the translation is tested everywhere; where it is
installed, it is judged itself.
"""

import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters
from npconv.adapters import TargetError, scipy_adapter
from npconv.oracle.check import report_on
from npconv.oracle.expectations import Expectations
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run

pytestmark = pytest.mark.once

EXPECTATIONS = Path(__file__).parents[2] / "conformance" / "engines" / "expectations"


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """Stand in for SciPy: a correlation in three axes, the first as long in both."""
    found: list[tuple[Any, ...]] = []

    def correlate(in1: Any, in2: Any, mode: str, method: str) -> Any:
        found.append((mode, method, in1.shape, in2.shape))
        assert len(in1) == len(in2)
        # As SciPy defines it: the second factor is conjugated.
        return npconv.conv2d(in1, in2.conj()[None])

    scipy = ModuleType("scipy")
    scipy.__version__ = "1.2.3"  # type: ignore[attr-defined]  # as the package sets it
    monkeypatch.setitem(sys.modules, "scipy", scipy)
    monkeypatch.setitem(sys.modules, "scipy.signal", SimpleNamespace(correlate=correlate))
    return found


@pytest.mark.usefixtures("calls")
def test_adapter_translates_all_that_it_declares() -> None:
    """Over a right correlation every legal case conforms, in every dtype; crops are none."""
    adapter = scipy_adapter.adapter()
    report = npconv.check(adapter, suite="quick", without=["illegal"], diagnosis=False)
    assert report.failures == []
    counts = report.tally.counts["forward"]
    assert counts["passed"] > 200
    (reason,) = report.tally.unsupported["forward"]
    assert reason.endswith("numpy.pad, which pads for SciPy, does not crop")


@pytest.mark.parametrize("method", ["direct", "fft"])
def test_each_image_meets_each_kernel_of_its_group(
    calls: list[tuple[Any, ...]], method: str
) -> None:
    """Two images, two groups of three features: 12 correlations of two channels, all padded."""
    x, w = np.ones((2, 4, 5, 6)), np.ones((6, 2, 3, 2))
    scipy_adapter.adapter(method).conv2d(x, w, None, (1, 2), ((1, 0), (2, 3)), (1, 1), 2)
    assert calls == [("valid", method, (2, 6, 11), (2, 3, 2))] * 12


@pytest.mark.usefixtures("calls")
def test_version_is_scipy_s() -> None:
    """The version told is that of the package."""
    assert scipy_adapter.adapter().version() == "1.2.3"


def test_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without SciPy the target says how to get it."""
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(TargetError, match=r"needs the package scipy: pip install 'npconv\[scipy"):
        adapters.load("scipy")


def test_scipy_fails_where_it_is_known_to() -> None:
    """The installed SciPy conforms to quick but for what its file of expectations says."""
    pytest.importorskip("scipy", reason="judges scipy")
    known = Expectations.read(EXPECTATIONS / "scipy.txt")
    plan, tally = Plan(adapters.load, "scipy", "quick", expectations=known), Tally()
    assert not run(plan, tally)
    report = report_on(plan, tally, True, target="scipy", described=adapters.describe("scipy"))
    assert report.failures == []
    assert report.tally.counts["forward"]["passed"] > 200
