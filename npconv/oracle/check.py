"""`check`: one call that runs a suite on an implementation and returns the report."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from typing import Any

from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Report, Tally, environment
from npconv.oracle.run import Plan, run


def check(
    implementation: Any,
    suite: str | Sequence[str] = "standard",
    *,
    executor: Executor | None = None,
    ops: Sequence[str] | None = None,
    dtypes: Sequence[str] | None = None,
    max_failures: int | None = None,
    progress: Callable[[Tally], None] | None = None,
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
        Runs the cases elsewhere; the implementation must then be picklable.
    ops : sequence of str, optional
        Some of 'forward', 'grad_input', 'grad_weight', 'grad_bias'.
    dtypes : sequence of str, optional
        Only cases in these dtypes.
    max_failures : int, optional
        Stop soon after so many failures.
    progress : callable, optional
        Called with the tally so far after each stretch of cases.

    Returns
    -------
    Report
        ``ok``, ``failures``, ``tally.counts``, ``as_dict()``, ``write(path)``. An interrupt
        (Ctrl-C) ends the run early; the report then holds what was finished, ``interrupted``.

    Raises
    ------
    TypeError
        If the object has none of the functions, or declares what makes no sense.
    ValueError
        If there is no such suite, operation or case.

    Notes
    -----
    Each case is judged on integers whose sums are exact in its dtype, to the bit, or on
    reals against the bound that holds for any order of summation; docs/formulas.md has both.

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
    plan = Plan(
        functools.partial(Implementation.of, name=name),
        implementation,
        suite_key(suite),
        ops_named(ops),
        None if dtypes is None else tuple(dtypes),
    )
    tally = Tally()
    interrupted = run(plan, tally, executor=executor, progress=progress, max_failures=max_failures)
    return report_on(plan, tally, interrupted, target=name, described=name)


def suite_key(suite: str | Sequence[str]) -> str | tuple[str, ...]:
    """Return a suite's name, or its case ids as a tuple."""
    return suite if isinstance(suite, str) else tuple(suite)


def ops_named(ops: Sequence[str] | None) -> tuple[str, ...]:
    """Return the operations asked for in their usual order; all of them for None."""
    if ops is None:
        return OPS
    if isinstance(ops, str) or not set(ops) <= set(OPS):
        raise ValueError(f"ops={ops!r} must be some of {', '.join(OPS)}")
    return tuple(op for op in OPS if op in ops)


def report_on(
    plan: Plan, tally: Tally, interrupted: bool, *, target: str, described: str
) -> Report:
    """Return the report of a run; `described` names the target with its version."""
    from npconv import __version__

    suite = plan.cases()
    return Report(
        target, suite.name, suite.digest, tally, interrupted, environment(described), __version__
    )
