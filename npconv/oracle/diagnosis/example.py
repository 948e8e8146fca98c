"""The smallest case as people read it: a test of five lines, and the arrays drawn. No running."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.data import framed
from npconv.oracle.diagnosis.sights import equal
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suspects.fault import Problem

Array = np.ndarray[Any, np.dtype[Any]]

#: Elements of all arrays together that a test writes out, and of one plane that is drawn.
_WRITTEN, _DRAWN = 160, 60
#: How a layout's array is a view of another one; `data.framed` says the same in code.
_VIEWS = {
    "packed": "",
    "channels_last": ".transpose(0, 3, 1, 2)",
    "transposed": ".swapaxes(-1, -2)",
    "reversed": "[..., ::-1, ::-1]",
    "channel_slice": ".transpose(0, 3, 1, 2)[:, 1:-1]",
    "stepped": "[..., 1::2, 2::3]",
}
#: The arrays that an operation reads.
_READ = {
    "forward": ("input", "weight", "bias"),
    "grad_input": ("grad_output", "weight"),
    "grad_weight": ("grad_output", "input"),
    "grad_bias": ("grad_output",),
}


def written(
    case: Case, op: str, problem: Problem, want: Array, functions: frozenset[str],
    kind: str = "values",
) -> str:  # fmt: skip
    """Return a test of five lines that needs NumPy and the functions under test alone.

    It fails on failures of that `kind`: NumPy takes a list, another dtype, or a number alone for
    equal where their values are. It is empty where the arrays are too large to be written out, or
    of another kind than numbers that print.
    """
    backward = op != "forward" and "conv2d_backward" in functions
    wanted = ("grad_output", "input", "weight") if backward else _READ[op]
    arrays = {name: getattr(problem, name) for name in wanted if getattr(problem, name) is not None}
    size = want.size + sum(array.size for array in arrays.values())
    if size > _WRITTEN or want.dtype.kind not in "fiu" or case.layout_kind not in _VIEWS:
        return ""
    texts = {name: _literal(array, case.layout_of(name)) for name, array in arrays.items()}
    parameters = ", ".join(map(repr, case.parameters))
    bias = texts.get("bias", "None")
    lines, call = {
        "forward": (("x", "input"), ("w", "weight")),
        "grad_input": (("w", "weight"), ("g", "grad_output")),
        "grad_weight": (("x", "input"), ("g", "grad_output")),
        "grad_bias": (("g", "grad_output"),),
    }[op], {
        "forward": f"conv2d(x, w, {bias}, {parameters})",
        "grad_input": f"conv2d_input({case.input_shape}, w, g, {parameters})",
        "grad_weight": f"conv2d_weight(x, {case.weight_shape}, g, {parameters})",
        "grad_bias": "conv2d_bias(g)",
    }[op]  # fmt: skip
    place = 0
    if backward:
        lines = (("g", "grad_output"), ("x", "input"), ("w", "weight"))
        place = GRADIENTS.index(op)
        call = f"conv2d_backward(g, x, w, {parameters}, {case.output_mask})"
        call += "" if kind == "type" else f"[{place}]"
    right = _literal(np.asarray(want), "packed")
    strict = ", strict=True" if kind in ("dtype", "shape") else ""
    judged = f"np.testing.assert_array_equal(got, {right}{strict})"
    if kind == "type":
        judged = "assert type(got) is np.ndarray, type(got)"
        if backward:
            three = "assert isinstance(got, (tuple, list)) and len(got) == 3, got"
            judged = f"{three}; assert type(got[{place}]) is np.ndarray, type(got[{place}])"
    given = [f"{short} = {texts[name]}" for short, name in lines]
    if len(given) == 3:
        given = [given[0], "; ".join(given[1:])]
    return "\n".join(["import numpy as np", *given, f"got = {call}", judged])


def _literal(array: Array, layout: str) -> str:
    """Write an array as Python, its memory laid out as the layout says."""
    kind = layout if array.ndim == 4 else "packed"
    shape, view = framed(array.shape, kind)
    base = np.full(shape, 7, array.dtype)
    view(base)[...] = array
    numbers = np.array2string(
        base, separator=", ", threshold=base.size + 1, max_line_width=10**9,
        formatter={"float_kind": _number, "int_kind": str},  # type: ignore[arg-type]  # any function
    )  # fmt: skip
    numbers = " ".join(numbers.split()).replace("[ ", "[")
    if base.size == 0:
        return f"np.zeros({base.shape}, {array.dtype.name!r}){_VIEWS[kind]}"
    return f"np.array({numbers}, {array.dtype.name!r}){_VIEWS[kind]}"


def _number(value: float) -> str:
    """Write a number so that it reads back as it is."""
    if np.isnan(value):
        return "np.nan"
    if np.isinf(value):
        return "np.inf" if value > 0 else "-np.inf"
    text = repr(float(value))
    return text[:-1] if text.endswith(".0") else text


def drawn(op: str, problem: Problem, got: Array | None, want: Array) -> str:
    """Draw arrays as planes of numbers side by side; what is wrong has a star."""
    blocks = [
        _block(name, array)
        for name in _READ[op]
        for array in [getattr(problem, name)]
        if array is not None
    ]
    if not all(blocks) or want.size > _DRAWN:
        return ""
    blocks.append(_block("expected", want))
    if got is not None and 0 < got.size <= _DRAWN:
        wrong = None
        if got.shape == want.shape:
            wrong = ~equal(got, want)
        blocks.append(_block("actual", got, wrong))
    height = max(len(block) for block in blocks)
    lines = []
    for row in range(height):
        cells = []
        for block in blocks:
            width = max(len(line) for line in block)
            cells.append((block[row] if row < len(block) else "").ljust(width))
        lines.append("   ".join(cells).rstrip())
    return "\n".join(lines)


def _block(name: str, array: Array, wrong: Array | None = None) -> list[str]:
    """Return a title and the planes of an array, one below the other; nothing for a large one."""
    if not 0 < array.size <= _DRAWN:
        return []
    array = np.atleast_1d(array)
    texts = np.array(
        [
            _cell(value, wrong is not None and bool(mark))
            for value, mark in zip(
                array.reshape(-1),
                np.zeros(array.size, bool) if wrong is None else wrong.reshape(-1),
                strict=True,
            )
        ],
        dtype=object,
    ).reshape(array.shape)
    width = max(len(text) for text in texts.reshape(-1))
    rows = texts.reshape(-1, array.shape[-1])
    return [name, *_rows(rows, width, array.shape[-2] if array.ndim > 1 else 1)]


def _rows(rows: Array, width: int, height: int) -> Iterator[str]:
    for number, row in enumerate(rows):
        if number and number % height == 0:
            yield ""
        yield " ".join(text.rjust(width) for text in row)


def _cell(value: Any, mark: bool) -> str:
    number = value.item()
    text = f"{number:.6g}" if isinstance(number, float) else str(number)
    return f"{text}*" if mark else text
