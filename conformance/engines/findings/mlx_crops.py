"""MLX cuts a crop short at the input, though padding on the other side is there to be cropped too.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected, by hand: an input of 1 row with 3 rows of padding above and -2 below has 1 - 2 + 3 = 2
rows, both of zeros; a kernel of 1 x 1 leaves 2 rows. MLX takes what it can from the input, one row,
then adds the padding: 3 rows.

MLX added negative padding, as a slice of the input, for gradients, where padding is cropped like
this: https://github.com/ml-explore/mlx/pull/907. So the weight gradients of
mlx_weight_gradient_shape.py are wrong by it.

No public report found (searched 2026-11-21).
"""

import sys

import mlx.core as mx

with mx.stream(mx.cpu):
    x, weight = mx.ones((1, 1, 1, 1)), mx.ones((1, 1, 1, 1))
    got = mx.conv_general(x, weight, padding=([3, 0], [-2, 0])).shape
print(f"got {got}, expected (1, 2, 1, 1)")
sys.exit(got != (1, 2, 1, 1))
