"""A report as one HTML file that needs nothing else: no script, no other file, no network."""

from __future__ import annotations

import contextlib
import functools
import itertools
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import replace
from importlib import resources
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.judge import Failure
from npconv.oracle.page import example, parameters
from npconv.oracle.page.charts import histogram, stacked_bar
from npconv.oracle.page.markup import Markup, element, join
from npconv.oracle.page.shares import sample, without
from npconv.oracle.protocol import GRADIENTS, OPS
from npconv.oracle.report import BINS, COUNTS, Diagnosis, Report
from npconv.oracle.run import Plan, called
from npconv.oracle.suites import Suite
from npconv.oracle.trial import Outcome, run_case
from npconv.oracle.words import counted, duration

if TYPE_CHECKING:
    from concurrent.futures import Executor

#: Rows of a table that stand open; the others are folded away.
OPEN = 20
#: Distinct failures that are listed.
LISTED = 300
#: Nothing may be loaded and nothing run, whatever a target's message holds.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
#: Kinds of failure that a picture of the result shows.
_SEEN = ("values", "nonfinite", "shape")
_OTHERS = re.compile(r"[-+]?\b(\d[\d.,]*(e[-+]?\d+)?|nan|inf)\b")
_NAMES = {name: name.replace("_", " ") for name in COUNTS}
_LEFT_OUT = {
    "dtypes": "another dtype than the target supports",
    "padding": "a form of padding that the target does not support",
    "dilation": "dilation, which the target does not support",
    "groups": "groups, which the target does not support",
    "layouts": "a layout that the target does not support",
    "unbatched": "an input without a batch axis, which the target does not support",
    "empty": "no batch entries or no channels, which the target does not support",
}


class Again(NamedTuple):
    """What a case gave when it was run once more, and the functions that the target has."""

    outcome: Outcome
    functions: tuple[str, ...]


