"""tinygrad rounds each product of bfloat16 numbers to bfloat16 before it sums them in float32.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6.

Expected where products are kept until the sum, by hand: (1 + 2**-7) * (1 + 2**-7) - (1 + 2**-6) is
2**-14, which bfloat16 holds. The square is 1 + 2**-6 + 2**-14, of which bfloat16 keeps 1 + 2**-6:
tinygrad returns 0. The same with float16, 2**-10 in place of 2**-7, gives 2**-20, as the square is
kept in float32 there.

What is right is open: tinygrad's convolution is a product and a sum of tensors, and the sum's page
names float32 for its terms, not for what makes them:
https://docs.tinygrad.org/tensor/ops/#tinygrad.Tensor.sum

No public report found (searched 2026-11-21).
"""

import sys

import numpy as np
from tinygrad import Tensor, dtypes


def tensor(numbers):
    """Return numbers that bfloat16 holds as such a tensor of two channels, by their bits."""
    bits = np.array(numbers, np.float32).view(np.uint32) >> 16
    return Tensor(bits.astype(np.uint16), device="CPU").bitcast(dtypes.bfloat16).reshape(1, 2, 1, 1)


output = tensor([1 + 2**-7, 1]).conv2d(tensor([1 + 2**-7, -(1 + 2**-6)]))
got = output.float().item()
print(f"got {got}, expected {2.0**-14}")
sys.exit(got != 2.0**-14)
