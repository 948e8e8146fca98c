"""The `out` of a conv2d_out: filled, inside guard zones, and what is found there afterwards."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from npconv.formats import DType
from npconv.oracle.data import framed

Array = np.ndarray[Any, np.dtype[Any]]

#: Fills for two calls: what holds the first after one and the second after the other was never
#: written. Floats have a NaN of their own, so that no computed NaN looks like it.
_FILLS = {
    "bfloat16": (0x7FE5, 0x7FDA),
    "float16": (0x7F25, 0x7EDA),
    "float32": (0x7FE5A5A5, 0x7FDA5A5A),
    "float64": (0x7FFDA5A5A5A5A5A5, 0x7FFA5A5A5A5A5A5A),
}
#: Bytes of the guard zones, and of integers, in two calls.
_BYTES = (0xA5, 0x5A)
#: Elements of a guard zone: at least, and at the most where two planes of the output are longer.
_LEAST, _MOST = 256, 65_536


@dataclass(frozen=True, slots=True)
class Guarded:
    """An output to be written by a conv2d_out, in one memory with zones that must stay as they are.

    `memory` is all of it as bytes; `out` lies in its middle, laid out as the case's arrays are.
    `number` is 0 or 1: the second call has other fills.
    """

    memory: Array
    out: Array
    number: int

    @classmethod
    def make(cls, shape: tuple[int, ...], dtype: DType, layout: str, number: int) -> Guarded:
        """Allocate and fill."""
        base_shape, view = framed(shape, layout)
        zone = dtype.itemsize * min(_MOST, max(_LEAST, 2 * math.prod(shape[-2:])))
        size = dtype.itemsize * math.prod(base_shape)
        memory = np.full(zone + size + zone, _BYTES[number], np.uint8)
        base = memory[zone : zone + size].view(dtype).reshape(base_shape)
        made = cls(memory, view(base), number)
        for bits in _bits(made.out):
            bits[...] = _fill(made.out.dtype, number)
        return made

    def unwritten(self) -> Array:
        """Return where an element, or a part of a complex one, still holds the fill."""
        held = [bits == _fill(self.out.dtype, self.number) for bits in _bits(self.out)]
        return np.asarray(np.logical_or.reduce(held))

    def strays(self) -> str | None:
        """Say on which side of `out` was written, and how far; None where nowhere. Ends `out`."""
        for bits in _bits(self.out):
            # What may be written is made guard too, so that one comparison finds the rest.
            bits[...] = np.frombuffer(bytes([_BYTES[self.number]]) * bits.itemsize, bits.dtype)[0]
        written = np.flatnonzero(self.memory != _BYTES[self.number])
        if not written.size:
            return None
        width = self.out.dtype.itemsize
        start, stop = self._extent()
        before, after = written[written < start], written[written >= stop]
        said = []
        if before.size:
            said.append(f"up to {-(-(start - int(before[0])) // width)} elements before its first")
        if after.size:
            said.append(f"up to {(int(after[-1]) - stop) // width + 1} elements after its last")
        if len(before) + len(after) < len(written):
            said.append("between its elements, where its strides step over memory")
        return f"wrote outside of out: {', and '.join(said)}"

    def _extent(self) -> tuple[int, int]:
        """Return where in the memory the first byte of `out` lies, and the one after its last."""
        if not self.out.size:
            return len(self.memory) // 2, len(self.memory) // 2
        reaches = [
            step * (size - 1) for step, size in zip(self.out.strides, self.out.shape, strict=True)
        ]
        origin = self.out.__array_interface__["data"][0] - self.memory.ctypes.data
        start = origin + sum(reach for reach in reaches if reach < 0)
        stop = origin + sum(reach for reach in reaches if reach > 0) + self.out.dtype.itemsize
        return start, stop


def _bits(array: Array) -> list[Array]:
    """Return the array as unsigned integers: one view, or one for each part."""
    parts = [array.real, array.imag] if array.dtype.kind == "c" else [array]
    return [part.view(f"u{part.dtype.itemsize}") for part in parts]


def _fill(dtype: DType, number: int) -> int:
    """Return the bits that a real part of this dtype is filled with."""
    name = {"complex64": "float32", "complex128": "float64"}.get(dtype.name, dtype.name)
    if name in _FILLS:
        return _FILLS[name][number]
    return int.from_bytes(bytes([_BYTES[1 - number]]) * dtype.itemsize, "little")
