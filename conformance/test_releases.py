"""Releases with known bugs: the page is the record's; how runs are read, how arrays travel."""

import ast
import io
import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.engines import releases
from conformance.engines.release_adapters import bridge
from conformance.engines.releases import BUGS, PAGE, RECORD, Bug, Release, entry, holds, page
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.suites import suite_named

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

SERVED = Path(bridge.__file__).parent

STUB = """
import os
import signal


def engine():
    return {
        "functions": {"conv2d": conv2d, "conv2d_bias": lambda error: (None, error.strides)},
        "supports": {"ops": ("forward",), "groups": False},
        "version": "stub 1",
    }


class OwnError(Exception):
    pass


def conv2d(x, weight, bias, stride, padding, dilation, groups):
    print("on stdout, where messages go")
    if groups == 2:
        raise NotImplementedError("groups")
    if groups == 3:
        raise OwnError("own")
    if groups == 4:
        os.kill(os.getpid(), signal.SIGFPE)
    assert bias is None and stride == (1, 2) and isinstance(stride, tuple)
    return x + 1
"""


@pytest.fixture(scope="module")
def record() -> Any:
    """What is recorded."""
    return json.loads(RECORD.read_text(encoding="utf-8"))


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[bridge.Served]:
    """A process that serves a stub."""
    for name in ("frames.py", "server.py"):
        (tmp_path / name).write_text((SERVED / name).read_text(encoding="utf-8"), encoding="utf-8")
    (tmp_path / "stub_engine.py").write_text(STUB, encoding="utf-8")
    monkeypatch.setattr(bridge, "FOLDER", tmp_path)
    served = bridge.Served(sys.executable, "stub")
    yield served
    served.close()


def test_page_is_what_the_record_gives(record: Any) -> None:
    """The page's tables are those that ``python -m conformance.engines.releases --page`` makes."""
    assert PAGE.read_text(encoding="utf-8") == page(record)


def test_known_bugs_are_found_and_repaired_releases_pass(record: Any) -> None:
    """Five bugs or more, each of this list; each fails where it is, and no more where it is not."""
    assert len(record["bugs"]) >= 5
    assert set(record["bugs"]) == {bug.name for bug in BUGS}
    assert [name for name, found in record["bugs"].items() if not holds(found)] == []


def test_record_is_of_the_releases_and_suites_that_the_list_has(record: Any) -> None:
    """What was run is what the list says, and the smallest case lies under the trigger."""
    for bug in BUGS:
        if (found := record["bugs"].get(bug.name)) is not None:
            assert (found["bad"]["release"], found["fixed"]["release"], found["suite"]) == (
                bug.bad.name, bug.fixed.name, bug.suite,
            )  # fmt: skip
            assert Condition.parse(bug.trigger).holds(Case.from_id(found["smallest"]))


def test_each_trigger_holds_for_some_cases_of_quick_and_not_for_all() -> None:
    """A trigger without cases would find nothing, and one of all cases would say nothing."""
    suite = suite_named("quick")
    cases = [suite[position] for position in range(len(suite))]
    for bug in BUGS:
        if bug.suite == "quick":
            trigger = Condition.parse(bug.trigger)
            assert 0 < sum(map(trigger.holds, cases)) < len(cases), bug.name


def test_each_bug_has_an_engine_pinned_releases_and_a_public_report() -> None:
    """Names are there once; requirements are exact; reports are pages that anyone can open."""
    assert len({bug.name for bug in BUGS}) == len(BUGS)
    for bug in BUGS:
        assert (SERVED / f"{bug.engine}_engine.py").is_file()
        assert bug.bad.name != bug.fixed.name
        for release in (bug.bad, bug.fixed):
            assert all("==" in requirement for requirement in release.requirements)
        for link in (bug.reported, bug.repaired):
            assert link.startswith("https://")


# ------------------------------------------------------------------ judging


def _report(failed: dict[str, list[list[int]]], **more: Any) -> dict[str, Any]:
    return {
        "suite_digest": "d", "ops": {"forward": {"passed": 1}}, "failures_total": 1, "seconds": 1.0,
        "failures": [], "diagnoses": [], "failed": {"forward": [], "grad_input": []} | failed,
        "environment": {"cpu": "c", "numpy": "2", "python": "3"},
    } | more  # fmt: skip


