"""The arrays of a case: stable, exact where it is said, made to show what they are for."""

import hashlib
import itertools
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.formats import COMPLEXES, FLOATS, available, dtype_of, significand_bits
from npconv.oracle import data
from npconv.oracle.cases import DATA, LAYOUTS, ONE_LAID_OUT, Case
from npconv.oracle.data import operands, survival

CASE = Case(
    2, 4, 6, 2, (7, 9), (3, 2), (2, 1), (1, 0), (1, 2), True, "111", "float32", "packed",
    "integers", 0,
)  # fmt: skip
FLOATING = tuple(name for name in FLOATS + COMPLEXES if name in available())

#: Digests of arrays that recorded runs depend on: integers, laid out as they come.
DIGESTS = {
    "float32": "792b724ef86bf4ef",
    "float64": "8f4567f7f4adade5",
    "int64": "3b0950365a0aff36",
    "complex128": "3747abd3295c8758",
}


def digest(case: Case) -> str:
    """Digest of all arrays of a case."""
    text = hashlib.sha256()
    for array in operands(case).named().values():
        text.update(array.tobytes())
    return text.hexdigest()[:16]


@pytest.mark.parametrize("dtype", DIGESTS)
def test_recorded_arrays_stay(dtype: str) -> None:
    """Integer data of the exhaustive suite's dtypes is what it was when it was recorded."""
    assert digest(replace(CASE, dtype=dtype)) == DIGESTS[dtype]


@pytest.mark.parametrize(("dtype", "kind"), list(itertools.product(FLOATING, DATA)))
def test_arrays_have_the_case_s_shapes_and_dtype(dtype: str, kind: str) -> None:
    """Every kind of data comes in every floating dtype, again the same when asked again."""
    case = replace(CASE, dtype=dtype, data=kind)
    arrays = operands(case)
    assert arrays.input.shape == case.input_shape
    assert arrays.weight.shape == case.weight_shape
    assert {array.dtype for array in arrays.named().values()} == {dtype_of(dtype)}
    assert digest(case) == digest(case) != digest(replace(case, seed=1))


def drawn_for(case: Case, layout: str) -> dict[str, np.ndarray[Any, Any]]:
    """The numbers of a case whose id, which they follow from, says a layout, but packed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "_lay_out", lambda array, _: array)
        return operands(replace(case, layout=layout)).named()


@pytest.mark.parametrize("unbatched", [False, True])
@pytest.mark.parametrize("layout", [*LAYOUTS, *ONE_LAID_OUT])
def test_layouts_move_values_in_memory(layout: str, unbatched: bool) -> None:
    """A layout leaves values alone, but for 'expanded', which repeats each plane's first."""
    case = replace(CASE, batch=None if unbatched else 2, layout=layout)
    numbers = drawn_for(case, layout)
    for name, array in operands(case).named().items():
        if case.layout_of(name) == "expanded" and name != "bias":
            assert array.strides[-2:] == (0, 0)
            assert (array == numbers[name][..., :1, :1]).all()
        else:
            assert (array == numbers[name]).all()
        alone = case.layout_of(name)
        assert array.flags.writeable == (
            alone != "readonly" and (alone != "expanded" or name == "bias")
        )


@pytest.mark.parametrize("layout", [*LAYOUTS, *ONE_LAID_OUT])
def test_layouts_are_those_of_the_arrays_named(layout: str) -> None:
    """An array lies in memory as its layout says, and packed where another one is named."""
    case = replace(CASE, layout=layout)
    few = ("channel_slice", "stepped", "reversed")
    for name, array in operands(case).named().items():
        kind = case.layout_of(name)
        assert kind in ("packed", case.layout_kind)
        assert (kind == "packed") == (layout == "packed" or case.laid_out not in ("all", name))
        # A bias has one axis, and so fewer ways to lie in memory.
        plain = kind in ("packed", "readonly") or (name == "bias" and kind not in few)
        # A slice of a bias is as packed as the bias, but begins later.
        base = array.base if kind == "channel_slice" else None
        later = base is not None and array.ctypes.data != base.ctypes.data
        assert array.flags.c_contiguous == (plain or (name == "bias" and later)), name


