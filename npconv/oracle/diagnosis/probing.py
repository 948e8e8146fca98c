"""Cases made on purpose to tell candidate rules apart."""

from __future__ import annotations

import itertools
import math
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.diagnosis.rules import EXTRA, MISSED, Rule
from npconv.oracle.diagnosis.sights import Bench, effort, spread

#: Candidates that are told apart, bits by which they may be worse, and cases run for each pair.
_RIVALS, _WORSE, _EACH = 6, 30.0, 5
#: Products and elements of a probing case at the most.
_LARGEST = 2_000_000


def settled(
    bench: Bench,
    op: str,
    rules: Sequence[Rule],
    failing: Sequence[Case],
    passing: Sequence[Case],
    deadline: float,
    shows: Callable[[Case], bool] = lambda _: True,
) -> list[Rule]:
    """Return the rules, the one that also predicts probing cases first.

    For each pair of rivals, cases are made of failing and passing ones, one parameter or two
    changed, such that one rule holds and the other does not; then they run. Cases that pass count
    where `shows` holds: where the fault, if it were there, would show.
    """
    rivals = [rule for rule in rules if rule.bits <= rules[0].bits + _WORSE][:_RIVALS]
    # Cases outside of the best rule may fail too, though none of the suite does.
    rivals[1:1] = [rule for rule in rules if rule.text == "True" and rule not in rivals]
    if len(rivals) < 2:
        return list(rules)
    # Its own half of the time that is left: what is smallest is still to be found.
    now = time.perf_counter()
    end = now + 0.5 * max(0.0, deadline - now)
    conditions = {rule.text: Condition.parse(rule.text) for rule in rivals}
    extra = dict.fromkeys(conditions, 0.0)
    rng = random.Random(0)
    known = {*failing, *passing}
    for one, other in itertools.combinations(rivals, 2):
        if one is not rivals[0] and extra[rivals[0].text] < 1:
            break
        a, b = conditions[one.text], conditions[other.text]
        runs = 0
        for case in _between(rng, failing, passing):
            if runs >= _EACH or time.perf_counter() > end or bench.spent:
                break
            if case in known or a.holds(case) == b.holds(case) or not bench.asks(case):
                continue
            known.add(case)
            verdict = bench.verdict(case, op)
            if verdict is None or verdict.status not in ("passed", "failed"):
                continue
            if verdict.status == "passed" and not shows(case):
                continue
            runs += 1
            for rule in rivals:
                holds = conditions[rule.text].holds(case)
                extra[rule.text] += _surprise(
                    rule, holds, verdict.status == "failed", failing, passing
                )
    ranked = sorted(rivals, key=lambda rule: (rule.bits + extra[rule.text], rule.bits))
    return [*ranked, *(rule for rule in rules if rule not in rivals)]


def _surprise(
    rule: Rule, holds: bool, fails: bool, failing: Sequence[Case], passing: Sequence[Case]
) -> float:
    """Return the bits that an outcome takes, given how often a rule was right so far."""
    some, others = (
        (len(failing) - rule.missed, rule.extra)
        if holds
        else (rule.missed, len(passing) - rule.extra)
    )
    share = (max(0, some) + 0.5) / (max(0, some) + max(0, others) + 1)
    return -(EXTRA if holds else MISSED) * math.log2(share if fails else 1 - share)


def _between(
    rng: random.Random, failing: Sequence[Case], passing: Sequence[Case]
) -> Iterator[Case]:
    """Yield cases near failing and passing ones, small ones, with integers."""
    seeds = [*spread(failing, 40), *spread(passing, 40)]
    if not seeds:
        return
    for _ in range(1500):
        case = replace(rng.choice(seeds), data="integers")
        for _ in range(rng.choice((1, 1, 2))):
            case = _changed(rng, case, rng.choice(seeds))
        # A size of one large case with another's would be larger than either.
        if case.illegal is None and effort(case) <= _LARGEST:
            yield case


def _changed(rng: random.Random, case: Case, other: Case) -> Case:
    """Change one parameter: to another case's, or a step up or down, or equal on both axes."""
    kind = rng.randrange(4)
    name = rng.choice(("extents", "kernel", "stride", "dilation", "padding"))
    if kind == 0:
        field = rng.choice(
            ("extents", "kernel", "stride", "padding", "dilation", "bias", "layout", "batch")
        )
        return replace(case, **{field: getattr(other, field)})
    if kind == 1:
        groups = rng.choice((1, 2, 3))
        inside, outside = rng.choice((1, 2, 3, 4, 5)), rng.choice((1, 2, 3, 4, 5, 8))
        return replace(
            case, groups=groups, in_channels=groups * inside, out_channels=groups * outside
        )
    pair = getattr(case, name)
    if name == "padding" and case.padding_form != "pair":
        return case
    axis = rng.randrange(2)
    value = pair[1 - axis] if kind == 2 else pair[axis] + rng.choice((-2, -1, 1, 2))
    least = 0 if name == "padding" else 1
    changed = [pair[0], pair[1]]
    changed[axis] = max(least, value)
    return replace(case, **{name: (changed[0], changed[1])})  # type: ignore[arg-type]  # pairs
