"""Assertions for a user's own tests: no tolerance to choose, a message that says where to look."""

from __future__ import annotations

import itertools
import math
import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from npconv.arguments import read_mask
from npconv.bounds import Arithmetic, Call, arguments, default_for, parse, size
from npconv.compare import Comparison, Reference, compare, reference
from npconv.conv import Padding, Pair
from npconv.formats import NAMES, dtype_of
from npconv.geometry import Geometry

__all__ = ["assert_conv2d", "assert_conv2d_backward", "parametrize_with_cases"]

Array = np.ndarray[Any, np.dtype[Any]]

_NAMES = {
    "forward": ("batch", "channel", "row", "column"),
    "grad_input": ("batch", "channel", "row", "column"),
    "grad_weight": ("output channel", "input channel", "kernel row", "kernel column"),
    "grad_bias": ("channel",),
}


def assert_conv2d(
    actual: Any,
    input: Any,
    weight: Any,
    bias: Any = None,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    *,
    arithmetic: str | None = None,
) -> None:
    """Raise AssertionError unless `actual` is a correct result of `conv2d`.

    Correct means: of the right shape, within the error that the arithmetic can make in any order
    of summation, with NaN and infinity where they belong; integers to the bit.

    Parameters
    ----------
    actual : array_like
        What your code returned, in the arrays' dtype or another.
    input, weight, bias, stride, padding, dilation, groups
        What it was given, as for `npconv.conv2d`. NumPy arrays, or what `numpy.asarray`
        takes, such as PyTorch tensors on the CPU.
    arithmetic : str, optional
        What it computes with, such as 'tf32', 'float16-accumulate' or 'float32/winograd4'; by
        default what the dtype of `actual` promises, with direct sums.

    Raises
    ------
    AssertionError
        With the worst element, its ratio of error to bound, how many elements are wrong, where
        they lie, and what to do next. Also where the bound is as large as the values, so that
        nothing can be said.
    TypeError, ValueError
        If arguments are illegal, as for `npconv.conv2d`.

    Notes
    -----
    Source of the bound: `npconv.error_bound`.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv.testing
    >>> x = np.random.default_rng(0).normal(size=(2, 3, 8, 9)).astype(np.float32)
    >>> w = np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(np.float32)
    >>> y = npconv.conv2d(x, w, padding=1)
    >>> npconv.testing.assert_conv2d(y, x, w, padding=1)
    >>> y[1, 2, 0, 3] *= 1.01
    >>> try:
    ...     npconv.testing.assert_conv2d(y, x, w, padding=1)
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[0])
    conv2d: 1 of 576 elements is out of bound, float32 sums of 27 products
    """
    arrays = (input, weight) if bias is None else (input, weight, bias)
    _check("conv2d", "forward", actual, arrays, (stride, padding, dilation, groups), arithmetic)


