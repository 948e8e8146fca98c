"""What npconv is measured against: each peer makes a call, ready to be timed, or has none.

A peer's factory takes a `Problem` and an operation and returns a function without arguments, or
None where it has no such operation. Its imports are its own: what is not installed is skipped
by name. Nothing here is checked for speed alone: `check` compares each peer's result once.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

import npconv

Array = np.ndarray[Any, np.dtype[Any]]
Call = Callable[[], Any]

OPERATIONS = ("forward", "grad_input", "grad_weight")


@dataclass(frozen=True)
class Layer:
    """Sizes of one layer, square in space: batch, channels, extent, features, kernel and so on."""

    batch: int
    channels: int
    extent: int
    features: int
    kernel: int
    stride: int = 1
    padding: int = 0
    groups: int = 1

    @property
    def out(self) -> int:
        """Extent of the output."""
        return (self.extent + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def depth(self) -> int:
        """Products in one element of the output."""
        return self.channels // self.groups * self.kernel**2

    @property
    def flops(self) -> int:
        """Multiplications and additions of each operation, zeros of the padding included."""
        return 2 * self.batch * self.features * self.out**2 * self.depth


@dataclass(frozen=True)
class Problem:
    """A layer with its arrays."""

    layer: Layer
    input: Array
    weight: Array
    grad_output: Array

    @property
    def parameters(self) -> dict[str, int]:
        """Stride, padding and groups."""
        layer = self.layer
        return {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}


def problem(layer: Layer, dtype: str, seed: int = 0) -> Problem:
    """Draw the arrays of a layer."""
    rng = np.random.default_rng(seed)

    def draw(*shape: int) -> Array:
        # Filled in place: a temporary would hide in the peak of the memory measurement.
        array = np.empty(shape, dtype)
        rng.random(dtype=array.dtype.type, out=array)
        array -= array.dtype.type(0.5)
        return array

    return Problem(
        layer,
        draw(layer.batch, layer.channels, layer.extent, layer.extent),
        draw(layer.features, layer.channels // layer.groups, layer.kernel, layer.kernel),
        draw(layer.batch, layer.features, layer.out, layer.out),
    )


def of_npconv(p: Problem, operation: str, module: Any = npconv) -> Call:
    """Return a call of npconv, or of npconv.exact."""
    x, w, g, parameters = p.input, p.weight, p.grad_output, p.parameters
    return {
        "forward": lambda: module.conv2d(x, w, **parameters),
        "grad_input": lambda: module.conv2d_input(x.shape, w, g, **parameters),
        "grad_weight": lambda: module.conv2d_weight(x, w.shape, g, **parameters),
        "backward": lambda: module.conv2d_backward(g, x, w, **parameters),
    }[operation]


def of_torch(p: Problem, operation: str) -> Call:
    """Run torch's operators on the same memory, without autograd's bookkeeping."""
    import torch

    x, w, g = (torch.from_numpy(a) for a in (p.input, p.weight, p.grad_output))
    s, pad, groups = ([p.layer.stride] * 2, [p.layer.padding] * 2, p.layer.groups)
    bias = [p.layer.features]

    def backward(*mask: bool) -> Any:
        gradients = torch.ops.aten.convolution_backward(
            g, x, w, bias, s, pad, [1, 1], False, [0, 0], groups, mask
        )
        return next(gradient.numpy() for gradient in gradients if gradient is not None)

    return {
        "forward": lambda: torch.conv2d(x, w, None, s, pad, [1, 1], groups).numpy(),
        "grad_input": lambda: backward(True, False, False),
        "grad_weight": lambda: backward(False, True, False),
        "backward": lambda: backward(True, True, True),
    }[operation]


def of_matmul(p: Problem, operation: str) -> Call:
    """The bare matrix product of the same FLOPs: no windows, no padding, the limit of BLAS."""
    layer, g = p.layer, p.layer.groups
    f, k = layer.features // g, layer.depth
    positions = layer.batch * layer.out**2
    rng = np.random.default_rng(1)
    sizes = {
        "forward": (f, k, positions),
        "grad_input": (k, f, positions),
        "grad_weight": (f, positions, k),
    }[operation]
    left, right = rng.random((g, sizes[0], sizes[1])), rng.random((g, sizes[1], sizes[2]))
    return lambda: np.matmul(left, right)


def of_einsum(p: Problem, operation: str) -> Call:
    """Naive NumPy: pad, all windows at once, one einsum whose path NumPy chooses."""
    layer, pad = p.layer, p.layer.padding
    g, s, k = layer.groups, layer.stride, layer.kernel

    def grouped(array: Array, axis: int) -> Array:
        shape = array.shape
        return array.reshape(*shape[:axis], g, shape[axis] // g, *shape[axis + 1 :])

    def windows(array: Array, stride: int) -> Array:
        view = np.lib.stride_tricks.sliding_window_view(array, (k, k), axis=(2, 3))
        return grouped(view[:, :, ::stride, ::stride], 1)

    w, e = grouped(p.weight, 0), grouped(p.grad_output, 1)

    def padded() -> Array:
        return np.pad(p.input, ((0, 0), (0, 0), (pad, pad), (pad, pad)))

    def forward() -> Array:
        y = np.einsum("ngcyxkt,gfckt->ngfyx", windows(padded(), s), w, optimize=True)
        return y.reshape(p.grad_output.shape)

    def grad_weight() -> Array:
        y = np.einsum("ngcyxkt,ngfyx->gfckt", windows(padded(), s), e, optimize=True)
        return y.reshape(p.weight.shape)

    def grad_input() -> Array:
        size = layer.extent + 2 * pad + k - 1
        shape = (layer.batch, layer.features, size, size)
        errors, reach = np.zeros(shape, p.weight.dtype), k - 1 + (layer.out - 1) * s + 1
        errors[:, :, k - 1 : reach : s, k - 1 : reach : s] = p.grad_output
        view = windows(errors, 1)
        y = np.einsum("ngfyxkt,gfckt->ngcyx", view, w[..., ::-1, ::-1], optimize=True)
        end = pad + layer.extent
        return y.reshape(layer.batch, layer.channels, *y.shape[3:])[:, :, pad:end, pad:end]

    return {"forward": forward, "grad_input": grad_input, "grad_weight": grad_weight}[operation]


def of_classroom(p: Problem, operation: str) -> Call | None:
    """im2col as courses teach it: index arrays, one large matrix, np.add.at for the way back."""
    layer, pad = p.layer, p.layer.padding
    if layer.groups > 1:
        return None
    k, s, out, channels = layer.kernel, layer.stride, layer.out, layer.channels
    rows = np.tile(np.repeat(np.arange(k), k), channels)[:, None]
    columns = np.tile(np.arange(k), k * channels)[:, None]
    rows = rows + s * np.repeat(np.arange(out), out)
    columns = columns + s * np.tile(np.arange(out), out)
    depth = np.repeat(np.arange(channels), k * k)[:, None]

    def matrix() -> Array:
        padded = np.pad(p.input, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        found = padded[:, depth, rows, columns]
        return found.transpose(1, 2, 0).reshape(layer.depth, -1)

    def forward() -> Array:
        y = p.weight.reshape(layer.features, -1) @ matrix()
        return y.reshape(layer.features, out, out, layer.batch).transpose(3, 0, 1, 2)

    def errors() -> Array:
        return p.grad_output.transpose(1, 2, 3, 0).reshape(layer.features, -1)

    def grad_weight() -> Array:
        return (errors() @ matrix().T).reshape(p.weight.shape)

    def grad_input() -> Array:
        found = p.weight.reshape(layer.features, -1).T @ errors()
        found = found.reshape(layer.depth, -1, layer.batch).transpose(2, 0, 1)
        size, end = layer.extent + 2 * pad, pad + layer.extent
        padded = np.zeros((layer.batch, channels, size, size), p.weight.dtype)
        np.add.at(padded, (slice(None), depth, rows, columns), found)
        return padded[:, :, pad:end, pad:end]

    return {"forward": forward, "grad_input": grad_input, "grad_weight": grad_weight}[operation]


def of_scipy(p: Problem, operation: str) -> Call | None:
    """scipy.signal.correlate of each image with each kernel, all windows, then the strided ones."""
    from scipy import signal

    layer, pad = p.layer, p.layer.padding
    if operation != "forward":
        return None
    per_group = layer.features // layer.groups
    part = layer.channels // layer.groups

    def forward() -> Array:
        padded = np.pad(p.input, ((0, 0), (0, 0), (pad, pad), (pad, pad)))
        y = np.empty_like(p.grad_output)
        for n, f in itertools.product(range(layer.batch), range(layer.features)):
            first = f // per_group * part
            whole = signal.correlate(padded[n, first : first + part], p.weight[f], "valid")
            y[n, f] = whole[0, :: layer.stride, :: layer.stride]
        return y

    return forward


def of_onnx(p: Problem, operation: str) -> Call | None:
    """Evaluate ONNX's Conv by its reference evaluator."""
    if operation != "forward":
        return None
    from onnx import TensorProto, helper
    from onnx.reference import ReferenceEvaluator

    layer = p.layer
    node = helper.make_node(
        "Conv", ["x", "w"], ["y"], strides=[layer.stride] * 2, pads=[layer.padding] * 4,
        group=layer.groups, kernel_shape=[layer.kernel] * 2,
    )  # fmt: skip
    infos = [helper.make_tensor_value_info(n, TensorProto.DOUBLE, None) for n in "xwy"]
    model = helper.make_model(helper.make_graph([node], "conv", infos[:2], infos[2:]))
    evaluator = ReferenceEvaluator(model)
    return lambda: evaluator.run(None, {"x": p.input, "w": p.weight})[0]


