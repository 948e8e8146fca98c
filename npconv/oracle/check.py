"""`check`: one call that runs a suite on an implementation and returns the report."""

from __future__ import annotations

import collections
import contextlib
import functools
import importlib
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from types import ModuleType
from typing import Any

from npconv.bounds import parse
from npconv.formats import COMPLEXES, FLOATS, NAMES, available
from npconv.geometry import integer, shown
from npconv.oracle.conditions import left_out_by
from npconv.oracle.diagnosis import diagnose
from npconv.oracle.probe import Finding, probe
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Diagnosis, Report, Tally, environment
from npconv.oracle.run import Ending, Plan, WorkerLostError, called, run
from npconv.oracle.suites import suite_named
from npconv.workers import Workers


def check(
    implementation: Any,
    suite: str | Sequence[str] = "standard",
    *,
    executor: Executor | None = None,
    ops: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    without: Sequence[str] = (),
    arithmetic: str | None = None,
    max_failures: int | None = None,
    progress: Callable[[Tally], None] | None = None,
    diagnosis: bool = True,
) -> Report:
    """Run a suite of cases on an implementation of conv2d and its gradients.

    Parameters
    ----------
    implementation : module, instance, namespace or function
        Has some of ``conv2d``, ``conv2d_backward``, ``conv2d_input``, ``conv2d_weight``,
        ``conv2d_bias``; a bare function is a conv2d. An attribute ``supports``, a dict, widens or
        narrows what is asked.
    suite : str or sequence of str
        'quick' (seconds), 'standard' (about a minute), 'exhaustive' (all), or case ids.
    executor : concurrent.futures.Executor, optional
        Runs the cases elsewhere; without one they run in this process, which a target that
        crashes or hangs takes along. Processes need an implementation that can be pickled, or a
        module that can be imported. `npconv.workers.Workers` isolates: a case that crashes or
        hangs is a failure, and the run goes on. So it does in such workers where another pool
        breaks.
    ops : sequence of str, optional
        Some of 'forward', 'grad_input', 'grad_weight', 'grad_bias'.
    dtypes : sequence of str, optional
        Only cases in these dtypes.
    without : sequence of str, optional
        Leave out cases with these features, such as 'groups', or under these conditions, such as
        'kernel_h > 7'.
    arithmetic : str, optional
        Judge as this arithmetic, such as 'tf32', instead of what the implementation declares or
        the dtype's own.
    max_failures : int, optional
        Stop soon after so many failures.
    progress : callable, optional
        Called with the tally so far after each stretch of cases.
    diagnosis : bool
        Whether to look for what explains failures, which takes as long as the run at the most,
        or a few seconds.

    Returns
    -------
    Report
        ``ok``, ``failures``, ``diagnoses``, ``tally.counts``, ``as_dict()``, ``write(path)``. An
        interrupt (Ctrl-C) ends the run early; the report then holds what was finished,
        ``interrupted``.

    Raises
    ------
    TypeError
        If the object has none of the functions, or declares what makes no sense.
    ValueError
        If there is no such suite, operation, dtype or case, or a case is given twice.
    npconv.oracle.run.WorkerLostError
        If a worker process dies before it calls the implementation.

    Notes
    -----
    Integers whose sums are exact in the dtype are compared to the bit, everything else with the
    bound of an arithmetic, element by element; docs/tolerance.md derives the bounds.

    Examples
    --------
    >>> import npconv
    >>> report = npconv.check(npconv, suite="quick", ops=["grad_weight"])
    >>> report.ok, report.tally.counts["grad_weight"]["failed"]
    (True, 0)
    >>> report = npconv.check(
    ...     lambda x, w, b, *parameters: npconv.conv2d(x, w, None, *parameters), "quick"
    ... )
    >>> report.ok, report.failures[0].kind
    (False, 'values')
    """
    name = str(getattr(implementation, "__name__", type(implementation).__name__))
    # A module cannot be pickled, but it can be imported by name wherever it is wanted.
    by_name = isinstance(implementation, ModuleType) and sys.modules.get(name) is implementation
    plan = Plan(
        _imported if by_name else functools.partial(Implementation.of, name=name),
        (name,) if by_name else implementation,
        suite_key(suite),
        ops_named(ops),
        dtypes_named(dtypes),
        None if arithmetic is None else parse(arithmetic).name,
        without_named(without),
    )
    if max_failures is not None:
        integer("max_failures", max_failures, least=1)
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor={shown(executor)} must be a concurrent.futures.Executor")
    plan.implementation()
    tally = Tally()
    go_on = functools.partial(run, plan, tally, progress=progress, max_failures=max_failures)
    try:
        ending = go_on(executor=executor)
    except WorkerLostError:
        raise
    except BrokenExecutor:
        # A pool that broke as a whole does not say where; these do.
        with Workers() as isolated:
            ending = go_on(executor=isolated)
            return report_on(
                plan, tally, ending, target=name, described=name, executor=isolated,
                diagnosis=diagnosis,
            )  # fmt: skip
    own = executor if isinstance(executor, Workers) else None
    return report_on(
        plan, tally, ending, target=name, described=name, executor=own, diagnosis=diagnosis
    )


