"""The JUnit file: what a run gave, in the form that CI services show. Made from the JSON report."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from xml.etree import ElementTree as ET

#: Characters of a message that viewers show in one line.
_LONGEST = 300

#: Counts that say that nothing was found out, or that it was known: shown as skipped.
_SKIPPED = {
    "unsupported": "the implementation says that it does not support them",
    "expected_failures": "they fail, as the file of expectations says",
    "undecided": "the bound is as large as the values: nothing can be said",
}


def junit_text(
    report: Mapping[str, Any], *, unfinished: str | None = None, broken: Sequence[str] = ()
) -> str:
    """Return a report, as `Report.as_dict` gives it, as a JUnit file.

    There is a test suite for each operation, with a test case for each failure that the report
    lists, and one for each other count: with tens of thousands of results a case for each would
    be more than CI services show or keep. A further suite holds the run itself: that it is
    complete, unless `unfinished` says why not, and each of the expectations that are `broken`.

    Notes
    -----
    Source of the form: the schema junit-10.xsd of Jenkins' xUnit plugin, as far as pytest, GitLab
    and GitHub's actions agree with it. As they differ on an element for errors, there is none: a
    run that was not finished is a failure.

    Examples
    --------
    >>> from npconv.oracle.junit import junit_text
    >>> counts = {"passed": 20, "failed": 0, "unsupported": 0}
    >>> text = junit_text({"target": "mine", "suite": "quick", "ops": {"forward": counts}})
    >>> for line in text.splitlines()[9:13]:
    ...     print(line)
      <testsuite name="mine quick forward" tests="1" failures="0" errors="0" skipped="0">
        <testcase classname="npconv.mine.forward" name="passed">
          <system-out>20 results</system-out>
        </testcase>
    """
    root = ET.Element("testsuites", name="npconv", time=f"{float(report.get('seconds', 0)):.3f}")
    title = _clean(f"{report['target']} {report['suite']}")
    place = "npconv." + (re.sub(r"[^\w-]+", "_", report["target"], flags=re.ASCII).strip("_"))
    run = _suite(root, f"{title} run", _run_cases(f"{place}.run", unfinished, broken))
    for name, value in _properties(report):
        properties = run.find("properties")
        if properties is None:
            properties = ET.Element("properties")
            run.insert(0, properties)
        ET.SubElement(properties, "property", name=name, value=_clean(value))
    listed = Counter(failure["op"] for failure in report.get("failures", ()))
    for op, counts in report["ops"].items():
        if any(counts.values()):
            failures = [failure for failure in report.get("failures", ()) if failure["op"] == op]
            cases = [_failure(report, place, failure) for failure in failures]
            more = counts.get("failed", 0) - listed[op]
            if more > 0:
                text = f"{_results(more)} that are not listed one by one"
                cases.append(_case(f"{place}.{op}", "further failures", "failure", text))
            _suite(root, f"{title} {op}", [*cases, *_counted(f"{place}.{op}", report, op, counts)])
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(int(suite.get(name, 0)) for suite in root)))
    ET.indent(root)
    return f'<?xml version="1.0" encoding="utf-8"?>\n{ET.tostring(root, encoding="unicode")}\n'


def _suite(root: ET.Element, name: str, cases: Sequence[ET.Element]) -> ET.Element:
    suite = ET.SubElement(
        root, "testsuite", name=name, tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)), errors="0",
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
    )  # fmt: skip
    suite.extend(cases)
    return suite


def _run_cases(place: str, unfinished: str | None, broken: Iterable[str]) -> list[ET.Element]:
    """Return the test cases of the run itself."""
    kind = None if unfinished is None else "failure"
    cases = [_case(place, "complete", kind, unfinished or "", "unfinished")]
    for line in broken:
        # Named without its file and line, which change.
        name = line.split(": ", 1)[-1]
        cases.append(_case(place, f"expectation {name}", "failure", line, "expectation"))
    return cases


def _failure(report: Mapping[str, Any], place: str, failure: Mapping[str, Any]) -> ET.Element:
    ratio = failure.get("ratio")
    error = "" if ratio is None else f" (|error| is {ratio:.3g} times the bound)"
    message = f"{failure['message']}{error}"
    # A line for each fact: this is what opens when the message is clicked.
    lines = [message]
    if failure.get("index") is not None:
        where = ", ".join(map(str, failure["index"]))
        lines += [f"at [{where}]", f"got {failure['got']}", f"want {failure['want']}"]
    command = f"npconv check {shlex.quote(report['target'])} --case {failure['case']}"
    lines.append(f"repeat: {command}")
    return _case(
        f"{place}.{failure['op']}", failure["case"], "failure", message, failure["kind"], lines
    )


def _counted(
    place: str, report: Mapping[str, Any], op: str, counts: Mapping[str, int]
) -> Iterable[ET.Element]:
    """Yield one test case for each count of results that do not fail."""
    for name, count in counts.items():
        if not count or name == "failed":
            continue
        if name in _SKIPPED:
            reasons = report.get("unsupported", {}).get(op, {}) if name == "unsupported" else {}
            said = [f"{_results(number)}: {reason}" for reason, number in reasons.items()]
            text = f"{_results(count)}: {_SKIPPED[name]}"
            yield _case(place, name, "skipped", text, None, said)
        else:
            case = _case(place, name)
            ET.SubElement(case, "system-out").text = _results(count)
            yield case


def _case(
    place: str,
    name: str,
    outcome: str | None = None,
    message: str = "",
    kind: str | None = None,
    lines: Sequence[str] = (),
) -> ET.Element:
    case = ET.Element("testcase", classname=_clean(place), name=_clean(name))
    if outcome is not None:
        attributes = {"message": _clean(" ".join(message.split()), _LONGEST)}
        if kind is not None:
            attributes["type"] = _clean(kind)
        inner = ET.SubElement(case, outcome, attributes)
        inner.text = "\n".join(_clean(line) for line in lines) or None
    return case


def _properties(report: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    for name in ("npconv", "target", "suite", "suite_digest"):
        if name in report:
            yield name, str(report[name])
    if "shard" in report:
        yield "shard", "/".join(map(str, report["shard"]))
    for name, value in report.get("environment", {}).items():
        yield f"environment.{name}", str(value)


def _results(count: int) -> str:
    return "1 result" if count == 1 else f"{count:,} results"


def _clean(text: str, longest: int | None = None) -> str:
    """Return text with what XML cannot hold written out, as Python's ascii() does."""
    text = re.sub(
        "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]",
        lambda match: ascii(match[0])[1:-1],
        str(text),
    )
    if longest is not None and len(text) > longest:
        return f"{text[: longest - 3]}..."
    return text
