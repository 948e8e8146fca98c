"""tinygrad sums memory that nobody wrote, or fails, where no window meets the input.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6 and 19.1.7.

Expected, by hand: an input of 1 row with a padding of 3 has 7 rows, of which row 3 is the input.
A kernel of 2 rows with a dilation of 2 and a stride of 2 has windows on the rows 0 and 2, 2 and 4,
4 and 6: none is row 3. Each sum is 0, and the bias of 7 is what is left. tinygrad returns NaN. The
same along the columns of a smaller input, with two images and channels, is refused.

As all terms are zeros of the padding, they are dropped while the kernel is made, and what should
hold their sum is stored without ever being set: the C code, which DEBUG=4 prints, has an empty
loop in place of the sum. C leaves open what that memory holds, so other sizes give other numbers,
without a bias too, and so do input gradients. With NOOPT=1, which leaves out tinygrad's
optimizations, both calls are right.

tinygrad documents padding as zeros and sets no least number of windows that meet the input:
https://docs.tinygrad.org/tensor/ops/#tinygrad.Tensor.conv2d

No report of a convolution found (searched 2026-11-21). A kernel of the same form, with an empty
loop, is shown for another cause in https://github.com/tinygrad/tinygrad/pull/17567, and
https://github.com/tinygrad/tinygrad/pull/17895, of the week after this release, gives sums of
nothing their zero; whether that mends this was not tried.
"""

import sys

import numpy as np
from tinygrad import Tensor

CALLS = {
    "windows beside a row": (
        ((1, 1, 1, 4), (1, 1, 2, 4)),
        {"stride": (2, 1), "padding": (3, 0), "dilation": (2, 1)},
    ),
    "windows beside a column": (
        ((2, 2, 1, 1), (2, 2, 1, 2)),
        {"stride": (1, 2), "padding": (0, 3), "dilation": (1, 2)},
    ),
}
wrong = False
for name, (shapes, parameters) in CALLS.items():
    x, weight = (Tensor(np.ones(shape, np.float32), device="CPU") for shape in shapes)
    bias = Tensor(np.full(len(weight), 7, np.float32), device="CPU")
    try:
        got = x.conv2d(weight, bias, **parameters).numpy()
    except ValueError as error:
        print(f"{name}: {error}; expected 7")
        wrong = True
    else:
        print(f"{name}: got {got.ravel().tolist()}, expected 7")
        wrong = wrong or bool((got != 7).any())
sys.exit(wrong)
