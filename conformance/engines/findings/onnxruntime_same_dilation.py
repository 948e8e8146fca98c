"""ONNX Runtime refuses auto_pad SAME_UPPER and SAME_LOWER where a dilation is not 1.

Seen in onnxruntime 1.31.1, CPU provider.

Expected, by hand: a kernel of 3 with dilation 2 spans 5 elements. For as many outputs as inputs 4
zeros are needed, 2 on each side, so that y[i] = x[i - 2] + x[i] + x[i + 2] with 0 outside:
1 + 3, 2 + 4, 1 + 3 + 5, 2 + 4, 3 + 5.

ONNX's Conv has both attributes, and its text on auto_pad asks for an output of ceil(input / stride)
elements whatever the dilation: https://onnx.ai/onnx/operators/onnx__Conv.html

Reported: https://github.com/microsoft/onnxruntime/issues/20582 (closed).
"""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x = np.array([1, 2, 3, 4, 5], np.float32).reshape(1, 1, 1, 5)
weight = np.ones((1, 1, 1, 3), np.float32)
expected = [4, 6, 9, 6, 8]

node = helper.make_node("Conv", ["X", "W"], ["Y"], auto_pad="SAME_UPPER", dilations=[1, 2])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 1, 5])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
options = onnxruntime.SessionOptions()
options.log_severity_level = 4
try:
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    got = session.run(None, {"X": x})[0].ravel().tolist()
except Exception as error:  # noqa: BLE001  # ONNX Runtime's exceptions have no common class
    got = f"{type(error).__name__}: {error}"
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
