"""The public calls: values, layouts, ownership, empty axes, non-finite numbers, torch's answers."""

import itertools
import math
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import npconv
from npconv import correlate, definition, formulas
from tests.strategies_for_tests import SECOND_GRID, Array, Case, cases

#: dtypes and the scale of their data: k/64 and the like keep every sum exact.
NUMBERS = (
    ("int64", 1),
    ("float64", 1 / 64),
    ("float32", 0.25),
    ("int8", 1),
    ("complex128", 0.5),
    ("uint16", 1),
)

LAYERS = (
    Case(2, 2, 3, 2, (7, 9), (3, 2), (2, 1), ((1, 2), (0, 1)), (1, 3)),
    Case(3, 1, 4, 5, (5, 8), (1, 1), (1, 2), (0, 0), (1, 1)),
    Case(1, 3, 2, 1, (9, 6), (2, 3), (1, 2), ((-1, 2), (3, -1)), (2, 1)),
    Case(2, 4, 1, 2, (6, 7), (2, 4), (3, 1), (2, 1), (1, 1)),
)


def computed(
    x: Array, w: Array, b: Array | None, g: Array, case: Case, **options: Any
) -> list[Array]:
    """Output and the three gradients of the public calls."""
    gradients = npconv.conv2d_backward(g, x, w, **case.parameters, **options)
    return [
        npconv.conv2d(x, w, b, **case.parameters, **options),
        *(a for a in gradients if a is not None),
    ]


def defined(x: Array, w: Array, b: Array | None, g: Array, case: Case, dtype: Any) -> list[Any]:
    """The same by the definition, each element rounded once to dtype."""
    return [
        definition.conv2d(x, w, b, **case.parameters, dtype=dtype),
        *definition.conv2d_backward(g, x, w, **case.parameters, dtype=dtype),
    ]


def literal(x: Array, w: Array, b: Array | None, g: Array, case: Case) -> list[Array]:
    """The same by the formulas."""
    single = case.batch is None
    x, g = (x[None], g[None]) if single else (x, g)
    y = formulas.forward(x, w, case.geometry)
    y = y if b is None else y + b[:, None, None]
    dx = formulas.input_gradient(w, g, case.geometry)
    results = [y[0], dx[0]] if single else [y, dx]
    return [*results, formulas.weight_gradient(x, g, case.geometry), formulas.bias_gradient(g)]


@pytest.mark.parametrize("part", range(6))
def test_calls_are_the_definition_on_the_second_grid(part: int) -> None:
    """Output and gradients equal the nested loops exactly: integers, dyadic rationals, complex."""
    for number, case in enumerate(SECOND_GRID[part::6]):
        dtype, scale = NUMBERS[number % len(NUMBERS)]
        low = 0 if dtype == "uint16" else -9
        x, w, b, g = case.arrays(number, dtype, low=low, scale=scale)
        for actual, expected in zip(
            computed(x, w, b, g, case), defined(x, w, b, g, case, dtype), strict=True
        ):
            assert actual.dtype == dtype
            assert actual.tolist() == expected, (case, dtype)


def test_calls_are_the_formulas_on_the_second_grid() -> None:
    """What the calls compute is what their docstrings say, exactly, on integers in float64."""
    for seed, case in enumerate(SECOND_GRID):
        x, w, b, g = case.arrays(seed, "float64", low=-99, high=99)
        for actual, expected in zip(
            computed(x, w, b, g, case), literal(x, w, b, g, case), strict=True
        ):
            assert np.array_equal(actual, expected), case


@given(
    case=cases(most_products=4000), seed=st.integers(0, 99), numbers=st.sampled_from(NUMBERS[:3])
)
def test_calls_are_the_definition_of_any_case(
    case: Case, seed: int, numbers: tuple[str, float]
) -> None:
    """The same for cases that Hypothesis draws."""
    x, w, b, g = case.arrays(seed, numbers[0], scale=numbers[1])
    expected = defined(x, w, b, g, case, numbers[0])
    for actual, wanted in zip(computed(x, w, b, g, case), expected, strict=True):
        assert actual.tolist() == wanted


def check_adjoint(case: Case, seed: int) -> None:
    """Compare <conv(x), g>, <x, dx> and <w, dw>, and <b, db> with what the bias adds."""
    x, w, b, g = case.arrays(seed, low=-99, high=99)
    dx, dw, db = npconv.conv2d_backward(g, x, w, **case.parameters)
    assert dx is not None
    assert dw is not None
    assert db is not None
    plain = npconv.conv2d(x, w, **case.parameters)
    product = int((plain * g).sum())
    assert product == int((x * dx).sum()) == int((w * dw).sum())
    if b is not None:
        assert int((npconv.conv2d(x, w, b, **case.parameters) * g).sum()) - product == int(
            (b * db).sum()
        )


