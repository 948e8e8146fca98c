"""A `Problem` is one call as an implementation sees it, a `Fault` what goes wrong there.

A fault is a function from problems to wrong results: what a convolution with just that fault
returns. Nothing here computes anything.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.geometry import Geometry, parse
from npconv.oracle.cases import Case, Padding, Pair
from npconv.oracle.data import Operands

Array = np.ndarray[Any, np.dtype[Any]]

KINDS = ("structure", "numerics", "state")


@dataclass(frozen=True, eq=False)
class Problem:
    """One legal call and its backward call: arrays with their strides, and parameters.

    Two problems are equal where they are the same object.
    """

    input: Array
    weight: Array
    bias: Array | None
    grad_output: Array | None
    stride: Pair
    padding: Padding
    dilation: Pair
    groups: int

    @classmethod
    def of(cls, case: Case, operands: Operands) -> Problem:
        """Return the calls that a case makes with its arrays."""
        return cls(
            operands.input,
            operands.weight,
            operands.bias,
            operands.grad_output,
            case.stride,
            case.padding,
            case.dilation,
            case.groups,
        )

    @functools.cached_property
    def geometry(self) -> Geometry:
        """The checked sizes; raises ValueError for an illegal call."""
        return parse(
            self.input.shape,
            self.weight.shape,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    @property
    def parameters(self) -> tuple[Pair, Padding, Pair, int]:
        """Stride, padding, dilation and groups, in the order that every call takes them."""
        return self.stride, self.padding, self.dilation, self.groups


class NoArrayError(ValueError):
    """What a kernel with the fault would do makes no array here: it raises."""


#: What a fault makes of one operation of a problem, in the problem's dtype; it may have a wrong
#: shape. None: the operation is right, or its result is not determined. It raises `NoArrayError`
#: where the kernel raises.
Results = Callable[[Problem, str], Array | None]


@dataclass(frozen=True)
class Fault:
    """One known fault of convolutions.

    Attributes
    ----------
    name : str
        Unique, stable, in kebab-case.
    says : str
        Completes 'your output is what a kernel gives that ...'.
    kind : str
        One of `KINDS`.
    family : str
        What it is about, such as 'groups' or 'padding'.
    ops : tuple of str
        The operations that it makes wrong.
    sources : tuple of str
        Public reports of such a fault, or of its nearest relative.
    trigger : str or None
        A condition over a case's parameters outside of which every result is right; None where
        none is known. Within it a result may be right by chance, as where all products are zero.
    results : callable
        The wrong results; it raises `NoArrayError` where there are none.
    series : str or None
        The name shared by faults that differ in one number or one choice only.
    same_as : tuple of str
        Faults that give the same results on every problem.
    leaves : callable or None
        Whether it reads beyond the padded input of a problem. `results` has a number there; a
        kernel may as well raise.
    """

    name: str
    says: str
    kind: str
    family: str
    ops: tuple[str, ...]
    sources: tuple[str, ...]
    trigger: str | None
    results: Results
    series: str | None = None
    same_as: tuple[str, ...] = ()
    leaves: Callable[[Problem], bool] | None = None