def of_jax(p: Problem, operation: str) -> Call:
    """Run jitted float64 JAX."""
    import jax

    jax.config.update("jax_enable_x64", True)
    layer = p.layer

    def conv(x: Any, w: Any) -> Any:
        pads = [(layer.padding, layer.padding)] * 2
        return jax.lax.conv_general_dilated(
            x, w, (layer.stride, layer.stride), pads,
            feature_group_count=layer.groups, precision=jax.lax.Precision.HIGHEST,
        )  # fmt: skip

    x, w, g = p.input, p.weight, p.grad_output
    function, arrays = {
        "forward": (conv, (x, w)),
        "grad_input": (lambda x, w, g: jax.vjp(conv, x, w)[1](g)[0], (x, w, g)),
        "grad_weight": (lambda x, w, g: jax.vjp(conv, x, w)[1](g)[1], (x, w, g)),
    }[operation]
    jitted = jax.jit(function)
    return lambda: np.asarray(jitted(*arrays))


def loops(x: Any, w: Any, y: Any, stride: int, padding: int, groups: int, few: int) -> None:
    """Fill the first `few` elements of y by seven nested loops: Numba compiles the same text."""
    batch, features, height, width = y.shape
    part, kernel = w.shape[1], w.shape[2]
    done = 0
    for n in range(batch):
        for f in range(features):
            first = f // (features // groups) * part
            for i in range(height):
                for j in range(width):
                    if done == few:
                        return
                    total = 0.0
                    for c in range(part):
                        for k in range(kernel):
                            u = i * stride + k - padding
                            if 0 <= u < x.shape[2]:
                                for t in range(kernel):
                                    v = j * stride + t - padding
                                    if 0 <= v < x.shape[3]:
                                        total += x[n, first + c, u, v] * w[f, c, k, t]
                    y[n, f, i, j] = total
                    done += 1


