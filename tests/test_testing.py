"""The assertions pass what is correct and say of everything else what, where and how bad it is."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.testing import assert_conv2d, assert_conv2d_backward
from tests.strategies_for_tests import Array
from tests.test_formats import BFLOAT16

SHAPES = (2, 3, 8, 9), (4, 3, 3, 2)


def arrays(dtype: str = "float32") -> tuple[Array, Array, Array]:
    """Input, weight and grad_output for padding (1, 0)."""
    rng = np.random.default_rng(0)
    x, w, g = (rng.normal(size=s) for s in (*SHAPES, (2, 4, 8, 8)))
    return x.astype(dtype), w.astype(dtype), g.astype(dtype)


def message(check: Callable[..., None], *arguments: Any, **keywords: Any) -> str:
    """What the assertion says."""
    with pytest.raises(AssertionError) as caught:
        check(*arguments, **keywords)
    return str(caught.value)


@pytest.mark.parametrize("dtype", ["float16", BFLOAT16, "float32", "float64", "complex64", "int16"])
def test_correct_results_pass(dtype: str) -> None:
    """Results rounded once pass in every dtype, output and gradients."""
    if dtype == "bfloat16":
        dtype = npconv.formats.dtype_of(dtype)
    with np.errstate(all="ignore"):
        x, w, g = arrays()
        x, w, g = ((9 * a).astype(dtype) for a in (x, w, g))
    b = g[0, :, 0, 0]
    assert_conv2d(npconv.conv2d(x, w, b, padding=(1, 0)), x, w, b, padding=(1, 0))
    gradients = npconv.conv2d_backward(g, x, w, padding=(1, 0))
    assert_conv2d_backward(gradients, g, x, w, padding=(1, 0))


def test_message_says_where_and_what_next() -> None:
    """One wrong element at the border is shown with its index, both values, ratio and bound."""
    x, w, _ = arrays()
    y = npconv.conv2d(x, w, padding=(1, 0))
    y[1, 2, 0, 3] *= np.float32(1.01)
    lines = message(assert_conv2d, y, x, w, padding=(1, 0)).splitlines()
    assert lines[0] == "conv2d: 1 of 512 elements is out of bound, float32 sums of 18 products"
    assert lines[1].startswith(
        f"  worst at (batch 1, channel 2, row 0, column 3): got {y[1, 2, 0, 3]!s}, want "
    )
    assert "times the bound" in lines[1]
    assert lines[2] == (
        "  all in batch 1, channel 2, row 0, column 3; "
        "all at the border (a window over the padding)"
    )
    assert lines[3].startswith("  next: compare one element by hand")


@pytest.mark.parametrize(
    ("where", "says"),
    [
        (np.s_[:, :, :, ::2], "column 0 to 6 in steps of 2; border and interior alike"),
        (np.s_[:, 1:3], "channel 1 to 2; border"),
        (np.s_[..., 1:-1, :], "row 1 to 6; all in the interior"),
        (np.s_[...], "all elements"),
        (np.s_[:, :, [0, 3, 4]], "row 0, 3, 4; border"),
    ],
)
def test_message_says_where_the_wrong_ones_lie(where: Any, says: str) -> None:
    """Rows, columns and channels of all wrong elements are named, and whether at the border."""
    x, w, _ = arrays()
    y = npconv.conv2d(x, w, padding=(1, 0))
    y[where] += 1
    assert says in message(assert_conv2d, y, x, w, padding=(1, 0))


def test_message_names_an_arithmetic_that_fits() -> None:
    """float64 results that were computed in float32 are recognised, and pass under that name."""
    x, w, _ = arrays("float64")
    y = npconv.conv2d(x.astype("f4"), w.astype("f4")).astype("f8")
    assert "it is within the bound of float32" in message(assert_conv2d, y, x, w)
    assert_conv2d(y, x, w, arithmetic="float32")


def test_message_names_no_arithmetic_that_fits_anything() -> None:
    """A flipped kernel gradient is not taken for one that was summed in bfloat16."""
    x, w, g = arrays()
    right = npconv.conv2d_backward(g, x, w, padding=(1, 0))
    flipped = (right[0], right[1][..., ::-1, ::-1], right[2])
    assert "within the bound" not in message(
        assert_conv2d_backward, flipped, g, x, w, padding=(1, 0)
    )


def test_nonfinite_elements_are_a_kind_of_their_own() -> None:
    """NaN where none belongs is told from a wrong value; where one belongs it passes."""
    x, w, _ = arrays()
    y = npconv.conv2d(x, w)
    y[0, 0, 0, 0] = np.nan
    assert "1 of 384 elements differs in NaN or infinity" in message(assert_conv2d, y, x, w)
    x[0, 1, 2, 3] = np.nan
    right = npconv.conv2d(x, w)
    assert_conv2d(right, x, w)
    assert "in NaN or infinity" in message(assert_conv2d, np.nan_to_num(right), x, w)


def test_infinite_weight_over_padding_passes_either_way() -> None:
    """Whether zeros of the padding are operands is left open."""
    x, w, _ = arrays()
    w[1, 2, 0, 0] = np.inf
    y = npconv.conv2d(x, w, padding=(1, 0))
    assert np.isnan(y[:, 1, 0]).all()
    assert_conv2d(y, x, w, padding=(1, 0))
    finite = npconv.conv2d(x, np.where(np.isinf(w), 0, w).astype("f4"), padding=(1, 0))
    y[:, 1, 0] = finite[:, 1, 0]
    assert_conv2d(y, x, w, padding=(1, 0))
    y[:, 1, 1] = finite[:, 1, 1]
    assert "in NaN or infinity" in message(assert_conv2d, y, x, w, padding=(1, 0))


def test_undecided_is_not_passed() -> None:
    """A result that the bound says nothing of raises, and says why."""
    x, w = np.ones((1, 3000, 1, 1), np.float16), np.ones((1, 3000, 1, 1), np.float16)
    y = npconv.conv2d(x, w)
    assert_conv2d(y, x, w)
    said = message(assert_conv2d, y, x, w, arithmetic="float16-accumulate")
    assert said.startswith("conv2d: undecided: for 1 of 1 elements")


def test_structure_comes_first() -> None:
    """None, a wrong shape, a complex result of real arrays and wrong integers are told as such."""
    x, w, _ = arrays()
    assert message(assert_conv2d, None, x, w) == "conv2d: returned None, not an array"
    assert message(assert_conv2d, x, x, w) == "conv2d: shape (2, 3, 8, 9), not (2, 4, 6, 8)"
    y = npconv.conv2d(x, w)
    assert message(assert_conv2d, y.astype("c8"), x, w) == "conv2d: dtype complex64, not float32"
    assert message(assert_conv2d, y.astype("i4"), x, w) == "conv2d: dtype int32, not float32"
    assert message(assert_conv2d, "abc", x, w) == "conv2d: dtype str96, not float32"
    i, k = (10 * x).astype(int), (10 * w).astype(int)
    j = npconv.conv2d(i, k)
    j[0, 0, 0, 0] += 1
    assert "1 of 384 elements is wrong, integers are compared to the bit" in message(
        assert_conv2d, j, i, k
    )


def test_backward_checks_what_the_mask_asks() -> None:
    """Each gradient is checked under its own name; what the mask leaves out must be None."""
    x, w, g = arrays()
    right = npconv.conv2d_backward(g, x, w, padding=(1, 0))
    for position, name in enumerate(("grad_input", "grad_weight", "grad_bias")):
        wrong = list(right)
        wrong[position] = right[position] * np.float32(1.01)
        said = message(assert_conv2d_backward, wrong, g, x, w, padding=(1, 0))
        assert said.startswith(f"{name}: ")
    assert_conv2d_backward(
        (None, right[1], None), g, x, w, (1, 1), (1, 0), 1, 1, (False, True, False)
    )
    said = message(assert_conv2d_backward, right, g, x, w, 1, (1, 0), 1, 1, (True, False, True))
    assert said == "grad_weight: must be None where output_mask is False"
    assert "not (grad_input" in message(assert_conv2d_backward, right[0], g, x, w, padding=(1, 0))


def test_torch_tensors_are_taken() -> None:
    """Tensors on the CPU pass as they are: strided, requiring gradients, of bfloat16."""
    torch = pytest.importorskip("torch")
    pytest.importorskip("ml_dtypes")
    for dtype in (torch.float32, torch.bfloat16):
        x, w, _ = (torch.from_numpy(a).to(dtype) for a in arrays())
        w = w.requires_grad_()
        y = torch.nn.functional.conv2d(x, w)
        assert_conv2d(y, x, w)
        assert "out of bound" in message(assert_conv2d, y * 1.1, x, w)


def test_bad_arguments_are_no_assertion() -> None:
    """An illegal call raises what conv2d raises."""
    x, w, _ = arrays()
    with pytest.raises(ValueError, match=r"^assert_conv2d: stride=0 must be at least 1"):
        assert_conv2d(x, x, w, stride=0)
    with pytest.raises(ValueError, match="arithmetic='half' must be one of"):
        assert_conv2d(x, x, w, arithmetic="half")
    with pytest.raises(TypeError, match=r"^assert_conv2d_backward: output_mask='yes' must be 3 b"):
        assert_conv2d_backward((x, w, x), x, x, w, output_mask="yes")  # type: ignore[arg-type]
