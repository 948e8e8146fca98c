"""What is true of wrong results that no known fault gives: their values, and where they lie.

Each statement is computed for each failing result by itself; what is told are those that hold
for most of them.
"""

from __future__ import annotations

import collections
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np

from npconv.compare import compare
from npconv.oracle.diagnosis.sights import AXES, Sight, equal
from npconv.oracle.suspects.fault import Problem
from npconv.oracle.suspects.tools import right

Array = np.ndarray[Any, np.dtype[Any]]

#: A statement holds where it is true of at least this share of what was looked at.
_MOST = 0.8
#: Results whose sums are taken apart, their elements at the most, and those that are too few.
_TAKEN_APART, _LARGEST, _FEW = 4, 4000, 60

_KINDS = {
    "raised": "it raises {message}",
    "accepted": "illegal calls are accepted",
    "mutated": "it {message}",
    "aliased": "the result is not the caller's own: {message}",
    "unwritten": "elements of the output are never written",
    "unstable": "two calls on the same arrays give different results, one of them wrong",
    "crashed": "the process dies",
    "timeout": "the call does not end in time",
    "type": "it {message}",
    "dtype": "the result has {message}",
    "mask": "output_mask is not followed: it {message}",
}


def kind_says(kind: str, messages: Sequence[str]) -> str | None:
    """Return what the kind of failure alone says, with the message that is most frequent."""
    if kind not in _KINDS:
        return None
    message, _ = collections.Counter(messages).most_common(1)[0]
    return _KINDS[kind].format(message=message)


def describe(sights: Sequence[Sight]) -> str:
    """Return one sentence on wrong results of one operation, true for most of them.

    What the values are, then where the wrong ones lie; at least their share of all elements.
    """
    plain = kind_says(sights[0].kind, [sight.failure.message for sight in sights])
    if plain is not None:
        return plain
    if sights[0].kind == "shape":
        return _shapes(sights)
    seen = [sight for sight in sights if sight.compares and sight.want.size]
    if not seen:
        return "the results cannot be compared"
    # NaN and infinity among the data hide what else is true.
    seen = [sight for sight in seen if sight.case.data != "special"] or seen
    masks = [_wrong(sight) for sight in seen]
    whats = [
        list(dict.fromkeys(_whats(sight, wrong))) for sight, wrong in zip(seen, masks, strict=True)
    ]
    what = _usual(whats)
    if what is None:
        exact = [sight for sight in seen if sight.right.bound is None]
        # Few numbers do not tell terms apart.
        exact.sort(key=lambda sight: (sight.want.size < _FEW, sight.want.size))
        small = exact[:_TAKEN_APART]
        what = _usual([list(dict.fromkeys(_parts(sight))) for sight in small])
    wheres = [
        list(dict.fromkeys(_wheres(sight, wrong))) for sight, wrong in zip(seen, masks, strict=True)
    ]
    found = [text for text in (what, *_all_usual(wheres)) if text]
    share = [float(mask.mean()) for mask in masks]
    low, high = round(100 * min(share)), round(100 * max(share))
    portion = f"{low} %" if low == high else f"{low} to {high} %"
    if what is None or not what.startswith("all elements are "):
        all_are = low == 100
        found.append(
            "all elements are wrong" if all_are else f"{portion} of the elements are wrong"
        )
    return "; ".join(found)


def _wrong(sight: Sight) -> Array:
    assert sight.got is not None
    with np.errstate(all="ignore"):
        if sight.right.bound is None or sight.got.dtype.kind in "iu":
            return ~equal(sight.got, sight.want)
        return compare(sight.got, sight.right).wrong


def _usual(statements: Sequence[Sequence[str]]) -> str | None:
    """Return the statement made most often, of equals the first; None where it is no rule."""
    counts = collections.Counter(itertools.chain.from_iterable(statements))
    if not counts:
        return None
    order = {text: min(s.index(text) for s in statements if text in s) for text in counts}
    best = max(counts, key=lambda text: (counts[text] >= _MOST * len(statements), -order[text],
                                         counts[text]))  # fmt: skip
    if counts[best] >= _MOST * len(statements):
        return best
    best = max(counts, key=lambda text: (counts[text], -order[text]))
    if counts[best] >= max(2, 0.3 * len(statements)):
        return f"{best} (in {counts[best]} of {len(statements)} cases looked at)"
    return None


