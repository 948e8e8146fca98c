"""One trial: a case's arrays, the implementation's results, a verdict on each."""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npconv.bounds import default_for
from npconv.compare import same
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Expected, Failure, Verdict, expect, failed, judge, structure
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation

Array = np.ndarray[Any, np.dtype[Any]]

#: Characters of an exception's text that a verdict holds at the most.
_LONGEST = 300
#: Steps that are spent on whether two arrays of overlapping extents have an element in common.
_WORK = 10_000
_AGAIN = "called again with equal arguments"
#: The verdict on several functions or answers is the first of these that one of them has: where
#: one function does not support a case, what the other one gives counts.
_GRAVEST = ("failed", "undecided", "not_reproducible", "passed", "unsupported")


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


def run_case(
    implementation: Implementation,
    case: Case,
    ops: Sequence[str],
    arithmetic: str | None = None,
) -> Outcome:
    """Run and judge one case: each operation that is selected and that the implementation has.

    Every function is called twice with equal arguments. What each operation is judged as:
    `arithmetic`, what is declared, or the dtype's own.
    """
    wanted = [op for op in ops if op in implementation.supports.ops]
    arrays = operands(case)
    if arrays.grad_output is None:
        return _run_illegal(implementation, case, arrays, wanted)
    expected = expect(
        case,
        arrays,
        _arithmetics(implementation, case.dtype, arithmetic),
        {op: implementation.supports.result_dtype(op, case.dtype) for op in OPS},
    )
    trial = _Trial(implementation, case, expected, arrays)
    if "forward" in wanted:
        trial.run_forward()
    for group in implementation.gradient_calls:
        if any(op in wanted for op in group):
            trial.run_gradients([op for op in group if op in wanted])
    verdicts = tuple((op, trial.verdicts[op]) for op in OPS if op in trial.verdicts)
    return Outcome(verdicts, trial.seconds, trial.results, expected)


def _arithmetics(implementation: Implementation, dtype: str, asked: str | None) -> dict[str, str]:
    own = default_for(dtype)
    if own == "integer":
        return dict.fromkeys(OPS, own)
    declared = implementation.supports.arithmetic
    return {op: asked or declared.get((op, dtype), own) for op in OPS}


# -------------------------------------------------------------------- legal cases


