"""Results of another dtype than the arrays': int32 sums of int8, float32 sums of bfloat16."""

import shift_and_add

supports = {
    "dtypes": ["int8", "bfloat16"],
    "result_dtypes": {"int8": "int32", "bfloat16": "float32"},
}


def conv2d(x, weight, bias, *parameters):
    """Return the output in the wider dtype."""
    return shift_and_add.conv2d(*_widened(x, weight, bias), *parameters)


def conv2d_backward(error, x, weight, *parameters):
    """Return the gradients in the wider dtype."""
    gradients = shift_and_add.conv2d_backward(*_widened(error, x, weight), *parameters)
    # NumPy's sum of int32 is int64.
    wider = supports["result_dtypes"][x.dtype.name]
    return [None if gradient is None else gradient.astype(wider) for gradient in gradients]


def _widened(*arrays):
    wider = supports["result_dtypes"]
    return [None if array is None else array.astype(wider[array.dtype.name]) for array in arrays]
