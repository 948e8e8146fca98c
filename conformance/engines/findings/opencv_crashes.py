"""OpenCV ends the process on a stride of 0, on an output without columns, and on an empty input.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU, on x86-64.

Expected: an exception. A stride of 0 and an output of no columns divide by zero; an input without
elements, or a kernel that is many times larger than its input, is a wild read or write.

ONNX's shape inference wants strides to be positive:
https://github.com/onnx/onnx/blob/main/onnx/defs/nn/utils.h

Reported for OpenCV 4, where a check was added: https://github.com/opencv/opencv/pull/23671. The
engine that OpenCV 5 runs ONNX models with divides before it looks.
"""

import subprocess
import sys

CASES = {
    "stride 0": "(1, 1, 1, 2), (1, 1, 1, 1), strides=[1, 0]",
    "no column fits": "(1, 4, 7, 9), (6, 4, 3, 10)",
    "no elements": "(1, 1, 0, 0), (1, 1, 3, 2)",
    "kernel of 30 x 40": "(1, 1, 7, 9), (1, 1, 30, 40)",
}
PROGRAM = """
import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

def run(size, kernel, **attributes):
    node = helper.make_node("Conv", ["X", "W"], ["Y"], **attributes)
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, ["N", "F", "OH", "OW"])],
        [numpy_helper.from_array(np.ones(kernel, np.float32), "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    network.setInput(np.ones(size, np.float32))
    network.forward()

try:
    run({})
except cv2.error:
    pass
"""
shows = False
for name, arguments in CASES.items():
    program = PROGRAM.replace("{}", arguments)
    status = subprocess.run([sys.executable, "-c", program], check=False).returncode
    print(f"{name}: got      {f'signal {-status}' if status < 0 else f'exit status {status}'}")
    print(f"{name}: expected exit status 0, after an exception")
    shows |= status != 0
sys.exit(shows)
