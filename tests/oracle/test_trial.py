"""Trials: planted faults give their kinds of failure, and nothing else does."""

import sys
import threading
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.formats import available
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.judge import Failure
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.trial import Outcome, printing_aside, run_case
from tests.targets_for_tests import Change, altered, raising, same

CASE = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")
MASKED = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m010-float32-packed-reals-seed0")
ILLEGAL = Case.from_id("n2c4f6g2-7x9-k3x2-s0x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")


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


def test_masked_array_is_its_data() -> None:
    """Elements that a masked array hides are judged as all others, right ones and wrong ones."""
    for case in (CASE, MASKED):
        for change, kind in ((same, None), (lambda r: r + 1, "values")):
            target = altered(forward=lambda r, f=change: np.ma.MaskedArray(f(r), mask=True))
            assert kinds(target, case)["forward"] == kind


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
        (
            (1, 2),
            (
                "returned tuple of 2, not (grad_input, grad_weight, grad_bias): "
                "None stands where output_mask is False"
            ),
        ),
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
    # Each call is made twice.
    assert masks == [(False, True, False)] * 2 + [(False, False, True)] * 2


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
    asked = ("forward", "grad_input", "grad_weight")
    assert kinds(target, ILLEGAL) == dict.fromkeys(asked, "unsupported")


@pytest.mark.parametrize("error", [ValueError(), TypeError(), RuntimeError(), IndexError()])
def test_illegal_case_must_be_refused_with_an_exception(error: Exception) -> None:
    """Any exception refuses an illegal case; the bias gradient sees no rule and is not asked."""
    refused = {"forward": None, "grad_input": None, "grad_weight": None}
    target = altered(conv2d=raising(error), conv2d_backward=raising(error))
    assert kinds(target, ILLEGAL) == refused
    assert kinds(target, ILLEGAL, ("grad_bias",)) == {}
    del target.conv2d_backward
    assert kinds(target, ILLEGAL) == {"forward": None}
    target.conv2d_input = target.conv2d_weight = raising(error)
    target.conv2d_bias = npconv.conv2d_bias
    assert kinds(target, ILLEGAL) == refused


def test_accepted_illegal_case_is_a_failure() -> None:
    """A result for an illegal case, even None, is a failure that names the broken rule."""
    for result in (np.zeros(3), None):
        target = altered(conv2d=lambda *_, r=result: r, conv2d_backward=lambda *_, r=result: r)
        found = told(outcome(target, ILLEGAL))
        assert sorted(found) == ["forward", "grad_input", "grad_weight"]
        for failure in found.values():
            assert isinstance(failure, Failure)
            assert failure.kind == "accepted"
            rule = "accepted an illegal case: stride=(0, 1) must be at least 1"
            assert failure.message.split(";")[0] == rule


def test_gradients_of_an_illegal_case_are_asked_one_by_one() -> None:
    """Each of both gradients has to refuse on its own; who accepts one fails in that one."""

    def conv2d_backward(*arguments: Any) -> Any:
        if arguments[-1] == (True, False, False):
            raise ValueError("refused")
        return (None, np.zeros(1), None)

    expected = {"forward": None, "grad_input": None, "grad_weight": "accepted"}
    assert kinds(altered(conv2d_backward=conv2d_backward), ILLEGAL) == expected


def test_ending_python_refuses_nothing() -> None:
    """SystemExit is a failure on an illegal case too."""
    target = altered(conv2d=raising(SystemExit(1)), conv2d_backward=raising(SystemExit(1)))
    assert set(kinds(target, ILLEGAL).values()) == {"raised"}


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


# ------------------------------------------------- memory, and the same answer twice


