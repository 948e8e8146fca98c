"""Arrays to tensors and back: the same bits, on the same memory where torch can have that."""

import numpy as np
import pytest

from npconv.adapters import from_torch, to_torch
from npconv.formats import available, dtype_of
from npconv.oracle.cases import LAYOUTS, Case
from npconv.oracle.data import operands

torch = pytest.importorskip("torch", reason="carries arrays to and from torch")

CASE = "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-{}-{}-reals-seed0"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [n for n in available() if n[0] != "u" or n == "uint8"])
def test_arrays_come_back_with_the_same_bits(dtype: str, layout: str) -> None:
    """To torch and back, in every layout and dtype: shape, dtype and bytes are the same."""
    for array in operands(Case.from_id(CASE.format(dtype, layout))).named().values():
        tensor = to_torch(array)
        assert str(tensor.dtype) == f"torch.{dtype}"
        back = from_torch(tensor)
        assert (back.shape, back.dtype) == (array.shape, array.dtype)
        assert back.tobytes() == array.tobytes()
        negative = any(step < 0 for step in array.strides)
        assert np.shares_memory(back, array) != negative


def test_values_survive_in_bfloat16() -> None:
    """PyTorch reads the numbers that NumPy wrote, and the other way round."""
    pytest.importorskip("ml_dtypes", reason="has NumPy's bfloat16")
    numbers = [1.5, -3.0, float("inf"), 2.0**-133]
    array = np.array(numbers, dtype_of("bfloat16"))
    assert to_torch(array).to(torch.float64).tolist() == numbers
    tensor = torch.tensor(numbers, dtype=torch.bfloat16)
    assert from_torch(tensor).astype(np.float64).tolist() == numbers


def test_memory_is_shared_for_writing() -> None:
    """What torch writes to the tensor stands in the array, through strides too."""
    base = np.zeros((4, 6), np.float32)
    to_torch(base[1::2, ::3])[...] = 5
    assert (base != 0).sum() == 4


@pytest.mark.filterwarnings("error")
def test_odd_arrays_are_copied_or_viewed_without_a_word() -> None:
    """Foreign byte order and strides within an element are copied; read-only is no warning."""
    array = np.arange(6.0)
    swapped = array.astype(array.dtype.newbyteorder())
    assert to_torch(swapped).tolist() == array.tolist()
    packed = np.zeros(6, [("small", np.int8), ("number", np.float64)])
    packed["number"] = array
    assert to_torch(packed["number"]).tolist() == array.tolist()
    array.flags.writeable = False
    assert np.shares_memory(from_torch(to_torch(array)), array)


def test_graphs_and_lazy_bits_are_resolved() -> None:
    """A tensor of a graph, a lazy conjugate and a lazy negative come as plain numbers."""
    leaf = torch.tensor([1 + 2j, 3 - 4j], requires_grad=True)
    assert from_torch(leaf * 2).tolist() == [2 + 4j, 6 - 8j]
    assert from_torch(leaf.conj()).tolist() == [1 - 2j, 3 + 4j]
    assert from_torch(leaf.conj().imag).tolist() == [-2, 4]


def test_dtype_that_the_other_lacks_raises_type_error() -> None:
    """What torch or NumPy has no dtype for is a TypeError."""
    with pytest.raises(TypeError):
        to_torch(np.array(["text"]))
    with pytest.raises(TypeError):
        from_torch(torch.zeros(2, dtype=torch.float8_e4m3fn))
