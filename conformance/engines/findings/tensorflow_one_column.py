"""TensorFlow with oneDNN leaves outputs of one column wrong, from two images of one channel on.

Seen in tensorflow-cpu 2.21.0, Linux x86-64 with AVX-512, in float32 and bfloat16.

Expected, by hand: two images of 2 x 3, numbered from 1, and a kernel of 1 x 3 ones: each output is
the sum of one row, 6, 15, 24 and 33. A stride of 4 along the width changes nothing, as only one
window fits. TensorFlow returns 6, 0, 24, 0, in other sizes numbers of no meaning. Stride 3 or 6,
float64 and TF_ENABLE_ONEDNN_OPTS=0 give what is right.

It takes two images or more, one input channel, an output of one column and more rows, stride 1
along the height, and a stride along the width that the sizes do not divide.

What each output is: https://www.tensorflow.org/api_docs/python/tf/nn/conv2d

No public report found (searched 2026-11-21).
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

expected = [6.0, 15.0, 24.0, 33.0]
wrong = False
for dtype in (tf.float64, tf.float32):
    x = tf.reshape(tf.range(1, 13, dtype=dtype), (2, 2, 3, 1))
    weight = tf.ones((1, 3, 1, 1), dtype)
    for stride in (3, 4, 5):
        with tf.device("CPU:0"):
            got = tf.nn.conv2d(x, weight, (1, stride), "VALID").numpy().ravel().tolist()
        print(f"{dtype.name}, stride {stride}: got {got}, expected {expected}")
        wrong |= got != expected
sys.exit(wrong)
