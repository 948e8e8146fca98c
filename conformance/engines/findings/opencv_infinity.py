"""OpenCV returns the largest finite number where a convolution gives positive infinity.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU.

Expected, by hand: infinity times 1 is infinity, minus infinity times 1 is minus infinity, and
3e38 times 2 is beyond float32's 3.4e38, infinity too (IEEE 754). OpenCV's layer takes the smaller
of each result and the largest finite number, an activation that the model does not have; minus
infinity stays.

ONNX's floating-point types are those of IEEE 754: https://onnx.ai/onnx/intro/concepts.html

No public report found (searched 2026-11-21).
"""

import sys

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

x = np.array([np.inf, -np.inf, 3e38], np.float32).reshape(1, 3, 1, 1)
weight = np.array([1, 1, 2], np.float32).reshape(3, 1, 1, 1)
expected = [np.inf, -np.inf, np.inf]

node = helper.make_node("Conv", ["X", "W"], ["Y"], group=3)
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 3, 1, 1])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
network.setInput(x)
got = network.forward().ravel().tolist()
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
