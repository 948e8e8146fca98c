"""OpenCV pads half a kernel for SAME_UPPER and SAME_LOWER, whatever stride, dilation and side.

Seen in OpenCV 5.0.0 (opencv-python-headless 5.0.0.93), module dnn, CPU.

Expected, by hand, with the taps 1, 10 and 100:

- 6 elements with stride 2: 3 outputs; the last window begins at 4 and ends at 6, so one zero is
  needed, and SAME_UPPER puts it at the end: 1 + 20 + 300, 3 + 40 + 500, 5 + 60 + 0.
- 5 elements with dilation 2: 5 outputs; the kernel spans 5, so 4 zeros are needed, 2 on each side:
  10 + 300, 20 + 400, 1 + 30 + 500, 2 + 40, 3 + 50.

- 2 elements, taps 1 and 10, SAME_LOWER: 2 outputs and one zero, at the beginning: 10, 1 + 20.

OpenCV begins at -1 in the first two, as a kernel of 3 with stride 1 does, and at 0 in the third: it
takes SAME_LOWER for SAME_UPPER.

ONNX asks for the padding that makes ceil(input / stride) outputs, an odd zero at the end with
SAME_UPPER and at the beginning with SAME_LOWER: https://onnx.ai/onnx/operators/onnx__Conv.html.
OpenCV's layer says that it is this operator:
https://github.com/opencv/opencv/blob/5.x/modules/dnn/src/layers/conv2_layer.cpp

No public report found (searched 2026-11-21). The same in another program, repaired since:
pull request 21793 of root-project/root
"""

import sys

import cv2
import numpy as np
from onnx import TensorProto, helper, numpy_helper

shows = False
for elements, taps, parameters, expected in (
    ([1, 2, 3, 4, 5, 6], [1, 10, 100], {"strides": [1, 2]}, [321, 543, 65]),
    ([1, 2, 3, 4, 5], [1, 10, 100], {"dilations": [1, 2]}, [310, 420, 531, 42, 53]),
    ([1, 2], [1, 10], {"auto_pad": "SAME_LOWER"}, [10, 21]),
):
    x = np.array(elements, np.float32).reshape(1, 1, 1, -1)
    weight = np.array(taps, np.float32).reshape(1, 1, 1, -1)
    node = helper.make_node("Conv", ["X", "W"], ["Y"], **({"auto_pad": "SAME_UPPER"} | parameters))
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 1, len(expected)])],
        [numpy_helper.from_array(weight, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    network = cv2.dnn.readNetFromONNX(np.frombuffer(model.SerializeToString(), np.uint8))
    network.setInput(x)
    got = network.forward().ravel().tolist()
    print(parameters, "got     ", got)
    print(parameters, "expected", expected)
    shows |= got != expected
sys.exit(shows)
