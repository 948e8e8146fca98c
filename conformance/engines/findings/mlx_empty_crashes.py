"""MLX ends the process on a convolution without input channels, and on gradients of no images.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected: a sum over no channels is 0, so each call gives zeros of the shape that the sizes say:
an output of (1, 3, 4, 2) without channels; without images, gradients of zeros for the weight and
of nothing for the input. The number of groups is computed as channels by channels of a group, and
0 by 0 ends the process by a floating-point exception, which no Python code can catch.

MLX has arrays without elements, and mlx.core.conv2d answers for a batch of no images:
https://ml-explore.github.io/mlx/build/html/python/_autosummary/mlx.core.conv2d.html

The same exception with groups=0 was reported, and mended:
https://github.com/ml-explore/mlx/issues/2858
"""

import subprocess
import sys

CALLS = {
    "an output without channels": "mx.conv2d(mx.ones((1, 3, 4, 0)), mx.ones((2, 1, 1, 0)))",
    "gradients without images": (
        "mx.vjp(lambda x, w: mx.conv2d(x, w, groups=2), "
        "[mx.ones((0, 3, 4, 2)), mx.ones((2, 1, 1, 1))], [mx.ones((0, 3, 4, 2))])[1]"
    ),
}
statuses = []
for name, call in CALLS.items():
    code = f"import mlx.core as mx\nmx.set_default_device(mx.cpu)\nmx.eval({call})"
    statuses.append(subprocess.run([sys.executable, "-c", code], check=False).returncode)
    print(f"{name}: got exit status {statuses[-1]}, expected 0")
sys.exit(any(statuses))
