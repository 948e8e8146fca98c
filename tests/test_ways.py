"""The lessons' implementations conform to what they declare; the early versions are found out."""

import functools
import importlib
import itertools
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.diagnosis import diagnose
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Diagnosis, Report, Tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named

#: The same on every NumPy.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
WAYS, EARLY, LESSONS = ROOT / "examples/ways", ROOT / "examples/early", ROOT / "docs/lessons"

#: Each way: its operations, the part of quick that it is asked here, what it needs beside NumPy.
CONFORMING = (
    ("loops", OPS, "quick[::23]", None),
    ("loops_numba", OPS, "quick[::7]", "numba"),
    ("windows_einsum", ("forward", "grad_weight", "grad_bias"), "quick[::7]", None),
    ("strides_einsum", ("forward", "grad_weight", "grad_bias"), "quick[::7]", None),
    ("im2col_take", OPS, "quick[::7]", None),
    ("channels_last", OPS, "quick[::5]", None),
    ("input_gradient_dilated", ("grad_input",), "quick[::7]", None),
)


@pytest.fixture(autouse=True)
def neighbours() -> Iterator[None]:
    """Let the files import their neighbours, as they do where they are."""
    path = [*sys.path]
    sys.path[:0] = [str(WAYS), str(EARLY)]
    yield
    sys.path[:] = path


def way(name: str) -> ModuleType:
    """Import one of the files."""
    return importlib.import_module(name)


# ------------------------------------------------------------------ ways that are right


# What NumPy says of the suite's infinities.
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.parametrize(("name", "ops", "suite", "requirement"), CONFORMING)
def test_each_way_conforms(
    name: str, ops: tuple[str, ...], suite: str, requirement: str | None
) -> None:
    """A way passes its part of quick in each of its operations, failing none, refusing none."""
    if requirement is not None:
        pytest.importorskip(requirement, reason=f"{name} uses {requirement}")
    tally = Tally()
    plan = Plan(adapters.load, str(WAYS / f"{name}.py"), suite)
    assert plan.implementation().supports.ops == ops
    assert not run(plan, tally)
    assert tally.failures == []
    assert all(tally.counts[op]["passed"] > 8 for op in ops)
    assert tally.total("unsupported") == 0


def test_every_way_is_judged_and_told() -> None:
    """No file of ways or early versions stands outside of this module and of the lessons."""
    told = (LESSONS / "index.md").read_text(encoding="utf-8")
    files = {path.stem for path in WAYS.glob("*.py")}
    assert files == {"shared", *(name for name, *_ in CONFORMING)}
    for path in (*WAYS.glob("*.py"), *EARLY.glob("*.py")):
        if path.stem != "shared":
            assert f"`{path.name}`" in told
        if path.stem not in ("shared", "he_scale"):
            command = f"npconv check {path.relative_to(ROOT).as_posix()}"
            assert command in path.read_text(encoding="utf-8")


GRID = tuple(itertools.product((1, 2, 5, 6), (1, 2, 3), (1, 2, 3), (0, 1, 2, 4), (1, 2)))


def counted(extent: int, kernel: int, stride: int, padding: int, dilation: int) -> int:
    """Count the windows that fit, one by one."""
    padded, span = extent + 2 * padding, dilation * (kernel - 1) + 1
    return sum(1 for start in range(0, padded, stride) if start + span <= padded)


def test_output_size_is_the_number_of_windows() -> None:
    """The formula gives what counting gives, and refuses where counting finds none."""
    refused = 0
    for case in GRID:
        extent, kernel, stride, padding, dilation = case
        shapes = (2, 4, extent, 7), (6, 2, kernel, 3)
        arguments = (*shapes, (stride, 1), (padding, 0), (dilation, 1), 2)
        if counted(*case):
            assert way("shared").output_size(*arguments) == (counted(*case), 5), case
        else:
            refused += 1
            with pytest.raises(ValueError, match="must fit"):
                way("shared").output_size(*arguments)
    assert 0 < refused < len(GRID) / 2


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x_shape": (2, 4, 0, 7)}, "start at 1"),
        ({"weight_shape": (0, 2, 3, 2)}, "start at 1"),
        ({"stride": (1, 0)}, "start at 1"),
        ({"dilation": (0, 1)}, "start at 1"),
        ({"groups": 0}, "start at 1"),
        ({"padding": (0, -1)}, "padding at 0"),
        ({"weight_shape": (6, 1, 3, 2)}, "must divide the channels"),
        ({"weight_shape": (5, 2, 3, 2)}, "must divide the channels"),
        ({"weight_shape": (6, 2, 8, 2)}, "must fit"),
        ({"error_shape": (2, 6, 3, 5)}, "output's shape"),
    ],
)
def test_output_size_refuses(changed: dict[str, Any], message: str) -> None:
    """Each rule that the ways share is checked in the one place for all of them."""
    legal = {
        "x_shape": (2, 4, 7, 7), "weight_shape": (6, 2, 3, 2), "stride": (2, 1), "padding": (0, 0),
        "dilation": (1, 1), "groups": 2, "error_shape": (2, 6, 3, 6),
    }  # fmt: skip
    assert way("shared").output_size(*legal.values()) == (3, 6)
    with pytest.raises(ValueError, match=message):
        way("shared").output_size(*(legal | changed).values())


