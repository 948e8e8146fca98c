"""`npconv.definition` as an implementation under test: nested loops, rounded once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv import definition
from npconv.formats import available
from npconv.geometry import parse

Array = np.ndarray[Any, np.dtype[Any]]


def adapter() -> SimpleNamespace:
    """Return the definition's calls, their nested lists made arrays."""

    def conv2d(input: Array, weight: Array, *rest: Any) -> Array:
        result = definition.conv2d(input, weight, *rest, dtype=input.dtype)
        # A nested list does not show the sizes behind an empty axis.
        shape = parse(input.shape, weight.shape, *rest[1:]).output_shape
        return np.array(result, input.dtype).reshape(shape)

    def conv2d_backward(
        grad_output: Array, input: Array, weight: Array, *rest: Any
    ) -> tuple[Array | None, ...]:
        results = definition.conv2d_backward(grad_output, input, weight, *rest, dtype=input.dtype)
        shapes = (input.shape, weight.shape, weight.shape[:1])
        return tuple(
            None if result is None else np.array(result, input.dtype).reshape(shape)
            for result, shape in zip(results, shapes, strict=True)
        )

    return SimpleNamespace(
        conv2d=conv2d,
        conv2d_backward=conv2d_backward,
        supports={
            "dtypes": available(),
            "padding": ("pair", "string", "four-sided"),
            "unbatched": True,
            "empty": ("batch", "channels"),
        },
    )
