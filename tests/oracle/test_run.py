"""Runs: executors, stretches and interrupts change nothing in what is found."""

import functools
import multiprocessing
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import npconv
from npconv import adapters
from npconv.oracle.check import report_on
from npconv.oracle.conditions import Condition
from npconv.oracle.expectations import Entry, Expectations
from npconv.oracle.protocol import Implementation
from npconv.oracle.report import Range, Tally, read_tally
from npconv.oracle.run import LOST_IN_A_ROW, Ending, Loss, Plan, WorkerLostError, run
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import Outcome, run_case
from tests.targets_for_tests import altered, raising

#: The same on every NumPy.
pytestmark = pytest.mark.once

#: A share of quick with legal, illegal, unasked and masked cases.
SHARE = "quick[::9]"


def one_up(result: Any) -> Any:
    """Make one element wrong."""
    result = result.copy()
    result.flat[-1] += 1
    return result


def plan_of(target: Any, suite: Any = SHARE, **options: Any) -> Plan:
    """A plan that runs an object in this process."""
    return Plan(functools.partial(Implementation.of, name="it"), target, suite, **options)


def tally_of(target: Any, suite: Any = SHARE, **options: Any) -> Tally:
    """Run a plan to its end."""
    tally = Tally()
    assert not run(plan_of(target, suite), tally, **options)
    return tally


def counted(tally: Tally) -> dict[str, Any]:
    """All of a tally but the seconds, which no two runs share."""
    return {key: value for key, value in vars(tally).items() if not key.endswith("seconds")}


#: Wrong with groups, no dilation, raising for kernels of 4 rows: failures of several kinds.
KERNEL = """
from npconv import conv2d as right, conv2d_backward

def conv2d(x, w, b, stride, padding, dilation, groups):
    if dilation[1] == 2:
        raise NotImplementedError("dilation")
    if w.shape[2] == 4:
        raise RuntimeError("too tall")
    result = right(x, w, b, stride, padding, dilation, groups)
    return result + 1 if groups > 1 else result
"""


@pytest.fixture
def kernel(tmp_path: Path) -> str:
    """A file with faults."""
    path = tmp_path / "kernel.py"
    path.write_text(KERNEL, encoding="utf-8")
    return str(path)


def test_run_does_every_case_once(kernel: str) -> None:
    """All positions are done, each asked case is counted once, and each result once."""
    suite = suite_named(SHARE)
    tally = Tally()
    plan = Plan(adapters.load, kernel, SHARE)
    assert not run(plan, tally)
    asked = [
        c for c in (suite[i] for i in range(len(suite))) if plan.implementation().supports.asks(c)
    ]
    legal = [case for case in asked if case.illegal is None]
    assert tally.done == [(0, len(suite))]
    assert tally.positions == len(suite)
    assert tally.cases == len(asked)
    illegal = len(asked) - len(legal)
    assert tally.results == 4 * len(legal) + 3 * illegal
    assert tally.failures_total == tally.total("failed") == len(tally.failures) > 0
    assert {failure.kind for failure in tally.failures} >= {"values", "raised"}
    assert 0 < tally.target_seconds < tally.busy_seconds <= tally.seconds


@pytest.mark.parametrize("stretch", [1, 7, 10_000])
def test_run_is_independent_of_the_stretch(kernel: str, stretch: int) -> None:
    """In stretches of any size the tally is the same, failures and their order included."""
    plan = Plan(adapters.load, kernel, SHARE)
    one, other = Tally(), Tally()
    run(plan, one)
    run(plan, other, stretch=stretch)
    assert counted(one) == counted(other)


def test_run_is_independent_of_the_executor(kernel: str) -> None:
    """Here, in threads and in processes the tally is the same, failures and order included."""
    plan = Plan(adapters.load, kernel, SHARE)
    here = Tally()
    run(plan, here)
    spawn = multiprocessing.get_context("spawn")
    executors: list[tuple[Executor, int]] = [
        (ThreadPoolExecutor(3), 4),
        (ProcessPoolExecutor(2, spawn), 11),
    ]
    for executor, stretch in executors:
        with executor:
            there = Tally()
            assert not run(plan, there, executor=executor, stretch=stretch)
            assert counted(there) == counted(here)


