"""MLX ends the process on a convolution of no groups.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected: an exception, as for a number of groups that does not divide the channels. MLX divides
by the number of groups first, and a floating-point exception ends the process.

Reported, and said to be mended, as https://github.com/ml-explore/mlx/issues/2858
"""

import subprocess
import sys

PROGRAM = """
import mlx.core as mx

mx.set_default_device(mx.cpu)
try:
    mx.eval(mx.conv2d(mx.ones((1, 3, 4, 2)), mx.ones((2, 1, 1, 2)), groups=0))
except ValueError:
    pass
"""
status = subprocess.run([sys.executable, "-c", PROGRAM], check=False).returncode
print(f"got exit status {status}, expected 0, after an exception")
sys.exit(status != 0)
