"""ONNX's reference evaluator multiplies the zeros that it puts between a dilated kernel's taps.

Seen in onnx 1.23.2.

Expected, by hand: with dilation 2 the two taps meet x[0] and x[2], so y = 1 * 1 + 1 * 3 = 4, and
x[1], which is infinite, has no part in it. The evaluator convolves with the kernel 1 0 1, and
infinity times 0 is NaN.

ONNX describes a dilation as a distance between taps: https://onnx.ai/onnx/operators/onnx__Conv.html

No public report found (searched 2026-11-21).
"""

import sys

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

x = np.array([1, np.inf, 3], np.float32).reshape(1, 1, 1, 3)
weight = np.ones((1, 1, 1, 2), np.float32)
expected = [4]

node = helper.make_node("Conv", ["X", "W"], ["Y"], dilations=[1, 2])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 1, 1])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
with np.errstate(invalid="ignore"):
    got = ReferenceEvaluator(model).run(None, {"X": x})[0].ravel().tolist()
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