class Changing:
    """A conv2d, and gradients, whose every second result is changed."""

    def __init__(self, change: Change, on: int = 1) -> None:
        self.change, self.on, self.calls = change, on, 0

    def _now(self, result: Any) -> Any:
        return self.change(result) if self.calls % 2 == self.on else result

    def conv2d(self, *arguments: Any) -> Any:
        """Return the right result, or a changed one."""
        result = self._now(npconv.conv2d(*arguments))
        self.calls += 1
        return result

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return the right results, or changed ones."""
        results = tuple(
            None if r is None else self._now(r) for r in npconv.conv2d_backward(*arguments)
        )
        self.calls += 1
        return results


def nudged(result: Any) -> Any:
    """Change the last bit of one element."""
    result = result.copy()
    result.flat[0] = np.nextafter(result.flat[0], np.float32(np.inf))
    return result


@pytest.mark.parametrize("on", [0, 1])
def test_one_wrong_answer_of_two_is_unstable(on: int) -> None:
    """Where one of two answers to equal arguments is wrong, first or second, that is the kind."""
    found = told(outcome(Changing(one_up, on)))
    for op in OPS:
        failure = found[op]
        assert isinstance(failure, Failure)
        assert (failure.case, failure.op, failure.kind) == (CASE.id, op, "unstable")
        assert "called again with equal arguments" in failure.message
        assert ("the answer conforms" in failure.message) == (on == 0)


def test_two_wrong_answers_are_wrong_values() -> None:
    """Where both answers are wrong, differently, the kind is that of the first."""
    target = Changing(lambda r: r + 1, 0)
    target.conv2d = lambda *a, real=target.conv2d: one_up(real(*a))  # type: ignore[method-assign]
    assert kinds(target, CASE, ("forward",)) == {"forward": "values"}


def test_answers_that_differ_within_the_bound_are_not_reproducible() -> None:
    """A last bit that differs between two calls is counted apart, with how many elements did."""
    found = outcome(Changing(nudged), MASKED)
    assert {op: v.status for op, v in found.verdicts} == {
        "forward": "not_reproducible", "grad_input": "passed", "grad_weight": "not_reproducible",
        "grad_bias": "passed",
    }  # fmt: skip
    verdict = dict(found.verdicts)["forward"]
    assert verdict.reason == "1 of 336 elements differ between two calls with equal arguments"
    assert verdict.ratio is not None
    assert 0 < verdict.ratio <= 1


def test_sign_of_a_zero_is_a_difference() -> None:
    """Answers that differ in the sign of a zero alone are not reproducible either."""
    case = Case.from_id(CASE.id.replace("p1x0", "p4x0").replace("-bias", "-nobias"))
    found = dict(outcome(Changing(lambda r: np.where(r == 0, -r, r)), case).verdicts)["forward"]
    assert found.status == "not_reproducible"
    assert found.reason == "the sign of a zero differs between two calls with equal arguments"


@pytest.mark.parametrize(
    ("error", "kind"), [(ValueError("second"), "raised"), (NotImplementedError("now"), "raised")]
)
def test_second_call_that_raises_is_a_failure(error: Exception, kind: str) -> None:
    """An exception at the second call, NotImplementedError too, fails with what it says."""

    def fail(_: Any) -> Any:
        raise error

    found = told(outcome(Changing(fail)))["forward"]
    assert isinstance(found, Failure)
    assert found.kind == kind
    assert found.message == (f"called again with equal arguments: {type(error).__name__}: {error}")


def test_second_answer_of_another_shape_is_unstable() -> None:
    """A second answer that has not even the right shape is out of bound as well."""
    found = told(outcome(Changing(lambda r: r[..., :-1])))["forward"]
    assert isinstance(found, Failure)
    assert found.kind == "unstable"
    assert found.message.startswith("called again with equal arguments: shape (2, 6, 4, 6), not ")


def test_failed_structure_is_not_asked_again() -> None:
    """What raises, or has no values to compare, is called once."""
    calls = []

    def conv2d(*_: Any) -> Any:
        calls.append(1)
        return None

    assert kinds(altered(conv2d=conv2d))["forward"] == "type"
    assert len(calls) == 1


POINTWISE = Case.from_id(
    "n1c3f3g1-1x1-k1x1-s1x1-p0x0-d1x1-nobias-m111-float32-packed-integers-seed0"
)


def test_result_in_an_argument_s_memory_is_aliased() -> None:
    """A view of an argument fails even where its values are right."""

    def conv2d_backward(g: Any, *rest: Any) -> Any:
        grad_input, grad_weight, _ = npconv.conv2d_backward(g, *rest)
        return grad_input, grad_weight, g.reshape(-1)

    found = told(outcome(altered(conv2d_backward=conv2d_backward), POINTWISE))
    failure = found.pop("grad_bias")
    assert isinstance(failure, Failure)
    assert failure.kind == "aliased"
    assert failure.message == "shares memory with its argument grad_output: return a copy"
    assert found == dict.fromkeys(OPS[:3])


def test_static_buffer_is_aliased() -> None:
    """A result that the next call overwrites fails, although each answer is right when it comes."""
    buffers: dict[str, Any] = {}

    def into(op: str, result: Any) -> Any:
        buffer = buffers.setdefault(op, result)
        buffer[...] = result
        return buffer

    target = altered(
        conv2d=lambda *a: into("forward", npconv.conv2d(*a)),
        conv2d_backward=lambda *a: tuple(
            into(op, r) for op, r in zip(OPS[1:], npconv.conv2d_backward(*a), strict=True)
        ),
    )
    for op, failure in told(outcome(target)).items():
        assert isinstance(failure, Failure), op
        assert failure.kind == "aliased"
        assert "the second answer lies in the memory of the first" in failure.message


def test_wrong_values_in_a_static_buffer_are_shown_as_they_came() -> None:
    """The result that is reported is the first answer, as it was before the second call."""
    buffer = np.zeros((2, 6, 4, 7), np.float32)
    calls = []

    def conv2d(*arguments: Any) -> Any:
        calls.append(1)
        buffer[...] = npconv.conv2d(*arguments) + len(calls)
        return buffer

    found = outcome(altered(conv2d=conv2d), CASE, ("forward",))
    assert found.expected is not None
    right = found.expected.values["forward"]
    assert np.array_equal(found.results["forward"], right + 1)
    assert not np.array_equal(buffer, right + 1)


def test_results_in_one_block_of_memory() -> None:
    """Gradients may be pieces of one block, side by side or interleaved, but may not overlap."""

    def pieces(overlapping: bool) -> Any:
        def conv2d_backward(*arguments: Any) -> Any:
            results = npconv.conv2d_backward(*arguments)
            block = np.empty(3 * max(r.size for r in results if r is not None), np.float32)
            found = []
            for place, result in enumerate(results):
                assert result is not None
                piece = block[place::3][: result.size].reshape(result.shape)
                piece[...] = result
                found.append(piece)
            if overlapping:
                found[2] = found[0].reshape(-1)[: found[2].size]
            return found

        return conv2d_backward

    assert set(kinds(altered(conv2d_backward=pieces(False))).values()) == {None}
    found = told(outcome(altered(conv2d_backward=pieces(True))))["grad_bias"]
    assert isinstance(found, Failure)
    assert (found.kind, found.message) == ("aliased", "shares memory with the result grad_input")


@pytest.mark.parametrize("layout", ["channel_slice", "stepped"])
def test_writing_between_an_argument_s_elements_is_mutation(layout: str) -> None:
    """What a view's strides step over is not the target's to write to."""

    def conv2d(x: Any, *rest: Any) -> Any:
        result = npconv.conv2d(x, *rest)
        x.base[...] += 1
        x[...] -= 1
        return result

    case = Case.from_id(CASE.id.replace("packed", layout))
    assert kinds(altered(conv2d=conv2d), case)["forward"] == "mutated"


# ------------------------------------------------------------------- conv2d_out


def writing(change: Callable[[Any, Any], Any]) -> SimpleNamespace:
    """A conv2d_out; `change` gets the output and the right result."""

    def conv2d_out(out: Any, *arguments: Any) -> Any:
        return change(out, npconv.conv2d(*arguments).astype(out.dtype))

    return SimpleNamespace(conv2d_out=conv2d_out, supports={"dtypes": True, "unbatched": True})


def put(out: Any, right: Any) -> None:
    """Write the right result."""
    out[...] = right


def skip_last(out: Any, right: Any) -> None:
    """Leave the last column as it is."""
    out[..., :-1] = right[..., :-1]


def add(out: Any, right: Any) -> None:
    """Add to what is there."""
    out += right


def flat(out: Any) -> Any:
    """The whole memory that an output lies in."""
    while isinstance(out.base, np.ndarray):
        out = out.base
    return out


LAYOUTS_OUT = ("packed", "channels_last", "channel_slice", "stepped", "reversed", "transposed")


@pytest.mark.parametrize("layout", [*LAYOUTS_OUT, "readonly"])
@pytest.mark.parametrize("dtype", [n for n in available() if n[0] != "u"])
def test_conv2d_out_serves_forward(dtype: str, layout: str) -> None:
    """In every layout and dtype a written output conforms; one that lacks a column is unwritten."""
    for batch in ("n2", ""):
        case = Case.from_id(
            f"{batch}c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-{dtype}-{layout}-integers-seed0"
        )
        assert kinds(writing(put), case) == {"forward": None}
        found = told(outcome(writing(skip_last), case))["forward"]
        assert isinstance(found, Failure)
        assert found.kind == "unwritten"
        count = 48 if batch else 24
        assert found.message == (
            f"conv2d_out: {count} of {count * 7} elements still hold what out was filled "
            f"with, the first at {found.index}"
        )
        assert found.index == ((0, 0, 0, 6) if batch else (0, 0, 6))


def test_elements_that_are_right_by_chance_are_unwritten() -> None:
    """An integer that equals the fill of one call does not hide that it was never written."""
    case = Case.from_id(CASE.id.replace("float32", "int8"))
    fill = Implementation.of(writing(put), "it").guarded(case, 0).out[0, 0, 0, 0]
    target = SimpleNamespace(conv2d_out=lambda *_: None, supports={"dtypes": ["int8"]})
    arrays = operands(case)
    right = npconv.conv2d(arrays.input, arrays.weight, arrays.bias, *case.parameters)
    assert (right == fill).any()
    found = told(outcome(target, case))["forward"]
    assert isinstance(found, Failure)
    assert found.message.startswith("conv2d_out: 336 of 336 elements still hold")


@pytest.mark.parametrize("dtype", ["float32", "complex64"])
def test_adding_to_what_out_held_is_found(dtype: str) -> None:
    """Who adds to the output instead of writing to it is told so."""
    found = told(outcome(writing(add), Case.from_id(CASE.id.replace("float32", dtype))))["forward"]
    assert isinstance(found, Failure)
    assert found.kind == "unwritten"
    assert found.message.endswith("nothing was written, or added to what is there")
    integers = Case.from_id(CASE.id.replace("float32", "int32"))
    assert kinds(writing(add), integers) == {"forward": "values"}


def test_returned_result_is_not_read() -> None:
    """Who returns the output instead of writing it is told so."""
    found = told(outcome(writing(lambda _, right: right)))["forward"]
    assert isinstance(found, Failure)
    assert found.message.endswith("a result was returned, and out is what is read")


STRAYS = [
    pytest.param("packed", -1, "up to 1 elements before its first", id="before"),
    pytest.param("packed", -7, "up to 7 elements before its first", id="a row before"),
    pytest.param("packed", 336, "up to 1 elements after its last", id="after"),
    pytest.param("packed", 336 + 27, "up to 28 elements after its last", id="a plane after"),
    pytest.param("reversed", -1, "up to 1 elements before its first", id="reversed"),
    pytest.param(
        "stepped", 1, "between its elements, where its strides step over memory", id="gap"
    ),
]


@pytest.mark.parametrize(("layout", "offset", "says"), STRAYS)
@pytest.mark.parametrize("call", [0, 1])
def test_writing_outside_of_out_is_mutation(layout: str, offset: int, says: str, call: int) -> None:
    """One element written in the guard zone, in either call, fails with its side and distance."""
    calls = []

    def conv2d_out(out: Any, *arguments: Any) -> None:
        out[...] = npconv.conv2d(*arguments)
        if len(calls) % 2 == call:
            memory = flat(out)
            place = lowest(out) - memory.ctypes.data + 4 * offset
            memory[place : place + 4] = np.frombuffer(np.float32(1).tobytes(), np.uint8)
        calls.append(1)

    case = Case.from_id(CASE.id.replace("packed", layout))
    found = told(outcome(SimpleNamespace(conv2d_out=conv2d_out), case))["forward"]
    assert isinstance(found, Failure)
    assert found.kind == "mutated"
    again = "called again with equal arguments: " if call else ""
    assert found.message == f"conv2d_out: {again}wrote outside of out: {says}"


def lowest(array: Any) -> int:
    """The address of the element that lies first in memory."""
    steps = (min(0, s * (n - 1)) for s, n in zip(array.strides, array.shape, strict=True))
    return int(array.__array_interface__["data"][0]) + sum(steps)


def test_both_forward_functions_are_judged() -> None:
    """With conv2d and conv2d_out, a fault of either fails, and the message says which one's."""
    right, wrong = altered().conv2d, altered(one_up).conv2d
    for returned, written, kind, says in (
        (right, put, None, ""),
        (wrong, put, "values", "1 of 336"),
        (right, skip_last, "unwritten", "conv2d_out: "),
    ):
        target = SimpleNamespace(conv2d=returned, conv2d_out=writing(written).conv2d_out)
        assert kinds(target) == {"forward": kind}
        failure = told(outcome(target))["forward"]
        assert failure is None or failure.message.startswith(says)
        refuses = told(outcome(target, ILLEGAL))["forward"]
        assert refuses is None


