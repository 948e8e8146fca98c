"""`npconv.check`: the report that it returns, its options, and one line for each bad argument."""

import functools
import importlib
import math
import multiprocessing
import re
import sys
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import npconv
from npconv.oracle.report import Report, Tally
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

#: The same on every NumPy.
pytestmark = pytest.mark.once

SHARE = "quick[::29]"
IDS = [suite_named("quick")[position].id for position in range(5)]


@pytest.fixture(autouse=True)
def unprobed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out what takes seconds and has tests of its own: which arithmetic a target has."""
    monkeypatch.setattr("npconv.oracle.check.probe", lambda *_: {})


def wrong_with_groups(*arguments: Any) -> Any:
    """Return the output, one too much with groups."""
    return npconv.conv2d(*arguments) + (arguments[-1] > 1)


def without_seconds(report: Report) -> dict[str, Any]:
    """A report as JSON, without what no two runs share."""
    return {key: value for key, value in report.as_dict().items() if "seconds" not in key}


def test_check_returns_a_report() -> None:
    """A report comes back, with the suite, its digest, the target's name, counts and verdict."""
    report = npconv.check(npconv, SHARE)
    assert isinstance(report, Report)
    assert report.ok
    assert not report.failures
    assert (report.target, report.suite) == ("npconv", SHARE)
    assert report.suite_digest == suite_named(SHARE).digest
    assert not report.interrupted
    assert report.version == npconv.__version__
    assert report.environment["target"] == "npconv"


def test_check_finds_a_fault() -> None:
    """A wrong kernel's report is not ok and holds the failures, each with the id of its case."""
    report = npconv.check(wrong_with_groups, SHARE)
    assert not report.ok
    assert report.target == "wrong_with_groups"
    assert {(failure.op, failure.kind) for failure in report.failures} <= {
        ("forward", "values"),
        ("forward", "nonfinite"),
    }
    again = npconv.check(wrong_with_groups, [failure.case for failure in report.failures])
    assert again.tally.failures_total == report.tally.failures_total > 0
    assert again.tally.total("passed") == 0


@pytest.mark.parametrize(
    ("target", "name"),
    [
        (SimpleNamespace(conv2d=npconv.conv2d), "SimpleNamespace"),
        (lambda *a: npconv.conv2d(*a[:3], *a[3:]), "<lambda>"),
        (functools.partial(npconv.conv2d), "partial"),
    ],
    ids=["namespace", "lambda", "partial"],
)
def test_check_takes_any_object(target: Any, name: str) -> None:
    """Without a name of its own, an object is called by its type."""
    report = npconv.check(target, IDS)
    assert report.ok
    assert report.target == name


def test_check_over_executors_gives_the_same_report() -> None:
    """Threads and processes give the report that this process gives, for functions and modules."""
    spawn = multiprocessing.get_context("spawn")
    here = npconv.check(npconv, SHARE)
    with ThreadPoolExecutor(2) as threads, ProcessPoolExecutor(1, spawn) as processes:
        assert without_seconds(npconv.check(npconv, SHARE, executor=threads)) == without_seconds(
            here
        )
        assert without_seconds(npconv.check(npconv, SHARE, executor=processes)) == without_seconds(
            here
        )
        report = npconv.check(npconv.conv2d, SHARE, executor=processes)
    assert report.ok
    assert report.target == "conv2d"


