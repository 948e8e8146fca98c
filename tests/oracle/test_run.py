"""Runs: planted faults give their kinds of failure; executors and interrupts change nothing."""

import functools
import multiprocessing
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.check import report_on
from npconv.oracle.judge import Failure
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Tally, read_tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import Outcome, run_case

CASE = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")
MASKED = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m010-float32-packed-reals-seed0")
ILLEGAL = Case.from_id("n2c4f6g2-7x9-k3x2-s0x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")

#: A share of quick with legal, illegal, unasked and masked cases.
SHARE = "quick[::9]"

Change = Callable[[Any], Any]


def same(result: Any) -> Any:
    """Change nothing."""
    return result


def altered(forward: Change = same, backward: Change = same, **others: Any) -> SimpleNamespace:
    """Change each output of npconv, and each gradient that is not None."""

    def conv2d(*arguments: Any) -> Any:
        return forward(npconv.conv2d(*arguments))

    def conv2d_backward(*arguments: Any) -> Any:
        results = npconv.conv2d_backward(*arguments)
        return tuple(None if result is None else backward(result) for result in results)

    return SimpleNamespace(**{"conv2d": conv2d, "conv2d_backward": conv2d_backward, **others})


def raising(error: BaseException) -> Callable[..., Any]:
    """Make a function that raises."""

    def function(*_: Any) -> Any:
        raise error

    return function


def told(outcome: Outcome) -> dict[str, Any]:
    """By operation the failure, None where the result passed, else the status."""
    return {
        op: verdict.failure or (None if verdict.status == "passed" else verdict.status)
        for op, verdict in outcome.verdicts
    }


def outcome(target: Any, case: Case = CASE, ops: tuple[str, ...] = OPS) -> Outcome:
    """Run one case."""
    return run_case(Implementation.of(target, "it"), case, ops)


def kinds(target: Any, case: Case = CASE, ops: tuple[str, ...] = OPS) -> dict[str, str | None]:
    """The kind of each verdict on one case."""
    verdicts = told(outcome(target, case, ops))
    return {op: v.kind if isinstance(v, Failure) else v for op, v in verdicts.items()}


def one_up(result: Any) -> Any:
    """Make one element wrong."""
    result = result.copy()
    result.flat[-1] += 1
    return result


def one_nan(result: Any) -> Any:
    """Make one element NaN."""
    result = result.copy()
    result.flat[0] = np.nan
    return result


FAULTS = [
    pytest.param(one_up, "values", id="one element"),
    pytest.param(lambda r: -r, "values", id="sign"),
    pytest.param(np.zeros_like, "values", id="zeros"),
    pytest.param(one_nan, "nonfinite", id="NaN"),
    pytest.param(lambda r: r[..., :-1], "shape", id="last column dropped"),
    pytest.param(lambda r: r[None], "shape", id="axis more"),
    pytest.param(lambda r: r.reshape(-1, 1), "shape", id="flat"),
    pytest.param(lambda r: r.astype(np.float64), "dtype", id="float64"),
    pytest.param(lambda r: r.astype(np.int64), "dtype", id="int64"),
    pytest.param(np.ndarray.tolist, "type", id="lists"),
    pytest.param(lambda _: 3.5, "type", id="number"),
    pytest.param(memoryview, "type", id="memoryview"),
]


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_fault_of_the_output_has_its_kind(fault: Change, kind: str) -> None:
    """A planted fault of conv2d is a failure of its kind, and of the forward operation alone."""
    conforming = dict.fromkeys(OPS)
    assert kinds(altered(forward=fault)) == {**conforming, "forward": kind}


@pytest.mark.parametrize(("fault", "kind"), FAULTS)
def test_fault_of_the_gradients_has_its_kind(fault: Change, kind: str) -> None:
    """A planted fault of conv2d_backward is a failure of its kind in each gradient."""
    assert kinds(altered(backward=fault)) == {
        "forward": None, "grad_input": kind, "grad_weight": kind, "grad_bias": kind,
    }  # fmt: skip


def test_conforming_results_conform() -> None:
    """Right results, in any memory order and byte order, have nothing but conforming verdicts."""
    for change in (same, np.asfortranarray, lambda r: r.astype(r.dtype.newbyteorder())):
        assert set(kinds(altered(change, change)).values()) == {None}
        assert set(kinds(altered(change, change), MASKED).values()) == {None}


def test_failure_says_where_and_what() -> None:
    """A failure of values names the case, the operation, the worst element, got and want."""
    found = told(outcome(altered(forward=one_up)))["forward"]
    assert isinstance(found, Failure)
    assert (found.case, found.op, found.index) == (CASE.id, "forward", (1, 5, 3, 6))
    assert float(str(found.got)) == float(str(found.want)) + 1
    assert "1 of 336 elements differ" in found.message


