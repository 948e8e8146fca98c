"""JAX lets an infinity in one group of channels make NaN in another.

Seen in jax and jaxlib 0.10.2 on the CPU: in float64 outputs and input gradients, and in float32
weight gradients.

Expected, by hand: with two groups of one channel and a kernel of 1 x 1 ones, the output is the
input, 1 and infinity. JAX returns NaN for the 1. A grouped convolution is computed there as one
with a further axis, dilated by inserted zeros, and these are multiplied: zero times infinity.

XLA's groups are independent convolutions, and its dilation inserts holes that are no operations:
https://openxla.org/xla/operation_semantics#conv_convolution

No public report found (searched 2026-11-21).
"""

import sys

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_platforms", "cpu")


@jax.jit
def convolve(x, weight):
    """Return the output of two groups."""
    return jax.lax.conv_general_dilated(
        x,
        weight,
        (1, 1),
        "VALID",
        dimension_numbers=("NCHW", "OIHW", "NCHW"),
        feature_group_count=2,
    )


x = np.array([1.0, np.inf]).reshape(1, 2, 1, 1)
got = np.asarray(convolve(x, np.ones((2, 1, 1, 1)))).ravel().tolist()
print(f"output, float64: got {got}, expected {[1.0, np.inf]}")

x, weight = np.ones((1, 4, 1, 1), np.float32), np.ones((6, 2, 1, 1), np.float32)
error = np.ones((1, 6, 1, 1), np.float32)
error[0, 3] = np.inf
of_weight = jax.jit(lambda g: jax.vjp(lambda w: convolve(x, w), weight)[1](g)[0])
gradient = np.asarray(of_weight(error))[:, 0].ravel().tolist()
expected = [1.0, 1.0, 1.0, np.inf, 1.0, 1.0]
print(f"weight gradient, float32: got {gradient}, expected {expected}")
sys.exit(got != [1.0, np.inf] or gradient != expected)
