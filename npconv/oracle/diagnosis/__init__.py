"""Why cases fail: under which condition, as which known fault, and the smallest that does."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from npconv.bounds import default_for
from npconv.oracle.cases import DATA, Case
from npconv.oracle.conditions import Condition
from npconv.oracle.data import operands
from npconv.oracle.diagnosis import (
    describe,
    example,
    experiments,
    matching,
    probing,
    rules,
    shrink,
)
from npconv.oracle.diagnosis.sights import Bench, Sight, spread
from npconv.oracle.judge import Failure
from npconv.oracle.probe import Finding
from npconv.oracle.protocol import GRADIENTS, OPS
from npconv.oracle.report import Diagnosis, Tally
from npconv.oracle.run import Plan
from npconv.oracle.suspects import CATALOGUE
from npconv.oracle.suspects.fault import Fault, Problem
from npconv.oracle.suspects.tools import positions

__all__ = ["diagnose"]

#: Failing results of an operation that are run again, then further ones to tell parts apart.
SEEN, SORTED = 24, 200
#: Passing cases that suspects are held against, and such that a rule is looked for among.
_HELD, _LOOKED = 24, 6000
#: Passing cases that are looked at for whether a suspect shows in them.
_MET = 300
#: Passing cases that tell parts apart.
_TOLD = 1000
#: Shares of the arrays looked at: of less a suspect needs a rule; of so much it is the cause.
_MOSTLY, _NEARLY = 0.8, 0.9
#: For each failing case, passing ones that the rule of all may hold for: a fault need not show.
_HIDDEN = 0.5
#: Sorts of failure that one sentence tells.
_SORTS = 3
#: Seconds that a diagnosis may take at the least, whatever the run took.
LEAST = 2.0
#: Kinds of failure whose results are compared with those of known faults.
_VALUES = ("values", "nonfinite", "shape", "dtype")


def diagnose(
    plan: Plan,
    tally: Tally,
    seconds: float | None = None,
    findings: Mapping[str, Mapping[str, Finding]] | None = None,
    again: bool = True,
) -> tuple[Diagnosis, ...]:
    """Explain the failures of a run: nothing where there are none.

    Parameters
    ----------
    plan, tally
        What was run, and what it gave.
    seconds : float, optional
        Time that it may take: by default what the run took, and at least `LEAST`.
    findings : mapping, optional
        What probing found of the arithmetic, by operation and dtype.
    again : bool
        Whether a bounded number of cases may run again, here. Operations whose calls ended a
        process or took too long never do.

    Returns
    -------
    tuple of Diagnosis
        By operation; of one operation, what explains most first.
    """
    if not tally.failures_total:
        return ()
    began = time.perf_counter()
    most = max(LEAST, tally.seconds) if seconds is None else seconds
    ops = [op for op in OPS if tally.counts[op]["failed"]]
    everything = _Everything(plan, tally)
    bench = Bench(plan.implementation(), plan.ops, plan.arithmetic, began + most)
    found: list[Diagnosis] = []
    for number, op in enumerate(ops):
        now = time.perf_counter()
        bench.deadline = now + (began + most - now) / (len(ops) - number)
        one = _Operation(tally, everything, bench, op, (findings or {}).get(op, {}), again)
        found += one.diagnoses()
    return tuple(found)


class _Everything:
    """The cases of a run, each built once."""

    def __init__(self, plan: Plan, tally: Tally) -> None:
        self.suite = plan.cases()
        self.supports = plan.implementation().supports
        self.plan, self.tally = plan, tally
        self._asked: dict[int, bool] = {}

    def failing(self, op: str) -> list[Case]:
        """Return the cases in which an operation fails, those of expectations left out."""
        positions = [p for start, stop in self.tally.failed.get(op, ()) for p in range(start, stop)]
        return [
            case for case in map(self.suite.__getitem__, positions) if not self._expected(case, op)
        ]

    def passing(self, op: str, most: int, *, empty: bool = False) -> list[Case]:
        """Return cases, evenly spread, in which an operation was answered and did not fail."""
        # What it does not support tells nothing of where it is right.
        apart = [*self.tally.failed.get(op, ()), *self.tally.declined.get(op, ())]
        unlike = {p for start, stop in apart for p in range(start, stop)}
        done = [p for start, stop in self.tally.done for p in range(start, stop)]
        # Built one by one until there are enough: a suite may be long.
        found = []
        for position in spread(done, 4 * most):
            if position in unlike:
                continue
            case = self.suite[position]
            if self._counts(case, op, empty=empty):
                found.append(case)
        return spread(found, most)

    def asked(self, op: str) -> int:
        """Return how many results of an operation there are."""
        return sum(self.tally.counts[op].values())

    def _counts(self, case: Case, op: str, *, empty: bool) -> bool:
        """Whether a result of the operation that passed says anything."""
        if case.illegal is not None:
            return False
        if not empty and (case.batch == 0 or case.in_channels == 0):
            return False
        if op != "forward" and not case.output_mask[GRADIENTS.index(op)]:
            return False
        if op != "grad_bias" and not empty and not _reaches(case):
            return False
        return self.plan.leaves_out(case, self.supports) is None

    def _expected(self, case: Case, op: str) -> bool:
        expectations = self.plan.expectations
        return expectations is not None and any(entry.asks(op) for entry in expectations.on(case))


@dataclass(frozen=True)
class _Part:
    """Failing cases that have one cause."""

    suspect: Fault | None
    others: tuple[Fault, ...]
    says: str
    sights: tuple[Sight, ...]
    #: Of how many results that were looked at it gives how many.
    explains: int
    of: int


class _Operation:
    """The diagnosis of one operation."""

    def __init__(
        self,
        tally: Tally,
        everything: _Everything,
        bench: Bench,
        op: str,
        findings: Mapping[str, Finding],
        again: bool,
    ) -> None:
        self.tally, self.everything = tally, everything
        self.bench, self.op, self.findings = bench, op, findings
        self.failures = [failure for failure in tally.failures if failure.op == op]
        self.failing = everything.failing(op)
        self.illegal = [case for case in self.failing if case.illegal is not None]
        self.legal = [case for case in self.failing if case.illegal is None]
        self.failing_ops = [name for name in OPS if tally.counts[name]["failed"]]
        #: Cases that failed, and did not when they ran again.
        self.gone = 0
        self.deadly = not again or any(
            failure.kind in ("crashed", "timeout") for failure in self.failures
        )

    def diagnoses(self) -> Iterator[Diagnosis]:
        """Yield what was found, what explains most first."""
        if self.illegal:
            yield self._on_illegal()
        if not self.legal:
            return
        empty = any(case.batch == 0 or case.in_channels == 0 for case in self.legal)
        passing = self.everything.passing(self.op, _LOOKED, empty=empty)
        if self.deadly:
            yield self._without_running(passing)
            return
        sights = self._sights()
        told = self._told_apart(self._parts(sights, passing), sights, passing)
        for number, (part, failing) in enumerate(told):
            now = time.perf_counter()
            end = now + max(0.0, self.bench.deadline - now) / (len(told) - number)
            # What another fault gives does not show this one.
            others = [case for other, cases in told if other is not part for case in cases]
            yield self._explained(part, failing, passing, others, end)

    # ------------------------------------------------------------- what is seen

    def _sights(self) -> list[Sight]:
        """Run failing cases again: plain ones of each kind, and others from all over."""
        plain = [Case.from_id(failure.case) for failure in self._plainest(SEEN // 2)]
        rest = spread([case for case in self.legal if case not in set(plain)], 6 * SEEN)
        # Integers show a fault to the bit, small cases quickly.
        rest.sort(key=lambda case: (case.data not in ("integers", "probe"), _size(case) > 4000))
        sights = []
        for case in [*plain, *rest[: SEEN - len(plain)]]:
            if self.bench.spent:
                break
            sight = self.bench.sight(case, self.op)
            if sight is not None:
                sights.append(sight)
            elif case.illegal is None:
                self.gone += 1
        exact = [sight for sight in sights if sight.right.bound is None]
        sights.sort(key=lambda s: (s.right.bound is not None and bool(exact), s.want.size))
        return sights

    def _plainest(self, count: int) -> list:  # type: ignore[type-arg]
        """Return failures of legal cases, of each kind some."""
        kinds = collections.defaultdict(list)
        for failure in self.failures:
            if Case.from_id(failure.case).illegal is None:
                kinds[_sort(failure)].append(failure)
        each = max(1, count // max(1, len(kinds)))
        return [failure for group in kinds.values() for failure in spread(group, each)][:count]

    def _parts(self, sights: Sequence[Sight], passing: Sequence[Case]) -> list[_Part]:
        """Tell causes apart: known faults first, then what is left by kind of failure."""
        state = self._state_first(sights)
        if state is not None:
            return state
        if not sights:
            return [_Part(None, (), self._words(()), (), 0, 0)]
        held = [case for case in passing if case.data in ("integers", "probe")]
        problems = [(case, _problem(case)) for case in spread(held, _HELD)]
        now = time.perf_counter()
        compared = [i for i, sight in enumerate(sights) if sight.kind in _VALUES]
        matches = matching.match(
            [sights[i] for i in compared], problems, CATALOGUE,
            now + 0.5 * max(0.0, self.bench.deadline - now),
            [sight for sight in sights if sight.kind == "raised"],
        )  # fmt: skip
        parts = []
        rest = set(range(len(sights)))
        for found in matches:
            places = {compared[i] for i in found.explains}
            places |= {i for i in rest if matching.raises(found.fault, sights[i])}
            rest -= places
            own = tuple(sights[i] for i in sorted(places))
            parts.append(
                _Part(found.fault, found.others, found.fault.says, own, len(own), len(sights))
            )
        # It should fail where results pass: a condition of its own, or what former calls left.
        doubtful = any(found.contradicted > max(2, len(problems) // 10) for found in matches)
        if len(matches) == 1 and len(rest) <= max(1, len(sights) // 20) and not doubtful:
            # Chance may hide or change one of many.
            return parts
        groups = _grouped([sights[i] for i in sorted(rest)])
        return self._experimented(sights, parts, groups, passing, doubtful)

    def _state_first(self, sights: Sequence[Sight]) -> list[_Part] | None:
        """Look for state before all else where answers change: known faults fit some by chance."""
        unstable = sum(sight.kind == "unstable" for sight in sights) + self.gone
        if 5 * unstable < len(sights) + self.gone:
            return None
        values = [sight for sight in sights if sight.kind in (*_VALUES, "unstable")]
        cases = [sight.case for sight in values] or sorted(self.legal, key=_size)[:SEEN]
        found = experiments.on_values(self.bench, cases, self.op, self.failing_ops)
        if found is None:
            return None
        return [
            _Part(found.fault, (), found.says, tuple(values), len(values) + self.gone,
                  len(sights) + self.gone)
        ]  # fmt: skip

    def _experimented(
        self,
        sights: Sequence[Sight],
        parts: list[_Part],
        groups: Mapping[str, list[Sight]],
        passing: Sequence[Case],
        doubtful: bool,
    ) -> list[_Part]:
        """Look for faults that no single result shows behind what no known result explains."""
        left = sum(len(groups.get(kind, ())) for kind in (*_VALUES, "unstable"))
        values = [sight for sight in sights if sight.kind in (*_VALUES, "unstable")]
        state = None
        if 3 * left > len(sights) or len(parts) > 1 or doubtful:
            cases = [sight.case for sight in values]
            state = experiments.on_values(self.bench, cases, self.op, self.failing_ops)
        if state is not None:
            # It explains what looked like other faults by chance.
            says = state.says
            parts = [_Part(state.fault, (), says, tuple(values), len(values), len(sights))]
            groups = {kind: g for kind, g in groups.items() if not set(g) & set(values)}
        elif parts and left <= max(1, len(sights) // 20):
            # Chance may hide or change one of many.
            groups = {k: g for k, g in groups.items() if k not in (*_VALUES, "unstable")}
        for group in groups.values():
            found = experiments.on_kind(self.bench, group)
            if group[0].kind == "raised":
                found = experiments.refusal(self.op, [s.case for s in group], passing)
            says = self._words(group) if found is None else found.says
            fault = None if found is None else found.fault
            same = next((part for part in parts if part.suspect == fault and fault), None)
            own = tuple(group)
            if same is not None:
                parts.remove(same)
                own = (*same.sights, *own)
            parts.append(_Part(fault, (), says, own, len(own), len(sights)))
        return sorted(parts, key=lambda part: -part.explains)

    def _words(self, sights: Sequence[Sight]) -> str:
        if not sights:
            kinds = [failure.kind for failure in self.failures]
            if not kinds:
                return "results are wrong"
            kind, _ = collections.Counter(kinds).most_common(1)[0]
            messages = [f.message for f in self.failures if f.kind == kind]
            said = describe.kind_says(kind, messages)
            if said is None and self.gone:
                return "results that were wrong were right when the cases ran again"
            return said or f"in the plainest case {messages[0]}"
        said = describe.describe(sights)
        dtype, _ = collections.Counter(sight.case.dtype for sight in sights).most_common(1)[0]
        finding = self.findings.get(dtype)
        if (
            finding is not None
            and finding.name not in ("integer", default_for(dtype))
            and 2 * sum(map(describe.as_of_rounding, sights)) > len(sights)
        ):
            return f"in {dtype} it computes as {finding.name} ({finding.says}); {said}"
        return said

    def _sorted(self, parts: Sequence[_Part]) -> dict[_Part, list[Case]]:
        """Tell which failing cases belong to which part, as far as time allows."""
        found = {part: [sight.case for sight in part.sights] for part in parts}
        seen = {case for cases in found.values() for case in cases}
        now = time.perf_counter()
        end = now + 0.3 * max(0.0, self.bench.deadline - now)
        for case in spread([case for case in self.legal if case not in seen], SORTED):
            if time.perf_counter() > end or self.bench.spent:
                break
            sight = self.bench.sight(case, self.op)
            if sight is None:
                continue
            for part in parts:
                given = part.suspect is not None and (
                    matching.gives(part.suspect, sight) or matching.raises(part.suspect, sight)
                )
                if given or (
                    part.suspect is None
                    and part.sights
                    and _sort(part.sights[0].failure) == _sort(sight.failure)
                ):
                    found[part].append(case)
                    break
        return found

    def _told_apart(
        self, parts: Sequence[_Part], sights: Sequence[Sight], passing: Sequence[Case]
    ) -> list[tuple[_Part, Sequence[Case]]]:
        """Return the parts that have causes of their own, each with failing cases of its own.

        Where one rule without alternatives holds for all that fails, and says it in fewer bits
        than the rules of the parts do, there is one cause. A suspect that gives some of the
        results, whatever the parameters, gives them by chance.
        """
        if len(parts) == 1:
            return [(parts[0], self.legal)]
        cases = self._sorted(parts)
        told: list[tuple[_Part, Sequence[Case]]] = [(part, cases[part]) for part in parts]
        if not all(p.suspect is None or experiments.is_determined(p.suspect) for p in parts):
            return told
        now = time.perf_counter()
        end = now + 0.3 * max(0.0, self.bench.deadline - now)
        few = spread(passing, _TOLD)
        own = {}
        for part, failing in told:
            if time.perf_counter() > end:
                return told
            given = [part.suspect.trigger] if part.suspect and part.suspect.trigger else []
            outside = [case for other, others in told if other is not part for case in others]
            own[part] = rules.find(failing, [*few, *outside], given=given, deadline=end)
        bits = sum(found[0].bits for found in own.values() if found)
        together = [case for _, failing in told for case in failing]
        simpler = [
            rule.text for rule in rules.find(together, few, deadline=end)
            if rule.bits < bits and rule.alternatives == 1 and rule.text != "True"
            and rule.missed == 0
        ]  # fmt: skip
        most = _HIDDEN * len(self.legal)
        scored = rules.scored(simpler, self.legal, passing) if simpler else []
        if any(missed == 0 and extra <= most for _, missed, extra in scored):
            return [(self._joined(sights, parts, sights), self.legal)]
        arrays = sum(sight.kind in _VALUES for sight in sights)
        chance = [
            part for part in parts
            if part.suspect is not None and part.explains < _MOSTLY * arrays
            and (not own[part] or own[part][0].text == "True")
        ]  # fmt: skip
        if not chance:
            return told
        unknown = [
            part for part in parts if part.suspect is None and part.sights[0].kind in _VALUES
        ]
        left = [sight for part in (*chance, *unknown) for sight in part.sights]
        parts = [part for part in parts if part not in chance and part not in unknown]
        parts += [self._joined(group, chance, sights) for group in _grouped(left).values()]
        parts.sort(key=lambda part: -part.explains)
        if len(parts) == 1:
            return [(parts[0], self.legal)]
        cases = self._sorted(parts)
        return [(part, cases[part]) for part in parts]

    def _joined(
        self, own: Sequence[Sight], parts: Sequence[_Part], sights: Sequence[Sight]
    ) -> _Part:
        """Return a part of failing results whose cause is one, whatever gave some of them."""
        arrays = [sight for sight in own if sight.kind in _VALUES]
        most = max(
            (part for part in parts if part.suspect is not None),
            key=lambda part: part.explains, default=None,
        )  # fmt: skip
        share = 0.0 if most is None else most.explains / max(1, len(arrays))
        if most is not None and share >= _NEARLY:
            return replace(most, sights=tuple(own))
        groups = sorted(_grouped(own).values(), key=len, reverse=True)
        groups = [group for group in groups if 10 * len(group) >= len(own)]
        texts = [
            self._words(group)
            + (f" (in {len(group)} of {len(own)} cases looked at)" if len(groups) > 1 else "")
            for group in groups[:_SORTS]
        ]
        if most is not None and most.suspect is not None and share >= 0.5:
            texts.insert(
                0, f"{most.explains} of {len(own)} looked at are what a kernel gives that "
                f"{most.says} [{most.suspect.name}]"
            )  # fmt: skip
        return _Part(None, (), "; ".join(texts), tuple(own), len(own), len(sights))

    # ------------------------------------------------------------- what is said

    def _explained(
        self,
        part: _Part,
        failing: Sequence[Case],
        passing: Sequence[Case],
        others: Sequence[Case],
        end: float,
    ) -> Diagnosis:
        if part.suspect is not None and part.suspect.kind == "state":
            return self._stated(part, failing, end)
        given = [part.suspect.trigger] if part.suspect is not None and part.suspect.trigger else []
        passing = self._telling(part, passing, end)
        outside = [*passing, *others]
        found = rules.find(failing, outside, given=given, deadline=end)
        if found and not self.bench.spent:
            found = probing.settled(
                self.bench, self.op, found, failing, outside, end, self._shown(part.suspect)
            )
        best = found[0] if found else None
        smallest, text, drawing = self._smallest(part, failing, end)
        everything = len(failing) == len(self.legal)
        extra = 0
        if best is not None:
            # What another fault makes fail does not pass.
            extra = rules.scored([best.text], (), passing)[0][2] if others else best.extra
        return Diagnosis(
            op=self.op,
            suspect=None if part.suspect is None else part.suspect.name,
            says=part.says,
            explains=part.explains,
            of=part.of,
            failing=len(self.failing),
            asked=self.everything.asked(self.op),
            condition=None if best is None or best.text == "True" else best.text,
            missed=0 if best is None else best.missed,
            extra=extra,
            sample=0 if everything else len(failing),
            smallest=smallest.id,
            others=tuple(fault.name for fault in part.others[:3]),
            shape="" if part.suspect is None else _shape(part.sights),
            test=text,
            drawing=drawing,
        )

    def _stated(self, part: _Part, failing: Sequence[Case], end: float) -> Diagnosis:
        """Diagnose what former calls decide: parameters tell no more than where it shows."""
        assert part.suspect is not None
        smallest, text, drawing = self._smallest(part, failing, end)
        trigger = part.suspect.trigger
        return Diagnosis(
            self.op, part.suspect.name, part.says, part.explains, part.of, len(self.failing),
            self.everything.asked(self.op), None if trigger in (None, "True") else trigger,
            0, 0, 0, smallest.id, test=text, drawing=drawing,
        )  # fmt: skip

    def _telling(self, part: _Part, passing: Sequence[Case], end: float) -> Sequence[Case]:
        """Leave out passing cases where the suspect is met, and changes no result."""
        fault = part.suspect
        if fault is None or fault.trigger is None or not experiments.is_determined(fault):
            return passing
        trigger, shown = Condition.parse(fault.trigger), self._shown(fault)
        # Short arithmetic may stay within the bound of data that is not exact.
        exact = ("integers", "probe") if fault.kind == "numerics" else DATA
        met = [case for case in passing if trigger.holds(case) and case.data in exact]
        now = time.perf_counter()
        telling = []
        for case in spread(met, _MET):
            if time.perf_counter() > now + 0.3 * max(0.0, end - now):
                break
            if shown(case):
                telling.append(case)
        return [case for case in passing if not trigger.holds(case)] + telling

    def _shown(self, fault: Fault | None) -> Callable[[Case], bool]:
        """Return whether a fault would show in a case; an unknown one would, wherever it is."""
        if fault is None or fault.trigger is None or not experiments.is_determined(fault):
            return lambda _: True
        trigger = Condition.parse(fault.trigger)
        return lambda case: (
            not trigger.holds(case) or matching.shows(fault, self.op, case, _problem(case))
        )

    def _smallest(self, part: _Part, failing: Sequence[Case], end: float) -> tuple[Case, str, str]:
        bench, op, suspect = self.bench, self.op, part.suspect
        # A fault that some results show may raise in other cases.
        seen = [s for s in part.sights if suspect is not None and matching.gives(suspect, s)]
        if not (seen or part.sights):
            case = min(failing, key=lambda case: (_size(case), case.plainness))
            return case, "", ""
        first = min(seen or part.sights, key=lambda s: (_size(s.case), s.case.plainness))
        sort = _sort(first.failure)

        def still(other: Case) -> bool:
            if bench.spent or time.perf_counter() > end or not bench.asks(other):
                return False
            sight = bench.sight(other, op)
            if sight is None or (suspect is None and _sort(sight.failure) != sort):
                return False
            if suspect is None or not experiments.is_determined(suspect):
                return _sort(sight.failure) == sort
            return matching.gives(suspect, sight)

        small = shrink.shrink(first.case, still)
        mask = "111" if op == "forward" else "".join("01"[name == op] for name in GRADIENTS)
        alone = replace(small, mask=mask)
        if alone != small and still(alone):
            small = alone
        sight = bench.sight(small, op)
        if sight is None or sight.right.bound is not None:
            return small, "", ""
        if sight.kind not in (*_VALUES, "raised", "type", "unstable") or not sight.want.size:
            return small, "", ""
        functions = frozenset(bench.implementation.functions)
        text = example.written(small, op, sight.problem, sight.want, functions, sight.kind)
        return small, text, example.drawn(op, sight.problem, sight.got, sight.want)

    def _without_running(self, passing: Sequence[Case]) -> Diagnosis:
        """Diagnose what must not run here again: by its messages and parameters alone."""
        found = rules.find(self.legal, passing, deadline=self.bench.deadline)
        best = found[0] if found else None
        case = min(self.legal, key=lambda case: (_size(case), case.plainness))
        return Diagnosis(
            self.op, None, self._words(()), 0, 0, len(self.failing), self.everything.asked(self.op),
            None if best is None or best.text == "True" else best.text,
            0 if best is None else best.missed, 0 if best is None else best.extra, 0, case.id,
        )  # fmt: skip

    def _on_illegal(self) -> Diagnosis:
        """Diagnose illegal calls that are not refused."""
        case = min(self.illegal, key=lambda case: case.plainness)
        broken = sorted({str(case.illegal) for case in self.illegal})
        said = "; ".join(broken[:3]) + (f"; and {len(broken) - 3} more" if broken[3:] else "")
        ill = [f for f in self.failures if Case.from_id(f.case).illegal is not None]
        others = [f.message for f in ill if f.kind != "accepted"]
        how = "are accepted" if len(others) < len(ill) else f"end in {others[0]}" if ill else "fail"
        return Diagnosis(
            self.op, None, f"illegal calls {how}: {said}", len(self.illegal),
            len(self.illegal), len(self.failing), self.everything.asked(self.op), "illegal",
            0, 0, 0, case.id,
        )  # fmt: skip


def _reaches(case: Case) -> bool:
    """Whether some tap meets an element: otherwise all products are zero, whatever is wrong."""
    for axis in case.geometry.axes:
        places = positions(axis)
        if not ((places >= 0) & (places < axis.extent)).any():
            return False
    return True


def _sort(failure: Failure) -> str:
    """Return what failures of one cause have in common: their kind, of what is raised the words."""
    if failure.kind != "raised":
        return failure.kind
    return "raised " + re.sub(r"[\d\s,()]+", " ", failure.message)


def _grouped(sights: Sequence[Sight]) -> dict[str, list[Sight]]:
    """Return failing results by what failures of one cause have in common."""
    groups: dict[str, list[Sight]] = collections.defaultdict(list)
    values = any(sight.kind == "values" for sight in sights)
    for sight in sights:
        # Wrong values of data that hold NaN or infinity are often NaN: the same cause.
        special = values and sight.kind == "nonfinite" and sight.case.data == "special"
        groups["values" if special else _sort(sight.failure)].append(sight)
    return groups


def _shape(sights: Sequence[Sight]) -> str:
    """Say what is true of the results that a suspect gives, and in how many calls it raises."""
    raised = sum(sight.kind == "raised" for sight in sights)
    if raised in (0, len(sights)):
        return describe.describe(sights)
    said = describe.describe([sight for sight in sights if sight.kind != "raised"])
    return f"{said}; it raises in {raised} of the {len(sights)}"


def _problem(case: Case) -> Problem:
    return Problem.of(case, operands(case))


def _size(case: Case) -> int:
    """Return about how much work a case is."""
    batch = 1 if case.batch is None else case.batch
    height, width = case.extents
    kernel = case.kernel[0] * case.kernel[1]
    return batch * case.in_channels * height * width + case.out_channels * case.in_channels * kernel
