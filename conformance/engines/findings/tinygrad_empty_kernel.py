"""tinygrad accepts a kernel without rows, and returns one row more than the input has.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6.

Expected: an exception. A kernel of 0 rows has 3 - (0 - 1) = 4 places in 3 rows by the formula of
the sizes, each of them empty; tinygrad returns 4 rows of zeros.

conv2d's page refers to PyTorch's Conv2d (https://docs.tinygrad.org/tensor/ops/), which refuses
such a kernel: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

No public report found (searched 2026-11-21).
"""

import sys

from tinygrad import Tensor

x, weight = Tensor.ones(1, 1, 3, 4, device="CPU"), Tensor.ones(2, 1, 0, 1, device="CPU")
try:
    got = x.conv2d(weight).shape
except (AssertionError, RuntimeError, ValueError) as error:
    print(f"refused: {error}")
    sys.exit(0)
print(f"got an output of shape {got}, expected an exception")
sys.exit(1)
