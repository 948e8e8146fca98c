"""OpenVINO returns memory that nobody wrote where the input has no columns and padding makes some.

Seen in openvino 2026.4.1, CPU plugin.

Expected, by hand: an input of 3 rows and no columns, padded by one column on either side, is 3 x 2
zeros. A kernel of 1 x 1 gives 0 for each of them, and the bias, 5, is added: six times 5.
onnxruntime 1.31.1, OpenCV 5.0.0 and onnx's reference evaluator say so too.

ONNX sets no least size of an axis, nor does OpenVINO, which infers the output's shape, 1, 1, 3, 2,
and leaves its elements as they are:
https://docs.openvino.ai/2021.1/openvino_docs_ops_convolution_Convolution_1.html

No public report found (searched 2026-11-21).
"""

import sys

import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

x = np.ones((1, 1, 3, 0), np.float32)
weight = np.ones((1, 1, 1, 1), np.float32)
bias = np.array([5], np.float32)
expected = [5.0] * 6

node = helper.make_node("Conv", ["X", "W", "B"], ["Y"], pads=[0, 1, 0, 1])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 3, 2])],
    [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "B")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
core = openvino.Core()
try:
    compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
    got = compiled([x])[0].ravel().tolist()
except RuntimeError as error:
    print("refused:", str(error).splitlines()[0])
    sys.exit(0)
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
