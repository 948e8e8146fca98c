"""The probe: no arithmetic is read from results that are no sums of the products."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import npconv
from npconv.bounds import default_for
from npconv.oracle.probe import SIZES, probe
from npconv.oracle.protocol import OPS, Implementation

#: The same on every NumPy.
pytestmark = pytest.mark.once


class Changed:
    """npconv's calls, with a change made to every result."""

    supports = {"dtypes": True}  # noqa: RUF012  # as users write it

    def __init__(self, change: Callable[[Any], Any]) -> None:
        self.change = change

    def conv2d(self, *arguments: Any) -> Any:
        """Return the changed output."""
        return self.change(npconv.conv2d(*arguments))

    def conv2d_backward(self, *arguments: Any) -> Any:
        """Return the changed gradients."""
        three = npconv.conv2d_backward(*arguments)
        return tuple(None if one is None else self.change(one) for one in three)


def found(target: Any, dtype: str = "float32") -> dict[str, str]:
    """Return the names that probing finds."""
    findings = probe(Implementation.of(target, "mine"), dtype, OPS, 600.0)
    return {op: finding.name for op, finding in findings.items()}


def without_last_row(result: Any) -> Any:
    """Return a copy with a zero at its end, where one term would do."""
    result = result.copy()
    result[..., -1] = 0
    return result


def one_more(result: Any) -> Any:
    """Return a copy with one term too many in one element."""
    result = result.copy()
    result.flat[-1] += 1
    return result


@pytest.mark.parametrize(
    "change",
    [
        lambda result: result * np.nan,
        lambda result: result + np.inf,
        without_last_row,
        one_more,
        lambda result: result[..., None],
        lambda result: -result,
    ],
    ids=["nan", "infinity", "zeros", "one-more", "shape", "sign"],
)
@pytest.mark.parametrize("dtype", ["float32", "float16", "complex64"])
def test_results_wrong_by_whole_terms_show_no_arithmetic(
    change: Callable[[Any], Any], dtype: str
) -> None:
    """NaN, zeros, terms too many and other shapes are no rounding: nothing is found."""
    assert found(Changed(change), dtype) == {}


@pytest.mark.parametrize("bits", [8, 11])
def test_rounding_is_still_found(bits: int) -> None:
    """Results rounded to fewer bits are whole sums: an arithmetic is named for each operation."""

    def rounded(result: Any) -> Any:
        fraction, exponent = np.frexp(result)
        return np.ldexp(np.rint(fraction * 2**bits) / 2**bits, exponent).astype(result.dtype)

    names = found(Changed(rounded))
    assert set(names) == set(OPS)
    assert not {"float32"} & {names[op] for op in OPS if op != "grad_bias"}


def test_what_is_right_at_some_sizes_is_found_there() -> None:
    """Sizes at which results are wrong by whole terms are left out, the others count."""
    small = SIZES[0][0]

    def conv2d(x: Any, *rest: Any) -> Any:
        return npconv.conv2d(x, *rest) + (len(x) == small)

    conv2d.supports = {"dtypes": True}  # type: ignore[attr-defined]  # as users write it
    findings = probe(Implementation.of(conv2d, "mine"), "float32", ("forward",), 600.0)
    assert findings["forward"].name == "float32"


@pytest.mark.parametrize("dtype", ["float64", "float16", "complex64"])
def test_npconv_has_the_dtypes_own_arithmetic(dtype: str) -> None:
    """What is right by whole terms is asked on."""
    assert found(Changed(lambda result: result), dtype) == dict.fromkeys(OPS, default_for(dtype))


class OwnError(BaseException):
    """An exception that is no Exception."""


@pytest.mark.parametrize("kind", [ValueError, SystemExit, GeneratorExit, OwnError])
def test_what_raises_is_left_out_and_judged(kind: type[BaseException]) -> None:
    """Exceptions of any class count as raised, and a report is made."""

    def conv2d(*_: Any) -> Any:
        raise kind("no")

    assert found(conv2d) == {}
    report = npconv.check(conv2d, "quick[::60]")
    assert {failure.kind for failure in report.failures} == {"raised"}
    assert [d.says for d in report.diagnoses if d.condition != "illegal"] == [
        f"it raises {kind.__name__}: no"
    ]


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit, OwnError])
def test_what_raises_at_times_ends_no_diagnosis(kind: type[BaseException]) -> None:
    """A target that raises only in calls that are made to explain its failures is explained."""
    calls = iter(range(10**9))

    def conv2d(x: Any, *rest: Any) -> Any:
        if next(calls) % 3 == 2:
            raise kind("no")
        return npconv.conv2d(x, *rest) + 1

    report = npconv.check(conv2d, "quick[::60]", ops=["forward"])
    assert report.diagnoses


def test_an_interrupt_is_the_users() -> None:
    """KeyboardInterrupt goes through."""

    def conv2d(*_: Any) -> Any:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        found(conv2d)
