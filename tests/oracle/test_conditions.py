"""Conditions on cases: their names and values, what is refused, what the features leave out."""

import pickle
from dataclasses import replace
from typing import Any

import pytest

from npconv.oracle.cases import Case
from npconv.oracle.conditions import (
    ALWAYS,
    FEATURES,
    LEGAL,
    NAMES,
    Condition,
    features,
    left_out_by,
)

#: All extents distinct, and every feature that a case may have at once.
CASE = Case.from_id("n2c4f6g2-7x10-k3x2-s2x3-p1x4-d1x2-bias-m101-float32-stepped-reals-seed5")
PLAIN = Case.from_id("n2c4f6g1-7x10-k3x2-s1x1-p0x0-d1x1-nobias-m111-float32-packed-integers-seed0")
ILLEGAL = replace(PLAIN, groups=3)


def test_features_have_the_values_of_the_case() -> None:
    """Each name stands for what the case says, or for what follows from it by hand."""
    assert features(CASE) == {
        "batch": 2, "unbatched": False, "in_channels": 4, "out_channels": 6, "groups": 2,
        "height": 7, "width": 10, "kernel_h": 3, "kernel_w": 2, "stride_h": 2, "stride_w": 3,
        "dilation_h": 1, "dilation_w": 2, "padding_form": "pair", "bias": True, "mask": "101",
        "dtype": "float32", "layout": "stepped", "laid_out": "all", "data": "reals",
        "illegal": False,
        "channels_per_group": 2, "features_per_group": 3, "depthwise": False,
        "padding_top": 1, "padding_bottom": 1, "padding_left": 4, "padding_right": 4,
        "span_h": 3, "span_w": 3,
        # (7 + 2 - 3) // 2 + 1 = 4 windows, all rows reached; (10 + 8 - 3) // 3 + 1 = 6, too.
        "remainder_h": 0, "remainder_w": 0, "out_height": 4, "out_width": 6,
        "terms": 2 * 3 * 2,
    }  # fmt: skip


def test_features_are_the_names() -> None:
    """A legal case has a value for each name, an illegal one for those that need no sizes."""
    assert set(features(CASE)) == set(NAMES)
    assert set(features(ILLEGAL)) == set(ALWAYS)
    assert features(ILLEGAL)["illegal"] is True


def test_features_are_the_callers_to_change() -> None:
    """What is returned can be written to without changing what the next caller gets."""
    features(CASE)["groups"] = 77
    assert features(CASE)["groups"] == 2


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("groups > 1", True),
        ("groups > 1 and stride_w == 2", False),
        ("groups > 1 and (stride_w == 2 or stride_h == 2)", True),
        ("not bias", False),
        ("dtype == 'float32'", True),
        ("dtype in ('float16', 'float32')", True),
        ("data not in ['integers', 'reals']", False),
        ("in_channels % 4 == 0", True),
        ("height + 2 * padding_top - span_h == 6", True),
        ("width // kernel_w >= 6", False),
        ("-padding_left < -3", True),
        ("1 < groups < in_channels", True),
        ("depthwise == False", True),
        ("True", True),
        (" groups == 2 ", True),
    ],
)
def test_condition_has_pythons_value(text: str, holds: bool) -> None:
    """A condition holds where Python's own expression is true."""
    assert Condition.parse(text).holds(CASE) is holds


@pytest.mark.parametrize("name", LEGAL)
def test_condition_on_sizes_never_holds_for_an_illegal_case(name: str) -> None:
    """An illegal case has no sizes: neither a condition on them nor its opposite holds."""
    for text in (f"{name} >= 0", f"not {name} >= 0", f"{name} < 0"):
        assert Condition.parse(text).holds(ILLEGAL) is False
    assert Condition.parse(f"illegal or {name} > 0").holds(ILLEGAL) is True