def test_one_forward_function_may_support_less() -> None:
    """NotImplementedError of one function leaves the verdict to the other; of both it stands."""
    lacking = raising(NotImplementedError("no"))
    right, written = altered().conv2d, writing(put).conv2d_out
    assert kinds(SimpleNamespace(conv2d=lacking, conv2d_out=written)) == {"forward": None}
    assert kinds(SimpleNamespace(conv2d=right, conv2d_out=lacking)) == {"forward": None}
    both = outcome(SimpleNamespace(conv2d=lacking, conv2d_out=lacking))
    assert [v.status for _, v in both.verdicts] == ["unsupported"]


def test_conv2d_out_must_refuse_illegal_cases() -> None:
    """Who writes an output for an illegal case fails, also beside a conv2d that refuses it."""
    accepting = {"conv2d_out": lambda out, *_: out.fill(0)}
    for target in (SimpleNamespace(**accepting), altered(raising(ValueError()), **accepting)):
        found = told(outcome(target, ILLEGAL))["forward"]
        assert isinstance(found, Failure)
        assert found.message.startswith("conv2d_out: accepted an illegal case")


def test_conv2d_out_answers_twice() -> None:
    """A written result that differs in the second call is unstable, or not reproducible."""
    for change, kind in ((one_up, "unstable"), (nudged, "not_reproducible")):
        calls = []

        def conv2d_out(out: Any, *arguments: Any, calls: Any = calls, change: Any = change) -> None:
            right = npconv.conv2d(*arguments)
            out[...] = change(right) if calls else right
            calls.append(1)

        assert kinds(SimpleNamespace(conv2d_out=conv2d_out), MASKED) == {"forward": kind}


