"""An implementation under test: its functions, what it says that it supports, how it is called."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npconv.bounds import parse
from npconv.formats import NAMES, available
from npconv.geometry import shown
from npconv.oracle.cases import LAYOUTS, Case
from npconv.oracle.data import Operands

GRADIENTS = ("grad_input", "grad_weight", "grad_bias")
OPS = ("forward", *GRADIENTS)
FUNCTIONS = ("conv2d", "conv2d_backward", "conv2d_input", "conv2d_weight", "conv2d_bias")


class NotAnImplementationError(TypeError):
    """The object under test has none of the functions, or declares what makes no sense."""


@dataclass(frozen=True, slots=True)
class Supports:
    """What an implementation is asked, by its own declaration."""

    ops: tuple[str, ...]
    dtypes: tuple[str, ...] = ("float32", "float64")
    padding: tuple[str, ...] = ("pair",)
    dilation: bool = True
    groups: bool = True
    layouts: tuple[str, ...] = LAYOUTS
    unbatched: bool = False
    empty: tuple[str, ...] = ()
    #: What operations are judged as that have not the dtype's own, by (op, dtype).
    arithmetic: Mapping[tuple[str, str], str] = field(default_factory=dict, hash=False)

    def asks(self, case: Case) -> bool:
        """Whether the case lies within what is declared."""
        return self.leaves_out(case) is None

    def leaves_out(self, case: Case) -> str | None:
        """Return the first field that the case lies outside of; None where it is asked."""
        within = {
            "dtypes": case.dtype in self.dtypes,
            "padding": case.padding_form in self.padding,
            "dilation": self.dilation or case.dilation == (1, 1),
            "groups": self.groups or case.groups == 1,
            "layouts": case.layout in self.layouts,
            "unbatched": self.unbatched or case.batch is not None,
            "empty": (case.batch != 0 or "batch" in self.empty)
            and (case.in_channels > 0 or "channels" in self.empty),
        }
        return next((name for name, holds in within.items() if not holds), None)


@dataclass(frozen=True, slots=True)
class Implementation:
    """The functions of an object under test, by name, and what it supports."""

    name: str
    functions: Mapping[str, Callable[..., Any]]
    supports: Supports = field(compare=False)

    @classmethod
    def of(cls, target: Any, name: str) -> Implementation:
        """Read a module, an instance, a namespace, or a bare function, which is a conv2d."""
        functions = {
            function: getattr(target, function)
            for function in FUNCTIONS
            if callable(getattr(target, function, None))
        }
        if not functions and callable(target):
            functions = {"conv2d": target}
        if not functions:
            raise NotAnImplementationError(
                f"{name} must be a function or have one of {', '.join(FUNCTIONS)}"
            )
        return cls(name, functions, _supports(name, functions, getattr(target, "supports", {})))

    def forward(self, case: Case, arrays: Operands) -> Any:
        """Call conv2d."""
        return self.functions["conv2d"](arrays.input, arrays.weight, arrays.bias, *case.parameters)

    def gradients(
        self, case: Case, arrays: Operands, mask: tuple[bool, bool, bool]
    ) -> Sequence[Any]:
        """Call conv2d_backward, or the single gradients' functions where there is none."""
        backward = self.functions.get("conv2d_backward")
        if backward is not None:
            return backward(arrays.grad_output, arrays.input, arrays.weight, *case.parameters, mask)  # type: ignore[no-any-return]  # judged, not trusted
        single: dict[str, Callable[[Callable[..., Any]], Any]] = {
            "conv2d_input": lambda f: f(
                case.input_shape, arrays.weight, arrays.grad_output, *case.parameters
            ),
            "conv2d_weight": lambda f: f(
                arrays.input, case.weight_shape, arrays.grad_output, *case.parameters
            ),
            "conv2d_bias": lambda f: f(arrays.grad_output),
        }
        return tuple(
            call(self.functions[function]) if wanted and function in self.functions else None
            for wanted, (function, call) in zip(mask, single.items(), strict=True)
        )


def _supports(name: str, functions: Mapping[str, Any], declared: Any) -> Supports:
    """Check a `supports` dict, name by name, and fill in what is undeclared."""
    if not isinstance(declared, Mapping):
        raise NotAnImplementationError(f"{name}: supports={shown(declared)} must be a dict")
    lists = {
        "ops": OPS,
        "dtypes": NAMES,
        "padding": ("pair", "string", "four-sided"),
        "layouts": LAYOUTS,
        "empty": ("batch", "channels"),
    }
    switches = ("dilation", "groups", "unbatched")
    values: dict[str, Any] = {"ops": _implemented(functions)}
    for key, value in declared.items():
        if key in lists:
            known = available() if key == "dtypes" else lists[key]
            chosen = {True: known, False: ()}[value] if isinstance(value, bool) else value
            if not isinstance(chosen, (tuple, list, set, frozenset)) or not all(
                isinstance(item, str) and item in lists[key] for item in chosen
            ):
                raise NotAnImplementationError(
                    f"{name}: supports[{key!r}]={shown(value)} must list some of "
                    + ", ".join(lists[key])
                )
            values[key] = tuple(item for item in lists[key] if item in chosen)
            if key == "dtypes" and not set(values[key]) <= set(available()):
                raise NotAnImplementationError(
                    f"{name}: supports['dtypes'] lists bfloat16, which needs the package ml_dtypes"
                )
        elif key in switches:
            if not isinstance(value, (bool, np.bool_)):
                raise NotAnImplementationError(
                    f"{name}: supports[{key!r}]={shown(value)} must be True or False"
                )
            values[key] = bool(value)
        elif key == "arithmetic":
            values[key] = _arithmetic(name, value)
        else:
            raise NotAnImplementationError(
                f"{name}: supports has no {shown(key)}; "
                f"there are {', '.join((*lists, *switches, 'arithmetic'))}"
            )
    missing = [op for op in values["ops"] if op not in _implemented(functions)]
    if missing:
        raise NotAnImplementationError(
            f"{name}: supports['ops'] lists {', '.join(missing)}, but has no function for it"
        )
    return Supports(**values)


def _arithmetic(name: str, declared: Any) -> dict[tuple[str, str], str]:
    """Read {dtype: arithmetic} or {dtype: {op: arithmetic}}."""
    rule = (
        f"{name}: supports['arithmetic']={declared!r} must be a dict, "
        "{dtype: name} or {dtype: {op: name}}"
    )
    found: dict[tuple[str, str], str] = {}
    for dtype, value in declared.items() if isinstance(declared, Mapping) else [("", None)]:
        each = dict.fromkeys(OPS, value) if isinstance(value, str) else value
        if dtype not in NAMES or not isinstance(each, Mapping) or not set(each) <= set(OPS):
            raise NotAnImplementationError(rule)
        for op, arithmetic in each.items():
            try:
                found[op, dtype] = parse(arithmetic).name
            except ValueError as error:
                raise NotAnImplementationError(f"{name}: supports: {error}") from None
    return found


def _implemented(functions: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the operations that the functions can serve."""
    sources = {
        "forward": ("conv2d",),
        "grad_input": ("conv2d_backward", "conv2d_input"),
        "grad_weight": ("conv2d_backward", "conv2d_weight"),
        "grad_bias": ("conv2d_backward", "conv2d_bias"),
    }
    return tuple(op for op, names in sources.items() if any(name in functions for name in names))