def test_gradients_are_adjoint_on_the_second_grid() -> None:
    """<conv(x), g> = <x, dx> = <w, dw> exactly on integers, and the bias alike."""
    for seed, case in enumerate(SECOND_GRID):
        check_adjoint(case, seed)


@given(case=cases(), seed=st.integers(0, 99))
def test_gradients_are_adjoint_for_any_case(case: Case, seed: int) -> None:
    """The same for cases that Hypothesis draws."""
    check_adjoint(case, seed)


@pytest.mark.parametrize("buffer", [1, 60, 1000])
def test_calls_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch, buffer: int) -> None:
    """Split into blocks of any size, all results stay the same integers, bias included."""
    whole = [computed(*case.arrays(3), case) for case in LAYERS]
    monkeypatch.setattr(correlate, "BUFFER", buffer)
    for case, expected in zip(LAYERS, whole, strict=True):
        for actual, wanted in zip(computed(*case.arrays(3), case), expected, strict=True):
            assert np.array_equal(actual, wanted)


def test_each_gradient_alone_is_that_of_backward() -> None:
    """conv2d_input, conv2d_weight and conv2d_bias return the same bits as conv2d_backward."""
    for case in (*LAYERS, *SECOND_GRID[::41]):
        x, w, _, g = case.arrays(5, "float32", scale=1 / 3)
        alone = (
            npconv.conv2d_input(x.shape, w, g, **case.parameters),
            npconv.conv2d_weight(x, w.shape, g, **case.parameters),
            npconv.conv2d_bias(g),
        )
        for one, other in zip(
            alone, npconv.conv2d_backward(g, x, w, **case.parameters), strict=True
        ):
            assert other is not None
            assert one.dtype == other.dtype
            assert np.array_equal(one, other)


@pytest.mark.parametrize("mask", list(itertools.product((True, False), repeat=3)))
def test_output_mask_selects_gradients(mask: tuple[bool, bool, bool]) -> None:
    """A gradient is None where the mask is False, else unchanged; NumPy's bools count."""
    case = LAYERS[0]
    x, w, _, g = case.arrays(1)
    whole = npconv.conv2d_backward(g, x, w, **case.parameters)
    for given_mask in (mask, list(mask), np.array(mask)):
        some = npconv.conv2d_backward(g, x, w, **case.parameters, output_mask=given_mask)
        assert isinstance(some, tuple)
        for wanted, part, full in zip(mask, some, whole, strict=True):
            assert (part is not None) == wanted
            assert part is None or np.array_equal(part, full)


def test_arguments_come_in_torch_order() -> None:
    """By position, every argument means what its keyword means."""
    case = LAYERS[0]
    x, w, b, g = case.arrays(1)
    by_position = (case.stride, case.padding, case.dilation, case.groups)
    pairs = (
        (npconv.conv2d(x, w, b, *by_position), npconv.conv2d(x, w, b, **case.parameters)),
        (
            npconv.conv2d_input(x.shape, w, g, *by_position),
            npconv.conv2d_input(x.shape, w, g, **case.parameters),
        ),
        (
            npconv.conv2d_weight(x, w.shape, g, *by_position),
            npconv.conv2d_weight(x, w.shape, g, **case.parameters),
        ),
    )
    for one, other in pairs:
        assert np.array_equal(one, other)
    backward = npconv.conv2d_backward(g, x, w, *by_position, (False, True, False))
    assert backward[0] is backward[2] is None
    assert np.array_equal(backward[1], pairs[2][1])


def test_a_single_image_is_a_batch_of_one() -> None:
    """Unbatched results are those of a batch of one, without its axis."""
    for case in LAYERS:
        x, w, b, g = case.arrays(4)
        one = computed(x[0], w, b, g[0], case)
        batch = computed(x[:1], w, b, g[:1], case)
        for single, many, lead in zip(one, batch, (True, True, False, False), strict=True):
            assert np.array_equal(single, many[0] if lead else many)
            assert single.ndim == many.ndim - lead


