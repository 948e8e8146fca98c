"""ONNX Runtime crops the input where SAME_UPPER or SAME_LOWER needs no padding.

Seen in onnxruntime 1.31.1, CPU provider.

Expected, by hand: 4 elements with stride 4 give ceil(4 / 4) = 1 output, and a kernel of 1 has that
without padding: y = x[0] = 1. ONNX Runtime takes (1 - 1) * 4 + 1 - 4 = -3 for the padding, and half
of it, -1, for the beginning: its one output is x[1]. So it is on each axis where the stride is
larger than the kernel and at least 2 elements (3 with SAME_LOWER) remain behind the last window.

ONNX pads "from 0 up", and its text on auto_pad asks for ceil(input / stride) outputs, which are
there without any: https://onnx.ai/onnx/operators/onnx__Conv.html. Its reference evaluator takes 0
where the sum is negative, and so does TensorFlow, whose SAME this is:
https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2

Reported: https://github.com/microsoft/onnxruntime/issues/10086 (open), where it shows in a pooling.
"""

import sys

import numpy as np
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

x = np.array([1, 2, 3, 4], np.float32).reshape(1, 1, 1, 4)
weight = np.ones((1, 1, 1, 1), np.float32)
expected = [1]

node = helper.make_node("Conv", ["X", "W"], ["Y"], auto_pad="SAME_UPPER", strides=[1, 4])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 1, 1, 1])],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
session = onnxruntime.InferenceSession(
    model.SerializeToString(), providers=["CPUExecutionProvider"]
)
got = session.run(None, {"X": x})[0].ravel().tolist()
print("got     ", got)
print("expected", expected)
sys.exit(got != expected)
