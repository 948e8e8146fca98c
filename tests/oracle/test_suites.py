"""The suites, enumerated a second time: coverage, sizes, what is legal, what is pinned."""

import functools
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from npconv.formats import NAMES
from npconv.oracle.cases import DATA, ONE_LAID_OUT, Case
from npconv.oracle.protocol import OPS, Supports
from npconv.oracle.suites import REVISIONS, Section, Suite, suite_named

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

#: (groups, input channels, output channels): dense, 1 < g < C, depthwise, with a multiplier.
STRUCTURES = ((1, 3, 2), (2, 4, 6), (3, 3, 3), (2, 2, 6))

KERNEL_AND_PADDING = [(kernel, pad) for kernel in (1, 2, 3, 4) for pad in range(kernel + 2)]
STRIDE_AND_REMAINDER = [(stride, left) for stride in (1, 2, 3) for left in range(stride)]

LAYOUTS = (
    "packed", "channels_last", "channel_slice", "stepped", "reversed", "transposed", "readonly",
)  # fmt: skip
MASKS = ("111", "110", "101", "011", "100", "010", "001", "000")
#: torch has no negative strides.
TORCH_LAYOUTS = tuple(name for name in LAYOUTS if name != "reversed")

DENSE = ((1, 3, 2), (1, 1, 1), (1, 4, 5), (1, 5, 4), (1, 7, 9), (1, 8, 16), (1, 16, 8), (1, 17, 15))
#: What standard and quick sample, as (groups, input channels, output channels).
SAMPLED = (
    *DENSE,
    (2, 4, 6), (2, 2, 8), (3, 12, 6), (4, 12, 16), (8, 16, 16),
    (3, 3, 3), (8, 8, 8), (17, 17, 17), (2, 2, 6), (4, 4, 8), (16, 16, 32),
)  # fmt: skip
FEW = ((1, 3, 2), (1, 8, 16), (2, 4, 6), (4, 12, 16), (3, 3, 3), (2, 2, 6))
STEPS = ((1, 0), (2, 0), (2, 1), (3, 0), (3, 1), (3, 2), (5, 3))
SIDES = ((0, 0), (1, 0), (0, 1), (1, 2), (3, 1), (0, 4), (-1, 1), (2, -1), (-1, -1))
FORMS = ("pair", "four-sided", "same", "valid", "same_upper", "same_lower")

#: Cases of the product in one dtype: kernel with padding, stride with remainder, dilation of each
#: axis; four group structures; bias or none.
PAIR = (3 + 4 + 5 + 6) ** 2 * (1 + 2 + 3) ** 2 * 3**2 * 4 * 2
SAME = 4**2 * 3**2 * 4 * 2
VALID = SAME * (1 + 2 + 3) ** 2
#: Cases without elements, unbatched ones, illegal ones, and the second grid.
REST = 12 + 200 + 48 + 60_000


def listed(suite: Suite) -> list[Case]:
    """All cases of a suite."""
    return [suite[position] for position in range(len(suite))]


def remainder(case: Case, axis: int) -> int:
    """Elements of a padded axis that no window reaches, computed from the parameters."""
    pad = case.padding[axis] if isinstance(case.padding, tuple) else 0
    assert isinstance(pad, int)
    span = case.dilation[axis] * (case.kernel[axis] - 1) + 1
    return (case.extents[axis] + 2 * pad - span) % case.stride[axis]


