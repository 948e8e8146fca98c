"""Suite `standard` and a share of `exhaustive` on torch: all that is due is judged, and right."""

from collections import Counter
from typing import Any

import pytest

from conformance.shares import SHARES, parts, share
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.protocol import GRADIENTS, OPS, Implementation
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

pytest.importorskip("torch", reason="the implementation under test")

#: Parts of `standard`, of the share and of `quick`: small enough for workers to balance, and
#: prime, so that each part has every value of every factor.
STANDARD = parts("standard", 29)
NUMBER = share()
SHARE = parts("exhaustive", 23, **({} if NUMBER is None else {"every": SHARES, "first": NUMBER}))


def some_once(names: list[str], everywhere: int) -> list[Any]:
    """Parts for a test's parameter: the first run on every NumPy, the others on the newest."""
    late = [pytest.param(name, marks=pytest.mark.once) for name in names[everywhere:]]
    return [*names[:everywhere], *late]


#: What torch has not, by (operation, dtype): such results count apart, and nothing else does.
UNSUPPORTED = {(op, "int64"): "torch differentiates no integers" for op in GRADIENTS}

#: Why torch is not asked a case, by the field of `supports` that it lies outside of.
NOT_ASKED = {
    "dtypes": "torch has no convolution of unsigned integers, nor of short ones with dilation",
    "padding": "torch takes no padding for each side",
    "layouts": "no tensor has a negative stride",
    "empty": "without input channels torch returns a wrong shape",
}


@pytest.fixture(scope="module")
def torch() -> Implementation:
    """The adapter."""
    return adapters.load("torch")


def expected_results(case: Case) -> Counter[tuple[str, str, str]]:
    """Count the results of a case by operation, dtype and verdict.

    An illegal one has no gradient of the bias, which sees nothing that is illegal.
    """
    ops = OPS if case.illegal is None else OPS[:3]
    verdicts = ["unsupported" if (op, case.dtype) in UNSUPPORTED else "passed" for op in ops]
    return Counter((op, case.dtype, verdict) for op, verdict in zip(ops, verdicts, strict=True))


def check(torch: Implementation, name: str) -> None:
    """Run a part of a suite; every result that is due must be there, and conform."""
    due: Counter[tuple[str, str, str]] = Counter()
    found: Counter[tuple[str, str, str]] = Counter()
    failures = []
    suite = suite_named(name)
    for position in range(len(suite)):
        case = suite[position]
        if not torch.supports.asks(case):
            assert torch.supports.leaves_out(case) in NOT_ASKED, case.id
            continue
        due += expected_results(case)
        for op, verdict in run_case(torch, case, OPS).verdicts:
            if verdict.failure is not None:
                failures.append(verdict.failure)
            found[op, case.dtype, verdict.status] += 1
    shown = "\n".join(
        f"{failure.op}: {failure.kind}: {failure.message}\n"
        f"  repeat: npconv check torch --case {failure.case}"
        for failure in failures[:5]
    )
    assert not failures, f"{len(failures)} results of {name!r} fail; the first are\n{shown}"
    assert found == due
    assert due.total() > 0


@pytest.mark.parametrize("name", some_once(STANDARD, 4))
def test_torch_conforms_on_standard(torch: Implementation, name: str) -> None:
    """Every result of the suite that a minute suffices for is judged and right."""
    check(torch, name)


@pytest.mark.parametrize("name", some_once(SHARE, 1))
def test_torch_conforms_on_a_share_of_exhaustive(torch: Implementation, name: str) -> None:
    """Every result of this commit's share of the whole product is judged and right."""
    check(torch, name)


def test_parts_are_the_whole() -> None:
    """The parts of `standard` hold each of its cases once; those of a share are as many as it."""
    whole = suite_named("standard")
    places = Counter(
        suite_named(name)[i].id for name in STANDARD for i in range(len(suite_named(name)))
    )
    assert places == Counter(whole[i].id for i in range(len(whole)))
    size = len(suite_named("exhaustive" if NUMBER is None else f"exhaustive[{NUMBER}::{SHARES}]"))
    assert sum(len(suite_named(name)) for name in SHARE) == size


def test_standard_asks_for_every_operation_in_every_dtype(torch: Implementation) -> None:
    """No operation, dtype, layout or form of padding that torch supports goes without cases."""
    suite = suite_named("standard")
    asked = [
        case for case in map(suite.__getitem__, range(len(suite))) if torch.supports.asks(case)
    ]
    due = sum((expected_results(case) for case in asked), Counter())
    kinds = {(op, dtype) for op, dtype, _ in due}
    assert kinds == {(op, dtype) for op in torch.supports.ops for dtype in torch.supports.dtypes}
    assert {case.layout_kind for case in asked} == set(torch.supports.layouts)
    paddings = {case.padding if case.padding_form == "string" else "pair" for case in asked}
    assert paddings == set(torch.supports.padding)
    assert {case.batch for case in asked} >= {None, 0}


def test_every_case_has_a_witness() -> None:
    """What torch is not asked is no hole: npconv's two other witnesses are asked every case."""
    suite = suite_named("standard")
    for name in ("definition", "formulas"):
        supports = adapters.load(name).supports
        assert all(supports.asks(suite[position]) for position in range(len(suite)))