def page_text(
    report: Report,
    cases: Suite | None = None,
    *,
    leaves_out: Callable[[Case], object] | None = None,
    again: Mapping[str, Again] | None = None,
    command: str | None = None,
) -> str:
    """Return the report as a page of HTML.

    Parameters
    ----------
    report : Report
        What is shown; the same arguments give the same page.
    cases : Suite, optional
        The suite. Without it the page has no map of parameters, as a report knows its failing
        cases by position alone.
    leaves_out : callable, optional
        Returns None for the cases that were asked; `Plan.leaves_out`.
    again : mapping of str to Again, optional
        By case id, the cases of `smallest` run once more, for the pictures of what came out.
    command : str, optional
        The command that repeats the run; made from target and suite by default.

    Returns
    -------
    str
        One file: pictures and style are in it, and it runs no script.
    """
    repeat = command or f"npconv check {shlex.quote(report.target)} --suite {report.suite}"
    sections = [
        ("wrong", "What is wrong", _diagnoses(report)),
        ("results", "Results", _results(report)),
        ("failures", "What fails", _failures(report)),
        ("known", "Known failures", _known(report)),
        ("smallest", "The smallest failing case", _examples(report, again or {})),
        ("map", "Which parameters fail", _map(report, cases, leaves_out)),
        ("errors", "Errors against their bounds", _errors(report)),
        ("arithmetic", "The arithmetic found", _arithmetic(report)),
        ("left-out", "What was not asked", _left_out(report)),
        ("unsupported", "What is unsupported", _unsupported(report)),
    ]
    present = [(name, title, body) for name, title, body in sections if body]
    state, verdict = _verdict(report)
    title = f"{verdict} — {report.target} — npconv"
    style = resources.files(__name__).joinpath("style.css").read_text(encoding="utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", name="color-scheme", content="light dark"),
        element("title", title),
        element("style", Markup(style)),
    )
    body = element(
        "body",
        element(
            "header",
            element(
                "div",
                Markup(_SIGNS[state]),
                element("div", element("h1", verdict), _line(report), class_="said"),
                class_=f"verdict {state}",
            ),
            _facts(report, repeat),
            _contents(present),
        ),
        element(
            "main",
            *(
                element("section", element("h2", title), content, id=name)
                for name, title, content in present
            ),
        ),
        element(
            "footer",
            element("p", "Made by npconv ", report.version, ", the oracle for 2-D convolution."),
        ),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def smallest(report: Report) -> dict[str, str]:
    """Return, by operation, the id of the failing case that is easiest to look at.

    That is the smallest one that a diagnosis found; else the smallest whose numbers can be seen.
    """
    found: dict[str, str] = {}
    for op in OPS:
        failures = [failure for failure in report.tally.failures if failure.op == op]
        unseen = {failure.case for failure in failures if failure.kind not in _SEEN}
        known = sorted(
            (each for each in report.diagnoses if each.op == op and each.smallest not in unseen),
            key=lambda each: (each.suspect is None, -each.explains),
        )
        shrunk = [each.smallest for each in known if Case.from_id(each.smallest).illegal is None]
        # A shape that is wrong says less than values that are.
        seen = [f.case for f in failures if f.kind in _SEEN[:2]] or [
            f.case for f in failures if f.kind in _SEEN
        ]
        cases = shrunk or sorted(seen, key=_simplicity) or [f.case for f in failures]
        if cases:
            found[op] = cases[0]
    return found


def _simplicity(case: str) -> tuple[bool, tuple[int, int, str]]:
    """Sort by size, but numbers of many digits last: nobody reads those."""
    read = Case.from_id(case)
    return read.dtype in ("float64", "complex128", "int64", "uint64"), read.plainness


def once_more(plan: Plan, report: Report, executor: Executor | None) -> dict[str, Again]:
    """Run the cases of `smallest` over the executor; what crashes or hangs is left out."""
    found = {}
    for case in dict.fromkeys(smallest(report).values()):
        if example.is_drawable(Case.from_id(case)):
            with contextlib.suppress(BrokenExecutor):
                found[case] = called(executor, _run_again, plan, case)
    return found


def _run_again(plan: Plan, case: str) -> Again:
    implementation = plan.implementation()
    outcome = run_case(implementation, Case.from_id(case), plan.ops, plan.arithmetic)
    # What can travel: not an exception, nor an object of the target's.
    results = {
        op: np.asarray(result)
        for op, result in outcome.results.items()
        if isinstance(result, np.ndarray) and not result.dtype.hasobject
    }
    return Again(replace(outcome, results=results), tuple(implementation.functions))


# ------------------------------------------------------------------------ the top

_SIGNS = {
    "conforms": '<svg viewBox="0 0 24 24" class="sign" aria-hidden="true">'
    '<path d="M5 12.5l4.5 4.5L19 7.5"/></svg>',
    "fails": '<svg viewBox="0 0 24 24" class="sign" aria-hidden="true">'
    '<path d="M7 7l10 10M17 7L7 17"/></svg>',
    "interrupted": '<svg viewBox="0 0 24 24" class="sign" aria-hidden="true">'
    '<path d="M9 7v10M15 7v10"/></svg>',
    "nothing": '<svg viewBox="0 0 24 24" class="sign" aria-hidden="true">'
    '<path d="M6 12h12"/></svg>',
}  # fmt: skip


def _verdict(report: Report) -> tuple[str, str]:
    """Return the verdict's kind, and one sentence."""
    tally, cases = report.tally, counted(report.tally.cases, "case")
    early = "Interrupted: " if report.interrupted else ""
    early = "Given up: " if report.gave_up else early
    if tally.failures_total:
        said = f"{tally.failures_total:,} of {counted(tally.results, 'result')} "
        said += "fails" if tally.failures_total == 1 else "fail"
        return "fails", f"{early}{said}{' so far' if early else ''}"
    if report.broken:
        return "fails", f"{counted(len(report.broken), 'expectation')} broken"
    if not tally.total("passed"):
        return "nothing", f"{early}nothing was judged".capitalize()
    if early or report.left:
        return "interrupted", f"{early or 'Ended early: '}the {cases} that were finished conform"
    return "conforms", f"All {cases} conform"


def _line(report: Report) -> Markup:
    return element("p", element("b", report.target), " on the suite ", element("b", report.suite))


def _facts(report: Report, repeat: str) -> Markup:
    tally, environment = report.tally, report.environment
    own = 1 - tally.target_seconds / tally.busy_seconds if tally.busy_seconds else 0.0
    done = f"{tally.cases:,} run"
    not_asked = tally.positions - tally.cases
    if not_asked:
        done += f", {not_asked:,} not asked"
    if report.left:
        done += f", {report.left:,} not reached"
    part, parts = report.shard
    suite = f"{report.suite}, part {part} of {parts}" if parts > 1 else report.suite
    facts: list[tuple[str, str | Markup]] = [
        ("suite", join(suite, " ", element("code", report.suite_digest))),
        ("cases", done),
        (
            "time",
            f"{duration(tally.seconds, tenths=True)}, {100 * own:.0f} % of the work npconv's own",
        ),
        ("npconv", report.version),
        ("NumPy", environment.get("numpy", "")),
        ("Python", environment.get("python", "")),
        ("processor", environment.get("cpu", "")),
        ("platform", environment.get("platform", "")),
    ]
    engine = environment.get("target", report.target)
    if engine != report.target:
        facts.insert(0, ("engine", engine))
    return join(
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
            class_="facts",
        ),
        element("p", "Run it again:"),
        element("pre", element("code", repeat), tabindex="0"),
    )


