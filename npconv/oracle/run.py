"""Run a suite: case -> arrays -> results -> verdicts, here or over any executor."""

from __future__ import annotations

import collections
import contextlib
import functools
import hashlib
import time
from collections.abc import Callable, Generator, Iterable, MutableSequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from enum import IntEnum
from typing import TYPE_CHECKING, Any, NamedTuple

from npconv.oracle.cases import Case
from npconv.oracle.conditions import left_out_by
from npconv.oracle.expectations import Expectations
from npconv.oracle.judge import Failure, failed
from npconv.oracle.protocol import FUNCTIONS, GRADIENTS, OPS, Implementation, Supports
from npconv.oracle.report import Range, Result, Tally, chunks
from npconv.oracle.suites import Suite, suite_named
from npconv.oracle.trial import run_case

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

#: A run gives up after so many workers lost one after another, with no case finished in between,
#: or so many in all: each costs a new process and an import of the target, or the time limit.
LOST_IN_A_ROW, LOST = 20, {"crashed": 100, "timeout": 20}

#: What does not come out where a function dies.
_BLAMED = {
    "conv2d": ("forward",),
    "conv2d_out": ("forward",),
    "conv2d_backward": GRADIENTS,
    "conv2d_input": ("grad_input",),
    "conv2d_weight": ("grad_weight",),
    "conv2d_bias": ("grad_bias",),
}

#: Where a worker stands, in memory that its parent can read: the case's position + 1, the last
#: function called as its place in FUNCTIONS + 1 (0: none), how often a call began or ended; and,
#: from the parent, whether to end after this case.
Place = MutableSequence[int]
_shared: list[Place] = []


class Ending(IntEnum):
    """How a run ended: FINISHED is false, what ends it early is true."""

    FINISHED = 0
    INTERRUPTED = 1
    #: After as many failures as were asked for.
    FAILURES = 2
    #: Crashes and timeouts without end.
    GAVE_UP = 3


class WorkerLostError(BrokenExecutor):
    """A worker died, or was ended: the kind of failure, what is known, where it stood.

    `position` is None where it was at no case: while it was started, or imported the target.
    """

    def __init__(
        self, kind: str, message: str, position: int | None = None, function: str | None = None
    ) -> None:
        super().__init__(kind, message, position, function)
        self.kind, self.message = kind, message
        self.position, self.function = position, function

    @classmethod
    def at(cls, place: Place, kind: str, message: str) -> WorkerLostError:
        """Read where the worker stood, and say so."""
        function = FUNCTIONS[place[1] - 1] if place[1] else None
        message = message if function is None else f"{function}: {message}"
        return cls(kind, message, place[0] - 1 if place[0] else None, function)

    def __str__(self) -> str:
        return self.message


class Loss(NamedTuple):
    """An operation whose result took a worker with it."""

    op: str
    kind: str
    message: str


