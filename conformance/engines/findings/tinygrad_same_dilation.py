"""tinygrad's layer Conv2d pads each axis for the other axis's dilation where padding is 'same'.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64.

Expected: an output as large as the input, which is what 'same' says. By hand: a kernel of 1 x 3
whose columns have a dilation of 1 spans 3 columns, so that 5 columns need 2 of padding. tinygrad
pads 4, for the dilation of 2 that is the rows', and returns 7 columns. Where the padding falls
short, it may refuse the kernel as too large.

The layer's page refers to PyTorch's, where 'same' keeps the input's shape:
https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

Reported, and mended after this release, as https://github.com/tinygrad/tinygrad/pull/17805
"""

import sys

from tinygrad import Tensor, nn

layer = nn.Conv2d(1, 1, (1, 3), padding="same", dilation=(2, 1))
got = layer(Tensor.ones(1, 1, 4, 5)).shape
print(f"got {got}, expected (1, 1, 4, 5)")
sys.exit(got != (1, 1, 4, 5))