# -------------------------------------------------------------- mixed precision


def mixed(asked: Mapping[str, Any], **given: Any) -> SimpleNamespace:
    """Npconv with results of other dtypes than it is judged by, unless `given` is empty."""
    supports = {"dtypes": True, "result_dtypes": asked}
    return SimpleNamespace(
        conv2d=lambda *a: npconv.conv2d(*a, dtype=given.get(a[0].dtype.name)),
        conv2d_backward=lambda *a: npconv.conv2d_backward(*a, dtype=given.get(a[0].dtype.name)),
        supports=supports,
    )


@pytest.mark.parametrize(
    ("dtype", "result"),
    [
        ("int8", "int32"),
        ("uint8", "int16"),
        ("int16", "float32"),
        ("float16", "float32"),
        ("float32", "float16"),
        ("float32", "float64"),
        ("complex64", "complex128"),
        pytest.param(
            "bfloat16", "float32",
            marks=pytest.mark.skipif("bfloat16" not in available(), reason="needs ml_dtypes"),
        ),
    ],
)  # fmt: skip
@pytest.mark.parametrize("data", ["integers", "reals", "special"])
def test_declared_result_dtype_is_what_is_judged(dtype: str, result: str, data: str) -> None:
    """Results in the declared dtype conform; in the arrays' own they do not, nor one bit off."""
    case = Case.from_id(CASE.id.replace("float32", dtype).replace("integers", data))
    asked = {dtype: result}
    assert set(kinds(mixed(asked, **asked), case).values()) == {None}
    assert set(kinds(mixed(asked), case).values()) == {"dtype"}
    assert set(kinds(mixed({}, **asked), case).values()) == {"dtype"}


