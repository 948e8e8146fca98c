"""OpenCV reads and returns memory that is not the input's where a 1 x 1 convolution is padded.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU, on x86-64.

Expected, by hand: the 2 x 2 sums over two channels of ones are 2, and each output that lies on the
padding is 0: a row 0 2 2 0 twice. OpenCV fills the 2 x 4 outputs from the input's elements one
after the other, without looking at rows, as is right without padding, and goes on behind the last
one: numbers that are different in each run. So it is for every kernel of 1 x 1 and stride 1 with
padding on any side, but for depthwise ones.

ONNX's pads are added whatever the kernel: https://onnx.ai/onnx/operators/onnx__Conv.html

No public report found (searched 2026-11-21).
"""

import sys

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

x = np.ones((1, 2, 2, 2), np.float32)
weight = np.ones((1, 2, 1, 1), np.float32)
expected = [0, 2, 2, 0] * 2

node = helper.make_node("Conv", ["X", "W"], ["Y"], pads=[0, 1, 0, 1])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 2, 4])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
network.setInput(x)
got = network.forward().ravel().tolist()
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
