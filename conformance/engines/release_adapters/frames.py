"""Messages with arrays over a pipe; both ends share this file, so it stays within Python 3.6.

A message is JSON, in which an array is a number; behind it stand the arrays' bytes, from the
first to the last that an element lies in, so that strides are the same on both sides.
"""

import ctypes
import json
import struct

import numpy as np

_LENGTH = struct.Struct("<Q")


def send(stream, message):
    """Write one message: JSON's values, tuples, and arrays anywhere among them."""
    arrays = []
    text = json.dumps(_without_arrays(message, arrays))
    blocks = [_memory(array) for array in arrays]
    described = [
        {
            "dtype": array.dtype.str,
            "shape": array.shape,
            "strides": array.strides,
            "first": -_bounds(array)[0],
            "bytes": len(block),
        }
        for array, block in zip(arrays, blocks)  # noqa: B905  # Python 3.6 has no strict
    ]
    head = json.dumps({"message": text, "arrays": described}).encode()
    stream.write(_LENGTH.pack(len(head)) + head + b"".join(blocks))
    stream.flush()


def receive(stream):
    """Return the next message, lists as tuples; raise EOFError where the other end has gone."""
    head = json.loads(_exactly(stream, _LENGTH.unpack(_exactly(stream, _LENGTH.size))[0]).decode())
    arrays = [_array(stream, **described) for described in head["arrays"]]
    return _with_arrays(json.loads(head["message"]), arrays)


def _without_arrays(value, arrays):
    """Replace arrays by their numbers and append them to a list."""
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {"array": len(arrays) - 1}
    if isinstance(value, (list, tuple)):
        return [_without_arrays(item, arrays) for item in value]
    if isinstance(value, dict):
        return {"items": {key: _without_arrays(item, arrays) for key, item in value.items()}}
    return value.item() if isinstance(value, np.generic) else value


def _with_arrays(value, arrays):
    """Undo `_without_arrays`."""
    if isinstance(value, list):
        return tuple(_with_arrays(item, arrays) for item in value)
    if isinstance(value, dict) and "array" in value:
        return arrays[value["array"]]
    if isinstance(value, dict):
        return {key: _with_arrays(item, arrays) for key, item in value["items"].items()}
    return value


def _bounds(array):
    """Return the first byte and the one behind the last, seen from the element at zero."""
    if array.size == 0:
        return 0, 0
    ends = [
        (extent - 1) * step
        for extent, step in zip(array.shape, array.strides)  # noqa: B905  # as above
    ]
    return sum(min(0, end) for end in ends), sum(max(0, end) for end in ends) + array.itemsize


def _memory(array):
    low, high = _bounds(array)
    return ctypes.string_at(array.ctypes.data + low, high - low) if high > low else b""


def _array(stream, dtype, shape, strides, first, bytes):
    block = bytearray(_exactly(stream, bytes))
    if not block:
        return np.empty(shape, dtype)
    return np.ndarray(tuple(shape), dtype, block, first, tuple(strides))


def _exactly(stream, count):
    data = stream.read(count)
    if len(data) != count:
        raise EOFError
    return data
