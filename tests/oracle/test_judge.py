"""Correct results pass; each planted fault is a failure of its kind, its ratio a number or none."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import formats
from npconv.formats import available
from npconv.oracle import probe
from npconv.oracle.cases import DATA, Case
from npconv.oracle.data import operands
from npconv.oracle.judge import Failure, Verdict, expect, is_exact, judge
from npconv.oracle.protocol import OPS, Implementation
from tests.strategies_for_tests import Array

CASE = Case(
    2, 4, 6, 2, (7, 9), (3, 2), (2, 1), (1, 0), (1, 2), True, "111", "float32", "packed", "reals", 0
)  # fmt: skip
KINDS = tuple(kind for kind in DATA if kind != "special")


def results(case: Case) -> dict[str, Array]:
    """Npconv's own results."""
    a = operands(case)
    found = npconv.conv2d_backward(a.grad_output, a.input, a.weight, *case.parameters)  # type: ignore[arg-type]
    forward = npconv.conv2d(a.input, a.weight, a.bias, *case.parameters)
    return {op: r for op, r in zip(OPS, (forward, *found), strict=True) if r is not None}


def told(verdict: Verdict) -> Failure | str | None:
    """The failure, None where the result passed, else the status."""
    return verdict.failure or (None if verdict.status == "passed" else verdict.status)


def verdicts(case: Case, found: dict[str, Any], **arithmetic: str) -> dict[str, Any]:
    """What is told of all results of a case."""
    expected = expect(case, operands(case), arithmetic)
    return {op: told(judge(case, op, result, expected)) for op, result in found.items()}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("dtype", [n for n in available() if n[0] != "u"])
def test_correct_results_pass(dtype: str, kind: str) -> None:
    """Npconv's results conform in every dtype on every kind of data."""
    for seed in range(3):
        case = replace(CASE, dtype=dtype, data=kind, seed=seed)
        assert set(verdicts(case, results(case)).values()) == {None}


@pytest.mark.parametrize("kind", DATA)
@pytest.mark.parametrize("op", OPS)
def test_one_wrong_element_fails(op: str, kind: str) -> None:
    """An element off by 1 %, or zero, fails with its place, what came and what should have."""
    case = replace(CASE, data=kind)
    for factor in (1.01, 0.0):
        found = results(case)
        finite = np.isfinite(found[op]) & (found[op] != 0)
        index = np.unravel_index(int(np.argmax(np.where(finite, abs(found[op]), -1))), finite.shape)
        found[op][index] *= np.float32(factor)
        verdict = verdicts(case, found)[op]
        assert isinstance(verdict, Failure)
        assert (verdict.kind, verdict.index) == ("values", tuple(map(int, index)))
        assert verdict.got == str(found[op][index])
        exact = is_exact(case, op)
        assert (verdict.ratio is None) == exact
        assert exact or verdict.ratio > 1  # type: ignore[operator]


@pytest.mark.parametrize("kind", KINDS)
def test_nan_in_the_wrong_place_is_nonfinite(kind: str) -> None:
    """A NaN or an infinity where none belongs is a kind of its own; its ratio is none, not NaN."""
    case = replace(CASE, data=kind)
    for value in (np.nan, np.inf):
        found = results(case)
        found["forward"][0, 1, 2, 3] = value
        verdict = verdicts(case, found)["forward"]
        assert isinstance(verdict, Failure)
        assert (verdict.kind, verdict.index, verdict.ratio) == ("nonfinite", (0, 1, 2, 3), None)


@pytest.mark.parametrize("seed", range(20))
def test_special_values_must_reach_just_what_they_touch(seed: int) -> None:
    """Swallowing a NaN, or spreading it to one more element, is a failure."""
    case = replace(CASE, data="special", seed=seed, padding=(0, 0), stride=(1, 1), dilation=(1, 1))
    expected = expect(case, operands(case))
    reached = 0
    for op, right in results(case).items():
        must = expected.references[op].must
        if must is None:
            continue
        assert (np.isfinite(right) != must).all()
        reached += must.sum()
        for change in (np.nan_to_num(right, posinf=1, neginf=1), np.where(must, right, np.nan)):
            changed = change.astype(right.dtype)
            if not np.array_equal(changed, right, equal_nan=True):
                verdict = told(judge(case, op, changed, expected))
                free = expected.references[op].free
                if change is not None and free is not None and not (free & ~must).all():
                    assert isinstance(verdict, Failure)
                    assert verdict.kind == "nonfinite"
    assert reached > 0