def test_run_selects_operations_and_dtypes() -> None:
    """Only the operations and dtypes that are selected are counted; the digest says so."""
    plan = plan_of(altered(), ops=("grad_weight",), dtypes=("float64",))
    tally = Tally()
    run(plan, tally)
    suite = suite_named(SHARE)
    asked = [
        case
        for case in (suite[i] for i in range(len(suite)))
        if case.dtype == "float64" and plan.implementation().supports.asks(case)
    ]
    assert tally.results == tally.counts["grad_weight"]["passed"] == len(asked)
    digests = [
        plan_of(altered()).digest,
        plan.digest,
        plan_of(altered(), ops=("grad_weight",)).digest,
        plan_of(altered(), dtypes=("float64",)).digest,
        plan_of(altered(), "quick[::8]").digest,
        plan_of(altered(), without=("groups",)).digest,
        plan_of(altered(), without=("dilation",)).digest,
    ]
    assert digests[0] == suite.digest
    assert len(set(digests)) == 7
    assert plan_of(altered(), shard=(1, 2)).digest == suite.digest


def test_shards_make_up_the_suite() -> None:
    """Every position is in one shard, whatever their number; parts add up to the whole run."""
    length = len(suite_named(SHARE))
    for parts in (1, 2, 3, 7, length, length + 3):
        stretches = [plan_of(altered(), shard=(i, parts)).stretch for i in range(1, parts + 1)]
        assert [p for a, b in stretches for p in range(a, b)] == list(range(length))
    whole, total = tally_of(altered(one_up)), Tally()
    for part in (2, 1, 3):
        assert not run(plan_of(altered(one_up), shard=(part, 3)), total, stretch=4)
    assert counted(total) == counted(whole)


def test_left_out_cases_are_counted_by_what_leaves_them_out() -> None:
    """Options come before what is not supported; every case is asked or has one reason."""
    plan = plan_of(altered(), dtypes=("float64", "int8"), without=("groups", "stride_w == 2"))
    tally = Tally()
    run(plan, tally)
    suite, supports = suite_named(SHARE), plan.implementation().supports
    expected: dict[str, int] = {}
    for case in (suite[i] for i in range(len(suite))):
        reason = (
            "--dtype"
            if case.dtype not in ("float64", "int8")
            else "--without groups"
            if case.groups != 1
            else "--without stride_w == 2"
            if case.stride[1] == 2
            else supports.leaves_out(case)
        )
        if reason is not None:
            expected[reason] = expected.get(reason, 0) + 1
    assert tally.left_out == expected
    assert {"--dtype", "--without groups", "--without stride_w == 2", "padding"} <= set(expected)
    assert tally.cases + sum(expected.values()) == len(suite)


def test_expected_failures_are_counted_apart(kernel: str) -> None:
    """What an entry expects is no failure; what each entry counts comes with the tally."""
    plan = Plan(adapters.load, kernel, SHARE)
    before, after = Tally(), Tally()
    run(plan, before)
    entries = [
        Entry(f"known:{n}", text, Condition.parse(text), (), (), "known")
        for n, text in enumerate(("groups > 1", "kernel_h == 4", "kernel_h == 99"))
    ]
    run(replace(plan, expectations=Expectations(tuple(entries))), after, stretch=3)
    assert before.total("failed") == after.total("failed") + after.total("expected_failures")
    assert after.total("expected_failures") > 0
    assert before.failed == after.failed
    assert set(after.expected) == {"groups > 1", "kernel_h == 4"}
    assert all(0 < failed <= asked for asked, failed in after.expected.values())


class Losing(ThreadPoolExecutor):
    """Threads that lose the worker of some cases, in place of processes that die."""

    def __init__(self, lost: dict[int, list[str]]) -> None:
        """Take the functions that kill, by position."""
        super().__init__(2)
        self.lost = lost

    def submit(self, function: Any, /, *arguments: Any) -> Any:
        """Submit a stretch that fails as soon as it comes to a case that kills."""

        def attempt(plan: Plan, stretch: Range, lost: tuple[Loss, ...]) -> Any:
            gone = {loss.op for loss in lost}
            for position in range(*stretch):
                for name in self.lost.get(position, ()):
                    if not {"conv2d": {"forward"}}.get(name, {"grad_input"}) <= gone:
                        raise WorkerLostError("crashed", f"{name}: boom", position, name)
            return function(plan, stretch, lost)

        return super().submit(attempt, *arguments)


