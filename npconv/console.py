"""What a run and a case look like on a terminal: text is made here, and printed nowhere."""

from __future__ import annotations

import collections
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from npconv.adapters import traceback_of
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands
from npconv.oracle.judge import Failure, Verdict
from npconv.oracle.protocol import OPS
from npconv.oracle.report import COUNTS, Diagnosis, Report
from npconv.oracle.run import WorkerLostError
from npconv.oracle.trial import Outcome, Raised
from npconv.oracle.words import counted, duration

#: At most so many sorts of failure are shown.
SHOWN = 12

_NUMBER = re.compile(r"(?<!\w)-?(\d+\.?\d*(e[+-]?\d+)?j?|nan|inf)(?!\w)")
_TUPLE = re.compile(r"\((#[+-]?#?)?(, #)*,?\)")


def report_text(report: Report) -> str:
    """Return the counts, each distinct failure once, what was not judged, and the verdict."""
    said = [*_worst(report), *_not_judged(report)]
    found = [*_table(report), *_failures(report), *_diagnoses(report)]
    return "\n".join([*found, *(["", *said] if said else []), "", *_verdict(report)])


def _table(report: Report) -> Iterator[str]:
    usual = ("passed", "failed", "unsupported")
    columns = [name for name in COUNTS if name in usual or report.tally.total(name)]
    yield f"{'':12}" + "".join(f"{column:>{_width(column)}}" for column in columns)
    for op, counts in report.tally.counts.items():
        yield f"{op:12}" + "".join(f"{counts[column]:{_width(column)},}" for column in columns)


def _width(column: str) -> int:
    return max(12, len(column) + 2)


def _failures(report: Report) -> Iterator[str]:
    tally = report.tally
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in tally.failures:
        # What an illegal case breaks is said in many ways: that it was accepted is one sort.
        shape = "" if failure.kind == "accepted" else message_shape(failure.message)
        groups.setdefault((failure.op, failure.kind, shape), []).append(failure)
    some = "at least " if tally.failures_total > len(tally.failures) else ""
    ordered = sorted(groups.items(), key=lambda item: OPS.index(item[0][0]))
    for (op, kind, _), group in ordered[:SHOWN]:
        plainest = group[0]
        of_many = ", the plainest case" if len(group) > 1 else ""
        yield f"\n{op}: {some}{counted(len(group), 'failure')} of kind {kind!r}{of_many}:"
        ratio = plainest.ratio
        error = "" if ratio is None else f" (|error| is {ratio:.3g} times the bound)"
        yield f"  {plainest.message}{error}"
        yield f"  repeat: npconv check {shlex.quote(report.target)} --case {plainest.case}"
    if len(ordered) > SHOWN:
        yield f"\nAnd {len(ordered) - SHOWN} other sorts of failure, which --json lists."


def _diagnoses(report: Report) -> Iterator[str]:
    """Say what the failures of each operation have in common; what is said twice, once."""
    told: dict[tuple[str, str | None], str] = {}
    for diagnosis in report.diagnoses:
        yield f"\n{diagnosis.op}: {_where(diagnosis)}"
        key = diagnosis.suspect or diagnosis.says, diagnosis.condition
        if key in told:
            yield f"  {'the suspect' if diagnosis.suspect else 'the rest'} is as for {told[key]}"
            continue
        told[key] = diagnosis.op
        yield from _what(diagnosis)
        yield (f"  smallest: npconv check {shlex.quote(report.target)} --case {diagnosis.smallest}")
        if diagnosis.test:
            yield from (f"    {line}" for line in diagnosis.test.splitlines())
        if diagnosis.drawing and diagnosis is report.diagnoses[0]:
            yield from ("", *(f"    {line}".rstrip() for line in diagnosis.drawing.splitlines()))


