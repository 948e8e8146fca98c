"""OpenVINO: a convolution whose windows all miss the image along its width kills Python.

Seen in openvino 2026.4.1, CPU plugin, in float32 and float16 with a bias, in bfloat16 without
one too, on an x86-64 processor with AVX-512.

Expected, by hand: the image is one pixel. With a kernel of one pixel, stride 2 and padding 1 along
the width the two windows stand at columns -1 and 1, beside it. Both see padding alone, zeros, so
each output is its bias. Dilation 2 changes nothing in a kernel of one pixel, but takes the way to
the kernel that fails; 8 output channels are the fewest that were seen to.

ONNX allows any padding of 0 or more and any stride: https://onnx.ai/onnx/operators/onnx__Conv.html

torch 2.13, which computes with the same library, oneDNN, ends under the same condition with tensors
in channels-last. Reported for it: https://github.com/uxlfoundation/oneDNN/issues/5942
"""

import subprocess
import sys

CODE = """
import numpy as np
import openvino
from onnx import TensorProto, helper, numpy_helper

x = np.ones((1, 1, 1, 1), np.float32)
weight = np.ones((8, 1, 1, 1), np.float32)
bias = np.arange(8, dtype=np.float32)
sides = {"strides": [1, 2], "pads": [0, 1, 0, 1], "dilations": [1, 2]}
node = helper.make_node("Conv", ["X", "W", "B"], ["Y"], **sides)
graph = helper.make_graph(
    [node],
    "conv",
    [helper.make_tensor_value_info("X", TensorProto.FLOAT, x.shape)],
    [helper.make_tensor_value_info("Y", TensorProto.FLOAT, [1, 8, 1, 2])],
    [numpy_helper.from_array(weight, "W"), numpy_helper.from_array(bias, "B")],
)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)], ir_version=6)
core = openvino.Core()
settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1}
compiled = core.compile_model(core.read_model(model.SerializeToString()), "CPU", settings)
got = compiled([x])[0]
print(np.array_equal(got, np.broadcast_to(bias[:, None, None], got.shape)))
"""

if __name__ == "__main__":
    import openvino

    # In a process of its own, which it ends.
    done = subprocess.run([sys.executable, "-c", CODE], capture_output=True, text=True, check=False)
    got = done.stdout.strip() if done.returncode == 0 else f"exit status {done.returncode}"
    print(f"openvino {openvino.__version__}")
    print(f"the outputs are the biases: got {got}, expected True")
    sys.exit(got != "True")
