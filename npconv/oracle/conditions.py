"""Conditions on cases, such as ``stride_w > 1 and groups > 1``: their names, text and value."""

from __future__ import annotations

import ast
import functools
from collections.abc import Mapping
from dataclasses import dataclass
from types import CodeType
from typing import Any

from npconv.geometry import shown
from npconv.oracle.cases import Case

#: What a name in a condition may stand for.
Value = int | bool | str

#: Names that every case has, then those that only legal ones have.
ALWAYS = (
    "batch", "unbatched", "in_channels", "out_channels", "groups", "height", "width", "kernel_h",
    "kernel_w", "stride_h", "stride_w", "dilation_h", "dilation_w", "padding_form", "bias", "mask",
    "dtype", "layout", "laid_out", "data", "illegal",
)  # fmt: skip
LEGAL = (
    "channels_per_group", "features_per_group", "depthwise", "padding_top", "padding_bottom",
    "padding_left", "padding_right", "span_h", "span_w", "remainder_h", "remainder_w",
    "out_height", "out_width", "terms",
)  # fmt: skip
NAMES = (*ALWAYS, *LEGAL)
#: Names that stand for text; all others stand for numbers, or for what is true or not.
TEXTS = ("padding_form", "mask", "dtype", "layout", "laid_out", "data")

#: Characters of a condition at the most.
_LONGEST = 1000
_OPERATORS = (
    ast.And, ast.Or, ast.Not, ast.USub, ast.Eq, ast.NotEq, ast.Lt, ast.LtE, ast.Gt, ast.GtE,
    ast.In, ast.NotIn, ast.Add, ast.Sub, ast.Mult, ast.FloorDiv, ast.Mod,
)  # fmt: skip
_NODES = (
    ast.Expression, ast.BoolOp, ast.UnaryOp, ast.Compare, ast.BinOp, ast.Tuple, ast.List, ast.Load,
)  # fmt: skip


def features(case: Case) -> dict[str, Value]:
    """Return the value of every name that a condition on this case may use.

    An illegal case has no sizes of output, padding by side, span or remainder.

    Examples
    --------
    >>> from npconv.oracle.cases import Case
    >>> from npconv.oracle.conditions import features
    >>> case = Case.from_id(
    ...     "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
    ... )
    >>> found = features(case)
    >>> found["channels_per_group"], found["padding_top"], found["span_w"], found["out_height"]
    (2, 1, 3, 4)
    """
    return dict(_features(case))


@functools.lru_cache(maxsize=64)
def _features(case: Case) -> Mapping[str, Value]:
    found: dict[str, Value] = {
        "batch": 1 if case.batch is None else case.batch,
        "unbatched": case.batch is None,
        "in_channels": case.in_channels,
        "out_channels": case.out_channels,
        "groups": case.groups,
        "height": case.extents[0],
        "width": case.extents[1],
        "kernel_h": case.kernel[0],
        "kernel_w": case.kernel[1],
        "stride_h": case.stride[0],
        "stride_w": case.stride[1],
        "dilation_h": case.dilation[0],
        "dilation_w": case.dilation[1],
        "padding_form": case.padding_form,
        "bias": case.bias,
        "mask": case.mask,
        "dtype": case.dtype,
        "layout": case.layout_kind,
        "laid_out": case.laid_out,
        "data": case.data,
        "illegal": case.illegal is not None,
    }
    if found["illegal"]:
        return found
    geometry = case.geometry
    rows, columns = geometry.axes
    return found | {
        "channels_per_group": geometry.group_in,
        "features_per_group": geometry.group_out,
        "depthwise": case.groups == case.in_channels > 1,
        "padding_top": rows.before,
        "padding_bottom": rows.after,
        "padding_left": columns.before,
        "padding_right": columns.after,
        "span_h": rows.span,
        "span_w": columns.span,
        "remainder_h": rows.remainder,
        "remainder_w": columns.remainder,
        "out_height": rows.out,
        "out_width": columns.out,
        "terms": geometry.forward_terms,
    }


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on a case's parameters and on what follows from them.

    It is a Python expression of `NAMES`, numbers, strings and True or False, with comparisons,
    ``in``, ``and``, ``or``, ``not``, ``+``, ``-``, ``*``, ``//`` and ``%``, and nothing else.
    """

    text: str
    #: The names used.
    names: frozenset[str]
    _code: CodeType

    @classmethod
    def parse(cls, text: Any) -> Condition:
        """Read a condition; raise ValueError, in one line, where it is none.

        Examples
        --------
        >>> from npconv.oracle.conditions import Condition
        >>> sorted(Condition.parse("stride_w > 1 and in_channels % 4 != 0").names)
        ['in_channels', 'stride_w']
        >>> Condition.parse("strides > 1")
        Traceback (most recent call last):
        ValueError: condition 'strides > 1': no 'strides'; did you mean stride_h or stride_w?
        """
        said = f"condition {shown(text)}"
        if not isinstance(text, str) or not text.strip() or len(text) > _LONGEST:
            raise ValueError(f"{said} must be an expression such as 'groups > 1 and stride_w > 1'")
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            raise ValueError(
                f"{said} must be an expression such as 'groups > 1 and stride_w > 1'"
            ) from None
        names = set()
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                names.add(node.id)
            elif not isinstance(node, (*_NODES, *_OPERATORS)) and not (
                isinstance(node, ast.Constant) and isinstance(node.value, (int, str))
            ):
                raise ValueError(
                    f"{said}: {type(node).__name__} is not among comparisons, in, and, or, not, "
                    "+, -, *, // and %"
                )
        for name in sorted(names):
            if name not in NAMES:
                raise ValueError(f"{said}: no {name!r}; {_instead(name)}")
        try:
            _kind(tree.body)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"{said}: {error}") from None
        return cls(text.strip(), frozenset(names), compile(tree, "<condition>", "eval"))

    def holds(self, case: Case) -> bool:
        """Whether the case fulfils it; an illegal case never does where its sizes are named."""
        return self.holds_for(_features(case))

    def holds_for(self, values: Mapping[str, Value]) -> bool:
        """Whether these values of names, as `features` returns them, fulfil it."""
        try:
            return bool(eval(self._code, {"__builtins__": {}}, dict(values)))
        except (ArithmeticError, MemoryError, NameError, TypeError, ValueError):
            # A size that an illegal case has not, or a remainder by it: it does not hold.
            return False

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Travel to a worker as text: compiled code cannot."""
        return Condition.parse, (self.text,)


