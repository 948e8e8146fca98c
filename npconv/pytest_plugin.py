"""`pytest --npconv TARGET`: each case of a suite as a test, without a test file."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest

from npconv.adapters import TargetError
from npconv.casetests import CaseFailedError, CaseTests, Ended
from npconv.oracle.cases import Case
from npconv.oracle.expectations import Expectations
from npconv.oracle.layers import read_cases
from npconv.oracle.words import of_file


class CaseItem(pytest.Item):
    """One case as a test."""

    def __init__(self, *, tests: CaseTests, case: Case, **rest: Any) -> None:
        """Hold what is run, and the case."""
        super().__init__(**rest)
        self.tests = tests
        self.case = case
        self.ended: Ended | None = None

    def runtest(self) -> None:
        """Run the case."""
        self.ended = self.tests.run(self.case)
        self.ended.tell_pytest()

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """Show what is wrong with the results, without the frames of npconv."""
        if isinstance(excinfo.value, CaseFailedError):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Say where it stands: in no file."""
        return self.config.rootpath / "npconv", None, self.name


class SuiteNode(pytest.Collector):
    """The suite, as what pytest collects the cases from."""

    def __init__(self, *, tests: CaseTests, target: str, **rest: Any) -> None:
        """Hold what is run."""
        super().__init__(**rest)
        self.tests = tests
        self.target = target

    def collect(self) -> Iterator[CaseItem]:
        """Yield an item for each case that is asked."""
        for case in self.tests.asked():
            name = f"{self.target}[{case.id}]"
            yield CaseItem.from_parent(
                self, name=name, nodeid=f"npconv::{name}", tests=self.tests, case=case
            )


class SuitePlugin:
    """Adds the cases to what was collected, and judges the expectations at the end."""

    def __init__(self, config: pytest.Config) -> None:
        """Hold the options, and count nothing yet."""
        self.config = config
        self.target: str = config.option.npconv
        self.tests: CaseTests | None = None
        self.expectations: Expectations | None = None
        #: Cases that the suite asks; those that were run; what the expectations count.
        self.asked = 0
        self.done: set[str] = set()
        self.counts: dict[str, tuple[int, int]] = {}
        self.lines: list[str] = []

    def pytest_sessionstart(self) -> None:
        """Load the target, also where others run the cases: an error here is told at once."""
        option = self.config.option
        try:
            dtypes = _list(option.npconv_dtype)
            if option.npconv_cases and option.npconv_suite:
                raise ValueError("--npconv-cases stands instead of --npconv-suite")
            if option.npconv_expect:
                self.expectations = Expectations.read(option.npconv_expect)
            self.tests = CaseTests.of(
                self.target,
                read_cases(option.npconv_cases, dtypes)
                if option.npconv_cases
                else option.npconv_suite or "standard",
                ops=_list(option.npconv_ops),
                dtypes=dtypes,
                arithmetic=option.npconv_arithmetic,
                without=option.npconv_without,
                expectations=self.expectations,
            )
        except (OSError, TargetError, TypeError, ValueError) as error:
            raise pytest.UsageError(f"npconv: {of_file(error)}") from None

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(
        self, session: pytest.Session, items: list[pytest.Item]
    ) -> None:
        """Add the cases, before other plugins select among them."""
        assert self.tests is not None
        suite = SuiteNode.from_parent(
            session, name=self.target, nodeid=f"npconv::{self.target}",
            tests=self.tests, target=self.target,
        )  # fmt: skip
        cases = list(suite.collect())
        self.asked = len(cases)
        # So that the terminal counts them among what is collected.
        self.config.hook.pytest_collectreport(
            report=pytest.CollectReport(suite.nodeid, "passed", None, [*cases])
        )
        selected = set(getattr(self.config.option, "npconv_select", ()))
        selected.discard(suite.nodeid)
        if selected:
            chosen = [item for item in cases if item.nodeid in selected]
            missing = selected - {item.nodeid for item in chosen}
            if missing:
                raise pytest.UsageError(f"npconv: the suite asks no case {min(missing)}")
            cases = chosen
        items.extend(cases)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Let the report carry the counts: under xdist another process judges them."""
        report = yield
        if isinstance(item, CaseItem) and call.when == "call":
            ended = item.ended
            counts = dict(ended.counts or {}) if ended is not None else {}
            report.npconv_counts = counts  # type: ignore[attr-defined]  # a report takes any
        return report

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up what the reports carry."""
        counts = getattr(report, "npconv_counts", None)
        if counts is None:
            return
        self.done.add(report.nodeid)
        for text, (asked, failed) in counts.items():
            before = self.counts.get(text, (0, 0))
            self.counts[text] = (before[0] + asked, before[1] + failed)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Learn from a worker of xdist how many cases there are."""
        self.asked = max(self.asked, getattr(node, "workeroutput", {}).get("npconv_asked", 0))

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Judge the expectations, where all cases were run."""
        output = getattr(self.config, "workeroutput", None)
        if output is not None:
            output["npconv_asked"] = self.asked
            return
        if self.expectations is None or not self.done:
            return
        if len(self.done) < self.asked:
            self.lines.append(
                f"not judged: {len(self.done):,} of the suite's {self.asked:,} cases were run"
            )
            return
        # A stale entry with an id of its own has failed its test already.
        entries = tuple(
            entry
            for entry in self.expectations.entries
            if entry.condition is not None or not self.counts.get(entry.text, (0, 0))[0]
        )
        broken = Expectations(entries).broken(self.counts)
        self.lines += broken
        if broken and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Show what is wrong with the expectations, or that nothing was asked."""
        if self.tests is not None and not self.asked:
            terminalreporter.line(
                f"npconv: {self.target} is asked no case: each lies outside of its `supports`, or "
                "of what the options ask for"
            )
        if self.lines:
            terminalreporter.section("npconv: expectations")
            for line in self.lines:
                terminalreporter.line(line)


def _list(text: str | None) -> list[str] | None:
    return None if text is None else text.split(",")