def _bug(trigger: str, ops: tuple[str, ...] = ("forward",)) -> Bug:
    one, other = Release("engine 1", "3.7", ("engine==1",)), Release("engine 2", "3.7", ())
    return Bug("name", "says", "https://a", "https://b", "torch", one, other, trigger, ops)


def test_only_failures_under_the_trigger_and_of_its_operations_count() -> None:
    """What else fails in either release is no part of the bug; what is left of it is."""
    suite = suite_named("quick")
    legal = [p for p in range(len(suite)) if suite[p].illegal is None]
    inside = [p for p in legal if suite[p].groups > 1][:3]
    outside = [p for p in legal if suite[p].groups == 1][:2]
    spans = [[p, p + 1] for p in sorted([*inside, *outside])]
    bad = _report({"forward": spans, "grad_input": spans})
    found = entry(_bug("groups > 1"), bad, _report({"forward": [[p, p + 1] for p in outside]}))
    assert (found["bad"]["within"], found["fixed"]["within"], found["found"]) == (3, 0, 3)
    assert holds(found)
    assert Case.from_id(found["smallest"]).groups > 1
    left = entry(_bug("groups > 1"), bad, _report({"forward": [[inside[0], inside[0] + 1]]}))
    assert (left["fixed"]["within"], left["found"]) == (1, 2)
    assert not holds(left)
    assert not holds(entry(_bug("groups > 1", ("grad_input",)), _report({}), _report({})))


def test_a_diagnosis_covers_the_bugs_failures_that_its_condition_holds_for() -> None:
    """Counted are failing cases of the bug and of the diagnosis' operation; kinds are theirs."""
    suite = suite_named("quick")
    inside = [p for p in range(len(suite)) if suite[p].groups > 1 and suite[p].illegal is None]
    wide = [p for p in inside if suite[p].stride[1] > 1][:2]
    narrow = [p for p in inside if suite[p].stride[1] == 1][:1]
    said = {"op": "forward", "suspect": None, "says": "s", "failing": 3, "smallest": "x"}
    bad = _report(
        {"forward": [[p, p + 1] for p in sorted(wide + narrow)]},
        diagnoses=[
            said | {"condition": "stride_w > 1"}, said | {"condition": None},
            said | {"condition": "True", "op": "grad_input"},
        ],
        failures=[
            {"op": "forward", "kind": "shape", "case": suite[wide[0]].id},
            {"op": "forward", "kind": "raised", "case": suite[0].id},
        ],
    )  # fmt: skip
    found = entry(_bug("groups > 1"), bad, _report({}))
    assert [(d["covers"], d["of"]) for d in found["diagnoses"]] == [(2, 3), (0, 3)]
    assert found["kinds"] == ["shape"]


