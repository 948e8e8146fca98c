"""OpenCV computes with foreign memory where the groups do not divide the input's channels.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU.

Expected: a refusal. 4 channels are not 3 groups of 1. OpenCV returns three numbers, at least two of
which are no sum of the input's elements and different in each run: it reads behind its weights,
which it has packed as those of a depthwise kernel and takes for those of another one.

ONNX wants the channels of X to be those of W times the group count:
https://onnx.ai/onnx/operators/onnx__Conv.html

No public report found (searched 2026-11-21).
"""

import sys

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

x = np.array([1, 10, 100, 1000], np.float32).reshape(1, 4, 1, 1)
weight = np.ones((3, 1, 1, 1), np.float32)

node = helper.make_node("Conv", ["X", "W"], ["Y"], group=3)
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 3, 1, 1])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
try:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    network.setInput(x)
    got = network.forward().ravel().tolist()
except cv2.error as error:
    print("refused:", str(error).splitlines()[0])
    sys.exit(0)
print("got     ", got)
print("expected an exception")
sys.exit(1)