def test_nested_lists_are_arrays() -> None:
    """Lists of numbers serve for every array, lists for sizes, and one int for both axes."""
    x, w, b, g = (
        a.tolist() for a in Case(2, 2, 1, 2, (5, 6), (3, 2), (2, 2), (1, 1), (1, 1)).arrays(2)
    )
    for short, long in ((2, (2, 2)), ([2], [2, 2]), (np.int8(2), np.array([2, 2]))):
        y = npconv.conv2d(x, w, b, short, 1, 1, 2)
        assert y.tolist() == definition.conv2d(x, w, b, long, (1, 1), 1, 2)
    assert npconv.conv2d_input([2, 2, 5, 6], w, g, 2, 1, 1, 2).tolist() == definition.conv2d_input(
        (2, 2, 5, 6), w, g, 2, 1, 1, 2
    )


def test_zero_dimensional_integers_are_parameters() -> None:
    """NumPy's integer scalars and 0-d arrays are ints."""
    x, w = np.arange(40).reshape(2, 1, 4, 5), np.arange(4).reshape(1, 1, 2, 2)
    expected = npconv.conv2d(x, w, None, 2, 1, 1, 1)
    for kind in (np.int64, np.uint8, lambda n: np.array(n, np.int16)):
        assert np.array_equal(
            npconv.conv2d(x, w, None, kind(2), kind(1), kind(1), kind(1)), expected
        )


INTEGERS = ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@pytest.mark.parametrize("given_dtype", INTEGERS)
def test_extreme_integers_are_exact_in_every_call(given_dtype: str) -> None:
    """Sums of the largest products wrap in integers, and are exact, then rounded, in floats."""
    limits = np.iinfo(given_dtype)
    case = LAYERS[0]
    for element in (limits.min, limits.max):
        arrays = [np.full_like(a, element, given_dtype) for a in case.arrays(0) if a is not None]
        for result in ("float64", "float32", "complex64", "int8", "uint16", "int64", "uint64"):
            expected = defined(*arrays, case, result)
            for actual, wanted in zip(computed(*arrays, case, dtype=result), expected, strict=True):
                assert actual.tolist() == wanted


# Layouts. Each takes an array and returns one of the same values, laid out in another way.


def channels_last(a: Array) -> Array:
    """Channels vary fastest in memory."""
    return np.moveaxis(np.ascontiguousarray(np.moveaxis(a, 1, -1)), -1, 1)


def guarded(a: Array, step: int = 1) -> Array:
    """View inside a larger array that holds garbage everywhere else."""
    garbage = np.nan if a.dtype.kind in "fcV" else 77
    base = np.full([step * size + 5 for size in a.shape], garbage).astype(a.dtype)
    view = base[tuple(slice(2, 2 + step * size, step) for size in a.shape)]
    view[...] = a
    return view


def channel_slice(a: Array) -> Array:
    """Some channels of a larger channels-last array."""
    wide = np.full((a.shape[0], a.shape[1] + 3, *a.shape[2:]), 77).astype(a.dtype)
    wide[:, 2:-1] = a
    return channels_last(wide)[:, 2:-1]


def reverse(a: Array) -> Array:
    """Every stride negative."""
    back = (slice(None, None, -1),) * a.ndim
    return a[back].copy()[back]


def swapped(a: Array) -> Array:
    """Foreign byte order."""
    return a.astype(a.dtype.newbyteorder())


def unaligned(a: Array) -> Array:
    """Elements at odd addresses."""
    raw = np.zeros(a.nbytes + 1, np.uint8)[1:].view(a.dtype).reshape(a.shape)
    raw[...] = a
    return raw


def readonly(a: Array) -> Array:
    """Not writeable."""
    a = a.copy()
    a.flags.writeable = False
    return a


def transposed(a: Array) -> Array:
    """The last two axes and the first two exchanged in memory."""
    order = (1, 0, 3, 2) if a.ndim == 4 else tuple(range(a.ndim))[::-1]
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


def image_only(layout: Callable[[Array], Array]) -> Callable[[Array], Array]:
    """Apply a layout to arrays with channels, and leave the bias as a guarded view."""
    return lambda a: layout(a) if a.ndim > 1 else guarded(a, 2)


LAYOUTS: dict[str, Callable[[Array], Array]] = {
    "channels_last": image_only(channels_last),
    "channel_slice": image_only(channel_slice),
    "offset": guarded,
    "stepped": lambda a: guarded(a, 3),
    "reversed": reverse,
    "foreign_bytes": swapped,
    "fortran": np.asfortranarray,
    "transposed": transposed,
    "readonly": readonly,
    "unaligned": unaligned,
}

