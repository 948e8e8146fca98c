"""What convolutions are commonly tested with, so that it can be measured beside the suite.

Each is a function from an implementation to whether it finds anything wrong: one common shape
with a tolerance, the shapes of ONNX's node tests, gradients of a plain sum, and PyTorch's
gradcheck in its fast mode.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from npconv import conv2d, conv2d_backward

Array = np.ndarray[Any, np.dtype[Any]]

#: Input, weight, stride, padding, dilation, groups: a usual grid, squares as they are.
_GRID: tuple[tuple[Any, ...], ...] = (
    ((2, 3, 8, 8), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    ((2, 3, 8, 8), (4, 3, 3, 3), (2, 2), (1, 1), (1, 1), 1),
    ((2, 3, 8, 8), (4, 3, 3, 3), (1, 1), (0, 0), (2, 2), 1),
    ((2, 4, 8, 8), (4, 2, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    ((2, 4, 8, 8), (4, 1, 3, 3), (1, 1), (1, 1), (1, 1), 4),
    ((2, 3, 8, 8), (4, 3, 1, 1), (1, 1), (0, 0), (1, 1), 1),
)
#: Input, kernel, stride, padding of the node tests: ones for weights, 0, 1, 2, ... for the input.
_ONNX: tuple[tuple[Any, ...], ...] = (
    ((1, 1, 5, 5), (1, 1, 3, 3), (1, 1), (1, 1)),
    ((1, 1, 5, 5), (1, 1, 3, 3), (1, 1), (0, 0)),
    ((1, 1, 7, 5), (1, 1, 3, 3), (2, 2), (1, 1)),
    ((1, 1, 7, 5), (1, 1, 3, 3), (2, 2), (0, 0)),
    ((1, 1, 7, 5), (1, 1, 3, 3), (2, 2), (1, 0)),
    ((1, 1, 5, 5), (1, 1, 3, 3), (2, 2), "same_lower"),
)


def _finds(test: Callable[[Any], bool]) -> Callable[[Any], bool]:
    """Count whatever is raised as found."""

    def run(implementation: Any) -> bool:
        try:
            with np.errstate(all="ignore"):
                return not test(implementation)
        except Exception:  # noqa: BLE001  # so would any test fail
            return True

    run.__doc__ = test.__doc__
    run.__name__ = test.__name__
    return run


def _close(got: Any, want: Array | None) -> bool:
    if want is None or got is None:
        return got is want
    return np.shape(got) == want.shape and bool(np.allclose(got, want, rtol=1e-3, atol=1e-3))


def _drawn(shapes: tuple[Any, ...], dtype: str = "float32") -> tuple[Array, Array, Array, Any]:
    rng = np.random.default_rng(0)
    x, w = (rng.normal(size=shape).astype(dtype) for shape in shapes[:2])
    return x, w, rng.normal(size=shapes[1][0]).astype(dtype), shapes[2:]


@_finds
def one_shape(implementation: Any) -> bool:
    """Compare one common shape, output and gradients, with `allclose` of 1e-3."""
    x, w, b, parameters = _drawn(_GRID[0])
    want = conv2d(x, w, b, *parameters)
    if not _close(implementation.conv2d(x, w, b, *parameters), want):
        return False
    g = np.random.default_rng(1).normal(size=want.shape).astype("float32")
    right = conv2d_backward(g, x, w, *parameters)
    got = implementation.conv2d_backward(g, x, w, *parameters, (True, True, True))
    return all(_close(a, b) for a, b in zip(got, right, strict=True))


@_finds
def onnx_nodes(implementation: Any) -> bool:
    """Compare the shapes and numbers of ONNX's node tests of Conv, which are forward only."""
    for shape, kernel, stride, padding in _ONNX:
        x = np.arange(np.prod(shape), dtype="float32").reshape(shape)
        w = np.ones(kernel, "float32")
        want = conv2d(x, w, None, stride, padding)
        if not _close(implementation.conv2d(x, w, None, stride, padding, (1, 1), 1), want):
            return False
    return True


@_finds
def sum_backward(implementation: Any) -> bool:
    """Compare gradients of `y.sum()`, whose cotangent is ones, over a usual grid of shapes."""
    for shapes in _GRID:
        x, w, b, parameters = _drawn(shapes)
        g = np.ones_like(conv2d(x, w, b, *parameters))
        right = conv2d_backward(g, x, w, *parameters)
        got = implementation.conv2d_backward(g, x, w, *parameters, (True, True, True))
        if not all(_close(a, b) for a, b in zip(got, right, strict=True)):
            return False
    return True


@_finds
def gradcheck_fast(implementation: Any) -> bool:
    """Compare one random projection of gradients and of finite differences, shape by shape.

    So PyTorch's documentation describes `gradcheck(..., fast_mode=True)`: along a random vector u
    of the inputs and v of the outputs, v'Ju of central differences (eps 1e-6, float64) against
    that of the backward call, with atol 1e-5 and rtol 1e-3. The output itself is taken as right.
    """
    rng = np.random.default_rng(2)
    step = 1e-6
    for shapes in _GRID:
        x, w, b, parameters = _drawn(shapes, "float64")
        y = implementation.conv2d(x, w, b, *parameters)
        v = rng.normal(size=np.shape(y))
        gradients = implementation.conv2d_backward(v, x, w, *parameters, (True, True, True))
        for place, array in enumerate((x, w, b)):
            u = rng.normal(size=array.shape)
            u /= np.linalg.norm(u)
            sides = []
            for sign in (1, -1):
                moved = [x, w, b]
                moved[place] = array + sign * step * u
                sides.append(np.asarray(implementation.conv2d(*moved, *parameters)))
            numerical = float(np.sum(v * (sides[0] - sides[1]))) / (2 * step)
            analytical = float(np.sum(np.asarray(gradients[place]) * u))
            if not np.isclose(analytical, numerical, rtol=1e-3, atol=1e-5):
                return False
    return True


#: By the name that tables use.
USUAL: dict[str, Callable[[Any], bool]] = {
    test.__name__: test for test in (one_shape, onnx_nodes, sum_backward, gradcheck_fast)
}
