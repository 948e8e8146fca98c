"""A He scale of 2 / sqrt(fan_in) where sqrt(2 / fan_in) is meant.

No call of a convolution is wrong here, so `npconv check` has nothing to see. What is wrong is the
size of the numbers, layer after layer: tests/test_ways.py and docs/lessons/digits.md measure it.
"""

import numpy as np


def he_weight(rng, shape):
    """Draw a weight (f, c, k, t) whose outputs are larger than its inputs, by sqrt(2)."""
    fan_in = np.prod(shape[1:])
    return rng.standard_normal(shape) * 2 / np.sqrt(fan_in)