#: Shapes whose last bits change with the order of summation: matrix-vector and pairwise sums.
WIDE = (
    Case(2, 1, 64, 8, (9, 11), (1, 1), (1, 1), (0, 0), (1, 1)),
    Case(1, 1, 1, 5, (19, 17), (3, 1), (1, 1), (1, 0), (1, 1)),
    Case(1, 1, 5, 1, (19, 17), (3, 2), (2, 1), (1, 2), (1, 1)),
    Case(2, 6, 1, 1, (17, 19), (2, 3), (1, 1), (0, 1), (2, 1)),
    *LAYERS,
)


def real(case: Case, dtype: str, seed: int) -> list[Array]:
    """Draw (input, weight, bias, grad_output): real numbers, or integers of the whole type."""
    rng = np.random.default_rng(seed)
    shapes = (
        case.input_shape,
        case.weight_shape,
        case.weight_shape[:1],
        case.geometry.output_shape,
    )
    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        return [rng.integers(limits.min, limits.max, s, dtype, endpoint=True) for s in shapes]
    if np.dtype(dtype).kind == "c":
        return [
            (rng.standard_normal(s) + 1j * rng.standard_normal(s)).astype(dtype) for s in shapes
        ]
    return [rng.standard_normal(s).astype(dtype) for s in shapes]


def same(actual: list[Array], expected: list[Array]) -> bool:
    """Whether dtypes and bytes agree."""
    return all(
        a.dtype == e.dtype and a.shape == e.shape and a.tobytes() == e.tobytes()
        for a, e in zip(actual, expected, strict=True)
    )


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "dtype", ["float64", "float32", "float16", "complex64", "int16", "int64", "uint64"]
)
def test_layouts_give_the_bits_of_packed_arrays(layout: str, dtype: str) -> None:
    """Arrays in any layout, all or one of them, give the packed arrays' bits, unchanged."""
    for seed, case in enumerate(WIDE):
        packed = real(case, dtype, seed)
        expected = computed(*packed, case)
        laid = [LAYOUTS[layout](array) for array in packed]
        for chosen in ((0, 1, 2, 3), (seed % 4,)):
            used = [laid[i] if i in chosen else packed[i] for i in range(4)]
            before = [array.tobytes() for array in used]
            assert same(computed(*used, case), expected), (case, chosen)
            assert [array.tobytes() for array in used] == before


@pytest.mark.parametrize("dtype", ["float64", "int64", "complex128"])
@pytest.mark.parametrize("axes", [(0,), (1,), (2,), (3,), (2, 3), (0, 1), (0, 1, 2, 3)])
def test_broadcast_arrays_give_the_bits_of_packed_arrays(dtype: str, axes: tuple[int, ...]) -> None:
    """Zero strides along any axes of any argument read the one element again and again."""
    for seed, case in enumerate(WIDE):
        arrays = real(case, dtype, seed)
        thin = [
            a[tuple(slice(0, 1) if i in axes else slice(None) for i in range(a.ndim))]
            for a in arrays
        ]
        views = [np.broadcast_to(t, a.shape) for t, a in zip(thin, arrays, strict=True)]
        assert same(computed(*views, case), computed(*(v.copy() for v in views), case))


def test_layouts_of_the_guard_are_never_touched() -> None:
    """What lies around a view is neither read into a result nor written."""
    case = LAYERS[2]
    views = [guarded(a, 2) for a in case.arrays(0, "float64")]
    bases = [v.base.copy() for v in views]
    for result in computed(*views, case):
        assert np.isfinite(result).all()
    for view, base in zip(views, bases, strict=True):
        assert np.array_equal(view.base, base, equal_nan=True)


@pytest.mark.parametrize("dtype", [">f8", "<f8", ">f4", "<f4", ">i4", "<i4", ">c16", "<u8", ">u2"])
def test_results_own_packed_native_memory(dtype: str) -> None:
    """Every result is an array of its own: writeable, C-contiguous, native; it overlaps nothing."""
    for case in (*LAYERS, Case(1, 1, 1, 1, (1, 1), (1, 1), (1, 1), (0, 0), (1, 1))):
        single = Case(None, *(getattr(case, name) for name in Case.__slots__[1:]))
        for each in (case, single):
            arrays = [a.astype(dtype) for a in each.arrays(0, low=1) if a is not None]
            alone = [
                npconv.conv2d(*arrays[:2], **each.parameters),
                npconv.conv2d_input(arrays[0].shape, arrays[1], arrays[3], **each.parameters),
                npconv.conv2d_weight(arrays[0], arrays[1].shape, arrays[3], **each.parameters),
                npconv.conv2d_bias(arrays[3]),
            ]
            for result in (*alone, *computed(*arrays, each)):
                assert type(result) is np.ndarray
                assert result.flags.owndata
                assert result.flags.writeable
                assert result.flags.c_contiguous
                assert result.dtype.isnative
                assert result.dtype == np.dtype(dtype).newbyteorder("=")
                assert not any(np.may_share_memory(result, array) for array in arrays)


