"""TensorFlow's bfloat16 convolution with groups and a dilation ends the process.

Seen in tensorflow-cpu 2.21.0, Linux x86-64 with AVX-512 and its bfloat16 instructions.

Expected, by hand: each of 8 output channels is the sum of 3 x 2 taps over one channel of ones, at
most 6, whatever the sizes. After some calls TensorFlow ends by a segmentation fault: memory beside
the arrays is read or written. In float32 and float64 the same calls succeed.

tf.nn.conv2d lists bfloat16 among its types:
https://www.tensorflow.org/api_docs/python/tf/nn/conv2d

No public report found (searched 2026-11-21).
"""

import subprocess
import sys

PROGRAM = """
import tensorflow as tf

x, weight = tf.ones((1, 14, 1, 4), tf.{0}), tf.ones((3, 2, 1, 8), tf.{0})
for _ in range(200):
    tf.nn.conv2d(x, weight, 2, [[0, 0], [1, 1], [3, 3], [0, 0]], dilations=(3, 2))
"""
for dtype in ("float32", "bfloat16"):
    run = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(dtype)], capture_output=True, check=False
    )
    print(f"{dtype}: got exit status {run.returncode}, expected 0")
sys.exit(run.returncode != 0)
