"""What tinygrad is told, on a stand-in that does what its documentation says; and tinygrad."""

import contextlib
import importlib.metadata
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters
from npconv.adapters import TargetError
from npconv.formats import available, dtype_of
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from tests.tape_for_tests import Traced, asked, convolve, itself

EXPECTATIONS = Path(__file__).parents[2] / "conformance/engines/expectations/tinygrad.txt"

pytestmark = pytest.mark.once
DTYPES = tuple(name for name in available() if "complex" not in name)
SHORT = np.dtype(dtype_of("bfloat16")) if "bfloat16" in available() else None
#: Dtypes of sums of integers shorter than 32 bits.
WIDER = {"i": np.int32, "u": np.uint32}


class Tensor(Traced):
    """Stands for tinygrad.Tensor: copies an array, and convolves as its page says."""

    calls: list[tuple[Any, ...]]
    devices: list[Any]

    def __init__(self, data: Any, device: Any = None) -> None:
        assert np.dtype(data.dtype) != SHORT, "tinygrad does not read it"
        self.devices.append(device)
        super().__init__(np.array(data))

    @classmethod
    def of(cls, traced: Traced) -> "Tensor":
        """Return what was computed as a tensor."""
        made = cls.__new__(cls)
        Traced.__init__(made, traced.array, *traced.sources)
        return made

    def bitcast(self, dtype: Any) -> "Tensor":
        """Return the same bits as another dtype."""
        return self.of(self.view(dtype))

    def numpy(self) -> Any:
        """Return the array; NumPy alone has no bfloat16, so that it is float32."""
        return self.array.astype(np.float32) if self.array.dtype == SHORT else self.array

    def conv2d(
        self,
        weight: Traced,
        bias: Traced | None = None,
        groups: int = 1,
        stride: Any = 1,
        dilation: Any = 1,
        padding: Any = 0,
    ) -> "Tensor":
        """Take pads as left, right, top, bottom; sum short integers in 32 bits."""
        self.calls.append((groups, stride, dilation, padding))
        left, right, top, bottom = padding
        parameters = stride, ((top, bottom), (left, right)), dilation, groups
        if self.dtype.kind in "iu":
            wide = WIDER[self.dtype.kind] if self.dtype.itemsize < 4 else self.dtype
            output = Traced(npconv.conv2d(self.array, weight.array, None, *parameters, dtype=wide))
        else:
            output = convolve(self, weight, *parameters)
        return self.of(output if bias is None else output + bias[:, None, None])

    def gradient(self, *targets: Traced, gradient: Traced) -> list["Tensor"]:
        """Return the gradients of the targets."""
        return [self.of(found) for found in self.gradients(targets, gradient.array)]


