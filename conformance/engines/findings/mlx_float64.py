"""MLX computes float64 convolutions in float32, and refuses those with a gradient or a dilation.

Seen in mlx 0.32.4 on the CPU, Linux x86-64.

Expected, by hand: a kernel of one tap, 1, returns its input, here 1 + 2**-40, which float64 holds;
MLX returns 1, its nearest float32, in an array that says float64. With a dilation of 2 the same
kernel is refused as of an unsupported dtype, and so is its gradient.

MLX documents float64 as a type that works on the CPU, with no exception for convolutions, and its
matrix product keeps all bits: https://ml-explore.github.io/mlx/build/html/python/data_types.html

No public report found (searched 2026-11-21).
"""

import sys

import mlx.core as mx
import numpy as np

value = 1 + 2.0**-40
with mx.stream(mx.cpu):
    x = mx.array(np.full((1, 1, 1, 1), value), mx.float64)
    weight = mx.array(np.ones((1, 1, 1, 1)), mx.float64)
    got = mx.conv2d(x, weight)
    print(f"got {got.item()!r} as {got.dtype}, expected {value!r}")
    wrong = got.item() != value
    calls = {
        "dilation": lambda: mx.conv2d(x, weight, dilation=2),
        "gradient": lambda: mx.vjp(mx.conv2d, [x, weight], [x])[1][0],
    }
    for name, call in calls.items():
        try:
            print(f"{name}: got {call().item()!r}, expected {value!r}")
        except ValueError as error:
            print(f"{name}: {error} Expected {value!r}")
            wrong = True
sys.exit(wrong)