def test_dilated_input_gradient_is_right_for_every_sign() -> None:
    """On integers it equals the definition, with padding below, at and beyond the kernel's end."""
    signs = set()
    rng = np.random.default_rng(5)
    for case in GRID:
        if not counted(*case):
            continue
        extent, kernel, stride, padding, dilation = case
        signs.add(int(np.sign(padding - dilation * (kernel - 1))))
        weight = rng.integers(-9, 10, (3, 2, kernel, 2)).astype(float)
        error = rng.integers(-9, 10, (2, 3, counted(*case), 4)).astype(float)
        arguments = (
            (2, 2, extent, 5), weight, error, (stride, 1), (padding, 0), (dilation, 1), 1,
        )  # fmt: skip
        found = way("input_gradient_dilated").conv2d_input(*arguments)
        assert found.tolist() == npconv.definition.conv2d_input(*arguments), case
    assert signs == {-1, 0, 1}


# ------------------------------------------------------------------ the guard of a view


def test_guarded_view_reaches_the_last_element() -> None:
    """A view up to the end is given, shares memory, and cannot be written to."""
    memory = np.arange(24.0).reshape(4, 6)
    view = way("strides_einsum").guarded_view(memory, (2, 5, 3, 2), (48, 8) * 2)
    np.testing.assert_array_equal(view[1, 4], memory[1:, 4:])
    assert np.shares_memory(view, memory)
    with pytest.raises(ValueError, match="read-only"):
        view += 1


@pytest.mark.parametrize(
    ("shape", "strides", "message"),
    [
        ((4, 7), (48, 8), "reaches 200 bytes into memory of 192"),
        ((2, 5, 3, 2), (96, 16, 48, 8), "reaches 272 bytes"),
        ((4, 6), (48, -8), "strides at 0"),
        ((0, 6), (48, 8), "sizes start at 1"),
    ],
)
def test_guarded_view_refuses_to_leave_the_memory(
    shape: tuple[int, ...], strides: tuple[int, ...], message: str
) -> None:
    """One element too many, a forgotten division by the stride, a step backwards."""
    memory = np.arange(24.0).reshape(4, 6)
    with pytest.raises(ValueError, match=message):
        way("strides_einsum").guarded_view(memory, shape, strides)


def test_guarded_view_refuses_memory_with_gaps() -> None:
    """Of a slice, the size does not tell where memory ends."""
    memory = np.arange(24.0).reshape(4, 6)
    with pytest.raises(ValueError, match="packed"):
        way("strides_einsum").guarded_view(memory[:, 1:], (4, 6), (48, 8))


# ------------------------------------------------------------------ early versions


#: An early version, the condition under which it is wrong, and the suspect that is named.
WRONG = (
    ("stride_twice", "stride_h > 1 or stride_w > 1", "stride-applied-twice-with-sizes"),
    ("bias_axis", "bias and out_channels > 1", "bias-without-its-axes"),
    (
        "size_without_padding",
        "padding_top + padding_bottom > remainder_h or padding_left + padding_right > remainder_w",
        "output-size-without-padding",
    ),
)


def checked(name: str, suite: Any = "quick[::4]", **options: Any) -> Report:
    """Judge an early version."""
    with np.errstate(all="ignore"):
        return npconv.check(way(name), suite, diagnosis=False, **options)


def diagnosed(name: str, suite: Any = "quick[::4]") -> tuple[Diagnosis, ...]:
    """Explain an early version's failures, with time enough on a busy machine."""
    plan, tally = Plan(functools.partial(Implementation.of, name=name), way(name), suite), Tally()
    with np.errstate(all="ignore"):
        run(plan, tally)
        return diagnose(plan, tally, 60.0)