@pytest.mark.parametrize("text", ["height // (groups - groups) == 1", "width % (batch - batch)"])
def test_condition_without_a_value_does_not_hold(text: str) -> None:
    """What has no value, such as a remainder by 0, holds for no case."""
    assert Condition.parse(text).holds(CASE) is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "strides > 1",
            "condition 'strides > 1': no 'strides'; did you mean stride_h or stride_w?",
        ),
        ("kernel", "did you mean kernel_h or kernel_w?"),
        ("goups > 1", "no 'goups'; did you mean groups?"),
        ("xyzzy", "no 'xyzzy'; there are batch, unbatched,"),
        ("", "condition '' must be an expression such as 'groups > 1 and stride_w > 1'"),
        ("  ", "must be an expression"),
        ("groups >", "must be an expression"),
        ("groups = 1", "must be an expression"),
        ("groups > 1; bias", "must be an expression"),
        ("groups > 1\nbias", "must be an expression"),
        ("groups > 1 and " * 100 + "bias", "must be an expression"),
        ("(" * 400 + "bias" + ")" * 400, "must be an expression"),
        ("\0", "must be an expression"),
        ("dtype > 1", "dtype and 1: text, numbers and lists are never equal"),
        ("1 < 'a' < 3", "1 and 'a': text, numbers and lists are never equal"),
        ("stride_h == (1, 2)", "stride_h and (1, 2): text, numbers and lists are never equal"),
        ("dtype in (16, 32)", "dtype and (16, 32): text and numbers are never equal"),
        ("dtype in ('float32', 32)", "('float32', 32) holds texts and numbers"),
        ("groups in 'float'", "groups and 'float': text and numbers are never equal"),
        ("groups in 2", "groups and 2: only a list or a text can hold something"),
        ("'%q' % groups", "'%q' % groups: only numbers are reckoned with"),
        ("'a' * 9999999999 == dtype", "'a' * 9999999999: only numbers are reckoned with"),
        ("-dtype == 1", "-dtype: only a number has a sign"),
        ("height // 0 == 1", "height // 0: there is no division by 0"),
        ("not width % 0 and bias", "width % 0: there is no division by 0"),
        (7, "condition 7 must be an expression"),
        (None, "condition None must be an expression"),
    ],
)
def test_condition_refuses_in_one_line(text: Any, message: str) -> None:
    """What is no condition raises ValueError, in one line that says the text and the rule."""
    with pytest.raises(ValueError, match=r"\Acondition ") as caught:
        Condition.parse(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("dtype.upper()", "Call"),
        ("dtype.__class__", "Attribute"),
        ("().__class__.__bases__", "Attribute"),
        ("print(1)", "Call"),
        ("__import__('os')", "Call"),
        ("9 ** 9 ** 9", "Pow"),
        ("groups << 999", "LShift"),
        ("height / 2 > 1", "Div"),
        ("groups & 1", "BitAnd"),
        ("~groups", "Invert"),
        ("mask[0] == '1'", "Subscript"),
        ("[g for g in (1, 2)]", "ListComp"),
        ("(lambda: 1)", "Lambda"),
        ("(groups := 2)", "NamedExpr"),
        ("1 if bias else 2", "IfExp"),
        ("f'{groups}'", "JoinedStr"),
        ("{1: 2}", "Dict"),
        ("(*(1, 2), 3)", "Starred"),
        ("batch is None", "Is"),
        ("groups > 1.5", "Constant"),
        ("data == b'reals'", "Constant"),
        ("... == 1", "Constant"),
    ],
)
def test_condition_runs_no_code(text: str, node: str) -> None:
    """Calls, attributes, powers and all else beyond the language are refused when they are read."""
    with pytest.raises(ValueError, match=rf": {node} is not among") as caught:
        Condition.parse(text)
    assert "\n" not in str(caught.value)


def test_a_deep_condition_is_read_at_once() -> None:
    """Each part is looked at once: twice at every level would take hours at this depth."""
    for text in (
        "1 in [" * 60 + "1" + "]" * 60,
        "1 == (" * 60 + "1" + ") == 1" * 60,
    ):
        assert Condition.parse(text).names == frozenset()


def test_condition_sees_no_builtins() -> None:
    """Names of Python's own functions are no names of conditions."""
    for name in ("print", "len", "__builtins__", "eval"):
        with pytest.raises(ValueError, match=f"no '{name}'"):
            Condition.parse(f"{name} == 1")


def test_condition_knows_the_names_it_uses() -> None:
    """The names are those of the expression, each once."""
    assert Condition.parse("bias and groups > 1 or groups == 0").names == {"bias", "groups"}


def test_condition_travels_as_text() -> None:
    """A condition can be pickled, and holds for the same cases afterwards."""
    before = Condition.parse("groups > 1 and stride_w > 1")
    after = pickle.loads(pickle.dumps(before))
    assert after.text == before.text
    assert [after.holds(case) for case in (CASE, PLAIN)] == [True, False]


#: For each feature a case that has it, and differs from a case without it in this alone.
HAVING = {
    "stride": replace(PLAIN, stride=(1, 2)),
    "padding": replace(PLAIN, padding=(0, 1)),
    "dilation": replace(PLAIN, dilation=(2, 1)),
    "groups": replace(PLAIN, groups=2),
    "depthwise": replace(PLAIN, groups=4, out_channels=8),
    "bias": replace(PLAIN, bias=True),
    "mask": replace(PLAIN, mask="110"),
    "unbatched": replace(PLAIN, batch=None),
    "empty": replace(PLAIN, batch=0),
    "illegal": ILLEGAL,
    "views": replace(PLAIN, layout="readonly"),
    "special": replace(PLAIN, data="special"),
    "reals": replace(PLAIN, data="mega"),
    "strings": replace(PLAIN, padding="valid"),
    "four-sided": replace(PLAIN, padding=((0, 1), (0, 0))),
}

#: A feature that lies within another one is left out by both.
WITHIN = {
    "depthwise": {"groups"}, "special": {"reals"}, "strings": {"padding"},
    "four-sided": {"padding"}, "illegal": {"groups"},
}  # fmt: skip


@pytest.mark.parametrize("name", FEATURES)
def test_feature_leaves_out_what_it_names(name: str) -> None:
    """Each feature leaves out the case that has it, not the plain one, and no other's case."""
    condition = left_out_by(name)
    assert condition.holds(HAVING[name])
    assert not condition.holds(PLAIN)
    hit = {other for other, case in HAVING.items() if condition.holds(case)}
    assert hit == {name} | {inner for inner, outer in WITHIN.items() if name in outer}


def test_every_feature_has_a_case_here() -> None:
    """The table above is complete."""
    assert set(HAVING) == set(FEATURES)


def test_empty_channels_are_empty_too() -> None:
    """Without input channels a case is left out as one without images is."""
    assert left_out_by("empty").holds(replace(PLAIN, in_channels=0))


def test_left_out_by_takes_a_condition() -> None:
    """What is no feature's name is a condition."""
    assert left_out_by("kernel_h > 2").holds(PLAIN)
    assert not left_out_by("kernel_h > 3").holds(PLAIN)


def test_left_out_by_says_what_there_is() -> None:
    """What is neither is refused in one line that lists the features."""
    with pytest.raises(ValueError, match="no 'stridez'; did you mean") as caught:
        left_out_by("stridez")
    assert str(caught.value).endswith(f"a feature is one of {', '.join(FEATURES)}, or a condition")
    assert "\n" not in str(caught.value)
