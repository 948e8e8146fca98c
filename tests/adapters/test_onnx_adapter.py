"""Engines that read ONNX: the model they are given, how each is called, whether they conform.

The packages are stood in for by what records a model and computes it with npconv, so that what an
adapter writes and reads is tested everywhere; where a package is installed, it is judged itself.
"""

import pickle
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters
from npconv.adapters import TargetError, onnx_adapter, onnx_models
from npconv.formats import available, dtype_of
from npconv.oracle.check import report_on
from npconv.oracle.expectations import Expectations
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from npconv.workers import Workers

pytestmark = pytest.mark.once

NAMES = {
    "onnx-reference": "reference",
    "onnxruntime": "onnxruntime",
    "opencv": "opencv",
    "openvino": "openvino",
}
EXPECTATIONS = Path(__file__).parents[2] / "conformance" / "engines" / "expectations"
X = np.arange(2 * 4 * 5 * 6, dtype=np.float32).reshape(2, 4, 5, 6)
W = np.arange(6 * 2 * 3 * 2, dtype=np.float32).reshape(6, 2, 3, 2)
B = np.arange(6, dtype=np.float32)


# --------------------------------------------------------------- packages stood in for


def recorded(*names: str) -> Callable[..., dict[str, Any]]:
    """Return a function whose result is what it was called with, by name."""
    return lambda *values, **named: dict(zip(names, values, strict=True)) | named


def fake_onnx() -> ModuleType:
    """Return what stands for the package onnx: a model is a dict, its bytes are a pickle of it."""
    onnx = ModuleType("onnx")
    onnx.__version__ = "1.2.3"  # type: ignore[attr-defined]  # as the packages set it
    onnx.helper = SimpleNamespace(  # type: ignore[attr-defined]  # the same
        make_node=lambda op, inputs, outputs, **found: {
            "op": op, "inputs": inputs, "outputs": outputs, "attributes": found,
        },
        make_tensor_value_info=recorded("name", "element", "shape"),
        make_graph=recorded("nodes", "name", "inputs", "outputs", "initializers"),
        make_opsetid=recorded("domain", "version"),
        make_model=lambda graph, **found: SimpleNamespace(
            SerializeToString=lambda: pickle.dumps(graph | found)
        ),
        np_dtype_to_tensor_dtype=lambda dtype: dtype.name,
    )  # fmt: skip
    onnx.numpy_helper = SimpleNamespace(  # type: ignore[attr-defined]  # the same
        from_array=lambda array, name: {"name": name, "array": array.copy()}
    )
    return onnx


def compute(model: bytes, **inputs: Any) -> np.ndarray[Any, Any]:
    """Compute a recorded model as ONNX says: pads are all beginnings, then all ends."""
    graph = pickle.loads(model)  # made above
    (node,) = graph["nodes"]
    assert node["op"] == "Conv"
    assert node["outputs"] == [graph["outputs"][0]["name"]]
    assert [given["name"] for given in graph["inputs"]] == list(inputs)
    (x,) = inputs.values()
    assert graph["inputs"][0]["element"] == x.dtype.name
    assert tuple(graph["inputs"][0]["shape"]) == x.shape
    values = inputs | {each["name"]: each["array"] for each in graph["initializers"]}
    found = node["attributes"]
    if "auto_pad" in found:
        assert "pads" not in found, "pads and auto_pad exclude one another"
        padding: Any = found["auto_pad"].lower()
    else:
        if min(found["pads"]) < 0:
            raise ValueError("pads must not be negative")
        top, left, bottom, right = found["pads"]
        padding = (top, bottom), (left, right)
    operands = [values[name] for name in node["inputs"]]
    bias = operands[2] if len(operands) == 3 else None
    return npconv.conv2d(
        operands[0], operands[1], bias, found["strides"], padding, found["dilations"],
        found["group"],
    )  # fmt: skip


def fake_reference(log: list[Any]) -> dict[str, Any]:
    """Return what stands for onnx.reference."""

    class ReferenceEvaluator:
        def __init__(self, model: bytes) -> None:
            log.append("loaded")
            self.model = model

        def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
            return [compute(self.model, **inputs)]

    return {"onnx.reference": SimpleNamespace(ReferenceEvaluator=ReferenceEvaluator)}


def fake_onnxruntime(log: list[Any]) -> dict[str, Any]:
    """Return what stands for onnxruntime."""

    class InferenceSession:
        def __init__(self, model: bytes, options: Any, providers: list[str]) -> None:
            log.extend((vars(options).copy(), providers, "loaded"))
            self.model = model

        def run(self, _: None, inputs: dict[str, Any]) -> list[Any]:
            return [compute(self.model, **inputs)]

    return {
        "onnxruntime": SimpleNamespace(
            __version__="1.2.3", SessionOptions=SimpleNamespace, InferenceSession=InferenceSession
        )
    }