def assert_conv2d_backward(
    actual: Any,
    grad_output: Any,
    input: Any,
    weight: Any,
    stride: Pair = 1,
    padding: Padding = 0,
    dilation: Pair = 1,
    groups: int = 1,
    output_mask: Sequence[bool] = (True, True, True),
    *,
    arithmetic: str | None = None,
) -> None:
    """Raise AssertionError unless `actual` holds the gradients that `conv2d_backward` gives.

    Parameters
    ----------
    actual : sequence of 3
        (grad_input, grad_weight, grad_bias) as your code returned them.
    grad_output, input, weight, stride, padding, dilation, groups, output_mask
        What it was given, as for `npconv.conv2d_backward`. Where the mask is False, `actual`
        must hold None.
    arithmetic : str, optional
        As for `assert_conv2d`.

    Raises
    ------
    AssertionError
        As `assert_conv2d`, for the first gradient that is wrong.
    TypeError, ValueError
        If arguments are illegal, as for `npconv.conv2d_backward`.

    Notes
    -----
    Source of the bound: `npconv.error_bound`, with each gradient's own number of products.

    Examples
    --------
    >>> import numpy as np
    >>> import npconv.testing
    >>> x, w, g = np.ones((1, 2, 4, 5)), np.ones((3, 2, 2, 2)), np.ones((1, 3, 3, 4))
    >>> npconv.testing.assert_conv2d_backward(npconv.conv2d_backward(g, x, w), g, x, w)
    """
    mask = read_mask("assert_conv2d_backward", output_mask, {})
    try:
        given = tuple(actual)
    except TypeError:
        given = ()
    if len(given) != 3:
        count = f" of {len(given)}" if isinstance(actual, (tuple, list)) else ""
        raise AssertionError(
            f"conv2d_backward: returned {type(actual).__name__}{count}, "
            "not (grad_input, grad_weight, grad_bias)"
        )
    shapes = np.shape(input), np.shape(weight)
    arrays: dict[str, tuple[Any, ...]] = {
        "grad_input": (shapes[0], weight, grad_output),
        "grad_weight": (input, shapes[1], grad_output),
        "grad_bias": (grad_output,),
    }
    parameters = (stride, padding, dilation, groups)
    for (op, operands), result, wanted in zip(arrays.items(), given, mask, strict=True):
        if wanted:
            _check(op, op, result, operands, parameters, arithmetic)
        elif result is not None:
            raise AssertionError(f"{op}: must be None where output_mask is False")


