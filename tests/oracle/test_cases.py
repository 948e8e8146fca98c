"""Cases and their ids: there and back, stable, unique, safe in a shell; bad ids in one line."""

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from npconv.formats import NAMES
from npconv.geometry import PADDING_NAMES
from npconv.oracle.cases import DATA, LAYOUTS, ONE_LAID_OUT, OPERANDS, Case
from npconv.oracle.suites import suite_named

PLAIN = Case(
    batch=2,
    in_channels=4,
    out_channels=6,
    groups=2,
    extents=(7, 9),
    kernel=(3, 2),
    stride=(2, 1),
    padding=(1, 0),
    dilation=(1, 2),
    bias=True,
    mask="111",
    dtype="float32",
    layout="packed",
    data="integers",
    seed=0,
)

#: Ids that are written down elsewhere must keep their meaning: none of these may ever change.
PINNED = {
    "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0": PLAIN,
    "c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0": replace(
        PLAIN, batch=None
    ),
    "n0c0f2g1-7x9-k3x2-s1x1-psame-d1x2-nobias-m010-bfloat16-channel_slice-reals-seed7": replace(
        PLAIN,
        batch=0,
        in_channels=0,
        out_channels=2,
        groups=1,
        stride=(1, 1),
        padding="same",
        bias=False,
        mask="010",
        dtype="bfloat16",
        layout="channel_slice",
        data="reals",
        seed=7,
    ),
    "n2c4f6g2-7x9-k3x2-s2x1-psame_lower-d1x2-bias-m111-uint8-reversed-integers-seed0": replace(
        PLAIN, padding="same_lower", dtype="uint8", layout="reversed"
    ),
    "n2c4f6g2-7x9-k3x2-s2x1-p1_-1x0_2-d1x2-bias-m111-complex128-stepped-integers-seed12": replace(
        PLAIN, padding=((1, -1), (0, 2)), dtype="complex128", layout="stepped", seed=12
    ),
    "n2c4f6g-1-7x9-k0x2-s-1x1-p-1x0-d1x-2-bias-m111-float64-transposed-integers-seed0": replace(
        PLAIN,
        groups=-1,
        kernel=(0, 2),
        stride=(-1, 1),
        padding=(-1, 0),
        dilation=(1, -2),
        dtype="float64",
        layout="transposed",
    ),
}

sizes = st.integers(0, 12)
steps = st.tuples(st.integers(-3, 12), st.integers(-3, 12))
cases = st.builds(
    Case,
    batch=st.none() | sizes,
    in_channels=sizes,
    out_channels=sizes,
    groups=st.integers(-2, 8),
    extents=st.tuples(sizes, sizes),
    kernel=st.tuples(sizes, sizes),
    stride=steps,
    padding=st.sampled_from(PADDING_NAMES) | steps | st.tuples(steps, steps),
    dilation=steps,
    bias=st.booleans(),
    mask=st.text("01", min_size=3, max_size=3),
    dtype=st.sampled_from(NAMES),
    layout=st.sampled_from((*LAYOUTS, *ONE_LAID_OUT)),
    data=st.sampled_from(DATA),
    seed=st.integers(0, 10**9),
)


def some_of_exhaustive() -> list[Case]:
    """Every 1009th case of the exhaustive suite."""
    suite = suite_named("exhaustive")
    return [suite[position] for position in range(0, len(suite), 1009)]


@pytest.mark.parametrize(("text", "case"), PINNED.items())
def test_id_is_stable(text: str, case: Case) -> None:
    """A written id means this case, and this case has this id."""
    assert Case.from_id(text) == case
    assert case.id == text


@pytest.mark.parametrize("name", ["quick", "standard", "exhaustive"])
def test_id_holds_all_of_each_case(name: str) -> None:
    """From the id of every case of the suites (a share of exhaustive) the same case comes back."""
    suite = suite_named(name)
    listed = some_of_exhaustive() if name == "exhaustive" else [suite[i] for i in range(len(suite))]
    for case in listed:
        assert Case.from_id(case.id) == case


@given(cases)
def test_id_holds_all_of_any_case(case: Case) -> None:
    """From the id of any case, legal or not, the same case comes back."""
    assert Case.from_id(case.id) == case
    assert Case.from_id(f" {case.id}\n") == case


@given(cases)
def test_id_is_safe_in_a_shell(case: Case) -> None:
    """An id is one word of letters, digits, hyphens and underscores, and no option."""
    assert re.fullmatch(r"[a-z0-9][a-z0-9_-]*", case.id)


@given(cases, cases)
def test_ids_of_different_cases_differ(one: Case, other: Case) -> None:
    """Two cases have one id only if they are equal."""
    assert (one.id == other.id) == (one == other)


@pytest.mark.parametrize("name", ["quick", "standard"])
def test_ids_are_unique_within_a_suite(name: str) -> None:
    """No case stands twice in a suite."""
    suite = suite_named(name)
    assert len({suite[position].id for position in range(len(suite))}) == len(suite)