def fake_opencv(log: list[Any]) -> dict[str, Any]:
    """Return what stands for cv2."""

    class Net:
        def __init__(self, model: Any) -> None:
            log.append("loaded")
            self.model = model.tobytes()

        def setInput(self, blob: Any) -> None:  # noqa: N802  # OpenCV's name
            self.blob = blob

        def forward(self) -> Any:
            return compute(self.model, X=self.blob)

    return {
        "cv2": SimpleNamespace(
            __version__="1.2.3",
            setNumThreads=lambda count: log.append({"threads": count}),
            utils=SimpleNamespace(
                logging=SimpleNamespace(LOG_LEVEL_SILENT="silent", setLogLevel=log.append)
            ),
            dnn=SimpleNamespace(readNetFromONNX=Net),
        )
    }


def fake_openvino(log: list[Any]) -> dict[str, Any]:
    """Return what stands for openvino: bfloat16 goes in as bits, and comes out as float16."""

    class Tensor:
        def __init__(self, bits: Any, shape: tuple[int, ...], element: str) -> None:
            assert bits.dtype == np.uint16
            assert bits.flags.c_contiguous
            assert bits.shape == shape
            self.value = bits.view(dtype_of(element))

    class Core:
        def read_model(self, model: bytes) -> bytes:
            return model

        def compile_model(self, model: bytes, device: str, settings: dict[str, Any]) -> Any:
            log.extend((device, settings, "loaded"))

            def run(inputs: list[Any]) -> list[Any]:
                if isinstance(inputs[0], Tensor):
                    return [compute(model, X=inputs[0].value).view(np.float16)]
                assert inputs[0].dtype.name != "bfloat16"
                return [compute(model, X=inputs[0])]

            return run

    return {
        "openvino": SimpleNamespace(
            __version__="1.2.3-456-abc",
            Core=Core,
            Tensor=Tensor,
            Type=SimpleNamespace(bf16="bfloat16"),
        )
    }


FAKES = {
    "reference": fake_reference,
    "onnxruntime": fake_onnxruntime,
    "opencv": fake_opencv,
    "openvino": fake_openvino,
}


@pytest.fixture
def onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in for the package onnx."""
    monkeypatch.setitem(sys.modules, "onnx", fake_onnx())


@pytest.fixture(params=FAKES)
def mode(request: pytest.FixtureRequest) -> str:
    """Each mode."""
    return str(request.param)


@pytest.fixture
def log(mode: str, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What an engine that is stood in for was told."""
    monkeypatch.setitem(sys.modules, "onnx", fake_onnx())
    found: list[Any] = []
    for name, module in FAKES[mode](found).items():
        monkeypatch.setitem(sys.modules, name, module)
    return found


# ------------------------------------------------------------------------ the model


@pytest.mark.parametrize(
    ("padding", "written"),
    [
        ((1, 2), {"pads": [1, 2, 1, 2]}),
        ((0, 0), {"pads": [0, 0, 0, 0]}),
        (((1, 2), (3, 4)), {"pads": [1, 3, 2, 4]}),
        ("valid", {"auto_pad": "VALID"}),
        ("same_upper", {"auto_pad": "SAME_UPPER"}),
        ("same_lower", {"auto_pad": "SAME_LOWER"}),
    ],
)
def test_padding_is_written_as_onnx_orders_it(padding: Any, written: dict[str, Any]) -> None:
    """Pads are top, left, bottom, right; a name becomes auto_pad, and no pads stand beside it."""
    assert onnx_models.attributes((2, 3), padding, (4, 5), 6) == {
        "strides": [2, 3],
        "dilations": [4, 5],
        "group": 6,
        **written,
    }


@pytest.mark.parametrize("padding", [((-1, 2), (3, 4)), ((1, 2), (3, -4))])
def test_negative_sides_are_unsupported(padding: Any) -> None:
    """ONNX's pads begin at 0: a crop is nothing that its Conv has, and the message cites that."""
    with pytest.raises(NotImplementedError, match=r"from 0 up: https://onnx\.ai/"):
        onnx_models.attributes((1, 1), padding, (1, 1), 1)


def test_illegal_values_are_left_to_the_engine() -> None:
    """A negative pair, and a stride or a group count of 0, are written down as they come."""
    assert onnx_models.attributes((0, -1), (-1, 2), (0, 1), 0) == {
        "strides": [0, -1],
        "dilations": [0, 1],
        "group": 0,
        "pads": [-1, 2, -1, 2],
    }


@pytest.mark.usefixtures("onnx")
@pytest.mark.parametrize("bias", [B, None])
def test_model_holds_one_conv_and_its_constants(bias: Any) -> None:
    """X is the one input; weight and, where there is one, bias are initializers in that order."""
    model = onnx_models.conv_model(X, W, bias, (1, 2), (0, 1), (1, 1), 2)
    graph = pickle.loads(model)  # made above
    constants = {each["name"]: each["array"] for each in graph["initializers"]}
    expected = {"W": W} if bias is None else {"W": W, "B": B}
    assert list(constants) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(constants[name], array)
    assert graph["nodes"][0]["inputs"] == ["X", *expected]
    assert graph["outputs"][0]["shape"] == ("N", "F", "OH", "OW")
    assert graph["opset_imports"] == [{"domain": "", "version": 11}]
    assert graph["ir_version"] == 6