def _contents(present: Sequence[tuple[str, str, Markup]]) -> Markup:
    if len(present) < 5:
        return Markup("")
    return element(
        "nav",
        element(
            "ul",
            *(element("li", element("a", title, href=f"#{name}")) for name, title, _ in present),
        ),
        aria_label="Contents",
    )


# ------------------------------------------------------------------------ sections


def _table(
    head: Sequence[str], rows: Sequence[Markup], *, numbers: Sequence[str] = (), class_: str = ""
) -> Markup:
    """Return a table; `numbers` names the columns of numbers, rows past `OPEN` are folded away."""
    top = element(
        "thead",
        element(
            "tr",
            *(
                element("th", name, scope="col", class_="number" if name in numbers else None)
                for name in head
            ),
        ),
    )

    def part(some: Sequence[Markup]) -> Markup:
        bodies = join(*some) if some[0].startswith("<tbody") else element("tbody", *some)
        table = element("table", top, bodies, class_=class_ or None)
        return element("div", table, class_="wide", tabindex="0", role="region",
                       aria_label=f"Table of {head[0]}s")  # fmt: skip

    if len(rows) <= OPEN:
        return part(rows)
    more = element("summary", f"{len(rows) - OPEN:,} more")
    return join(part(rows[:OPEN]), element("details", more, part(rows[OPEN:])))


def _row(name: str | Markup, *cells: str | int | Markup | None) -> Markup:
    """Return a row; ints are numbers."""
    return element(
        "tr",
        element("th", name, scope="row"),
        *(element("td", cell, class_=_cell_class(cell)) for cell in cells),
    )


def _cell_class(cell: object) -> str | None:
    if not isinstance(cell, int):
        return None
    return "number" if cell else "number zero"


def _results(report: Report) -> Markup:
    """Return the counts of every operation and status, with a bar of each operation."""
    rows = []
    for op, counts in report.tally.counts.items():
        total = sum(counts.values())
        if total:
            said = f"{op}: " + ", ".join(
                f"{count:,} {_NAMES[name]}" for name, count in counts.items() if count
            )
            bar = stacked_bar(counts, said)
        else:
            bar = element("span", "not asked", class_="note")
        rows.append(_counts(op, counts, bar))
    rows.append(_counts("all", {name: report.tally.total(name) for name in COUNTS}, None))
    keys = element(
        "p",
        *(
            join(element("span", "", class_=f"key s-{name}"), f"{_NAMES[name]} ")
            for name in COUNTS
            if report.tally.total(name)
        ),
        class_="legend",
    )
    notes = {
        "undecided": "Undecided: the bound is as large as the value, so nothing can be said.",
        "not_reproducible": "Not reproducible: two answers differ, each within the bound.",
    }
    told = [
        element("p", note, class_="note")
        for name, note in notes.items()
        if report.tally.total(name)
    ]
    names = [_NAMES[name] for name in COUNTS]
    table = _table(["operation", *names, "share"], rows, numbers=names, class_="counts")
    return join(table, keys, *told)


def _counts(op: str, counts: Mapping[str, int], bar: Markup | None) -> Markup:
    # On a narrow screen each number stands beside its name, and nothing is said of zeros.
    cells = (
        element("td", counts[name], class_=_cell_class(counts[name]), data_name=_NAMES[name])
        for name in COUNTS
    )
    return element("tr", element("th", op, scope="row"), *cells, element("td", bar))


def _diagnoses(report: Report) -> Markup:
    """Return what the failures look like, as far as that was found."""
    return join(*(_diagnosis(report, each) for each in report.diagnoses))


