"""One convolution as an ONNX model of one Conv node, which engines that read ONNX are given."""

from __future__ import annotations

from typing import Any

import numpy as np

from npconv.adapters.pads import crops, sides

Array = np.ndarray[Any, np.dtype[Any]]

#: The version of the operators, and of the file, that a model is written in. Conv is the same in
#: both versions, but 11, which engines of 2020 read too, has no bfloat16.
OPSET, IR_VERSION = 11, 6
BFLOAT16_OPSET, BFLOAT16_IR_VERSION = 22, 10

#: npconv's names of padding as ONNX's auto_pad. PyTorch's 'same', which wants stride 1, is none.
AUTO_PAD = {"valid": "VALID", "same_upper": "SAME_UPPER", "same_lower": "SAME_LOWER"}

#: Where ONNX says what its Conv is.
SPECIFICATION = "https://onnx.ai/onnx/operators/onnx__Conv.html"


def conv_model(
    input: Array,
    weight: Array,
    bias: Array | None,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
) -> bytes:
    """Return a model that has weight and bias inside; its input is X, its output Y.

    Illegal values are written down as they are: to refuse them is up to the engine.

    Raises
    ------
    NotImplementedError
        For four sides of which one is negative: ONNX pads from 0 up.
    """
    from onnx import helper, numpy_helper

    constants = {"W": weight} if bias is None else {"W": weight, "B": bias}
    node = helper.make_node(
        "Conv", ["X", *constants], ["Y"], **attributes(stride, padding, dilation, groups)
    )
    element = helper.np_dtype_to_tensor_dtype(input.dtype)
    graph = helper.make_graph(
        [node],
        "conv2d",
        [helper.make_tensor_value_info("X", element, input.shape)],
        [helper.make_tensor_value_info("Y", element, ("N", "F", "OH", "OW"))],
        [
            numpy_helper.from_array(np.ascontiguousarray(array), name)
            for name, array in constants.items()
        ],
    )
    short = input.dtype.name == "bfloat16"
    opset = helper.make_opsetid("", BFLOAT16_OPSET if short else OPSET)
    model = helper.make_model(
        graph,
        opset_imports=[opset],
        ir_version=BFLOAT16_IR_VERSION if short else IR_VERSION,
        producer_name="npconv",
    )
    return bytes(model.SerializeToString())


def attributes(stride: Any, padding: Any, dilation: Any, groups: int) -> dict[str, Any]:
    """Return the attributes of the Conv node."""
    found = {"strides": list(stride), "dilations": list(dilation), "group": groups}
    if isinstance(padding, str):
        return found | {"auto_pad": AUTO_PAD[padding]}
    if crops(padding):
        raise NotImplementedError(f"ONNX's Conv pads from 0 up: {SPECIFICATION}")
    before, after = zip(*sides(padding), strict=True)
    return found | {"pads": [*before, *after]}