def _all_usual(statements: Sequence[Sequence[str]]) -> list[str]:
    """Return the statement of each subject, `subject: text`, that holds for most."""
    subjects = dict.fromkeys(
        text.partition(": ")[0] for text in itertools.chain.from_iterable(statements)
    )
    found = []
    for subject in subjects:
        own = [[t for t in s if t.partition(": ")[0] == subject] for s in statements]
        best = _usual(own)
        if best is not None and " cases looked at)" not in best:
            found.append(best.partition(": ")[2])
    return found


# ------------------------------------------------------------------ shapes


def _shapes(sights: Sequence[Sight]) -> str:
    """Say how wrong shapes differ from right ones."""
    statements = []
    for sight in sights:
        got, want = sight.shape, sight.want.shape
        if got is None:
            continue
        if len(got) != len(want):
            statements.append([f"the result has {len(got)} axes, not {len(want)}"])
            continue
        found = []
        names = AXES[sight.op][-len(want) :]
        steps = [(name, g - w) for name, g, w in zip(names, got, want, strict=True) if g != w]
        if sorted(got) == sorted(want):
            found.append("the result has the right sizes in another order")
        found.append(
            "the result has " + " and ".join(f"{_count(abs(d), n)} too "
                                              f"{'many' if d > 0 else 'few'}" for n, d in steps)
        )  # fmt: skip
        found.append(
            "the result has too " + " and too ".join(f"{'many' if d > 0 else 'few'} {n}s"
                                                      for n, d in steps)
        )  # fmt: skip
        if sight.got is None:
            found.insert(0, f"the result has shape {got}, far larger than what is right")
        statements.append(found)
    return _usual(statements) or "the results have wrong shapes"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


# ------------------------------------------------------------------ values


def _whats(sight: Sight, wrong: Array) -> Iterator[str]:
    """Yield what is true of the wrong values, the most telling first."""
    got, want = sight.got, sight.want
    assert got is not None
    if not wrong.any():
        return
    bad = got[wrong]
    whole = "the results" if wrong.mean() > 0.5 else "the wrong elements"
    if got.dtype.kind in "fc" and not np.isfinite(bad).all():
        infinite = np.isinf(bad)
        name = "infinity" if infinite.all() else "NaN" if not infinite.any() else "NaN or infinity"
        if not np.isfinite(got).any():
            yield f"all elements are {name}"
        if not np.isfinite(bad).any():
            yield f"{whole} are {name}"
        else:
            yield f"some of the wrong elements are {name}"
        return
    if not bad.any():
        yield f"{whole} are zero"
        return
    exact = sight.right.bound is None
    with np.errstate(all="ignore"):
        if exact and got.dtype.kind in "fiu" and want.dtype.kind in "fiu":
            yield from _factors(got, want, wrong, whole)
            yield from _offsets(sight, got, want)
        if exact:
            yield from _moves(sight, got, want)
        elif got.dtype.kind == "f":
            yield from _near_factor(sight, got, want)
        yield from _sizes(sight, got, want, wrong)


def _factors(got: Array, want: Array, wrong: Array, whole: str) -> Iterator[str]:
    g, w = got[wrong].astype(np.float64), want[wrong].astype(np.float64)
    if not (w != 0).all() or len(w) < 2:
        return
    factor = g[0] / w[0]
    if abs(factor - 1) < 2.0**-6:
        return  # an error of rounding
    if np.allclose(g, factor * w, rtol=1e-6, atol=0) and np.isfinite(factor):
        yield from _scaled(factor, whole)
    elif np.array_equal(np.abs(g), np.abs(w)):
        yield f"{whole} have the opposite sign"


def _scaled(factor: float, whole: str) -> Iterator[str]:
    """Yield that the results are a factor off."""
    if factor == -1:
        yield f"{whole} have the opposite sign"
        return
    ratio = Fraction(factor).limit_denominator(64)
    near = abs(float(ratio) - factor) < 1e-6 * abs(factor)
    yield f"{whole} are {ratio if near else f'{factor:.4g}'} times what is right"
    yield f"{whole} are a constant factor off"