@pytest.mark.parametrize(("dtype", "result"), [("float16", "float32"), ("int8", "int32")])
@pytest.mark.parametrize("data", ["integers", "reals"])
def test_result_dtype_may_be_declared_by_operation(dtype: str, result: str, data: str) -> None:
    """The output and one gradient may be wider while the others keep the arrays' dtype."""
    target = mixed({dtype: {"forward": result, "grad_weight": result}})
    target.conv2d = lambda *a: npconv.conv2d(*a, dtype=result)

    def conv2d_backward(*arguments: Any) -> Any:
        grad_input, _, grad_bias = npconv.conv2d_backward(*arguments)
        return grad_input, npconv.conv2d_backward(*arguments, dtype=result)[1], grad_bias

    target.conv2d_backward = conv2d_backward
    case = Case.from_id(CASE.id.replace("float32", dtype).replace("integers", data))
    assert set(kinds(target, case).values()) == {None}


def test_wider_results_are_held_to_the_wider_format() -> None:
    """A float16 kernel whose float32 result was rounded to float16 on the way is caught."""
    case = Case.from_id(MASKED.id.replace("float32", "float16"))
    target = mixed({"float16": "float32"}, float16="float32")
    target.conv2d = lambda *a: npconv.conv2d(*a).astype("float32")
    found = kinds(target, case)
    assert found["forward"] == "values"
    assert found["grad_weight"] is None


