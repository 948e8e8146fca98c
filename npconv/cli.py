"""The command line: parse options, call the oracle, print. No judging happens here."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from npconv import __version__, adapters, formats
from npconv.oracle.cases import Case
from npconv.oracle.check import ops_named, report_on
from npconv.oracle.data import operands
from npconv.oracle.judge import Failure, expect
from npconv.oracle.protocol import GRADIENTS, OPS
from npconv.oracle.report import Report, Tally, read_tally
from npconv.oracle.run import Plan, run, run_case
from npconv.oracle.suites import NAMES as SUITES
from npconv.oracle.suites import suite_named

OK, FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130

#: Seconds between two writes of an unfinished report, and between two lines of progress.
CHECKPOINT, PROGRESS = 30.0, 10.0


class CannotRunError(Exception):
    """What ends the command with status 2; the message is the whole of what is printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        if options.command == "list":
            return _list(options)
        return _check_one(options) if options.case else _check(options)
    except (CannotRunError, adapters.TargetError) as error:
        print(f"npconv: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        print("npconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as with `npconv list | head`: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="npconv", description="The oracle for 2-D convolution.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"npconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="run a suite on an implementation", allow_abbrev=False,
        epilog="exit status: 0 all conforms, 1 a case fails, 2 it could not run, 130 interrupted",
    )  # fmt: skip
    check.add_argument(
        "target",
        metavar="TARGET",
        help=f"{', '.join(adapters.NAMES)}, package.module:attribute, path/to/file.py[:attribute]",
    )
    check.add_argument(
        "--suite",
        type=_suite,
        default="standard",
        metavar="SUITE",
        help=f"{', '.join(SUITES)}, or a part such as exhaustive[3::41]; default: standard",
    )
    check.add_argument("--ops", type=_ops, metavar="OP[,OP]", help=f"some of {', '.join(OPS)}")
    check.add_argument("--dtype", type=_dtypes, metavar="D[,D]", help="only cases in these dtypes")
    check.add_argument("--case", metavar="ID", help="run one case and show its arrays and results")
    check.add_argument(
        "-x", dest="max_failures", action="store_const", const=1, help="stop soon after a failure"
    )
    check.add_argument(
        "--max-failures", type=_count, metavar="N", help="stop soon after N failures"
    )
    check.add_argument("-j", "--jobs", type=_count, default=1, metavar="N", help="worker processes")
    check.add_argument("--json", metavar="FILE", help="write the report")
    check.add_argument("--resume", metavar="REPORT", help="go on where an earlier report ends")
    listing = commands.add_parser("list", help="print a suite's case ids", allow_abbrev=False)
    listing.add_argument("--suite", type=_suite, default="standard", metavar="SUITE")
    return parser


