"""tinygrad's layer Conv2d refuses a stride of (1, 1) with padding 'same', and takes 1.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64.

Expected: a layer, as for a stride of 1. tinygrad compares what it was given with the number 1.
npconv's adapter gives the number.

The layer's page refers to PyTorch's, where a stride is a number or a pair, and 'same' refuses
strides other than 1: https://docs.pytorch.org/docs/stable/generated/torch.nn.Conv2d.html

No public report found (searched 2026-11-21).
"""

import sys

from tinygrad import nn

refused = False
for stride in (1, (1, 1)):
    try:
        nn.Conv2d(1, 1, 3, stride=stride, padding="same")
        print(f"stride {stride}: a layer")
    except ValueError as error:
        print(f"stride {stride}: {error}; expected a layer")
        refused = True
sys.exit(refused)
