"""What a run and a case look like on a terminal: text is made here, and printed nowhere."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from npconv.adapters import traceback_of
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands
from npconv.oracle.judge import Failure, Verdict
from npconv.oracle.protocol import OPS
from npconv.oracle.report import COUNTS, Report
from npconv.oracle.trial import Outcome, Raised


def duration(seconds: float) -> str:
    """Return a time for people."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02} min"
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def counted(count: int, noun: str) -> str:
    """Return a number and its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def report_text(report: Report, length: int) -> str:
    """Return the counts, one failure of each operation and kind, and at the end the verdict."""
    return "\n".join([*_table(report), *_failures(report), "", *_verdict(report, length)])


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
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in tally.failures:
        groups.setdefault((failure.op, failure.kind), []).append(failure)
    some = "at least " if tally.failures_total > len(tally.failures) else ""
    for (op, kind), group in sorted(groups.items(), key=lambda item: OPS.index(item[0][0])):
        plainest = group[0]
        of_many = ", the plainest case" if len(group) > 1 else ""
        yield f"\n{op}: {some}{counted(len(group), 'failure')} of kind {kind!r}{of_many}:"
        ratio = plainest.ratio
        error = "" if ratio is None else f" (|error| is {ratio:.3g} times the bound)"
        yield f"  {plainest.message}{error}"
        yield f"  repeat: npconv check {shlex.quote(report.target)} --case {plainest.case}"


def _verdict(report: Report, length: int) -> Iterator[str]:
    tally = report.tally
    share = 1 - tally.target_seconds / tally.busy_seconds if tally.busy_seconds else 0.0
    took = f"{duration(tally.seconds)}, {100 * share:.0f} % of the work npconv's own"
    left_out = tally.positions - tally.cases
    if left_out:
        yield (
            f"{left_out:,} of the suite's cases were not asked: they lie outside of what the "
            "target supports, or of the options given."
        )
    left = length - tally.positions
    if left:
        yield f"Ended early: {counted(left, 'case')} of {length:,} not reached."
    if tally.failures_total:
        yield (
            f"{tally.failures_total:,} of {counted(tally.results, 'result')} fail, "
            f"in {counted(tally.cases, 'case')} ({took})."
        )
    elif not tally.total("passed"):
        yield "Nothing was judged."
    elif left:
        yield f"The {counted(tally.cases, 'case')} that were finished conform ({took})."
    else:
        yield f"All {counted(tally.cases, 'case')} conform ({took})."


def case_text(case: Case, arrays: Operands, outcome: Outcome) -> str:
    """Return the arguments of one case, and for each operation the verdict and what it is on."""
    blocks = [f"case {case.id}"]
    blocks += [
        f"{name} {array.shape} {array.dtype}\n{_shown(array)}"
        for name, array in arrays.named().items()
    ]
    blocks.append(
        f"stride={case.stride} padding={case.padding!r} dilation={case.dilation} "
        f"groups={case.groups} output_mask={case.output_mask}"
    )
    if outcome.expected is None:
        blocks.append(f"The case is illegal, and must be refused: {case.illegal}")
    told: set[int] = set()
    for op, verdict in outcome.verdicts:
        blocks.append(_verdict_text(op, verdict, outcome, told))
    return "\n\n".join(blocks)


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