def test_mixed_byte_orders_are_one_dtype() -> None:
    """Arrays that differ in byte order alone share a dtype."""
    case = LAYERS[0]
    x, w, b, g = case.arrays(0)
    mixed = computed(swapped(x), w, swapped(b), swapped(g), case)
    assert same(mixed, computed(x, w, b, g, case))


def test_subclasses_become_plain_arrays() -> None:
    """An ndarray subclass is read as what it holds."""

    class Named(np.ndarray[Any, Any]):
        pass

    x, w = np.arange(12.0).reshape(1, 1, 3, 4), np.arange(4.0).reshape(1, 1, 2, 2)
    result = npconv.conv2d(x.view(Named), w.view(Named))
    assert type(result) is np.ndarray
    assert np.array_equal(result, npconv.conv2d(x, w))


# Empty axes.

EMPTY = (
    (0, 2, 3, 2),
    (2, 2, 0, 3),
    (0, 1, 0, 2),
    (2, 1, 0, 3),
    (0, 3, 1, 1),
    (None, 2, 0, 2),
)


@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "complex64", "float16"])
@pytest.mark.parametrize("channels", EMPTY)
def test_empty_axes_follow_the_definition(channels: tuple[Any, int, int, int], dtype: str) -> None:
    """No images or channels: zeros plus bias, and gradients that are empty or sums over nothing."""
    case = Case(*channels, (5, 4), (2, 3), (2, 1), ((1, 2), (0, 1)), (1, 1))
    x, w, b, g = case.arrays(0, dtype)
    assert b is not None
    y, dx, dw, db = computed(x, w, b, g, case)
    assert y.shape == g.shape
    assert np.array_equal(y, np.broadcast_to(b[:, None, None], y.shape))
    assert (dx.shape, dw.shape, db.shape) == (x.shape, w.shape, b.shape)
    assert dx.size == 0
    assert (dw == 0).all()
    assert np.array_equal(db, g.sum(axis=tuple(i for i in range(g.ndim) if i != g.ndim - 3)))
    assert {a.dtype for a in (y, dx, dw, db)} == {np.dtype(dtype)}
    assert y.tolist() == definition.conv2d(x, w, b, **case.parameters, dtype=dtype)
    assert npconv.conv2d(x, w, b, **case.parameters, dtype="complex128").dtype == np.complex128


REFUSED_EMPTY = (
    ((2, 2, 0, 4), (2, 2, 1, 1), "input extents (0, 4) must be at least 1"),
    ((2, 2, 4, 0), (2, 2, 1, 1), "input extents (4, 0) must be at least 1"),
    ((2, 2, 4, 5), (0, 2, 1, 1), "out_channels=0 must be at least 1"),
    ((2, 2, 4, 5), (2, 2, 0, 1), "kernel (0, 1) must be at least 1 along each axis"),
    ((2, 2, 4, 5), (2, 2, 1, 0), "kernel (1, 0) must be at least 1 along each axis"),
    ((0, 2, 0, 5), (2, 2, 1, 1), "input extents (0, 5) must be at least 1"),
)


@pytest.mark.parametrize(("x", "w", "fact"), REFUSED_EMPTY)
@pytest.mark.parametrize("padding", [0, 1])
def test_other_empty_axes_are_refused(
    x: tuple[int, ...], w: tuple[int, ...], fact: str, padding: int
) -> None:
    """Empty extents, kernels and output channels raise ValueError, padded or not."""
    with pytest.raises(ValueError, match=r"^conv2d: ") as caught:
        npconv.conv2d(np.ones(x), np.ones(w), padding=padding)
    assert str(caught.value) == f"conv2d: {fact} [input {x}, weight {w}]"


# Non-finite numbers.


def sprinkled(case: Case, seed: int, dtype: str) -> list[Array]:
    """Draw small integers, zeros among them, with an infinity or NaN here and there."""
    rng = np.random.default_rng(seed)
    arrays = [a for a in case.arrays(seed, dtype, low=-2, high=2) if a is not None]
    for array in arrays:
        for value in (np.inf, -np.inf, np.nan):
            if rng.random() < 0.6:
                flat = array.reshape(-1)
                flat[rng.integers(flat.size)] = value
    return arrays