def _kind(node: ast.expr) -> str:
    """Return 'text', 'number' or a list's kind; raise ValueError where operands do not go together.

    Each part is looked at once, however deep it lies.
    """
    match node:
        case ast.Name(name):
            return "text" if name in TEXTS else "number"
        case ast.Constant(value):
            return "text" if isinstance(value, str) else "number"
        case ast.Tuple(parts) | ast.List(parts):
            kinds = {_kind(part) for part in parts}
            if len(kinds) > 1:
                raise ValueError(f"{ast.unparse(node)} holds texts and numbers")
            return f"list of {kinds.pop()}" if kinds else "empty list"
        case ast.BoolOp(values=parts):
            for part in parts:
                _kind(part)
        case ast.UnaryOp(operator, part):
            if _kind(part) != "number" and not isinstance(operator, ast.Not):
                raise ValueError(f"{ast.unparse(node)}: only a number has a sign")
        case ast.BinOp(left, operator, right):
            if {_kind(left), _kind(right)} != {"number"}:
                raise ValueError(f"{ast.unparse(node)}: only numbers are reckoned with")
            zero = isinstance(right, ast.Constant) and not right.value
            if zero and isinstance(operator, (ast.FloorDiv, ast.Mod)):
                raise ValueError(f"{ast.unparse(node)}: there is no division by 0")
        case ast.Compare(left, comparisons, others):
            parts = [left, *others]
            kinds_of = [_kind(part) for part in parts]
            for number, comparison in enumerate(comparisons):
                wrong = _never(comparison, kinds_of[number], kinds_of[number + 1])
                if wrong:
                    said = " and ".join(map(ast.unparse, parts[number : number + 2]))
                    raise ValueError(f"{said}: {wrong}")
    return "number"


def _never(comparison: ast.cmpop, one: str, other: str) -> str | None:
    """Say why two kinds are never equal, nor one in the other; None where they may be."""
    if not isinstance(comparison, (ast.In, ast.NotIn)):
        return None if one == other else "text, numbers and lists are never equal"
    if other == "number":
        return "only a list or a text can hold something"
    if other == "empty list" or one == (other.removeprefix("list of ")):
        return None
    return "text and numbers are never equal"


def _instead(name: str) -> str:
    """Name what was probably meant."""
    import difflib

    stem = name.rstrip("s")
    near = [known for known in NAMES if known.startswith(stem)]
    near = near or difflib.get_close_matches(name, NAMES, 3)
    if near:
        return f"did you mean {' or '.join(near)}?"
    return f"there are {', '.join(NAMES)}"


#: What `--without FEATURE` leaves out, by name.
FEATURES = {
    "stride": "stride_h != 1 or stride_w != 1",
    "padding": "padding_form != 'pair' or padding_top != 0 or padding_left != 0",
    "dilation": "dilation_h != 1 or dilation_w != 1",
    "groups": "groups != 1",
    "depthwise": "depthwise",
    "bias": "bias",
    "mask": "mask != '111'",
    "unbatched": "unbatched",
    "empty": "batch == 0 or in_channels == 0",
    "illegal": "illegal",
    "views": "layout != 'packed'",
    "special": "data == 'special'",
    "reals": "data not in ('integers', 'probe')",
    "strings": "padding_form == 'string'",
    "four-sided": "padding_form == 'four-sided'",
}


def left_out_by(text: str) -> Condition:
    """Return the condition of what `--without` leaves out: a name of `FEATURES`, or a condition.

    Examples
    --------
    >>> from npconv.oracle.conditions import left_out_by
    >>> left_out_by("groups").text, left_out_by("kernel_h > 7").text
    ('groups != 1', 'kernel_h > 7')
    """
    if text in FEATURES:
        return Condition.parse(FEATURES[text])
    try:
        return Condition.parse(text)
    except ValueError as error:
        raise ValueError(
            f"{error}; a feature is one of {', '.join(FEATURES)}, or a condition"
        ) from None