def values(case: Case) -> dict[str, Any]:
    """The parameters of a case that the designs cross, as the case itself tells them."""
    found: dict[str, Any] = {
        "structure": (case.groups, case.in_channels, case.out_channels),
        "batch": case.batch,
        "bias": case.bias,
        "dtype": case.dtype,
        "layout": case.layout,
        "mask": case.mask,
        "data": case.data,
    }
    for axis, name in enumerate("hw"):
        found[f"kernel {name}"] = case.kernel[axis]
        found[f"dilation {name}"] = case.dilation[axis]
        if not isinstance(case.padding, str):
            found[f"padding {name}"] = case.padding[axis]
        if case.padding in ("same_upper", "same_lower"):
            # Any extent fits: what is left after division by the stride is what varies.
            extent, stride = case.extents[axis], case.stride[axis]
            found[f"step {name}"] = (stride, (extent - 1) % stride)
            found[f"more {name}"] = (extent - 1) // stride
        elif case.padding == "same":
            found[f"more {name}"] = case.extents[axis] - 1
        else:
            geometry = case.geometry.axes[axis]
            found[f"step {name}"] = (case.stride[axis], geometry.remainder)
            # Windows that could go without the extent or the output becoming empty.
            found[f"more {name}"] = min(geometry.out, (geometry.extent - 1) // geometry.stride + 1)
            found[f"more {name}"] -= 1
    return found


def wanted(form: str) -> dict[str, Sequence[Any]]:
    """The values that each parameter must take, beside those of every other."""
    factors: dict[str, Sequence[Any]] = {
        "structure": SAMPLED if form == "pair" else FEW,
        "batch": (1, 2, 3, 5),
        "bias": (True, False),
        "dtype": ("float32", "float64"),
        "layout": TORCH_LAYOUTS,
        "mask": ("111",),
        "data": DATA,
    }
    for name in "hw":
        factors[f"kernel {name}"] = (1, 2, 3, 4, 5, 7)
        factors[f"dilation {name}"] = (1, 2, 3)
        factors[f"more {name}"] = (0, 1, 2, 4) if name == "h" else (0, 1, 3, 6, 15)
        if form != "same":
            factors[f"step {name}"] = STEPS
        if form == "pair":
            factors[f"padding {name}"] = (0, 1, 2, 3)
        if form == "four-sided":
            factors[f"padding {name}"] = SIDES
    if form == "same":
        factors["more w"] = (3, 5, 7, 15)
    return factors


@functools.cache
def table(name: str, form: str, profile: str) -> list[dict[str, Any]]:
    """Parameters of the legal cases of a suite that an implementation is asked."""
    declared: dict[str, dict[str, Any]] = {
        "plain": {"groups": False, "dilation": False, "layouts": TORCH_LAYOUTS},
        "without groups": {"groups": False, "layouts": TORCH_LAYOUTS},
        "without dilation": {"dilation": False, "layouts": TORCH_LAYOUTS},
        "packed": {"layouts": ("packed",)},
        "usual": {"layouts": TORCH_LAYOUTS},
        "all": {},
        "every dtype": {"dtypes": NAMES},
    }
    padding = form if form in ("pair", "four-sided") else "string"
    supports = Supports(OPS, **{"padding": ("pair", padding), **declared[profile]})
    cases = listed(suite_named(name))
    return [
        values(case)
        for case in cases
        if case.padding_form == padding
        and (padding != "string" or case.padding == form)
        and case.illegal is None
        and supports.asks(case)
    ]


def missing(
    rows: list[dict[str, Any]], factors: Mapping[str, Sequence[Any]], strength: int
) -> list[tuple[tuple[str, Any], ...]]:
    """Combinations of so many parameters' values that stand together in none of the cases."""
    places = {name: {value: i for i, value in enumerate(found)} for name, found in factors.items()}
    codes = {name: np.array([places[name].get(row[name], -1) for row in rows]) for name in factors}
    lacking = []
    assert 0 < strength < len(factors)
    for names in itertools.combinations(factors, strength):
        seen = np.zeros([len(factors[name]) for name in names], bool)
        inside = np.all([codes[name] >= 0 for name in names], axis=0)
        seen[tuple(codes[name][inside] for name in names)] = True
        lacking += [
            tuple((name, factors[name][i]) for name, i in zip(names, index, strict=True))
            for index in np.argwhere(~seen).tolist()
        ]
    return lacking


#: What narrows the parameters of those who have not declared everything.
PROFILES: dict[str, dict[str, Sequence[Any]]] = {
    "plain": {"structure": DENSE, "dilation h": (1,), "dilation w": (1,)},
    "without groups": {"structure": DENSE},
    "without dilation": {"dilation h": (1,), "dilation w": (1,)},
    "packed": {"layout": ("packed",)},
    "usual": {},
    "all": {"layout": LAYOUTS, "mask": MASKS},
}


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("name", "strength"), [("quick", 2), ("standard", 3)])
def test_suite_covers_every_combination(name: str, strength: int, profile: str) -> None:
    """Whoever declares this much meets every pair, or triple, of values, for every operation.

    All values of all parameters are possible together: remainders stand with their strides. Only
    the output mask asks for less than every operation, in the last profile.
    """
    factors = wanted("pair") | PROFILES[profile]
    if name == "quick":
        factors["structure"] = [one for one in factors["structure"] if one in FEW]
    assert missing(table(name, "pair", profile), factors, strength) == []


