"""An implementation under test that is npconv's own, but for one fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from npconv import conv2d, conv2d_backward
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suspects import Problem

Array = np.ndarray[Any, np.dtype[Any]]
Mask = tuple[bool, bool, bool]
Gradients = tuple[Array | None, Array | None, Array | None]


class Plantable(Protocol):
    """A fault of the catalogue, or one beside it."""

    @property
    def name(self) -> str:
        """Unique, in kebab-case."""

    @property
    def family(self) -> str:
        """What the fault is about."""

    @property
    def trigger(self) -> str | None:
        """The condition outside of which every result is right, where known."""

    @property
    def ops(self) -> tuple[str, ...]:
        """The operations that it makes wrong."""

    def results(self, problem: Problem, op: str, /) -> Array | None:
        """Return the wrong result; None where it is right."""


class Planted:
    """npconv's calls with the results of one fault in their place.

    Illegal calls are refused as npconv refuses them. Arrays without elements are asked for only
    where the fault is about them: the others say nothing there.
    """

    def __init__(self, fault: Plantable) -> None:
        """Plant a fault."""
        self.fault = fault
        self.supports: dict[str, Any] = {
            "dtypes": True,
            "padding": True,
            "layouts": True,
            "unbatched": True,
            "empty": fault.family == "empties",
        }

    def __repr__(self) -> str:
        """Name the fault."""
        return f"planted({self.fault.name!r})"

    def conv2d(self, input: Array, weight: Array, bias: Array | None, *parameters: Any) -> Array:
        """Return the output."""
        right = conv2d(input, weight, bias, *parameters)
        return self.output(Problem(input, weight, bias, None, *parameters), right)

    def conv2d_backward(
        self, grad_output: Array, input: Array, weight: Array, *parameters: Any
    ) -> Sequence[Any]:
        """Return the three gradients; None where the last parameter, output_mask, is False."""
        *rest, mask = parameters
        problem = Problem(input, weight, None, grad_output, *rest)  # type: ignore[arg-type]  # judged by conv2d_backward
        return self.gradients(problem, tuple(mask))

    def output(self, problem: Problem, right: Array) -> Array:
        """Return the output, given the right one."""
        wrong = self.fault.results(problem, "forward")
        return right if wrong is None else np.array(wrong)

    def gradients(self, problem: Problem, mask: Mask) -> Sequence[Any]:
        """Return the gradients that a mask asks for."""
        found: list[Array | None] = list(right_gradients(problem, mask))
        for place, op in enumerate(GRADIENTS):
            wrong = self.fault.results(problem, op) if mask[place] else None
            if wrong is not None:
                found[place] = np.array(wrong)
        return tuple(found)


def right_gradients(problem: Problem, mask: Mask) -> Gradients:
    """Return the right gradients."""
    assert problem.grad_output is not None
    return conv2d_backward(
        problem.grad_output, problem.input, problem.weight, *problem.parameters, mask
    )