def test_page_says_nothing_where_no_condition_covers_the_bug(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A row for each diagnosis of no condition, or that covers a failure; or one that says so."""
    bug = _bug("groups > 1")
    monkeypatch.setattr(releases, "BUGS", (bug,))
    suite = suite_named("quick")
    place = next(p for p in range(len(suite)) if suite[p].groups > 1 and suite[p].illegal is None)
    found = entry(bug, _report({"forward": [[place, place + 1]]}), _report({}))
    assert "| nothing | |  |" in page({"bugs": {"name": found}})
    said = {"op": "forward", "suspect": "a-fault", "says": "a|b", "covers": 1, "of": 1,
            "condition": "groups > 1"}  # fmt: skip
    text = page({"bugs": {"name": found | {"diagnoses": [said]}}})
    assert r"| a\|b [a-fault] | `groups > 1` | 1 of 1 |" in text
    assert "| nothing |" not in text
    others = [said | {"covers": 0, "condition": condition} for condition in ("illegal", None)]
    text = page({"bugs": {"name": found | {"diagnoses": others}}})
    assert text.count("[a-fault]") == 1
    assert r"| a\|b [a-fault] | none | 0 of 1 |" in text


def test_a_report_of_a_part_or_of_another_suite_is_none(tmp_path: Path) -> None:
    """A run that was interrupted, or is of cases that have changed, says nothing of a release."""
    path = tmp_path / "report.json"
    whole = _report({}, done=[[0, 3], [3, 5]], length=5)
    for report, digest in ((whole | {"done": [[0, 3]]}, "d"), (whole, "other")):
        path.write_text(json.dumps(report), encoding="utf-8")
        with pytest.raises(ValueError, match="of 5 cases"):
            releases._complete(path, digest)
    path.write_text(json.dumps(whole), encoding="utf-8")
    assert releases._complete(path, "d") == whole


# ------------------------------------------------------------------ the way to an old Python


def _layouts() -> dict[str, np.ndarray[Any, Any]]:
    base = np.random.default_rng(7).standard_normal((2, 3, 4, 5))
    return {
        "packed": base,
        "channels last": np.moveaxis(np.moveaxis(base, 1, -1).copy(), -1, 1),
        "reversed": base[:, ::-1, :, ::-1],
        "stepped": base[:, 1:, ::2, 1::3],
        "expanded": np.broadcast_to(base[:1, :, :1], base.shape),
        "float32": base.astype(np.float32),
        "big-endian": base.astype(">f8"),
        "empty": base[:0],
        "no axes": base[0, 0, 0, 0:1].reshape(()),
    }


@pytest.mark.parametrize("layout", _layouts())
def test_arrays_arrive_with_their_numbers_strides_and_dtype(layout: str) -> None:
    """Through a stream and back: an engine sees the memory layout that the case asks for."""
    array, stream = _layouts()[layout], io.BytesIO()
    bridge.send(stream, {"a": [array, None, (1, "two", np.int64(3))], "b": True})
    stream.seek(0)
    message = bridge.receive(stream)
    came = message["a"][0]
    np.testing.assert_array_equal(came, array)
    assert came.dtype == array.dtype
    assert array.size == 0 or came.strides == array.strides
    assert message["a"][1:] == (None, (1, "two", 3))
    assert message["b"] is True


def test_a_stream_that_ends_early_is_told() -> None:
    """Half a message is the end of the other process, not a message."""
    stream = io.BytesIO()
    bridge.send(stream, ["call", [np.ones((2, 3))]])
    for length in (0, 5, len(stream.getvalue()) - 1):
        with pytest.raises(EOFError):
            bridge.receive(io.BytesIO(stream.getvalue()[:length]))


def test_engine_in_another_process_is_called_and_declares(stub: bridge.Served) -> None:
    """Results, strides, tuples and what is declared come through; its prints do not disturb."""
    assert stub.said["version"] == "stub 1"
    assert stub.said["supports"] == {"ops": ("forward",), "groups": False}
    x = np.arange(24.0).reshape(1, 2, 3, 4)[:, :, :, ::-2]
    for _ in range(2):
        got = stub.call("conv2d", (x, x, None, (1, 2), (0, 0), (1, 1), 1))
        np.testing.assert_array_equal(got, x + 1)
    assert stub.call("conv2d_bias", (x,)) == (None, x.strides)


def test_engine_raises_here_what_it_raised_there(stub: bridge.Served) -> None:
    """NotImplementedError stays one, as it means unsupported; unknown names begin the message."""
    arguments = (np.ones((1, 2, 3, 4)), np.ones((2, 1, 1, 1)), None, (1, 2), (0, 0), (1, 1))
    with pytest.raises(NotImplementedError, match=r"\Agroups\Z"):
        stub.call("conv2d", (*arguments, 2))
    with pytest.raises(bridge.EngineError, match=r"\AOwnError: own\Z"):
        stub.call("conv2d", (*arguments, 3))


def test_an_engine_that_dies_takes_its_caller_along(
    stub: bridge.Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the same signal, so that npconv reports the crash as it is."""
    sent: list[tuple[int, int]] = []
    monkeypatch.setattr(bridge.os, "kill", lambda process, number: sent.append((process, number)))
    x = np.ones((1, 2, 3, 4))
    with pytest.raises(bridge.EngineError, match="ended with status -8"):
        stub.call("conv2d", (x, x, None, (1, 2), (0, 0), (1, 1), 4))
    assert sent == [(os.getpid(), signal.SIGFPE)]


def test_an_engine_that_cannot_be_imported_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the other Python printed is the message."""
    (tmp_path / "server.py").write_text("raise SystemExit('no such release')", encoding="utf-8")
    monkeypatch.setattr(bridge, "FOLDER", tmp_path)
    with pytest.raises(ImportError, match="no such release"):
        bridge.Served(sys.executable, "stub")


def test_what_old_pythons_run_is_in_their_grammar() -> None:
    """A walrus would end every run of an old release."""
    files = sorted(SERVED.glob("*_engine.py"))
    assert len(files) >= 4
    for file in [SERVED / "frames.py", SERVED / "server.py", *files]:
        ast.parse(file.read_text(encoding="utf-8"), feature_version=(3, 7))