def test_ids_are_unique_in_a_share_of_exhaustive() -> None:
    """No case stands twice in a share of the product, nor in all that follows the product."""
    suite = suite_named("exhaustive")
    ids = {case.id for case in some_of_exhaustive()}
    assert len(ids) == len(some_of_exhaustive())
    last = range(len(suite) - 60_260, len(suite), 3)
    assert len({suite[position].id for position in last}) == len(last)


GOOD = PLAIN.id


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "case id '' must look like n2c4f6g2-7x9"),
        ("conv", "case id 'conv' must look like"),
        (GOOD.upper(), "must look like"),
        (GOOD + "-", "must look like"),
        ("x" + GOOD, "must look like"),
        (GOOD.replace("7x9", "7"), "must look like"),
        (GOOD.replace("7x9", "-7x9"), "must look like"),
        (GOOD.replace("7x9", "7x9x9"), "must look like"),
        (GOOD.replace("m111", "m112"), "must look like"),
        (GOOD.replace("p1x0", "p1_1x0"), "must look like"),
        (GOOD.replace("seed0", "seed-1"), "must look like"),
        (GOOD.replace("-bias", " -bias"), "must look like"),
        (GOOD.replace("k3", "k٣"), "must look like"),
        (GOOD.replace("seed0", "seed" + "9" * 10_000), "must look like"),
        (GOOD.replace("p1x0", "pfull"), "padding 'full' must be one of same, same_lower"),
        (GOOD.replace("float32", "float8"), "dtype 'float8' must be one of bfloat16, float16"),
        (GOOD.replace("packed", "loose"), "layout 'loose' must be one of packed, channels_last"),
        (GOOD.replace("packed", "packed_weight"), "layout 'packed_weight' must be one of"),
        (GOOD.replace("packed", "stepped_output"), "layout 'stepped_output' must be one of"),
        (GOOD.replace("integers", "numbers"), "data 'numbers' must be one of integers, reals"),
    ],
)
def test_bad_id_gives_one_line(text: str, says: str) -> None:
    """What is no id raises ValueError, in one line of bounded length that says what is wrong."""
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        Case.from_id(text)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


def test_shapes_are_those_of_the_parameters() -> None:
    """Input and weight have the shapes that the id spells out."""
    assert PLAIN.input_shape == (2, 4, 7, 9)
    assert PLAIN.weight_shape == (6, 2, 3, 2)
    assert replace(PLAIN, batch=None).input_shape == (4, 7, 9)
    assert PLAIN.geometry.output_shape == (2, 6, 4, 7)


def test_illegal_names_the_broken_rule() -> None:
    """A legal case breaks no rule; an illegal one, also one with groups 0, says which."""
    assert PLAIN.illegal is None
    assert replace(PLAIN, stride=(0, 1)).illegal == "stride=(0, 1) must be at least 1"
    assert replace(PLAIN, groups=0).illegal == "groups=0 must be at least 1"
    assert replace(PLAIN, groups=4).illegal == "groups=4 must divide out_channels=6"


@pytest.mark.parametrize(
    ("layout", "kind", "laid_out", "layouts"),
    [
        ("packed", "packed", "all", ("packed",) * 4),
        ("channels_last", "channels_last", "all", ("channels_last",) * 4),
        ("stepped_weight", "stepped", "weight", ("packed", "stepped", "packed", "packed")),
        (
            "channels_last_input", "channels_last", "input",
            ("channels_last", "packed", "packed", "packed"),
        ),
        ("reversed_bias", "reversed", "bias", ("packed", "packed", "reversed", "packed")),
        (
            "expanded_grad_output", "expanded", "grad_output",
            ("packed", "packed", "packed", "expanded"),
        ),
    ],
)  # fmt: skip
def test_layout_is_of_all_arrays_or_of_one(
    layout: str, kind: str, laid_out: str, layouts: tuple[str, ...]
) -> None:
    """A layout's name says its kind and which of the arrays have it."""
    case = replace(PLAIN, layout=layout)
    assert (case.layout_kind, case.laid_out) == (kind, laid_out)
    assert tuple(case.layout_of(name) for name in OPERANDS) == layouts


def test_padding_form_is_how_it_is_written() -> None:
    """Equal sides written as four are four-sided all the same."""
    assert PLAIN.padding_form == "pair"
    assert replace(PLAIN, padding="valid").padding_form == "string"
    assert replace(PLAIN, padding=((1, 1), (0, 0))).padding_form == "four-sided"


def test_plainness_puts_the_case_with_least_in_it_first() -> None:
    """Fewer unusual parameters come first, then smaller sizes."""
    dense = replace(PLAIN, groups=1, stride=(1, 1), padding=(0, 0), dilation=(1, 1))
    strided = replace(dense, stride=(2, 1))
    large = replace(dense, extents=(30, 40))
    reals = replace(strided, data="reals")
    order = sorted([PLAIN, reals, large, strided, dense], key=lambda case: case.plainness)
    assert order == [dense, large, strided, reals, PLAIN]