def _near_factor(sight: Sight, got: Array, want: Array) -> Iterator[str]:
    """Yield a plain factor that all results are off, within the bound of inexact data."""
    bound, size = sight.right.bound, np.abs(want.astype(np.float64))
    large = (size >= size.max(initial=0) / 4) & (size > 0)
    if bound is None or not large.any():
        return
    middle = float(np.median(got[large].astype(np.float64) / want[large].astype(np.float64)))
    if not np.isfinite(middle):
        return
    ratio = Fraction(middle).limit_denominator(64)
    if ratio in (0, 1):
        return
    values = (want.astype(np.float64) * float(ratio)).astype(want.dtype)
    scaled = replace(sight.right, values=values, bound=2 * (1 + abs(float(ratio))) * bound)
    if not compare(got, scaled).wrong.any():
        yield from _scaled(float(ratio), "the results")


def _offsets(sight: Sight, got: Array, want: Array) -> Iterator[str]:
    """Yield what constants in each channel tell of the bias."""
    if sight.op != "forward" or got.ndim < 3:
        return
    step = got.astype(np.float64) - want.astype(np.float64)
    planes = np.moveaxis(step, -3, 0).reshape(step.shape[-3], -1)
    if not (planes == planes[:, :1]).all():
        return
    offset, bias = planes[:, 0], sight.problem.bias
    if bias is not None:
        b = bias.astype(np.float64)
        if np.array_equal(offset, -b):
            yield "the bias is missing"
        if np.array_equal(offset, b):
            yield "the bias is added twice"
        if np.array_equal(np.sort(offset + b), np.sort(b)):
            yield "the bias goes to the wrong channels"
        if np.isin(offset + b, b).all():
            yield "some channels get the bias of another"
    yield "each channel is off by a constant"
    if len(set(offset.tolist())) == 1:
        yield "all elements are off by one constant"


def _moves(sight: Sight, got: Array, want: Array) -> Iterator[str]:
    """Yield where right numbers stand at wrong places."""
    if got.ndim < 3 or want.size < 2 or (want == want.flat[0]).all():
        return
    names = AXES[sight.op][-want.ndim :]
    rows, columns = names[-2:]
    flips: tuple[tuple[str, Callable[[Array], Array]], ...] = (
        (f"the {rows}s are in reverse order", lambda a: a[..., ::-1, :]),
        (f"the {columns}s are in reverse order", lambda a: a[..., ::-1]),
        (f"{rows}s and {columns}s are both in reverse order", lambda a: a[..., ::-1, ::-1]),
    )
    for text, move in flips:
        if np.array_equal(move(want), got):
            yield text
    for first, second in itertools.combinations(range(want.ndim), 2):
        swapped = want.swapaxes(first, second)
        if np.array_equal(np.ascontiguousarray(swapped).reshape(got.shape), got):
            yield f"the result is stored with {names[first]} and {names[second]} axes swapped"
        if swapped.shape == want.shape and np.array_equal(swapped, got):
            yield f"{names[first]} and {names[second]} axes are swapped"
    for down, across in itertools.product(range(-2, 3), repeat=2):
        if (down, across) != (0, 0) and _shifted(got, want, down, across):
            said = [
                f"{_count(abs(step), name)} {ways[step > 0]}"
                for step, name, ways in ((down, rows, ("up", "down")),
                                         (across, columns, ("left", "right")))
                if step
            ]  # fmt: skip
            yield f"the results are shifted by {' and '.join(said)}"
    for axis, name in enumerate(names):
        yield from _permuted(np.moveaxis(got, axis, 0), np.moveaxis(want, axis, 0), name)
    if np.array_equal(np.sort(got, axis=None), np.sort(want, axis=None)):
        yield "the right numbers stand at wrong places"


def _keys(slices: Array, other: np.dtype[Any]) -> Iterator[bytes]:
    """Yield bytes of each slice that are equal where its numbers are; -0 and 0 are."""
    common = slices.astype(np.result_type(slices.dtype, other))
    return (part.tobytes() for part in common + common.dtype.type(0))


