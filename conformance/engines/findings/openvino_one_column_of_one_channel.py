"""OpenVINO: one input channel, an output of one column, a stride along the width: wrong sums.

Seen in openvino 2026.4.1, CPU plugin, in float32, on an x86-64 processor with AVX-512.

Expected, by hand: a kernel of ones adds what it covers, the first three columns. Their rows sum to
6, 18, 30 and 42 in the first image, three of them to 54 and 90; to 54, 66, 78 and 90 in the second,
198 and 234. Single rows of the output come out wrong.

ONNX's strides belong to their axes: https://onnx.ai/onnx/operators/onnx__Conv.html

torch 2.13, which computes with the same library, oneDNN, fails under the same condition with
tensors in channels-last. No public report found (searched 2026-11-21); in three dimensions and
bfloat16 the condition is the same: https://github.com/pytorch/pytorch/issues/169688
"""

import sys

import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

x = np.arange(1, 33, dtype=np.float32).reshape(2, 1, 4, 4)
weight = np.ones((1, 1, 3, 3), np.float32)
expected = [54, 90, 198, 234]

node = helper.make_node("Conv", ["X", "W"], ["Y"], strides=[1, 2])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [2, 1, 2, 1])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
core = openvino.Core()
compiled = core.compile_model(
    core.read_model(model.SerializeToString()), "CPU", {"INFERENCE_PRECISION_HINT": "f32"}
)
got = compiled([x])[0].ravel().tolist()
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