def as_definition(result: Array) -> Any:
    """Nested lists with NaN as a string, which equals itself."""
    return [as_definition(part) for part in result] if result.ndim else text(result.item())


def text(value: Any) -> Any:
    """NaN as a string."""
    if isinstance(value, list):
        return [text(part) for part in value]
    if isinstance(value, complex):
        return text(value.real), text(value.imag)
    return "nan" if math.isnan(value) else value


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "complex128", "complex64"])
def test_infinities_and_nan_follow_the_definition(dtype: str) -> None:
    """Infinite and NaN results stand where IEEE arithmetic on the definition's terms puts them."""
    for seed, case in enumerate(case for case in SECOND_GRID[::8] if case.bias):
        x, w, b, g = sprinkled(case, seed, dtype)
        for actual, expected in zip(
            computed(x, w, b, g, case), defined(x, w, b, g, case, dtype), strict=True
        ):
            assert as_definition(actual) == text(expected), case


def test_complex_infinities_are_those_of_their_products() -> None:
    """Finite non-zero parts times infinity are infinite, whatever the shape: no sum is scaled."""
    for channels, outputs, width in ((1, 1, 1), (3, 7, 5), (8, 2, 1), (2, 8, 40)):
        rng = np.random.default_rng(width)
        x, w, g = (
            rng.integers(1, 9, shape) + 1j * rng.integers(1, 9, shape)
            for shape in (
                (2, channels, 1, width),
                (outputs, channels, 1, 1),
                (2, outputs, 1, width),
            )
        )
        x[1, 0, 0, 0] = complex(3, -np.inf)
        w[0, 0, 0, 0] = complex(np.inf, 2)
        results = [npconv.conv2d(x, w), *npconv.conv2d_backward(g, x, w)]
        expected = [
            definition.conv2d(x, w, dtype="complex128"),
            *definition.conv2d_backward(g, x, w, dtype="complex128"),
        ]
        for actual, wanted in zip(results, expected, strict=True):
            assert actual is not None
            assert as_definition(actual) == text(wanted)
        assert not np.isnan(results[0][0]).any()


def test_infinite_weight_over_padding_gives_nan() -> None:
    """Zeros of padding are operands: inf * 0 is NaN where the weight hangs over the edge."""
    x = np.array([[[[1.0, -2.0, 3.0]]]])
    w = np.array([[[[np.inf, 1.0, 0.0]]]])
    y = npconv.conv2d(x, w, padding=(0, 1))
    assert y.shape == (1, 1, 1, 3)
    assert np.array_equal(y, [[[[np.nan, np.inf, -np.inf]]]], equal_nan=True)


def test_infinite_weight_reaches_only_what_it_touched() -> None:
    """In the input gradient only terms that exist count: zeros that a stride inserts do not."""
    w = np.array([[[[np.inf, 2.0]]]])
    g = np.array([[[[1.0, 3.0]]]])
    dx = npconv.conv2d_input((1, 1, 2, 6), w, g, stride=(2, 3))
    assert dx.tolist() == [[[[np.inf, 2.0, 0.0, np.inf, 6.0, 0.0], [0.0] * 6]]]
    padded = npconv.conv2d_input((1, 1, 1, 2), w, np.ones((1, 1, 1, 3)), padding=(0, 1))
    assert padded.tolist() == [[[[np.inf, np.inf]]]]
    alone = npconv.conv2d_input(
        (1, 1, 1, 2), w[..., ::-1], np.ones((1, 1, 1, 2)), stride=2, padding=(0, 1)
    )
    assert alone.tolist() == [[[[np.inf, 2.0]]]]


def test_nan_stays_in_its_group_and_image() -> None:
    """A NaN in one image and channel reaches only outputs of that image, group and window."""
    case = Case(2, 2, 2, 3, (5, 6), (2, 3), (1, 1), (1, 0), (1, 1))
    x, w, b, _ = case.arrays(0, "float64", low=1)
    x[1, 2, 4, 0] = np.nan
    bad = np.isnan(npconv.conv2d(x, w, b, **case.parameters))
    expected = np.zeros_like(bad)
    expected[1, 3:, 4:6, 0] = True
    assert np.array_equal(bad, expected)