@dataclass(slots=True)
class _Trial:
    """A legal case under way: its arrays and how they were, what came, what was said of it."""

    implementation: Implementation
    case: Case
    expected: Expected
    arrays: Operands
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    #: The arrays as they were; results so far, which stay alive, so that their memory is theirs.
    kept: list[_Kept] = field(default_factory=list)
    held: list[tuple[str, Array]] = field(default_factory=list)

    def run_forward(self) -> None:
        """Judge conv2d and conv2d_out; the graver verdict counts where there are both."""
        runs = {"conv2d": self._returned, "conv2d_out": self._written}
        found = [runs[function]() for function in self.implementation.forward_functions]
        verdict, result = min(found, key=lambda pair: _GRAVEST.index(pair[0].status))
        self.verdicts["forward"], self.results["forward"] = verdict, result

    def run_gradients(self, ops: list[str]) -> None:
        """Judge the gradients that one call gives."""
        on = dict(zip(GRADIENTS, self.case.output_mask, strict=True))
        mask = tuple(op in ops and on[op] for op in GRADIENTS)

        def call(arrays: Operands) -> Any:
            return self.implementation.gradients(self.case, arrays, mask)  # type: ignore[arg-type]  # three bools

        def split(results: Any) -> dict[str, Any]:
            three = dict(zip(GRADIENTS, _three(results), strict=True))
            return {op: three[op] for op in ops}

        verdicts, results = self._twice(call, split)
        self.verdicts |= _in_what_order(verdicts, results, self.expected)
        self.results |= results

    def _returned(self) -> tuple[Verdict, Any]:
        verdicts, results = self._twice(
            lambda arrays: self.implementation.functions["conv2d"](
                arrays.input, arrays.weight, arrays.bias, *self.case.parameters
            ),
            lambda result: {"forward": result},
        )
        return verdicts["forward"], results["forward"]

    def _twice(
        self, call: Callable[[Operands], Any], split: Callable[[Any], dict[str, Any]]
    ) -> tuple[dict[str, Verdict], dict[str, Any]]:
        """Call twice with equal arguments; return verdicts on both and the first results."""
        first = split(self._call(call))
        verdicts = {op: self._verdict(op, result, "") for op, result in first.items()}
        # A second call adds nothing where the first gave no values.
        if not any(_has_values(verdict) for verdict in verdicts.values()):
            return verdicts, first
        # Before the second call, which may write to the same memory.
        # Of results without values nothing is kept: they may be of any size.
        valued = {op: result for op, result in first.items() if _has_values(verdicts[op])}
        contents = {op: _content(result) for op, result in valued.items()}
        kept = {op: np.array(r) for op, r in valued.items() if isinstance(r, np.ndarray)}
        second = split(self._call(call))
        for op, result in second.items():
            if not _has_values(verdicts[op]):
                continue
            other = self._verdict(op, result, "again", contents[op], verdicts[op])
            differing = contents[op] != _content(result)
            verdicts[op] = _of_both(verdicts[op], other, kept.get(op), result, differing)
        return verdicts, {op: kept.get(op, result) for op, result in first.items()}

    def _written(self) -> tuple[Verdict, Any]:
        """Call conv2d_out twice, on outputs with different fills; judge both."""
        verdict, result, never, returned = self._written_once(0)
        if never is not None:
            again, other, never_again, _ = self._written_once(1)
            if never_again is not None and (never & never_again).any():
                verdict = failed(self._unwritten(never & never_again, returned))
            else:
                differing = result.tobytes() != other.tobytes()
                verdict = _of_both(verdict, again, result, other, differing)
        return _of_function("conv2d_out", verdict), result

    def _written_once(self, number: int) -> tuple[Verdict, Any, Array | None, Any]:
        """Return the verdict on one output, it, where it still has the fill, what was returned."""
        guarded = self.implementation.guarded(self.case, number)
        # A view of its own: to change its shape changes nothing here.
        given = guarded.out[...]
        returned = self._call(lambda arrays: self.implementation.write(self.case, arrays, given))
        if isinstance(returned, Raised):
            return self._verdict("forward", returned, ""), returned, None, None
        never, result = guarded.unwritten(), np.array(guarded.out)
        strays = guarded.strays()
        if strays is not None:
            failure = Failure(self.case.id, "forward", "mutated", strays)
            return failed(failure), result, None, None
        return self._judge("forward", result), result, never, returned

    def _unwritten(self, never: Array, returned: Any) -> Failure:
        index = tuple(int(i) for i in np.argwhere(never)[0])
        message = (
            f"{np.count_nonzero(never)} of {never.size} elements still hold what out was filled "
            f"with, the first at {index}"
        )
        if isinstance(returned, np.ndarray) and never.all():
            message += ": a result was returned, and out is what is read"
        elif never.all():
            message += ": nothing was written, or added to what is there"
        return Failure(self.case.id, "forward", "unwritten", message, None, index)

    def _call(self, function: Callable[[Operands], Any]) -> Any:
        """Call with arrays that must come out as they went in."""
        if not self.kept:
            self.kept = [_Kept.of(name, array) for name, array in self.arrays.named().items()]
        result, seconds = _call(function, self.arrays)
        self.seconds += seconds
        for kept in self.kept:
            said = kept.change()
            if said is not None:
                if isinstance(result, Raised):
                    said += f", then {result.message}"
                # Drawn again, so that later calls get what they should.
                self.arrays, self.kept = operands(self.case), []
                return Raised("mutated", said)
        return result

    def _verdict(
        self,
        op: str,
        result: Any,
        which: str,
        content: tuple[str, bytes] | None = None,
        first: Verdict | None = None,
    ) -> Verdict:
        """Judge one result by its structure, its memory and its values."""
        if isinstance(result, Raised):
            if result.kind == "unsupported":
                return Verdict("unsupported", reason=result.message)
            return failed(Failure(self.case.id, op, result.kind, result.message))
        if op not in self.expected.references:
            return _judge_masked(self.case, op, result)
        misshapen = structure(self.case, op, result, self.expected)
        if misshapen is not None:
            return failed(misshapen)
        shared = self._shares(op, result)
        if shared is not None:
            return failed(Failure(self.case.id, op, "aliased", shared))
        self.held.append((f"{which} {op}".strip(), result))
        if first is not None and content == _content(result):
            return first
        return self._judge(op, result)

    def _judge(self, op: str, result: Any) -> Verdict:
        return judge(self.case, op, result, self.expected)

    def _shares(self, op: str, result: Array) -> str | None:
        """Say what a result shares memory with: an argument, or another result."""
        for kept in self.kept:
            if _overlap(result, kept.owner):
                return f"shares memory with its argument {kept.name}: return a copy"
        for label, other in self.held:
            if _overlap(result, other):
                if label == op:
                    return (
                        f"{_AGAIN}, the second answer lies in the memory of the first: "
                        "allocate each result"
                    )
                return f"shares memory with the result {label.removeprefix('again ')}"
        return None


