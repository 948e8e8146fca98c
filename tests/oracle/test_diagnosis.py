"""The diagnosis: conditions, suspects, descriptions, smallest cases, and no word on the right."""

import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.console import report_text
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import framed, operands
from npconv.oracle.diagnosis import (
    describe,
    diagnose,
    example,
    experiments,
    matching,
    probing,
    rules,
)
from npconv.oracle.diagnosis.shrink import shrink, smaller
from npconv.oracle.diagnosis.sights import Bench, Sight, effort
from npconv.oracle.judge import Failure, expect
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation
from npconv.oracle.report import Diagnosis, Tally, Worst
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.suspects import CATALOGUE, named
from npconv.oracle.suspects.fault import NoArrayError, Problem

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

PLAIN = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float64-packed-integers-seed0")

CONDITIONS = (
    "groups > 1 and stride_w > 1",
    "stride_h > 1 or stride_w > 1",
    "kernel_h > 1 and dilation_h > 1 or kernel_w > 1 and dilation_w > 1",
    "remainder_h > 0",
    "padding_top > kernel_h // 2 or padding_left > kernel_w // 2",
    "layout in ('channels_last', 'transposed')",
    "dtype == 'float32' and bias",
    "stride_h != stride_w and groups > 1 and bias",
    "groups > 1 and stride_h > 1 or bias and dilation_w > 2",
    "out_height * out_width % 4 != 0",
    "layout != 'packed' and laid_out in ('all', 'weight')",
    "groups > 1 and stride_h > 1 or bias and dilation_w > 2 or batch == 1 and kernel_w > 3",
)


def cases_of(suite: str) -> list[Case]:
    """Legal cases in two dtypes, with something in them."""
    found = suite_named(suite)
    cases = [found[position] for position in range(len(found))]
    return [
        case
        for case in cases
        if case.illegal is None
        and case.dtype in ("float32", "float64")
        and case.batch != 0
        and case.in_channels
    ]


CASES = cases_of("standard[::13]")


class Faulty:
    """npconv's calls, with the results of faults in their place where a condition holds."""

    supports = {"layouts": True, "dtypes": True}  # noqa: RUF012  # as users write it

    def __init__(self, *faults: tuple[str, Callable[[Problem], bool]]) -> None:
        self.faults = [(named(name), when) for name, when in faults]
        self.calls = 0

    def wrong(self, problem: Problem, op: str, right: Any) -> Any:
        """Return the first fault's result that is met."""
        self.calls += 1
        for fault, when in self.faults:
            if op in fault.ops and right is not None and when(problem):
                found = fault.results(problem, op)
                if found is not None:
                    return found
        return right

    def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
        """Return the output."""
        right = npconv.conv2d(x, w, b, *parameters)
        return self.wrong(Problem(x, w, b, None, *parameters), "forward", right)

    def conv2d_backward(self, g: Any, x: Any, w: Any, *rest: Any) -> Any:
        """Return the gradients."""
        *parameters, mask = rest
        problem = Problem(x, w, None, g, *parameters)  # type: ignore[arg-type]  # four of them
        right = npconv.conv2d_backward(g, x, w, *parameters, mask)
        return tuple(
            self.wrong(problem, op, array) for op, array in zip(GRADIENTS, right, strict=True)
        )


def always(problem: Problem) -> bool:
    """Hold for every problem."""
    del problem
    return True


def diagnosed(target: Any, suite: Any = "quick[::3]", **options: Any) -> tuple[Diagnosis, ...]:
    """Run part of a suite here, and diagnose what fails."""
    plan = Plan(lambda it: Implementation.of(it, "mine"), target, suite, **options)
    tally = Tally()
    run(plan, tally)
    return diagnose(plan, tally, 600.0)


# ------------------------------------------------------------------ conditions


@pytest.mark.parametrize("text", CONDITIONS)
@pytest.mark.parametrize("hidden", [0.0, 0.1])
def test_the_rule_found_is_the_condition_on_every_case(text: str, hidden: float) -> None:
    """Also where the fault does not show in a tenth of its cases, the first rule is equivalent."""
    condition, rng = Condition.parse(text), random.Random(3)
    failing = [case for case in CASES if condition.holds(case) and rng.random() >= hidden]
    passing = [case for case in CASES if case not in set(failing)]
    best = rules.find(failing, passing)[0]
    found = Condition.parse(best.text)
    assert [found.holds(case) for case in CASES] == [condition.holds(case) for case in CASES]
    assert best.missed == 0
    assert best.extra == sum(map(condition.holds, passing))


def test_exceptions_are_counted() -> None:
    """Failing cases outside of a rule, and passing ones within, come out as such."""
    inside = [case for case in CASES if case.groups > 1]
    outside = [case for case in CASES if case.groups == 1]
    failing = [*inside[5:], *outside[::200]]
    passing = [case for case in CASES if case not in set(failing)]
    best = rules.find(failing, passing)[0]
    assert Condition.parse(best.text).holds(inside[0])
    assert (best.text, best.missed, best.extra) == ("groups > 1", len(outside[::200]), 5)


def test_a_rule_with_a_reason_comes_first_where_it_holds_as_well() -> None:
    """A suspect's condition is told before a plainer one that the cases cannot tell from it."""
    reason = "stride_h > 1 and out_height > 1 or stride_w > 1 and out_width > 1"
    failing = [case for case in CASES if case.stride[0] > 2 and case.geometry.out[0] > 1][:20]
    passing = [case for case in CASES if case.stride == (1, 1)][:200]
    assert rules.find(failing, passing)[0].text != reason
    assert rules.find(failing, passing, given=[reason])[0].text == reason
    # A condition of the implementation's own contradicts it.
    passing = [case for case in CASES if case.stride[0] < 3]
    assert rules.find(failing, passing, given=[reason])[0].text == "stride_h > 2"


def test_no_rule_where_nothing_separates() -> None:
    """Failures drawn at random have no condition, and no failures have no rule."""
    rng = random.Random(5)
    failing = [case for case in CASES if rng.random() < 0.3]
    passing = [case for case in CASES if case not in set(failing)]
    assert rules.find(failing, passing)[0].text == "True"
    assert rules.find([], CASES) == []


def test_columns_give_what_conditions_give() -> None:
    """A table's vectors are the values of the condition language, case by case."""
    table = rules.Table(CASES[:200])
    for text in (*CONDITIONS, "not bias or 2 * padding_top - 1 < kernel_h", "mask not in ('111',)"):
        condition = Condition.parse(text)
        assert table.holds(text).tolist() == [condition.holds(case) for case in CASES[:200]], text


