"""torch: one channel, an output of one column, a stride along the width: wrong in channels-last.

Seen with torch 2.13.0+cpu (oneDNN 3.12.0, ``brg_conv_fwd:avx512_core``) on an x86-64 processor with
AVX-512, in float32, from two images on, with one thread and with two. It is enough that either the
image or the weight has ``torch.channels_last``: with one channel a contiguous image counts as both.

Expected, by hand: a kernel of ones adds what it covers. The rows of the first image sum to 6, 15,
24 and 33, three of them to 45 and to 72; those of the second to 42, 51, 60 and 69, and 153 and 180.
torch gives 44 and 104 where 72 and 180 belong. The definition is the formula of torch.nn.Conv2d,
in which a memory format has no part:
https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

Reported: not this one, as far as was found (searched 2026-11-21). In three dimensions and bfloat16
the condition is the same, one column of output and a stride along it:
https://github.com/pytorch/pytorch/issues/169688.
"""

import sys

import torch

if __name__ == "__main__":
    x = torch.arange(1.0, 25.0).reshape(2, 1, 4, 3).to(memory_format=torch.channels_last)
    w = torch.ones(1, 1, 3, 3).to(memory_format=torch.channels_last)
    y = torch.nn.functional.conv2d(x, w, stride=(1, 2))
    expected = [45.0, 72.0, 153.0, 180.0]
    print(f"torch {torch.__version__}")
    print(f"got {y.flatten().tolist()}, expected {expected}")
    sys.exit(y.flatten().tolist() != expected)