def _ops(text: str) -> tuple[str, ...]:
    try:
        return ops_named(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _suite(text: str) -> str:
    try:
        suite_named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def _dtypes(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    unknown = [name for name in names if name not in formats.NAMES]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"dtype {unknown[0]!r} must be one of {', '.join(formats.NAMES)}"
        )
    return names


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1 up")
    return int(text)


def _list(options: argparse.Namespace) -> int:
    suite = suite_named(options.suite)
    for position in range(len(suite)):
        print(suite[position].id)
    return OK


def _check(options: argparse.Namespace) -> int:
    """Run a suite, print what came of it."""
    described = adapters.describe(options.target)
    implementation = adapters.load(options.target)
    plan = Plan(adapters.load, options.target, options.suite, options.ops or OPS, options.dtype)
    suite = plan.cases()
    if not set(plan.ops) & set(implementation.supports.ops):
        raise CannotRunError(
            f"{options.target} has none of the operations asked for: {', '.join(plan.ops)}"
        )
    tally = _resumed(options, suite.digest)
    _check_writable(options.json)
    print(
        f"npconv {__version__} checks {described} on {suite.name}: {len(suite):,} cases, "
        f"numpy {np.__version__}, python {sys.version.split()[0]}"
    )
    with (
        _progress(len(suite), tally, options, plan, described) as progress,
        _workers(options.jobs) as executor,
    ):
        # A stretch is what an interrupt loses of each worker's work at most.
        interrupted = run(
            plan, tally, executor=executor, progress=progress, max_failures=options.max_failures,
            stretch=max(1, min(500, len(suite) // (20 * options.jobs))),
        )  # fmt: skip
    report = report_on(plan, tally, interrupted, target=options.target, described=described)
    if options.json:
        report.write(options.json)
    _print_report(report, options.target, sys.stdout)
    if interrupted:
        return INTERRUPTED
    if tally.failures_total:
        return FAILED
    if not tally.total("passed"):
        raise CannotRunError(
            "nothing was run: every case is unsupported, or outside what was asked"
        )
    return OK


def _resumed(options: argparse.Namespace, digest: str) -> Tally:
    if not options.resume:
        return Tally()
    try:
        return read_tally(options.resume, options.target, options.suite, digest)
    except (OSError, ValueError) as error:
        raise CannotRunError(f"--resume: {error}") from None


def _check_writable(path: str | None) -> None:
    """Find out before an hour's run that the report could not be written."""
    if path and not os.access(Path(path).parent, os.W_OK):
        raise CannotRunError(f"--json {path}: its folder is not there, or not writable")


@contextlib.contextmanager
def _workers(count: int) -> Iterator[Executor | None]:
    """Give a pool of fresh processes, one BLAS thread each; None for a single job."""
    if count == 1:
        with _terminated_as_interrupt():
            yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    before = {name: os.environ.get(name) for name in threads}
    os.environ.update(threads)
    # Spawned, not forked: an engine's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _ignore_interrupt)
    try:
        with _terminated_as_interrupt():
            yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


def _ignore_interrupt() -> None:
    """Leave Ctrl-C to the parent, which keeps what is finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def _terminated_as_interrupt() -> Iterator[None]:
    """Make SIGTERM end a run as Ctrl-C does."""

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _progress(
    length: int, start: Tally, options: argparse.Namespace, plan: Plan, described: str
) -> Iterator[Any]:
    """Give a function that shows how far a run is: a bar on a terminal, else a line now and then.

    It also writes the unfinished report every half minute, so that not even a killed run is lost.
    """
    bar = None
    if sys.stderr.isatty():
        with contextlib.suppress(ImportError):
            from tqdm import tqdm

            bar = tqdm(
                total=length, initial=start.positions, unit="case", leave=False, smoothing=0.05
            )
    began = printed = saved = time.monotonic()
    first = start.positions

    def show(tally: Tally) -> None:
        nonlocal printed, saved
        now = time.monotonic()
        if bar is not None:
            bar.set_postfix_str(f"{tally.failures_total} failures" if tally.failures_total else "")
            bar.update(tally.positions - bar.n)
        elif now - printed >= PROGRESS:
            printed = now
            left = (length - tally.positions) * (now - began) / max(1, tally.positions - first)
            print(
                f"{tally.positions:,} of {length:,} cases, {tally.failures_total} failures, "
                f"about {_time(left)} left",
                file=sys.stderr,
                flush=True,
            )
        if options.json and now - saved >= CHECKPOINT:
            saved = now
            report_on(plan, tally, True, target=options.target, described=described).write(
                options.json
            )

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _print_report(report: Report, target: str, out: TextIO) -> None:
    """Print the counts, the distinct failures, and one line of verdict."""
    tally = report.tally
    print(f"{'':12}{'passed':>12}{'failed':>12}{'unsupported':>12}", file=out)
    for op, counts in tally.counts.items():
        print(
            f"{op:12}{counts['passed']:12,}{counts['failed']:12,}{counts['unsupported']:12,}",
            file=out,
        )
    for failure, count in _distinct(report.failures):
        print(
            f"\n{failure.op}: {failure.kind}, {count} of the failures kept are of this kind",
            file=out,
        )
        ratio = (
            "" if failure.ratio is None else f" (|error| is {failure.ratio:.3g} times the bound)"
        )
        print(f"  {failure.message}{ratio}", file=out)
        print(f"  repeat: npconv check {target} --case {failure.case}", file=out)
    share = 1 - tally.target_seconds / tally.busy_seconds if tally.busy_seconds else 0.0
    took = f"{_time(tally.seconds)}, {100 * share:.0f} % of the work npconv's own"
    if report.interrupted:
        print(
            f"\nInterrupted after {tally.cases:,} cases ({took}); what was finished is above.",
            file=out,
        )
    elif tally.failures_total:
        print(
            f"\n{tally.failures_total:,} results of {tally.cases:,} cases fail ({took}).", file=out
        )
    elif tally.total("passed"):
        print(f"\nAll {tally.cases:,} cases conform ({took}).", file=out)


def _distinct(failures: Sequence[Failure]) -> list[tuple[Failure, int]]:
    """Return the shortest failure of each operation and kind, with the number of its like."""
    groups: dict[tuple[str, str], list[Failure]] = {}
    for failure in failures:
        groups.setdefault((failure.op, failure.kind), []).append(failure)
    return [
        (min(group, key=lambda f: (len(f.case), f.case)), len(group)) for group in groups.values()
    ]


def _check_one(options: argparse.Namespace) -> int:
    """Run one case; print arguments, expected and actual."""
    try:
        case = Case.from_id(options.case)
        arrays = operands(case)
    except (TypeError, ValueError) as error:
        raise CannotRunError(str(error)) from None
    implementation = adapters.load(options.target)
    outcome = run_case(implementation, case, options.ops or OPS)
    print(f"case {case.id}")
    for name, array in arrays.named().items():
        print(f"\n{name} {array.shape} {array.dtype}\n{_shown(array)}")
    print(
        f"\nstride={case.stride} padding={case.padding!r} "
        f"dilation={case.dilation} groups={case.groups}"
    )
    results = _results(implementation, case)
    wanted = expect(case, arrays).values if case.illegal is None else {}
    for op, verdict in outcome.verdicts:
        kind = verdict.kind if isinstance(verdict, Failure) else verdict or "conforms"
        print(f"\n{op}: {kind}")
        if isinstance(verdict, Failure):
            print(f"  {verdict.message}")
            if op in wanted:
                print(f"expected\n{_shown(wanted[op])}\nactual\n{_shown(results.get(op))}")
    if any(isinstance(verdict, Failure) for _, verdict in outcome.verdicts):
        return FAILED
    if not any(verdict is None for _, verdict in outcome.verdicts):
        raise CannotRunError(
            "nothing was run: the case is unsupported, or its mask leaves nothing of what was asked"
        )
    return OK


def _results(implementation: Any, case: Case) -> dict[str, Any]:
    """Return what the implementation returns for a case, as far as it returns."""
    results: dict[str, Any] = {}
    with contextlib.suppress(Exception):
        results["forward"] = implementation.forward(case, operands(case))
    with contextlib.suppress(Exception):
        results |= dict(
            zip(
                GRADIENTS,
                implementation.gradients(case, operands(case), case.output_mask),
                strict=True,
            )
        )
    return results


def _shown(value: Any) -> str:
    with np.printoptions(threshold=400, linewidth=100):
        return str(value)
