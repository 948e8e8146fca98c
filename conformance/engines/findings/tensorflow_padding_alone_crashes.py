"""TensorFlow: a bfloat16 convolution whose windows all miss the image along its width kills Python.

Seen in tensorflow-cpu 2.21.0, Linux x86-64 with AVX-512 and its bfloat16 instructions.

Expected, by hand: the image has one column. With a kernel of two columns, dilation 2, stride 2 and
padding 3 the windows' taps stand at columns -3 and -1, -1 and 1, 1 and 3: none at column 0. All see
padding alone, so each of the outputs, 6 rows of 3, is zero. In float32 they are.

tf.nn.conv2d lists bfloat16 among its types and takes any explicit padding:
https://www.tensorflow.org/api_docs/python/tf/nn/conv2d

torch 2.13, which computes with the same library, oneDNN, ends under the same condition with tensors
in channels-last. Reported for it: https://github.com/uxlfoundation/oneDNN/issues/5942
"""

import subprocess
import sys

PROGRAM = """
import tensorflow as tf

x, weight = tf.ones((1, 14, 1, 4), tf.{0}), tf.ones((3, 2, 4, 8), tf.{0})
y = tf.nn.conv2d(x, weight, 2, [[0, 0], [1, 1], [3, 3], [0, 0]], dilations=(3, 2))
print(y.shape == (1, 5, 3, 8) and not y.numpy().any())
"""
for dtype in ("float32", "bfloat16"):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(dtype)], capture_output=True, text=True, check=False
    )
    got = run.stdout.strip() if run.returncode == 0 else f"exit status {run.returncode}"
    print(f"{dtype}, the outputs are zeros: got {got}, expected True")
sys.exit(got != "True")
