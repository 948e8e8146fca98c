"""The command line: parse options, call the oracle, print. No judging happens here."""

from __future__ import annotations

import argparse
import contextlib
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor
from pathlib import Path

import numpy as np

from npconv import __version__, adapters
from npconv.bounds import parse
from npconv.console import case_text, counted, duration, report_text
from npconv.oracle.cases import Case
from npconv.oracle.check import dtypes_named, ops_named, report_on
from npconv.oracle.data import operands
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Report, Tally, read_tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case
from npconv.workers import terminated_as_interrupt, workers

OK, FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130

#: Seconds between two writes of an unfinished report, and between two lines of progress.
CHECKPOINT, PROGRESS = 30.0, 10.0


class CannotRunError(Exception):
    """What ends the command with status 2; the message is the whole of what is printed."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    options = _parser().parse_args(arguments)
    try:
        with terminated_as_interrupt():
            status = _COMMANDS[options.command](options)
            sys.stdout.flush()
            return status
    except (CannotRunError, adapters.TargetError) as error:
        print(f"npconv: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    except KeyboardInterrupt:
        print("npconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has gone, as with `npconv list | head`: nothing is left to say.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return OK if options.command == "list" else COULD_NOT_RUN
    except Exception:  # noqa: BLE001  # status 1, Python's own, would say that a case fails
        traceback.print_exc()
        print("npconv: this is a fault of npconv, not of the target", file=sys.stderr)
        return COULD_NOT_RUN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="npconv",
        description="The oracle for 2-D convolution.",
        allow_abbrev=False,
        epilog="npconv COMMAND --help shows a command's options",
    )
    parser.add_argument("--version", action="version", version=f"npconv {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    check = commands.add_parser(
        "check", help="run a suite on an implementation", allow_abbrev=False,
        description="Run a suite of cases on an implementation of conv2d and its gradients. "
        "With each kind of failure comes the command that repeats the plainest case of it.",
        epilog="exit status: 0 all conforms, 1 a case fails, 2 it could not run, 130 interrupted",
    )  # fmt: skip
    check.add_argument(
        "target",
        metavar="TARGET",
        help="the implementation: "
        f"{', '.join(adapters.NAMES)}, package.module:attribute or path/to/file.py[:attribute]",
    )
    check.add_argument(
        "--suite",
        type=_suite,
        default="standard",
        metavar="SUITE",
        help="quick (seconds), standard (about a minute, the default), exhaustive (hours), "
        "or a part such as 'exhaustive[3::41]'",
    )
    check.add_argument("--ops", type=_ops, metavar="OP[,OP]", help=f"some of {', '.join(OPS)}")
    check.add_argument(
        "--arithmetic",
        type=_arithmetic,
        metavar="NAME",
        help="judge as this arithmetic, such as tf32, instead of the dtype's own",
    )
    check.add_argument("--dtype", type=_dtypes, metavar="D[,D]", help="only cases in these dtypes")
    check.add_argument(
        "--case", metavar="ID", help="run this case alone and show arguments, expected and actual"
    )
    check.add_argument(
        "-x", dest="max_failures", action="store_const", const=1, help="stop soon after a failure"
    )
    check.add_argument(
        "--max-failures", type=_count, metavar="N", help="stop soon after N failures"
    )
    check.add_argument(
        "-j", "--jobs", type=_count, default=1, metavar="N", help="worker processes; default: 1"
    )
    check.add_argument("--json", metavar="FILE", help="write the report to a file")
    check.add_argument("--resume", metavar="REPORT", help="go on where an earlier report ends")
    listing = commands.add_parser("list", help="print a suite's case ids", allow_abbrev=False)
    listing.add_argument(
        "--suite",
        type=_suite,
        default="standard",
        metavar="SUITE",
        help="quick, standard (the default), exhaustive, or a part such as 'exhaustive[3::41]'",
    )
    return parser


def _ops(text: str) -> tuple[str, ...] | None:
    try:
        return ops_named(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _arithmetic(text: str) -> str:
    try:
        return parse(text).name
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _dtypes(text: str) -> tuple[str, ...] | None:
    try:
        return dtypes_named(text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _suite(text: str) -> str:
    try:
        suite_named(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


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
    """Run a suite, or one case of it."""
    # What the target prints goes to stderr: stdout is the report's.
    with contextlib.redirect_stdout(sys.stderr):
        described = adapters.describe(options.target)
        implementation = adapters.load(options.target)
    ops = options.ops or OPS
    if not set(ops) & set(implementation.supports.ops):
        raise CannotRunError(
            f"{options.target} has none of the operations asked for: {', '.join(ops)}"
        )
    known = implementation.supports.dtypes
    if options.dtype and not set(options.dtype) & set(known):
        raise CannotRunError(
            f"{options.target} supports dtypes {', '.join(known)}, none of those asked for: "
            f"{', '.join(options.dtype)}; its dict `supports` says which, as in "
            f"supports = {{'dtypes': {list(options.dtype)!r}}}"
        )
    plan = Plan(
        adapters.load, options.target, options.suite, ops, options.dtype, options.arithmetic
    )
    if options.case is not None:
        return _check_case(options, plan, implementation)
    return _check_suite(options, plan, described)


def _check_suite(options: argparse.Namespace, plan: Plan, described: str) -> int:
    length = len(plan.cases())
    tally = _resumed(options, plan, described)
    # Absolute, as the target may go to another folder.
    path = _writable(options.json)
    resumed = f", {tally.positions:,} of them done before" if tally.positions else ""
    print(
        f"npconv {__version__} checks {described} on {options.suite}: "
        f"{counted(length, 'case')}{resumed}, numpy {np.__version__}, "
        f"python {sys.version.split()[0]}",
        flush=True,
    )

    def report(interrupted: bool) -> Report:
        return report_on(plan, tally, interrupted, target=options.target, described=described)

    def save() -> None:
        if path:
            report(interrupted=True).write(path)

    died = False
    try:
        with (
            _progress(length, tally, save) as progress,
            workers(options.jobs) as executor,
            contextlib.redirect_stdout(sys.stderr),
        ):
            # A stretch is what an interrupt loses of each worker's work at most.
            interrupted = run(
                plan, tally, executor=executor, progress=progress,
                max_failures=options.max_failures,
                stretch=max(1, min(500, length // (20 * options.jobs))),
            )  # fmt: skip
    except BrokenExecutor:
        interrupted = died = True
    except KeyboardInterrupt:  # while workers start or end, or the second one
        interrupted = True
    try:
        with contextlib.redirect_stdout(sys.stderr):
            final = report(interrupted)
    except KeyboardInterrupt:
        interrupted = True
        final = report(interrupted)
    unwritten = _write(final, path)
    _say(report_text(final, length))
    if died:
        raise CannotRunError(
            "a worker process died: the target crashed or ended Python, or the system stopped it "
            "for its memory; what was finished is above"
        )
    if unwritten:
        raise CannotRunError(unwritten)
    if interrupted:
        if path:
            _say(f"Go on with: npconv check {shlex.join(_again(options))}")
        print("npconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    if tally.failures_total:
        return FAILED
    if not tally.total("passed"):
        raise CannotRunError(
            "nothing was run: every case is unsupported, or outside what was asked"
        )
    return OK


def _again(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments with which an interrupted run goes on."""
    yield from (options.target, "--suite", options.suite)
    if options.ops:
        yield from ("--ops", ",".join(options.ops))
    if options.dtype:
        yield from ("--dtype", ",".join(options.dtype))
    if options.arithmetic:
        yield from ("--arithmetic", options.arithmetic)
    if options.jobs > 1:
        yield from ("-j", str(options.jobs))
    yield from ("--json", options.json, "--resume", options.json)