def test_overflow_underflow_and_signalling_nan_raise_no_warning() -> None:
    """Overflow, underflow, inf - inf and signalling NaN are results, whatever np.seterr says."""
    signalling = np.array([0x7F800001] * 6, np.uint32).view(np.float32)
    x = np.array([[[[3e38, -3e38, np.inf, 1e-30, 0.0, 1.0]]]], np.float32)
    w, g = x.reshape(6, 1, 1, 1).copy(), np.repeat(x, 6, axis=1)
    old = np.seterr(all="raise")
    try:
        assert np.isnan(npconv.conv2d(x, w, signalling)).all()
        y = npconv.conv2d(x, w)
        assert np.isinf(y).any()
        assert np.isnan(y).any()
        npconv.conv2d(signalling.reshape(1, 1, 1, 6), w)
        npconv.conv2d(x, signalling.reshape(6, 1, 1, 1))
        for cotangent in (g, np.broadcast_to(signalling, g.shape)):
            npconv.conv2d_backward(cotangent, x, w)
        npconv.conv2d_backward(g, signalling.reshape(1, 1, 1, 6), w, dtype="float16")
        npconv.conv2d(x.astype(np.float64) * 1e200, w.astype(np.float64) * 1e200, dtype="float16")
        npconv.conv2d(np.full((1, 2, 1, 1), 1e200 + 1e200j), np.full((1, 2, 1, 1), 1e200 + 1e200j))
        npconv.conv2d(np.full((1, 2, 1, 1), 2**62), np.full((1, 2, 1, 1), 2**62), dtype="float16")
        npconv.conv2d(np.full((1, 2, 1, 1), 2**62), np.full((1, 2, 1, 1), 2**62))
    finally:
        np.seterr(**old)


# torch.

GRID = tuple(
    Case(batch, *channels, extents, kernel, stride, padding, dilation, bias=number % 2 == 0)
    for number, (channels, kernel, stride, padding, dilation) in enumerate(
        itertools.product(
            ((1, 2, 3), (2, 3, 2), (3, 1, 1), (2, 1, 3)),
            ((1, 1), (3, 2), (2, 4)),
            ((1, 1), (2, 1), (3, 2)),
            ((0, 0), (1, 2), (3, 1)),
            ((1, 1), (1, 2), (2, 1)),
        )
    )
    for batch, extents in (((2, (7, 9)), (3, (8, 10)), (None, (6, 11)))[number % 3],)
)


def torch_results(
    torch: Any, x: Array, w: Array, b: Array | None, g: Array, case: Case
) -> list[Array]:
    """Output and gradients of torch and its autograd."""
    tensors = [
        None if a is None else torch.from_numpy(a.copy()).requires_grad_() for a in (x, w, b)
    ]
    y = torch.nn.functional.conv2d(*tensors, **case.parameters)
    y.backward(torch.from_numpy(g))
    return [y.detach().numpy(), *(t.grad.numpy() for t in tensors if t is not None)]


@pytest.mark.parametrize("dtype", ["float64", "float32", "complex128"])
def test_calls_are_torch_bit_for_bit(dtype: str) -> None:
    """On integer data, output and autograd's three gradients equal torch's."""
    torch = pytest.importorskip("torch")
    for seed, case in enumerate(GRID if dtype == "float64" else GRID[::3]):
        x, w, b, g = case.arrays(seed, dtype, low=-30, high=30)
        actual = computed(x, w, b, g, case)
        for ours, theirs in zip(
            actual, torch_results(torch, x, w, b, g, case), strict=b is not None
        ):
            assert ours.dtype == theirs.dtype
            assert ours.shape == theirs.shape
            assert np.array_equal(ours, theirs), case


@pytest.mark.parametrize("dtype", ["int64", "int32", "int16", "int8", "uint8"])
def test_integers_are_torch_wrapping_included(dtype: str) -> None:
    """Forward over each integer type's whole range equals torch's, modulo its width."""
    torch = pytest.importorskip("torch")
    for seed, case in enumerate(GRID[::9]):
        x, w, b, _ = real(case, dtype, seed)
        expected = torch.nn.functional.conv2d(
            *(torch.from_numpy(a) for a in (x, w, b)), **case.parameters
        )
        assert np.array_equal(npconv.conv2d(x, w, b, **case.parameters), expected.numpy())


