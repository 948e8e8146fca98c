"""An implementation under test: its functions, what it says that it supports, how it is called."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from npconv.bounds import parse
from npconv.formats import NAMES, available, dtype_of, family
from npconv.geometry import PADDING_NAMES, shown
from npconv.oracle.cases import LAYOUTS, Case
from npconv.oracle.data import Operands
from npconv.oracle.guards import Guarded

GRADIENTS = ("grad_input", "grad_weight", "grad_bias")
OPS = ("forward", *GRADIENTS)
_REST = ("stride", "padding", "dilation", "groups")
#: The functions that an implementation may have, with what they are called with, by position.
SIGNATURES = {
    "conv2d": ("input", "weight", "bias", *_REST),
    "conv2d_backward": ("grad_output", "input", "weight", *_REST, "output_mask"),
    "conv2d_input": ("input_size", "weight", "grad_output", *_REST),
    "conv2d_weight": ("input", "weight_size", "grad_output", *_REST),
    "conv2d_bias": ("grad_output",),
    "conv2d_out": ("out", "input", "weight", "bias", *_REST),
}
FUNCTIONS = tuple(SIGNATURES)
#: Forms of padding; "string" stands for each of the names that follow.
PADDING_FORMS = ("pair", "string", "four-sided", *PADDING_NAMES)
#: What a name may be like one of these, and not be meant otherwise.
_ALIKE = 0.92


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
    #: Dtypes of results that are not the arrays' own, by (op, dtype): see `_result_dtypes`.
    result_dtypes: Mapping[tuple[str, str], str] = field(default_factory=dict, hash=False)

    def asks(self, case: Case) -> bool:
        """Whether the case lies within what is declared."""
        return self.leaves_out(case) is None

    def leaves_out(self, case: Case) -> str | None:
        """Return the first field that the case lies outside of; None where it is asked."""
        within = {
            "dtypes": case.dtype in self.dtypes,
            "padding": case.padding_form in self.padding or case.padding in self.padding,
            "dilation": self.dilation or case.dilation == (1, 1),
            "groups": self.groups or case.groups == 1,
            "layouts": case.layout_kind in self.layouts
            and (case.laid_out == "all" or "packed" in self.layouts),
            "unbatched": self.unbatched or case.batch is not None,
            "empty": (case.batch != 0 or "batch" in self.empty)
            and (case.in_channels > 0 or "channels" in self.empty),
        }
        return next((name for name, holds in within.items() if not holds), None)

    def result_dtype(self, op: str, dtype: str) -> str:
        """Return the dtype that an operation's result has on arrays of a dtype."""
        return self.result_dtypes.get((op, dtype), dtype)


@dataclass(frozen=True, slots=True)
class Implementation:
    """The functions of an object under test, by name, and what it supports."""

    name: str
    functions: Mapping[str, Callable[..., Any]]
    supports: Supports = field(compare=False)

    @classmethod
    def of(cls, target: Any, name: str) -> Implementation:
        """Read a module, an instance, a namespace, or a bare function, which is a conv2d.

        A class whose methods need an instance is called without arguments to get one.
        """
        target = _instance(target, name)
        functions = {
            function: getattr(target, function)
            for function in FUNCTIONS
            if callable(getattr(target, function, None))
        }
        _check_spelling(target, name, functions)
        if not functions and callable(target):
            functions = {"conv2d": target}
        if not functions:
            raise NotAnImplementationError(
                f"{name} must be a function or have one of {', '.join(FUNCTIONS)}"
            )
        for function, called in functions.items():
            _check_parameters(name, function, called)
        return cls(name, functions, _supports(name, functions, getattr(target, "supports", {})))

    @property
    def forward_functions(self) -> tuple[str, ...]:
        """Which of conv2d and conv2d_out there are."""
        return tuple(name for name in ("conv2d", "conv2d_out") if name in self.functions)

    @property
    def gradient_calls(self) -> tuple[tuple[str, ...], ...]:
        """Which gradients come out of one call each: all of conv2d_backward's, or one by one."""
        if "conv2d_backward" in self.functions:
            return (GRADIENTS,)
        single = zip(GRADIENTS, ("conv2d_input", "conv2d_weight", "conv2d_bias"), strict=True)
        return tuple((op,) for op, function in single if function in self.functions)

    def forward(self, case: Case, arrays: Operands) -> Any:
        """Call conv2d; where there is none, conv2d_out on an output of the right shape."""
        if "conv2d" in self.functions:
            return self.functions["conv2d"](
                arrays.input, arrays.weight, arrays.bias, *case.parameters
            )
        guarded = self.guarded(case, 0)
        self.write(case, arrays, guarded.out)
        return guarded.out

    def guarded(self, case: Case, number: int) -> Guarded:
        """Make the output that a conv2d_out is given; for an illegal case of one element a plane.

        It is laid out as the case's arrays are, as far as it can be written then.
        """
        shape = (
            case.geometry.output_shape
            if case.illegal is None
            else (*case.input_shape[:-3], case.out_channels, 1, 1)
        )
        kind = case.layout_kind if case.laid_out == "all" else "packed"
        layout = "packed" if kind in ("readonly", "expanded") else kind
        dtype = dtype_of(self.supports.result_dtype("forward", case.dtype))
        return Guarded.make(shape, dtype, layout, number)

    def write(self, case: Case, arrays: Operands, out: Any) -> Any:
        """Call conv2d_out."""
        return self.functions["conv2d_out"](
            out, arrays.input, arrays.weight, arrays.bias, *case.parameters
        )

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