def test_probing_cases_tell_rules_apart() -> None:
    """Of two rules that the suite cannot tell apart, the one that predicts new cases wins."""
    square = [case for case in CASES if (case.stride[0] > 1) == (case.stride[1] > 1)]
    failing = [case for case in square if case.stride[1] > 1]
    passing = [case for case in square if case.stride[1] == 1]
    both = [rules.Rule("stride_h > 1", 0, 0, 8.0), rules.Rule("stride_w > 1", 0, 0, 9.0)]
    target = Faulty(("bias-added-twice", lambda p: p.stride[1] > 1 and p.bias is not None))
    failing = [case for case in failing if case.bias]
    passing = [case for case in passing if case.bias]
    bench = Bench(Implementation.of(target, "mine"), ("forward",), None, time.perf_counter() + 60)
    end = time.perf_counter() + 60
    found = probing.settled(bench, "forward", both, failing, passing, end)
    assert found[0].text == "stride_w > 1"
    assert 0 < len(bench.outcomes) <= 10


def test_a_probing_case_that_cannot_show_the_fault_says_nothing() -> None:
    """What passes tells rules apart only where the fault would show."""
    failing = [case for case in CASES if case.stride[1] > 1 and case.bias]
    passing = [case for case in CASES if case.stride == (1, 1) and case.bias]
    both = [rules.Rule("stride_h > 1 or stride_w > 1", 0, 0, 8.0),
            rules.Rule("stride_w > 1", 0, 0, 9.0)]  # fmt: skip
    target = Faulty(("bias-added-twice", lambda p: p.stride[1] > 1 and p.bias is not None))
    end = time.perf_counter() + 60
    bench = Bench(Implementation.of(target, "mine"), ("forward",), None, end)
    told = probing.settled(bench, "forward", both, failing, passing, end)
    assert told[0].text == "stride_w > 1"
    told = probing.settled(bench, "forward", both, failing, passing, end, lambda _: False)
    assert told[0].text == "stride_h > 1 or stride_w > 1"


def test_probing_cases_are_small() -> None:
    """One case's many channels are never put together with another's many images."""
    many = [case for case in CASES if case.in_channels < 4][:20]
    large = [replace(case, batch=60_000) for case in many]
    wide = [replace(case, extents=(3, 70_000)) for case in many if case.kernel[0] < 3]
    rng = random.Random(1)
    made = list(probing._between(rng, large, wide))
    assert max(map(effort, made)) <= 2_000_000
    assert len(made) > 50


# ------------------------------------------------------------------ suspects


def test_of_suspects_that_fit_the_one_to_the_bit_comes_first() -> None:
    """Within the bound of reals two faults give a result; one of them gives its bits."""
    case = Case.from_id(PLAIN.id.replace("float64", "float32").replace("integers", "reals"))
    right = named("bias-added-twice")

    def off(p: Problem, op: str) -> Any:
        """Return that fault's result, its last bit changed."""
        found = right.results(p, op)
        assert found is not None
        return np.nextafter(found, np.float32(np.inf))

    near = replace(right, name="near", results=off)
    target = Faulty((right.name, always))
    bench = Bench(Implementation.of(target, "mine"), ("forward",), None, time.perf_counter() + 60)
    seen = bench.sight(case, "forward")
    assert seen is not None
    assert matching.gives(near, seen)
    assert matching.match([seen], [], [near, right])[0].fault.name == right.name


def test_a_fault_on_a_condition_of_its_own_is_named_with_it() -> None:
    """The suspect, the implementation's own condition, how many cases, and a smallest one."""
    target = Faulty(("group-0s-weights-for-all", lambda p: p.stride[1] > 1))
    found = {d.op: d for d in diagnosed(target, "quick", ops=("forward", "grad_input"))}
    assert set(found) == {"forward", "grad_input"}
    for op, diagnosis in found.items():
        assert diagnosis.suspect == "group-0s-weights-for-all", op
        assert diagnosis.explains == diagnosis.of > 10
        condition = Condition.parse(diagnosis.condition)
        truth = Condition.parse("groups > 1 and stride_w > 1")
        assert all(condition.holds(case) == truth.holds(case) for case in CASES), op
        smallest = Case.from_id(diagnosis.smallest)
        assert (smallest.in_channels, smallest.out_channels, smallest.groups) == (2, 2, 2)
        assert smallest.extents == smallest.kernel == (1, 1)
        assert smallest.stride[1] == 2
        assert diagnosis.test.count("\n") == 4


def test_two_faults_are_told_apart() -> None:
    """Each fault is named for the cases that it explains, the more frequent one first."""
    target = Faulty(
        ("bias-added-twice", lambda p: p.groups == 1 and p.bias is not None),
        ("group-0s-weights-for-all", always),
    )
    found = diagnosed(target, "quick", ops=("forward",))
    assert {d.suspect for d in found} == {"bias-added-twice", "group-0s-weights-for-all"}
    for diagnosis in found:
        assert diagnosis.explains < diagnosis.of
        assert diagnosis.condition is not None
        held = Condition.parse(diagnosis.condition)
        mine = "groups == 1 and bias" if diagnosis.suspect == "bias-added-twice" else "groups > 1"
        truth = Condition.parse(mine)
        agree = [held.holds(case) == truth.holds(case) for case in CASES]
        assert sum(agree) > 0.97 * len(agree), diagnosis.condition