@pytest.mark.parametrize(
    ("results", "message"),
    [
        (None, "returned NoneType, not (grad_input, grad_weight, grad_bias)"),
        ((1, 2), "returned tuple of 2, not (grad_input, grad_weight, grad_bias)"),
        (np.zeros(3), "returned ndarray, not (grad_input, grad_weight, grad_bias)"),
    ],
)
def test_backward_without_three_results_is_a_type_failure(results: Any, message: str) -> None:
    """What is no tuple or list of three fails in each gradient, and is not taken apart."""
    target = altered(conv2d_backward=lambda *_: results)
    verdicts = told(outcome(target))
    for op in OPS[1:]:
        found = verdicts[op]
        assert isinstance(found, Failure)
        assert (found.kind, found.message) == ("type", message)
    assert verdicts["forward"] is None


def test_gradients_may_come_as_a_list() -> None:
    """Three results in a list are three results."""
    target = altered(conv2d_backward=lambda *a: list(npconv.conv2d_backward(*a)))
    assert set(kinds(target).values()) == {None}


def test_unwanted_gradients_must_be_none() -> None:
    """A gradient that output_mask leaves out is a failure of kind mask; the wanted one is none."""
    target = altered(conv2d_backward=lambda *a: npconv.conv2d_backward(*a[:-1], (True, True, True)))
    expected = {"forward": None, "grad_input": "mask", "grad_weight": None, "grad_bias": "mask"}
    assert kinds(target, MASKED) == expected


def test_unasked_operations_are_left_out_of_the_mask() -> None:
    """With fewer operations selected, their gradients alone are wanted and judged."""
    masks = []

    def conv2d_backward(*arguments: Any) -> Any:
        masks.append(arguments[-1])
        return npconv.conv2d_backward(*arguments)

    target = altered(conv2d_backward=conv2d_backward)
    assert kinds(target, CASE, ("grad_weight",)) == {"grad_weight": None}
    assert kinds(target, CASE, ("forward",)) == {"forward": None}
    target.supports = {"ops": ["forward", "grad_bias"]}
    assert kinds(target) == {"forward": None, "grad_bias": None}
    assert masks == [(False, True, False), (False, False, True)]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ValueError("bad"), "ValueError: bad"),
        (AssertionError(), "AssertionError: "),
        (MemoryError("none left"), "MemoryError: none left"),
        (RuntimeError("first\nsecond"), "RuntimeError: first"),
        (RuntimeError("a\x1b[31m\udc80"), r"RuntimeError: a\x1b[31m\udc80"),
        (RuntimeError("x" * 10_000), "RuntimeError: " + "x" * 297 + "..."),
        (SystemExit(0), "SystemExit: 0"),
        (GeneratorExit("odd"), "GeneratorExit: odd"),
    ],
)
def test_exception_on_a_legal_case_is_a_failure(error: BaseException, message: str) -> None:
    """Whatever is raised, SystemExit too, is a failure 'raised', with one printable line of it."""
    for op, target in (
        ("forward", altered(conv2d=raising(error))),
        ("grad_bias", altered(conv2d_backward=raising(error))),
    ):
        found = told(outcome(target))[op]
        assert isinstance(found, Failure)
        assert (found.kind, found.message) == ("raised", message)


def test_exception_without_a_text_is_a_failure() -> None:
    """An exception whose text cannot be had does not stop the run."""

    class MuteError(Exception):
        def __str__(self) -> str:
            raise ValueError("no")

    found = told(outcome(altered(conv2d=raising(MuteError()))))["forward"]
    assert isinstance(found, Failure)
    assert found.message == "MuteError: <no text: ValueError>"


def test_not_implemented_is_unsupported_and_never_passed() -> None:
    """NotImplementedError counts as unsupported, on legal and illegal cases, for each gradient."""
    target = altered(
        conv2d=raising(NotImplementedError("no")), conv2d_backward=raising(NotImplementedError())
    )
    assert kinds(target) == dict.fromkeys(OPS, "unsupported")
    assert kinds(target, ILLEGAL) == {"forward": "unsupported"}
    tally = tally_of(target, SHARE)
    assert tally.total("passed") == tally.total("failed") == 0
    assert tally.total("unsupported") == tally.results > 0
    assert not report_on(plan_of(target, SHARE), tally, False, target="it", described="it").ok


@pytest.mark.parametrize("error", [ValueError(), TypeError(), RuntimeError(), IndexError()])
def test_illegal_case_must_be_refused_with_an_exception(error: Exception) -> None:
    """Any exception refuses an illegal case; it is asked of conv2d alone."""
    assert kinds(altered(conv2d=raising(error)), ILLEGAL) == {"forward": None}
    assert kinds(altered(), ILLEGAL, ("grad_input",)) == {}


def test_accepted_illegal_case_is_a_failure() -> None:
    """A result for an illegal case, even None, is a failure that names the broken rule."""
    for result in (np.zeros(3), None):
        found = told(outcome(altered(conv2d=lambda *_, r=result: r), ILLEGAL))["forward"]
        assert isinstance(found, Failure)
        assert found.kind == "accepted"
        assert found.message == "accepted an illegal case: stride=(0, 1) must be at least 1"


def test_ending_python_refuses_nothing() -> None:
    """SystemExit is a failure on an illegal case too."""
    assert kinds(altered(conv2d=raising(SystemExit(1))), ILLEGAL) == {"forward": "raised"}


