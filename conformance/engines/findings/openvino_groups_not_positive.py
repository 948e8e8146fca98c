"""OpenVINO takes a group count of 0, or a negative one, for 1.

Seen in openvino 2026.4.1, ONNX frontend.

Expected: a refusal. ONNX wants the channels of X to be those of W times the group count, and
2 * 0 = 0 and 2 * -1 = -2 are not 2: https://onnx.ai/onnx/operators/onnx__Conv.html

No public report found (searched 2026-11-21).
"""

import sys

import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

x = np.ones((1, 2, 1, 1), np.float32)
weight = np.ones((2, 2, 1, 1), np.float32)
core = openvino.Core()
shows = False
for group in (0, -1):
    node = helper.make_node("Conv", ["X", "W"], ["Y"], group=group)
    graph = helper.make_graph(
        [node],
        "conv",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 2, 1, 1])],
        [numpy_helper.from_array(weight, "W")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
    try:
        compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU")
        print(f"group={group}: got     ", compiled([x])[0].ravel().tolist())
        print(f"group={group}: expected an exception")
        shows = True
    except RuntimeError as error:
        print(f"group={group}: refused: {str(error).splitlines()[0]}")
sys.exit(shows)
