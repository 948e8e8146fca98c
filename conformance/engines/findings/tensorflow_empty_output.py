"""TensorFlow with oneDNN returns the input where an output has no elements.

Seen in tensorflow-cpu 2.21.0, Linux x86-64, in float32 and bfloat16.

Expected, by hand: a kernel of 3 rows has no place in 2; the number of rows is
ceil((2 - 3 + 1) / 1) = 0, that of the columns ceil((4 - 2 + 1) / 1) = 3, and the weight has 5
features: an output of (1, 0, 3, 5). TensorFlow returns the input, of shape (1, 2, 4, 3). Of no
images of 5 x 4 it is (0, 3, 3, 5), and TensorFlow returns (0, 5, 4, 3). In float64, which oneDNN
does not serve, and with TF_ENABLE_ONEDNN_OPTS=0, the shapes are right.

The number of outputs under VALID: https://www.tensorflow.org/api_docs/python/tf/nn

Reported of a layer of Keras: https://github.com/tensorflow/tensorflow/issues/65214
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

wrong = False
for size, expected in (((1, 2, 4, 3), (1, 0, 3, 5)), ((0, 5, 4, 3), (0, 3, 3, 5))):
    for dtype in (tf.float64, tf.bfloat16, tf.float32):
        with tf.device("CPU:0"):
            x, weight = tf.ones(size, dtype), tf.ones((3, 2, 3, 5), dtype)
            got = tuple(tf.nn.conv2d(x, weight, 1, "VALID").shape)
        print(f"{dtype.name}: got {got}, expected {expected}")
        wrong |= got != expected
sys.exit(wrong)
