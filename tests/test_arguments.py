"""Bad arguments: every call, every rule, the whole message; and whether torch refuses the same."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npconv
from npconv import arguments, formats

X, W, B, G = (
    np.arange(np.prod(s), dtype=float).reshape(s)
    for s in ((2, 4, 5, 6), (6, 2, 3, 2), (6,), (2, 6, 3, 5))
)

CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any], str]] = {
    "conv2d": (
        npconv.conv2d,
        {"input": X, "weight": W, "bias": B, "groups": 2},
        "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]",
    ),
    "conv2d_input": (
        npconv.conv2d_input,
        {"input_size": X.shape, "weight": W, "grad_output": G, "groups": 2},
        "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 4, 5, 6)]",
    ),
    "conv2d_weight": (
        npconv.conv2d_weight,
        {"input": X, "weight_size": W.shape, "grad_output": G, "groups": 2},
        "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 3, 2)]",
    ),
    "conv2d_backward": (
        npconv.conv2d_backward,
        {"grad_output": G, "input": X, "weight": W, "groups": 2},
        "[grad_output (2, 6, 3, 5), input (2, 4, 5, 6), weight (6, 2, 3, 2)]",
    ),
    "conv2d_bias": (npconv.conv2d_bias, {"grad_output": G}, "[grad_output (2, 6, 3, 5)]"),
}
WITH_PARAMETERS = [name for name in CALLS if name != "conv2d_bias"]

INTS = "must be an int or a sequence of 1 or 2 ints"
HINT = " (four sides are ((top, bottom), (left, right)), where negative numbers crop)"
PADS = (
    "must be an int, a sequence of 1 or 2 ints, 2 pairs (before, after), "
    "or one of 'same', 'same_lower', 'same_upper', 'valid'"
)
NAMES = "must be one of 'same', 'same_lower', 'same_upper', 'valid'"
PAIR = "must have two ints (before, after) in each pair"
SIDES = "must have 2 pairs (before, after), one per spatial axis"
SERVED = (
    "bfloat16, float16, float32, float64, complex64, complex128, "
    "int8, int16, int32, int64, uint8, uint16, uint32, uint64"
)
BYTES = "the padded input, the weight or the output would take more bytes than 64 bits can count"

LARGE, HUGE = 2**63, 2**70
V, T = ValueError, TypeError


class Rude:
    """Its text has two lines."""

    def __repr__(self) -> str:
        """Return two lines."""
        return "a\n  b"


#: Parameters that no call takes: value, exception, rule after `name=value`.
NO_STEP: tuple[tuple[Any, type[Exception], str], ...] = (
    (0, V, "must be at least 1"),
    (-1, V, "must be at least 1"),
    ((1, 0), V, "must be at least 1"),
    ((0, 1), V, "must be at least 1"),
    ([2, -3], V, "must be at least 1"),
    (-HUGE, V, "must be at least 1"),
    (LARGE, V, "must fit in 64 bits"),
    (HUGE, V, "must fit in 64 bits"),
    ((1, LARGE), V, "must fit in 64 bits"),
    ((), V, INTS),
    ((1, 2, 3), V, INTS),
    ([1, 1, 1, 1], V, INTS),
    (True, T, INTS),
    ((True, 1), T, INTS),
    (np.True_, T, INTS),
    (np.array(True), T, INTS),
    (np.array([True, False]), T, INTS),
    (1.0, T, INTS),
    ((1, 2.0), T, INTS),
    (np.float32(1), T, INTS),
    (np.array([1.0, 2.0]), T, INTS),
    (float("nan"), T, INTS),
    (float("inf"), T, INTS),
    (1j, T, INTS),
    (None, T, INTS),
    ((1, None), T, INTS),
    ("1", T, INTS),
    ("same", T, INTS),
    (b"12", T, INTS),
    ({0: 1, 1: 2}, T, INTS),
    ({1, 2}, T, INTS),
    (((1, 2), (1, 2)), T, INTS),
    ([[1, 2]], T, INTS),
    (int, T, INTS),
)

NO_GROUPS: tuple[tuple[Any, type[Exception], str], ...] = (
    (0, V, "groups=0 must be at least 1"),
    (-2, V, "groups=-2 must be at least 1"),
    (3, V, "groups=3 must divide in_channels=4"),
    (4, V, "groups=4 must divide out_channels=6"),
    (5, V, "groups=5 must divide in_channels=4"),
    (1, V, "weight of 2 channels x groups=1 must equal in_channels=4"),
    (LARGE - 1, V, "groups=9223372036854775807 must divide in_channels=4"),
    (LARGE, V, "groups=9223372036854775808 must fit in 64 bits"),
    (HUGE, V, "groups=1180591620717411303424 must fit in 64 bits"),
    (True, T, "groups=True must be an int"),
    (np.True_, T, f"groups={np.True_!r} must be an int"),
    (2.0, T, "groups=2.0 must be an int"),
    (float("nan"), T, "groups=nan must be an int"),
    (None, T, "groups=None must be an int"),
    ("2", T, "groups='2' must be an int"),
    ((2,), T, "groups=(2,) must be an int"),
    ({2}, T, "groups={2} must be an int"),
    (Rude(), T, "groups=a b must be an int"),
)

NO_PADDING: tuple[tuple[Any, type[Exception], str], ...] = (
    (-1, V, f"padding=-1 must be at least 0{HINT}"),
    ((1, -2), V, f"padding=(1, -2) must be at least 0{HINT}"),
    ([-1], V, f"padding=[-1] must be at least 0{HINT}"),
    (LARGE, V, "padding=9223372036854775808 must fit in 64 bits"),
    ((0, HUGE), V, "padding=(0, 1180591620717411303424) must fit in 64 bits"),
    (LARGE - 1, V, "padding=9223372036854775807, dilation=1 give a size over 64 bits"),
    (2**60, V, BYTES),
    ((), V, f"padding=() {INTS}{HINT}"),
    ((1, 2, 3), V, f"padding=(1, 2, 3) {INTS}{HINT}"),
    ([0, 1, 0, 1], V, f"padding=[0, 1, 0, 1] {INTS}{HINT}"),
    (True, T, f"padding=True {PADS}"),
    ((0, False), T, f"padding=(0, False) {PADS}"),
    (1.0, T, f"padding=1.0 {PADS}"),
    (float("nan"), T, f"padding=nan {PADS}"),
    (None, T, f"padding=None {PADS}"),
    ((None, 1), T, f"padding=(None, 1) {PADS}"),
    (b"same", T, f"padding=b'same' {PADS}"),
    ({"same": 1}, T, f"padding={{'same': 1}} {PADS}"),
    ({1, 2}, T, f"padding={{1, 2}} {PADS}"),
    (("same", "valid"), T, f"padding=('same', 'valid') {PADS}"),
    (np.array([1.0, 2.0]), T, f"padding=array([1., 2.]) {PADS}"),
    ("SAME", V, f"padding='SAME' {NAMES}"),
    ("full", V, f"padding='full' {NAMES}"),
    ("", V, f"padding='' {NAMES}"),
    ("1", V, f"padding='1' {NAMES}"),
    (((1, 2),), V, f"padding=((1, 2),) {SIDES}"),
    (((1, 2), (1, 2), (1, 2)), V, f"padding=((1, 2), (1, 2), (1, 2)) {SIDES}"),
    (((1, 2), (1,)), V, f"padding=((1, 2), (1,)) {PAIR}"),
    (((1, 2, 3), (1, 2)), V, f"padding=((1, 2, 3), (1, 2)) {PAIR}"),
    (((1, 2), ()), V, f"padding=((1, 2), ()) {PAIR}"),
    (((1, 2), 3), V, f"padding=((1, 2), 3) {PAIR}"),
    (((1, 2), (0.5, 1)), T, f"padding=((1, 2), (0.5, 1)) {PAIR}"),
    (((1, 2), (True, 1)), T, f"padding=((1, 2), (True, 1)) {PAIR}"),
    (((1, None), (0, 1)), T, f"padding=((1, None), (0, 1)) {PAIR}"),
    (((0, 0), (0, LARGE)), V, "padding=((0, 0), (0, 9223372036854775808)) must fit in 64 bits"),
    (((0, 0), (-HUGE, 0)), V, "padding=((0, 0), (-1180591620717411303424, 0)) must fit in 64 bits"),
    (
        ((-3, 0), (0, 0)),
        V,
        (
            "the kernel spans 3 elements (3 with dilation=1) "
            "and must fit the padded input's 2 (5 with padding=(-3, 0)) along spatial axis 0"
        ),
    ),
    (
        ((-9, 0), (0, 0)),
        V,
        (
            "the kernel spans 3 elements (3 with dilation=1) "
            "and must fit the padded input's -4 (5 with padding=(-9, 0)) along spatial axis 0"
        ),
    ),
    (
        ((0, 0), (-4, -1)),
        V,
        (
            "the kernel spans 2 elements (2 with dilation=1) "
            "and must fit the padded input's 1 (6 with padding=(-4, -1)) along spatial axis 1"
        ),
    ),
    ([[[1, 2], [1, 2]], [1, 2]], T, f"padding=[[[1, 2], [1, 2]], [1, 2]] {PAIR}"),
)

AXIS_0 = "and must fit the padded input's 5 (5 with padding=(0, 0)) along spatial axis 0"

#: Two parameters that only together are bad.
NO_TOGETHER: tuple[tuple[dict[str, Any], type[Exception], str], ...] = (
    (
        {"padding": "same", "stride": 2},
        V,
        "padding='same' must have stride 1, not (2, 2) (use 'same_upper' or 'same_lower')",
    ),
    (
        {"padding": "same", "stride": (1, 3)},
        V,
        "padding='same' must have stride 1, not (1, 3) (use 'same_upper' or 'same_lower')",
    ),
    (
        {"dilation": (3, 1), "stride": 2},
        V,
        (
            "the kernel spans 7 elements (3 with dilation=3) "
            "and must fit the padded input's 5 (5 with padding=(0, 0)) along spatial axis 0"
        ),
    ),
    (
        {"dilation": 6, "padding": (5, 0)},
        V,
        (
            "the kernel spans 7 elements (2 with dilation=6) "
            "and must fit the padded input's 6 (6 with padding=(0, 0)) along spatial axis 1"
        ),
    ),
    (
        {"dilation": LARGE - 1},
        V,
        "padding=0, dilation=9223372036854775807 give a size over 64 bits",
    ),
    (
        {"dilation": 2**61},
        V,
        f"the kernel spans {2**62 + 1} elements (3 with dilation={2**61}) {AXIS_0}",
    ),
)

BAD_PARAMETERS = [
    *(
        ({name: value}, kind, f"{name}={value!r} {rule}")
        for name in ("stride", "dilation")
        for value, kind, rule in NO_STEP
    ),
    *(({"groups": value}, kind, fact) for value, kind, fact in NO_GROUPS),
    *(({"padding": value}, kind, fact) for value, kind, fact in NO_PADDING),
    *NO_TOGETHER,
]


def refused(function: str, changes: dict[str, Any]) -> Exception:
    """Make the call and return what it raises: one line, and no trace of where inside it arose."""
    call, base, _ = CALLS[function]
    with pytest.raises((TypeError, ValueError)) as caught:
        call(**{**base, **changes})
    assert type(caught.value) in (TypeError, ValueError)
    assert "\n" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    return caught.value


def numbered(rows: list[tuple[str, dict[str, Any]]]) -> list[str]:
    """Name test cases by number, function and what is changed: values have no stable text."""
    return [f"{n}-{'-'.join((function, *changes))}" for n, (function, changes) in enumerate(rows)]


PARAMETER_IDS = [f"{n}-{'-'.join(row[0])}" for n, row in enumerate(BAD_PARAMETERS)]


@pytest.mark.parametrize("function", WITH_PARAMETERS)
@pytest.mark.parametrize(("changes", "kind", "fact"), BAD_PARAMETERS, ids=PARAMETER_IDS)
def test_bad_parameters_are_refused(
    function: str, changes: dict[str, Any], kind: type[Exception], fact: str
) -> None:
    """Each bad parameter raises one exception with function, value, rule, shapes, in every call."""
    error = refused(function, changes)
    assert type(error) is kind
    assert str(error) == f"{function}: {fact} {CALLS[function][2]}"


def array(*shape: int, dtype: Any = float) -> Any:
    """Zeros."""
    return np.zeros(shape, dtype)


def numpy_reason(value: Any) -> str:
    """What NumPy says when it makes no array of the value."""
    try:
        return repr(np.asarray(value))
    except ValueError as error:
        return str(error).splitlines()[0]


LONGDOUBLE = np.dtype("longdouble").name
RAGGED = [[[[1.0, 2.0], [3.0]]]]
NO_DTYPE = (
    (np.zeros((2, 4, 5, 6), bool), "bool"),
    (np.zeros((2, 4, 5, 6), object), "object"),
    (np.zeros((2, 4, 5, 6), "U1"), "str32"),
    (np.zeros((2, 4, 5, 6), "S1"), "bytes8"),
    (np.zeros((2, 4, 5, 6), "M8[s]"), "datetime64[s]"),
    (np.zeros((2, 4, 5, 6), "m8[s]"), "timedelta64[s]"),
    (np.zeros((2, 4, 5, 6), "longdouble"), LONGDOUBLE),
    (np.zeros((2, 4, 5, 6), "f4,f4"), "void64"),
)
NO_ARRAY = "must be an array of numbers, which NumPy could not make of it"
INPUT_RANKS = "must be (N, C, H, W) or (C, H, W)"
WEIGHT_RANK = "must have 4: (out_channels, in_channels/groups, *kernel)"

#: function, changes, exception, rule, shapes, and True where torch refuses too; None where it has
#: no such argument or does not look (torch.nn.grad compares no batches).
BAD_ARRAYS: list[tuple[str, dict[str, Any], type[Exception], str, str, bool | None]] = [
    ("conv2d", {"input": 3.0}, V, f"input of 0 dimensions {INPUT_RANKS}",
     "[input (), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": []}, V, f"input of 1 dimensions {INPUT_RANKS}",
     "[input (0,), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": array(5, 6)}, V, f"input of 2 dimensions {INPUT_RANKS}",
     "[input (5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": array(1, 2, 4, 5, 6)}, V, f"input of 5 dimensions {INPUT_RANKS}",
     "[input (1, 2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 2, 3)}, V, f"weight of 3 dimensions {WEIGHT_RANK}",
     "[input (2, 4, 5, 6), weight (6, 2, 3), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 2, 3, 2, 1)}, V, f"weight of 5 dimensions {WEIGHT_RANK}",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2, 1), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 3, 3, 2)}, V,
     "weight of 3 channels x groups=2 must equal in_channels=4",
     "[input (2, 4, 5, 6), weight (6, 3, 3, 2), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 4, 3, 2)}, V,
     "weight of 4 channels x groups=2 must equal in_channels=4",
     "[input (2, 4, 5, 6), weight (6, 4, 3, 2), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 0, 3, 2)}, V,
     "weight of 0 channels x groups=2 must equal in_channels=4",
     "[input (2, 4, 5, 6), weight (6, 0, 3, 2), bias (6,)]", True),
    ("conv2d", {"weight": array(5, 2, 3, 2), "bias": None}, V,
     "groups=2 must divide out_channels=5", "[input (2, 4, 5, 6), weight (5, 2, 3, 2)]", True),
    ("conv2d", {"input": array(2, 3, 5, 6)}, V, "groups=2 must divide in_channels=3",
     "[input (2, 3, 5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"bias": array(5)}, V,
     "bias of shape (5,) must be (6,), one number per output channel",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (5,)]", True),
    ("conv2d", {"bias": array(6, 1)}, V,
     "bias of shape (6, 1) must be (6,), one number per output channel",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6, 1)]", True),
    ("conv2d", {"bias": 0.0}, V, "bias of shape () must be (6,), one number per output channel",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias ()]", True),
    ("conv2d", {"bias": array(1)}, V,
     "bias of shape (1,) must be (6,), one number per output channel",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (1,)]", True),
    # (H - span) // stride + 1 is 1 here if the division truncates.
    ("conv2d",
     {"input": array(1, 4, 4, 4), "weight": array(6, 2, 3, 3), "stride": 2, "dilation": 2}, V,
     ("the kernel spans 5 elements (3 with dilation=2) "
     "and must fit the padded input's 4 (4 with padding=(0, 0)) along spatial axis 0"),
     "[input (1, 4, 4, 4), weight (6, 2, 3, 3), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 2, 3, 7)}, V,
     ("the kernel spans 7 elements (7 with dilation=1) "
     "and must fit the padded input's 6 (6 with padding=(0, 0)) along spatial axis 1"),
     "[input (2, 4, 5, 6), weight (6, 2, 3, 7), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 2, 8, 2), "padding": (1, 4)}, V,
     ("the kernel spans 8 elements (8 with dilation=1) "
     "and must fit the padded input's 7 (5 with padding=(1, 1)) along spatial axis 0"),
     "[input (2, 4, 5, 6), weight (6, 2, 8, 2), bias (6,)]", True),
    ("conv2d", {"weight": array(6, 2, 0, 2)}, V, "kernel (0, 2) must be at least 1 along each axis",
     "[input (2, 4, 5, 6), weight (6, 2, 0, 2), bias (6,)]", True),
    ("conv2d", {"input": None}, T, "input=None must be an array",
     "[weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"weight": None}, T, "weight=None must be an array",
     "[input (2, 4, 5, 6), bias (6,)]", True),
    ("conv2d", {"input": "abc"}, T, f"input of dtype str96 must be one of {SERVED}",
     "[input (), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": {1.0}}, T, f"input of dtype object must be one of {SERVED}",
     "[input (), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": [[[[2**64]]]]}, T, f"input of dtype object must be one of {SERVED}",
     "[input (1, 1, 1, 1), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": RAGGED}, V,
     f"input {NO_ARRAY} ({numpy_reason(RAGGED)})",
     "[weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": np.ma.masked_array(X, X > 3)}, T,
     "input must not be a masked array: its mask would be ignored",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", None),
    ("conv2d", {"weight": np.ma.masked_array(W)}, T,
     "weight must not be a masked array: its mask would be ignored",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", None),
    ("conv2d", {"weight": W.astype("f4")}, T,
     "all arrays must share one dtype, not input float64, weight float32, bias float64",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"bias": B.astype("f4")}, T,
     "all arrays must share one dtype, not input float64, weight float64, bias float32",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"bias": [1, 2, 3, 4, 5, 6]}, T,
     "all arrays must share one dtype, not input float64, weight float64, bias int64",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2), bias (6,)]", True),
    ("conv2d", {"input": X.astype(">i4"), "weight": W.astype("u4"), "bias": None}, T,
     "all arrays must share one dtype, not input int32, weight uint32",
     "[input (2, 4, 5, 6), weight (6, 2, 3, 2)]", None),
    ("conv2d", {"dtype": "int32"}, T,
     "dtype=int32 must not be an integer type: the arrays are float64", CALLS["conv2d"][2], None),
    ("conv2d", {"dtype": bool}, T, f"dtype=<class 'bool'> must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    ("conv2d", {"dtype": "f4,("}, T, f"dtype='f4,(' must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    ("conv2d", {"dtype": "\udcff"}, T, f"dtype='\\udcff' must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    ("conv2d", {"dtype": Rude()}, T, f"dtype=a b must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    *(
        ("conv2d", {"input": bad}, T,
         f"input of dtype {name} must be one of {SERVED}", CALLS["conv2d"][2], None)
        for bad, name in NO_DTYPE
    ),
    ("conv2d", {"weight": W > 0}, T, f"weight of dtype bool must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    ("conv2d", {"bias": B > 0}, T, f"bias of dtype bool must be one of {SERVED}",
     CALLS["conv2d"][2], None),
    ("conv2d_input", {"input_size": None}, T, "input_size=None must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": 5}, T, "input_size=5 must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": (2, 4, 5, 6.0)}, T,
     "input_size=(2, 4, 5, 6.0) must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": (2, 4, 5, True)}, T,
     "input_size=(2, 4, 5, True) must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": "2456"}, T, "input_size='2456' must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": {2, 4, 5, 6}}, T,
     "input_size={2, 4, 5, 6} must be a sequence of ints",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": (2, 4, 5, -6)}, V,
     "input_size=(2, 4, 5, -6) must be at least 0",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": (2, 4, 5, LARGE)}, V,
     "input_size=(2, 4, 5, 9223372036854775808) must fit in 64 bits",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_input", {"input_size": (5, 6)}, V, f"input of 2 dimensions {INPUT_RANKS}",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (5, 6)]", True),
    ("conv2d_input", {"input_size": (2, 4, 0, 6)}, V, "input extents (0, 6) must be at least 1",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 4, 0, 6)]", True),
    ("conv2d_input", {"input_size": (2, 4, 5, 7)}, V,
     "grad_output of shape (2, 6, 3, 5) must be (2, 6, 3, 6), the output's shape",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 4, 5, 7)]", True),
    ("conv2d_input", {"input_size": (4, 5, 6)}, V,
     "grad_output of shape (2, 6, 3, 5) must be (6, 3, 5), the output's shape",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (4, 5, 6)]", True),
    ("conv2d_input", {"input_size": (2, 6, 5, 6)}, V,
     "weight of 2 channels x groups=2 must equal in_channels=6",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 6, 5, 6)]", True),
    ("conv2d_input", {"input_size": (1, 4, 2**50, 2**50), "padding": 0}, V,
     f"{BYTES}",
     f"[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (1, 4, {2**50}, {2**50})]", True),
    ("conv2d_input", {"grad_output": G[0]}, V,
     "grad_output of shape (6, 3, 5) must be (2, 6, 3, 5), the output's shape",
     "[weight (6, 2, 3, 2), grad_output (6, 3, 5), input_size (2, 4, 5, 6)]", True),
    ("conv2d_input", {"grad_output": G[:1]}, V,
     "grad_output of shape (1, 6, 3, 5) must be (2, 6, 3, 5), the output's shape",
     "[weight (6, 2, 3, 2), grad_output (1, 6, 3, 5), input_size (2, 4, 5, 6)]", None),
    ("conv2d_input", {"grad_output": G[:, :5]}, V,
     "grad_output of shape (2, 5, 3, 5) must be (2, 6, 3, 5), the output's shape",
     "[weight (6, 2, 3, 2), grad_output (2, 5, 3, 5), input_size (2, 4, 5, 6)]", True),
    ("conv2d_input", {"grad_output": None}, T, "grad_output=None must be an array",
     "[weight (6, 2, 3, 2), input_size (2, 4, 5, 6)]", True),
    ("conv2d_input", {"grad_output": G.astype("c16")}, T,
     "all arrays must share one dtype, not weight float64, grad_output complex128",
     "[weight (6, 2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 4, 5, 6)]", None),
    ("conv2d_input", {"weight": W[0]}, V, f"weight of 3 dimensions {WEIGHT_RANK}",
     "[weight (2, 3, 2), grad_output (2, 6, 3, 5), input_size (2, 4, 5, 6)]", True),
    ("conv2d_weight", {"weight_size": (6, 2, 3)}, V, f"weight of 3 dimensions {WEIGHT_RANK}",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 3)]", True),
    ("conv2d_weight", {"weight_size": (6, 2, 2, 2)}, V,
     "grad_output of shape (2, 6, 3, 5) must be (2, 6, 4, 5), the output's shape",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 2, 2)]", True),
    ("conv2d_weight", {"weight_size": (6, 2, 0, 2)}, V,
     "kernel (0, 2) must be at least 1 along each axis",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 0, 2)]", True),
    ("conv2d_weight", {"weight_size": (6, 2, 3, -2)}, V,
     "weight_size=(6, 2, 3, -2) must be at least 0",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_weight", {"weight_size": None}, T, "weight_size=None must be a sequence of ints",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5)]", True),
    ("conv2d_weight", {"weight_size": (8, 2, 3, 2)}, V,
     "grad_output of shape (2, 6, 3, 5) must be (2, 8, 3, 5), the output's shape",
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (8, 2, 3, 2)]", True),
    ("conv2d_weight", {"weight_size": (6, 2, 3, 9)}, V,
     ("the kernel spans 9 elements (9 with dilation=1) "
     "and must fit the padded input's 6 (6 with padding=(0, 0)) along spatial axis 1"),
     "[input (2, 4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 3, 9)]", True),
    ("conv2d_weight", {"input": X[0]}, V,
     "grad_output of shape (2, 6, 3, 5) must be (6, 3, 5), the output's shape",
     "[input (4, 5, 6), grad_output (2, 6, 3, 5), weight_size (6, 2, 3, 2)]", True),
    ("conv2d_backward", {"grad_output": G[..., :4]}, V,
     "grad_output of shape (2, 6, 3, 4) must be (2, 6, 3, 5), the output's shape",
     "[grad_output (2, 6, 3, 4), input (2, 4, 5, 6), weight (6, 2, 3, 2)]", True),
    ("conv2d_backward", {"grad_output": np.ones(())}, V,
     "grad_output of shape () must be (2, 6, 3, 5), the output's shape",
     "[grad_output (), input (2, 4, 5, 6), weight (6, 2, 3, 2)]", True),
    ("conv2d_backward", {"grad_output": G.astype("f4")}, T,
     "all arrays must share one dtype, not grad_output float32, input float64, weight float64",
     "[grad_output (2, 6, 3, 5), input (2, 4, 5, 6), weight (6, 2, 3, 2)]", None),
    ("conv2d_backward", {"weight": array(6, 3, 3, 2)}, V,
     "weight of 3 channels x groups=2 must equal in_channels=4",
     "[grad_output (2, 6, 3, 5), input (2, 4, 5, 6), weight (6, 3, 3, 2)]", True),
    *(
        ("conv2d_backward", {"output_mask": mask}, kind,
         f"output_mask={mask!r} must be 3 bools (input, weight, bias)",
         CALLS["conv2d_backward"][2], None)
        for mask, kind in (
            (True, T), (None, T), (7, T), ("yes", T), ((1, 1, 1), T), ((True, True, 1.0), T),
            ((True, True, None), T),
            (np.array([1, 0, 1]), T), ((), V), ((True,), V), ((True, True), V), ([True] * 4, V),
        )
    ),
    ("conv2d_bias", {"grad_output": array(3, 4)}, V, f"grad_output of 2 dimensions {INPUT_RANKS}",
     "[grad_output (3, 4)]", None),
    ("conv2d_bias", {"grad_output": 1.0}, V, f"grad_output of 0 dimensions {INPUT_RANKS}",
     "[grad_output ()]", None),
    ("conv2d_bias", {"grad_output": array(1, 1, 2, 3, 4)}, V,
     f"grad_output of 5 dimensions {INPUT_RANKS}", "[grad_output (1, 1, 2, 3, 4)]", None),
    ("conv2d_bias", {"grad_output": array(2, 0, 3, 4)}, V,
     "grad_output of shape (2, 0, 3, 4) must be at least 1 along all but the batch axis",
     "[grad_output (2, 0, 3, 4)]", None),
    ("conv2d_bias", {"grad_output": array(2, 3, 0)}, V,
     "grad_output of shape (2, 3, 0) must be at least 1 along all but the batch axis",
     "[grad_output (2, 3, 0)]", None),
    ("conv2d_bias", {"grad_output": None}, T, "grad_output=None must be an array", "", None),
    ("conv2d_bias", {"grad_output": G > 3}, T, f"grad_output of dtype bool must be one of {SERVED}",
     "[grad_output (2, 6, 3, 5)]", None),
    ("conv2d_bias", {"grad_output": RAGGED}, V,
     f"grad_output {NO_ARRAY} ({numpy_reason(RAGGED)})",
     "", None),
    ("conv2d_bias", {"dtype": "int8"}, T,
     "dtype=int8 must not be an integer type: the arrays are float64",
     "[grad_output (2, 6, 3, 5)]", None),
    ("conv2d_bias", {"grad_output": G * 1j, "dtype": "f8"}, T,
     "dtype=float64 must be complex: the arrays are complex128",
     "[grad_output (2, 6, 3, 5)]", None),
]  # fmt: skip


@pytest.mark.parametrize(
    ("function", "changes", "kind", "fact", "shapes"),
    [row[:5] for row in BAD_ARRAYS],
    ids=numbered([(row[0], row[1]) for row in BAD_ARRAYS]),
)
def test_bad_arrays_and_sizes_are_refused(
    function: str, changes: dict[str, Any], kind: type[Exception], fact: str, shapes: str
) -> None:
    """Each bad array, size, mask or dtype raises its one exception with the whole message."""
    error = refused(function, changes)
    assert type(error) is kind
    assert str(error) == f"{function}: {fact} {shapes}".rstrip()


def test_values_of_any_text_stay_on_one_bounded_line() -> None:
    """Arrays as parameters, endless lists and endless ints make no long or broken lines."""
    for value in (
        np.ones((3, 3)),
        np.ones((30, 30)),
        list(range(9999)),
        10**5000,
        [10**5000],
        "x" * 9999,
        Rude(),
    ):
        for name in ("stride", "padding", "dilation", "groups", "dtype"):
            assert len(str(refused("conv2d", {name: value}))) < 500
        assert len(str(refused("conv2d_backward", {"output_mask": value}))) < 500
        assert len(str(refused("conv2d_weight", {"weight_size": value}))) < 500


#: Between these a padding is legal, and its output fills the memory.
SMALL_OR_IMPOSSIBLE = st.integers(max_value=9) | st.integers(min_value=2**50)
ANYTHING = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        SMALL_OR_IMPOSSIBLE,
        st.floats(),
        st.complex_numbers(),
        st.text(max_size=5),
        st.binary(max_size=3),
        st.sampled_from([np.ones((2, 2)), np.array(1), np.array([1, 2]), np.bool_(1), int, Rude()]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.tuples(inner, inner),
        st.dictionaries(st.text(max_size=2), inner, max_size=2),
    ),
    max_leaves=6,
)


@pytest.mark.filterwarnings("ignore:Data type alias 'a':DeprecationWarning")  # NumPy, of dtype='a'
@given(
    function=st.sampled_from(list(CALLS)),
    name=st.sampled_from(
        ["stride", "padding", "dilation", "groups", "output_mask", "dtype", "size"]
    ),
    value=ANYTHING,
)
def test_anything_is_taken_or_refused(function: str, name: str, value: Any) -> None:
    """With anything for a parameter, a call returns, or raises one line that names the function."""
    call, base, shapes = CALLS[function]
    name = (
        {"conv2d_input": "input_size", "conv2d_weight": "weight_size"}.get(function, "dtype")
        if name == "size"
        else name
    )
    if name == "output_mask" and function != "conv2d_backward":
        name = "dtype"
    if function == "conv2d_bias":
        name = "dtype"
    try:
        call(**{**base, name: value})
    except (TypeError, ValueError) as error:
        caught = error
    except MemoryError:  # a padding of 2**50 is legal
        return
    else:
        return
    message = str(caught)
    assert message.startswith(f"{function}: ")
    assert name in message or name not in ("dtype", "output_mask")
    assert message.endswith("]")
    assert name.endswith("_size") or message.endswith(shapes)
    assert len(message.splitlines()) == 1
    assert caught.__suppress_context__ or caught.__context__ is None


def test_none_is_no_bias_and_no_dtype() -> None:
    """Bias and dtype may be None, and that is their default."""
    call, base, _ = CALLS["conv2d"]
    plain = {name: value for name, value in base.items() if name != "bias"}
    assert np.array_equal(call(**plain), call(**plain, bias=None, dtype=None))


def test_read_makes_a_record_of_batched_arrays() -> None:
    """A parsed call has batched images, one native dtype, and the geometry that the user gave."""
    call = arguments.read(
        "conv2d", {"input": X[0].astype(">f8"), "weight": W, "bias": None}, {}, 1, 0, 1, 2, "f4"
    )
    assert call.input is not None
    assert call.input.shape == (1, 4, 5, 6)
    assert call.bias is None
    assert call.grad_output is None
    assert not call.geometry.batched
    assert call.dtype == np.dtype("=f8")
    assert call.result == np.dtype("=f4")
    assert call.carrier(12) == formats.FLOAT64


# torch.

#: Where torch 2.13 takes what npconv refuses, and why npconv does.
TORCH_TAKES = {
    ("padding", "(0, False)"): "torch looks for a bool in the first place alone",
    ("padding", "b'same'"): "torch reads bytes as text",
}

#: What torch 2.13 is not asked: it wraps these sizes around 64 bits, and crashes or reads astray.
UNSAFE = ({"dilation": LARGE - 1}, {"padding": LARGE - 1}, {"padding": 2**60})
ASKED = [row for row in BAD_PARAMETERS if repr(row[0]) not in map(repr, UNSAFE)]


TORCH_TOO = [(row[0], row[1]) for row in BAD_ARRAYS if row[5]]


def as_tensors(torch: Any, given: dict[str, Any]) -> dict[str, Any]:
    """Replace arrays of torch's dtypes by tensors."""
    return {
        name: torch.from_numpy(np.array(value))
        if isinstance(value, np.ndarray)
        and value.ndim
        and name in ("input", "weight", "bias", "grad_output")
        else value
        for name, value in given.items()
    }