def _diagnosis(report: Report, found: Diagnosis) -> Markup:
    of = (
        f"the {found.of:,} failing results"
        if found.of == found.failing
        else (f"{found.of:,} failing results that were looked at")
    )
    explains = f"This gives {found.explains:,} of {of}." if found.suspect else None
    exceptions = ""
    if found.condition and (found.missed or found.extra):
        exceptions = f" (exceptions: {found.missed:,} fail elsewhere, {found.extra:,} within pass)"
    if found.condition and found.sample:
        exceptions += f" (found from {found.sample:,} of the failing cases)"
    facts: list[tuple[str, Markup]] = []
    if found.condition:
        facts.append(("fails where", join(element("code", found.condition), exceptions)))
    if found.suspect:
        facts.append(("known fault", element("code", found.suspect)))
    if found.others:
        facts.append(("or one that gives the same", element("code", ", ".join(found.others))))
    return element(
        "article",
        element(
            "h3", found.op, " ",
            element("span", f"{found.failing:,} of {found.asked:,} results fail", class_="kind"),
        ),
        element("p", found.says, class_="says"),
        element("p", explains) if explains else None,
        element("p", found.shape, class_="says-more") if found.shape else None,
        element(
            "dl",
            *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
            class_="facts",
        ) if facts else None,
        element("p", "The smallest case that shows it:"),
        element("pre", element("code", example.command(report.target, found.smallest)),
                tabindex="0"),
        element(
            "details", element("summary", "The same as a test"),
            element("pre", element("code", found.test), tabindex="0"),
        ) if found.test else None,
        class_="diagnosis",
    )  # fmt: skip


def _failures(report: Report) -> Markup:
    """Return one row for all failures that differ in nothing but numbers."""
    tally = report.tally
    groups: dict[tuple[str, str, str], list[Failure]] = {}
    for failure in tally.failures:
        said = _OTHERS.sub("#", failure.message)
        groups.setdefault((failure.op, failure.kind, said), []).append(failure)
    if not groups:
        return Markup("")
    # They come with the plainest of each operation and kind first.
    listed = list(groups.items())[:LISTED]
    rows = []
    for (op, kind, _), group in sorted(listed, key=lambda each: OPS.index(each[0][0])):
        first = group[0]
        ratio = "" if first.ratio is None else f"{first.ratio:.3g}"
        rows.append(
            element(
                "tbody",
                element(
                    "tr",
                    element("th", op, scope="row"),
                    element("td", kind, class_="kind-cell"),
                    element("td", len(group), class_="number", data_name="results"),
                    element("td", ratio, class_="number", data_name="error/bound"),
                    element("td", first.message, class_="message"),
                ),
                element(
                    "tr",
                    element(
                        "td",
                        element("code", example.command(report.target, first.case)),
                        colspan=5,
                    ),
                    class_="repeat",
                ),
            )
        )  # fmt: skip
    notes = []
    further = len(tally.failures) - sum(len(group) for _, group in listed)
    if further:
        said = f"The JSON report lists {counted(further, 'further failure')}, of other messages."
        notes.append(element("p", said, class_="note"))
    if tally.failures_total > len(tally.failures):
        note = element(
            "p",
            f"Counted are the {len(tally.failures):,} of {tally.failures_total:,} failures that "
            "are kept with their details, the plainest of each kind.",
            class_="note",
        )
        notes.append(note)
    head = ["operation", "kind", "results", "error/bound", "plainest case"]
    table = _table(head, rows, numbers=("results", "error/bound"), class_="failures")
    return join(
        element("p", "Each row is one distinct failure, with the command that repeats it."),
        table,
        *notes,
    )


def _known(report: Report) -> Markup:
    """Return the expectations, each with what it matched."""
    if report.expectations is None:
        return Markup("")
    rows = []
    for each in report.expectations.as_list(report.tally.expected):
        link = each["link"]
        known = isinstance(link, str) and re.match("https?://", link)
        reason = join(each["reason"], " ", element("a", link, href=link) if known else None)
        rows.append(_row(element("code", each["expects"]), each["asked"], each["failed"], reason))
    broken = [element("li", line) for line in report.broken]
    return join(
        element("ul", *broken, class_="broken") if broken else None,
        _table(["expectation", "results", "fail", "reason"], rows, numbers=("results", "fail")),
    )


