"""Engines that run ONNX models, each on a model of one Conv node; they have no gradients."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

from npconv.adapters.onnx_models import AUTO_PAD, conv_model
from npconv.formats import available, dtype_of

Array = np.ndarray[Any, np.dtype[Any]]


class Engine(NamedTuple):
    """An engine: its version, what makes a function of a model, what its documentation says."""

    version: str
    load: Callable[[bytes], Callable[[Array], Any]]
    supports: Mapping[str, Any]


def adapter(mode: str) -> SimpleNamespace:
    """Return an engine as an implementation; `mode` is one of `ENGINES`."""
    engine = ENGINES[mode]()
    # As in use: a model that was loaded is run again.
    load = functools.lru_cache(maxsize=1)(engine.load)

    def conv2d(input: Array, weight: Array, bias: Array | None, *parameters: Any) -> Any:
        return load(conv_model(input, weight, bias, *parameters))(input)

    return SimpleNamespace(
        conv2d=conv2d,
        version=lambda: engine.version,
        supports={"padding": ("pair", "four-sided", *AUTO_PAD), **engine.supports},
    )


def _reference() -> Engine:
    """Return ONNX's reference evaluator, in NumPy."""
    import onnx
    from onnx.reference import ReferenceEvaluator

    def load(model: bytes) -> Callable[[Array], Any]:
        evaluator = ReferenceEvaluator(model)

        def run(input: Array) -> Any:
            # NumPy warns of each infinity.
            with np.errstate(all="ignore"):
                return evaluator.run(None, {"X": input})[0]

        return run

    # The types of Conv's operands: https://onnx.ai/onnx/operators/onnx__Conv.html
    dtypes = [name for name in ("bfloat16", "float16", "float32", "float64") if _known(name)]
    supports = {
        "dtypes": dtypes,
        "empty": ("batch",),
        # The bias is added to sums that were rounded to float16; in bfloat16 they are float32.
        "arithmetic": {"float16": "float16-accumulate"},
    }
    return Engine(onnx.__version__, load, supports)


def _onnxruntime() -> Engine:
    """Return ONNX Runtime's CPU provider."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    # What its log would say too is raised: 4 is fatal.
    options.log_severity_level = 4

    def load(model: bytes) -> Callable[[Array], Any]:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

        def run(input: Array) -> Any:
            return session.run(None, {"X": input})[0]

        return run

    # https://github.com/microsoft/onnxruntime/blob/main/docs/OperatorKernels.md names the kernels
    # of each provider, and the types that they take.
    return Engine(onnxruntime.__version__, load, {"dtypes": ("float32",), "empty": ("batch",)})


def _opencv() -> Engine:
    """Return OpenCV's module dnn."""
    import cv2

    cv2.setNumThreads(1)
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

    def load(model: bytes) -> Callable[[Array], Any]:
        network = cv2.dnn.readNetFromONNX(np.frombuffer(model, np.uint8))

        def run(input: Array) -> Any:
            network.setInput(input)
            return network.forward()

        return run

    return Engine(cv2.__version__, load, {"dtypes": ("float32",)})


def _openvino() -> Engine:
    """Return OpenVINO's CPU plugin."""
    import openvino

    core = openvino.Core()
    # Else it takes bfloat16 for float32 where the processor has it.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}

    def load(model: bytes) -> Callable[[Array], Any]:
        compiled = core.compile_model(core.read_model(model), "CPU", settings)

        def run(input: Array) -> Any:
            if input.dtype.name != "bfloat16":
                return compiled([input])[0]
            # It takes bfloat16 as bits of another type, and returns it so.
            bits = np.ascontiguousarray(input).view(np.uint16)
            found = compiled([openvino.Tensor(bits, bits.shape, openvino.Type.bf16)])[0]
            return found.view(input.dtype)

        return run

    # https://docs.openvino.ai/2023.3/openvino_docs_OV_UG_supported_plugins_CPU.html
    dtypes = [name for name in ("bfloat16", "float16", "float32") if _known(name)]
    return Engine(openvino.__version__.partition("-")[0], load, {"dtypes": dtypes})


def _known(dtype: str) -> bool:
    """Whether NumPy has a dtype here, and this release of onnx knows it."""
    from onnx import helper

    try:
        return dtype in available() and bool(helper.np_dtype_to_tensor_dtype(dtype_of(dtype)))
    except (KeyError, ValueError):
        return False


ENGINES: dict[str, Callable[[], Engine]] = {
    "reference": _reference,
    "onnxruntime": _onnxruntime,
    "opencv": _opencv,
    "openvino": _openvino,
}