def parametrize_with_cases(
    implementation: Any,
    suite: str | Sequence[str] = "standard",
    *,
    ops: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    arithmetic: str | None = None,
    without: Sequence[str] = (),
    expect: str | os.PathLike[str] | None = None,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Make a pytest test for each case of a suite out of a function that calls its one argument.

    The argument's name is ``case``. Calling it runs the case and raises AssertionError, with what
    is wrong and how to repeat it, where a result is. A case that the implementation does not
    support is skipped, one that fails as expected is an xfail, and cases outside of what it
    declares in ``supports`` are not collected. The tests' ids are the case ids.

    Parameters
    ----------
    implementation : module, instance, namespace, function or str
        What `npconv.check` takes, or a TARGET of the command line as text.
    suite : str or sequence of str
        'quick', 'standard', 'exhaustive', a part such as 'standard[0::10]', or case ids.
    ops, dtypes, arithmetic
        As for `npconv.check`.
    without : sequence of str
        Features, or conditions on cases, that are left out, as for ``--without``.
    expect : path, optional
        A file of known failures, as for ``--expect``. A case that it names by its id and that no
        longer fails is a failure.

    Returns
    -------
    callable
        A decorator of test functions: pytest's mark `parametrize`.

    Raises
    ------
    OSError
        If the file of known failures cannot be read.
    TypeError, ValueError
        As `npconv.check` raises them; ValueError also for a file that holds what is none.
    npconv.adapters.TargetError
        If a TARGET cannot be loaded.

    Examples
    --------
    >>> import npconv
    >>> from npconv.testing import parametrize_with_cases
    >>> @parametrize_with_cases(npconv, suite="quick")
    ... def test_conv(case):
    ...     case()
    >>> argument, params = test_conv.pytestmark[0].args
    >>> argument, params[0].values[0]() is None
    ('case', True)
    """
    import pytest

    from npconv.casetests import CaseTest, CaseTests
    from npconv.oracle.expectations import Expectations

    tests = CaseTests.of(
        implementation,
        suite,
        ops=ops,
        dtypes=dtypes,
        arithmetic=arithmetic,
        without=without,
        expectations=None if expect is None else Expectations.read(os.fspath(expect)),
    )
    params = [pytest.param(CaseTest(tests, case), id=case.id) for case in tests.asked()]
    return pytest.mark.parametrize("case", params)


def _check(
    name: str,
    op: str,
    actual: Any,
    arrays: tuple[Any, ...],
    parameters: tuple[Any, ...],
    arithmetic: str | None,
) -> None:
    """Compare one result; raise AssertionError with a diagnosis."""
    read = tuple(array if isinstance(array, tuple) else _array(array) for array in arrays)
    caller = "assert_conv2d" if op == "forward" else "assert_conv2d_backward"
    call = arguments(op, read, *parameters, caller=caller)
    if actual is None:
        raise AssertionError(f"{name}: returned None, not an array")
    result = _array(actual)
    integers = call.dtype.kind in "iu"
    if result.dtype.name not in NAMES or (result.dtype.kind in "iu" and not integers):
        raise AssertionError(f"{name}: dtype {result.dtype.name}, not {call.dtype.name}")
    chosen = parse(
        default_for(call.dtype.name if integers else result.dtype.name)
        if arithmetic is None
        else arithmetic
    )
    right = Reference(call.on(call.factors)) if integers else reference(call, chosen)
    if result.shape != right.values.shape:
        raise AssertionError(f"{name}: shape {result.shape}, not {right.values.shape}")
    if (result.dtype.kind == "c") != (right.values.dtype.kind == "c"):
        raise AssertionError(f"{name}: dtype {result.dtype.name}, not {call.dtype.name}")
    found = compare(result, right)
    if found.wrong.any():
        lines = _diagnosis(name, op, call.geometry, result, right, found, chosen.name)
        advice = f"next: {_next(call, chosen, result, right, found)}"
        raise AssertionError("\n  ".join([*lines, advice]))
    if found.undecided.any():
        count = int(found.undecided.sum())
        raise AssertionError(
            f"{name}: undecided: for {count} of {result.size} elements the error that "
            f"{chosen.name} can make is as large as the sum of magnitudes\n"
            "  next: shorter sums, another arithmetic=, or exact integers (npconv.check)"
        )


def _array(value: Any) -> Array:
    """View as an array; tensors with gradients, or of bfloat16, are read too."""
    if hasattr(value, "detach"):
        value = value.detach()
        if "bfloat16" in str(value.dtype):
            # NumPy has no such dtype; float32 holds each of its numbers.
            return np.asarray(value.float()).astype(dtype_of("bfloat16"))
    return np.asarray(value)


def _diagnosis(
    name: str,
    op: str,
    geometry: Geometry | None,
    result: Array,
    right: Reference,
    found: Comparison,
    arithmetic: str,
) -> list[str]:
    """Say what is wrong, where it is worst, and where it lies."""
    wrong = found.nonfinite if found.nonfinite.any() else found.wrong
    odd = bool(found.nonfinite.any())
    index = tuple(
        int(i)
        for i in np.unravel_index(int(np.argmax(np.where(wrong, found.ratios, -1))), wrong.shape)
    )
    count, total = int(wrong.sum()), wrong.size
    names = _NAMES[op][-len(index) :]
    place = ", ".join(f"{axis} {i}" for axis, i in zip(names, index, strict=True))
    verb = "is" if count == 1 else "are"
    ratio = float(found.ratios[index])
    if odd:
        what = f"{'differs' if count == 1 else 'differ'} in NaN or infinity"
    elif right.bound is None:
        what = f"{verb} wrong, integers are compared to the bit"
    else:
        what = f"{verb} out of bound, {arithmetic} {_length(op, geometry)}"
    size = (
        ""
        if right.bound is None or odd
        else (
            f", |error| is {ratio:.3g} times the bound {float(right.bound[index]):.3g}"
            if math.isfinite(ratio)
            else ", where all products are zero"
        )
    )
    lines = [
        f"{name}: {count} of {total} elements {what}",
        (
            f"worst at ({place}): got {result[index]!s}, "
            f"want {_short(right.values[index], result.dtype)}{size}"
        ),
        "; ".join(filter(None, [_spread(names, wrong), _border(op, geometry, wrong)])),
    ]
    return [line for line in lines if line]


def _short(value: Any, dtype: np.dtype[Any]) -> str:
    with np.errstate(all="ignore"):
        return str(value if dtype.kind in "iu" else np.asarray(value).astype(dtype)[()])


def _length(op: str, geometry: Geometry | None) -> str:
    if geometry is None:
        return "sums"
    terms = {
        "forward": geometry.forward_terms,
        "grad_input": geometry.input_terms,
        "grad_weight": geometry.weight_terms,
    }[op]
    return f"sums of {terms} products"


def _spread(names: Sequence[str], wrong: Array) -> str:
    """Say along which axes the wrong elements are few, and which."""
    if wrong.all():
        return "all elements"
    said = []
    for axis, name in enumerate(names):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        hit = np.flatnonzero(wrong.any(others))
        if wrong.shape[axis] > 1 and len(hit) < wrong.shape[axis]:
            said.append(f"{name} {_runs(hit.tolist())}")
    return f"all in {', '.join(said)}" if said else "spread over every axis"


def _runs(numbers: list[int]) -> str:
    """Write numbers briefly: 0, 2 to 5, every 2nd from 1 to 9."""
    if len(numbers) == 1:
        return str(numbers[0])
    steps = {b - a for a, b in itertools.pairwise(numbers)}
    if len(steps) == 1:
        (step,) = steps
        if step == 1:
            return f"{numbers[0]} to {numbers[-1]}"
        if len(numbers) > 2:
            return f"{numbers[0]} to {numbers[-1]} in steps of {step}"
    listed = ", ".join(map(str, numbers[:6]))
    return f"{listed} and {len(numbers) - 6} more" if len(numbers) > 6 else listed


def _border(op: str, geometry: Geometry | None, wrong: Array) -> str:
    """Say whether the wrong outputs are those whose windows reach into the padding."""
    if op != "forward" or geometry is None:
        return ""
    inside = np.ones(geometry.out, bool)
    for position, axis in enumerate(geometry.axes):
        first = np.arange(axis.out) * axis.stride - axis.before
        fits = (first >= 0) & (first + axis.span <= axis.extent)
        inside &= fits.reshape(-1, *(1 for _ in range(len(geometry.axes) - position - 1)))
    if inside.all() or not inside.any():
        return ""
    if not (wrong & inside).any():
        return "all at the border (a window over the padding)"
    return "all in the interior" if not (wrong & ~inside).any() else "border and interior alike"


#: What a result out of bound may have been computed in, the smallest error first.
_CANDIDATES = (
    "float64", "float32", "bf16x6", "bf16x3", "tf32", "float16", "bfloat16", "float32/winograd2",
    "float32/winograd4", "float32/fft", "float16-accumulate", "bfloat16-accumulate",
)  # fmt: skip


def _next(
    call: Call, chosen: Arithmetic, result: Array, right: Reference, found: Comparison
) -> str:
    """Say what to try first."""
    by_hand = "compare one element by hand: npconv.definition computes it as nested loops"
    if found.nonfinite.any():
        return (
            "look for memory that is read before it is written, and for zeros of the padding "
            "that are skipped or invented"
        )
    if right.bound is None:
        return by_hand
    if found.wrong.mean() > 0.02:
        for name in _CANDIDATES:
            other = reference(call, parse(name))
            fit = compare(result, other)
            # A bound above most of the values would fit zeros as well: it explains nothing.
            assert other.bound is not None
            tells = float(np.mean(other.bound < size(other.values))) > 0.5
            fits = tells and not fit.wrong.any() and not fit.undecided.any()
            if fits and name != chosen.name:
                return (
                    f"it is within the bound of {name}: where that is meant, "
                    f"say arithmetic={name!r}"
                )
    if found.wrong.all():
        return f"everything is wrong: check the order of arguments and axes; then {by_hand}"
    return by_hand
