"""Run a suite: case -> arrays -> results -> verdicts, here or over any executor."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Expected, Failure, expect, judge
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation
from npconv.oracle.report import Range, Tally, chunks
from npconv.oracle.suites import Suite, suite_named

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

#: None: conforms. 'unsupported': NotImplementedError. A Failure: what is wrong.
Verdict = Failure | str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdicts on one case, and the seconds spent inside the implementation."""

    verdicts: tuple[tuple[str, Verdict], ...]
    target_seconds: float


@dataclass(frozen=True, slots=True)
class Raised:
    """A result that never came: the call raised, or returned what holds no results."""

    kind: str
    message: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, in a form that can be sent to a worker: the target is loaded where it runs."""

    load: Callable[[Any], Implementation]
    target: Any
    suite: str | tuple[str, ...]
    ops: tuple[str, ...] = OPS
    dtypes: tuple[str, ...] | None = None

    def implementation(self) -> Implementation:
        """Load the target, once in each process where it can be told apart from others."""
        if isinstance(self.target, str):
            return _loaded(self.load, self.target)
        return self.load(self.target)

    def cases(self) -> Suite:
        """Return the suite, by name or by the ids given."""
        return suite_named(self.suite)

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
) -> bool:
    """Run what `total` does not yet hold, adding to it; return whether it was interrupted.

    What was finished before an interrupt stays in `total`. `progress` is told after each
    stretch of cases.
    """
    began = time.perf_counter() - total.seconds
    ranges = chunks(len(plan.cases()), total.done, stretch)
    stretches = (
        _here(plan, ranges, total)
        if executor is None
        else _elsewhere(plan, ranges, total, executor)
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
        try:
            for position in range(start, stop):
                case = suite[position]
                if plan.takes(case) and implementation.supports.asks(case):
                    outcome = run_case(implementation, case, plan.ops)
                    total.record(position, outcome.verdicts, outcome.target_seconds)
                else:
                    total.record(position, (), 0.0)
        finally:
            total.busy_seconds += time.perf_counter() - began
        yield


def run_range(plan: Plan, stretch: Range) -> Tally:
    """Run one stretch: what a worker does."""
    tally = Tally()
    for _ in _here(plan, [stretch], tally):
        pass
    return tally


def _elsewhere(
    plan: Plan, ranges: Iterable[Range], total: Tally, executor: Executor
) -> Generator[None, None, None]:
    """Keep a few stretches under way for each worker; add each as it comes."""
    from concurrent.futures import FIRST_COMPLETED, wait

    waiting = iter(ranges)
    running: set[Future[Tally]] = set()
    try:
        while True:
            for stretch in waiting:
                running.add(executor.submit(run_range, plan, stretch))
                if len(running) >= 64:
                    break
            if not running:
                return
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            for future in finished:
                total.add(future.result())
            yield
    finally:
        for future in running:
            future.cancel()


def run_case(implementation: Implementation, case: Case, ops: Sequence[str]) -> Outcome:
    """Run and judge one case: each operation that is selected and that the implementation has."""
    arrays = operands(case)
    wanted = [op for op in ops if op in implementation.supports.ops]
    before = {name: array.copy() for name, array in arrays.named().items()}
    seconds = 0.0
    verdicts: list[tuple[str, Verdict]] = []
    if arrays.grad_output is None:
        if "forward" in wanted:
            result, seconds = _call(implementation.forward, case, arrays)
            verdicts.append(("forward", _judge_illegal(case, result)))
        return Outcome(tuple(verdicts), seconds)
    expected = expect(case, arrays)
    if "forward" in wanted:
        result, seconds = _call(implementation.forward, case, arrays)
        verdicts.append(("forward", _judge(case, "forward", result, expected, arrays, before)))
    mask = tuple(on and op in wanted for op, on in zip(GRADIENTS, case.output_mask, strict=True))
    if any(op in wanted for op in GRADIENTS):
        results, more = _call(implementation.gradients, case, arrays, mask)
        seconds += more
        for op, on, result in zip(GRADIENTS, mask, _three(results), strict=True):
            if on or isinstance(result, Raised):
                verdict = _judge(case, op, result, expected, arrays, before)
            else:
                unmasked = Failure(case.id, op, "mask", "must be None where output_mask is False")
                verdict = None if result is None else unmasked
            if op in wanted:
                verdicts.append((op, verdict))
    return Outcome(tuple(verdicts), seconds)


def _call(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    result: Any
    try:
        result = function(*arguments)
    except NotImplementedError as error:
        result = Raised("unsupported", _first_line(error))
    except Exception as error:  # noqa: BLE001  # whatever the code under test raises is a verdict on it
        result = Raised("raised", f"{type(error).__name__}: {_first_line(error)}")
    return result, time.perf_counter() - began


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [""])[0]


def _three(results: Any) -> Sequence[Any]:
    """Return three results, each of them `Raised` where there are no three."""
    if isinstance(results, Raised):
        return (results,) * 3
    if not isinstance(results, (tuple, list)) or len(results) != 3:
        count = f" of {len(results)}" if isinstance(results, (tuple, list)) else ""
        message = (
            f"returned {type(results).__name__}{count}, not (grad_input, grad_weight, grad_bias)"
        )
        return (Raised("type", message),) * 3
    return results


def _judge(
    case: Case, op: str, result: Any, expected: Expected, arrays: Operands, before: dict[str, Any]
) -> Verdict:
    if isinstance(result, Raised):
        return (
            "unsupported"
            if result.kind == "unsupported"
            else Failure(case.id, op, result.kind, result.message)
        )
    for name, array in arrays.named().items():
        if not np.array_equal(array, before[name]):
            return Failure(case.id, op, "mutated", f"wrote to its argument {name}")
    with np.errstate(all="ignore"):
        return judge(case, op, result, expected)


def _judge_illegal(case: Case, result: Any) -> Verdict:
    """Judge a case that must be refused."""
    if isinstance(result, Raised):
        return "unsupported" if result.kind == "unsupported" else None
    return Failure(case.id, "forward", "accepted", f"accepted an illegal case: {case.illegal}")