@pytest.mark.parametrize(
    ("dtype", "kind"), list(itertools.product(FLOATING, ("integers", "probe")))
)
@pytest.mark.parametrize(
    ("batch", "channels", "features", "extents"),
    [
        (2, 4, 6, (7, 9)),
        (3, 600, 4, (4, 5)),
        (2, 2, 400, (4, 5)),
        (3, 2, 2, (33, 35)),
        (1, 2, 2, (3, 4)),
    ],
)
def test_sums_of_magnitudes_are_exact(
    dtype: str, kind: str, batch: int, channels: int, features: int, extents: tuple[int, int]
) -> None:
    """No sum of magnitudes exceeds what the format holds exactly, however long the sum is."""
    case = replace(
        CASE, dtype=dtype, data=kind, batch=batch, in_channels=channels, out_channels=features,
        extents=extents,
    )  # fmt: skip
    arrays = operands(case)
    scales = data.probe_scales(case) if kind == "probe" else [0] * 4
    sizes = []
    for array, scale in zip(
        (arrays.input, arrays.weight, arrays.bias, arrays.grad_output), scales, strict=True
    ):
        assert array is not None
        parts = [array.real, array.imag] if dtype in COMPLEXES else [array]
        whole = [np.abs(part.astype(np.float64)) * 2.0**-scale for part in parts]
        assert all((part == np.rint(part)).all() for part in whole)
        sizes.append(sum(whole))
    bits = data.probe_room(dtype) if kind == "probe" else significand_bits(dtype)
    x, w, b, g = sizes
    found = [
        npconv.conv2d(x, w, b, *case.parameters),
        *npconv.conv2d_backward(g, x, w, *case.parameters),
    ]
    assert all(array is not None and array.max() <= 2**bits for array in found)
    assert np.count_nonzero(arrays.input) > 0
    assert np.count_nonzero(arrays.grad_output) > 0


@pytest.mark.parametrize("dtype", [name for name in FLOATING if name not in data.ONE_RANGE])
def test_ranges_are_the_widest_of_each_operation(dtype: str) -> None:
    """The product of two arrays' ranges comes near what exact sums allow, in each operation."""
    ranges = data.limits(replace(CASE, dtype=dtype, extents=(30, 31)))
    assert ranges is not None
    geometry = replace(CASE, extents=(30, 31)).geometry
    parts = 4 if dtype in COMPLEXES else 1
    counts = (geometry.forward_terms, geometry.input_terms, geometry.weight_terms)
    if parts * max(counts) >= 2 ** significand_bits(dtype) / 16:
        return  # too few bits for more than ones
    for op, count in zip(("forward", "grad_input", "grad_weight"), counts, strict=True):
        first, second = data.FACTORS[op]
        room = 2 ** significand_bits(dtype) / (parts * count + 1)
        assert room / 8 <= ranges[first] * ranges[second] <= room


def test_probing_numbers_are_long_and_large() -> None:
    """Each array has numbers with more bits than TF32, and some are beyond float16's range."""
    arrays = operands(replace(CASE, data="probe"))
    for name in data.ROLES:
        values = arrays.named()[name].astype(np.float64)
        fractions, _ = np.frexp(values[values != 0])
        long = np.ldexp(fractions, 11)
        assert (long != np.rint(long)).any(), name
    assert np.abs(arrays.input).max() > 65504
    assert np.abs(arrays.weight[arrays.weight != 0]).min() < 2.0**-14


@pytest.mark.parametrize("name", data.ROLES)
def test_scales_are_powers_of_two_apart(name: str) -> None:
    """Reals near 1e-6 and 1e6 are the same kind of numbers, 2**20 smaller and larger."""
    small, large = (
        np.abs(operands(replace(CASE, data=kind)).named()[name]).max() for kind in ("micro", "mega")
    )
    assert 2.0**-21 < small < 2.0**-20 < 2.0**19 < large < 2.0**20


def test_cancelling_sums_cancel() -> None:
    """In the output and both long gradients the values are far below their gauges."""
    case = replace(CASE, data="cancelling", padding=(0, 0), extents=(9, 11))
    arrays = operands(case)
    x, w, g = arrays.input, arrays.weight, arrays.grad_output
    y = npconv.conv2d(x, w, None, *case.parameters)
    dw = npconv.conv2d_weight(x, case.weight_shape, g, *case.parameters)
    assert np.abs(y).max() < npconv.conv2d(abs(x), abs(w), None, *case.parameters).min() / 4
    gauge = npconv.conv2d_weight(abs(x), case.weight_shape, abs(g), *case.parameters)
    assert np.abs(dw).max() < gauge.min() / 4


@pytest.mark.parametrize("seed", range(12))
def test_special_data_has_one_nonfinite_element(seed: int) -> None:
    """Exactly one element of input, weight and grad_output is NaN or an infinity."""
    arrays = operands(replace(CASE, data="special", seed=seed))
    assert sum(np.count_nonzero(~np.isfinite(a)) for a in arrays.named().values()) == 1
    assert arrays.bias is not None
    assert np.isfinite(arrays.bias).all()


def test_survival_bounds_what_is_counted() -> None:
    """A wrong tap survives no more often than the figure says; other data has no figure."""
    assert survival(replace(CASE, data="reals"), "forward") is None
    assert survival(replace(CASE, dtype="int8"), "forward") is None
    case = replace(CASE, dtype="float16", extents=(30, 31), in_channels=2, out_channels=2, groups=1)
    ranges, figure = data.limits(case), survival(case, "forward")
    assert ranges is not None
    assert figure is not None
    rng = np.random.default_rng(0)
    x = rng.integers(-ranges["input"], ranges["input"], 10_000, endpoint=True)
    w = rng.integers(-ranges["weight"], ranges["weight"], 10_000, endpoint=True)
    assert 0 < np.mean(x * w == 0) <= figure * 1.1
    assert survival(CASE, "forward") == pytest.approx(2 / (2 * data.limits(CASE)["input"] + 1))  # type: ignore[index]