def _imported(name: tuple[str]) -> Implementation:
    # A tuple, so that a plan loads it anew: a module may be reloaded between two checks.
    return Implementation.of(importlib.import_module(name[0]), name[0])


def suite_key(suite: Any) -> str | tuple[str, ...]:
    """Return a suite's name, or its case ids as a tuple."""
    if isinstance(suite, str):
        suite_named(suite)
        return suite
    ids = tuple(suite) if isinstance(suite, Iterable) else ()
    if not ids or not all(isinstance(text, str) for text in ids):
        raise TypeError(
            f"suite={shown(suite)} must be a suite's name or a list of one case id or more"
        )
    cases = suite_named(ids)
    counts = collections.Counter(cases[position].id for position in range(len(cases)))
    case, count = counts.most_common(1)[0]
    if count > 1:
        raise ValueError(f"suite: case {case} must be given once, not {count} times")
    return ids


def ops_named(ops: Sequence[str] | None) -> tuple[str, ...]:
    """Return the operations asked for in their usual order; all of them for None."""
    return OPS if ops is None else _some("ops", ops, OPS)


def dtypes_named(dtypes: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the dtypes asked for in their usual order; None, for all, as it is."""
    return None if dtypes is None else _some("dtypes", dtypes, NAMES)


def without_named(without: Any) -> tuple[str, ...]:
    """Return features and conditions of cases to leave out, each of them checked."""
    chosen = list(without) if isinstance(without, Iterable) and not isinstance(without, str) else []
    if len(chosen) != len(set(chosen)) or (not chosen and without not in ((), [])):
        raise ValueError(f"without={shown(without)} must list features or conditions, each once")
    for text in chosen:
        left_out_by(text)
    return tuple(chosen)


def _some(name: str, given: Any, known: tuple[str, ...]) -> tuple[str, ...]:
    """Return one or more of the known names, in their own order."""
    chosen = list(given) if isinstance(given, Iterable) and not isinstance(given, str) else []
    if not chosen or not all(isinstance(item, str) and item in known for item in chosen):
        raise ValueError(f"{name}={shown(given)} must list some of {', '.join(known)}")
    return tuple(item for item in known if item in chosen)


def report_on(
    plan: Plan,
    tally: Tally,
    ending: Ending | bool,
    *,
    target: str,
    described: str,
    executor: Executor | None = None,
    diagnosis: bool = True,
) -> Report:
    """Return the report of a run; `described` names the target with its version.

    What is still asked of the target is asked over the executor. True says that it was interrupted.
    """
    from npconv import __version__

    suite = plan.cases()
    findings: dict[str, dict[str, Finding]] = {}
    if not ending and tally.cases > 0:
        # Where the probe itself crashes or hangs, nothing is known of the arithmetic.
        with contextlib.suppress(WorkerLostError):
            findings = called(executor, _findings, plan, max(2.0, tally.seconds / 10))
    diagnoses: tuple[Diagnosis, ...] = ()
    if diagnosis and tally.failures_total and ending in (Ending.FINISHED, Ending.FAILURES):
        diagnoses = _diagnoses(plan, tally, findings, executor)
    return Report(
        target, suite.name, plan.digest, tally, ending == Ending.INTERRUPTED,
        environment(described), __version__, findings, plan.shard, plan.expectations, len(suite),
        ending == Ending.GAVE_UP, diagnoses,
    )  # fmt: skip


def _diagnoses(
    plan: Plan,
    tally: Tally,
    findings: Mapping[str, Mapping[str, Finding]],
    executor: Executor | None,
) -> tuple[Diagnosis, ...]:
    """Diagnose over the executor; where the target then crashes or hangs, without running it."""
    for again in (True, False):
        with contextlib.suppress(WorkerLostError):
            try:
                found: tuple[Diagnosis, ...] = called(
                    executor, diagnose, plan, tally, None, findings, again
                )
            except Exception as error:
                # An hour's run is not lost to a fault in what explains it.
                if isinstance(error, WorkerLostError):
                    raise
                said = f"npconv could not diagnose the failures: {type(error).__name__}: {error}"
                warnings.warn(said, RuntimeWarning, stacklevel=2)
                return ()
            return found
    return ()


def _findings(plan: Plan, seconds: float) -> dict[str, dict[str, Finding]]:
    """Probe the target in each floating-point dtype that was asked for, as far as time allows."""
    began = time.perf_counter()
    implementation = plan.implementation()
    supports = implementation.supports
    ops = tuple(op for op in plan.ops if op in supports.ops)
    found: dict[str, dict[str, Finding]] = {op: {} for op in ops}
    for dtype in supports.dtypes:
        asked = plan.dtypes is None or dtype in plan.dtypes
        if asked and dtype in FLOATS + COMPLEXES and dtype in available():
            left = seconds - (time.perf_counter() - began)
            for op, finding in probe(implementation, dtype, ops, left).items():
                found[op][dtype] = finding
    return {op: findings for op, findings in found.items() if findings}
