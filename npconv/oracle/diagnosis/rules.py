"""The simplest condition that separates failing from passing cases. Nothing is run here.

Rules are conjunctions of up to three literals, or up to four conjunctions of one or two joined by
`or`. A rule's score is the number of bits that its text and then the outcomes take (Rissanen,
'Modeling by shortest data description', 1978): exceptions cost bits, and so do literals, the odd
ones more than the plain.
"""

from __future__ import annotations

import ast
import functools
import itertools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.oracle.cases import Case
from npconv.oracle.conditions import ALWAYS, LEGAL, features

Array = np.ndarray[Any, np.dtype[Any]]

#: Cases of either kind that a search looks at, at the most.
MOST_FAILING, MOST_PASSING = 2000, 5000
#: Literals that enter pairs, and pairs that enter triples.
_POOL, _PAIRS = 220, 40
#: Alternatives of a rule at the most, first ones that are tried, and beginnings that go on.
_ALTERNATIVES, _FIRSTS, _FRONT = 4, 24, 6
#: Bits of a joint, of a second alternative, and of a comparison with a number, by its kind.
_JOINT, _OR = 2.0, 6.0
#: What fails outside of a rule contradicts it; what passes within may only fail to show.
MISSED, EXTRA = 3.0, 0.5
#: Bits of a candidate from outside, less than any comparison's: it has a reason to be the one.
_GIVEN = 3.0
_TEXTS = ("dtype", "layout", "laid_out", "data", "mask", "padding_form")
#: Names of an axis, rows first.
_AXIS = (
    ("height", "width"), ("kernel_h", "kernel_w"), ("stride_h", "stride_w"),
    ("dilation_h", "dilation_w"), ("padding_top", "padding_left"),
    ("padding_bottom", "padding_right"), ("span_h", "span_w"), ("remainder_h", "remainder_w"),
    ("out_height", "out_width"),
)  # fmt: skip
_ROWS = dict(_AXIS)
#: What is compared with numbers besides.
_SIZES = (
    "batch", "in_channels", "out_channels", "groups", "channels_per_group", "features_per_group",
    "terms",
)  # fmt: skip
_SWITCHES = ("unbatched", "bias", "depthwise")
#: Products that loops run over, which tails come from.
_PRODUCTS = ("out_height * out_width", "kernel_h * kernel_w", "height * width")
_TAILS = (2, 4, 8, 16, 32)
#: Comparisons within one axis, of rows.
_WITHIN = (
    "kernel_h > stride_h", "kernel_h < stride_h", "kernel_h == stride_h", "stride_h != dilation_h",
    "padding_top != padding_bottom", "padding_top > padding_bottom", "padding_top < padding_bottom",
    "padding_top >= kernel_h", "padding_top > kernel_h // 2", "padding_top >= span_h",
    "padding_bottom >= kernel_h", "padding_bottom >= span_h", "2 * padding_top != span_h - 1",
    "2 * padding_top != kernel_h - 1", "2 * padding_top >= span_h", "height < span_h",
    "height < kernel_h", "height > stride_h", "stride_h > span_h", "height % stride_h != 0",
    "padding_top % stride_h != 0", "out_height > kernel_h", "out_height != height",
    "padding_top > remainder_h", "padding_bottom > remainder_h", "kernel_h != height",
    "padding_top + padding_bottom > 0", "height <= padding_top",
    "(padding_top + padding_bottom) % 2 != 0", "(height + stride_h - 1) // stride_h != out_height",
)  # fmt: skip
_BETWEEN = (
    ("in_channels", "out_channels"), ("groups", "in_channels"), ("groups", "out_channels"),
    ("channels_per_group", "features_per_group"), ("batch", "groups"), ("batch", "in_channels"),
    ("batch", "out_channels"), ("channels_per_group", "kernel_h"),
    ("channels_per_group", "groups"), ("features_per_group", "groups"),
    *_AXIS, ("padding_top", "padding_right"), ("padding_left", "padding_bottom"),
    ("dilation_h", "stride_w"), ("stride_h", "dilation_w"),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rule:
    """A condition with its exceptions: failing cases outside of it, passing cases within.

    `bits` is its score; the lowest is the best. `alternatives` counts what is joined by `or`, the
    same on either axis being one.
    """

    text: str
    missed: int
    extra: int
    bits: float
    alternatives: int = 1


@dataclass(frozen=True, slots=True)
class _Literal:
    text: str
    bits: float
    #: Joined by `or`: in a conjunction it takes parentheses.
    loose: bool = False


class Table:
    """The features of cases as columns."""

    def __init__(self, cases: Sequence[Case]) -> None:
        """Read the features of legal cases."""
        rows = [features(case) for case in cases]
        self.columns = {
            name: np.array([row.get(name, 0) for row in rows])
            for name in (*ALWAYS, *LEGAL)
            if name != "illegal"
        }
        self.length = len(rows)

    def value(self, text: str) -> Array:
        """Return an expression's value for each case."""
        with np.errstate(all="ignore"):
            found = _value(ast.parse(text.strip(), mode="eval").body, self.columns)
        return np.broadcast_to(np.asarray(found), self.length)

    def holds(self, text: str) -> Array:
        """Return where a condition holds."""
        return self.value(text).astype(bool)


#: What operators of a condition do to columns.
_OPERATORS: dict[type, Callable[..., Any]] = {
    ast.Add: np.add, ast.Sub: np.subtract, ast.Mult: np.multiply, ast.FloorDiv: np.floor_divide,
    ast.Mod: np.remainder, ast.Eq: np.equal, ast.NotEq: np.not_equal, ast.Lt: np.less,
    ast.LtE: np.less_equal, ast.Gt: np.greater, ast.GtE: np.greater_equal, ast.In: np.isin,
    ast.NotIn: lambda left, right: ~np.isin(left, right), ast.USub: np.negative,
    ast.Not: lambda inner: ~np.asarray(inner, bool), ast.And: np.logical_and,
    ast.Or: np.logical_or,
}  # fmt: skip


def _value(node: ast.AST, columns: Mapping[str, Array]) -> Any:
    """Evaluate a condition over columns; the language is that of `Condition`."""
    if isinstance(node, ast.Name):
        return columns[node.id]
    if isinstance(node, (ast.Tuple, ast.List)):
        return [_value(item, columns) for item in node.elts]
    if isinstance(node, ast.BoolOp):
        join = _OPERATORS[type(node.op)]
        return functools.reduce(join, (_value(part, columns) for part in node.values))
    if isinstance(node, ast.UnaryOp):
        return _OPERATORS[type(node.op)](_value(node.operand, columns))
    if isinstance(node, ast.BinOp):
        left, right = _value(node.left, columns), _value(node.right, columns)
        return _OPERATORS[type(node.op)](left, right)
    if isinstance(node, ast.Compare):
        sides = [_value(side, columns) for side in (node.left, *node.comparators)]
        return functools.reduce(
            np.logical_and,
            (
                _OPERATORS[type(operator)](left, right)
                for operator, (left, right) in zip(node.ops, itertools.pairwise(sides), strict=True)
            ),
        )
    assert isinstance(node, ast.Constant)
    return node.value


def find(
    failing: Sequence[Case],
    passing: Sequence[Case],
    *,
    given: Iterable[str] = (),
    count: int = 8,
    deadline: float = float("inf"),
) -> list[Rule]:
    """Return the best rules, the best first.

    `given` are further candidates, preferred where they hold as well. Legal cases only. No rule is
    found where nothing fails; the rule ``True`` where nothing passes or nothing separates.
    """
    if not failing:
        return []
    failing, passing = _some(failing, MOST_FAILING), _some(passing, MOST_PASSING)
    search = _Search(Table([*failing, *passing]), len(failing), deadline)
    for text in given:
        search.offer(text)
    search.conjunctions()
    if search.best_bits > 24 and time.perf_counter() < deadline:
        search.disjunctions()
    return search.rules(count)


def scored(
    texts: Iterable[str], failing: Sequence[Case], passing: Sequence[Case], weight: int = 1
) -> list[tuple[str, int, int]]:
    """Return, for each text, failing cases outside of it and passing cases within."""
    table = Table([*failing, *passing])
    found = []
    for text in texts:
        holds = table.holds(text)
        missed = int(np.count_nonzero(~holds[: len(failing)]))
        found.append((text, weight * missed, weight * int(holds[len(failing) :].sum())))
    return found


def _some(cases: Sequence[Case], most: int) -> Sequence[Case]:
    """Return at most so many, evenly spread."""
    if len(cases) <= most:
        return cases
    return [cases[position * len(cases) // most] for position in range(most)]


class _Search:
    """Literals over one table, and the rules made of them so far."""

    def __init__(self, table: Table, failing: int, deadline: float) -> None:
        self.table, self.failing, self.deadline = table, failing, deadline
        self.passing = table.length - failing
        #: By text: bits, missed, extra, alternatives.
        self.found: dict[str, tuple[float, int, int, int]] = {}
        self.literals: list[_Literal] = []
        rows: list[Array] = []
        seen: dict[bytes, int] = {}
        for literal, holds in self._literals():
            inside = int(holds[:failing].sum())
            if not inside or holds.all():
                continue
            key = np.packbits(holds).tobytes()
            if key not in seen:
                seen[key] = len(rows)
                rows.append(holds)
                self.literals.append(literal)
            elif literal.bits < self.literals[seen[key]].bits:
                self.literals[seen[key]] = literal
        self.matrix = np.array(rows, np.float32).reshape(len(rows), table.length)
        self._keep("True", 0.0, 0, self.passing)

    @property
    def best_bits(self) -> float:
        """The lowest score so far, less the text."""
        return min(bits for bits, *_ in self.found.values())

    def rules(self, count: int) -> list[Rule]:
        """Return the best rules found, and `True`; of those equal on all cases the shortest."""
        ranked = sorted(self.found.items(), key=lambda item: (item[1][0], len(item[0]), item[0]))
        chosen: list[Rule] = []
        seen: set[bytes] = set()
        for text, (bits, missed, extra, alternatives) in ranked[: 20 * count]:
            key = np.packbits(self.table.holds(text)).tobytes()
            if key not in seen:
                seen.add(key)
                chosen.append(Rule(text, missed, extra, bits, alternatives))
            if len(chosen) >= count:
                break
        if not any(rule.text == "True" for rule in chosen):
            bits, missed, extra, _ = self.found["True"]
            chosen.append(Rule("True", missed, extra, bits))
        return chosen

    def offer(self, text: str) -> None:
        """Add a candidate from outside."""
        holds = self.table.holds(text)
        inside = int(holds[: self.failing].sum())
        self._keep(text, _GIVEN, self.failing - inside, int(holds[self.failing :].sum()))

    def _keep(
        self, text: str, price: float, missed: float, extra: float, alternatives: int = 1
    ) -> None:
        outside, failing = self.passing - extra, self.failing - missed
        if text != "True" and failing * outside <= missed * extra:
            return  # it tells where cases pass
        bits = price + float(self._outcomes(np.float64(missed), np.float64(extra)))
        known = self.found.get(text)
        if known is None or bits < known[0]:
            self.found[text] = (bits, int(missed), int(extra), alternatives)

    def _outcomes(self, missed: Any, extra: Any) -> Any:
        """Return the bits that outcomes take, given where a rule holds."""
        caught = self.failing - missed
        outside = self.passing - extra
        return EXTRA * _entropy(caught, extra) + MISSED * _entropy(missed, outside)

    def conjunctions(self) -> None:
        """Try literals, pairs and triples that hold for almost all failing cases."""
        covered = self.matrix[:, : self.failing].sum(1)
        allowed = max(0.0, 0.04 * self.failing)
        self._conjunctions(np.flatnonzero(covered >= self.failing - allowed))

    def _conjunctions(self, pool: Array) -> None:
        """Score singles, pairs and triples of literals in `pool`."""
        failing, passing = self.matrix[:, : self.failing], self.matrix[:, self.failing :]
        prices = np.array([literal.bits for literal in self.literals])
        if not len(pool):
            return
        missed = self.failing - failing[pool].sum(1)
        extra = passing[pool].sum(1)
        scores = prices[pool] + self._outcomes(missed, extra)
        order = np.argsort(scores, kind="stable")[:_POOL]
        # Of the many that hold for all failing cases, those that rule out most.
        pool, missed, extra, scores = pool[order], missed[order], extra[order], scores[order]
        for i in range(min(60, len(pool))):
            self._keep(self._text([pool[i]]), prices[pool[i]], missed[i], extra[i])
        a, b = failing[pool], passing[pool]
        pair_missed = self.failing - a @ a.T
        pair_extra = b @ b.T
        pair_price = prices[pool][:, None] + prices[pool] + _JOINT
        pair_scores = pair_price + self._outcomes(pair_missed, pair_extra)
        pair_scores[np.tril_indices(len(pool))] = np.inf
        best = np.argsort(pair_scores, axis=None, kind="stable")[:_PAIRS]
        pairs = [divmod(int(flat), len(pool)) for flat in best]
        pairs = [(i, j) for i, j in pairs if np.isfinite(pair_scores[i, j])]
        for i, j in pairs:
            self._keep(
                self._text([pool[i], pool[j]]), pair_price[i, j], pair_missed[i, j],
                pair_extra[i, j],
            )  # fmt: skip
        if not pairs or time.perf_counter() > self.deadline:
            return
        first, second = (np.array(side) for side in zip(*pairs, strict=True))
        triple_missed = self.failing - (a[first] * a[second]) @ a.T
        triple_extra = (b[first] * b[second]) @ b.T
        triple_price = pair_price[first, second][:, None] + prices[pool] + _JOINT
        triple_scores = triple_price + self._outcomes(triple_missed, triple_extra)
        for flat in np.argsort(triple_scores, axis=None, kind="stable")[:_PAIRS]:
            row, k = divmod(int(flat), len(pool))
            chosen = sorted({int(first[row]), int(second[row]), k})
            if len(chosen) == 3:
                self._keep(
                    self._text([pool[i] for i in chosen]), triple_price[row, k],
                    triple_missed[row, k], triple_extra[row, k],
                )  # fmt: skip

    def disjunctions(self) -> None:
        """Try alternatives: one that explains part of the failing cases, others for the rest."""
        firsts = self._alternatives(np.ones(self.failing, bool), _FIRSTS)
        front = [(self._product(chosen), [chosen], price) for chosen, price in firsts]
        for _ in range(_ALTERNATIVES - 1):
            grown: dict[bytes, tuple[float, Array, list[list[int]], float]] = {}
            for holds, parts, price in front:
                rest = ~holds[: self.failing]
                if not rest.any():
                    continue
                if time.perf_counter() > self.deadline:
                    return
                for other, more in self._alternatives(rest, 8):
                    second = self._product(other)
                    if (holds <= second).all() or (second <= holds).all():
                        continue
                    either = holds | second
                    missed = int((~either[: self.failing]).sum())
                    extra = int(either[self.failing :].sum())
                    total = price + more + _OR
                    chosen = [*parts, other]
                    text = " or ".join(map(self._text, chosen))
                    self._keep(text, total, missed, extra, len(chosen))
                    # Ranked by how well they tell, not by what is missed: more is to come.
                    told = _entropy(self.failing - missed, extra)
                    bits = total + float(told + _entropy(missed, self.passing - extra))
                    key = np.packbits(either).tobytes()
                    if key not in grown or bits < grown[key][0]:
                        grown[key] = bits, either, chosen, total
            best = sorted(grown.values(), key=lambda entry: entry[0])[:_FRONT]
            front = [(holds, chosen, price) for _, holds, chosen, price in best]

    def _product(self, chosen: Sequence[int]) -> Array:
        return np.asarray(self.matrix[list(chosen)].all(0))

    def _alternatives(self, wanted: Array, count: int) -> list[tuple[list[int], float]]:
        """Return conjunctions of one or two literals that tell some of the wanted from passing."""
        failing = self.matrix[:, : self.failing][:, wanted]
        passing = self.matrix[:, self.failing :]
        total, prices = failing.shape[1], np.array([literal.bits for literal in self.literals])

        def score(caught: Any, extra: Any) -> Any:
            return _entropy(caught, extra) + _entropy(total - caught, self.passing - extra)

        caught, extra = failing.sum(1), passing.sum(1)
        enough = np.flatnonzero(caught >= 0.08 * total)
        scores = (prices + score(caught, extra))[enough]
        pool = enough[np.argsort(scores, kind="stable")[:90]]
        a, b = failing[pool], passing[pool]
        pair_caught, pair_extra = a @ a.T, b @ b.T
        pair_price = prices[pool][:, None] + prices[pool] + _JOINT
        np.fill_diagonal(pair_price, prices[pool])
        pair_scores = pair_price + score(pair_caught, pair_extra)
        pair_scores[np.tril_indices(len(pool), -1)] = np.inf
        found = []
        for flat in np.argsort(pair_scores, axis=None, kind="stable")[:count]:
            i, j = divmod(int(flat), len(pool))
            found.append((sorted({int(pool[i]), int(pool[j])}), float(pair_price[i, j])))
        return found

    def _text(self, chosen: Sequence[int]) -> str:
        literals = [self.literals[int(i)] for i in chosen]
        if len(literals) == 1:
            return literals[0].text
        # Names in the order in which a call takes them read best.
        literals = sorted(literals, key=lambda literal: _rank(literal.text))
        return " and ".join(f"({one.text})" if one.loose else one.text for one in literals)

    # ------------------------------------------------------------- literals

    def _literals(self) -> Iterator[tuple[_Literal, Array]]:
        """Yield every literal with where it holds."""
        columns = self.table.columns
        for literal in itertools.chain(self._plain(), self._names()):
            yield literal, self.table.holds(literal.text)
        yield from self._axes()
        for name in _TEXTS:
            yield from self._words(name, columns[name])

    def _plain(self) -> Iterator[_Literal]:
        """Comparisons of sizes with numbers, switches, tails."""
        for name in _SIZES:
            price = 11.0 if name == "terms" else 8.0
            yield from self._numbers(name, price)
        yield _Literal("kernel_h == 1 and kernel_w == 1", 9.0)
        for name in _SWITCHES:
            yield _Literal(name, 8.0)
            yield _Literal(f"not {name}", 8.5)
        for name in (*_SIZES, *_PRODUCTS, *(name for pair in _AXIS for name in pair)):
            for tail in _TAILS:
                if name in self.table.columns and self.table.columns[name].max(initial=0) < tail:
                    continue
                term = f"({name})" if "*" in name else name
                yield _Literal(f"{term} % {tail} != 0", 11.0)
                yield _Literal(f"{term} % {tail} == 0", 11.0)
        for name in _PRODUCTS:
            yield from self._numbers(name, 11.0)
        yield from self._numbers("kernel_h * kernel_w * channels_per_group", 12.0)

    def _numbers(self, name: str, price: float) -> Iterator[_Literal]:
        """Compare one size with numbers that its values allow."""
        values = np.unique(self.table.value(name))
        if len(values) < 2:
            return
        low = values[0]
        steps = values[:-1]
        if len(steps) > 14:
            steps = np.unique([*steps[:6], *(steps[i * len(steps) // 8] for i in range(8))])
        for value in steps.tolist():
            plain = value in (0, 1)
            cost = price + (0 if plain else 2)
            if value == 0 and low < 0:
                yield _Literal(f"{name} != 0", price)
                yield _Literal(f"{name} < 0", price)
                yield _Literal(f"{name} >= 0", price + 1)
            yield _Literal(f"{name} > {value}", cost)
            yield _Literal(f"{name} <= {value}" if value != low else f"{name} == {value}", cost)
        for value in values[1:9].tolist():
            yield _Literal(f"{name} == {value}", price + 1.5)
            yield _Literal(f"{name} != {value}", price + 1.5)

    def _names(self) -> Iterator[_Literal]:
        """Comparisons of two sizes."""
        for first, second in _BETWEEN:
            for operator in ("!=", "==", ">", "<"):
                yield _Literal(f"{first} {operator} {second}", 9.0 if operator in "!==" else 10.0)

    def _axes(self) -> Iterator[tuple[_Literal, Array]]:
        """Comparisons on rows, on columns, on either, and pairs of them on the same axis."""
        rows = [literal for name in _ROWS for literal in self._numbers(name, 8.0)]
        rows += [_Literal(text, 11.0) for text in _WITHIN]
        either = []
        for literal in rows:
            other = _on_columns(literal.text)
            first, second = self.table.holds(literal.text), self.table.holds(other)
            yield literal, first
            yield _Literal(other, literal.bits), second
            both = first | second
            yield _Literal(f"{literal.text} or {other}", literal.bits + 1, loose=True), both
            either.append((literal, first, second, both))
        necessary = [entry for entry in either if entry[3][: self.failing].mean() > 0.97]
        necessary.sort(key=lambda entry: entry[0].bits + 4 * float(np.mean(entry[3])))
        necessary = necessary[:90]
        for (one, a, b, _), (two, c, d, _) in itertools.combinations(necessary, 2):
            joined = (a & c) | (b & d)
            if joined[: self.failing].mean() > 0.97:
                text = f"{one.text} and {two.text}"
                text = f"{text} or {_on_columns(text)}"
                yield _Literal(text, one.bits + two.bits + _JOINT + 1, loose=True), joined

    def _words(self, name: str, column: Array) -> Iterator[tuple[_Literal, Array]]:
        """Comparisons of a word: with each, and with those that ever fail."""
        price = {"data": 18.0, "mask": 18.0}.get(name, 10.0)
        words = sorted(set(column.tolist()))
        for word in words:
            holds = np.asarray(column == word)
            yield _Literal(f"{name} == {word!r}", price), holds
            yield _Literal(f"{name} != {word!r}", price + 1), ~holds
        failing = sorted(set(column[: self.failing].tolist()))
        if 1 < len(failing) < len(words) - 1:
            price += 2.0 * min(len(failing), len(words) - len(failing))
            holds = np.isin(column, failing)
            rest = [word for word in words if word not in failing]
            if len(rest) < len(failing):
                yield _Literal(f"{name} not in {tuple(rest)!r}", price), holds
            else:
                yield _Literal(f"{name} in {tuple(failing)!r}", price), holds


def _on_columns(text: str) -> str:
    """Return a condition on rows as one on columns."""
    return re.sub(r"[a-z_]+", lambda found: _ROWS.get(found[0], found[0]), text)


def _rank(text: str) -> int:
    """Order literals as a call has its parameters."""
    name = re.search(r"[a-z_]+", text.replace("not ", ""))
    order = ("groups", "depthwise", *(n for pair in _AXIS[2:4] for n in pair))
    word = name[0] if name else ""
    return order.index(word) if word in order else len(order)


def _entropy(some: Any, others: Any) -> Any:
    """Return the bits that two kinds take in any order, at their best rate."""
    some, others = np.asarray(some, np.float64), np.asarray(others, np.float64)
    total = some + others
    with np.errstate(all="ignore"):
        a = np.where(some > 0, some * np.log2(total / some), 0.0)
        b = np.where(others > 0, others * np.log2(total / others), 0.0)
    return a + b
