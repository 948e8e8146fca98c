"""OpenCV computes an output where the kernel is larger than the padded input.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU.

Expected: a refusal, or an output without elements. A kernel of 3 has no place in an input of 2.
OpenCV's size of the output, (2 - 3) / 2 + 1, is 1, as C++ cuts -1 / 2 to 0; its one element counts
what lies behind the input as 0: 1 + 20.

Rounded down, as ONNX writes it for MaxPool, the size is 0:
https://onnx.ai/onnx/operators/onnx__MaxPool.html. onnxruntime 1.31.1 and OpenVINO 2026.4.1 refuse
the call.

No public report found (searched 2026-11-21).
"""

import sys

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

x = np.array([1, 2], np.float32).reshape(1, 1, 1, 2)
weight = np.array([1, 10, 100], np.float32).reshape(1, 1, 1, 3)

node = helper.make_node("Conv", ["X", "W"], ["Y"], strides=[1, 2])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", "F", "OH", "OW"])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
try:
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    network.setInput(x)
    got = network.forward()
except cv2.error as error:
    print("refused:", str(error).splitlines()[0])
    sys.exit(0)
print("got     ", got.ravel().tolist())
print("expected [] or an exception")
sys.exit(got.size > 0)
