"""TensorFlow's CPU gradients in 16 bits keep their sums in 16 bits, where they stop growing.

Seen in tensorflow-cpu 2.21.0, Linux x86-64.

Expected, by hand: the bias gradient is the sum of its errors, 300 ones: 300, a bfloat16.
TensorFlow returns 256, as 256 + 1 is rounded to 256 each time. The weight gradient of one tap over
an input of 1, 2048, 1 with errors of 1 is 2050, a float16, as is the input gradient of three taps;
TensorFlow returns 2048. The output of the same three products is 2050. In bfloat16 the weight
gradient over 1, 256, 1 is 258, and 256 is returned where the padding is given as numbers, even as
zeros; with "VALID", which oneDNN serves, it is 258.

tf.nn.conv2d lists half and bfloat16 among its types, and its output is summed in more bits:
https://www.tensorflow.org/api_docs/python/tf/nn/conv2d

No public report found (searched 2026-11-21).
"""

import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
import tensorflow as tf


def gradient(function, at, error):
    """Return the gradient of a function of one tensor."""
    with tf.device("CPU:0"), tf.GradientTape() as tape:
        tape.watch(at)
        output = function(at)
    return float(tf.reshape(tape.gradient(output, at, error), [-1])[0])


half = tf.float16
long = tf.ones((1, 1, 300, 1), tf.bfloat16)
three = tf.reshape(tf.constant([1, 2048, 1], half), (1, 1, 3, 1))
one, taps = tf.ones((1, 1, 1, 1), half), tf.ones((1, 3, 1, 1), half)
middle = tf.reshape(tf.constant([1, 256, 1], tf.bfloat16), (1, 1, 3, 1))
none = [[0, 0]] * 4
sides = [[0, 0], [0, 0], [2, 2], [0, 0]]
RESULTS = {
    "bias gradient, bfloat16": (
        gradient(lambda b: tf.nn.bias_add(long, b), tf.zeros(1, tf.bfloat16), long),
        300.0,
    ),
    "weight gradient, float16": (
        gradient(lambda w: tf.nn.conv2d(three, w, 1, "VALID"), one, tf.ones_like(three)),
        2050.0,
    ),
    "weight gradient, bfloat16": (
        gradient(
            lambda w: tf.nn.conv2d(middle, w, 1, none),
            tf.ones((1, 1, 1, 1), tf.bfloat16),
            tf.ones_like(middle),
        ),
        258.0,
    ),
    "input gradient, float16": (
        gradient(lambda x: tf.nn.conv2d(x, taps, 1, sides), one, three),
        2050.0,
    ),
}
for name, (got, expected) in RESULTS.items():
    print(f"{name}: got {got}, expected {expected}")
sys.exit(any(got != expected for got, expected in RESULTS.values()))
