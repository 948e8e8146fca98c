"""ONNX's reference evaluator accepts a kernel without rows, which onnx's shape inference refuses.

Seen in onnx 1.23.2.

Expected: a refusal. A window of no rows has no place in an image of 3 rows; the evaluator finds 4
places for it, one more than there are rows.

The attribute kernel_shape, which is that of W where it is not given, must hold positive values:
so says onnx's own shape inference, https://github.com/onnx/onnx/blob/main/onnx/defs/nn/utils.h

No public report found (searched 2026-11-21).
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

x = np.ones((1, 1, 3, 2), np.float32)
weight = np.ones((1, 1, 0, 1), np.float32)

node = helper.make_node("Conv", ["X", "W"], ["Y"])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
try:
    onnx.shape_inference.infer_shapes(model, strict_mode=True)
except onnx.shape_inference.InferenceError as error:
    print("shape inference", str(error).splitlines()[0])
try:
    got = f"an output of shape {ReferenceEvaluator(model).run(None, {'X': x})[0].shape}"
except Exception as error:  # noqa: BLE001  # any refusal will do
    got = f"{type(error).__name__}: {error}"
    print("got     ", got)
    sys.exit(0)
print("got     ", got)
print("expected an exception")
sys.exit(1)
