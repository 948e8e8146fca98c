"""The Hypothesis strategy: legal cases alone, within what is asked, down to plain ones."""

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, find, given, settings
from hypothesis import strategies as st

import npconv
from npconv import geometry
from npconv.formats import available
from npconv.strategies import LAYOUTS, Conv2dCase, conv2d_cases

#: The same on every NumPy.
pytestmark = pytest.mark.once

QUICK = settings(database=None, max_examples=500)

EVERYTHING = conv2d_cases(
    dtypes=available(),
    padding=["pair", "string", "four-sided", "same_upper", "same_lower"],
    layouts=LAYOUTS,
    unbatched=True,
    empty=True,
)

#: What each argument can narrow, as a condition that then holds for no case.
NARROWED = {
    "groups": (conv2d_cases(groups=False), lambda case: case.groups > 1),
    "bias": (conv2d_cases(bias=False), lambda case: case.bias is not None),
    "dtypes": (conv2d_cases(dtypes=["int8"]), lambda case: case.input.dtype != np.int8),
    "max_batch": (conv2d_cases(max_batch=1), lambda case: len(case.input) > 1),
    "max_channels": (conv2d_cases(max_channels=1), lambda case: case.weight.shape[:2] != (1, 1)),
    "max_extent": (conv2d_cases(max_extent=2), lambda case: max(case.input.shape[2:]) > 2),
    "max_kernel": (conv2d_cases(max_kernel=2), lambda case: max(case.weight.shape[2:]) > 2),
    "max_stride": (conv2d_cases(max_stride=1), lambda case: case.stride != (1, 1)),
    "max_dilation": (conv2d_cases(max_dilation=1), lambda case: case.dilation != (1, 1)),
    "max_padding": (conv2d_cases(max_padding=0), lambda case: case.padding != (0, 0)),
    "layouts": (conv2d_cases(), lambda case: not case.input.flags.c_contiguous),
    "unbatched": (conv2d_cases(), lambda case: case.input.ndim == 3),
    "empty": (conv2d_cases(), lambda case: 0 in case.input.shape),
    "padding": (conv2d_cases(), lambda case: isinstance(case.padding, str)),
}


def arrays(case: Conv2dCase) -> list[Any]:
    """Return the arrays that a case has."""
    found = [case.input, case.weight, case.bias, case.grad_output]
    return [array for array in found if array is not None]


@settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
@given(EVERYTHING)
def test_cases_are_legal(case: Conv2dCase) -> None:
    """Every case is accepted; its arrays have the shapes that follow, and one dtype."""
    found = geometry.parse(case.input.shape, case.weight.shape, *case.parameters)
    assert case.grad_output.shape == found.output_shape
    assert npconv.conv2d(*case.forward).shape == found.output_shape
    gradients = npconv.conv2d_backward(*case.backward)
    assert [g.shape for g in gradients if g is not None] == [
        case.input.shape, case.weight.shape, case.weight.shape[:1],
    ]  # fmt: skip
    assert len({array.dtype for array in arrays(case)}) == 1
    assert case.bias is None or case.bias.shape == case.weight.shape[:1]


@settings(max_examples=100)
@given(conv2d_cases(max_extent=1, max_padding=2, padding=["pair", "four-sided", "valid", "same"]))
def test_the_least_sizes_leave_legal_cases(case: Conv2dCase) -> None:
    """Also where only single elements may be drawn, each case is legal, and there are some."""
    assert case.input.shape[2:] == (1, 1)
    found = geometry.parse(case.input.shape, case.weight.shape, *case.parameters)
    assert case.grad_output.shape == found.output_shape


@settings(max_examples=60)
@given(conv2d_cases(dtypes=[name for name in available() if "int" not in name]))
def test_sums_are_exact(case: Conv2dCase) -> None:
    """No sum of sizes is too large for the dtype, and right code gives the exact results."""
    results = [npconv.conv2d(*case.forward), *npconv.conv2d_backward(*case.backward)]
    exact = [npconv.exact.conv2d(*case.forward), *npconv.exact.conv2d_backward(*case.backward)]
    wide = "complex128" if case.input.dtype.kind == "c" else "float64"
    for result, right in zip(results, exact, strict=True):
        np.testing.assert_array_equal(result, right)
    absolute = [
        np.abs(array.astype(wide)).astype("float64") if array is not None else None
        for array in (case.input, case.weight, case.bias)
    ]
    bits = {"bfloat16": 8, "float16": 11, "float32": 24, "complex64": 24}.get(
        case.input.dtype.name, 53
    )
    assert npconv.conv2d(*absolute, *case.parameters).max() <= 2**bits