@pytest.mark.usefixtures("onnx")
def test_bfloat16_takes_the_version_that_has_it() -> None:
    """Conv of opset 11 has no bfloat16; that of 22 has."""
    ml_dtypes = pytest.importorskip("ml_dtypes", reason="bfloat16")
    x, w = X.astype(ml_dtypes.bfloat16), W.astype(ml_dtypes.bfloat16)
    model = onnx_models.conv_model(x, w, None, (1, 1), (0, 0), (1, 1), 2)
    graph = pickle.loads(model)  # made above
    assert graph["opset_imports"] == [{"domain": "", "version": 22}]
    assert graph["ir_version"] == 10


# ---------------------------------------------------------------------- the adapters


@pytest.mark.usefixtures("log")
def test_adapter_translates_all_that_it_declares(mode: str) -> None:
    """Over an engine that computes what the model says, every case conforms; crops are none."""
    report = npconv.check(onnx_adapter.adapter(mode), suite="quick[::3]", diagnosis=False)
    assert report.failures == []
    counts = report.tally.counts["forward"]
    assert counts["passed"] > 100
    (reason,) = report.tally.unsupported["forward"]
    assert "ONNX's Conv pads from 0 up" in reason


def test_equal_models_are_loaded_once(mode: str, log: list[Any]) -> None:
    """The same call again runs the loaded model; another weight, bias or stride is another one."""
    conv2d = onnx_adapter.adapter(mode).conv2d
    calls = [(X, W, B, (1, 1)), (X + 1, W, B, (1, 1)), (X, W + 1, B, (1, 1)),
             (X, W + 1, B + 1, (1, 1)), (X, W + 1, B + 1, (2, 1))]  # fmt: skip
    loaded = []
    for x, w, b, stride in calls:
        got = conv2d(x, w, b, stride, (1, 0), (1, 1), 2)
        np.testing.assert_array_equal(got, npconv.conv2d(x, w, b, stride, (1, 0), 1, 2))
        loaded.append(log.count("loaded"))
    assert loaded == [1, 1, 2, 3, 4]


DTYPES = {
    "reference": ["bfloat16", "float16", "float32", "float64"],
    "onnxruntime": ["float32"],
    "opencv": ["float32"],
    "openvino": ["bfloat16", "float16", "float32"],
}


@pytest.mark.usefixtures("log")
def test_dtypes_are_those_documented_and_known_here(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """bfloat16 is asked where NumPy has it, and this release of onnx can write it."""
    supports = onnx_adapter.adapter(mode).supports
    assert list(supports["dtypes"]) == [name for name in DTYPES[mode] if name in available()]

    def unknown(dtype: Any) -> str:
        return {np.dtype(name): name for name in ("float16", "float32", "float64")}[dtype]

    monkeypatch.setattr(sys.modules["onnx"].helper, "np_dtype_to_tensor_dtype", unknown)
    supports = onnx_adapter.adapter(mode).supports
    assert list(supports["dtypes"]) == [name for name in DTYPES[mode] if name != "bfloat16"]


@pytest.mark.usefixtures("log")
def test_version_is_the_engine_s(mode: str) -> None:
    """The version told is that of the package."""
    assert onnx_adapter.adapter(mode).version() == "1.2.3"


TOLD = {
    "reference": [],
    "onnxruntime": [
        {"intra_op_num_threads": 1, "inter_op_num_threads": 1, "log_severity_level": 4},
        ["CPUExecutionProvider"],
    ],
    "opencv": [{"threads": 1}, "silent"],
    "openvino": ["CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}],
}


def test_engine_gets_one_thread_and_is_quiet(mode: str, log: list[Any]) -> None:
    """One thread, no log, the CPU, and float32 computed as float32."""
    onnx_adapter.adapter(mode).conv2d(X, W, B, (1, 1), (1, 0), (1, 1), 2)
    assert log == [*TOLD[mode], "loaded"]


@pytest.mark.parametrize("name", NAMES)
def test_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without its package a target says which, and how to get it."""
    package = adapters.ADAPTERS[name].extra.replace("opencv", "cv2")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(TargetError, match=rf"needs the package {package}: pip install 'npconv\["):
        adapters.load(name)


# ---------------------------------------------------------------------- the engines


@pytest.mark.parametrize("name", NAMES)
def test_engine_fails_where_it_is_known_to(name: str) -> None:
    """The installed engine conforms to quick but for what its file of expectations says."""
    pytest.importorskip("onnx", reason="writes the models")
    package = adapters.ADAPTERS[name].extra.replace("opencv", "cv2")
    pytest.importorskip(package, reason=f"judges {name}")
    known = Expectations.read(EXPECTATIONS / f"{name}.txt")
    plan, tally = Plan(adapters.load, name, "quick", expectations=known), Tally()
    # OpenVINO's threads and OpenCV's crashes stay in a process of their own.
    with Workers() as isolated:
        assert not run(plan, tally, executor=isolated)
    report = report_on(plan, tally, True, target=name, described=name)
    assert report.failures == []
    assert report.tally.counts["forward"]["passed"] > 300