def test_infinity_has_its_sign() -> None:
    """Where infinity is right, the other infinity and NaN are wrong for a direct sum."""
    case = next(
        c
        for c in (replace(CASE, data="special", seed=s) for s in range(99))
        if np.isinf(operands(c).input).any()
    )
    right = results(case)["forward"]
    for other in (-right, np.where(np.isinf(right), np.nan, right)):
        verdict = verdicts(case, {"forward": other.astype(right.dtype)})["forward"]
        assert isinstance(verdict, Failure)
        assert verdict.kind == "nonfinite"


def test_transforms_may_spread_within_their_tile() -> None:
    """Winograd may show a NaN within its tile's reach, FFT in the whole plane, no other plane."""
    case = replace(CASE, stride=(1, 1), dilation=(1, 1), extents=(19, 21), data="special")
    case = next(
        c for c in (replace(case, seed=s) for s in range(99)) if np.isnan(operands(c).input).any()
    )
    right = results(case)["forward"]
    plane = right.copy()
    plane[np.isnan(right).any((2, 3))] = np.nan
    assert verdicts(case, {"forward": plane}, forward="float32/fft")["forward"] is None
    assert isinstance(verdicts(case, {"forward": plane})["forward"], Failure)
    assert isinstance(
        verdicts(case, {"forward": plane}, forward="float32/winograd2")["forward"], Failure
    )
    near = right.copy()
    n, f, y, x = np.argwhere(np.isnan(right))[0]
    near[n, f, max(0, y - 1), x] = np.nan
    assert verdicts(case, {"forward": near}, forward="float32/winograd2")["forward"] is None


def test_structure_comes_before_values() -> None:
    """No array, a wrong shape and a wrong dtype are told as such."""
    right = results(CASE)["forward"]
    for result, kind in ((None, "type"), (right[:1], "shape"), (right.astype("f8"), "dtype")):
        verdict = verdicts(CASE, {"forward": result})["forward"]
        assert isinstance(verdict, Failure)
        assert verdict.kind == kind


@pytest.mark.parametrize("kind", ["probe", "reals", "micro", "mega"])
@pytest.mark.parametrize("bits", [8, 11])
def test_rounded_inputs_fail_under_float32_s_name(bits: int, kind: str) -> None:
    """Factors of bfloat16's or TF32's bits fail as float32, and pass as what they are."""
    case = replace(CASE, data=kind)
    a = operands(case)

    def rounded(array: Array) -> Array:
        fractions, exponents = np.frexp(array.astype(np.float64))
        return np.ldexp(np.rint(np.ldexp(fractions, bits)), exponents - bits).astype(np.float32)

    assert a.grad_output is not None
    x, w, g = map(rounded, (a.input, a.weight, a.grad_output))
    found = {
        "forward": npconv.conv2d(x, w, a.bias, *case.parameters),
        "grad_input": npconv.conv2d_input(case.input_shape, w, g, *case.parameters),
        "grad_weight": npconv.conv2d_weight(x, case.weight_shape, g, *case.parameters),
    }
    assert all(isinstance(v, Failure) for v in verdicts(case, found).values())
    name = {8: "bfloat16", 11: "tf32"}[bits]
    assert set(verdicts(case, found, **dict.fromkeys(OPS, name)).values()) == {None}


def test_wrong_format_is_caught_in_float64() -> None:
    """Results computed in float32 fail as float64 on every kind of data, in every operation."""
    for kind in KINDS:
        case = replace(CASE, data=kind, dtype="float64")
        found = {op: a.astype("f4").astype("f8") for op, a in results(case).items()}
        seen = verdicts(case, found)
        failing = {op for op, verdict in seen.items() if isinstance(verdict, Failure)}
        assert failing >= {"forward", "grad_input", "grad_weight"}, kind


