"""tinygrad refuses a crop that is longer than the input, though padding is there to be cropped too.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6.

Expected where padding comes before cropping, as in XLA's Pad
(https://openxla.org/xla/operation_semantics#pad): an input of 1 row with 3 rows of padding above
and -2 below has 1 + 3 - 2 = 2 rows, both of zeros; a kernel of 1 x 1 leaves 2 rows. tinygrad takes
-2 from the input first, which has one row, and refuses.

What comes first is open: tinygrad documents negative padding as a shrink that works like Python's
negative slices, which never fail: https://docs.tinygrad.org/tensor/movement/#tinygrad.Tensor.pad

No public report found (searched 2026-11-21).
"""

import sys

from tinygrad import Tensor

x, weight = (Tensor.ones(1, 1, 1, 1, device="CPU") for _ in range(2))
try:
    # Left, right, top, bottom.
    got = x.conv2d(weight, padding=(0, 0, 3, -2)).shape
except ValueError as error:
    got = error
print(f"got {got}, expected (1, 1, 2, 1)")
sys.exit(got != (1, 1, 2, 1))
