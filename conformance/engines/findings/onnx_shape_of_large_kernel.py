"""ONNX's shape inference and its evaluator differ where a kernel is larger than its input.

Seen in onnx 1.23.2.

Expected: one answer. A kernel of 3 has no place in an input of 2. With stride 2, (2 - 3) / 2 + 1 is
0 where the division rounds down, as the evaluator's does, and 1 where it cuts, as the inference's
does. A program that allocates by the inferred shape has an output that nothing gives a value to.

ONNX's Conv has no formula for the output with explicit pads; MaxPool's rounds down:
https://onnx.ai/onnx/operators/onnx__MaxPool.html

No public report found (searched 2026-11-21). The same in PyTorch, repaired since:
https://github.com/pytorch/pytorch/issues/9592
"""

import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

x = np.ones((1, 1, 1, 2), np.float32)
weight = np.ones((1, 1, 1, 3), np.float32)

node = helper.make_node("Conv", ["X", "W"], ["Y"], strides=[1, 2])
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, None)],
    [numpy_helper.from_array(weight, "W")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
try:
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph.output[0]
    got = [size.dim_value for size in inferred.type.tensor_type.shape.dim]
except onnx.shape_inference.InferenceError as error:
    print("shape inference", error)
    sys.exit(0)
evaluated = list(ReferenceEvaluator(model).run(None, {"X": x})[0].shape)
print("inferred ", got)
print("evaluated", evaluated)
sys.exit(got != evaluated)
