"""What JAX is told, on a stand-in that does what JAX's documentation says; and JAX, where it is."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from npconv import adapters
from npconv.formats import available
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from tests.tape_for_tests import Traced, asked, convolve, itself, same, traced

NAMES = ("jax", "jax-nhwc")
EXPECTATIONS = Path(__file__).parents[2] / "conformance/engines/expectations"

pytestmark = pytest.mark.once


class Stub(SimpleNamespace):
    """Stands for the module jax; remembers what its convolution was told."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.settings: dict[str, Any] = {}
        super().__init__(
            __version__="0.0",
            config=SimpleNamespace(update=self.settings.__setitem__),
            jit=lambda function: function,
            vjp=self.differentiated,
            lax=SimpleNamespace(
                conv_general_dilated=self.convolved,
                Precision=SimpleNamespace(HIGHEST="highest"),
            ),
        )

    def convolved(self, lhs: Any, rhs: Any, window_strides: Any, padding: Any, **rest: Any) -> Any:
        """Stand for jax.lax.conv_general_dilated."""
        self.calls.append({"window_strides": window_strides, "padding": padding, **rest})
        images, kernels, results = rest["dimension_numbers"]
        x = traced(lhs).transpose([images.index(axis) for axis in "NCHW"])
        weight = traced(rhs).transpose([kernels.index(axis) for axis in "OIHW"])
        dilation = rest["rhs_dilation"]
        if isinstance(padding, str):
            sizes = x.shape[2:], weight.shape[2:], window_strides, dilation
            padding = {
                "VALID": ((0, 0), (0, 0)),
                "SAME": same(*sizes),
                "SAME_LOWER": same(*sizes, odd_first=True),
            }[padding]
        groups = rest["feature_group_count"]
        output = convolve(x, weight, window_strides, padding, dilation, groups)
        output = output.transpose(["NCHW".index(axis) for axis in results])
        return output if isinstance(lhs, Traced) else output.array

    @staticmethod
    def differentiated(function: Any, *leaves: Any) -> Any:
        """Stand for jax.vjp: pulls back without a conjugate."""
        wrapped = [traced(leaf) for leaf in leaves]
        output = function(*wrapped)
        return output, lambda cotangent: output.gradients(wrapped, cotangent)


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Stub]:
    """Put the stand-in where JAX would be imported from."""
    stub = Stub()
    monkeypatch.setenv("NPROC", "1")
    monkeypatch.setitem(sys.modules, "jax", stub)
    yield stub
    assert stub.settings == {"jax_enable_x64": True, "jax_platforms": "cpu"}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("stub")
def test_translation_conforms(name: str) -> None:
    """Where JAX does what it says, all that it is asked conforms: paddings, layouts, conjugates."""
    target = adapters.load(name)
    assert target.supports.dtypes == available()
    for suite in (asked(target), "quick[::29]"):
        plan, tally = Plan(itself, target, suite, without=("illegal",)), Tally()
        run(plan, tally)
        assert [tally.total(status) for status in ("failed", "undecided")] == [0, 0]
        assert all(tally.counts[op]["passed"] > 10 for op in OPS)
    assert adapters.describe(name) == f"{name} 0.0"


@pytest.mark.parametrize("name", NAMES)
def test_parameters_arrive_as_they_are(stub: Stub, name: str) -> None:
    """JAX gets what a case says, illegal values too, in the best precision and its own layout."""
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((4, 1, 1, 1), np.float32)
    adapters.load(name).functions["conv2d"](x, w, None, (2, 3), (-1, 1), (5, 6), 2)
    layout = ("NCHW", "OIHW", "NCHW") if name == "jax" else ("NHWC", "HWIO", "NHWC")
    assert stub.calls == [
        {
            "window_strides": (2, 3),
            "padding": ((-1, -1), (1, 1)),
            "rhs_dilation": (5, 6),
            "dimension_numbers": layout,
            "feature_group_count": 2,
            "precision": "highest",
        }
    ]


@pytest.mark.usefixtures("stub")
def test_integers_have_no_gradients() -> None:
    """JAX differentiates no integers: unsupported, not wrong."""
    x, w = np.ones((1, 1, 2, 3), np.int32), np.ones((1, 1, 1, 1), np.int32)
    rest = (1, 1), (0, 0), (1, 1), 1
    target = adapters.load("jax")
    assert target.functions["conv2d"](x, w, None, *rest).dtype == np.int32
    with pytest.raises(NotImplementedError, match="floating-point and complex numbers only"):
        target.functions["conv2d_backward"](x, x, w, *rest, (True, True, True))


@pytest.mark.parametrize("name", NAMES)
def test_jax_fails_only_where_it_is_known_to(name: str) -> None:
    """On a share of quick the installed JAX gives no failure that the expectations do not name."""
    jax = pytest.importorskip("jax", reason="runs JAX")
    known = Expectations.read(EXPECTATIONS / f"{name}.txt")
    plan, tally = Plan(itself, adapters.load(name), "quick[::29]", expectations=known), Tally()
    run(plan, tally)
    assert [result.case for result in tally.failures] == []
    assert tally.total("passed") > 60
    assert adapters.describe(name) == f"{name} {jax.__version__}"