def _permuted(got: Array, want: Array, name: str) -> Iterator[str]:
    """Yield which slices along one axis are right ones of another index."""
    count = len(want)
    if count < 2 or want[0].size < 2:
        return
    first: dict[bytes, int] = {}
    for place, key in enumerate(_keys(want, got.dtype)):
        first.setdefault(key, place)
    places = [first.get(key) for key in _keys(got, want.dtype)]
    if None in places or places == list(range(count)):
        return
    if len(set(places)) == 1:
        (only,) = set(places)
        which = "the first" if only == 0 else "the last" if only == count - 1 else "one"
        yield f"every {name} holds {which} {name}'s result"
    elif places == list(range(count))[::-1] and name not in ("row", "column"):
        yield f"the {name}s are in reverse order"
    elif len(set(places)) == count:
        yield f"the {name}s are in another order"
    else:
        yield f"some {name}s hold another {name}'s result"


def _shifted(got: Array, want: Array, down: int, across: int) -> bool:
    height, width = want.shape[-2:]
    if abs(down) >= height or abs(across) >= width:
        return False

    def part(step: int, size: int) -> tuple[slice, slice]:
        return slice(max(0, step), size + min(0, step)), slice(max(0, -step), size + min(0, -step))

    (rows, from_rows), (columns, from_columns) = part(down, height), part(across, width)
    moved = want[..., from_rows, from_columns]
    if moved.size < 4 or 2 * moved.size < want.size or (moved == moved.flat[0]).all():
        return False
    return bool(np.array_equal(got[..., rows, columns], moved))


def _sizes(sight: Sight, got: Array, want: Array, wrong: Array) -> Iterator[str]:
    """Yield what sizes of errors tell: rounding, wrapping, saturation, garbage."""
    if got.dtype.kind in "iu":
        info = np.iinfo(got.dtype)
        if np.isin(got[wrong], (info.min, info.max)).all():
            yield "the wrong elements are at the dtype's limits, as saturation puts them"
        return
    wide = np.complex128 if got.dtype.kind == "c" else np.float64
    error = np.abs(got.astype(wide) - want.astype(wide))
    gauge = sight.right.gauge
    if gauge is None:
        gauge = _gauge(sight.problem, sight.op)
    if gauge is not None and gauge.shape == error.shape:
        relative = float(np.max(error[wrong] / np.maximum(gauge[wrong], np.finfo(float).tiny)))
        if relative < 2.0**-6:
            bits = int(np.floor(-np.log2(relative))) if relative else 0
            yield "the errors are small, as rounding to fewer bits gives"
            yield f"the errors are up to 2**-{bits} of the sum of magnitudes"
        elif relative > 1e4:
            yield "the wrong elements are larger than any sum of the products: garbage"


def as_of_rounding(sight: Sight) -> bool:
    """Whether another arithmetic could make the errors: far below the largest sum of magnitudes.

    Looked at are finite elements, as an arithmetic may also overflow.
    """
    if not sight.compares or sight.kind not in ("values", "nonfinite", "unstable"):
        return False
    assert sight.got is not None
    gauge = sight.right.gauge
    if gauge is None:
        gauge = _gauge(sight.problem, sight.op)
    wide = np.complex128 if sight.got.dtype.kind == "c" else np.float64
    with np.errstate(all="ignore"):
        error = np.abs(sight.got.astype(wide) - sight.want.astype(wide))
    if gauge is None or gauge.shape != error.shape:
        return False
    seen = np.isfinite(error) & np.isfinite(gauge)
    return bool(seen.any() and np.max(error[seen]) <= np.max(gauge[seen]) / 16)


def _gauge(problem: Problem, op: str) -> Array | None:
    """Return the sum of magnitudes of each element's terms."""
    arrays: dict[str, Any] = {
        name: None if array is None else np.abs(array)
        for name in ("input", "weight", "bias", "grad_output")
        for array in [getattr(problem, name)]
    }
    try:
        return np.abs(right(replace(problem, **arrays), op)).astype(np.float64)
    except (TypeError, ValueError):
        return None


# ------------------------------------------------------------------ terms