@pytest.mark.parametrize("name", NARROWED)
def test_argument_narrows_what_is_drawn(name: str) -> None:
    """What an argument leaves out is in none of many cases; without the argument it is found."""
    narrow, outside = NARROWED[name]

    @settings(max_examples=50, database=None)
    @given(narrow)
    def none_is_outside(case: Conv2dCase) -> None:
        assert not outside(case)

    none_is_outside()
    wide = EVERYTHING if name in ("layouts", "unbatched", "empty", "padding") else conv2d_cases()
    find(wide, outside, settings=QUICK)


#: Conditions that a fault may have, with the plainest case that fulfils each.
PLANTED = {
    "anything": (lambda case: case is not None, {}),
    "stride": (lambda case: case.stride[0] > 2, {"stride": (3, 1)}),
    "groups": (lambda case: case.groups > 1, {"groups": 2, "input": (1, 2, 1, 1)}),
    "dilation": (lambda case: case.dilation[1] > 1 and case.weight.shape[3] > 2,
                 {"dilation": (1, 2), "weight": (1, 1, 1, 3)}),
    "padding": (lambda case: case.padding[0] > 0, {"padding": (1, 0)}),
    "batch": (lambda case: len(case.input) > 1, {"input": (2, 1, 1, 1)}),
    "bias": (lambda case: case.bias is not None, {"bias": (1,)}),
    "output": (lambda case: case.grad_output.shape[2] > 1, {"output": (1, 1, 2, 1)}),
    "grouped and strided": (
        lambda case: case.groups > 1 and case.stride[1] > 1 and case.grad_output.shape[3] > 1,
        {"groups": 2, "stride": (1, 2), "output": (1, 2, 1, 2)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PLANTED)
def test_counterexamples_are_plain(name: str) -> None:
    """A case shrinks to one with nothing in it but what the condition needs."""
    condition, needed = PLANTED[name]
    case = find(conv2d_cases(), condition, settings=QUICK)
    given_ = {
        "stride": case.stride, "padding": case.padding, "dilation": case.dilation,
        "groups": case.groups, "bias": None if case.bias is None else case.bias.shape,
    }  # fmt: skip
    plain = {
        "stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "bias": None,
    }  # fmt: skip
    assert given_ == plain | {key: value for key, value in needed.items() if key in plain}
    shapes = {
        "input": case.input.shape, "weight": case.weight.shape, "output": case.grad_output.shape,
    }  # fmt: skip
    for key, value in needed.items():
        if key in shapes:
            assert shapes[key] == value
    if not set(needed) & set(shapes):
        # Nothing but single elements, or what a pad adds to the output.
        assert case.input.size == 1
        assert case.weight.size == 1


def test_elements_draw_each_number() -> None:
    """A strategy for the numbers serves all arrays, and they shrink one by one."""
    numbers = st.integers(-5, 5).map(float)
    case = find(
        conv2d_cases(elements=numbers, max_extent=2, max_channels=1, max_batch=1),
        lambda case: bool((case.weight > 2).any()),
        settings=QUICK,
    )
    assert case.weight.tolist() == [[[[3.0]]]]
    assert case.input.tolist() == [[[[0.0]]]]


def test_a_wrong_kernel_is_found() -> None:
    """A property test on the strategy finds a fault that only some parameters show."""

    def faulty(x: Any, w: Any, b: Any, stride: Any, *rest: Any) -> Any:
        return npconv.conv2d(x, w, b, (stride[0], stride[0]), *rest)

    @settings(max_examples=200, database=None, report_multiple_bugs=False)
    @given(conv2d_cases())
    def agrees(case: Conv2dCase) -> None:
        np.testing.assert_array_equal(faulty(*case.forward), npconv.conv2d(*case.forward))

    with pytest.raises(AssertionError):
        agrees()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dtypes": ["float31"]}, r"conv2d_cases: dtypes=\['float31'\] must list some of bfloat16"),
        ({"dtypes": "float32"}, "dtypes='float32' must list some of"),
        ({"layouts": []}, r"layouts=\[\] must list some of packed"),
        ({"padding": ["pairs"]}, "must list some of pair, string, four-sided, same"),
        ({"max_extent": 0}, "max_extent=0 must be"),
        ({"max_padding": -1}, "max_padding=-1 must be"),
    ],
)
def test_bad_arguments_are_told(arguments: dict[str, Any], message: str) -> None:
    """Unknown names, nothing to choose from, and sizes that leave no case, raise ValueError."""
    with pytest.raises(ValueError, match=message):
        conv2d_cases(**arguments)


@pytest.mark.parametrize("name", available())
def test_every_dtype_can_be_drawn_alone(name: str) -> None:
    """Each dtype that is served gives cases of it."""

    @settings(max_examples=3, database=None)
    @given(conv2d_cases(dtypes=[name]))
    def is_of_it(case: Conv2dCase) -> None:
        assert {array.dtype.name for array in arrays(case)} == {name}

    is_of_it()