def _instance(target: Any, name: str) -> Any:
    """Make an instance of a class whose functions are methods; refuse a torch module."""
    if inspect.isclass(target):
        own = [inspect.getattr_static(target, f, None) for f in (*FUNCTIONS, "__call__")]
        methods = [f for f in own if inspect.isfunction(f) and _takes_self(f)]
        torch_module = any(
            base.__module__.startswith("torch.nn") and base.__name__ == "Module"
            for base in target.__mro__
        )
        if methods and not torch_module:
            try:
                inspect.signature(target).bind()
            except TypeError:
                raise NotAnImplementationError(
                    f"{name} is a class that takes arguments: "
                    f"name an instance of it, as in `kernel = {target.__name__}(...)`"
                ) from None
            except ValueError:  # a class without a signature
                pass
            return target()
        if not any(callable(getattr(target, f, None)) for f in FUNCTIONS):
            raise NotAnImplementationError(
                f"{name} is a class without any of {', '.join(FUNCTIONS)}"
            )
        return target
    bases = type(target).__mro__
    if (
        any(b.__module__.startswith("torch.nn") and b.__name__ == "Module" for b in bases)
        and not any(callable(getattr(target, f, None)) for f in FUNCTIONS)
        and not _binds(target.forward, len(SIGNATURES["conv2d"]))
    ):
        raise NotAnImplementationError(
            f"{name} is a torch module, which holds its own weight: give a function "
            f"conv2d({', '.join(SIGNATURES['conv2d'])}) that calls what it calls"
        )
    return target


def _takes_self(function: Any) -> bool:
    return next(iter(inspect.signature(function).parameters), None) == "self"


def _binds(function: Any, count: int) -> bool:
    """Whether a call with so many arguments by position can be made, as far as can be told."""
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # built-in functions need not have a signature
        pass
    return True


def _check_parameters(name: str, function: str, called: Any) -> None:
    """Refuse a function that cannot be called as the protocol says."""
    expected = SIGNATURES[function]
    if not _binds(called, len(expected)):
        raise NotAnImplementationError(
            f"{name}: {getattr(called, '__name__', function)}{inspect.signature(called)} must take "
            f"{len(expected)} arguments by position, {function}({', '.join(expected)})"
        )


def _check_spelling(target: Any, name: str, functions: Mapping[str, Any]) -> None:
    """Refuse what has a function whose name is nearly one of the protocol's, and not that one."""
    for other in dir(target):
        if other in FUNCTIONS or "conv" not in other.lower():
            continue
        near = difflib.get_close_matches(other.lower(), FUNCTIONS, 1, _ALIKE)
        if near and near[0] not in functions and callable(getattr(target, other, None)):
            raise NotAnImplementationError(f"{name} has {other}: did you mean {near[0]}?")