#: What the terms of each operation's sums can be told apart by: array, axis from the end, name.
_TERMS: dict[str, tuple[tuple[str, int, str], ...]] = {
    "forward": (
        ("weight", -2, "kernel row"), ("weight", -1, "kernel column"),
        ("weight", -3, "input channel of each group"), ("input", -2, "input row"),
        ("input", -1, "input column"),
    ),
    "grad_input": (
        ("weight", -2, "kernel row"), ("weight", -1, "kernel column"),
        ("weight", -4, "output channel"), ("grad_output", -2, "row of grad_output"),
        ("grad_output", -1, "column of grad_output"),
    ),
    "grad_weight": (
        ("grad_output", -4, "image"), ("grad_output", -2, "row of grad_output"),
        ("grad_output", -1, "column of grad_output"), ("input", -2, "input row"),
        ("input", -1, "input column"),
    ),
    "grad_bias": (
        ("grad_output", -4, "image"), ("grad_output", -2, "row of grad_output"),
        ("grad_output", -1, "column of grad_output"),
    ),
}  # fmt: skip


def _parts(sight: Sight) -> Iterator[str]:
    """Yield which terms of the sums are left out, or counted more than once."""
    got, problem = sight.got, sight.problem
    if got is None or got.dtype.kind != "f" or sight.right.bound is not None:
        return
    if got.size > _LARGEST or not np.isfinite(got).all():
        return
    for name, axis, noun in _TERMS[sight.op]:
        array = getattr(problem, name)
        if array is None or array.ndim < -axis:
            continue
        yield from _counted(sight, name, _slices(array.ndim, axis, array.shape[axis]), noun)
    if sight.op in ("forward", "grad_input"):
        taps = [(..., row, column) for row, column in np.ndindex(problem.weight.shape[-2:])]
        yield from _counted(sight, "weight", taps, "tap of the kernel")


def _slices(axes: int, axis: int, size: int) -> list[tuple[Any, ...]]:
    """Return the index of each slice along an axis from the end."""
    before = (slice(None),) * (axes + axis)
    return [(*before, index) for index in range(size)]


def _counted(sight: Sight, name: str, parts: Sequence[Any], noun: str) -> Iterator[str]:
    """Yield which parts of an array the sums leave out, or count more than once."""
    if not 1 < len(parts) <= 24:
        return
    factors = _coefficients(sight, name, parts)
    if factors is None or np.array_equal(factors, np.ones(len(factors))):
        return
    for value, verb in ((0, "left out of the sums"), (2, "counted twice"), (-1, "subtracted")):
        hit = factors == value
        if hit.any() and (hit | (factors == 1)).all():
            if noun.startswith("tap") and np.array_equal(np.flatnonzero(hit), [_centre(sight)]):
                yield f"the central {noun} is {verb}"
            for place in _places(hit, noun):
                yield f"{_is(place)} {verb}"
            yield f"some {_plural(noun)} are {verb}"


