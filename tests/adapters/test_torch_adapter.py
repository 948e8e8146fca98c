"""The modes of the torch adapter: what torch is asked in each, and that they conform."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npconv import adapters, cli
from npconv.formats import NAMES
from npconv.oracle.cases import Case
from npconv.oracle.data import operands
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

torch = pytest.importorskip("torch", reason="the engine that the adapter is for")

from npconv.adapters import torch_adapter  # noqa: E402  # after the line that skips

#: What torch does in its modes does not depend on NumPy; test_adapters.py has a share on each.
pytestmark = pytest.mark.once

KNOWN = Path(__file__).parents[2] / "conformance" / "engines" / "expectations"
CASE = "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-{}-packed-integers-seed0"
#: Modes for a processor, as adapters are called; `compile` takes seconds for each case.
HERE = ("torch-native", "torch-channels-last", "torch-nn-grad")
#: Modes for CUDA devices, tried on the CPU: the same code, with another device.
ELSEWHERE = ("cuda", "cuda_channels_last", "cuda_tf32")


def failures(
    target: Implementation,
    suite: str,
    known: Expectations | None = None,
    dtypes: tuple[str, ...] = NAMES,
) -> list[str]:
    """Run a share of a suite; return what fails and is not expected to, and see that some pass."""
    cases, passed, found = suite_named(suite), 0, []
    for case in map(cases.__getitem__, range(len(cases))):
        if case.dtype not in dtypes or not target.supports.asks(case):
            continue
        verdicts = run_case(target, case, OPS).verdicts
        if known is not None:
            verdicts = known.apply(case, verdicts).verdicts
        passed += sum(verdict.status == "passed" for _, verdict in verdicts)
        found += [
            f"{op} {case.id}: {verdict.failure.message}"
            for op, verdict in verdicts
            if verdict.status == "failed" and verdict.failure is not None
        ]
    assert passed > 50
    return found


def seen(
    monkeypatch: pytest.MonkeyPatch, where: Any, name: str, note: Callable[..., Any]
) -> list[Any]:
    """Keep what `note` makes of the arguments of each call of a function of torch."""
    kept: list[Any] = []
    function = getattr(where, name)

    def spy(*arguments: Any) -> Any:
        kept.append(note(*arguments))
        return function(*arguments)

    monkeypatch.setattr(where, name, spy)
    return kept


def both(mode: str, case: Case, device: str | None = None) -> None:
    """Call the output and the gradients of a mode once."""
    target = Implementation.of(torch_adapter.adapter(mode, device), mode)
    arrays = operands(case)
    target.forward(case, arrays)
    target.gradients(case, arrays, (True, True, True))


@pytest.mark.parametrize("name", HERE)
def test_mode_conforms_but_for_what_is_expected(name: str) -> None:
    """On a share of `quick` a mode fails nowhere but where its file of expectations says."""
    path = KNOWN / f"{name}.txt"
    known = Expectations.read(path) if path.is_file() else None
    assert failures(adapters.load(name), "quick[::11]", known) == []
    assert adapters.describe(name) == f"{name} {torch.__version__}"


@pytest.mark.parametrize("mode", ELSEWHERE)
def test_cuda_mode_conforms_where_its_device_is_the_processor(mode: str) -> None:
    """The code of the CUDA modes, given another device, translates right."""
    target = Implementation.of(torch_adapter.adapter(mode, "cpu"), mode)
    # In float16 the processor's gradients have sums of another format than CUDA's.
    assert failures(target, "quick[3::17]", dtypes=("float32", "float64", "complex128")) == []


def test_modes_are_those_of_the_names() -> None:
    """Each mode has an adapter's name, and each such name its mode."""
    modes = {found.mode for found in adapters.ADAPTERS.values() if found.module == "torch"}
    assert modes == set(torch_adapter.MODES)


