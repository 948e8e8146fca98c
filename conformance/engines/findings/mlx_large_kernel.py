"""MLX accepts a kernel larger than its input where the stride is larger still, and reads beyond it.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected: a refusal, as for a stride of 1. A kernel of 7 rows has no place in 4. The number of
outputs is computed as (4 - 7) / 5 + 1 in integers, and C++ cuts the quotient -3 / 5 to 0: one
output, which sums the rows of the input and three rows of whatever memory lies behind.

MLX' own words for a stride of 1: spatial dimensions of the input after padding cannot be smaller
than those of the weight. https://github.com/ml-explore/mlx/blob/main/mlx/ops.cpp

PyTorch had the same: https://github.com/pytorch/pytorch/issues/9640. No public report found for
MLX (searched 2026-11-21).
"""

import sys

import mlx.core as mx

accepted = {}
with mx.stream(mx.cpu):
    x, weight = mx.ones((1, 4, 5, 1)), mx.ones((1, 7, 1, 1))
    for stride in (1, 5):
        try:
            accepted[stride] = mx.conv2d(x, weight, stride=(stride, 1))
            print(f"stride {stride}: got {accepted[stride].reshape(-1).tolist()}")
        except ValueError as error:
            print(f"stride {stride}: {error}")
print("expected an exception for both")
sys.exit(bool(accepted))