def _centre(sight: Sight) -> int:
    rows, columns = sight.problem.weight.shape[-2:]
    return int(rows // 2 * columns + columns // 2)


def _coefficients(sight: Sight, name: str, parts: Sequence[Any]) -> Array | None:
    """Return how often each part of an array is counted; None where no numbers tell."""
    problem, got = sight.problem, sight.got
    assert got is not None
    array = getattr(problem, name)
    base: list[Array] = []
    bias: Array | float = 0.0
    clean = problem
    if sight.op == "forward" and problem.bias is not None:
        bias = problem.bias.astype(np.float64)[:, None, None]
        clean = replace(problem, bias=None)
    for part in parts:
        only = np.zeros_like(array)
        only[part] = array[part]
        base.append(right(replace(clean, **{name: only}), sight.op).astype(np.float64))
    target = got.astype(np.float64) - bias
    matrix = np.stack([part.reshape(-1) for part in base], axis=1)
    if matrix.shape[0] < 2 * len(parts) or not matrix.any(0).all():
        return None
    found = np.linalg.lstsq(matrix, target.reshape(-1), rcond=None)[0]
    rounded = np.rint(found)
    if np.array_equal(matrix @ rounded, target.reshape(-1)):
        return np.asarray(rounded)
    return None


# ------------------------------------------------------------------ places


def _wheres(sight: Sight, wrong: Array) -> Iterator[str]:
    """Yield where wrong elements lie, as `subject: text`."""
    if not wrong.any() or wrong.all():
        return
    names = AXES[sight.op][-wrong.ndim :]
    for axis, name in enumerate(names):
        others = tuple(i for i in range(wrong.ndim) if i != axis)
        hit = np.asarray(wrong.any(others))
        if hit.all() or len(hit) < 2:
            continue
        for place in _places(hit, name):
            yield f"{name}: only {_is(place)} wrong"
        groups = sight.problem.groups
        if name in ("channel", "output channel") and groups > 1 and len(hit) % groups == 0:
            per_group = hit.reshape(groups, -1)
            if (per_group == per_group[0]).all() and not per_group.all():
                for place in _places(per_group[0], f"{name} of each group"):
                    yield f"{name} in group: only {_is(place)} wrong"
            elif (per_group.all(1) == per_group.any(1)).all():
                for place in _places(np.asarray(per_group.all(1)), "group"):
                    yield f"group: only {_is(place)} wrong"
    yield from _tails(sight, wrong)
    yield from _border(sight, wrong)


def _plural(noun: str) -> str:
    return noun.replace(" of ", "s of ", 1) if " of " in noun else f"{noun}s"


def _is(place: str) -> str:
    """Add the verb."""
    one = place.startswith(("the first ", "the last ")) and " and " not in place
    return f"{place} {'is' if one else 'are'}"


def _places(hit: Array, noun: str) -> Iterator[str]:
    """Yield names of the marked indices, the most telling first."""
    count, marked = len(hit), np.flatnonzero(hit)
    if not len(marked) or len(marked) == count:
        return
    if np.array_equal(marked, [count - 1]):
        yield f"the last {noun}"
    if np.array_equal(marked, [0]):
        yield f"the first {noun}"
    plural = _plural(noun)
    if len(marked) == count - 1:
        if not hit[-1]:
            yield f"all {plural} but the last"
        if not hit[0]:
            yield f"all {plural} but the first"
    for tail in (2, 4, 8, 16, 32):
        rest = count % tail
        if rest and np.array_equal(marked, np.arange(count - rest, count)):
            yield f"the {plural} beyond the last multiple of {tail}"
    if hit[marked[0] :].all() and len(marked) > 1:
        yield f"{plural} from {marked[0]} up"
        yield f"the {plural} at the end"
    if hit[: marked[-1] + 1].all() and len(marked) > 1:
        yield f"{plural} up to {marked[-1]}"
        yield f"the {plural} at the beginning"
    odd = np.arange(count) % 2 == 1
    if count > 3:
        if np.array_equal(hit, odd):
            yield f"the {plural} of odd number"
        if np.array_equal(hit, ~odd):
            yield f"the {plural} of even number"
    if np.array_equal(marked, [0, count - 1]) and count > 2:
        yield f"the first and the last {noun}"


def _tails(sight: Sight, wrong: Array) -> Iterator[str]:
    """Yield tails of flattened planes."""
    if wrong.ndim < 3 or sight.op not in ("forward", "grad_input"):
        return
    plane = np.asarray(wrong.reshape(-1, wrong.shape[-2] * wrong.shape[-1]).any(0))
    count = len(plane)
    for tail in (4, 8, 16, 32):
        rest = count % tail
        if rest and count > tail and not plane[: count - rest].any():
            yield f"plane: in each plane only elements beyond the last multiple of {tail} are wrong"
            return


def _border(sight: Sight, wrong: Array) -> Iterator[str]:
    """Yield whether wrong outputs are those whose windows reach into the padding."""
    if sight.op != "forward" or wrong.ndim < 3:
        return
    geometry = sight.problem.geometry
    inside = np.ones(geometry.out, bool)
    for position, axis in enumerate(geometry.axes):
        first = np.arange(axis.out) * axis.stride - axis.before
        fits = (first >= 0) & (first + axis.span <= axis.extent)
        inside &= fits.reshape((-1, 1) if position == 0 else (1, -1))
    if inside.all() or not inside.any():
        return
    if not (wrong & inside).any():
        yield "border: only outputs whose windows reach into the padding are wrong"
    elif not (wrong & ~inside).any():
        yield "border: only outputs whose windows lie inside the image are wrong"