# ----------------------------------------------------------------- helpful lines


def said(change: Change, op: str = "forward") -> str:
    """The message on an output, or on gradients, changed so."""
    target = altered(forward=change) if op == "forward" else altered(backward=change)
    failure = told(outcome(target))[op]
    assert isinstance(failure, Failure)
    return failure.message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda _: None, "returned NoneType, not a NumPy array: is a return missing?"),
        (np.ndarray.tolist, "returned list, not a NumPy array: return numpy.asarray(result, "),
        (lambda r: r[0, 0, 0, 0], "returned float32, not a NumPy array: return numpy.asarray("),
        (lambda r: (r, r), "returned tuple, not a NumPy array: one of its 2 arrays is wanted alo"),
        (lambda r: np.moveaxis(r, 1, -1), "looks like channels last (NHWC)"),
        (lambda r: r.swapaxes(-1, -2), "looks like height and width exchanged"),
        (lambda r: r[None], "with other axes of length 1, return result.reshape((2, 6, 4, 7))"),
        (lambda r: r.astype("f8"), "dtype float64, not float32: return result.astype('float32')"),
    ],
)
def test_common_mistake_of_a_result_says_what_to_do(change: Change, says: str) -> None:
    """What came, what was wanted, and the line that makes one of the other."""
    assert says in said(change)


def test_bias_gradient_with_an_axis_more_says_what_to_do() -> None:
    """A bias gradient as (1, F) is told to be reshaped."""
    assert said(lambda r: r[None] if r.ndim == 1 else r, "grad_bias") == (
        "shape (1, 6), not (6,): the same numbers with other axes of length 1, "
        "return result.reshape((6,))"
    )


def test_short_dtype_points_to_its_declaration() -> None:
    """An int32 result of int8 arrays says how mixed precision is declared."""
    target = mixed({}, int8="int32")
    found = told(outcome(target, Case.from_id(CASE.id.replace("float32", "int8"))))["forward"]
    assert isinstance(found, Failure)
    assert found.message == (
        "dtype int32, not int8: return result.astype('int8'), "
        "or declare supports['result_dtypes'] = {'int8': 'int32'} if it is meant"
    )


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 1, 0), (1, 2, 0), (2, 0, 1), (0, 2, 1)])
def test_gradients_in_another_order_are_told_so(order: tuple[int, int, int]) -> None:
    """Where shapes are a permutation of the right ones, each failure names the order."""
    target = altered(
        conv2d_backward=lambda *a: [npconv.conv2d_backward(*a)[place] for place in order]
    )
    found = told(outcome(target))
    names = ", ".join(OPS[1 + place] for place in order)
    for place, op in enumerate(OPS[1:]):
        failure = found[op]
        if order[place] == place:
            assert failure is None
        else:
            assert isinstance(failure, Failure)
            assert failure.message.endswith(
                f"; the gradients look like they come in the order ({names})"
            )