@pytest.mark.parametrize("form", FORMS[1:])
@pytest.mark.parametrize(
    ("name", "profile", "strength"),
    [("quick", "usual", 2), ("standard", "usual", 3), ("standard", "all", 2)],
)
def test_every_form_of_padding_is_covered(
    name: str, profile: str, strength: int, form: str
) -> None:
    """So it is for every other form of padding; masks and negative strides pair by pair."""
    assert missing(table(name, form, profile), wanted(form) | PROFILES[profile], strength) == []


def test_standard_covers_padding_beyond_the_kernel() -> None:
    """Padding of one more than the kernel stands with every pair of other parameters' values."""
    rows = [
        row | {f"over {name}": row[f"padding {name}"] - row[f"kernel {name}"] for name in "hw"}
        for row in table("standard", "pair", "usual")
    ]
    factors = {key: found for key, found in wanted("pair").items() if "padding" not in key}
    for name in "hw":
        assert missing(rows, factors | {f"over {name}": (1,)}, 3) == []


def test_standard_covers_every_dtype_on_integers() -> None:
    """Every triple is there for every other dtype too, on integers."""
    others = tuple(name for name in NAMES if name not in ("float32", "float64"))
    factors = wanted("pair") | {"dtype": others, "data": ("integers",)}
    assert missing(table("standard", "pair", "every dtype"), factors, 3) == []


def test_standard_covers_every_kind_of_data_in_every_dtype() -> None:
    """Floating dtypes have each kind of data, with every value of each parameter."""
    floating = tuple(name for name in NAMES if name.startswith(("float", "bfloat", "complex")))
    factors = wanted("pair") | {"dtype": floating}
    assert missing(table("standard", "pair", "every dtype"), factors, 2) == []


def test_standard_lays_out_each_array_alone() -> None:
    """Each layout of one array beside packed ones meets every value of each parameter."""
    alone = tuple(
        name
        for name in ONE_LAID_OUT
        if not name.startswith("expanded") and name not in ("channels_last_bias", "transposed_bias")
    )
    assert len(alone) == 22
    biased = tuple(name for name in alone if name.endswith("_bias"))
    rows = table("standard", "pair", "all")
    factors = wanted("pair") | {"batch": (2, 3)}
    others = tuple(name for name in alone if name not in biased)
    assert missing(rows, factors | {"layout": others}, 2) == []
    factors |= {"bias": (True,), "structure": FEW}
    assert missing(rows, factors | {"layout": biased}, 2) == []


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_suite_asks_what_the_contract_leaves_to_be_declared(name: str) -> None:
    """Unbatched and empty cases, four-sided and named padding, and every dtype are there too."""
    cases = listed(suite_named(name))
    assert {case.batch for case in cases} >= {None, 0, 1, 2, 3, 5}
    assert {case.in_channels == 0 for case in cases} == {True, False}
    assert {case.padding_form for case in cases} == {"pair", "string", "four-sided"}
    assert {case.dtype for case in cases} == set(NAMES)


@pytest.mark.parametrize(
    ("name", "length", "digest"),
    [
        ("quick", 1172, "3de5080fd3bd9c53"),
        ("standard", 20_126, "33cb08ba6342773b"),
        ("exhaustive", 1_985_568, "54956ccf5907b513"),
        ("exhaustive[3::41]", 48_429, "b8e29790ccb74264"),
    ],
)
def test_suite_is_pinned(name: str, length: int, digest: str) -> None:
    """Length and digest are these: whoever changes a suite means to, and says so here."""
    suite = suite_named(name)
    assert (suite.name, len(suite), suite.digest) == (name, length, digest)
    assert REVISIONS == {"quick": 2, "standard": 2, "exhaustive": 1, "cases": 1}


@pytest.mark.parametrize(
    ("position", "text"),
    [
        (0, "n2c3f2g1-3x4-k1x1-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed0"),
        (839_808, "n2c3f2g1-3x4-k1x1-s1x1-psame-d1x1-bias-m111-float64-packed-integers-seed0"),
        (1_000_000, "n2c3f2g1-4x5-k1x3-s2x1-p2x2-d3x3-bias-m111-float32-packed-integers-seed0"),
        (
            1_985_567,
            "n2c2f6g2-4x1-k3x4-s7x2-p-6_7x-7_10-d2x1-bias-m111-float32-packed-integers-seed59999",
        ),
    ],
)
def test_exhaustive_positions_are_pinned(position: int, text: str) -> None:
    """A position of the exhaustive suite stands for this case, as recorded reports take it to."""
    assert suite_named("exhaustive")[position].id == text