@pytest.mark.parametrize("position", [0, 1, 2])
def test_written_arguments_are_a_failure(position: int) -> None:
    """Who writes to an argument fails with its name; the gradients are not blamed for it."""

    def conv2d(*arguments: Any) -> Any:
        result = npconv.conv2d(*arguments)
        arguments[position].flat[3] += 1
        return result

    found = told(outcome(altered(conv2d=conv2d)))
    assert isinstance(found["forward"], Failure)
    name = ("input", "weight", "bias")[position]
    assert found["forward"].kind == "mutated"
    assert found["forward"].message == f"wrote to its argument {name}"
    assert [found[op] for op in OPS[1:]] == [None] * 3


def test_arguments_written_in_backward_are_a_failure() -> None:
    """Who writes to grad_output, also before raising, fails in each gradient."""

    def conv2d_backward(grad_output: Any, *_: Any) -> Any:
        grad_output[...] = 0
        raise NotImplementedError("too late")

    found = told(outcome(altered(conv2d_backward=conv2d_backward)))
    for op in OPS[1:]:
        verdict = found[op]
        assert isinstance(verdict, Failure)
        assert verdict.kind == "mutated"
        assert verdict.message == (
            "wrote to its argument grad_output, then NotImplementedError: too late"
        )


# NumPy 2.5 deprecates what this kernel does; it must be noticed all the same.
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_reshaped_arguments_are_a_failure() -> None:
    """To change an argument's shape in place is to write to it."""

    def conv2d(x: Any, *rest: Any) -> Any:
        result = npconv.conv2d(x, *rest)
        x.shape = (-1,)
        return result

    assert kinds(altered(conv2d=conv2d))["forward"] == "mutated"


# ------------------------------------------------------------------ whole runs


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
    assert tally.results == len(asked) + 3 * len(legal)
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
    legal = [
        case
        for case in (suite[i] for i in range(len(suite)))
        if case.dtype == "float64"
        and case.illegal is None
        and plan.implementation().supports.asks(case)
    ]
    assert tally.results == tally.counts["grad_weight"]["passed"] == len(legal)
    digests = [
        plan_of(altered()).digest,
        plan.digest,
        plan_of(altered(), ops=("grad_weight",)).digest,
        plan_of(altered(), dtypes=("float64",)).digest,
        plan_of(altered(), "quick[::8]").digest,
    ]
    assert digests[0] == suite.digest
    assert len(set(digests)) == 5


class Interrupting:
    """npconv with a fault, and a Ctrl-C in the n-th call of conv2d."""

    def __init__(self, call: int | None) -> None:
        """Take the number of the call, from 1 up."""
        self.call, self.calls = call, 0

    def conv2d(self, *arguments: Any) -> Any:
        """Return the output, wrong with groups."""
        self.calls += 1
        if self.calls == self.call:
            raise KeyboardInterrupt
        result = npconv.conv2d(*arguments)
        return result if arguments[-1] == 1 else one_up(result)

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return the gradients."""
        return npconv.conv2d_backward(*arguments)


@pytest.mark.parametrize("call", [1, 2, 23, 50])
@pytest.mark.parametrize("stretch", [5, 1000])
def test_interrupted_run_resumes_to_the_same_report(
    tmp_path: Path, call: int, stretch: int
) -> None:
    """Ctrl-C keeps every finished case; what goes on from the report ends as if never stopped."""
    whole = tally_of(Interrupting(None))
    plan, part = plan_of(Interrupting(call)), Tally()
    assert run(plan, part, stretch=stretch)
    assert 0 <= part.positions < whole.positions
    assert part.cases == call - 1
    path = tmp_path / "report.json"
    report = report_on(plan, part, True, target="it", described="it")
    report.write(path)
    resumed = read_tally(path, report, len(plan.cases()))
    assert counted(resumed) == counted(part)
    assert not run(plan_of(Interrupting(None)), resumed, stretch=7)
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
    assert not run(plan, tally, max_failures=3, stretch=5)
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


def test_dead_worker_keeps_what_was_finished(tmp_path: Path) -> None:
    """If the target ends a worker, BrokenExecutor comes out and the finished stretches stay."""
    path = tmp_path / "deadly.py"
    path.write_text(
        KERNEL.replace('raise RuntimeError("too tall")', "import os; os._exit(0)"), encoding="utf-8"
    )
    suite = suite_named("quick")
    tall = next(
        i for i in range(60, len(suite))
        if suite[i].kernel[0] == 4 and suite[i].dilation[1] != 2 and suite[i].padding_form == "pair"
    )  # fmt: skip
    flat = tuple(suite[i].id for i in range(tall) if suite[i].kernel[0] < 4)
    plan = Plan(adapters.load, str(path), (*flat, suite[tall].id))
    tally = Tally()
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn) as executor, pytest.raises(BrokenExecutor):
        run(plan, tally, executor=executor, stretch=3)
    assert 0 < tally.positions < len(flat) + 1
    assert tally.done[0][0] == 0
    expected = Tally()
    run(Plan(adapters.load, str(path), flat[: tally.done[0][1]]), expected)
    assert counted(tally) == counted(expected)