def test_check_sees_a_module_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that is reloaded between two checks is checked as it is now."""
    path = tmp_path / "npconv_reloaded_kernel.py"
    path.write_text("from npconv import conv2d", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    kernel = importlib.import_module("npconv_reloaded_kernel")
    assert npconv.check(kernel, IDS).ok
    path.write_text("def conv2d(*_): return None", encoding="utf-8")
    importlib.reload(kernel)
    assert not npconv.check(kernel, IDS).ok


def test_check_restricts_operations() -> None:
    """With ops, only these are judged; their order is of no account."""
    report = npconv.check(npconv, SHARE, ops=["grad_bias", "forward"])
    assert {op for op, counts in report.tally.counts.items() if any(counts.values())} == {
        "forward",
        "grad_bias",
    }
    other = npconv.check(npconv, SHARE, ops=("forward", "grad_bias", "forward"))
    assert without_seconds(other) == without_seconds(report)
    assert report.suite_digest != suite_named(SHARE).digest


def test_check_restricts_dtypes() -> None:
    """With dtypes, only cases in these are run."""
    both, one = npconv.check(npconv, SHARE), npconv.check(npconv, SHARE, dtypes=["float64"])
    other = npconv.check(npconv, SHARE, dtypes=["float32"])
    assert one.tally.cases + other.tally.cases == both.tally.cases
    assert 0 < one.tally.cases < both.tally.cases


def test_check_stops_after_max_failures() -> None:
    """A run ends soon after so many failures."""
    report = npconv.check(wrong_with_groups, "standard", max_failures=1)
    assert 1 <= report.tally.failures_total <= 200
    assert report.tally.positions < 20_000


def test_check_tells_progress() -> None:
    """Progress is called with a tally that grows to the whole."""
    seen: list[int] = []

    def progress(tally: Tally) -> None:
        seen.append(tally.positions)

    npconv.check(npconv, "quick[::2]", progress=progress, ops=["grad_bias"])
    assert len(seen) > 1
    assert seen == sorted(set(seen))
    assert seen[-1] == len(suite_named("quick[::2]"))


def test_interrupted_check_is_not_ok(monkeypatch: pytest.MonkeyPatch) -> None:
    """After Ctrl-C the report holds what was finished, says so, and is not ok."""
    cases = []

    def run_one(*arguments: Any) -> Any:
        cases.append(arguments)
        if len(cases) == 5:
            raise KeyboardInterrupt
        return run_case(*arguments)

    monkeypatch.setattr("npconv.oracle.run.run_case", run_one)
    report = npconv.check(npconv.conv2d, SHARE)
    assert report.interrupted
    assert not report.ok
    assert report.tally.total("passed") == report.tally.cases == 4


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        ({"suite": "fast"}, ValueError, "suite 'fast' must be one of quick, standard, exhaustive"),
        ({"suite": ""}, ValueError, "suite '' must be one of"),
        ({"suite": []}, TypeError, "suite=[] must be a suite's name or a list of one case id or"),
        ({"suite": None}, TypeError, "suite=None must be a suite's name"),
        ({"suite": 5}, TypeError, "suite=5 must be a suite's name"),
        ({"suite": [5]}, TypeError, "suite=[5] must be a suite's name"),
        ({"suite": ["n2c4"]}, ValueError, "case id 'n2c4' must look like"),
        ({"suite": IDS + IDS[1:2]}, ValueError, f"case {IDS[1]} must be given once, not 2 times"),
        ({"suite": [IDS[0], f" {IDS[0]}"]}, ValueError, "must be given once, not 2 times"),
        ({"ops": []}, ValueError, "ops=[] must list some of forward, grad_input, grad_weight, "),
        ({"ops": "forward"}, ValueError, "ops='forward' must list some of"),
        ({"ops": ["conv2d"]}, ValueError, "ops=['conv2d'] must list some of"),
        ({"ops": 5}, ValueError, "ops=5 must list some of"),
        ({"ops": [["forward"]]}, ValueError, "ops=[['forward']] must list some of"),
        ({"dtypes": ["float8"]}, ValueError, "dtypes=['float8'] must list some of bfloat16"),
        ({"dtypes": "float32"}, ValueError, "dtypes='float32' must list some of"),
        ({"dtypes": ()}, ValueError, "dtypes=() must list some of"),
        ({"max_failures": 0}, ValueError, "max_failures=0 must be at least 1"),
        ({"max_failures": -1}, ValueError, "max_failures=-1 must be at least 1"),
        ({"max_failures": 1.5}, TypeError, "max_failures=1.5 must be an int"),
        ({"max_failures": True}, TypeError, "max_failures=True must be an int"),
        ({"executor": 2}, TypeError, "executor=2 must be a concurrent.futures.Executor"),
        ({"implementation": None}, TypeError, "NoneType must be a function or have one of conv2d"),
        ({"implementation": math}, TypeError, "math must be a function or have one of conv2d"),
        (
            {"implementation": SimpleNamespace(conv2d=npconv.conv2d, supports={"ops": "all"})},
            TypeError,
            "SimpleNamespace: supports['ops']='all' must list some of",
        ),
    ],
)
def test_bad_argument_gives_one_line(
    arguments: dict[str, Any], error: type[Exception], says: str
) -> None:
    """A bad argument raises ValueError or TypeError, in one line that shows argument and rule."""
    given = {"implementation": wrong_with_groups, "suite": IDS, **arguments}
    with pytest.raises(error, match=re.escape(says)) as caught:
        npconv.check(given.pop("implementation"), given.pop("suite"), **given)
    assert "\n" not in str(caught.value)


def test_report_survives_a_fault_of_the_diagnosis(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the diagnosis itself raises, the failures are reported all the same, with a warning."""

    def broken(*_: Any) -> None:
        raise ZeroDivisionError("of npconv's own")

    monkeypatch.setattr("npconv.oracle.check.diagnose", broken)
    with pytest.warns(RuntimeWarning, match="could not diagnose the failures: ZeroDivisionError"):
        report = npconv.check(lambda x, w, b, *rest: -npconv.conv2d(x, w, b, *rest), "quick[:20]")
    assert report.failures
    assert report.diagnoses == ()