def _supports(name: str, functions: Mapping[str, Any], declared: Any) -> Supports:
    """Check a `supports` dict, name by name, and fill in what is undeclared."""
    if not isinstance(declared, Mapping):
        raise NotAnImplementationError(f"{name}: supports={shown(declared)} must be a dict")
    lists = {
        "ops": OPS,
        "dtypes": NAMES,
        "padding": PADDING_FORMS,
        "layouts": LAYOUTS,
        "empty": ("batch", "channels"),
    }
    switches = ("dilation", "groups", "unbatched")
    values: dict[str, Any] = {"ops": _implemented(functions)}
    readers = {"arithmetic": _arithmetic, "result_dtypes": _result_dtypes}
    for key, value in declared.items():
        if key in lists:
            known = {"dtypes": available(), "padding": PADDING_FORMS[:3]}.get(key, lists[key])
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
                    f"{name}: supports['dtypes'] lists bfloat16, which needs the package "
                    "ml_dtypes: pip install 'npconv[bfloat16]'"
                )
        elif key in switches:
            if not isinstance(value, (bool, np.bool_)):
                raise NotAnImplementationError(
                    f"{name}: supports[{key!r}]={shown(value)} must be True or False"
                )
            values[key] = bool(value)
        elif key in readers:
            values[key] = readers[key](name, value)
        else:
            known_keys = (*lists, *switches, *readers)
            near = difflib.get_close_matches(str(key), known_keys, 1)
            raise NotAnImplementationError(
                f"{name}: supports has no {shown(key)}; there are {', '.join(known_keys)}"
                + (f"; did you mean {near[0]!r}?" if near else "")
            )
    missing = [op for op in values["ops"] if op not in _implemented(functions)]
    if missing:
        raise NotAnImplementationError(
            f"{name}: supports['ops'] lists {', '.join(missing)}, but has no function for it"
        )
    supports = Supports(**values)
    for dtype in {dtype for _, dtype in supports.result_dtypes}:
        if dtype not in supports.dtypes and dtype in available():
            raise NotAnImplementationError(
                f"{name}: supports['result_dtypes'] names {dtype}, "
                "which supports['dtypes'] does not list"
            )
    return supports


def _result_dtypes(name: str, declared: Any) -> dict[tuple[str, str], str]:
    """Read {dtype: result dtype} or {dtype: {op: result dtype}}.

    Integers may give any integers, which wrap, or floats, to which the exact sum is rounded
    once; floats give floats and complex numbers complex ones, of more bits or fewer.
    """
    found: dict[tuple[str, str], str] = {}
    for (op, dtype), result in _by_op(name, "result_dtypes", declared).items():
        if result not in NAMES:
            raise NotAnImplementationError(
                f"{name}: supports['result_dtypes']: {shown(result)} must be one of "
                + ", ".join(NAMES)
            )
        if {dtype, result} <= set(available()):
            kinds = family(dtype_of(dtype)), family(dtype_of(result))
            if kinds[0] != kinds[1] and kinds != ("integer", "float"):
                raise NotAnImplementationError(
                    f"{name}: supports['result_dtypes'] lets {dtype} give {result}; "
                    "integers give integers or floats, others their own kind"
                )
        elif result not in available() and dtype in available():
            raise NotAnImplementationError(
                f"{name}: supports['result_dtypes'] lists bfloat16, "
                "which needs the package ml_dtypes: pip install 'npconv[bfloat16]'"
            )
        found[op, dtype] = result
    return found


def _arithmetic(name: str, declared: Any) -> dict[tuple[str, str], str]:
    """Read {dtype: arithmetic} or {dtype: {op: arithmetic}}."""
    found: dict[tuple[str, str], str] = {}
    for key, arithmetic in _by_op(name, "arithmetic", declared).items():
        try:
            found[key] = parse(arithmetic).name
        except ValueError as error:
            raise NotAnImplementationError(f"{name}: supports: {error}") from None
    return found


def _by_op(name: str, key: str, declared: Any) -> dict[tuple[str, str], str]:
    """Read {dtype: name} or {dtype: {op: name}} by (op, dtype)."""
    rule = (
        f"{name}: supports[{key!r}]={shown(declared)} must be a dict, "
        "{dtype: name} or {dtype: {op: name}}"
    )
    found: dict[tuple[str, str], str] = {}
    for dtype, value in declared.items() if isinstance(declared, Mapping) else [("", None)]:
        each = dict.fromkeys(OPS, value) if isinstance(value, str) else value
        if dtype not in NAMES or not isinstance(each, Mapping) or not set(each) <= set(OPS):
            raise NotAnImplementationError(rule)
        found |= {(op, dtype): chosen for op, chosen in each.items()}
    return found


def _implemented(functions: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the operations that the functions can serve."""
    sources = {
        "forward": ("conv2d", "conv2d_out"),
        "grad_input": ("conv2d_backward", "conv2d_input"),
        "grad_weight": ("conv2d_backward", "conv2d_weight"),
        "grad_bias": ("conv2d_backward", "conv2d_bias"),
    }
    return tuple(op for op, names in sources.items() if any(name in functions for name in names))