@pytest.mark.parametrize("stretch", [1, 4, 1000])
def test_lost_workers_cost_their_own_case(stretch: int) -> None:
    """Where workers are lost, the results that took them fail, and the rest is as without them."""
    whole = tally_of(altered())
    plan = plan_of(altered())
    suite, supports = suite_named(SHARE), plan.implementation().supports
    legal = [
        p for p in range(len(suite))
        if suite[p].illegal is None and supports.asks(suite[p])
    ]  # fmt: skip
    lost = {
        legal[0]: ["conv2d"],
        legal[1]: ["conv2d_backward"],
        legal[5]: ["conv2d", "conv2d_backward"],
        legal[-1]: ["conv2d"],
    }
    tally = Tally()
    with Losing(lost) as executor:
        assert not run(plan, tally, executor=executor, stretch=stretch)
    assert tally.done == whole.done
    assert (tally.cases, tally.results) == (whole.cases, whole.results)
    assert {(f.case, f.op, f.kind, f.message) for f in tally.failures} == {
        (suite[position].id, op, "crashed", f"{name}: boom")
        for position, names in lost.items()
        for name in names
        for op in (["forward"] if name == "conv2d" else ["grad_input", "grad_weight", "grad_bias"])
    }
    assert tally.failures_total == 3 * 1 + 2 * 3
    for op, counts in tally.counts.items():
        assert counts["passed"] == whole.counts[op]["passed"] - counts["failed"]


def test_run_gives_up_where_every_case_crashes() -> None:
    """After so many workers lost in a row a run ends, with each of them as a failure."""
    plan = plan_of(altered())
    length = len(suite_named(SHARE))
    tally = Tally()
    with Losing({position: ["conv2d"] for position in range(length)}) as executor:
        assert run(plan, tally, executor=executor, stretch=7) == Ending.GAVE_UP
    assert LOST_IN_A_ROW <= tally.positions <= LOST_IN_A_ROW + 64
    assert tally.positions < length
    asked = tally.cases
    assert tally.counts["forward"]["failed"] == asked > 0
    report = report_on(plan, tally, Ending.GAVE_UP, target="it", described="it")
    assert report.gave_up
    assert not report.ok


def test_run_goes_on_where_cases_between_crashes_pass() -> None:
    """More workers lost than may be in a row end no run while cases between them are finished."""
    plan, suite = plan_of(altered(), "quick[::3]"), suite_named("quick[::3]")
    supports = plan.implementation().supports
    legal = [
        p for p in range(len(suite)) if suite[p].illegal is None and supports.asks(suite[p])
    ]  # fmt: skip
    lost = legal[:-1:3][: 2 * LOST_IN_A_ROW]
    assert len(lost) > LOST_IN_A_ROW
    tally = Tally()
    with Losing({position: ["conv2d"] for position in lost}) as executor:
        assert run(plan, tally, executor=executor, stretch=40) == Ending.FINISHED
    assert tally.counts["forward"]["failed"] == len(lost)


def test_worker_lost_before_any_case_ends_the_run() -> None:
    """A worker that dies while it loads the target has no case to blame: the error comes out."""

    class Dying(ThreadPoolExecutor):
        def submit(self, *_: Any) -> Any:
            return super().submit(raising(WorkerLostError("crashed", "boom")))

    tally = Tally()
    with Dying(1) as executor, pytest.raises(WorkerLostError, match="boom"):
        run(plan_of(altered()), tally, executor=executor)
    assert tally.done == []


def wrong_with_groups(*arguments: Any) -> Any:
    """Return the output, wrong with groups."""
    result = npconv.conv2d(*arguments)
    return result if arguments[-1] == 1 else one_up(result)


