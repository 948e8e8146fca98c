"""What TensorFlow is told, on a stand-in that does what its documentation says; and TensorFlow."""

import contextlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from npconv import adapters
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from tests.tape_for_tests import Traced, asked, convolve, itself, same, traced

EXPECTATIONS = Path(__file__).parents[2] / "conformance/engines/expectations/tensorflow.txt"

pytestmark = pytest.mark.once


class Tape:
    """Stands for tf.GradientTape: gives gradients of what it was told to watch."""

    def __init__(self, **options: Any) -> None:
        assert options == {"watch_accessed_variables": False}
        self.watched: Traced | None = None

    def __enter__(self) -> "Tape":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def watch(self, tensor: Traced) -> None:
        """Note the tensor."""
        self.watched = tensor

    def gradient(self, output: Traced, wanted: Traced, cotangent: Any) -> Traced:
        """Return the gradient of the tensor that is watched."""
        assert wanted is self.watched
        return output.gradients([wanted], cotangent)[0]


class Stub(SimpleNamespace):
    """Stands for the module tensorflow; remembers what its convolution was told."""

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.threads: list[int] = []
        self.devices: list[str] = []
        super().__init__(
            __version__="0.0",
            config=SimpleNamespace(
                threading=SimpleNamespace(
                    set_intra_op_parallelism_threads=self.threads.append,
                    set_inter_op_parallelism_threads=self.threads.append,
                )
            ),
            device=self.on_device,
            constant=Traced,
            transpose=lambda tensor, axes: traced(tensor).transpose(axes),
            nn=SimpleNamespace(
                conv2d=self.convolved, bias_add=lambda value, bias: traced(value) + traced(bias)
            ),
            GradientTape=Tape,
        )

    def on_device(self, name: str) -> contextlib.AbstractContextManager[None]:
        """Stand for tf.device."""
        self.devices.append(name)
        return contextlib.nullcontext()

    def convolved(
        self, input: Traced, filters: Traced, strides: Any, padding: Any, *, dilations: Any
    ) -> Traced:
        """Stand for tf.nn.conv2d on NHWC and HWIO arrays."""
        self.calls.append((strides, padding, dilations))
        x, weight = input.transpose((0, 3, 1, 2)), filters.transpose((3, 2, 0, 1))
        sizes = x.shape[2:], weight.shape[2:], strides, dilations
        if isinstance(padding, str):
            pads = {"VALID": ((0, 0), (0, 0)), "SAME": same(*sizes)}[padding]
        else:
            outer, *pads, inner = padding
            assert outer == inner == [0, 0]
        groups = x.shape[1] // weight.shape[1] if weight.shape[1] else 1
        return convolve(x, weight, strides, pads, dilations, groups).transpose((0, 2, 3, 1))


@pytest.fixture
def stub(monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put the stand-in where TensorFlow would be imported from."""
    stub = Stub()
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    monkeypatch.setitem(sys.modules, "tensorflow", stub)
    return stub


def test_translation_conforms(stub: Stub) -> None:
    """Where TensorFlow does what it says, all that it is asked conforms, and crops are not."""
    target = adapters.load("tensorflow")
    for suite in (asked(target), "quick[::29]"):
        plan, tally = Plan(itself, target, suite, without=("illegal",)), Tally()
        run(plan, tally)
        assert [tally.total(status) for status in ("failed", "undecided")] == [0, 0]
        assert all(tally.counts[op]["passed"] > 10 for op in OPS)
        assert tally.counts["forward"]["unsupported"] > 0
    assert stub.threads == [1, 1]
    assert set(stub.devices) == {"CPU:0"}
    assert adapters.describe("tensorflow") == "tensorflow 0.0"


def test_parameters_arrive_as_they_are(stub: Stub) -> None:
    """TensorFlow gets what a case says, illegal values too."""
    x, w = np.ones((1, 2, 4, 5), np.float32), np.ones((4, 1, 1, 1), np.float32)
    adapters.load("tensorflow").functions["conv2d"](x, w, None, (2, 3), (-1, 1), (5, 6), 2)
    assert stub.calls == [((2, 3), [[0, 0], [-1, -1], [1, 1], [0, 0]], (5, 6))]


def test_groups_that_shapes_cannot_say_are_refused(stub: Stub) -> None:
    """A number of groups that TensorFlow could only ignore does not reach it."""
    x, w = np.ones((1, 4, 4, 5), np.float32), np.ones((4, 2, 1, 1), np.float32)
    functions = adapters.load("tensorflow").functions
    rest = (1, 1), (0, 0), (1, 1), 4
    with pytest.raises(ValueError, match="number of groups from the shapes"):
        functions["conv2d"](x, w, None, *rest)
    with pytest.raises(ValueError, match="number of groups from the shapes"):
        functions["conv2d_input"](x.shape, w, x, *rest)
    with pytest.raises(ValueError, match="number of groups from the shapes"):
        functions["conv2d_weight"](x, w.shape, x, *rest)
    assert stub.calls == []


def test_threads_that_run_already_are_left_alone(stub: Stub) -> None:
    """Once it has run TensorFlow refuses another number of threads; the adapter loads."""

    def refuse(number: int) -> None:
        raise RuntimeError(f"{number} threads cannot be set after initialization")

    stub.config.threading.set_intra_op_parallelism_threads = refuse
    assert adapters.load("tensorflow").supports.ops == OPS


def test_tensorflow_fails_only_where_it_is_known_to() -> None:
    """On a share of quick the installed one gives no failure that the expectations do not name."""
    tensorflow = pytest.importorskip("tensorflow", reason="runs TensorFlow")
    known = Expectations.read(EXPECTATIONS)
    plan, tally = (
        Plan(itself, adapters.load("tensorflow"), "quick[::7]", expectations=known),
        Tally(),
    )
    run(plan, tally)
    assert [result.case for result in tally.failures] == []
    assert tally.total("passed") > 200
    assert adapters.describe("tensorflow") == f"tensorflow {tensorflow.__version__}"