def test_wrong_shapes_that_are_no_permutation_say_nothing_of_an_order() -> None:
    """A guess is made only where it explains every shape."""
    assert "order" not in said(lambda r: r[..., :-1], "grad_input")


def test_single_gradients_are_judged_on_their_own() -> None:
    """Where there is no conv2d_backward, one that raises leaves the others' verdicts alone."""
    target = SimpleNamespace(
        conv2d_input=npconv.conv2d_input,
        conv2d_weight=raising(ValueError("broken")),
        conv2d_bias=raising(NotImplementedError("not yet")),
    )
    assert kinds(target) == {
        "grad_input": None, "grad_weight": "raised", "grad_bias": "unsupported",
    }  # fmt: skip


class FakeTensor:
    """Looks like a torch tensor."""

    def __init__(self, device: str, requires_grad: bool) -> None:
        self.device, self.requires_grad = device, requires_grad

    def cpu(self) -> None:
        """Stand for torch's."""


FakeTensor.__module__ = "torch"


@pytest.mark.parametrize(
    ("tensor", "says"),
    [
        (FakeTensor("cuda:0", False), "on device cuda:0, not a NumPy array: return result.cpu()."),
        (FakeTensor("cpu", True), "on device cpu, not a NumPy array: return result.detach().cpu()"),
    ],
)
def test_torch_tensor_says_how_it_becomes_an_array(tensor: Any, says: str) -> None:
    """A tensor's device, and the call that brings it here, stand in the message."""
    assert f"returned a torch tensor {says}" in said(lambda _: tensor)


def test_real_torch_tensor_says_how_it_becomes_an_array() -> None:
    """The tensor of torch itself is known, and the call that is named makes the case conform."""
    torch = pytest.importorskip("torch", reason="returns a tensor")
    leaf = torch.ones(3, requires_grad=True)
    assert said(lambda r: torch.from_numpy(r) * leaf[0]) == (
        "returned a torch tensor on device cpu, not a NumPy array: "
        "return result.detach().cpu().numpy()"
    )
    change = lambda r: (torch.from_numpy(r) * leaf[0]).detach().cpu().numpy()  # noqa: E731
    assert kinds(altered(change))["forward"] is None


# ----------------------------------------------------------- what a target prints


def test_what_a_target_prints_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    """Prints of a target are kept off stdout, also when it raises; later prints are not."""

    def conv2d(*arguments: Any) -> Any:
        print("from the target")  # noqa: T201  # what is tested
        return npconv.conv2d(*arguments)

    def conv2d_backward(*_: Any) -> Any:
        print("from the target")  # noqa: T201  # what is tested
        raise ValueError

    outcome(altered(conv2d=conv2d, conv2d_backward=conv2d_backward))
    print("from the front")  # noqa: T201  # what is tested
    out, err = capsys.readouterr()
    assert out == "from the front\n"
    assert set(err.splitlines()) == {"from the target"}


def test_stdout_comes_back_after_calls_in_threads() -> None:
    """However calls overlap, stdout is itself again when the last one has ended."""
    before, meet = sys.stdout, threading.Barrier(2, timeout=20)
    seen = []

    def first() -> None:
        with printing_aside():
            meet.wait()  # the second is about to enter
            meet.wait()  # the second is inside
        meet.wait()  # the first has left

    def second() -> None:
        meet.wait()
        with printing_aside():
            meet.wait()
            meet.wait()
            seen.append(sys.stdout)

    threads = [threading.Thread(target=f) for f in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert seen == [sys.stderr]
    assert sys.stdout is before