def _where(diagnosis: Diagnosis) -> str:
    """Return how many cases fail, and which."""
    if diagnosis.condition == "illegal":
        return counted(diagnosis.explains, "illegal call") + " not refused"
    failing, asked = f"{diagnosis.failing:,}", counted(diagnosis.asked, "case")
    text = f"{failing} of {asked} {'fails' if diagnosis.failing == 1 else 'fail'}"
    if diagnosis.sample:
        share = round(100 * diagnosis.explains / max(1, diagnosis.of))
        text += f"; about {share} % of them"
    if diagnosis.condition is None:
        return f"{text}, whatever the parameters"
    those = "of them " if not diagnosis.sample else ""
    all_but = f"all but {diagnosis.missed:,} {those}" if diagnosis.missed else f"all {those}"
    text += f", {all_but}with {diagnosis.condition}"
    if diagnosis.extra:
        text += f", where {diagnosis.extra:,} that were looked at pass"
    return text


def _what(diagnosis: Diagnosis) -> Iterator[str]:
    """Yield what a kernel does that gives such results, or what they look like."""
    if diagnosis.suspect is None:
        known = "" if diagnosis.condition == "illegal" else "no known fault gives these results: "
        yield f"  {known}{diagnosis.says}"
        return
    part = "" if diagnosis.explains == diagnosis.of else (
        f" (in {diagnosis.explains} of {diagnosis.of} cases looked at)"
    )  # fmt: skip
    yield f"  your output is what a kernel gives that {diagnosis.says}{part} [{diagnosis.suspect}]"
    if diagnosis.others:
        yield f"  or, as these cannot tell: {', '.join(diagnosis.others)}"
    if diagnosis.shape:
        yield f"  {diagnosis.shape}"


def message_shape(message: str) -> str:
    """Return a message without its numbers: failures of one sort have it in common.

    Examples
    --------
    >>> from npconv.console import message_shape
    >>> message_shape("shape (2, 2, 6), not (2, 2, 2, 2)")
    'shape #, not #'
    >>> message_shape("3 of 8 elements differ; worst at (1, 0): got -1.5e+07, want nan")
    '# of # elements differ; worst at #: got #, want #'
    """
    return _TUPLE.sub("#", _NUMBER.sub("#", message))


def _worst(report: Report) -> Iterator[str]:
    if report.tally.worst:
        yield "Largest |error| / bound of what passes (1 is the limit):"
    for op, worst in report.tally.worst.items():
        yield f"  {op:12}{f'{worst.ratio:.3g}':7} {worst.case}"


def _not_judged(report: Report) -> Iterator[str]:
    """Say why there is no verdict on what has none."""
    tally = report.tally
    if tally.left_out:
        fields = [n for n in tally.left_out if not n.startswith("--")]
        options = [n for n in tally.left_out if n.startswith("--")]
        reasons = [
            f"{', '.join(f'{name} {tally.left_out[name]:,}' for name in names)}{what}"
            for names, what in ((fields, " (outside of its `supports`)"), (options, ""))
            if names
        ]
        yield f"Not asked: {counted(sum(tally.left_out.values()), 'case')}: {'; '.join(reasons)}."
    reasons_of: collections.Counter[str] = collections.Counter()
    for each in tally.unsupported.values():
        reasons_of.update(each)
    for reason, count in sorted(reasons_of.items(), key=lambda item: (-item[1], item[0]))[:3]:
        yield f"Unsupported: {counted(count, 'result')}: {reason or 'NotImplementedError'}"
    if len(reasons_of) > 3:
        yield f"Unsupported: {counted(len(reasons_of) - 3, 'other reason')}, which --json lists."
    if tally.total("undecided"):
        yield (
            "Undecided: the bound of the arithmetic is as large as the values themselves, "
            "so that nothing can be said."
        )
    if report.expectations is not None and not report.complete:
        yield (
            "Expectations are not judged: this is not the whole suite, so that none of them can be "
            "called stale or unmatched."
        )
    if tally.total("not_reproducible"):
        yield "Not reproducible: called again, it gave other bits, within the bound."