def _examples(report: Report, again: Mapping[str, Again]) -> Markup:
    parts = []
    for op, case in smallest(report).items():
        came = again.get(case)
        now = [] if came is None else [v.failure for o, v in came.outcome.verdicts if o == op]
        kept = [f for f in report.tally.failures if f.op == op and f.case == case]
        failure = next((f for f in [*now, *kept] if f is not None), None)
        if failure is not None:
            outcome, functions = (None, ()) if came is None else came
            parts.append(example.section(failure, report.target, outcome, functions))
    return join(*parts)


def _map(
    report: Report,
    cases: Suite | None,
    leaves_out: Callable[[Case], object] | None,
) -> Markup:
    """Return, for each operation that fails, the shares of failing cases by parameters."""
    tally = report.tally
    if cases is None:
        return Markup("")

    def asked(op: str, case: Case) -> bool:
        on = op == "forward" or case.output_mask[GRADIENTS.index(op)]
        return on and (leaves_out is None or leaves_out(case) is None)

    parts: list[Markup] = []
    for op, failing in tally.failed.items():
        answered = without(tally.done, tally.declined.get(op, ()))
        found = sample(answered, failing, cases.__getitem__, functools.partial(asked, op))
        if len(found):
            parts.append(parameters.section(op, found))
    unsure = None
    if leaves_out is None and tally.left_out:
        unsure = " Cases that were not asked count among those that do not fail."
    note = element(
        "p",
        "Of the legal cases that were answered, how many fail for each value of a parameter, and "
        "for each pair of values. The parameters that say most about it come first.",
        unsure,
    )
    return join(note, *parts) if parts else Markup("")


def _errors(report: Report) -> Markup:
    """Return the histogram of |error| / bound of each operation."""
    tally = report.tally
    parts = []
    for op in OPS:
        counts = tally.ratios.get(op)
        if not counts:
            continue
        over = sum(count for number, count in counts.items() if number > 0)
        total = sum(counts.values())
        facts = f"{counted(total, 'result')} judged by a bound, {over:,} beyond it."
        worst = tally.worst.get(op)
        if worst is not None:
            facts += f" The largest ratio that passed is {worst.ratio:.3g}."
        label = f"{op}: histogram of error over bound. {facts}"
        parts.append(
            element(
                "figure",
                element("figcaption", element("b", op), " ", facts),
                element("div", histogram(counts, BINS, label), class_="wide", tabindex="0",
                        role="region", aria_label=f"Histogram of {op}"),
                class_="errors",
            )
        )  # fmt: skip
    if not parts:
        return Markup("")
    note = element(
        "p",
        "|error| / bound of each result's worst element. Results on integers are compared to the "
        "bit and are not among them. Heights grow with the square root of the count.",
    )
    return join(note, *parts) if parts else Markup("")


def _arithmetic(report: Report) -> Markup:
    """Return what probing found of each operation and dtype."""
    rows = []
    for op, found in report.findings.items():
        # One row for dtypes that have the same.
        pairs = sorted((finding.name, finding.says, dtype) for dtype, finding in found.items())
        for (name, says), group in itertools.groupby(pairs, key=lambda pair: pair[:2]):
            dtypes = ", ".join(dtype for _, _, dtype in group)
            rows.append(_row(op, dtypes, element("code", name), says))
    if not rows:
        return Markup("")
    return _table(["operation", "dtype", "arithmetic", "what shows it"], rows)


def _left_out(report: Report) -> Markup:
    """Return why cases of the suite were not asked."""
    rows = [
        _row(element("span", _LEFT_OUT.get(name, f"left out by {name}"), class_="reason"), count)
        for name, count in sorted(report.tally.left_out.items(), key=lambda pair: -pair[1])
    ]
    if not rows:
        return Markup("")
    total = sum(report.tally.left_out.values())
    note = element(
        "p",
        f"{counted(total, 'case')} of the suite lie outside of what the target says that it "
        "supports, or of the options given. Each is counted once, for its first reason.",
    )
    return join(note, _table(["reason", "cases"], rows, numbers=("cases",)))


def _unsupported(report: Report) -> Markup:
    """Return what the target says to what it does not support."""

    def rows() -> Iterator[Markup]:
        for op, reasons in report.tally.unsupported.items():
            for reason, count in sorted(reasons.items(), key=lambda pair: (-pair[1], pair[0])):
                yield _row(op, count, reason)

    found = list(rows())
    if not found:
        return Markup("")
    note = element("p", "What the target raised NotImplementedError for. It is never passed.")
    head = ["operation", "results", "what the target says"]
    return join(note, _table(head, found, numbers=("results",)))
