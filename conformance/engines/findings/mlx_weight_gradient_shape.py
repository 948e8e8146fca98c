"""MLX gives a grouped weight gradient a wrong shape where a stride leaves most of the padding over.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected, by hand: an input of 1 row with a padding of 2 has 5 rows; the first window of 1 row is at
row 0, and a stride of 5 leaves no other: the output has 1 row. The tap meets a zero of the padding,
so its gradient is 0, of the weight's shape (2, 1, 1, 1). MLX returns 2 rows.

The gradient correlates the padded input with the error; of the 5 rows, the 4 that no window
reaches are to be taken off again, which is 2 more than the padding that was added below. MLX takes
them from the input, which has one, before it adds the padding above, so that one remains too many.
So it is with groups, or with a dilation, wherever the remainder of the stride exceeds the padding
below and the input together.

A gradient has the shape of what it is taken by:
https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.vjp.html

Of other sizes reported, and mended, as https://github.com/ml-explore/mlx/issues/2184
"""

import sys

import mlx.core as mx

with mx.stream(mx.cpu):
    x, weight = mx.ones((1, 1, 1, 2)), mx.ones((2, 1, 1, 1))

    def convolve(weight):
        """Return an output of one row and one column."""
        return mx.conv2d(x, weight, stride=(5, 1), padding=(2, 0), groups=2)

    outputs, gradients = mx.vjp(convolve, [weight], [mx.ones((1, 1, 1, 2))])
    print(f"output of shape {outputs[0].shape}")
    print(f"got a gradient of shape {gradients[0].shape}, expected {weight.shape}")
sys.exit(gradients[0].shape != weight.shape)