class TailRow(Faulty):
    """Leaves an odd last row out of the weight gradient of output channels after the last four."""

    def conv2d_backward(self, g: Any, x: Any, w: Any, *rest: Any) -> Any:
        """Return the gradients; those of the tail of channels are of the other rows."""
        *parameters, mask = rest
        found = list(npconv.conv2d_backward(g, x, w, *parameters, mask))
        tail = len(w) // 4 * 4
        if mask[1] and tail < len(w):
            cut = g.copy()
            cut[..., g.shape[-2] // 2 * 2 :, :] = 0
            found[1][tail:] = npconv.conv2d_weight(x, w.shape, cut, *parameters)[tail:]
        return tuple(found)


def test_one_cause_is_told_as_one() -> None:
    """Suspects that give some of the results by chance are no causes where one rule tells all."""
    (found,) = diagnosed(TailRow(), "quick", ops=("grad_weight",))
    assert found.suspect is None
    assert found.condition == "out_height % 2 != 0 and out_channels % 4 != 0"
    assert (found.missed, found.sample, found.explains) == (0, 0, found.of)
    plan = Plan(lambda it: Implementation.of(it, "mine"), TailRow(), "quick", ("grad_weight",))
    bench = Bench(plan.implementation(), plan.ops, None, time.perf_counter() + 60)
    tiny = [case for case in CASES if case.out_channels < 4 and case.geometry.out[0] == 1]
    by_chance = [bench.sight(case, "grad_weight") for case in tiny]
    zero = named("output-zero")
    assert any(matching.gives(zero, sight) for sight in by_chance if sight is not None)


def test_failures_of_two_kinds_with_one_rule_have_one_cause() -> None:
    """Where one rule tells all that fails, wrong values and exceptions are told together."""

    class Wild(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            right = npconv.conv2d(x, w, b, *parameters)
            if parameters[0][1] == 1 or parameters[-1] == 1:
                return right
            # By the data, which no parameter tells.
            if x.size and int(abs(float(x.flat[0].real))) % 3 == 0:
                raise IndexError(f"out of {x.shape}")
            return right + np.where(np.arange(right.shape[-1]) % 2, 7, -3).astype(right.dtype)

    suite = tuple(case.id for case in CASES if case.data in ("integers", "reals"))
    (found,) = diagnosed(Wild(), suite[::2], ops=("forward",))
    assert (found.suspect, found.missed, found.sample) == (None, 0, 0)
    assert found.condition == "groups > 1 and stride_w > 1"
    assert re.search(
        r"it raises IndexError: out of .* \(in \d+ of 24 cases looked at\)", found.says
    )
    assert re.search(r"elements are wrong \(in \d+ of 24 cases looked at\)", found.says)


def test_a_suspect_of_some_results_without_a_rule_is_no_cause() -> None:
    """What gives some of the results, whatever the parameters, is told in words or left out."""

    class Mixed(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            right = npconv.conv2d(x, w, b, *parameters)
            # By the data, which no parameter tells.
            if right.size == 0 or int(abs(float(x.flat[0].real))) % 8 < self.share:
                return 0 * right
            return right + np.where(np.arange(right.shape[-1]) % 2 == 0, 7, -3).astype(right.dtype)

        share = 5

    suite = [case.id for case in CASES if case.data == "integers" and case.padding_form == "pair"]
    target = Mixed()
    (found,) = diagnosed(target, tuple(suite[::8]), ops=("forward",))
    assert found.suspect is None
    assert re.match(r"\d+ of \d+ looked at are what a kernel gives that returns zeros "
                    r"\[output-zero\]; ", found.says)  # fmt: skip
    target.share = 2
    (found,) = diagnosed(target, tuple(suite[::8]), ops=("forward",))
    assert found.suspect is None
    assert "output-zero" not in found.says


def test_what_passes_within_a_rule_is_counted_without_what_fails() -> None:
    """Cases that another fault makes fail are none that pass."""

    class Both(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            if x.size and int(abs(float(x.flat[0].real))) % 8 == 0:
                right = npconv.conv2d(x, w, b, *parameters)
                return right + np.where(np.arange(right.shape[-1]) % 2, 7, -3).astype(right.dtype)
            return super().conv2d(x, w, b, *parameters)

    suite = [case.id for case in CASES if case.data == "integers" and case.padding_form == "pair"]
    target = Both(("bias-added-twice", lambda p: p.bias is not None))
    found = {d.suspect: d for d in diagnosed(target, tuple(suite[::2]), ops=("forward",))}
    assert set(found) == {"bias-added-twice", None}
    named_one = found["bias-added-twice"]
    assert named_one.condition == "bias"
    assert (named_one.missed, named_one.extra) == (0, 0)
    assert named_one.explains < named_one.of


class Sliced(Faulty):
    """Reads columns at the distance of rows, as slices that end with the padded image."""

    def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
        """Add up shifted images, tap by tap."""
        (sh, sw), (ph, pw), (dh, _), _ = parameters
        rows, columns = npconv.conv2d(x, w, b, *parameters).shape[2:]
        padded = np.pad(x, ((0, 0), (0, 0), (ph, ph), (pw, pw)))
        out = np.zeros((len(x), len(w), rows, columns), x.dtype)
        for k, t in np.ndindex(w.shape[2:]):
            tap = padded[:, :, k * dh :: sh, t * dh :: sw][:, :, :rows, :columns]
            out += np.einsum("nchw,fc->nfhw", tap, w[:, :, k, t])
        return out if b is None else out + b[:, None, None]

    supports = {"groups": False}  # noqa: RUF012  # as users write it


def test_what_raises_beyond_the_input_is_told_with_the_suspect() -> None:
    """A kernel that reads beyond the padded input gives zeros there, or raises: one cause."""
    legal = [d for d in diagnosed(Sliced(), "quick", ops=("forward",)) if d.condition != "illegal"]
    (found,) = legal
    assert found.suspect == "row-dilation-for-both"
    assert (found.explains, found.missed, found.sample) == (found.of, 0, 0)
    assert found.condition == "dilation_h != dilation_w and kernel_w > 1"
    assert re.search(r"; it raises in \d+ of the \d+$", found.shape)


def test_the_smallest_case_of_a_suspect_shows_its_result() -> None:
    """Smaller cases in which the suspect's kernel raises are none that show what it gives."""
    form = "{}-bias-m111-float64-packed-integers-seed{}"
    wide, tiny, right = (
        tuple(form.format(sizes, seed) for seed in range(10))
        for sizes in ("n2c3f4g1-6x11-k3x3-s1x1-p0x0-d1x4", "n1c1f1g1-1x4-k1x2-s1x1-p0x0-d2x1",
                      "n2c3f4g1-6x11-k3x3-s1x1-p0x0-d1x1")
    )  # fmt: skip
    (found,) = diagnosed(Sliced(), (*wide, *tiny[:4], *right), ops=("forward",))
    assert (found.suspect, found.explains) == ("row-dilation-for-both", found.of)
    assert found.shape.endswith("it raises in 4 of the 14")
    smallest = Case.from_id(found.smallest)
    arrays = operands(smallest)
    Sliced().conv2d(arrays.input, arrays.weight, arrays.bias, *smallest.parameters)


def test_an_exception_names_no_fault_that_stays_within_the_input() -> None:
    """Only where a fault reads beyond the padded input may its kernel raise."""
    fault = named("row-dilation-for-both")
    near = Case.from_id(
        "n1c1f1g1-4x9-k2x2-s1x1-p0x0-d1x3-nobias-m111-float64-packed-integers-seed0"
    )
    far = replace(near, dilation=(3, 1))
    raised = Failure("", "forward", "raised", "ValueError: shapes")
    for case, may in ((near, False), (far, True)):
        right = expect(case, operands(case)).references["forward"]
        problem = Problem.of(case, operands(case))
        seen = Sight(case, "forward", raised, problem, None, right)
        assert matching.raises(fault, seen) == may, case.id
        values = replace(seen, failure=replace(raised, kind="values"), got=right.values)
        assert not matching.raises(fault, values)


@pytest.mark.parametrize(
    ("name", "case", "shape"),
    [
        # A span of 6 in 5 rows leaves no window, one of 5 in 3 rows less than none.
        ("span-of-dilation-times-kernel", "3x7-k2x2-s1x1-p1x0-d3x1", (0, 6)),
        ("span-of-dilation-times-kernel", "3x7-k1x2-s1x1-p0x0-d5x1", None),
        ("output-size-with-row-span-for-both", "7x3-k3x2-s1x1-p0x0-d2x1", None),
        ("output-size-with-row-span-for-both", "7x4-k3x2-s1x1-p0x0-d2x1", (3, 0)),
        ("padding-ignored", "2x6-k3x2-s1x1-p1x0-d1x1", (0, 5)),
        ("padding-ignored", "1x6-k3x2-s1x1-p1x0-d1x1", None),
        ("dilations-swapped-with-sizes", "7x3-k2x2-s1x1-p0x0-d4x2", None),
        ("dilations-swapped-with-sizes", "7x3-k2x2-s1x1-p0x0-d3x2", (5, 0)),
        ("dilations-swapped-with-sizes", "7x4-k2x2-s1x1-p0x0-d3x2", (5, 1)),
    ],
)
def test_where_no_window_is_left_the_result_is_empty_and_below_there_is_none(
    name: str, case: str, shape: tuple[int, int] | None
) -> None:
    """A size of 0 is an empty array, one below 0 an exception, as NumPy has it."""
    given = Case.from_id(f"n2c1f3g1-{case}-bias-m111-float64-packed-integers-seed0")
    fault, problem = named(name), Problem.of(given, operands(given))
    assert Condition.parse(str(fault.trigger)).holds(given)
    if shape is None:
        with pytest.raises(NoArrayError):
            fault.results(problem, "forward")
    else:
        found = fault.results(problem, "forward")
        assert found is not None
        assert found.shape == (2, 3, *shape)


def test_a_suspect_that_breaks_what_passes_comes_later() -> None:
    """Of two faults that give the failing results, the one that leaves passing cases right wins."""
    fault = named("group-0s-weights-for-all")
    whole = replace(fault, name="also-elsewhere", trigger=None, results=lambda p, op: (
        p.input * 0 + 1 if p.groups == 1 else fault.results(p, op)
    ))  # fmt: skip
    target = Implementation.of(Faulty((fault.name, always)), "mine")
    bench = Bench(target, ("forward",), None, time.perf_counter() + 60)
    grouped = [case for case in CASES if case.groups > 1 and case.data == "integers"][:40]
    sights = [s for case in grouped if (s := bench.sight(case, "forward")) is not None]
    dense = [case for case in CASES if case.groups == 1 and case.data == "integers"][:5]
    passing = [(case, Problem.of(case, operands(case))) for case in dense]
    found = matching.match(sights, passing, [whole, fault])
    assert [match.fault.name for match in found] == [fault.name]
    assert found[0].explains == frozenset(range(len(sights)))
    assert matching.match(sights, [], [whole, fault])[0].fault.name == whole.name


def test_conforming_implementations_are_not_diagnosed() -> None:
    """Nothing is said of what is right, and nothing is run."""
    target = Faulty()
    assert diagnosed(target) == ()


def test_what_is_raised_in_other_words_is_told_apart() -> None:
    """Two exceptions have each their condition, also sys.exit, which ends no diagnosis."""

    class Raising(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            if parameters[-1] == 2:
                sys.exit(f"no groups for {x.shape}")
            if parameters[0][1] > 2:
                raise ValueError(f"stride {parameters[0]}")
            return super().conv2d(x, w, b, *parameters)

    illegal, *found = diagnosed(Raising(), "quick", ops=("forward",))
    assert illegal.says.startswith("illegal calls end in SystemExit: no groups for ")
    exits = next(d for d in found if "SystemExit" in d.says)
    raises = next(d for d in found if "ValueError" in d.says)
    assert (len(found), exits.condition) == (2, "groups == 2")
    held = Condition.parse(raises.condition)
    strided = [case for case in CASES if case.groups != 2]
    assert all(held.holds(case) == (case.stride[1] > 2) for case in strided), raises.condition


@pytest.mark.parametrize("name", ["bias-without-its-axes", "output-size-without-padding"])
def test_what_a_fault_raises_is_told_with_its_results(name: str) -> None:
    """Where a fault makes no array the implementation raises: of the same cause, in one part."""
    (found,) = diagnosed(Faulty((name, always)), "quick", ops=("forward",))
    assert (found.suspect, found.explains) == (name, found.of)
    fault = named(name)
    failing = [case for case in CASES if Condition.parse(str(fault.trigger)).holds(case)]
    raised = 0
    for case in failing[:200]:
        try:
            fault.results(Problem.of(case, operands(case)), "forward")
        except NoArrayError:
            raised += 1
    assert raised > 5


def test_a_fault_that_would_fill_the_memory_raises() -> None:
    """A column that a long bias widens is no array: 2**32 elements, of which none are made."""
    case = Case.from_id(
        "n1c1f65537g1-2x1-k1x1-s1x1-p0x0-d1x1-bias-m111-float32-packed-integers-seed0"
    )
    problem = Problem.of(case, operands(case))
    with pytest.raises(NoArrayError, match="memory"):
        named("bias-without-its-axes").results(problem, "forward")


def test_what_is_raised_names_no_fault_by_itself() -> None:
    """Refused calls are no evidence for a fault that would raise there too."""

    class Refusing(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            if b is not None and len(b) > 1:
                raise ValueError("no bias")
            return super().conv2d(x, w, b, *parameters)

    found = diagnosed(Refusing(), "quick", ops=("forward",))
    assert [d.suspect for d in found if d.condition != "illegal"] == [None]


def test_a_fault_that_raises_where_results_pass_is_contradicted() -> None:
    """A call that returned what is right speaks against what would have raised."""
    case = Case.from_id("n1c1f3g1-4x5-k1x1-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0")
    problem = Problem.of(case, operands(case))
    fault = named("bias-without-its-axes")
    assert matching.contradictions(fault, "forward", [(case, problem)]) == 1


def test_a_case_that_no_window_reaches_is_no_evidence() -> None:
    """Where all products are zero, results are right whatever is wrong with the sums."""

    class Opposite(Faulty):
        def conv2d(self, x: Any, w: Any, b: Any, *parameters: Any) -> Any:
            return npconv.conv2d(x, -w, b, *parameters)

    far = Case(1, 2, 3, 1, (1, 1), (1, 1), (5, 5), (2, 2), (1, 1), True, "111", "float64", "packed",
               "integers", 0)  # fmt: skip
    near = replace(far, padding=(0, 0))
    suite = tuple(replace(case, seed=seed).id for case in (far, near) for seed in range(30))
    (found,) = diagnosed(Opposite(), suite, ops=("forward",))
    assert (found.failing, found.asked, found.condition) == (30, 60, None)


def test_nothing_runs_again_where_it_may_crash() -> None:
    """An operation with a crash is diagnosed from its parameters, without a call."""
    target = Faulty()
    plan = Plan(lambda it: Implementation.of(it, "mine"), target, "quick[::3]", ("forward",))
    tally = Tally()
    run(plan, tally)
    suite, calls = plan.cases(), target.calls
    cases = [suite[position] for position in range(len(suite))]
    crashed = [p for p, case in enumerate(cases) if case.groups > 1 and case.illegal is None]
    tally.failed = {"forward": [(p, p + 1) for p in crashed]}
    tally.counts["forward"]["failed"] = tally.failures_total = len(crashed)
    tally.failures = [Failure(cases[p].id, "forward", "crashed", "signal 11") for p in crashed]
    (found,) = diagnose(plan, tally)
    assert (found.condition, found.suspect, target.calls) == ("groups > 1", None, calls)
    assert found.says == "the process dies"


def test_a_diagnosis_keeps_to_its_time() -> None:
    """A slow implementation is called no more often than the time allows."""

    class Slow(Faulty):
        def conv2d(self, *arguments: Any) -> Any:
            if self.slow:
                time.sleep(0.05)
            return super().conv2d(*arguments)

        slow = False

    target = Slow(("bias-added-twice", always))
    plan = Plan(lambda it: Implementation.of(it, "mine"), target, "quick[::5]", ("forward",))
    tally = Tally()
    run(plan, tally)
    target.slow, calls = True, target.calls
    diagnose(plan, tally, 1.0)
    # 0.05 s a call, called twice for each case, and one case that is under way at the end.
    assert 2 <= target.calls - calls <= 1.0 / 0.05 + 4


def test_expected_failures_are_not_diagnosed(tmp_path: Any) -> None:
    """What is known with a reason needs no explanation."""
    from npconv.oracle.expectations import Expectations

    path = tmp_path / "known.txt"
    path.write_text("bias [forward]  # it is added twice\n", "utf-8")
    expectations = Expectations.read(path)
    target = Faulty(("bias-added-twice", always))
    assert diagnosed(target, "quick[::9]", ops=("forward",), expectations=expectations) == ()
    other = Faulty(("bias-added-twice", always), ("group-0s-weights-for-all", always))
    found = diagnosed(other, "quick[::3]", ops=("forward",), expectations=expectations)
    assert [diagnosis.suspect for diagnosis in found] == ["group-0s-weights-for-all"]


# ------------------------------------------------------------------ state, masks, refusals


class Accumulating(Faulty):
    """Adds each output to the last one of its shape."""

    def __init__(self) -> None:
        super().__init__()
        self.held: dict[Any, Any] = {}

    def conv2d(self, *arguments: Any) -> Any:
        """Return the sum of this output and those before."""
        right = super().conv2d(*arguments)
        key = right.shape, right.dtype
        self.held[key] = right + self.held.get(key, 0)
        return self.held[key].copy()


class Late(Accumulating):
    """Returns the last output of the shape."""

    def conv2d(self, *arguments: Any) -> Any:
        """Return what was right before."""
        right = Faulty.conv2d(self, *arguments)
        key = right.shape, right.dtype
        former, self.held[key] = self.held.get(key, right), right.copy()
        return former.copy()


class Unwritten(Accumulating):
    """Leaves the last row as the memory was, which at times holds what is right."""

    def conv2d(self, *arguments: Any) -> Any:
        """Return a copy with another last row, but for every fourth call."""
        found = Faulty.conv2d(self, *arguments).copy()
        if self.calls % 4:
            found[..., -1, :] = self.calls
        return found


class Racing(Accumulating):
    """Gives another element wrong at each call, and none at every fourth."""

    def conv2d(self, *arguments: Any) -> Any:
        """Return a copy with one wrong element."""
        found = Faulty.conv2d(self, *arguments).copy()
        if self.calls % 4 and found.size:
            found.reshape(-1)[7 * self.calls % found.size] += 1
        return found


class Masked(Faulty):
    """Returns every gradient, asked for or not."""

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return all gradients."""
        return super().conv2d_backward(*arguments[:-1], (True, True, True))


class Refusing(Faulty):
    """Refuses an empty batch."""

    supports = {"empty": ("batch", "channels")}  # noqa: RUF012

    def conv2d(self, x: Any, *arguments: Any) -> Any:
        """Raise where there is no image."""
        if x.shape[0] == 0:
            raise ValueError("no image")
        return super().conv2d(x, *arguments)


@pytest.mark.parametrize(
    ("target", "op", "name"),
    [
        (Accumulating, "forward", "accumulates-onto-the-last-result"),
        (Late, "forward", "last-result-returned"),
        (Unwritten, "forward", "last-row-unwritten"),
        (Racing, "forward", "race-on-the-output"),
        (Masked, "grad_input", "mask-ignored"),
        (Refusing, "forward", "empty-batch-refused"),
    ],
)
def test_what_no_single_result_shows_is_found_by_experiments(
    target: Any, op: str, name: str
) -> None:
    """State left by calls, masks that are not followed and refusals have their names."""
    found = diagnosed(target(), "quick", ops=(op,))
    assert found[0].suspect == name


def test_an_experiment_outlives_a_call_that_ends_python() -> None:
    """A target that calls sys.exit has no answer; the diagnosis goes on."""

    class Exiting(Faulty):
        def wrong(self, problem: Problem, op: str, right: Any) -> Any:
            sys.exit(f"{op} of {problem.input.shape} and {right is None}")

    bench = Bench(Implementation.of(Exiting(), "mine"), OPS, None, time.perf_counter() + 600)
    for op in OPS:
        assert experiments.on_values(bench, [PLAIN], op, list(OPS)) is None


# ------------------------------------------------------------------ descriptions


def sight(case: Case, op: str, change: Callable[[Any], Any]) -> Sight:
    """Return what is seen of a result that was changed."""
    arrays = operands(case)
    right = expect(case, arrays).references[op]
    failure = Failure(case.id, op, "values", "")
    return Sight(case, op, failure, Problem.of(case, arrays), change(right.values.copy()), right)


def assigned(index: Any, value: Any) -> Callable[[Any], Any]:
    """Return a change that assigns to part of an array."""

    def change(array: Any) -> Any:
        array[index] = value(array[index]) if callable(value) else value
        return array

    return change


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: -y, "the results have the opposite sign"),
        (lambda y: 3 * y, "the results are 3 times what is right"),
        (lambda y: y / 4, "the results are 1/4 times what is right"),
        (lambda y: 0 * y, "the results are zero"),
        (assigned((..., -1, slice(None)), 0.0), "only the last row is wrong"),
        (assigned((..., 0), lambda a: a + 1), "only the first column is wrong"),
        (assigned((..., 0, 0), np.nan), "the wrong elements are NaN"),
        (assigned((slice(1, None),), lambda a: a + 7), "only the last image is wrong"),
        (lambda y: y[:, ::-1].copy(), "the channels are in reverse order"),
        (lambda y: y[..., ::-1].copy(), "the columns are in reverse order"),
        (lambda y: np.roll(y, 1, -1), "the results are shifted by 1 column right"),
        (lambda y: np.roll(y, -1, -2), "the results are shifted by 1 row up"),
        (lambda y: y[:1].repeat(2, 0), "every image holds the first image's result"),
        (lambda y: y * (1 + 2.0**-13), "as rounding to fewer bits gives"),
        (assigned((0, 0, 0, 0), 1e30), "garbage"),
    ],
)
def test_descriptions_are_true(change: Callable[[Any], Any], said: str) -> None:
    """What was done to a right result is what is said of it, over several cases."""
    cases = [replace(PLAIN, seed=seed, extents=(9, 12 + seed)) for seed in range(3)]
    assert said in describe.describe([sight(case, "forward", change) for case in cases])


@pytest.mark.parametrize("factor", [-1.0, 1.125, 3.0])
def test_a_factor_is_told_of_inexact_data(factor: float) -> None:
    """Within the bound of reals a plain factor is told, and rounding is none."""
    cases = [Case.from_id(PLAIN.id.replace("integers", "reals").replace("seed0", f"seed{seed}"))
             for seed in range(3)]  # fmt: skip
    said = describe.describe([sight(case, "forward", lambda y: y * factor) for case in cases])
    assert ("opposite sign" if factor == -1 else "times what is right") in said
    rounded = [sight(case, "forward", lambda y: y * (1 + 2.0**-9)) for case in cases]
    assert "times what is right" not in describe.describe(rounded)


def test_terms_left_out_are_described() -> None:
    """Sums without one kernel row, or one image, say so."""

    def without_row(case: Case) -> Sight:
        weight = operands(case).weight.copy()
        weight[..., -1, :] = 0
        problem = replace(Problem.of(case, operands(case)), weight=weight)
        got = npconv.conv2d(problem.input, weight, problem.bias, *case.parameters)
        return sight(case, "forward", lambda _: got)

    def without_centre(case: Case) -> Sight:
        case = replace(case, kernel=(3, 3))
        weight = operands(case).weight.copy()
        weight[..., 1, 1] = 0
        problem = replace(Problem.of(case, operands(case)), weight=weight)
        got = npconv.conv2d(problem.input, weight, problem.bias, *case.parameters)
        return sight(case, "forward", lambda _: got)

    def without_image(case: Case) -> Sight:
        arrays = operands(case)
        grad = arrays.grad_output.copy()  # type: ignore[union-attr]  # a legal case has one
        grad[0] = 0
        got = npconv.conv2d_weight(arrays.input, case.weight_shape, grad, *case.parameters)
        return sight(case, "grad_weight", lambda _: got)

    cases = [replace(PLAIN, seed=seed, batch=3) for seed in range(3)]
    assert "the central tap of the kernel is left out of the sums" in describe.describe(
        [*map(without_centre, cases)]
    )
    assert "the last kernel row is left out" in describe.describe([*map(without_row, cases)])
    assert "the first image is left out" in describe.describe([*map(without_image, cases)])


def test_border_and_interior_are_told() -> None:
    """Where only windows over the padding are wrong, that is what is said."""
    case = replace(PLAIN, padding=(2, 2), stride=(1, 1))

    def change(y: Any) -> Any:
        wrong = y + 1
        wrong[..., 2:-2, 2:-2] = y[..., 2:-2, 2:-2]
        return wrong

    said = describe.describe([sight(case, "forward", change)])
    assert "only outputs whose windows reach into the padding are wrong" in said


# ------------------------------------------------------------------ smallest case


@pytest.mark.parametrize(
    ("text", "least"),
    [
        ("groups > 1 and stride_w > 1", {"in_channels": 2, "extents": (1, 1), "stride": (1, 2)}),
        ("padding_left > kernel_w", {"padding": (0, 2), "kernel": (1, 1), "in_channels": 1}),
        ("dilation_h > 2 and kernel_h == 3", {"dilation": (3, 1), "kernel": (3, 1)}),
        ("channels_per_group > 4", {"in_channels": 5, "out_channels": 1, "groups": 1}),
    ],
)
def test_what_is_smallest_keeps_just_what_it_needs(text: str, least: dict[str, Any]) -> None:
    """Everything that the condition does not ask for goes to its least."""
    condition = Condition.parse(text)
    start = next(case for case in CASES if condition.holds(case) and case.padding_form == "pair")
    found = shrink(start, condition.holds, most=400)
    assert condition.holds(found)
    assert {name: getattr(found, name) for name in least} == least
    assert (found.batch, found.bias, found.layout, found.data) == (1, False, "packed", "integers")
    assert not any(condition.holds(other) for other in smaller(found) if other.illegal is None)


@pytest.mark.parametrize("op", OPS)
@pytest.mark.parametrize("layout", ["packed", "channels_last", "reversed", "stepped"])
@pytest.mark.parametrize("single", [False, True])
def test_the_written_test_is_one(op: str, layout: str, single: bool) -> None:
    """It passes on right functions and fails on wrong ones, with the case's arrays and strides."""
    case = replace(PLAIN, batch=1, extents=(3, 4), dilation=(1, 1), layout=layout, in_channels=2,
                   out_channels=2)  # fmt: skip
    arrays = operands(case)
    want = expect(case, arrays).values[op]
    functions = {"conv2d", "conv2d_input", "conv2d_weight", "conv2d_bias"}
    functions |= set() if single else {"conv2d_backward"}
    text = example.written(case, op, Problem.of(case, arrays), want, frozenset(functions))
    assert len(text.splitlines()) <= 5
    assert "npconv" not in text
    seen: list[Any] = []

    def right(function: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            seen.extend(a for a in arguments if isinstance(a, np.ndarray))
            return getattr(npconv, function)(*arguments)

        return call

    names: dict[str, Any] = {function: right(function) for function in functions}
    exec(text, dict(names))  # what a user would run
    given = {a.strides for a in seen if a.ndim == 4}
    assert given <= {a.strides for a in arrays.named().values()}

    def wrong(function: str) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            found = getattr(npconv, function)(*arguments)
            if isinstance(found, tuple):
                return tuple(None if a is None else a + 1 for a in found)
            return found + 1

        return call

    with pytest.raises(AssertionError):
        exec(text, {function: wrong(function) for function in functions})


class Returning(Faulty):
    """Makes something else of every result, or of all gradients."""

    def __init__(self, change: Callable[[Any], Any], whole: bool = False) -> None:
        super().__init__()
        self.change, self.whole = change, whole

    def conv2d(self, *arguments: Any) -> Any:
        """Return the changed output."""
        return self.change(super().conv2d(*arguments))

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return the changed gradients, or something else than three."""
        three = super().conv2d_backward(*arguments)
        if self.whole:
            return self.change(three)
        return tuple(None if one is None else self.change(one) for one in three)


@pytest.mark.parametrize(
    ("target", "ops"),
    [
        (Returning(lambda y: y.astype("float64")), ("forward", "grad_weight")),
        (Returning(lambda y: y.astype(object)), ("forward", "grad_weight")),
        (Returning(lambda y: y.tolist()), ("forward", "grad_weight")),
        (Returning(lambda _: None), ("forward", "grad_bias")),
        (Returning(lambda y: y.ravel()[:1].sum()), ("forward", "grad_input")),
        (Returning(lambda y: y.ravel()[:1].reshape(())), ("forward", "grad_input")),
        (Returning(lambda y: y[..., 0]), ("forward", "grad_input")),
        (Returning(lambda three: three[:2], whole=True), ("grad_input",)),
        (Returning(lambda three: list(three)[:2], whole=True), ("grad_weight",)),
        (Returning(lambda three: dict(enumerate(three)), whole=True), ("grad_weight",)),
        (Returning(lambda three: next(t for t in three if t is not None), whole=True),
         ("grad_bias",)),
    ],
    ids=["float64", "object", "list", "none", "number", "scalar", "axis", "two", "list-of-two",
         "dict", "one"],
)  # fmt: skip
def test_the_written_test_fails_on_what_is_no_array_of_the_kind(
    target: Returning, ops: tuple[str, ...]
) -> None:
    """The printed test fails on the target that it is printed for, and passes on npconv."""
    texts = [d.test for d in diagnosed(target, "quick[::13]", ops=ops, dtypes=("float32",))]
    assert len([text for text in texts if text]) == len(ops)
    for text in filter(None, texts):
        assert len(text.splitlines()) <= 5
        exec(text, {"conv2d": npconv.conv2d, "conv2d_backward": npconv.conv2d_backward})
        with pytest.raises((AssertionError, TypeError, KeyError)):
            exec(text, {"conv2d": target.conv2d, "conv2d_backward": target.conv2d_backward})


@pytest.mark.parametrize("op", OPS)
def test_the_written_test_of_a_type_takes_arrays_alone(op: str) -> None:
    """A masked array, which is an array to Python, fails where the type was what failed."""
    case = replace(PLAIN, batch=1, extents=(3, 4), dilation=(1, 1), in_channels=2, out_channels=2)
    arrays = operands(case)
    want = expect(case, arrays).values[op]
    functions = frozenset({"conv2d", "conv2d_backward"})
    text = example.written(case, op, Problem.of(case, arrays), want, functions, "type")
    assert len(text.splitlines()) <= 5
    target = Returning(lambda y: np.ma.MaskedArray(y, mask=False))
    exec(text, {"conv2d": npconv.conv2d, "conv2d_backward": npconv.conv2d_backward})
    with pytest.raises(AssertionError):
        exec(text, {"conv2d": target.conv2d, "conv2d_backward": target.conv2d_backward})


def test_the_views_written_are_those_of_the_data() -> None:
    """Each layout's text gives the view that the suite's data has."""
    for layout, text in example._VIEWS.items():
        shape, view = framed((2, 3, 4, 5), layout)
        base = np.arange(np.prod(shape)).reshape(shape)
        assert np.array_equal(eval(f"base{text}"), view(base)), layout


def test_arrays_are_drawn_with_stars_at_what_is_wrong() -> None:
    """Small arrays stand side by side; large ones are not drawn."""
    case = Case.from_id(
        "n1c1f1g1-2x3-k1x1-s1x1-p0x0-d1x1-nobias-m111-float64-packed-integers-seed0"
    )
    problem = Problem.of(case, operands(case))
    want = expect(case, operands(case)).values["forward"]
    got = want.copy()
    got[0, 0, 1, 2] += 1
    text = example.drawn("forward", problem, got, want)
    assert text.count("*") == 1
    assert text.splitlines()[-1].endswith("*")
    assert text.splitlines()[0].split() == ["input", "weight", "expected", "actual"]
    big = replace(case, extents=(20, 30))
    assert not example.drawn(
        "forward",
        Problem.of(big, operands(big)),
        None,
        expect(big, operands(big)).values["forward"],
    )


# ------------------------------------------------------------------ reports


@pytest.mark.parametrize(
    ("result", "told"),
    [
        # Rounded to 16 bits, as an arithmetic does.
        (lambda right: right.astype("float16").astype(right.dtype), True),
        # The other way round along the width, which none does.
        (lambda right: right[..., ::-1].copy(), False),
        (lambda right: right[..., :1, :].copy(), False),
        (lambda right: np.full_like(right, np.nan), False),
    ],
    ids=["rounded", "reversed", "cut", "nan"],
)
def test_arithmetic_is_told_only_where_errors_may_be_its_own(
    result: Callable[[Any], Any], told: bool
) -> None:
    """Errors as large as the sums, and wrong shapes, are never put down to an arithmetic."""
    case = Case.from_id(PLAIN.id.replace("integers", "reals"))
    assert describe.as_of_rounding(sight(case, "forward", result)) == told


class Swapped(Faulty):
    """Gradients in another order."""

    def conv2d_backward(self, g: Any, x: Any, w: Any, *rest: Any) -> Any:
        """Return the gradients of weight, input and bias."""
        first, second, bias = super().conv2d_backward(g, x, w, *rest)
        return second, first, bias


def test_no_arithmetic_is_named_for_what_is_no_number() -> None:
    """Gradients in another order get no word on an arithmetic."""
    report = npconv.check(Swapped(), "quick", ops=["grad_input"], dtypes=["float64"])
    assert not report.findings
    assert report.diagnoses
    assert not [each.says for each in report.diagnoses if "it computes as" in each.says]


def test_nan_shows_no_arithmetic_and_no_rounding() -> None:
    """Where all elements are NaN this is what is said, and nothing of how they were computed."""
    report = npconv.check(Returning(lambda y: y * np.nan), "quick[::5]", ops=["forward"],
                          dtypes=["float32", "float16"])  # fmt: skip
    assert not report.findings
    said = [d for d in report.diagnoses if d.condition != "illegal"]
    assert [(d.suspect, d.says) for d in said] == [(None, "all elements are NaN")]


def test_suspects_are_not_told_by_nan_alone() -> None:
    """A fault needs one result with a number to be named; infinity is one, an empty array too."""
    case = Case.from_id(PLAIN.id.replace("integers", "special"))
    nan = sight(case, "forward", lambda y: np.full_like(y, np.nan))
    everywhere = replace(
        named("bias-added-twice"), trigger=None,
        results=lambda p, _: np.full_like(nan.want, np.nan) if p.input.size else None,
    )  # fmt: skip
    assert matching.gives(everywhere, nan)
    assert matching.match([nan], [], [everywhere]) == []
    mixed = sight(case, "forward", assigned((..., 0), np.inf))
    assert (nan.tells, mixed.tells) == (False, True)
    empty = sight(case, "forward", lambda y: y[:0])
    assert empty.tells


def test_a_wider_result_is_one_fault_on_all_data() -> None:
    """Results computed in float32 and returned as float64 are told by their dtype, not bits."""

    def single(y: Any) -> Any:
        return (y * y.dtype.type(1 + 2.0**-23)).astype("float64")

    reals = [case for case in CASES if case.dtype == "float32" and case.data == "reals"]
    suite = tuple(case.id for case in reals)[::3]
    (found,) = diagnosed(Returning(single), suite, ops=("forward",))
    assert (found.suspect, found.explains) == ("result-always-float64", found.of)
    assert found.of > 10


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda y: y.astype(object), "the result has dtype object, not float32"),
        (lambda y: y.astype("U9"), "the result has dtype str288, not float32"),
        (lambda y: np.zeros(y.shape, "datetime64[s]"), "the result has dtype datetime64[s], not"),
        (lambda y: np.zeros(y.shape, [("re", "f4")]), "the result has dtype void32, not float32"),
        (lambda y: np.broadcast_to(y.dtype.type(0), (10**6, 10**6, 10, 10)),
         "the result has shape (1000000, 1000000, 10, 10), far larger than what is right"),
        (lambda y: np.broadcast_to(y.ravel()[:1], (10**6, 10**6)), "the result has 2 axes, not 4"),
    ],
    ids=["object", "text", "time", "fields", "huge", "huge-of-two-axes"],
)  # fmt: skip
def test_what_cannot_be_compared_is_told_by_dtype_or_shape(
    change: Callable[[Any], Any], said: str
) -> None:
    """No numbers, and arrays far too large, are not looked into, and end no diagnosis."""
    suite = tuple(case.id for case in CASES if case.dtype == "float32")[::9]
    report = npconv.check(Returning(change), suite, ops=["forward"])
    (found,) = report.diagnoses
    assert found.says.startswith(said)
    assert found.suspect is None


@pytest.mark.parametrize("ratio", [3.47e-05, 0.529, 1.0, 123456.0])
def test_ratio_and_case_are_apart(ratio: float) -> None:
    """However long a ratio is printed, a space stands before the case's id."""
    report = npconv.check(npconv, "quick[:9]", ops=["forward"])
    report.tally.worst["forward"] = Worst(ratio, PLAIN.id)
    (line,) = [line for line in report_text(report).splitlines() if line.endswith(PLAIN.id)]
    assert line.split() == ["forward", f"{ratio:.3g}", PLAIN.id]


def test_reports_hold_diagnoses_and_say_them() -> None:
    """JSON has the contract's keys, the terminal the sentence; without diagnosis there is none."""
    target = Faulty(("group-0s-weights-for-all", lambda p: p.stride[1] > 1))
    report = npconv.check(target, "quick[::2]", ops=["forward"])
    (found,) = report.as_dict()["diagnoses"]
    assert {"op", "suspect", "says", "explains", "of", "condition", "smallest"} <= set(found)
    text = report_text(report)
    assert "all of them with groups > 1 and stride_w > 1" in text
    assert "your output is what a kernel gives that uses group 0's weights for every group" in text
    assert f"--case {found['smallest']}" in text
    assert npconv.check(target, "quick[::2]", ops=["forward"], diagnosis=False).diagnoses == ()


def test_every_catalogue_fault_can_be_compared() -> None:
    """Names are unique, and each trigger is a condition that rules can be offered."""
    assert len({fault.name for fault in CATALOGUE}) == len(CATALOGUE)
    table = rules.Table(CASES[:50])
    for fault in CATALOGUE:
        if fault.trigger is not None:
            assert table.holds(fault.trigger).shape == (50,), fault.name
