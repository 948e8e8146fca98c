"""TensorFlow on the CPU: ``tf.nn.conv2d`` on NHWC arrays, gradients by ``tf.GradientTape``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from npconv.adapters.pads import crops, sides
from npconv.formats import available

Array = np.ndarray[Any, np.dtype[Any]]

#: TensorFlow's names. Its SAME has any stride, unlike PyTorch's 'same', so that one is not served.
PADDINGS = {"valid": "VALID", "same_upper": "SAME"}

#: What keeps partial sums in the format itself. tf.nn.conv2d has no bias: the output is rounded,
#: then tf.nn.bias_add rounds once more. The gradients' sums are measured: docs/findings.
ARITHMETIC = {
    "float16": dict.fromkeys(("forward", "grad_input", "grad_weight"), "float16-accumulate"),
    "bfloat16": dict.fromkeys(
        ("forward", "grad_input", "grad_weight", "grad_bias"), "bfloat16-accumulate"
    ),
}


def adapter() -> SimpleNamespace:
    """Return the functions over TensorFlow."""
    # What is logged while it runs, from errors up; what is logged while it is imported, nothing.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with _quiet():
        import tensorflow as tf

    # Where TensorFlow has run before, its threads are as they are.
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(1)
        tf.config.threading.set_inter_op_parallelism_threads(1)

    def convolve(
        input: Any, weight: Any, bias: Any, stride: Any, padding: Any, dilation: Any
    ) -> Any:
        output = tf.nn.conv2d(
            tf.transpose(input, (0, 2, 3, 1)),
            tf.transpose(weight, (2, 3, 1, 0)),
            stride,
            _pads(padding),
            dilations=dilation,
        )
        if bias is not None:
            output = tf.nn.bias_add(output, bias)
        return tf.transpose(output, (0, 3, 1, 2))

    def conv2d(
        input: Array,
        weight: Array,
        bias: Array | None,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Any:
        _check_groups(input, weight, groups)
        with tf.device("CPU:0"):
            return convolve(input, weight, bias, stride, padding, dilation).numpy()

    def gradient(output_of: Callable[[Any], Any], at: Array, grad_output: Array) -> Any:
        with tf.device("CPU:0"):
            leaf = tf.constant(at)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(leaf)
                output = output_of(leaf)
            return tape.gradient(output, leaf, tf.constant(grad_output)).numpy()

    def conv2d_input(
        input_size: Any,
        weight: Array,
        grad_output: Array,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Any:
        # The gradient of the input does not depend on the input's values.
        input = np.zeros(input_size, weight.dtype)
        _check_groups(input, weight, groups)
        return gradient(
            lambda leaf: convolve(leaf, weight, None, stride, padding, dilation), input, grad_output
        )

    def conv2d_weight(
        input: Array,
        weight_size: Any,
        grad_output: Array,
        stride: Any,
        padding: Any,
        dilation: Any,
        groups: int,
    ) -> Any:
        weight = np.zeros(weight_size, input.dtype)
        _check_groups(input, weight, groups)
        return gradient(
            lambda leaf: convolve(input, leaf, None, stride, padding, dilation), weight, grad_output
        )

    def conv2d_bias(grad_output: Array) -> Any:
        features = np.zeros(grad_output.shape[1], grad_output.dtype)
        output = np.zeros_like(grad_output.transpose(0, 2, 3, 1))
        return gradient(
            lambda leaf: tf.transpose(tf.nn.bias_add(output, leaf), (0, 3, 1, 2)),
            features,
            grad_output,
        )

    return SimpleNamespace(
        conv2d=conv2d,
        # One by one: the gradient of the input is refused where the others are not.
        conv2d_input=conv2d_input,
        conv2d_weight=conv2d_weight,
        conv2d_bias=conv2d_bias,
        version=lambda: tf.__version__,
        supports={
            # https://www.tensorflow.org/api_docs/python/tf/nn/conv2d
            "dtypes": [
                name
                for name in ("bfloat16", "float16", "float32", "float64")
                if name in available()
            ],
            "padding": ("pair", *PADDINGS, "four-sided"),
            "arithmetic": ARITHMETIC,
            "empty": ("batch", "channels"),
        },
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what is written to stderr beside Python, as TensorFlow does while it is imported."""
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _pads(padding: Any) -> Any:
    """Return TensorFlow's name of a padding, or its pads of each axis.

    Raises
    ------
    NotImplementedError
        For sides that crop: TensorFlow has padding only, of what amount its documentation calls
        the paddings at the start and end (https://www.tensorflow.org/api_docs/python/tf/nn).
    """
    if isinstance(padding, str):
        return PADDINGS[padding]
    if crops(padding):
        raise NotImplementedError("TensorFlow pads and does not crop")
    return [[0, 0], *map(list, sides(padding)), [0, 0]]


def _check_groups(input: Array, weight: Array, groups: int) -> None:
    """Refuse a number of groups that is not the one which the shapes say.

    TensorFlow has no argument for it, so that such a call cannot be said to TensorFlow.
    """
    if groups * weight.shape[1] != input.shape[1]:
        raise ValueError("TensorFlow takes the number of groups from the shapes")
