"""The JUnit file: its form, its counts, what is escaped, what a CI service shows of a failure."""

from typing import Any
from xml.etree import ElementTree as ET

import pytest

from npconv.oracle.junit import junit_text
from npconv.oracle.protocol import OPS

ID = "n1c1f1g1-2x3-k1x1-s1x1-p0x0-d1x1-nobias-m111-float32-packed-integers-seed0"
STATUSES = (
    "passed", "failed", "unsupported", "expected_failures", "undecided", "not_reproducible",
)  # fmt: skip

#: Children and attributes (True: needed) of each element, after junit-10.xsd of Jenkins' xUnit
#: plugin; a parent of all kinds of children may have them in any order and number.
SCHEMA: dict[str, tuple[set[str], dict[str, bool]]] = {
    "testsuites": (
        {"testsuite"},
        dict.fromkeys(("name", "time", "tests", "failures", "errors"), False),
    ),
    "testsuite": (
        {"testsuite", "properties", "testcase", "system-out", "system-err"},
        dict.fromkeys(("name", "tests", "failures", "errors"), True)
        | dict.fromkeys(("time", "skipped", "timestamp", "hostname", "id", "package"), False),
    ),
    "properties": ({"property"}, {}),
    "property": (set(), {"name": True, "value": True}),
    "testcase": (
        {"skipped", "failure", "system-out", "system-err"},
        {"name": True, "time": False, "classname": False},
    ),
    "skipped": (set(), {"type": False, "message": False}),
    "failure": (set(), {"type": False, "message": False}),
    "system-out": (set(), {}),
}


def breaches(element: ET.Element) -> list[str]:
    """Say what in a file is not as the schema has it, and which counts are wrong."""
    children, attributes = SCHEMA[element.tag]
    found = [f"{element.tag}: {child.tag}" for child in element if child.tag not in children]
    found += [f"{element.tag}: {name}" for name in element.attrib if name not in attributes]
    found += [
        f"{element.tag} without {name}"
        for name, needed in attributes.items()
        if needed and name not in element.attrib
    ]
    if children and (element.text or "").strip():
        found.append(f"{element.tag}: text")
    if element.tag in ("testsuite", "testsuites"):
        for name, path in (("tests", ""), ("failures", "/failure"), ("skipped", "/skipped")):
            said = element.get(name)
            if said is not None and int(said) != len(element.findall(f".//testcase{path}")):
                found.append(f"{element.tag}: {name}={said}")
    return found + [breach for child in element for breach in breaches(child)]


def failure(op: str = "forward", **changes: Any) -> dict[str, Any]:
    """Return a failure as a JSON report has it."""
    return {
        "case": ID, "op": op, "kind": "values", "ratio": 41.724, "index": [0, 1, 2, 3],
        "got": "1.0", "want": "2.0", "message": "3 of 6 elements differ", **changes,
    }  # fmt: skip


def report(
    failures: list[dict[str, Any]] | None = None, **counts: dict[str, int]
) -> dict[str, Any]:
    """Return a JSON report with these counts."""
    return {
        "npconv": "0.1.0", "suite_digest": "abc", "target": "my/kernel.py:fast", "suite": "quick",
        "shard": [2, 3], "seconds": 12.3456, "environment": {"numpy": "2.4.0", "cpu": "A & B"},
        "ops": {op: dict.fromkeys(STATUSES, 0) | counts.get(op, {}) for op in OPS},
        "failures": failures or [],
        "unsupported": {"forward": {"no groups": 7, "no\x00stride": 2}},
    }  # fmt: skip


def parsed(text: str) -> ET.Element:
    """Read a file, and hold it against the schema."""
    assert text.startswith('<?xml version="1.0" encoding="utf-8"?>\n')
    root = ET.fromstring(text.encode())
    assert breaches(root) == []
    return root


def cases(root: ET.Element, suite: str) -> dict[str, ET.Element]:
    """Return the test cases of the suite whose name ends so, by name."""
    (found,) = [each for each in root if each.get("name", "").endswith(f" {suite}")]
    named = {case.get("name", ""): case for case in found.iter("testcase")}
    assert len(named) == len(found.findall("testcase"))
    return named


MIXED = {
    "passed": 1200, "failed": 3, "unsupported": 9, "expected_failures": 1, "undecided": 4,
    "not_reproducible": 2,
}  # fmt: skip


def test_counts_become_test_cases() -> None:
    """Each failure that is listed is a test case, and each other count of an operation is one."""
    found = cases(parsed(junit_text(report([failure()], forward=MIXED))), "forward")
    assert set(found) == {
        ID, "further failures", "passed", "unsupported", "expected_failures", "undecided",
        "not_reproducible",
    }  # fmt: skip
    assert found["passed"].findtext("system-out") == "1,200 results"
    assert found["not_reproducible"].findtext("system-out") == "2 results"
    shown = {name: case.find("skipped") for name, case in found.items()}
    assert {name for name, skipped in shown.items() if skipped is not None} == {
        "unsupported", "expected_failures", "undecided",
    }  # fmt: skip
    further = found["further failures"].find("failure")
    assert further is not None
    assert further.get("message") == "2 results that are not listed one by one"


def test_reasons_of_the_unsupported_are_listed() -> None:
    """What the implementation said stands with its count in the text."""
    skipped = cases(parsed(junit_text(report(forward=MIXED))), "forward")["unsupported"][0]
    assert skipped.get("message", "").startswith("9 results: ")
    assert skipped.text == "7 results: no groups\n2 results: no\\x00stride"