@dataclass(frozen=True, slots=True)
class _Kept:
    """An argument as it was before the calls."""

    name: str
    array: Array
    owner: Array
    content: bytes
    form: tuple[Any, ...]

    @classmethod
    def of(cls, name: str, array: Array) -> _Kept:
        owner = array
        while isinstance(owner.base, np.ndarray):
            owner = owner.base
        # All of the memory, also what strides step over: a copy of a packed block is cheap.
        return cls(name, array, owner, owner.tobytes(), (array.shape, array.strides, array.dtype))

    def change(self) -> str | None:
        """Say what became of the array; None where nothing did."""
        # Bytes, as NaN differs from itself.
        same = self.owner.tobytes() == self.content
        if same and (self.array.shape, self.array.strides, self.array.dtype) == self.form:
            return None
        if same:
            return f"changed the shape or the dtype of its argument {self.name}"
        return f"wrote to its argument {self.name}"


def _overlap(a: Array, b: Array) -> bool:
    """Whether two arrays have memory in common; False where that takes too long to tell."""
    if not np.may_share_memory(a, b):
        return False
    try:
        return bool(np.shares_memory(a, b, max_work=_WORK))  # type: ignore[arg-type]  # any count of steps
    except np.exceptions.TooHardError:
        return False


def _content(result: Any) -> tuple[str, bytes] | None:
    """Return what two arrays of one shape have in common if they are equal bit by bit."""
    return (result.dtype.str, result.tobytes()) if isinstance(result, np.ndarray) else None


def _has_values(verdict: Verdict) -> bool:
    """Whether a verdict is on values, so that another answer may differ in them."""
    if verdict.failure is not None:
        return verdict.failure.kind in ("values", "nonfinite")
    return verdict.status != "unsupported"


def _of_both(first: Verdict, second: Verdict, kept: Any, again: Any, differing: bool) -> Verdict:
    """Return the verdict on two answers to equal arguments."""
    if first.failure is not None:
        if second.status in ("failed", "unsupported"):
            return first
        message = f"{first.failure.message}; {_AGAIN}, the answer conforms"
        return failed(replace(first.failure, kind="unstable", message=message))
    if second.status == "unsupported":
        second = failed(Failure("", "", "raised", second.reason or "NotImplementedError"))
    if second.failure is not None:
        own = second.failure.kind in ("raised", "mutated", "aliased")
        message = second.failure.message
        if not message.startswith(_AGAIN):
            message = f"{_AGAIN}: {message}"
        return failed(
            replace(
                second.failure, kind=second.failure.kind if own else "unstable", message=message
            )
        )
    if not differing:
        return first
    graver = min(first, second, key=lambda verdict: _GRAVEST.index(verdict.status))
    if graver.status == "undecided":
        return graver
    count = int(np.count_nonzero(~same(again, kept)))
    what = f"{count} of {kept.size} elements differ" if count else "the sign of a zero differs"
    reason = f"{what} between two calls with equal arguments"
    ratios = [verdict.ratio for verdict in (first, second) if verdict.ratio is not None]
    return Verdict("not_reproducible", max(ratios, default=None), reason=reason)


def _of_function(function: str, verdict: Verdict) -> Verdict:
    """Say which function a verdict is on."""
    failure, reason = verdict.failure, verdict.reason
    if failure is not None:
        failure = replace(failure, message=f"{function}: {failure.message}")
    return replace(
        verdict, failure=failure, reason=None if reason is None else f"{function}: {reason}"
    )


def _in_what_order(
    verdicts: dict[str, Verdict], results: Mapping[str, Any], expected: Expected
) -> dict[str, Verdict]:
    """Add to failures of shape what order the gradients look like they come in."""
    ops = [op for op in verdicts if isinstance(results[op], np.ndarray)]
    wrong = [op for op in ops if (f := verdicts[op].failure) is not None and f.kind == "shape"]
    right = {op: reference.values.shape for op, reference in expected.references.items()}
    if len(wrong) < 2 or not set(ops) <= set(right):
        return verdicts
    shapes = [results[op].shape for op in ops]
    for order in itertools.permutations(ops):
        if [right[op] for op in order] == shapes:
            said = f"; the gradients look like they come in the order ({', '.join(order)})"
            return verdicts | {
                op: failed(replace(failure, message=failure.message.split(":")[0] + said))
                for op in wrong
                if (failure := verdicts[op].failure) is not None
            }
    return verdicts