@cache
def compiled() -> Any:
    """Return the loops, compiled by Numba."""
    import numba

    return numba.njit(loops)


def of_numba(p: Problem, operation: str) -> Call | None:
    """Run the loops under Numba."""
    if operation != "forward":
        return None
    function, layer, y = compiled(), p.layer, np.empty_like(p.grad_output)

    def forward() -> Array:
        function(p.input, p.weight, y, layer.stride, layer.padding, layer.groups, y.size)
        return y

    return forward


#: Elements of the output that Python's loops work out; their time is scaled up to all.
FEW = 16


def of_python(p: Problem, operation: str) -> Call | None:
    """Run the loops in Python for the first elements only."""
    if operation != "forward":
        return None
    layer, y = p.layer, np.empty_like(p.grad_output)
    return lambda: loops(p.input, p.weight, y, layer.stride, layer.padding, layer.groups, FEW)


def python_scale(p: Problem) -> float:
    """Return how many times the work of the first elements all elements are."""
    return p.grad_output.size / FEW


#: name: (factory, dtype); those of `SLOW` are pure Python or NumPy, or much slower than npconv.
PEERS: dict[str, tuple[Callable[[Problem, str], Call | None], str]] = {
    "npconv float64": (of_npconv, "float64"),
    "torch float64": (of_torch, "float64"),
    "matrix product": (of_matmul, "float64"),
    "npconv float32": (of_npconv, "float32"),
    "torch float32": (of_torch, "float32"),
    "jax float64": (of_jax, "float64"),
    "numpy einsum": (of_einsum, "float64"),
    "classroom im2col": (of_classroom, "float64"),
    "onnx reference": (of_onnx, "float64"),
    "scipy": (of_scipy, "float64"),
    "numba loops": (of_numba, "float64"),
    "python loops": (of_python, "float64"),
}