@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")  # torch, of even kernels
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_named_padding_is_torch(padding: str) -> None:
    """'same', with even kernels and unequal dilation, and 'valid' are torch's, gradients too."""
    torch = pytest.importorskip("torch")
    for seed, (kernel, dilation) in enumerate(
        itertools.product(((2, 3), (4, 1), (1, 2), (4, 2)), ((1, 1), (2, 1), (1, 3)))
    ):
        case = Case((2, None)[seed % 2], 2, 2, 3, (11, 8), kernel, (1, 1), padding, dilation)
        x, w, b, g = case.arrays(seed, "float64")
        expected = torch_results(torch, x, w, b, g, case)
        for ours, theirs in zip(computed(x, w, b, g, case), expected, strict=True):
            assert np.array_equal(ours, theirs), case


def test_gradients_are_those_of_torch_nn_grad() -> None:
    """conv2d_input and conv2d_weight take torch.nn.grad's arguments and return its results."""
    torch = pytest.importorskip("torch")
    for seed, case in enumerate(GRID[::11]):
        if case.batch is None:
            continue
        x, w, _, g = case.arrays(seed, "float64")
        tx, tw, tg = (torch.from_numpy(a) for a in (x, w, g))
        for ours, theirs in (
            (
                npconv.conv2d_input(x.shape, w, g, **case.parameters),
                torch.nn.grad.conv2d_input(tx.shape, tw, tg, **case.parameters),
            ),
            (
                npconv.conv2d_weight(x, w.shape, g, **case.parameters),
                torch.nn.grad.conv2d_weight(tx, tw.shape, tg, **case.parameters),
            ),
        ):
            assert np.array_equal(ours, theirs.numpy())


@pytest.mark.parametrize(("x", "w", "fact"), REFUSED_EMPTY)
def test_torch_refuses_the_same_empty_axes(
    x: tuple[int, ...], w: tuple[int, ...], fact: str
) -> None:
    """What is refused for being empty, torch refuses too."""
    torch = pytest.importorskip("torch")
    assert fact
    with pytest.raises(RuntimeError):
        torch.nn.functional.conv2d(torch.ones(x), torch.ones(w))


def test_tensors_without_gradient_are_arrays() -> None:
    """A torch tensor that NumPy can view is taken as an array, and the result is NumPy's."""
    torch = pytest.importorskip("torch")
    x, w = torch.arange(24.0).reshape(2, 1, 3, 4), torch.arange(4.0).reshape(1, 1, 2, 2)
    result = npconv.conv2d(x, w)
    assert type(result) is np.ndarray
    assert np.array_equal(result, npconv.conv2d(x.numpy(), w.numpy()))


#: Layers whose padded, widened or unfolded arrays would each take more than 64 MiB.
HEAVY = (
    (Case(2, 1, 1024, 1024, (5, 6), (3, 3), (1, 1), (1, 1), (1, 1)), "float32"),
    (Case(3, 1, 8, 24, (300, 301), (3, 2), (1, 1), (1, 1), (1, 1)), "float32"),
    (Case(3, 1, 12, 9, (200, 301), (3, 4), (2, 1), (1, 2), (1, 2)), "float64"),
    (Case(2, 1, 300, 500, (4, 5), (3, 3), (1, 1), (1, 1), (1, 1)), "complex64"),
    (Case(3, 64, 1, 1, (170, 161), (3, 3), (1, 2), (1, 1), (1, 1)), "float32"),
)


@pytest.mark.parametrize(("case", "dtype"), HEAVY, ids=range(len(HEAVY)))
def test_work_space_is_bounded(case: Case, dtype: str) -> None:
    """Beyond arguments and result no call takes more than 64 MiB, as NumPy's allocations tell."""
    rng = np.random.default_rng(0)
    x, w, g = (
        rng.standard_normal(shape, np.float32).astype(dtype)
        for shape in (case.input_shape, case.weight_shape, case.geometry.output_shape)
    )
    unbounded = w.copy()
    unbounded[0, 0, 0, 0] = np.inf
    calls: tuple[Callable[[], Array], ...] = (
        lambda: npconv.conv2d(x, w, **case.parameters),
        lambda: npconv.conv2d_input(x.shape, w, g, **case.parameters),
        lambda: npconv.conv2d_input(x.shape, unbounded, g, **case.parameters),
        lambda: npconv.conv2d_weight(x, w.shape, g, **case.parameters),
        lambda: npconv.conv2d_bias(g),
    )
    for number, call in enumerate(calls):
        tracemalloc.start()
        try:
            result = call()
            space = tracemalloc.get_traced_memory()[1] - result.nbytes
        finally:
            tracemalloc.stop()
        assert space <= 64 * 2**20, (number, space / 2**20)