def interrupt_in_case(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let a Ctrl-C come in the n-th case that is run, once."""
    cases = []

    def run_one(*arguments: Any) -> Outcome:
        cases.append(arguments)
        if len(cases) == number:
            raise KeyboardInterrupt
        return run_case(*arguments)

    monkeypatch.setattr("npconv.oracle.run.run_case", run_one)


@pytest.mark.parametrize("number", [1, 2, 23, 50])
@pytest.mark.parametrize("stretch", [5, 1000])
def test_interrupted_run_resumes_to_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, stretch: int
) -> None:
    """Ctrl-C keeps every finished case; what goes on from the report ends as if never stopped."""
    whole = tally_of(wrong_with_groups)
    interrupt_in_case(monkeypatch, number)
    plan, part = plan_of(wrong_with_groups), Tally()
    assert run(plan, part, stretch=stretch) == Ending.INTERRUPTED
    assert 0 <= part.positions < whole.positions
    assert part.cases == number - 1
    path = tmp_path / "report.json"
    report = report_on(plan, part, Ending.INTERRUPTED, target="it", described="it")
    report.write(path)
    resumed = read_tally(path, report)
    assert counted(resumed) == counted(part)
    assert not run(plan, resumed, stretch=7)
    assert counted(resumed) == counted(whole)


def test_interrupt_of_the_progress_is_an_interrupt() -> None:
    """Ctrl-C between two stretches, over threads, keeps what was finished, each case once."""

    def progress(tally: Tally) -> None:
        if tally.positions > 20:
            raise KeyboardInterrupt

    whole, part = tally_of(altered(one_up)), Tally()
    with ThreadPoolExecutor(2) as executor:
        assert run(plan_of(altered(one_up)), part, executor=executor, progress=progress, stretch=4)
    assert 20 < part.positions < whole.positions
    assert not run(plan_of(altered(one_up)), part)
    assert counted(part) == counted(whole)


@pytest.mark.parametrize("call", [1, 2, 5])
def test_interrupt_after_an_addition_adds_nothing_twice(
    monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """Ctrl-C just after a stretch was added, over an executor, does not count it again."""
    whole, part, calls = tally_of(altered(one_up)), Tally(), []
    real = Tally.add

    def add(self: Tally, other: Tally) -> None:
        real(self, other)
        if self is part:
            calls.append(other)
            if len(calls) == call:
                raise KeyboardInterrupt

    monkeypatch.setattr(Tally, "add", add)
    with ThreadPoolExecutor(2) as executor:
        assert run(plan_of(altered(one_up)), part, executor=executor, stretch=4)
    assert part.positions < whole.positions
    assert not run(plan_of(altered(one_up)), part)
    assert counted(part) == counted(whole)


def test_progress_is_told_after_each_stretch() -> None:
    """Progress comes once for each stretch, with growing tallies, the last one complete."""
    seen: list[int] = []
    tally = tally_of(altered(), progress=lambda tally: seen.append(tally.positions), stretch=20)
    length = len(suite_named(SHARE))
    assert seen == [*range(20, length, 20), length]
    assert tally.positions == length


def test_max_failures_stops_soon() -> None:
    """A run stops after the stretch in which so many failures are reached, and can go on."""
    tally = Tally()
    plan = plan_of(altered(one_up))
    assert run(plan, tally, max_failures=3, stretch=5) == Ending.FAILURES
    assert 3 <= tally.failures_total <= 3 + 4
    assert tally.positions < len(plan.cases())
    assert not run(plan, tally)
    assert counted(tally) == counted(tally_of(altered(one_up)))


def test_finished_run_has_nothing_to_resume() -> None:
    """To run what is all done calls nothing and changes nothing."""
    tally = tally_of(altered())
    before = counted(tally)
    run(plan_of(altered(conv2d=raising(AssertionError()))), tally)
    assert counted(tally) == before


def test_run_of_unsupported_alone_is_not_ok() -> None:
    """Where everything raises NotImplementedError nothing passed, and the report is not ok."""
    error = NotImplementedError("no")
    target = altered(conv2d=raising(error), conv2d_backward=raising(error))
    tally = tally_of(target)
    assert tally.total("passed") == tally.total("failed") == 0
    assert tally.total("unsupported") == tally.results > 0
    assert not report_on(plan_of(target), tally, False, target="it", described="it").ok
