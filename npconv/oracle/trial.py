"""One trial: a case's arrays, the implementation's results, a verdict on each."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.bounds import default_for
from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Expected, Failure, Verdict, expect, failed, judge
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation

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
            return Verdict("unsupported", reason=result.message)
        return failed(Failure(case.id, op, result.kind, result.message))
    with np.errstate(all="ignore"):
        return judge(case, op, result, expected)


def _judge_masked(case: Case, op: str, result: Any) -> Verdict:
    """Judge what must not be computed."""
    if result is None:
        return Verdict("passed")
    message = f"returned {type(result).__name__}, not None, where output_mask is False"
    return failed(Failure(case.id, op, "mask", message))


def _judge_illegal(case: Case, result: Any) -> Verdict:
    """Judge a case that must be refused."""
    if not isinstance(result, Raised):
        message = f"accepted an illegal case: {case.illegal}"
        return failed(Failure(case.id, "forward", "accepted", message))
    if result.kind == "unsupported":
        return Verdict("unsupported", reason=result.message)
    # To end Python is no refusal.
    if isinstance(result.error, Exception):
        return Verdict("passed")
    return failed(Failure(case.id, "forward", result.kind, result.message))
