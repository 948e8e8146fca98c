"""TensorFlow refuses gradients of dilated and of grouped convolutions that oneDNN does not serve.

Seen in tensorflow-cpu 2.21.0, Linux x86-64: in float16 and float64, and in all dtypes with explicit
padding. In float32 and bfloat16 with VALID or SAME, oneDNN gives them.

Expected, by hand: each output is 1 * 1, so with an error of 1 at each of them the gradient of a
weight's element is the number of the outputs that it meets: 2 for two taps at a distance of 2 over
four columns, and 4 for each of two groups. The outputs of all calls are right.

tf.nn.conv2d has dilations and explicit padding for all its types, and Keras' layer of it has
groups; neither page limits gradients: https://www.tensorflow.org/api_docs/python/tf/nn/conv2d,
https://www.tensorflow.org/api_docs/python/tf/keras/layers/Conv2D

Reported: https://github.com/tensorflow/tensorflow/issues/28264 (dilation),
https://github.com/tensorflow/tensorflow/issues/51825 (groups)
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf

CALLS = {
    "dilation": ((1, 1, 4, 1), (1, 2, 1, 1), 2, [2.0, 2.0]),
    "groups": ((1, 1, 4, 2), (1, 1, 1, 2), 1, [4.0, 4.0]),
}
KINDS = (("VALID", tf.float32), ("VALID", tf.float64), ([[0, 0]] * 4, tf.float32))
wrong = False
for name, (size, kernel, dilation, expected) in CALLS.items():
    for padding, dtype in KINDS:
        x, weight = tf.ones(size, dtype), tf.ones(kernel, dtype)
        with tf.device("CPU:0"), tf.GradientTape() as tape:
            tape.watch(weight)
            output = tf.nn.conv2d(x, weight, 1, padding, dilations=dilation)
        try:
            got = tape.gradient(output, weight, tf.ones_like(output)).numpy().ravel().tolist()
        except tf.errors.OpError as error:
            got = error.message
        print(f"{name}, padding {padding}, {dtype.name}: got {got}, expected {expected}")
        wrong |= got != expected
sys.exit(wrong)
