"""tinygrad accepts a dilation of 0, and one below 0, whose output is larger than the input.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6.

Expected: an exception. With a dilation of 0 all taps of the kernel 1, 10, 100 lie on one element,
which comes out 111 times. With -1 the sizes give 4 - (-1) * (3 - 1) = 6 columns for an input of 4,
and windows go round the row: 341 is no three neighbours of 1, 2, 3, 4 in either direction.

conv2d's page refers to PyTorch's Conv2d (https://docs.tinygrad.org/tensor/ops/), which refuses
both: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

Reported as https://github.com/tinygrad/tinygrad/pull/14115, which was closed as stale.
"""

import sys

from tinygrad import Tensor

x = Tensor([1.0, 2.0, 3.0, 4.0], device="CPU").reshape(1, 1, 1, 4)
weight = Tensor([1.0, 10.0, 100.0], device="CPU").reshape(1, 1, 1, 3)
accepted = {}
for dilation in (0, -1):
    try:
        accepted[dilation] = x.conv2d(weight, dilation=(1, dilation)).flatten().tolist()
        print(f"dilation {dilation}: got {accepted[dilation]}")
    except (AssertionError, RuntimeError, ValueError) as error:
        print(f"dilation {dilation}: {error}")
print("expected an exception for both")
sys.exit(bool(accepted))
