"""What MLX is told, on a stand-in that does what MLX's documentation says; and MLX, where it is."""

import contextlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from npconv import adapters
from npconv.formats import available, dtype_of
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from npconv.workers import Workers
from tests.tape_for_tests import Traced, asked, convolve, itself

EXPECTATIONS = Path(__file__).parents[2] / "conformance/engines/expectations/mlx.txt"

pytestmark = pytest.mark.once
DTYPES = tuple(n for n in available() if n in ("bfloat16", "float16", "float32", "float64"))


class Stub(SimpleNamespace):
    """Stands for the module mlx.core; remembers what its convolution was told, and where."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.streams: list[str] = []
        dtypes = {"bfloat16": None, **{name: dtype_of(name) for name in (*DTYPES, "uint16")}}
        super().__init__(
            __version__="0.0",
            cpu="the CPU",
            stream=self.on_stream,
            array=self.made,
            transpose=Traced.transpose,
            conv_general=self.convolved,
            vjp=self.differentiated,
            **dtypes,
        )

    def on_stream(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Stand for mx.stream."""
        self.streams.append(name)
        return contextlib.nullcontext()

    @staticmethod
    def made(array: Any, dtype: Any = None) -> Traced:
        """Stand for mx.array, which makes float64 float32 where it is not told."""
        if dtype is None:
            dtype = np.float32 if array.dtype == np.float64 else array.dtype
        return Traced(np.array(array, dtype))

    def convolved(self, input: Traced, weight: Traced, **rest: Any) -> Traced:
        """Stand for mx.conv_general on NHWC and OHWI arrays."""
        self.calls.append(rest)
        low, high = rest["padding"]
        return convolve(
            input.transpose((0, 3, 1, 2)),
            weight.transpose((0, 3, 1, 2)),
            rest["stride"],
            list(zip(low, high, strict=True)),
            rest["kernel_dilation"],
            rest["groups"],
        ).transpose((0, 2, 3, 1))

    @staticmethod
    def differentiated(
        function: Callable[..., Traced], primals: Sequence[Traced], cotangents: Sequence[Traced]
    ) -> tuple[Sequence[Traced], Sequence[Traced]]:
        """Stand for mx.vjp."""
        output = function(*primals)
        return [output], output.gradients(primals, cotangents[0])


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put the stand-in where MLX would be imported from."""
    stub, package = Stub(), ModuleType("mlx")
    package.core = stub  # type: ignore[attr-defined]  # as of a package
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    monkeypatch.setitem(sys.modules, "mlx", package)
    monkeypatch.setitem(sys.modules, "mlx.core", stub)  # type: ignore[arg-type]  # stands for one
    return stub


def test_translation_conforms(stub: Stub) -> None:
    """Where MLX does what it says, all that it is asked conforms: dtypes, crops, masks, layouts."""
    target = adapters.load("mlx")
    assert target.supports.dtypes == DTYPES
    for suite in (asked(target), "quick[::29]"):
        plan, tally = Plan(itself, target, suite, without=("illegal",)), Tally()
        run(plan, tally)
        assert [tally.total(status) for status in ("failed", "undecided")] == [0, 0]
        assert all(tally.counts[op]["passed"] > 10 for op in OPS)
    assert set(stub.streams) == {"the CPU"}
    assert adapters.describe("mlx") == "mlx 0.0"


def test_parameters_arrive_as_they_are(stub: Stub) -> None:
    """MLX gets what a case says, illegal values too."""
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((4, 1, 1, 1), np.float32)
    adapters.load("mlx").functions["conv2d"](x, w, None, (2, 3), (-1, 1), (5, 6), 2)
    assert stub.calls == [
        {"stride": [2, 3], "padding": ([-1, 1], [-1, 1]), "kernel_dilation": [5, 6], "groups": 2}
    ]


def test_mlx_fails_only_where_it_is_known_to() -> None:
    """On a share of quick the installed MLX gives no failure that the expectations do not name."""
    core = pytest.importorskip("mlx.core", reason="runs MLX")
    known = Expectations.read(EXPECTATIONS)
    plan, tally = Plan(adapters.load, "mlx", "quick[::7]", expectations=known), Tally()
    # Some of what is known ends the process.
    with Workers(1) as executor:
        run(plan, tally, executor=executor)
    assert [result.case for result in tally.failures] == []
    assert tally.total("passed") > 200
    assert adapters.describe("mlx") == f"mlx {core.__version__}"
