"""Run a suite: case -> arrays -> results -> verdicts, here or over any executor."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from npconv.oracle.cases import Case
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Range, Result, Tally, chunks
from npconv.oracle.suites import Suite, suite_named
from npconv.oracle.trial import run_case

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, in a form that can be sent to a worker: the target is loaded where it runs."""

    load: Callable[[Any], Implementation]
    target: Any
    suite: str | tuple[str, ...]
    ops: tuple[str, ...] = OPS
    dtypes: tuple[str, ...] | None = None
    arithmetic: str | None = None

    def implementation(self) -> Implementation:
        """Load the target, once in each process where it can be told apart from others."""
        if isinstance(self.target, str):
            return _loaded(self.load, self.target)
        return self.load(self.target)

    def cases(self) -> Suite:
        """Return the suite, by name or by the ids given."""
        return suite_named(self.suite)

    @property
    def digest(self) -> str:
        """The suite's digest; another one for part of it, or for another arithmetic."""
        digest = self.cases().digest
        if self.ops == OPS and self.dtypes is None and self.arithmetic is None:
            return digest
        text = repr((digest, self.ops, self.dtypes, *filter(None, [self.arithmetic])))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def takes(self, case: Case) -> bool:
        """Whether the case is selected."""
        return self.dtypes is None or case.dtype in self.dtypes


@functools.cache
def _loaded(load: Callable[[Any], Implementation], target: str) -> Implementation:
    return load(target)


def run(
    plan: Plan,
    total: Tally,
    *,
    executor: Executor | None = None,
    progress: Callable[[Tally], None] | None = None,
    max_failures: int | None = None,
    stretch: int = 200,
    grace: float = 2.0,
) -> bool:
    """Run what `total` does not yet hold, adding to it; return whether it was interrupted.

    What was finished before an interrupt stays in `total`; over an executor, stretches under
    way then have `grace` seconds to finish. `progress` is told after each stretch of cases. If
    a worker dies, BrokenExecutor comes out, with all that was finished in `total`.
    """
    began = time.perf_counter() - total.seconds
    ranges = chunks(len(plan.cases()), total.done, stretch)
    stretches = (
        _here(plan, ranges, total)
        if executor is None
        else _elsewhere(plan, ranges, total, executor, grace)
    )
    try:
        for _ in stretches:
            total.seconds = time.perf_counter() - began
            if progress is not None:
                progress(total)
            if max_failures is not None and total.failures_total >= max_failures:
                break
    except KeyboardInterrupt:
        return True
    finally:
        stretches.close()
        total.seconds = time.perf_counter() - began
    return False


def _here(plan: Plan, ranges: Iterable[Range], total: Tally) -> Generator[None, None, None]:
    implementation, suite = plan.implementation(), plan.cases()
    for start, stop in ranges:
        began = time.perf_counter()
        results: list[Result] = []
        try:
            for position in range(start, stop):
                case = suite[position]
                if plan.takes(case) and implementation.supports.asks(case):
                    outcome = run_case(implementation, case, plan.ops, plan.arithmetic)
                    results.append((position, outcome.verdicts, outcome.target_seconds))
                else:
                    results.append((position, (), 0.0))
        finally:
            total.add(Tally.of(results, time.perf_counter() - began))
        yield


def run_range(plan: Plan, stretch: Range) -> Tally:
    """Run one stretch: what a worker does."""
    tally = Tally()
    for _ in _here(plan, [stretch], tally):
        pass
    return tally


def _elsewhere(
    plan: Plan, ranges: Iterable[Range], total: Tally, executor: Executor, grace: float
) -> Generator[None, None, None]:
    """Keep a few stretches under way for each worker; add each as it comes."""
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = iter(ranges)
    running: dict[Future[Tally], Range] = {}
    try:
        while True:
            for stretch in waiting:
                running[executor.submit(run_range, plan, stretch)] = stretch
                if len(running) >= 64:
                    break
            if not running:
                return
            wait(running, return_when=FIRST_COMPLETED)
            _collect(running, total)
            yield
    finally:
        for future in running:
            future.cancel()
        # A second Ctrl-C does without them.
        with contextlib.suppress(KeyboardInterrupt, BrokenExecutor):
            wait(running, grace)
            _collect(running, total)


def _collect(running: dict[Future[Tally], Range], total: Tally) -> None:
    """Move what is finished into `total`; then raise what a worker raised, if any did."""
    errors = []
    for future, stretch in list(running.items()):
        if not future.done():
            continue
        if not future.cancelled():
            error = future.exception()
            if error is not None:
                errors.append(error)
            elif not total.holds(stretch):  # an interrupt may have come just after it was added
                total.add(future.result())
        del running[future]
    if errors:
        raise errors[0]