# ------------------------------------------------------------------ illegal cases


def _run_illegal(
    implementation: Implementation, case: Case, arrays: Operands, wanted: Sequence[str]
) -> Outcome:
    """Ask for what must be refused, with an exception, by the output and by both gradients.

    A gradient of the bias depends on nothing that is illegal, so it is not asked. As no
    grad_output has the right shape, one of one element a plane is given.
    """
    results: dict[str, Any] = {}
    verdicts: list[tuple[str, Verdict]] = []
    seconds = 0.0
    if "forward" in wanted:
        found: list[tuple[Verdict, Any]] = []
        for function in implementation.forward_functions:
            if function == "conv2d":
                result, more = _call(implementation.forward, case, arrays)
            else:
                out = implementation.guarded(case, 0).out
                result, more = _call(implementation.write, case, arrays, out)
            seconds += more
            verdict = _judge_illegal(case, "forward", result)
            found.append(
                (_of_function(function, verdict) if function == "conv2d_out" else verdict, result)
            )
        verdict, results["forward"] = min(found, key=lambda pair: _GRAVEST.index(pair[0].status))
        verdicts.append(("forward", verdict))
    served = {op for group in implementation.gradient_calls for op in group}
    for op in ("grad_input", "grad_weight"):
        if op in wanted and op in served:
            error = np.ones((*case.input_shape[:-3], case.out_channels, 1, 1), arrays.weight.dtype)
            mask = tuple(op == other for other in GRADIENTS)
            results[op], more = _call(
                implementation.gradients, case, replace(arrays, grad_output=error), mask
            )
            seconds += more
            verdicts.append((op, _judge_illegal(case, op, results[op])))
    return Outcome(tuple(verdicts), seconds, results, None)


def _judge_illegal(case: Case, op: str, result: Any) -> Verdict:
    """Judge a case that must be refused."""
    if not isinstance(result, Raised):
        message = f"accepted an illegal case: {case.illegal}"
        if op != "forward":
            message += "; no grad_output has the right shape, and the one given was taken"
        return failed(Failure(case.id, op, "accepted", message))
    if result.kind == "unsupported":
        return Verdict("unsupported", reason=result.message)
    # To end Python is no refusal.
    if isinstance(result.error, Exception):
        return Verdict("passed")
    return failed(Failure(case.id, op, result.kind, result.message))


# ---------------------------------------------------------------------- one call


class _Aside:
    """What a target prints goes to stderr: stdout is the front's.

    Counted, as calls run in several threads and all of them have one stdout.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._stdout: Any = None

    @contextlib.contextmanager
    def __call__(self) -> Iterator[None]:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                self._stdout, sys.stdout = sys.stdout, sys.stderr
        try:
            yield
        finally:
            with self._lock:
                self._inside -= 1
                if self._inside == 0:
                    sys.stdout = self._stdout


#: Runs a block with stdout going to stderr.
printing_aside = _Aside()


def _call(function: Callable[..., Any], *arguments: Any) -> tuple[Any, float]:
    result: Any
    with printing_aside():
        began = time.perf_counter()
        try:
            result = function(*arguments)
        except KeyboardInterrupt:
            raise
        # Whatever the code under test raises is a verdict on it; SystemExit must not end the run.
        except BaseException as error:  # noqa: BLE001
            kind = "unsupported" if isinstance(error, NotImplementedError) else "raised"
            result = Raised(kind, f"{type(error).__name__}: {_first_line(error)}", error)
        seconds = time.perf_counter() - began
    return result, seconds


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
        if isinstance(results, (tuple, list)):
            message += ": None stands where output_mask is False"
        return (Raised("type", message),) * 3
    return results


def _judge_masked(case: Case, op: str, result: Any) -> Verdict:
    """Judge what must not be computed."""
    if result is None:
        return Verdict("passed")
    message = f"returned {type(result).__name__}, not None, where output_mask is False"
    return failed(Failure(case.id, op, "mask", message))
