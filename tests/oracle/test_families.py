"""The families of bugs: their own cases, and how many cases of `standard` can show each."""

import functools
import itertools
import re
from typing import Any

import pytest

from npconv.oracle.cases import DATA, LAYOUTS, Case
from npconv.oracle.conditions import Condition, features
from npconv.oracle.families import EDGES, LIMIT, Family, families, illegal
from npconv.oracle.protocol import OPS
from npconv.oracle.suites import suite_named

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

FAMILIES = {family.name: family for family in families()}

#: Reported bugs, each by a case that it was reported for or, where that is too large or square,
#: by one as near as that allows; with the family that it belongs to.
REPORTED = {
    "n2c4f16g2-6x7-k3x3-s1x1-p1x1-d1x1": "grouped with 16 output channels",
    "n1c24f24g24-6x7-k3x3-s2x2-p1x1-d1x1": "depthwise around 24 channels",
    "n3c4f6g2-5x6-k2x2-s2x1-p0x0-d1x1": "groups with dropped rows",
    "n1c9f3g1-32x33-k5x5-s3x3-p1x1-d1x1": "tail rows of the input gradient",
    "n2c1f2g1-3x1603-k1x4-s1x4-p0x0-d1x1": "two or more dropped rows",
    "n1c3f5g1-18x17-k3x3-s2x2-p1x1-d1x1": "output not a multiple of 4",
    "n1c3f2g1-15x16-k14x14-s1x1-p0x0-d1x1": "reduction not a multiple of 32",
    "n32c4f8g1-4x5-k1x1-s2x2-p0x0-d1x1": "1x1 with a stride and few channels",
    "n2c3f4g1-6x7-k2x2-s1x1-p0_1x0_1-d1x1": "unequal sides",
    "n1c1f1g1-8x9-k3x5-s1x1-psame-d2x3": "SAME with dilation",
    "n5c11f3g1-11x14-k3x3-s1x1-p4x4-d1x1": "padding from the kernel's span up",
    "n1c3f4g1-5x11-k3x3-s1x1-p0x0-d1x4": "unequal dilation",
    "n1c3f3g3-136x17-k3x3-s2x2-p0x0-d3x3": "depthwise with dilation",
    "n2c4f4g1-10x1-k3x1-s1x1-p1x0-d1x1": "one column",
    "n1c2f2g1-7x1-k2x1-s1x1-p0x0-d1x1": "one column",
    "n1c1f65537g1-1x3-k1x3-s1x1-p0x1-d1x1": "output channels past 65,536",
    "n65536c1f1g1-1x2-k1x2-s1x1-p0x0-d1x1": "images past 65,536",
    "n1c65536f65536g65536-1x4-k1x2-s1x1-p0x0-d1x1":
        "channels of a depthwise convolution past 65,536",
    "n0c5f3g1-6x8-k3x2-s1x1-p1x0-d1x1": "no images",
    "n2c0f8g1-5x6-k3x3-s2x1-p1x1-d1x1": "no input channels",
}  # fmt: skip


@functools.cache
def standard() -> list[Case]:
    """All cases of standard."""
    suite = suite_named("standard")
    return [suite[position] for position in range(len(suite))]


@functools.cache
def members() -> frozenset[Case]:
    """They as a set."""
    return frozenset(standard())


@functools.cache
def described() -> list[tuple[Case, dict[str, Any]]]:
    """The legal ones, with what conditions may name."""
    return [(case, features(case)) for case in standard() if case.illegal is None]


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_standard_has_cases_of_every_family(family: Family) -> None:
    """Each operation that a family shows in is asked in enough of its cases, in each dtype."""
    condition = Condition.parse(family.condition)
    able = [
        case
        for case, values in described()
        if case.data in family.data and case.dtype in family.dtypes and condition.holds_for(values)
    ]
    for op in family.ops:
        asked = [case for case in able if op == "forward" or case.mask[OPS.index(op) - 1] == "1"]
        for dtype in family.dtypes:
            count = sum(case.dtype == dtype for case in asked)
            assert count >= family.least > 0, (op, dtype, count)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_own_cases_show_the_family(family: Family) -> None:
    """A family's own cases are legal, fulfil its condition and ask each of its operations."""
    own = list(family.cases())
    assert len(set(own)) == len(own)
    for case in own:
        assert case.illegal is None, case.id
        assert all(family.holds(case, op) for op in family.ops), case.id
    assert {case.dtype for case in own} in (set(), set(family.dtypes))
    # Each is in standard; a light one in quick.
    assert set(own) <= members()
    assert family.lightest() is None or family.lightest() in own


@pytest.mark.parametrize("family", FAMILIES.values(), ids=list(FAMILIES))
def test_family_is_described(family: Family) -> None:
    """A family has known operations, data and layouts, and names reports as owner/repository#n."""
    assert family.says
    assert set(family.ops) <= set(OPS)
    assert set(family.data) <= set(DATA)
    assert set(family.drawn) <= set(family.data)
    assert {name.removesuffix("_input").removesuffix("_weight").removesuffix("_bias")
            .removesuffix("_grad_output") for name in family.layouts} <= set(LAYOUTS)  # fmt: skip
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", text) for text in family.reported)


def test_no_condition_holds_for_all() -> None:
    """A condition tells cases apart: each leaves out legal cases of the family's own dtypes."""
    for family in FAMILIES.values():
        if family.name == "complex numbers":  # the dtype alone makes this one
            continue
        condition = Condition.parse(family.condition)
        assert any(
            case.dtype in family.dtypes and not condition.holds_for(values)
            for case, values in described()
        ), family


@pytest.mark.parametrize(("shape", "name"), REPORTED.items())
def test_reported_bugs_belong_to_their_families(shape: str, name: str) -> None:
    """The case that a bug was reported for fulfils its family's condition."""
    case = Case.from_id(f"{shape}-bias-m111-float32-packed-integers-seed0")
    family = FAMILIES[name]
    if name == "images past 65,536":  # reported from 65,536 on; asked one above
        assert case.batch == LIMIT
        return
    assert all(family.holds(case, op) for op in family.ops)


def test_edges_are_asked_on_all_sides() -> None:
    """One below, at and one above each edge, in each of the sizes, stands in standard."""
    for dtype, name in itertools.product(
        ("float32", "float64"),
        (
            "channels_per_group", "features_per_group", "groups", "height", "width", "out_height",
            "out_width", "batch", "terms",
        ),
    ):  # fmt: skip
        found = {
            values[name]
            for case, values in described()
            if (case.dtype, case.data, case.mask) == (dtype, "integers", "111")
        }
        wanted = {edge + step for edge in EDGES for step in (-1, 0, 1)}
        assert wanted <= found, (name, sorted(wanted - found))


def test_names_are_unique() -> None:
    """No two families have one name."""
    assert len(FAMILIES) == len(families())


def test_illegal_cases_break_a_rule() -> None:
    """Each is refused, in four surroundings and two dtypes; no rule is asked in one alone."""
    cases = list(illegal())
    assert all(case.illegal for case in cases)
    surroundings = {(case.groups, case.stride, case.dilation) for case in cases}
    assert {(2, (2, 1), (1, 2)), (1, (2, 1), (1, 1)), (1, (1, 1), (1, 1)), (6, (1, 2), (1, 1))} <= (
        surroundings
    )
    assert sum(case.dtype == "float32" for case in cases) == len(cases) // 2