class Work(NamedTuple):
    """A stretch to run; of a single case, what is known to crash or to hang is not called."""

    stretch: Range
    lost: tuple[Loss, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run, in a form that can be sent to a worker: the target is loaded where it runs."""

    load: Callable[[Any], Implementation]
    target: Any
    suite: str | tuple[str, ...]
    ops: tuple[str, ...] = OPS
    dtypes: tuple[str, ...] | None = None
    arithmetic: str | None = None
    #: Features and conditions of cases that are left out: see `conditions.left_out_by`.
    without: tuple[str, ...] = ()
    #: Part I of N of the suite, as (I, N): contiguous, so that `done` counts positions of it all.
    shard: tuple[int, int] = (1, 1)
    expectations: Expectations | None = None

    def implementation(self) -> Implementation:
        """Load the target, once in each process where it can be told apart from others."""
        if isinstance(self.target, str):
            found = _loaded(self.load, self.target)
        else:
            found = self.load(self.target)
        return _watched(found, *_shared) if _shared else found

    def cases(self) -> Suite:
        """Return the suite, by name or by the ids given."""
        return suite_named(self.suite)

    @property
    def stretch(self) -> Range:
        """The positions of the suite that are asked."""
        length, (part, parts) = len(self.cases()), self.shard
        return length * (part - 1) // parts, length * part // parts

    @property
    def digest(self) -> str:
        """The suite's digest; another one for part of it, or for another arithmetic.

        What changes no verdict has no share in it: the shard, the time limit. Expectations stand
        in the report themselves.
        """
        digest = self.cases().digest
        if self.ops == OPS and self.dtypes is None and not self.arithmetic and not self.without:
            return digest
        others = filter(None, [self.arithmetic, self.without])
        text = repr((digest, self.ops, self.dtypes, *others))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def leaves_out(self, case: Case, supports: Supports) -> str | None:
        """Return what leaves a case out: an option, or a field of `supports`; None if it is asked.

        Examples
        --------
        >>> import npconv
        >>> from npconv.oracle.cases import Case
        >>> from npconv.oracle.protocol import Implementation
        >>> from npconv.oracle.run import Plan
        >>> supports = Implementation.of(npconv.conv2d, "mine").supports
        >>> case = Case.from_id(
        ...     "n2c4f6g2-7x9-k3x2-s2x1-p1_1x0_0-d1x2-bias-m111-float32-packed-integers-seed0"
        ... )
        >>> plan = Plan(Implementation.of, "mine", "quick")
        >>> plan.leaves_out(case, supports)
        'padding'
        >>> Plan(Implementation.of, "mine", "quick", without=("groups",)).leaves_out(case, supports)
        '--without groups'
        """
        if self.dtypes is not None and case.dtype not in self.dtypes:
            return "--dtype"
        for text in self.without:
            if _condition(text).holds(case):
                return f"--without {text}"
        return supports.leaves_out(case)


_condition = functools.cache(left_out_by)


@functools.cache
def _loaded(load: Callable[[Any], Implementation], target: str) -> Implementation:
    return load(target)


def share(place: Place) -> None:
    """Say from now on in this memory where this process stands: what a worker does first."""
    _shared[:] = [place]


def _watched(implementation: Implementation, place: Place) -> Implementation:
    """Note each call where it begins and where it ends."""

    def watched(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        number = FUNCTIONS.index(name) + 1

        def call(*arguments: Any) -> Any:
            place[1] = number
            place[2] += 1
            try:
                return function(*arguments)
            finally:
                place[2] += 1

        return call

    functions = {name: watched(name, f) for name, f in implementation.functions.items()}
    return replace(implementation, functions=functions)


def called(
    executor: Executor | None,
    function: Callable[..., Any],
    *arguments: Any,
    seconds: float | None = None,
) -> Any:
    """Call a function over the executor, or here where there is none.

    Over an executor TimeoutError is raised after so many seconds; the call goes on.
    """
    if executor is None:
        return function(*arguments)
    return executor.submit(function, *arguments).result(seconds)


def run(
    plan: Plan,
    total: Tally,
    *,
    executor: Executor | None = None,
    progress: Callable[[Tally], None] | None = None,
    max_failures: int | None = None,
    stretch: int = 200,
    grace: float = 2.0,
) -> Ending:
    """Run what `total` does not yet hold, adding to it; return how it ended.

    What was finished before an interrupt stays in `total`; over an executor, stretches under
    way then have `grace` seconds to finish, or, where it can `hasten` them, the cases under way.
    `progress` is told after each stretch of cases.

    An executor may raise `WorkerLostError` in place of a stretch's tally. The case where the
    worker stood is then the failure, and all others of the stretch are run again. Any other
    BrokenExecutor comes out, with all that was finished in `total`.
    """
    began = time.perf_counter() - total.seconds
    start, stop = plan.stretch
    ranges = chunks(stop, [*total.done, (0, start)], stretch)
    elsewhere = None if executor is None else _Elsewhere(plan, ranges, total, executor)
    steps = _here(plan, ranges, total) if elsewhere is None else elsewhere.steps(grace)
    try:
        for _ in steps:
            total.seconds = time.perf_counter() - began
            if progress is not None:
                progress(total)
            if max_failures is not None and total.failures_total >= max_failures:
                return Ending.FAILURES
    except KeyboardInterrupt:
        return Ending.INTERRUPTED
    finally:
        steps.close()
        total.seconds = time.perf_counter() - began
    if elsewhere is not None and elsewhere.gives_up:
        return Ending.GAVE_UP
    return Ending.FINISHED


def _here(
    plan: Plan, ranges: Iterable[Range], total: Tally, lost: tuple[Loss, ...] = ()
) -> Generator[None, None, None]:
    implementation, suite = plan.implementation(), plan.cases()
    place: Place = _shared[0] if _shared else [0, 0, 0, 0]
    for start, stop in ranges:
        began = time.perf_counter()
        results: list[Result] = []
        try:
            for position in range(start, stop):
                if place[3]:
                    break
                case = suite[position]
                place[1], place[0] = 0, position + 1
                result = _result(plan, implementation, position, case, lost)
                results.append(result)
        finally:
            place[0] = 0
            total.add(Tally.of(results, time.perf_counter() - began))
        yield


def _result(
    plan: Plan,
    implementation: Implementation,
    position: int,
    case: Case,
    lost: tuple[Loss, ...],
) -> Result:
    """Run one case, but for what is lost in it, or say what leaves it out."""
    supports = implementation.supports
    outside = plan.leaves_out(case, supports)
    if outside is not None:
        return Result(position, case.id, left_out=outside)
    # A gradient of the bias depends on nothing that is illegal: `run_case` has no verdict on it.
    there = [op for op in supports.ops if case.illegal is None or op != "grad_bias"]
    gone = {
        loss.op: failed(Failure(case.id, loss.op, loss.kind, loss.message))
        for loss in lost
        if loss.op in there and loss.op in plan.ops
    }
    rest = tuple(op for op in plan.ops if op not in gone)
    verdicts: tuple[tuple[str, Any], ...] = ()
    seconds = 0.0
    if not gone or any(op in there for op in rest):
        outcome = run_case(implementation, case, rest, plan.arithmetic)
        verdicts, seconds = outcome.verdicts, outcome.target_seconds
    verdicts = tuple(sorted([*verdicts, *gone.items()], key=lambda pair: OPS.index(pair[0])))
    if not verdicts:
        return Result(position, case.id, left_out="--ops")
    if plan.expectations is None:
        return Result(position, case.id, verdicts, seconds)
    known = plan.expectations.apply(case, verdicts)
    return Result(position, case.id, known.verdicts, seconds, expected=known.counts)


def run_range(plan: Plan, stretch: Range, lost: tuple[Loss, ...] = ()) -> Tally:
    """Run one stretch: what a worker does."""
    tally = Tally()
    for _ in _here(plan, [stretch], tally, lost):
        pass
    return tally


class _Elsewhere:
    """A run over an executor: what waits, what is under way, which workers were lost."""

    def __init__(
        self, plan: Plan, ranges: Iterable[Range], total: Tally, executor: Executor
    ) -> None:
        self.plan, self.total, self.executor = plan, total, executor
        self.waiting = (Work(stretch) for stretch in ranges)
        self.again: collections.deque[Work] = collections.deque()
        self.running: dict[Future[Tally], Work] = {}
        self.lost = dict.fromkeys(LOST, 0)
        self.in_a_row = 0

    @property
    def gives_up(self) -> bool:
        """Whether so many workers were lost that no more is begun."""
        return self.in_a_row >= LOST_IN_A_ROW or any(
            self.lost[kind] >= most for kind, most in LOST.items()
        )

    def steps(self, grace: float) -> Generator[None, None, None]:
        """Keep a few stretches under way for each worker; add each as it comes."""
        from concurrent.futures import FIRST_COMPLETED, wait

        try:
            while True:
                self._begin()
                if not self.running:
                    return
                wait(self.running, return_when=FIRST_COMPLETED)
                self._collect()
                yield
        finally:
            for future in self.running:
                future.cancel()
            # A second Ctrl-C does without them.
            with contextlib.suppress(KeyboardInterrupt, BrokenExecutor):
                if hasattr(self.executor, "hasten"):
                    self.executor.hasten()
                wait(self.running, grace)
                self._collect()

    def _begin(self) -> None:
        while len(self.running) < getattr(self.executor, "ahead", 64):
            work = self._next()
            if work is None:
                return
            self.running[self.executor.submit(run_range, self.plan, *work)] = work

    def _next(self) -> Work | None:
        """Return what to begin next: when all is given up, only what has crashed or hung."""
        while self.again:
            work = self.again.popleft()
            if work.lost or not self.gives_up:
                return work
        return None if self.gives_up else next(self.waiting, None)

    def _collect(self) -> None:
        """Move what is finished into `total`; then raise what a worker raised, if any did."""
        errors = []
        for future, work in list(self.running.items()):
            if not future.done():
                continue
            if not future.cancelled():
                error = future.exception()
                if error is not None:
                    if not isinstance(error, WorkerLostError) or not self._blames(work, error):
                        errors.append(error)
                elif not self.total.holds(work.stretch):  # an interrupt may come after an addition
                    tally = future.result()
                    self.total.add(tally)
                    if tally.cases and not work.lost:
                        self.in_a_row = 0
            del self.running[future]
        if errors:
            raise errors[0]

    def _blames(self, work: Work, error: WorkerLostError) -> bool:
        """Part a stretch at the case where its worker was lost; whether there is one to blame."""
        (start, stop), lost = work
        position, gone = error.position, {loss.op for loss in lost}
        # What was called last; with nothing left to blame there, all that is left.
        blamed = [op for op in _BLAMED.get(error.function or "", ()) if op not in gone]
        blamed = blamed or [op for op in OPS if op not in gone]
        if position is None or not blamed:
            return False
        self.lost[error.kind] += 1
        self.in_a_row += 1
        lost += tuple(Loss(op, error.kind, error.message) for op in blamed)
        rest = ((start, position), (position + 1, stop))
        # The case itself first: it has its verdict even where the run then gives up.
        parts = [Work((position, position + 1), lost), *(Work(r) for r in rest if r[0] < r[1])]
        self.again.extendleft(reversed(parts))
        if self.gives_up:
            for future, other in self.running.items():
                if not other.lost:
                    future.cancel()
        return True
