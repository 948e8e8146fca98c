"""torch: in bfloat16 a NaN of one group shows in another, in channels-last convolutions.

Seen with torch 2.13.0+cpu (oneDNN 3.12.0) on an x86-64 processor with AVX-512 and its bfloat16
instructions, where a group has an odd number of channels and images have ``torch.channels_last``.

Expected, by hand: a kernel of one pixel and two groups of one channel each. Outputs 3 to 5 of the
second group are products of channel 1 alone, which holds ones; so they are 1. The NaN in channel 0,
row 1, column 1 may show in outputs 0 to 2 at that place and nowhere else. torch has it in outputs 3
to 5 of row 1, column 0, too: in memory that pixel's channel 1 has the NaN as its neighbour, and the
instructions take numbers in pairs. A product with zero does not remove a NaN.
torch.nn.Conv2d documents groups as convolutions side by side, each of its own channels:
https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

Reported: not this one, as far as was found (searched 2026-11-21); of the same kind, for products of
matrices, is https://github.com/uxlfoundation/oneDNN/issues/5717.
"""

import sys

import torch

if __name__ == "__main__":
    x = torch.ones(2, 2, 5, 4, dtype=torch.bfloat16).to(memory_format=torch.channels_last)
    x[1, 0, 1, 1] = torch.nan
    w = torch.ones(6, 1, 1, 1, dtype=torch.bfloat16)
    y = torch.nn.functional.conv2d(x, w, groups=2)
    got = [tuple(place) for place in y.isnan().nonzero().tolist()]
    expected = [(1, feature, 1, 1) for feature in range(3)]
    print(f"torch {torch.__version__}")
    print(f"NaN: got {got}, expected {expected}")
    sys.exit(got != expected)
