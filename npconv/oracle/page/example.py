"""One failing case, drawn: its arrays, what is right, what came, and how to repeat it."""

from __future__ import annotations

import math
import shlex
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.data import Operands, operands
from npconv.oracle.judge import Failure, expect, is_exact
from npconv.oracle.page.markup import Markup, element, join
from npconv.oracle.page.pictures import Picture, figure, scale_of
from npconv.oracle.page.reads import reads
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.trial import Outcome

Array = np.ndarray[Any, np.dtype[Any]]

#: Elements of all arrays of a case that is drawn, at the most, and of one whose numbers are
#: written into the snippet.
DRAWN, LISTED = 2_000_000, 150
_DATA = {
    "integers": "integers whose sums are exact",
    "reals": "reals",
    "micro": "reals near 1e-6",
    "mega": "reals near 1e6",
    "cancelling": "sums that cancel",
    "probe": "integers with more bits than shorter formats hold",
    "special": "reals with one NaN or infinity",
}
#: Kinds of failure that one call of the target shows.
_SEEN_AT_ONCE = ("values", "nonfinite", "shape", "dtype", "type", "raised")


def section(
    failure: Failure, target: str, outcome: Outcome | None, functions: Collection[str] = ()
) -> Markup:
    """Return what there is to see of a failure; `outcome` is of the same case, run once more.

    `functions` names those that the target has.
    """
    case = Case.from_id(failure.case)
    drawn, arrays = _arrays(case, failure, outcome)
    ratio = failure.ratio
    error = "" if ratio is None else f" |error| is {ratio:.3g} times the bound."
    return element(
        "article",
        element("h3", failure.op, " ", element("span", failure.kind, class_="kind")),
        element("p", failure.message, "." if failure.message[-1:].isalnum() else None, error),
        _words(case),
        drawn,
        element("h4", "Repeat it"),
        element("pre", element("code", command(target, case.id)), tabindex="0"),
        _snippet(case, failure.op, target, arrays, functions)
        if arrays is not None and failure.kind in _SEEN_AT_ONCE
        else None,
        class_="example",
    )


def command(target: str, case: str) -> str:
    """Return the command that repeats a case."""
    return f"npconv check {shlex.quote(target)} --case {case}"


def is_drawable(case: Case) -> bool:
    """Whether a case is legal, and its arrays are small enough."""
    if case.illegal is not None:
        return False
    geometry = case.geometry
    shapes = (geometry.input_shape, geometry.weight_shape, geometry.output_shape)
    return sum(math.prod(shape) for shape in shapes) <= DRAWN


def _arrays(
    case: Case, failure: Failure, outcome: Outcome | None
) -> tuple[Markup | None, Operands | None]:
    """Draw operands, expected, actual and difference, as far as there are any."""
    if case.illegal is not None:
        said = "The case is illegal and must be refused: "
        return element("p", said, case.illegal), None
    if not is_drawable(case):
        return element("p", "Its arrays are too large to be drawn.", class_="note"), None
    arrays = operands(case)
    with np.errstate(all="ignore"):
        expected = outcome.expected if outcome is not None else None
        right = (expected or expect(case, arrays)).values.get(failure.op)
    named = arrays.named()
    read = reads(case, failure.op, failure.index) if failure.index is not None else {}
    shown = _DRAWN[failure.op]
    pictures = [
        Picture(
            name, named[name], read=read.get(name), planes="filter" if name == "weight" else "batch"
        )
        for name in shown
        if name in named
    ]
    inputs = element("div", *map(figure, pictures), class_="arrays")
    if right is None:
        return inputs, arrays
    results = element("div", *map(figure, _results(failure, right, outcome)), class_="arrays")
    note = _note(failure, outcome, read)
    return join(note, inputs, results), arrays


_DRAWN = {
    "forward": ("input", "weight", "bias"),
    "grad_input": ("weight", "grad_output"),
    "grad_weight": ("input", "grad_output"),
    "grad_bias": ("grad_output",),
}


def _results(failure: Failure, right: Array, outcome: Outcome | None) -> list[Picture]:
    """Return expected, actual and difference, where the case was run again and gave an array."""
    actual = None if outcome is None else outcome.results.get(failure.op)
    planes = "filter" if failure.op == "grad_weight" else "batch"
    expected = Picture("expected", right, worst=failure.index, scale=scale_of(right), planes=planes)
    if not isinstance(actual, np.ndarray) or actual.dtype.kind not in "biufcV":
        return [expected]
    if actual.ndim > 4 or actual.ndim < 1:
        return [expected]
    came = replace(expected, name="actual", array=actual)
    if actual.shape != right.shape:
        return [expected, came]
    with np.errstate(all="ignore"):
        wide = np.complex128 if "c" in (actual.dtype.kind, right.dtype.kind) else np.float64
        difference = actual.astype(wide) - right.astype(wide)
        # Where both are the same infinity, or both NaN, nothing differs.
        same = (actual == right) | ((actual != actual) & (right != right))  # noqa: PLR0124
        difference[same] = 0
    return [
        expected,
        came,
        replace(came, name="actual − expected", array=difference, scale=None),
    ]