def _verdict(report: Report) -> Iterator[str]:
    tally = report.tally
    share = 1 - tally.target_seconds / tally.busy_seconds if tally.busy_seconds else 0.0
    took = f"{duration(tally.seconds)}, {100 * share:.0f} % of the work npconv's own"
    left = report.left
    if report.gave_up:
        yield "Given up: the target crashed or hung again and again."
    if left:
        yield f"Ended early: {counted(left, 'case')} of {tally.positions + left:,} not reached."
    yield from report.broken
    if tally.failures_total:
        yield (
            f"{tally.failures_total:,} of {counted(tally.results, 'result')} fail, "
            f"in {counted(tally.cases, 'case')} ({took})."
        )
    elif report.broken:
        yield f"{counted(len(report.broken), 'expectation')} broken ({took})."
    elif not tally.total("passed"):
        yield "Nothing was judged."
    elif left:
        yield f"The {counted(tally.cases, 'case')} that were finished conform ({took})."
    elif tally.total("expected_failures"):
        known = f"{tally.total('expected_failures'):,} of {counted(tally.results, 'result')}"
        yield f"{known} fail as expected, the others conform ({took})."
    else:
        every = (
            "The one case conforms" if tally.cases == 1 else f"All {tally.cases:,} cases conform"
        )
        yield f"{every} ({took})."


def lost_text(case: Case, arrays: Operands, error: WorkerLostError) -> str:
    """Return the arguments of one case that took its process along, and how that ended."""
    end = f"{error.kind}\n  {error}"
    return "\n\n".join([*_arguments(case, arrays), end])


def case_text(case: Case, arrays: Operands, outcome: Outcome) -> str:
    """Return the arguments of one case, and for each operation the verdict and what it is on."""
    blocks = _arguments(case, arrays)
    if outcome.expected is None:
        blocks.append(f"The case is illegal, and must be refused: {case.illegal}")
    told: set[int] = set()
    for op, verdict in outcome.verdicts:
        blocks.append(_verdict_text(op, verdict, outcome, told))
    return "\n\n".join(blocks)


def _arguments(case: Case, arrays: Operands) -> list[str]:
    blocks = [f"case {case.id}"]
    blocks += [
        f"{name} {array.shape} {array.dtype}\n{_shown(array)}"
        for name, array in arrays.named().items()
    ]
    blocks.append(
        f"stride={case.stride} padding={case.padding!r} dilation={case.dilation} "
        f"groups={case.groups} output_mask={case.output_mask}"
    )
    return blocks


def _verdict_text(op: str, verdict: Verdict, outcome: Outcome, told: set[int]) -> str:
    """Return the verdict on one operation; a traceback that was `told` before is not repeated."""
    result = outcome.results.get(op)
    failure = verdict.failure
    if failure is None:
        status = "conforms" if verdict.status == "passed" else verdict.status
        return f"{op}: {status}{_how(result)}"
    lines = [f"{op}: {failure.kind}", f"  {failure.message}"]
    if failure.ratio is not None:
        lines[-1] += f" (|error| is {failure.ratio:.3g} times the bound)"
    expected: Mapping[str, Any] = {} if outcome.expected is None else outcome.expected.values
    if isinstance(result, Raised):
        if result.error is not None and id(result.error) not in told:
            told.add(id(result.error))
            lines.append(traceback_of(result.error))
    elif op in expected:
        lines += ["expected", _shown(expected[op]), "actual", _shown(result)]
    return "\n".join(lines)


def _how(result: Any) -> str:
    """Return what there is to say of a result that does not fail."""
    if isinstance(result, Raised):
        return f" (raised {result.message})"
    return " (None, as output_mask wants it)" if result is None else ""


def _shown(value: Any) -> str:
    with np.printoptions(threshold=400, linewidth=100):
        return str(value)
