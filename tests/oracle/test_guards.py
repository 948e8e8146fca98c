"""Outputs between guard zones: what they hold before, and that what is written is found."""

from typing import Any

import numpy as np
import pytest

from npconv.formats import COMPLEXES, FLOATS, available, dtype_of
from npconv.oracle.guards import Guarded

LAYOUTS = ("packed", "channels_last", "channel_slice", "stepped", "reversed", "transposed")
SHAPE = (2, 3, 4, 5)


def made(dtype: str = "float32", layout: str = "packed", number: int = 0) -> Guarded:
    """An output."""
    return Guarded.make(SHAPE, dtype_of(dtype), layout, number)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", available())
def test_new_output_is_unwritten_and_unharmed(dtype: str, layout: str) -> None:
    """Shape and dtype are right, each element holds the fill, NaN in floats; no guard differs."""
    for number in (0, 1):
        guarded = made(dtype, layout, number)
        assert (guarded.out.shape, guarded.out.dtype) == (SHAPE, dtype_of(dtype))
        assert guarded.unwritten().all()
        if dtype in FLOATS + COMPLEXES:
            with np.errstate(invalid="raise"):  # a quiet NaN
                assert np.isnan(guarded.out.real + guarded.out.real).all()
                assert np.isnan(guarded.out.imag if dtype in COMPLEXES else guarded.out).all()
        assert guarded.strays() is None


@pytest.mark.parametrize("dtype", available())
def test_two_fills_and_two_guards_differ(dtype: str) -> None:
    """No element of one output has the other's fill, nor is a fill made of its guard's bytes."""
    first, second = made(dtype), made(dtype, number=1)
    second.out[...] = first.out
    assert not second.unwritten().any()
    for guarded in (made(dtype), made(dtype, number=1)):
        assert set(guarded.out[0, 0, 0, 0].tobytes()) != {int(guarded.memory[0])}
    assert first.memory[0] != second.memory[0]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_written_elements_alone_are_written(layout: str) -> None:
    """Numbers, zero and a computed NaN among them, count as written; all others do not."""
    guarded = made(layout=layout)
    for index, value in (((0, 1, 2, 3), 0.0), ((1, 2, 3, 4), np.nan), ((1, 0, 0, 0), 2.5)):
        guarded.out[index] = value
        assert not guarded.unwritten()[index]
    assert guarded.unwritten().sum() == 120 - 3
    assert guarded.strays() is None


def test_half_of_a_complex_number_is_not_enough() -> None:
    """Who writes the real part alone has not written the element."""
    guarded = made("complex64")
    guarded.out.real[...] = 1
    assert guarded.unwritten().all()


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_byte_around_the_output_is_watched(layout: str, number: int) -> None:
    """One changed byte anywhere outside of the output's elements is found, on its own side."""
    start, stop = made(layout=layout)._extent()
    length = len(made(layout=layout).memory)
    assert start >= 1024
    assert length - stop >= 1024
    for place, side in (
        (0, "before"), (start - 1, "1 elements before"), (start - 4, "1 elements before"),
        (start - 5, "2 elements before"), (stop, "1 elements after"), (stop + 3, "1 elements aft"),
        (stop + 4, "2 elements after"), (length - 1, "after"),
    ):  # fmt: skip
        guarded = made(layout=layout, number=number)
        guarded.memory[place] ^= 1
        said = guarded.strays()
        assert said is not None
        assert side in said
        assert said.startswith("wrote outside of out: up to ")


def test_gaps_are_told_apart() -> None:
    """A byte that strides step over lies between the elements; several sides are all named."""
    guarded = made(layout="stepped")
    start, stop = guarded._extent()
    guarded.memory[[start - 1, start + 4, stop]] ^= 1
    assert guarded.strays() == (
        "wrote outside of out: up to 1 elements before its first, and up to 1 elements after its "
        "last, and between its elements, where its strides step over memory"
    )


@pytest.mark.parametrize("shape", [(0, 3, 4, 5), (3, 4, 5), (1, 1, 1, 1), (1, 2, 1, 70_000)])
def test_any_shape_has_guards(shape: Any) -> None:
    """An empty, an unbatched, a tiny and a long output have zones of bounded size."""
    guarded = Guarded.make(shape, np.dtype(np.float64), "packed", 0)
    assert guarded.out.shape == shape
    assert guarded.out.flags.c_contiguous
    zone = (guarded.memory.size - guarded.out.nbytes) // 2
    assert 256 <= zone // 8 <= 65_536
    guarded.memory[-1] ^= 1
    said = guarded.strays()
    assert said is not None
    assert "after its last" in said