def torch_call(torch: Any, function: str, given: dict[str, Any]) -> Any:
    """Make torch's call of the same meaning."""
    given = as_tensors(torch, given)
    if function == "conv2d":
        return torch.nn.functional.conv2d(**given)
    if function == "conv2d_backward":
        error = given.pop("grad_output")
        leaves = [given[name].requires_grad_() for name in ("input", "weight")]
        return torch.autograd.grad(torch.nn.functional.conv2d(**given), leaves, error)
    return getattr(torch.nn.grad, function)(**given)


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch, of even kernels
@pytest.mark.parametrize(
    "changes", [row[0] for row in ASKED], ids=numbered([("", row[0]) for row in ASKED])
)
def test_torch_refuses_the_same_parameters(changes: dict[str, Any]) -> None:
    """Torch refuses each of them too, or the list above holds the reason, and it still does not."""
    torch = pytest.importorskip("torch")
    base = {**CALLS["conv2d"][1], **changes}
    taken = [
        why for name, value in changes.items() if (why := TORCH_TAKES.get((name, repr(value))))
    ]
    if taken:
        torch_call(torch, "conv2d", base)
        return
    with pytest.raises((RuntimeError, TypeError, ValueError, OverflowError)):
        torch_call(torch, "conv2d", base)


@pytest.mark.parametrize(
    ("function", "changes"),
    TORCH_TOO,
    ids=numbered(TORCH_TOO),
)
def test_torch_refuses_the_same_arrays_and_sizes(function: str, changes: dict[str, Any]) -> None:
    """Torch refuses what is marked so in the table."""
    torch = pytest.importorskip("torch")
    with pytest.raises((RuntimeError, TypeError, ValueError, AttributeError)):
        torch_call(torch, function, {**CALLS[function][1], **changes})


def test_bool_tensors_are_no_parameters() -> None:
    """A 0-d tensor of bool is an index to Python, and no int here; one of ints is one."""
    torch = pytest.importorskip("torch")
    for name in ("stride", "padding", "dilation", "groups"):
        error = refused("conv2d", {name: torch.tensor(True)})
        assert type(error) is TypeError
        assert str(error).startswith(f"conv2d: {name}=tensor(True) must be an int")
    call, base, _ = CALLS["conv2d"]
    assert np.array_equal(call(**{**base, "groups": torch.tensor(2)}), call(**base))


def test_tensors_that_require_gradients_are_refused() -> None:
    """A tensor with a graph raises TypeError with torch's advice, instead of losing its graph."""
    torch = pytest.importorskip("torch")
    tensor = torch.ones(2, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    error = refused("conv2d", {"input": tensor})
    assert type(error) is TypeError
    assert str(error) == (
        "conv2d: input must be an array of numbers, which NumPy could not make of it "
        "(Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.) "
        + CALLS["conv2d"][2]
    )