@pytest.mark.parametrize(("name", "condition", "suspect"), WRONG)
def test_early_version_is_found_under_its_condition(
    name: str, condition: str, suspect: str
) -> None:
    """Every failing case fulfils the condition; without such cases the version conforms."""
    report = checked(name)
    assert not report.ok
    holds = Condition.parse(condition).holds
    assert report.tally.counts[report.failures[0].op]["failed"] > 5
    assert all(holds(Case.from_id(failure.case)) for failure in report.failures)
    (found,) = (one for one in diagnosed(name) if one.condition != "illegal")
    assert found.suspect == suspect
    assert found.explains == found.of
    told = Condition.parse(found.condition or "True")
    assert all(told.holds(case) == holds(case) for case in legal(name))
    rest = checked(name, without=[condition])
    assert rest.ok
    assert rest.tally.counts["forward"]["passed"] > 5


def legal(name: str) -> list[Case]:
    """Legal cases that an implementation is asked."""
    suite = suite_named("quick[::4]")
    supports = Implementation.of(way(name), name).supports
    cases = (suite[position] for position in range(len(suite)))
    return [case for case in cases if case.illegal is None and supports.asks(case)]


def test_size_without_padding_returns_too_few_windows() -> None:
    """What is wrong is the shape; where no window is left, it raises."""
    report = checked("size_without_padding")
    assert {failure.kind for failure in report.failures} <= {"shape", "raised"}
    shapes = [failure for failure in report.failures if failure.kind == "shape"]
    assert len(shapes) > 5


def test_bias_along_the_wrong_axis_is_silent_with_as_many_columns_as_channels() -> None:
    """Nothing raises, all values are wrong, and both faults that give them are told."""
    cases = [
        f"n2c3f{f}g1-5x{width}-k2x2-s1x1-p0x0-d1x1-bias-m111-float64-packed-integers-seed{seed}"
        for f, width in ((2, 3), (4, 5), (5, 6))
        for seed in range(3)
    ]
    report = checked("bias_axis", cases)
    assert len(report.failures) == len(cases)
    assert {failure.kind for failure in report.failures} == {"values"}
    (found,) = diagnosed("bias_axis", tuple(cases))
    assert {found.suspect, *found.others} == {"bias-along-columns", "bias-without-its-axes"}


def test_kernel_flipped_one_tap_off_is_named() -> None:
    """K - a instead of K - 1 - a: each row of the kernel is the next one."""
    report = checked("flipped_kernel")
    assert not report.ok
    assert {failure.op for failure in report.failures} == {"grad_input"}
    assert diagnosed("flipped_kernel")[0].suspect == "taps-shifted-to-next-row"


def grown(weights: list[np.ndarray[Any, Any]], x: np.ndarray[Any, Any]) -> float:
    """Return by how much layers of convolution and ReLU change the mean square."""
    start = float(np.mean(np.square(x)))
    for weight in weights:
        x = np.maximum(npconv.conv2d(x, weight, padding=1), 0)
    # Half of a symmetric output is cut off, so its mean square is that of the input.
    return float(np.mean(np.square(x))) / start


def test_he_scale_shows_in_activations_and_nowhere_else() -> None:
    """The wrong scale doubles the mean square with each layer; npconv has nothing to judge."""
    layers, shape = 6, (48, 48, 3, 3)
    x = np.random.default_rng(7).standard_normal((1, 48, 12, 14))
    early, rng = way("he_scale"), np.random.default_rng(8)
    wrong = [early.he_weight(rng, shape) for _ in range(layers)]
    right = [weight * np.sqrt(2) / 2 for weight in wrong]
    deviation = np.std(np.concatenate([weight.ravel() for weight in right]))
    assert deviation == pytest.approx(np.sqrt(2 / (48 * 3 * 3)), rel=0.01)
    # Zeros of the padding take away a little at each border.
    assert 0.3 < grown(right, x) < 1.5
    assert grown(wrong, x) == pytest.approx(2**layers * grown(right, x), rel=1e-9)
    with pytest.raises(adapters.TargetError, match="must be a function or have one of conv2d"):
        adapters.load(str(EARLY / "he_scale.py"))


def test_lessons_are_all_listed() -> None:
    """The lessons' index names each lesson in its table and in its navigation."""
    told = (LESSONS / "index.md").read_text(encoding="utf-8")
    listed = told.split("{toctree}")[1].split("```")[0].split()[1:]
    assert {path.stem for path in LESSONS.glob("*.md")} == {"index", *listed}
    assert set(re.findall(r"\((\w+)\.md\)", told)) == set(listed)