@pytest.mark.skipif(torch.cuda.is_available(), reason="asks what is said without a device")
@pytest.mark.parametrize("name", ["torch-cuda", "torch-cuda-channels-last", "torch-cuda-tf32"])
def test_missing_device_is_told(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a CUDA device the command ends with status 2 and says what is missing."""
    assert cli.main(["check", name, "--suite", "quick"]) == cli.COULD_NOT_RUN
    out, err = capsys.readouterr()
    assert out == ""
    last = err.rstrip().splitlines()[-1]
    assert f"torch {torch.__version__} finds no CUDA device here, which mode cuda" in last
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("mode", "device", "last"),
    [
        ("plain", None, False),
        ("native", None, False),
        ("channels_last", None, True),
        ("cuda_channels_last", "cpu", True),
    ],
)
def test_memory_format_is_the_modes(
    mode: str, device: str | None, last: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Input, weight and error have the memory format of channels_last in its modes alone."""

    def formats(*tensors: Any) -> list[bool]:
        return [
            tensor.is_contiguous(memory_format=torch.channels_last)
            for tensor in tensors
            if isinstance(tensor, torch.Tensor) and tensor.ndim == 4
        ]

    images = seen(monkeypatch, torch.nn.functional, "conv2d", formats)
    errors = seen(monkeypatch, torch.autograd, "grad", lambda _, __, error: formats(error))
    both(mode, Case.from_id(CASE.format("float32")), device)
    assert images == [[last, last], [last, last]]
    assert errors == [[last]]


@pytest.mark.parametrize(("mode", "served"), [("plain", True), ("native", False)])
def test_onednn_serves_but_in_native_mode(
    mode: str, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Output and gradients are computed without oneDNN in native mode; after a call it is back."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")

    def on(*_: Any) -> bool:
        return bool(torch.backends.mkldnn.enabled)

    outputs = seen(monkeypatch, torch.nn.functional, "conv2d", on)
    gradients = seen(monkeypatch, torch.autograd, "grad", on)
    both(mode, Case.from_id(CASE.format("float32")))
    assert (outputs, gradients) == ([served, served], [served])
    assert torch.backends.mkldnn.enabled


def test_onednn_is_back_after_a_call_that_raises() -> None:
    """What a refused call leaves behind does not touch other modes in the same process."""
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this torch has no oneDNN")
    x = np.ones((1, 1, 3, 4), np.float32)
    with pytest.raises(RuntimeError):
        torch_adapter.adapter("native").conv2d(x, x, None, (0, 1), (0, 0), (1, 1), 1)
    assert torch.backends.mkldnn.enabled


@pytest.mark.parametrize(
    ("mode", "short", "arithmetic"),
    [
        ("cuda", False, {}),
        ("cuda_channels_last", False, {}),
        ("cuda_tf32", True, {"float32": "tf32", "complex64": "tf32"}),
    ],
)
def test_tf32_is_allowed_where_it_is_declared(
    mode: str, short: bool, arithmetic: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only one mode lets cuDNN use TF32, and is judged as TF32; after a call all is as it was."""

    def allowed(*_: Any) -> bool:
        return bool(torch.backends.cudnn.allow_tf32)

    before = torch.backends.cudnn.allow_tf32
    outputs = seen(monkeypatch, torch.nn.functional, "conv2d", allowed)
    gradients = seen(monkeypatch, torch.autograd, "grad", allowed)
    both(mode, Case.from_id(CASE.format("float32")), "cpu")
    assert (outputs, gradients) == ([short, short], [short])
    assert torch.backends.cudnn.allow_tf32 == before
    supports = torch_adapter.adapter(mode, "cpu").supports
    assert supports["arithmetic"] == arithmetic
    assert "int64" not in supports["dtypes"]


def test_native_gradients_in_bfloat16_are_judged_as_what_they_are() -> None:
    """Without oneDNN gradients in bfloat16 keep partial sums in it: declared, and found so."""
    pytest.importorskip("ml_dtypes", reason="has NumPy's bfloat16")
    found = adapters.load("torch-native").supports.arithmetic
    assert found["grad_input", "bfloat16"] == "bfloat16-accumulate"
    assert ("forward", "bfloat16") not in found


def test_gradients_of_nn_grad_are_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch.nn.grad's functions are asked, with the sizes, and no output or bias is."""
    from torch.nn import grad

    inputs = seen(monkeypatch, grad, "conv2d_input", lambda size, *_: tuple(size))
    weights = seen(monkeypatch, grad, "conv2d_weight", lambda _, size, *__: tuple(size))
    target = adapters.load("torch-nn-grad")
    assert target.supports.ops == ("grad_input", "grad_weight")
    assert target.supports.padding == ("pair",)
    assert not target.supports.unbatched
    case = Case.from_id(CASE.format("float64"))
    verdicts = dict(run_case(target, case, OPS).verdicts)
    assert {op: verdict.status for op, verdict in verdicts.items()} == {
        "grad_input": "passed",
        "grad_weight": "passed",
    }
    # Each case is called twice.
    assert inputs == [case.input_shape] * 2
    assert weights == [case.weight_shape] * 2


def test_each_case_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """What torch has compiled is forgotten whenever shapes or parameters change, and only then."""
    asked: list[Any] = []
    resets: list[int] = []

    def compiling(function: Any, **options: Any) -> Any:
        asked.append(options)
        return function

    monkeypatch.setattr(torch, "compile", compiling)
    monkeypatch.setattr(torch.compiler, "reset", lambda: resets.append(1))
    target = torch_adapter.adapter("compile")
    x, w = np.ones((1, 2, 5, 6), np.float32), np.ones((4, 2, 3, 2), np.float32)
    for arrays, stride in (
        ((x, w), (1, 1)),
        ((x, w), (1, 1)),
        ((x, w), (2, 1)),
        ((x[..., :5], w), (2, 1)),
        ((x.astype(np.float64), w.astype(np.float64)), (2, 1)),
    ):
        target.conv2d(*arrays, None, stride, (0, 0), (1, 1), 1)
    # Without fullgraph, what torch cannot compile would run as it is.
    assert asked == [{"fullgraph": True}]
    assert len(resets) == 4


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own, of itself
def test_compiled_function_conforms() -> None:
    """One case through torch.compile: the output and all gradients, compiled and not run as is."""
    import shutil

    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    from torch._dynamo.utils import counters

    target = adapters.load("torch-compile")
    case = Case.from_id(CASE.format("float32"))
    counters.clear()
    verdicts = run_case(target, case, OPS).verdicts
    assert [(verdict.failure, verdict.status) for _, verdict in verdicts] == [(None, "passed")] * 4
    assert counters["stats"]["unique_graphs"] >= 2
    assert not counters["graph_break"]