def test_long_sums_in_short_formats_are_undecided() -> None:
    """Where the bound reaches the gauge nothing is passed; what is beyond the bound still fails."""
    case = replace(CASE, dtype="float16", groups=1, in_channels=400, data="reals")
    names = dict.fromkeys(OPS, "float16-accumulate")
    found = results(case)
    assert verdicts(case, found, **names)["forward"] == "undecided"
    assert verdicts(case, found)["forward"] is None
    found["forward"][...] = 60000
    assert isinstance(verdicts(case, found, **names)["forward"], Failure)


def test_overflow_of_the_result_is_infinity() -> None:
    """Sums beyond float16 must be infinite, of the right sign; a largest finite number is wrong."""
    x, w = np.full((1, 4, 1, 1), 200, np.float16), np.full((1, 4, 1, 1), 200, np.float16)
    right = npconv.conv2d(x, w)
    assert np.isinf(right).all()
    npconv.testing.assert_conv2d(right, x, w)
    for other in (np.full_like(right, 65504), -right, np.full_like(right, np.nan)):
        with pytest.raises(AssertionError, match=r"1 of 1 elements (differs|is out of)"):
            npconv.testing.assert_conv2d(other, x, w)


def test_integer_data_is_exact_for_direct_sums_only() -> None:
    """Classes, and arithmetics too short for the numbers, have bounds on integers too."""
    case = replace(CASE, data="integers")
    expected = expect(case, operands(case), dict.fromkeys(OPS, "float32/winograd4"))
    assert expected.references["forward"].bound is not None
    assert expect(case, operands(case)).references["forward"].bound is None
    for name in ("bfloat16", "bf16x3", "float16-accumulate"):
        assert not is_exact(case, "forward", npconv.bounds.parse(name))


def target(change: Any) -> Implementation:
    """Npconv with inputs, or results, changed first."""

    def conv2d(x: Array, w: Array, b: Any, *parameters: Any) -> Array:
        return npconv.conv2d(change(x), change(w), b, *parameters)

    def backward(g: Array, x: Array, w: Array, *parameters: Any) -> Any:
        return npconv.conv2d_backward(change(g), change(x), change(w), *parameters)

    return Implementation.of(
        SimpleNamespace(
            conv2d=conv2d,
            conv2d_backward=backward,
            supports={"dtypes": formats.FLOATS + formats.COMPLEXES},
        ),
        "changed",
    )


@pytest.mark.parametrize(
    ("bits", "mode", "name"),
    [(b, m, n) for b, n in ((11, "tf32"), (8, "bfloat16")) for m in probe.MODES],
)
def test_probe_names_rounded_inputs_and_their_rounding(bits: int, mode: str, name: str) -> None:
    """Factors rounded to a shorter format are named with the way they are rounded."""

    def change(array: Array) -> Array:
        return probe._round(array.astype(np.float64), bits, mode).astype(array.dtype)

    found = probe.probe(target(change), "float32", OPS, 60.0)
    title = probe._TITLES[name]
    assert {op: f.name for op, f in found.items()} == dict.fromkeys(OPS, name)
    assert {f.says.split(" (")[0] for f in found.values()} == {f"inputs rounded as {title}, {mode}"}


def test_probe_tells_float16_by_its_range() -> None:
    """Factors cast to float16 have TF32's bits and not its range."""

    def change(array: Array) -> Array:
        with np.errstate(all="ignore"):
            return array.astype(np.float16).astype(array.dtype)

    found = probe.probe(target(change), "float32", ("forward", "grad_weight"), 60.0)
    assert {f.name for f in found.values()} == {"float16"}


def test_probe_finds_nothing_in_npconv() -> None:
    """A correct direct sum has the dtype's own arithmetic, results rounded to nearest even."""
    for dtype in ("float16", "float32", "float64", "complex64"):
        found = probe.probe(target(lambda array: array), dtype, OPS, 60.0)
        own = {"complex64": "float32"}.get(dtype, dtype)
        assert {f.name for f in found.values()} == {own}
    half = probe.probe(target(lambda array: array), "float16", ("forward",), 60.0)
    assert half["forward"].says.endswith("results rounded to nearest, ties to even")
