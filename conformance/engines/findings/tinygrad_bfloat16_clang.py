"""tinygrad's kernels with arrays of bfloat16 need a clang that knows the type on the processor.

Seen in tinygrad 0.14.0 on the CPU, Linux x86-64, with clang 14.0.6, which is Debian 12's.

Expected: the two numbers, or an exception that says what is missing. tinygrad names bfloat16 among
the types of this device, computes in float32 by its own rules, and needs the compiler for no more
than the name of the type, __bf16, which clang 14 refuses on x86-64 and 19.1.7 takes. The same
numbers sent as integers and viewed as bfloat16 compile, and so npconv's adapter sends its arrays;
where no window meets the input, kernels need the name all the same.

The types: https://docs.tinygrad.org/dtypes/

Reported as https://github.com/tinygrad/tinygrad/issues/3453 for this compiler, and still open as
https://github.com/tinygrad/tinygrad/issues/6909
"""

import subprocess
import sys

from tinygrad import Tensor, dtypes

try:
    got = Tensor([1.5, 2.5], device="CPU").cast(dtypes.bfloat16).realize().float().tolist()
except subprocess.CalledProcessError as error:
    got = f"exit status {error.returncode} of {error.cmd[0]}"
print(f"got {got}, expected [1.5, 2.5]")
sys.exit(got != [1.5, 2.5])
