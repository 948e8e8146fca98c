"""Targets that are npconv but for one thing."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import npconv

Change = Callable[[Any], Any]


def same(result: Any) -> Any:
    """Change nothing."""
    return result


def altered(forward: Change = same, backward: Change = same, **others: Any) -> SimpleNamespace:
    """Change each output of npconv, and each gradient that is not None."""

    def conv2d(*arguments: Any) -> Any:
        return forward(npconv.conv2d(*arguments))

    def conv2d_backward(*arguments: Any) -> Any:
        results = npconv.conv2d_backward(*arguments)
        return tuple(None if result is None else backward(result) for result in results)

    return SimpleNamespace(**{"conv2d": conv2d, "conv2d_backward": conv2d_backward, **others})


def raising(error: BaseException) -> Callable[..., Any]:
    """Make a function that raises."""

    def function(*_: Any) -> Any:
        raise error

    return function