def test_a_failure_shows_message_place_and_the_command_that_repeats_it() -> None:
    """The message is one line, and the text below it has all there is to know."""
    element = cases(parsed(junit_text(report([failure()], forward={"failed": 1}))), "forward")[ID]
    assert element.get("classname") == "npconv.my_kernel_py_fast.forward"
    (shown,) = element
    assert (shown.get("type"), shown.get("message")) == (
        "values", "3 of 6 elements differ (|error| is 41.7 times the bound)",
    )  # fmt: skip
    assert (shown.text or "").splitlines() == [
        "3 of 6 elements differ (|error| is 41.7 times the bound)",
        "at [0, 1, 2, 3]", "got 1.0", "want 2.0",
        f"repeat: npconv check my/kernel.py:fast --case {ID}",
    ]  # fmt: skip


def test_a_failure_without_values_shows_none() -> None:
    """What raised has neither ratio nor place."""
    bare = failure(kind="raised", ratio=None, index=None, got=None, want=None, message="E: x")
    shown = cases(parsed(junit_text(report([bare], forward={"failed": 1}))), "forward")[ID][0]
    assert (shown.text or "").splitlines() == [
        "E: x", f"repeat: npconv check my/kernel.py:fast --case {ID}",
    ]  # fmt: skip


def test_operations_without_results_are_left_out() -> None:
    """There is a suite for each operation that was asked, and one for the run."""
    root = parsed(junit_text(report(grad_bias={"passed": 1})))
    assert [suite.get("name") for suite in root] == [
        "my/kernel.py:fast quick run", "my/kernel.py:fast quick grad_bias",
    ]  # fmt: skip


def test_the_run_says_what_and_where_it_was() -> None:
    """Version, target, suite, digest, shard and environment are properties."""
    root = parsed(junit_text(report(forward={"passed": 1})))
    assert {p.get("name"): p.get("value") for p in root.iter("property")} == {
        "npconv": "0.1.0", "target": "my/kernel.py:fast", "suite": "quick", "suite_digest": "abc",
        "shard": "2/3", "environment.numpy": "2.4.0", "environment.cpu": "A & B",
    }  # fmt: skip
    assert root.get("time") == "12.346"


def test_a_run_that_is_not_finished_fails() -> None:
    """A file of half a run is not green, whatever passed."""
    whole = parsed(junit_text(report(forward={"passed": 1})))
    assert cases(whole, "run")["complete"].find("failure") is None
    half = parsed(
        junit_text(report(forward={"passed": 1}), unfinished="interrupted: 40 of 90 cases")
    )
    shown = cases(half, "run")["complete"].find("failure")
    assert shown is not None
    assert shown.get("message") == "interrupted: 40 of 90 cases"
    assert half.get("failures") == "1"


def test_broken_expectations_fail() -> None:
    """Each stale or unmatched expectation is a failing test case, named without its line."""
    lines = [
        "known.txt:3: 'groups > 1' no longer fails in any of 12 results: remove it",
        "known.txt:9: 'bias' matches no case that was asked: correct it or remove it",
    ]
    found = cases(parsed(junit_text(report(forward={"passed": 1}), broken=lines)), "run")
    assert len(found) == 3
    name = "expectation 'groups > 1' no longer fails in any of 12 results: remove it"
    shown = found[name].find("failure")
    assert shown is not None
    assert shown.get("message") == lines[0]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x00", "\\x1b[31mred\\x00"),
        ("a < b & 'c' > \"d\" ]]>", "a < b & 'c' > \"d\" ]]>"),
        ("\ud800\ufffe", "\\ud800\\ufffe"),
        ("größer ≥ 𝄞", "größer ≥ 𝄞"),
        ("two\nlines\tand", "two lines and"),
    ],
)
def test_what_xml_cannot_hold_is_written_out(text: str, shown: str) -> None:
    """Control characters and lone surrogates are spelt, everything else stays what it is."""
    odd = report([failure(message=text, got=text, ratio=None)], forward={"failed": 1})
    found = cases(parsed(junit_text(odd)), "forward")[ID][0]
    assert found.get("message") == shown


def test_long_messages_are_cut_in_the_attribute_alone() -> None:
    """What viewers show in one line is short; the text has all of it."""
    long = failure(message="x" * 999, ratio=None)
    shown = cases(parsed(junit_text(report([long], forward={"failed": 1}))), "forward")[ID][0]
    assert shown.get("message") == "x" * 297 + "..."
    assert "x" * 999 in (shown.text or "")


def test_the_schema_here_can_fail() -> None:
    """A wrong child, attribute, count or text, and a missing attribute, are each found."""
    suite = '<testsuite name="a" tests="{}" failures="0" errors="0">{}</testsuite>'
    suite = f"<testsuites>{suite}</testsuites>"
    good = suite.format(1, '<testcase name="b"/>')
    assert breaches(ET.fromstring(good)) == []
    for bad in (
        suite.format(2, '<testcase name="b"/>'),
        suite.format(1, '<testcase name="b" id="1"/>'),
        suite.format(1, "<testcase/>"),
        suite.format(1, '<testcase name="b"><property name="c" value="d"/></testcase>'),
        suite.format(1, 'text<testcase name="b"/>'),
        good.replace("<testsuites>", '<testsuites skipped="0">'),
    ):
        assert len(breaches(ET.fromstring(bad))) >= 1