class Layer:
    """Stands for tinygrad.nn.Conv2d, which takes one number as the stride of 'same'."""

    weight: Any
    bias: Any

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sequence[int],
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> None:
        assert padding == "same"
        if stride != 1:
            raise ValueError("padding='same' is not supported for strided convolutions")
        self.shape = (out_channels, in_channels // groups, *kernel_size)
        totals = [d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True)]
        pads = [side for total in reversed(totals) for side in (total // 2, total - total // 2)]
        self.parameters = groups, stride, dilation, tuple(pads)

    def __call__(self, x: Tensor) -> Tensor:
        """Return the convolution with the weight that the layer was given."""
        assert self.weight.shape == self.shape
        return x.conv2d(self.weight, self.bias, *self.parameters)


class Stub(SimpleNamespace):
    """Stands for the module tinygrad; remembers what it was told, where and under what settings."""

    def __init__(self) -> None:
        self.settings: list[dict[str, int]] = []
        members = {"calls": [], "devices": []}
        self.Tensor: Any = type("Tensor", (Tensor,), members)
        super().__init__(
            Context=self.context,
            dtypes=SimpleNamespace(bfloat16=SHORT, uint16=np.dtype(np.uint16)),
            nn=SimpleNamespace(Conv2d=Layer),
        )

    @contextlib.contextmanager
    def context(self, **settings: int) -> Iterator[None]:
        """Stand for tinygrad.Context."""
        self.settings.append(settings)
        yield


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put the stand-in where tinygrad would be imported from, with a compiler."""
    stub = Stub()
    monkeypatch.setitem(sys.modules, "tinygrad", stub)  # type: ignore[arg-type]  # stands for one
    monkeypatch.setattr(shutil, "which", lambda name: f"/bin/{name}")
    monkeypatch.setattr(importlib.metadata, "version", {"tinygrad": "0.0"}.__getitem__)
    return stub


def test_translation_conforms(stub: Stub) -> None:
    """Where tinygrad does what it says, all that it is asked conforms: dtypes, crops, masks."""
    target = adapters.load("tinygrad")
    assert set(target.supports.dtypes) == set(DTYPES)
    assert set(target.supports.padding) == {"pair", "four-sided", "same"}
    for suite in (asked(target), "quick[::29]"):
        plan, tally = Plan(itself, target, suite, without=("illegal",)), Tally()
        run(plan, tally)
        assert [tally.total(status) for status in ("failed", "undecided")] == [0, 0]
        assert all(tally.counts[op]["passed"] > 10 for op in OPS)
    assert set(stub.Tensor.devices) == {"CPU"}
    assert adapters.describe("tinygrad") == "tinygrad 0.0"


def test_each_call_has_one_thread_and_no_cache(stub: Stub) -> None:
    """Outputs and gradients are computed under settings that end with the call."""
    target = adapters.load("tinygrad")
    x, w = np.ones((1, 1, 3, 4)), np.ones((1, 1, 1, 1))
    rest = (1, 1), (0, 0), (1, 1), 1
    target.functions["conv2d"](x, w, None, *rest)
    target.functions["conv2d_backward"](x, x, w, *rest, (True, True, True))
    assert stub.settings == [{"NUM_CPU_THREADS": 1, "PARALLEL": 0, "CACHELEVEL": 0}] * 2


@pytest.mark.parametrize(
    ("padding", "pads"), [((-1, 1), (1, 1, -1, -1)), (((1, -2), (3, 4)), (3, 4, 1, -2))]
)
def test_parameters_arrive_as_they_are(stub: Stub, padding: Any, pads: Any) -> None:
    """Tinygrad gets what a case says, illegal values too, and the pads of columns first."""
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((4, 1, 1, 1), np.float32)
    adapters.load("tinygrad").functions["conv2d"](x, w, None, (2, 3), padding, (5, 6), 2)
    assert stub.Tensor.calls == [(2, (2, 3), (5, 6), pads)]


def test_same_is_the_layers(stub: Stub) -> None:
    """For 'same' the layer is asked, which refuses strides other than 1."""
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((4, 1, 2, 3), np.float32)
    function = adapters.load("tinygrad").functions["conv2d"]
    assert function(x, w, None, (1, 1), "same", (1, 3), 2).shape == (1, 4, 4, 5)
    assert stub.Tensor.calls == [(2, 1, (1, 3), (3, 3, 0, 1))]
    for stride in ((1, 2), (2, 2)):
        with pytest.raises(ValueError, match="'same' is not supported for strided"):
            function(x, w, None, stride, "same", (1, 3), 2)


def test_integers_have_no_gradients(stub: Stub) -> None:
    """Gradients of integers are unsupported, and do not reach tinygrad."""
    x, w = np.ones((1, 1, 3, 4), np.int8), np.ones((1, 1, 1, 1), np.int8)
    function = adapters.load("tinygrad").functions["conv2d_backward"]
    with pytest.raises(NotImplementedError, match="floating-point numbers only"):
        function(x, x, w, (1, 1), (0, 0), (1, 1), 1, (True, True, True))
    assert stub.Tensor.devices == []


@pytest.mark.parametrize(("given", "asked"), [(None, "clang"), ("clang-19", "clang-19")])
@pytest.mark.usefixtures("stub")
def test_missing_compiler_is_told(
    given: str | None, asked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the compiler that tinygrad would call the target says so in one line."""
    if given is None:
        monkeypatch.delenv("CC", raising=False)
    else:
        monkeypatch.setenv("CC", given)
    sought: list[str] = []
    monkeypatch.setattr(shutil, "which", sought.append)
    with pytest.raises(TargetError, match=f"cannot run here: tinygrad .* there is no '{asked}'$"):
        adapters.load("tinygrad")
    assert sought == [asked]


@pytest.mark.parametrize("fails", [False, True])
def test_compiler_is_kept_off_the_terminal(
    stub: Stub, fails: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """What a program that is called prints goes nowhere; after the call stderr is as before."""

    def noisy(self: Tensor, *_: Any) -> Tensor:
        os.write(2, b"3 errors generated.\n")
        if fails:
            raise OSError("exit status 1")
        return self

    monkeypatch.setattr(stub.Tensor, "conv2d", noisy)
    x = np.ones((1, 1, 3, 4))
    function = adapters.load("tinygrad").functions["conv2d"]
    with pytest.raises(OSError, match="exit status 1") if fails else contextlib.nullcontext():
        function(x, x, None, (1, 1), (0, 0), (1, 1), 1)
    os.write(2, b"after\n")
    assert capfd.readouterr() == ("", "after\n")


@pytest.fixture
def tinygrad() -> Any:
    """Return the engine, where it and its compiler are."""
    module = pytest.importorskip("tinygrad", reason="runs tinygrad")
    if shutil.which(os.environ.get("CC", "clang")) is None:
        pytest.skip("tinygrad needs clang on the PATH")
    return module


def test_four_pads_begin_with_columns(tinygrad: Any) -> None:
    """The four numbers of tinygrad's conv2d are left, right, top and bottom."""
    x = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    with tinygrad.Context(CACHELEVEL=0):
        one = tinygrad.Tensor(np.ones((1, 1, 1, 1), np.float32), device="CPU")
        got = tinygrad.Tensor(x, device="CPU").conv2d(one, padding=(1, 2, 3, 4)).numpy()
    np.testing.assert_array_equal(got, np.pad(x, ((0, 0), (0, 0), (3, 4), (1, 2))))


@pytest.mark.usefixtures("tinygrad")
def test_tinygrad_fails_only_where_it_is_known_to() -> None:
    """On a share of quick the installed one gives no failure that the expectations do not name."""
    known = Expectations.read(EXPECTATIONS)
    plan, tally = (
        Plan(itself, adapters.load("tinygrad"), "quick[::37]", expectations=known),
        Tally(),
    )
    run(plan, tally)
    assert [result.case for result in tally.failures] == []
    assert tally.total("passed") > 50
    assert adapters.describe("tinygrad") == f"tinygrad {importlib.metadata.version('tinygrad')}"
