"""Run a suite: case -> arrays -> results -> verdicts, here or over any executor."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from npconv.bounds import default_for
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Expected, Failure, Verdict, expect, judge
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation
from npconv.oracle.report import Range, Result, Tally, chunks
from npconv.oracle.suites import Suite, suite_named

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

#: Characters of an exception's text that a verdict holds at the most.
_LONGEST = 300


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdicts on one case, what they are on, and the seconds spent in the implementation.

    `results` holds, by operation, what the implementation returned, or a `Raised`; `expected`
    is None for an illegal case.
    """

    verdicts: tuple[tuple[str, Verdict], ...]
    target_seconds: float
    results: Mapping[str, Any]
    expected: Expected | None


@dataclass(frozen=True, slots=True)
class Raised:
    """A result that never came: the call raised, wrote to an argument, or returned no results."""

    kind: str
    message: str
    error: BaseException | None = None


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


def run_case(
    implementation: Implementation,
    case: Case,
    ops: Sequence[str],
    arithmetic: str | None = None,
) -> Outcome:
    """Run and judge one case: each operation that is selected and that the implementation has.

    What each is judged as: `arithmetic`, what is declared, or the dtype's own.
    """
    arrays = operands(case)
    wanted = [op for op in ops if op in implementation.supports.ops]
    results: dict[str, Any] = {}
    seconds = 0.0
    verdicts: list[tuple[str, Verdict]] = []
    if arrays.grad_output is None:
        if "forward" in wanted:
            results["forward"], seconds = _call(implementation.forward, case, arrays)
            verdicts.append(("forward", _judge_illegal(case, results["forward"])))
        return Outcome(tuple(verdicts), seconds, results, None)
    expected = expect(case, arrays, _arithmetics(implementation, case.dtype, arithmetic))
    if "forward" in wanted:
        results["forward"], seconds = _call_guarded(implementation.forward, case, arrays)
        verdicts.append(("forward", _judge(case, "forward", results["forward"], expected)))
    mask = tuple(on and op in wanted for op, on in zip(GRADIENTS, case.output_mask, strict=True))
    if any(op in wanted for op in GRADIENTS):
        # Drawn again: the forward call may have written to its arguments.
        arrays = operands(case) if _is_mutated(results.get("forward")) else arrays
        gradients, more = _call_guarded(implementation.gradients, case, arrays, mask)
        seconds += more
        for op, on, result in zip(GRADIENTS, mask, _three(gradients), strict=True):
            if op not in wanted:
                continue
            results[op] = result
            if on or isinstance(result, Raised):
                verdict = _judge(case, op, result, expected)
            else:
                verdict = _judge_masked(case, op, result)
            verdicts.append((op, verdict))
    return Outcome(tuple(verdicts), seconds, results, expected)


def _arithmetics(implementation: Implementation, dtype: str, asked: str | None) -> dict[str, str]:
    own = default_for(dtype)
    if own == "integer":
        return dict.fromkeys(OPS, own)
    declared = implementation.supports.arithmetic
    return {op: asked or declared.get((op, dtype), own) for op in OPS}


def _call_guarded(
    function: Callable[..., Any], case: Case, arrays: Operands, *mask: Any
) -> tuple[Any, float]:
    """Call with arrays that must come out as they went in."""
    before = {name: array.copy() for name, array in arrays.named().items()}
    result, seconds = _call(function, case, arrays, *mask)
    for name, array in arrays.named().items():
        # Bytes, as NaN differs from itself; and these alone would not show a new shape.
        if array.shape != before[name].shape or array.tobytes() != before[name].tobytes():
            message = f"wrote to its argument {name}"
            if isinstance(result, Raised):
                message += f", then {result.message}"
            return Raised("mutated", message), seconds
    return result, seconds


def _is_mutated(result: Any) -> bool:
    return isinstance(result, Raised) and result.kind == "mutated"


def _call(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    began = time.perf_counter()
    result: Any
    try:
        result = function(*arguments)
    except KeyboardInterrupt:
        raise
    # Whatever the code under test raises is a verdict on it; SystemExit must not end the run.
    except BaseException as error:  # noqa: BLE001
        kind = "unsupported" if isinstance(error, NotImplementedError) else "raised"
        result = Raised(kind, f"{type(error).__name__}: {_first_line(error)}", error)
    return result, time.perf_counter() - began


def _first_line(error: BaseException) -> str:
    """Return the first line of an exception's text, of bounded length and printable."""
    try:
        line = (str(error).splitlines() or [""])[0]
    except Exception as second:  # noqa: BLE001  # the text too is the code under test's
        line = f"<no text: {type(second).__name__}>"
    line = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line[: _LONGEST + 1])
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 3]}..."


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


def _judge(case: Case, op: str, result: Any, expected: Expected) -> Verdict:
    if isinstance(result, Raised):
        if result.kind == "unsupported":
            return "unsupported"
        return Failure(case.id, op, result.kind, result.message)
    with np.errstate(all="ignore"):
        return judge(case, op, result, expected)


def _judge_masked(case: Case, op: str, result: Any) -> Verdict:
    """Judge what must not be computed."""
    if result is None:
        return None
    message = f"returned {type(result).__name__}, not None, where output_mask is False"
    return Failure(case.id, op, "mask", message)


def _judge_illegal(case: Case, result: Any) -> Verdict:
    """Judge a case that must be refused."""
    if not isinstance(result, Raised):
        return Failure(case.id, "forward", "accepted", f"accepted an illegal case: {case.illegal}")
    if result.kind == "unsupported":
        return "unsupported"
    # To end Python is no refusal.
    refused = isinstance(result.error, Exception)
    return None if refused else Failure(case.id, "forward", result.kind, result.message)