def _resumed(options: argparse.Namespace, plan: Plan, described: str) -> Tally:
    if not options.resume:
        return Tally()
    now = report_on(plan, Tally(), False, target=options.target, described=described)
    try:
        return read_tally(options.resume, now, len(plan.cases()))
    except (OSError, ValueError) as error:
        raise CannotRunError(f"--resume: {error}") from None


def _writable(path: str | None) -> Path | None:
    """Find out before an hour's run whether the report could not be written."""
    if not path:
        return None
    target = Path(path).absolute()
    if target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK):
        raise CannotRunError(f"--json {path}: it is a folder, not writable, or in no folder")
    return target


def _write(report: Report, path: Path | None) -> str | None:
    """Write the report; return why it cannot be."""
    try:
        if path:
            report.write(path)
    except OSError as error:
        return f"the report could not be written: {error}"
    return None


def _say(text: str) -> None:
    """Print; a reader that has gone changes no verdict."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextlib.contextmanager
def _progress(
    length: int, start: Tally, save: Callable[[], None]
) -> Iterator[Callable[[Tally], None]]:
    """Give a function that shows how far a run is: a bar on a terminal, else a line now and then.

    It also saves the unfinished report every half minute, so that not even a killed run is lost.
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
        failures = counted(tally.failures_total, "failure")
        if bar is not None:
            bar.set_postfix_str(failures if tally.failures_total else "", refresh=False)
            bar.update(tally.positions - bar.n)
        elif now - printed >= PROGRESS:
            printed = now
            left = (length - tally.positions) * (now - began) / max(1, tally.positions - first)
            print(
                f"{tally.positions:,} of {length:,} cases, {failures}, about {duration(left)} left",
                file=sys.stderr,
                flush=True,
            )
        if now - saved >= CHECKPOINT:
            saved = now
            # A full disk may have room again when the run ends.
            with contextlib.suppress(OSError):
                save()

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()


def _check_case(options: argparse.Namespace, plan: Plan, implementation: Implementation) -> int:
    """Run one case; print arguments, expected and actual."""
    for option in ("dtype", "json", "resume", "max_failures"):
        if getattr(options, option) is not None:
            raise CannotRunError(
                f"--case runs one case alone: it goes without --{option.replace('_', '-')}"
            )
    try:
        case = Case.from_id(options.case)
        arrays = operands(case)
    except (MemoryError, OverflowError, TypeError, ValueError) as error:
        raise CannotRunError(str(error) or f"case {options.case} is too large") from None
    supports = implementation.supports
    outside = supports.leaves_out(case)
    if outside is not None:
        raise CannotRunError(
            f"{options.target} is not asked this case: it lies outside of what it supports, "
            f"{outside}={getattr(supports, outside)!r}"
        )
    with contextlib.redirect_stdout(sys.stderr):
        outcome = run_case(implementation, case, plan.ops, plan.arithmetic)
    _say(case_text(case, arrays, outcome))
    statuses = {verdict.status for _, verdict in outcome.verdicts}
    if "failed" in statuses:
        return FAILED
    if "passed" not in statuses:
        raise CannotRunError(
            "nothing was run: the case is unsupported, or has none of what is asked"
        )
    return OK


_COMMANDS = {"check": _check, "list": _list}