def test_exhaustive_has_the_whole_product_in_both_float_dtypes() -> None:
    """The length is that of the product twice, an eleventh of it twice, and the other sections."""
    product = PAIR + SAME + VALID
    assert product == 882_432
    eleventh = sum(-(-size // 11) for size in (PAIR, SAME, VALID))
    shifted = sum(-(-(size - 5) // 11) for size in (PAIR, SAME, VALID))
    assert len(suite_named("exhaustive")) == 2 * product + eleventh + shifted + REST


def nested(form: str) -> Iterator[tuple[Any, ...]]:
    """The product as nested loops: kernel, padding, stride, remainder, dilation, groups, bias."""
    windows = KERNEL_AND_PADDING if form == "pair" else [(kernel, form) for kernel in (1, 2, 3, 4)]
    steps = STRIDE_AND_REMAINDER if form != "same" else [(1, 0)]
    dilations = list(itertools.product((1, 2, 3), repeat=2))
    both = list(itertools.product(steps, repeat=2))
    # Only here do the forms differ: dilation changes faster than stride for a pair.
    middle = (
        [(step, dilation) for step in both for dilation in dilations]
        if form == "pair"
        else [(step, dilation) for dilation in dilations for step in both]
    )
    for top, left in itertools.product(windows, repeat=2):
        for (down, right), dilation in middle:
            for groups in STRUCTURES:
                for bias in (True, False):
                    yield top, left, down, right, dilation, groups, bias


def decoded(case: Case) -> tuple[Any, ...]:
    """The same out of a case."""
    pads = case.padding if isinstance(case.padding, tuple) else (case.padding, case.padding)
    steps = [
        (case.stride[axis], 0 if case.padding == "same" else remainder(case, axis))
        for axis in (0, 1)
    ]
    windows = [(case.kernel[axis], pads[axis]) for axis in (0, 1)]
    structure = (case.groups, case.in_channels, case.out_channels)
    return (*windows, *steps, case.dilation, structure, case.bias)


@pytest.mark.parametrize(("dtype", "start"), [("float64", 0), ("float32", PAIR + SAME + VALID)])
@pytest.mark.parametrize(
    ("form", "before", "share"), [("pair", 0, 97), ("same", PAIR, 1), ("valid", PAIR + SAME, 11)]
)
def test_exhaustive_decodes_to_the_nested_loops(
    dtype: str, start: int, form: str, before: int, share: int
) -> None:
    """Position by position, a share of the product is what nested loops over its factors give."""
    suite = suite_named("exhaustive")
    for number, row in enumerate(nested(form)):
        if number % share == 0:
            case = suite[start + before + number]
            assert decoded(case) == row
            assert (case.dtype, case.data, case.layout, case.mask) == (
                dtype, "integers", "packed", "111",
            )  # fmt: skip


def test_product_has_no_row_twice() -> None:
    """The nested loops that the suite is compared with give as many different rows as rows."""
    assert sum(1 for _ in nested("pair")) == PAIR == len(set(nested("pair")))


def test_section_walks_its_product_once() -> None:
    """A section gives each row of its factors once, the last factor fastest; or each n-th row."""
    factors = {"a": "xyz", "b": (1, 2), "c": (True, False)}
    rows = [dict(zip(factors, row, strict=True)) for row in itertools.product(*factors.values())]
    case = lambda row: row  # noqa: E731  # rows stand for cases here
    whole = Section(factors, case)  # type: ignore[arg-type]
    assert [whole[position] for position in range(len(whole))] == rows
    for every, first in itertools.product((1, 2, 5, 11, 12), (0, 1, 4)):
        part = Section(factors, case, every, first)  # type: ignore[arg-type]
        assert [part[position] for position in range(len(part))] == rows[first::every]


def test_exhaustive_shares_hold_every_value_of_other_dtypes() -> None:
    """The eleventh of the product in int64 and complex128 meets every value of every parameter."""
    suite, start = suite_named("exhaustive"), 2 * (PAIR + SAME + VALID)
    length = -(-PAIR // 11)
    eleventh = sum(-(-size // 11) for size in (PAIR, SAME, VALID))
    for dtype, offset in (("int64", start), ("complex128", start + eleventh)):
        cases = [suite[offset + number] for number in range(0, length, 7)]
        assert {case.dtype for case in cases} == {dtype}
        rows = [decoded(case) for case in cases]
        allowed = (
            KERNEL_AND_PADDING, KERNEL_AND_PADDING, STRIDE_AND_REMAINDER, STRIDE_AND_REMAINDER,
            itertools.product((1, 2, 3), repeat=2), STRUCTURES, (True, False),
        )  # fmt: skip
        for column, every in zip(zip(*rows, strict=True), allowed, strict=True):
            assert set(column) == set(every)


def fits(case: Case) -> bool:
    """Whether a case is legal, by the rules alone."""
    if min(*case.stride, *case.dilation, *case.kernel, *case.extents, case.groups) < 1:
        return False
    if case.out_channels < 1 or case.in_channels % case.groups or case.out_channels % case.groups:
        return False
    if case.padding == "same":
        return case.stride == (1, 1)
    if case.padding in ("same_upper", "same_lower"):
        return True
    for axis in (0, 1):
        sides = 0 if case.padding == "valid" else case.padding[axis]
        if isinstance(sides, int):
            if sides < 0:
                return False
            sides = (sides, sides)
        assert isinstance(sides, tuple)
        span = case.dilation[axis] * (case.kernel[axis] - 1) + 1
        if case.extents[axis] + sum(sides) < span:
            return False
    return True


@pytest.mark.parametrize(("name", "count"), [("quick", 105), ("standard", 298)])
def test_suite_is_legal_but_for_the_illegal_section(name: str, count: int) -> None:
    """So many cases break a rule; all others break none; both as the rules have it."""
    cases = listed(suite_named(name))
    illegal = [case for case in cases if case.illegal is not None]
    assert illegal == [case for case in cases if not fits(case)]
    assert len(illegal) == count
    assert {case.dtype for case in illegal} == {"float32", "float64"}
    # Every illegal case has a rule of its own, but for height and width, above and below.
    assert len({case.illegal for case in illegal}) >= 30


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_illegal_cases_lie_within_what_is_declared(name: str) -> None:
    """Whoever declares neither groups nor dilation is asked most rules all the same."""
    plain = Supports(OPS, groups=False, dilation=False)
    cases = [case for case in listed(suite_named(name)) if case.illegal is not None]
    asked = {case.illegal for case in cases if plain.asks(case)}
    for rule in ("stride", "padding", "out_channels", "kernel", "input extents", "the kernel"):
        assert sum(str(text).startswith(rule) for text in asked) >= 1 + (rule != "out_channels"), (
            rule
        )
    unstrided = [case for case in cases if plain.asks(case) and case.stride == (1, 1)]
    assert len(unstrided) >= 10


def test_exhaustive_is_legal_but_for_the_illegal_section() -> None:
    """In a share of the product and of the second grid nothing is illegal; the section is, all."""
    suite = suite_named("exhaustive")
    first = len(suite) - REST
    for position in range(0, first, 211):
        assert suite[position].illegal is None
        assert fits(suite[position])
    section = range(first + 212, first + 260)
    assert all(suite[position].illegal for position in section)
    assert not any(fits(suite[position]) for position in section)
    for position in [*range(first, first + 212), *range(first + 260, len(suite), 7)]:
        assert suite[position].illegal is None
        assert fits(suite[position])


@pytest.mark.parametrize("name", ["quick", "standard", "exhaustive[::401]"])
def test_height_and_width_differ(name: str) -> None:
    """No legal case is square, so that no fault hides behind equal axes.

    An image of one element has only its kernel to tell them apart.
    """
    legal = [case for case in listed(suite_named(name)) if case.illegal is None]
    square = [case for case in legal if case.extents[0] == case.extents[1]]
    assert [case.id for case in square if case.extents != (1, 1)] == []
    assert [case.id for case in square if case.kernel[0] == case.kernel[1]] == []


def test_second_grid_goes_where_the_product_does_not() -> None:
    """Strides to 12, padding to span + 4, extent 1, crops, crops longer than the input."""
    suite = suite_named("exhaustive")
    cases = [suite[position] for position in range(len(suite) - 60_000, len(suite), 7)]
    spans = [
        [d * (k - 1) + 1 for d, k in zip(case.dilation, case.kernel, strict=True)] for case in cases
    ]
    for axis in (0, 1):
        assert {case.stride[axis] for case in cases} == set(range(1, 13))
        assert {case.kernel[axis] for case in cases} == {1, 2, 3, 4, 5}
        assert {case.dilation[axis] for case in cases} == {1, 2, 3, 4}
        assert {case.extents[axis] for case in cases} >= set(range(1, 13))
        sides = [
            (case, span[axis], case.padding[axis])
            for case, span in zip(cases, spans, strict=True)
            if case.padding_form == "four-sided"
        ]
        both = [
            (case, span, case.padding[axis])
            for case, span in zip(cases, (s[axis] for s in spans), strict=True)
            if case.padding_form == "pair"
        ]
        assert max(pad - span for _, span, pad in both) == 4
        assert min(pad for _, _, pad in both) == 0
        assert max(before - span for _, span, (before, _) in sides) == 4
        for side in (0, 1):
            assert min(pads[side] for _, _, pads in sides) < -4
            assert any(-pads[side] > case.extents[axis] for case, _, pads in sides)
        assert any(before > 0 > after for _, _, (before, after) in sides)
        assert any(before < 0 < after for _, _, (before, after) in sides)
        assert any(before != after for _, _, (before, after) in sides)
    assert {(case.groups, case.in_channels, case.out_channels) for case in cases} == set(STRUCTURES)
    assert {(case.bias, case.dtype) for case in cases} == set(
        itertools.product((True, False), ("float32", "float64"))
    )


def test_standard_begins_with_quick_and_holds_parts_of_all() -> None:
    """Whoever conforms to standard conforms to quick."""
    ids = {case.id for case in listed(suite_named("standard"))}
    assert {case.id for case in listed(suite_named("quick"))} <= ids


def test_parts_make_up_the_whole() -> None:
    """The parts n::41 of a suite hold each of its cases once, and have digests of their own."""
    whole = listed(suite_named("quick"))
    parts = [suite_named(f"quick[{number}::41]") for number in range(41)]
    found = [case for part in parts for case in listed(part)]
    assert len(found) == len(whole)
    assert set(found) == set(whole)
    assert len({part.digest for part in parts}) == 41


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("quick[:5]", slice(5)),
        ("quick[890:]", slice(890, None)),
        ("quick[7:30:4]", slice(7, 30, 4)),
        ("quick[880:2000]", slice(880, 2000)),
    ],
)
def test_part_is_a_slice(text: str, cut: slice) -> None:
    """A part is what Python's slice gives, under its own name."""
    part = suite_named(text)
    assert listed(part) == listed(suite_named("quick"))[cut]
    assert part.name == text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("", "suite '' must be one of quick, standard, exhaustive, or a part such as"),
        ("Quick", "suite 'Quick' must be one of"),
        ("slow[1:2]", r"suite 'slow[1:2]' must be one of"),
        ("quick[1]", r"suite 'quick[1]' must be one of"),
        ("quick[-3:]", r"suite 'quick[-3:]' must be one of"),
        ("quick[::0]", r"suite 'quick[::0]': the step must be at least 1"),
        ("quick[5:5]", r"suite 'quick[5:5]' is empty: quick has "),
    ],
)
def test_unknown_suite_gives_one_line(name: str, says: str) -> None:
    """A name that is no suite, and a part without cases, raise ValueError in one line."""
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        suite_named(name)
    assert "\n" not in str(caught.value)


def test_positions_outside_are_refused() -> None:
    """A suite has positions from 0 up to its length, and no others."""
    for name in ("quick", "exhaustive"):
        suite = suite_named(name)
        for position in (-1, len(suite)):
            with pytest.raises(IndexError, match=f"{name} has {len(suite)} cases, no case"):
                suite[position]


def test_suite_of_ids_holds_these() -> None:
    """A tuple of ids is a suite of those cases, in that order; its digest is that of its ids."""
    ids = tuple(suite_named("quick")[position].id for position in (5, 3, 8))
    suite = suite_named(ids)
    assert tuple(case.id for case in listed(suite)) == ids
    assert suite.digest != suite_named(ids[::-1]).digest