def _note(failure: Failure, outcome: Outcome | None, read: Mapping[str, Any]) -> Markup:
    """Say what the marks mean, and what is missing."""
    said: list[Markup | str] = []
    if read:
        where = ", ".join(str(i) for i in failure.index or ())
        said += [
            element("span", "", class_="key worst-key"), f" the worst element, [{where}]: got ",
            element("b", failure.got or "?"), ", expected ", element("b", failure.want or "?"),
            ". ", element("span", "", class_="key read-key"), " what it is made from.",
        ]  # fmt: skip
    if outcome is None:
        said.append(" The case was not run again for this page, so what it gave is not shown.")
    return element("p", *said, class_="legend") if said else Markup("")


def _words(case: Case) -> Markup:
    """Describe the arguments."""
    groups = f"{case.groups} groups"
    if case.groups == 1:
        groups = "no groups"
    elif case.groups == case.in_channels:
        groups += " (depthwise)"
    facts = [
        ("input", f"{_times(case.input_shape)}" + (" (unbatched)" if case.batch is None else "")),
        ("weight", _times(case.weight_shape)),
        ("stride", _times(case.stride)),
        ("padding", _padding(case)),
        ("dilation", _times(case.dilation)),
        ("groups", groups),
        ("bias", "yes" if case.bias else "no"),
        ("output_mask", case.mask),
        ("dtype", case.dtype),
        ("layout", case.layout.replace("_", " ")),
        ("data", f"{_DATA.get(case.data, case.data)}, seed {case.seed}"),
    ]
    return element(
        "dl",
        *(element("div", element("dt", name), element("dd", value)) for name, value in facts),
        class_="arguments",
    )


def _times(sizes: tuple[int, ...]) -> str:
    return " × ".join(str(size) for size in sizes)


def _padding(case: Case) -> str:
    padding = case.padding
    if isinstance(padding, str):
        return f"'{padding}'"
    first, second = padding
    if isinstance(first, int):
        return f"{first} × {second}"
    (top, bottom), (left, right) = padding  # type: ignore[misc]  # it is no pair of ints
    return f"top {top}, bottom {bottom}, left {left}, right {right}"


def _snippet(
    case: Case, op: str, target: str, arrays: Operands, functions: Collection[str]
) -> Markup:
    """Return Python that computes what is right and asks the target."""
    named = {
        "x": arrays.input, "w": arrays.weight, "b": arrays.bias, "g": arrays.grad_output,
    }  # fmt: skip
    parameters = f"{case.stride!r}, {case.padding!r}, {case.dilation!r}, {case.groups}"
    taken = "g" if op == "grad_bias" else f"{_TAKEN[op]}, {parameters}"
    function = {"forward": "conv2d"}.get(op, op.replace("grad", "conv2d"))
    asked, which = taken, ""
    if op != "forward" and ("conv2d_backward" in functions or function not in functions):
        asked = f"g, x, w, {parameters}, {case.output_mask!r}"
        which = f"[{GRADIENTS.index(op)}]"
    size = sum(array.size for array in named.values() if array is not None)
    lines = ["import numpy as np", "import npconv", "from npconv.adapters import load"]
    if size <= LISTED and case.layout == "packed" and case.dtype != "bfloat16":
        lines += ["from numpy import inf, nan", ""]
        lines += [f"{name} = {_listed(array)}" for name, array in named.items()]
    else:
        lines += [
            "from npconv.oracle.cases import Case",
            "from npconv.oracle.data import operands",
            "",
            f'arrays = operands(Case.from_id("{case.id}"))',
            "x, w, b, g = arrays.input, arrays.weight, arrays.bias, arrays.grad_output",
        ]
    called = "conv2d_backward" if which else function
    lines += [
        "",
        f"target = load({target!r})",
        f"want = npconv.{function}({taken})",
        f'got = target.functions["{called}"]({asked}){which}',
        "np.testing.assert_array_equal(got, want)"
        if is_exact(case, op)
        else "print(np.abs(got - want).max())",
    ]
    return element(
        "details",
        element("summary", "The same in Python"),
        element("pre", element("code", "\n".join(lines)), tabindex="0"),
    )


#: What npconv's own call of an operation takes before the parameters.
_TAKEN = {"forward": "x, w, b", "grad_input": "x.shape, w, g", "grad_weight": "x, w.shape, g"}


def _listed(array: Array | None) -> str:
    if array is None:
        return "None"
    shape = "" if array.size else f".reshape({array.shape})"
    return f'np.array({array.tolist()!r}, "{array.dtype.name}"){shape}'
