"""MLX ends Python, with exit status 0, on a kernel without rows and on a weight without features.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected: an exception for a kernel without rows, as for one that does not fit, or an output; for a
weight of no features an output of no channels. But not that a program stops in its middle and
tells its caller that all is well: the sizes reach a matrix product of OpenBLAS that calls them
illegal and ends the process. Other kernels without rows, with a dilation, are accepted and give
an output of one row more than the padded input has.

MLX refuses strides, dilations and groups that are not positive by a ValueError:
https://github.com/ml-explore/mlx/blob/main/mlx/ops.cpp

No public report found (searched 2026-11-21).
"""

import subprocess
import sys

CALLS = {
    "a kernel without rows": "mx.conv2d(mx.ones((1, 3, 4, 1)), mx.ones((2, 0, 1, 1)))",
    "a weight without features": "mx.conv2d(mx.ones((1, 3, 4, 1)), mx.ones((0, 1, 1, 1)))",
}
wrong = False
for name, call in CALLS.items():
    code = (
        "import mlx.core as mx\nmx.set_default_device(mx.cpu)\n"
        f"try:\n    mx.eval({call})\nexcept ValueError:\n    pass\nprint('goes on')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    goes_on = "goes on" in run.stdout
    print(f"{name}: exit status {run.returncode}; Python {'goes on' if goes_on else 'has ended'}")
    wrong = wrong or not goes_on
sys.exit(wrong)
