"""The command line: parse options, call the oracle, print. No judging happens here."""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import math
import multiprocessing
import os
import shlex
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from npconv import __version__, adapters
from npconv.bounds import parse
from npconv.console import case_text, lost_text, report_text
from npconv.oracle.cases import Case
from npconv.oracle.check import dtypes_named, ops_named, report_on, without_named
from npconv.oracle.conditions import FEATURES
from npconv.oracle.data import operands
from npconv.oracle.expectations import Expectations, written
from npconv.oracle.junit import junit_text
from npconv.oracle.layers import read_cases, shipped
from npconv.oracle.page import once_more, page_text
from npconv.oracle.protocol import OPS, Supports
from npconv.oracle.report import Report, Tally, merge, read_tally, write_whole
from npconv.oracle.run import Ending, Plan, WorkerLostError, called, run
from npconv.oracle.suites import Suite, suite_named
from npconv.oracle.trial import run_case
from npconv.oracle.words import counted, duration, of_file
from npconv.workers import TIMEOUT, cluster, terminated_as_interrupt, workers

OK, FAILED, COULD_NOT_RUN, INTERRUPTED = 0, 1, 2, 130
#: Worker processes at the most: what is more is a slip, and starting it would hang the machine.
JOBS = 1024

#: Seconds that a target may take to be imported, or `--timeout` where that is longer.
IMPORT = 60.0

#: Seconds between two writes of an unfinished report, and between two lines of progress.
CHECKPOINT, PROGRESS = 30.0, 10.0

#: Endings after which the target can still be asked something.
_ALIVE = (Ending.FINISHED, Ending.FAILURES)


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


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong, without all that would be right."""
        self.exit(COULD_NOT_RUN, f"{self.prog}: error: {message}; see {self.prog} --help\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
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
    which = check.add_mutually_exclusive_group()
    which.add_argument(
        "--suite",
        type=_suite,
        default="standard",
        metavar="SUITE",
        help="quick (seconds), standard (about a minute, the default), exhaustive (hours), "
        "or a part such as 'exhaustive[3::41]'",
    )
    which.add_argument(
        "--cases",
        type=_file,
        metavar="FILE",
        help="instead of a suite: a file with a case id or a layer, such as "
        f"mb2ic3ih224oc64kh7sh2ph3, in each line; or one of the lists {', '.join(shipped())}",
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
        "--without",
        type=_without,
        action="append",
        default=[],
        metavar="FEATURE",
        help=f"leave out cases with a feature ({', '.join(FEATURES)}), or under a condition such "
        "as 'kernel_h > 7'; may be given again",
    )
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
        "--timeout",
        type=_seconds,
        default=TIMEOUT,
        metavar="SECONDS",
        help=f"what one call of the target may take; default: {TIMEOUT:g}",
    )
    check.add_argument("-j", "--jobs", type=_jobs, metavar="N", help="worker processes; default: 1")
    check.add_argument(
        "--shard", type=_shard, default=(1, 1), metavar="I/N", help="only part I of N of the suite"
    )
    check.add_argument(
        "--dask", metavar="ADDRESS", help="run on the Dask cluster of this scheduler"
    )
    check.add_argument(
        "--expect", type=_file, metavar="FILE", help="known failures with reasons: those that "
        "fail no longer, and those that match no case, fail",
    )  # fmt: skip
    check.add_argument(
        "--write-expect",
        type=_file,
        metavar="FILE",
        help="begin such a file with what fails in this run",
    )
    check.add_argument(
        "--no-diagnosis", action="store_true",
        help="do not look for what explains failures, which takes as long as the run at the most",
    )  # fmt: skip
    check.add_argument("--json", type=_file, metavar="FILE", help="write the report to a file")
    check.add_argument(
        "--junit", type=_file, metavar="FILE", help="write a JUnit file, which CI services show"
    )
    check.add_argument(
        "--html", type=_file, metavar="FILE", help="write the report as a page to look at"
    )
    check.add_argument(
        "--resume", type=_file, metavar="REPORT", help="go on where an earlier report ends"
    )
    merging = commands.add_parser(
        "merge", help="join the reports of shards", allow_abbrev=False,
        description="Join JSON reports on parts of one run, as of --shard, to one of the whole.",
        epilog="exit status: 0 all conforms, 1 a case fails, 2 cases are missing or the reports "
        "do not belong together",
    )  # fmt: skip
    merging.add_argument("reports", metavar="REPORT", nargs="+", help="written with --json")
    merging.add_argument(
        "--json", type=_file, metavar="FILE", help="write the joined report to a file"
    )
    merging.add_argument("--junit", type=_file, metavar="FILE", help="write it as a JUnit file")
    merging.add_argument("--html", type=_file, metavar="FILE", help="write it as a page to look at")
    listing = commands.add_parser("list", help="print a suite's case ids", allow_abbrev=False)
    listing.add_argument(
        "--suite",
        type=_suite,
        default="standard",
        metavar="SUITE",
        help="quick, standard (the default), exhaustive, or a part such as 'exhaustive[3::41]'",
    )
    return parser


def _file(text: str) -> str:
    if not text:
        raise argparse.ArgumentTypeError("'' must be the name of a file")
    return text


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


def _without(text: str) -> str:
    try:
        return without_named([text])[0]
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number of seconds above 0")
    return seconds


def _shard(text: str) -> tuple[int, int]:
    part, _, parts = text.partition("/")
    if not (part.isdecimal() and parts.isdecimal() and 1 <= int(part) <= int(parts)):
        raise argparse.ArgumentTypeError(f"{text!r} must be I/N, a part from 1 to N of N, as 2/3")
    return int(part), int(parts)


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


def _jobs(text: str) -> int:
    number = _count(text)
    if number > JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} must be a number from 1 to {JOBS:,}")
    return number


def _list(options: argparse.Namespace) -> int:
    suite = suite_named(options.suite)
    for position in range(len(suite)):
        print(suite[position].id)
    return OK


def _check(options: argparse.Namespace) -> int:
    """Run a suite, or one case of it; the target runs in workers alone, never in this process."""
    files = _files(options)
    try:
        with _executor(options) as executor:
            target = _located(options)
            described, supports = _asked(executor, options.target, target, options.timeout)
            plan = replace(_plan(options, target, supports), **files)
            if options.case is not None:
                return _check_case(options, plan, supports, executor)
            return _check_suite(options, plan, described, supports, executor)
    except BrokenExecutor as error:
        raise CannotRunError(str(error)) from None


def _files(options: argparse.Namespace) -> dict[str, Any]:
    """Return what files say of the plan, before anything is started for nothing."""
    found: dict[str, Any] = {}
    try:
        if options.cases is not None:
            found["suite"] = read_cases(options.cases, options.dtype)
        if options.expect is not None:
            found["expectations"] = Expectations.read(options.expect)
    except (OSError, ValueError) as error:
        raise CannotRunError(of_file(error)) from None
    if options.write_expect is not None and Path(options.write_expect).exists():
        raise CannotRunError(
            f"--write-expect {options.write_expect}: it exists, and what was written into it "
            "would be lost: give another name, or remove it"
        )
    return found


def _executor(options: argparse.Namespace) -> contextlib.AbstractContextManager[Executor | None]:
    """Return the workers that the options ask for."""
    if sys.platform == "emscripten":
        raise CannotRunError("this Python starts no processes: call npconv.check")
    if options.dask is None:
        return workers(options.jobs or 1, options.timeout)
    if options.jobs is not None:
        raise CannotRunError("--dask runs on the cluster's workers: it goes without -j")
    return _dask(options)


@contextlib.contextmanager
def _dask(options: argparse.Namespace) -> Iterator[Executor]:
    try:
        with cluster(options.dask, options.timeout) as executor:
            yield executor
    except ValueError as error:
        raise CannotRunError(str(error)) from None


def _located(options: argparse.Namespace) -> str:
    """Return the target as workers are to find it: on a cluster they have folders of their own."""
    target: str = options.target
    path = target if target.endswith(".py") else target.rpartition(":")[0]
    if options.dask is None or not path.endswith(".py"):
        return target
    return str(Path(path).absolute()) + target[len(path) :]


def _asked(
    executor: Executor | None, name: str, target: str, timeout: float
) -> tuple[str, Supports]:
    """Load the target in a worker; return its name with its version, and what it supports."""
    most = max(IMPORT, timeout)
    try:
        described, supports = called(executor, _described, target, seconds=most)
    except WorkerLostError as error:
        raise CannotRunError(f"target {name!r} crashed at import: {error}") from None
    except TimeoutError:
        raise CannotRunError(
            f"target {name!r}: its import has not ended within {most:g} s; --timeout SECONDS gives "
            "it longer"
        ) from None
    return name if target != name else described, supports


def _described(target: str) -> tuple[str, Supports]:
    return adapters.describe(target), adapters.load(target).supports


def _plan(options: argparse.Namespace, target: str, supports: Supports) -> Plan:
    """Return what is to be run, of what the target supports."""
    ops = options.ops or OPS
    if not set(ops) & set(supports.ops):
        raise CannotRunError(
            f"{options.target} has none of the operations asked for: {', '.join(ops)}"
        )
    known = supports.dtypes
    if options.dtype and not set(options.dtype) & set(known):
        raise CannotRunError(
            f"{options.target} supports dtypes {', '.join(known)}, none of those asked for: "
            f"{', '.join(options.dtype)}; its dict `supports` says which, as in "
            f"supports = {{'dtypes': {list(options.dtype)!r}}}"
        )
    return Plan(
        adapters.load, target, options.suite, ops, options.dtype, options.arithmetic,
        tuple(dict.fromkeys(options.without)), options.shard,
    )  # fmt: skip


def _check_suite(
    options: argparse.Namespace,
    plan: Plan,
    described: str,
    supports: Supports,
    executor: Executor | None,
) -> int:
    start, stop = plan.stretch
    length = len(plan.cases())
    tally = _resumed(options, plan, described)
    if start == stop and length:
        raise CannotRunError(
            "--shard {}/{} has no case: ".format(*options.shard)
            + f"there are {counted(length, 'case')} for {options.shard[1]:,} parts"
        )
    path, page, junit, expect = _outputs(options, "json", "html", "junit", "write_expect")
    part = f"shard {options.shard[0]}/{options.shard[1]}, {stop - start:,} of "
    resumed = f", {tally.positions:,} of them done before" if tally.positions else ""
    print(
        f"npconv {__version__} checks {described} on {options.cases or options.suite}: "
        f"{part if options.shard[1] > 1 else ''}{counted(length, 'case')}{resumed}, "
        f"numpy {np.__version__}, python {sys.version.split()[0]}",
        flush=True,
    )

    def report(ending: Ending, executor: Executor | None = None) -> Report:
        return report_on(
            plan, tally, ending, target=options.target, described=described, executor=executor,
            diagnosis=not options.no_diagnosis,
        )  # fmt: skip

    def save() -> None:
        if path:
            report(Ending.INTERRUPTED).write(path)

    died = None
    try:
        with _progress(stop - start, tally, save) as progress:
            # A stretch is what an interrupt loses of each worker's work at most.
            ending = run(
                plan, tally, executor=executor, progress=progress,
                max_failures=options.max_failures,
                stretch=max(1, min(500, (stop - start) // (20 * (options.jobs or 4)))),
            )  # fmt: skip
    except BrokenExecutor as error:
        ending, died = Ending.INTERRUPTED, error
    except KeyboardInterrupt:  # the second one
        ending = Ending.INTERRUPTED
    try:
        final = report(ending, executor)
    except KeyboardInterrupt:
        ending = Ending.INTERRUPTED
        final = report(ending)
    unwritten = _write(final, path)
    unwritten = _write_junit(final, junit) or unwritten

    def html() -> str:
        again = {}
        if ending in _ALIVE and died is None:
            with contextlib.suppress(KeyboardInterrupt):
                again = once_more(plan, final, executor)
        return page_text(
            final, plan.cases(), leaves_out=lambda case: plan.leaves_out(case, supports),
            again=again, command=f"npconv check {shlex.join(_asks(options))}",
        )  # fmt: skip

    unwritten = _write_page(html, page) or unwritten
    _say(report_text(final))
    unwritten = _write_expectations(final, plan, expect) or unwritten
    if died is not None:
        raise CannotRunError(f"{died}; what was finished is above")
    if unwritten:
        raise CannotRunError(unwritten)
    if ending == Ending.INTERRUPTED:
        if path:
            _say(f"Go on with: npconv check {shlex.join(_again(options))}")
        print("npconv: interrupted", file=sys.stderr)
        return INTERRUPTED
    status = _status(final)
    if final.left and status == OK:
        raise CannotRunError(f"{counted(final.left, 'case')} not reached: nothing says why")
    return status


def _status(report: Report) -> int:
    """Return the exit status of a run that was not interrupted."""
    if report.tally.failures_total or report.broken:
        return FAILED
    if not report.tally.cases and report.shard[1] > 1:
        return OK  # npconv merge judges the whole suite
    if not (report.tally.total("passed") or report.tally.total("expected_failures")):
        raise CannotRunError(
            "nothing was run: every case is unsupported, or outside what was asked"
        )
    return OK


def _merge(options: argparse.Namespace) -> int:
    """Join reports; print the usual summary."""
    path, page, junit = _outputs(options, "json", "html", "junit")
    try:
        joined = merge(options.reports)
    except (OSError, ValueError) as error:
        raise CannotRunError(of_file(error)) from None
    unwritten = _write(joined, path)
    unwritten = _write_junit(joined, junit) or unwritten
    unwritten = _write_page(lambda: page_text(joined, _suite_of(joined)), page) or unwritten
    _say(
        f"npconv {joined.version} on {joined.environment['target']}, {joined.suite}: "
        f"{counted(joined.length, 'case')}, out of {counted(len(options.reports), 'report')}"
    )
    _say(report_text(joined))
    if unwritten:
        raise CannotRunError(unwritten)
    missing = joined.length - joined.tally.positions
    status = _status(joined)
    if missing and status == OK:
        are = "is" if missing == 1 else "are"
        raise CannotRunError(
            f"{counted(missing, 'case')} of {joined.length:,} {are} in none of the reports"
        )
    return status


def _again(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments with which an interrupted run goes on."""
    yield from _asks(options)
    for option, path in (
        ("--json", options.json),
        ("--junit", options.junit),
        ("--write-expect", options.write_expect),
        ("--resume", options.json),
    ):
        if path:
            yield from (option, path)


def _asks(options: argparse.Namespace) -> Iterator[str]:
    """Yield the arguments that say what is run, and how."""
    yield options.target
    for option, text in (
        ("--cases", options.cases),
        ("--suite", None if options.cases else options.suite),
        ("--ops", ",".join(options.ops or ())),
        ("--dtype", ",".join(options.dtype or ())),
        *(("--without", text) for text in options.without),
        ("--arithmetic", options.arithmetic),
        ("--max-failures", options.max_failures),
        ("--timeout", f"{options.timeout:g}" if options.timeout != TIMEOUT else None),
        ("-j", options.jobs if options.jobs != 1 else None),
        ("--shard", "{}/{}".format(*options.shard) if options.shard[1] > 1 else None),
        ("--dask", options.dask),
        ("--expect", options.expect),
    ):
        if text:
            yield from (option, str(text))
    if options.no_diagnosis:
        yield "--no-diagnosis"


def _resumed(options: argparse.Namespace, plan: Plan, described: str) -> Tally:
    if not options.resume:
        return Tally()
    now = report_on(plan, Tally(), False, target=options.target, described=described)
    try:
        return read_tally(options.resume, now)
    except (OSError, ValueError) as error:
        raise CannotRunError(f"--resume: {of_file(error)}") from None


def _outputs(options: argparse.Namespace, *names: str) -> list[Path | None]:
    """Find out before an hour's run which files could not be written.

    Paths are absolute, as files are written when the run ends.
    """
    found: list[Path | None] = []
    for name in names:
        option, path = f"--{name.replace('_', '-')}", getattr(options, name)
        target = Path(path).absolute() if path else None
        if target is not None and (
            target.is_dir() or not os.access(target if target.exists() else target.parent, os.W_OK)
        ):
            raise CannotRunError(f"{option} {path}: it is a folder, not writable, or in no folder")
        if target is not None and target in found:
            other = names[found.index(target)].replace("_", "-")
            raise CannotRunError(f"{option} {path}: --{other} writes this file, too")
        found.append(target)
    return found


def _unwritten(what: str, path: Path | None, error: OSError) -> str:
    """Say why something was not written, without the name of the file that it goes through."""
    return f"the {what} could not be written to {path}: {error.strerror or error}"


def _write(report: Report, path: Path | None) -> str | None:
    """Write the report; return why it cannot be."""
    try:
        if path:
            report.write(path)
    except OSError as error:
        return _unwritten("report", path, error)
    return None


def _write_page(text: Callable[[], str], path: Path | None) -> str | None:
    """Make and write the page; return why it cannot be written."""
    try:
        if path:
            write_whole(text(), path)
    except OSError as error:
        return _unwritten("page", path, error)
    return None


def _suite_of(report: Report) -> Suite | None:
    """Return the suite of a report, where it is still the same."""
    with contextlib.suppress(ValueError):
        suite = suite_named(report.suite)
        return suite if len(suite) == report.length else None
    return None


def _write_junit(report: Report, path: Path | None) -> str | None:
    """Write the JUnit file; return why it cannot be."""
    if path is None:
        return None
    missing = report.left if report.shard[1] > 1 else report.length - report.tally.positions
    unfinished = None
    if missing:
        why = "interrupted" if report.interrupted else "ended early"
        why = "given up" if report.gave_up else why
        unfinished = f"{why}: {counted(missing, 'case')} not reached"
    elif not report.tally.total("passed"):
        unfinished = "no result passed: nothing was judged, or all fails"
    try:
        write_whole(junit_text(report.as_dict(), unfinished=unfinished, broken=report.broken), path)
    except OSError as error:
        return _unwritten("JUnit file", path, error)
    return None


def _write_expectations(report: Report, plan: Plan, path: Path | None) -> str | None:
    """Begin a file of known failures; return why it cannot be written."""
    if path is None:
        return None
    tally, others = report.tally, list(_unlisted(report, plan))
    text = written(
        tally.failures, target=report.target, suite=report.suite, others=others,
        toml=path.suffix == ".toml",
    )  # fmt: skip
    try:
        # Not over what someone else has written meanwhile.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        return _unwritten("expectations", path, error)
    count = counted(len(tally.failures) + len(others), "expectation")
    _say(f"{count} written to {path.name}: say in each why it fails, then give it as --expect.")
    return None


def _unlisted(report: Report, plan: Plan) -> Iterator[tuple[str, str]]:
    """Yield operation and case id of each failing result that the report holds no details of."""
    tally, cases = report.tally, plan.cases()
    if tally.failures_total <= len(tally.failures):
        return
    listed = {(failure.op, failure.case) for failure in tally.failures}
    known = plan.expectations or Expectations(())
    for op, ranges in tally.failed.items():
        for case in (cases[position] for stretch in ranges for position in range(*stretch)):
            if (op, case.id) not in listed and not any(e.asks(op) for e in known.on(case)):
                yield op, case.id


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


def _check_case(
    options: argparse.Namespace, plan: Plan, supports: Supports, executor: Executor | None
) -> int:
    """Run one case; print arguments, expected and actual."""
    for option in (
        "dtype", "json", "html", "junit", "resume", "max_failures", "cases", "expect",
        "write_expect",
    ):  # fmt: skip
        if getattr(options, option) is not None:
            raise CannotRunError(
                f"--case runs one case alone: it goes without --{option.replace('_', '-')}"
            )
    try:
        case = Case.from_id(options.case)
        arrays = operands(case)
    except (MemoryError, OverflowError):
        raise CannotRunError(f"case {options.case} is too large") from None
    except (TypeError, ValueError) as error:
        raise CannotRunError(str(error)) from None
    outside = supports.leaves_out(case)
    if outside is not None:
        raise CannotRunError(
            f"{options.target} is not asked this case: it lies outside of what it supports, "
            f"{outside}={getattr(supports, outside)!r}"
        )
    try:
        text, statuses = called(executor, _tried, plan, case)
    except WorkerLostError as error:
        _say(lost_text(case, arrays, error))
        return FAILED
    _say(text)
    if "failed" in statuses:
        return FAILED
    if "passed" not in statuses:
        raise CannotRunError(
            "nothing was run: the case is unsupported, or has none of what is asked"
        )
    return OK


def _tried(plan: Plan, case: Case) -> tuple[str, set[str]]:
    """Run one case, in a worker; return its text, as results may not travel, and its statuses."""
    if multiprocessing.parent_process() is not None:
        # Where the process dies, Python's own lines on stderr say at which line of the target.
        faulthandler.enable()
    outcome = run_case(plan.implementation(), case, plan.ops, plan.arithmetic)
    text = case_text(case, operands(case), outcome)
    return text, {verdict.status for _, verdict in outcome.verdicts}


_COMMANDS: Mapping[str, Callable[[Any], int]] = {"check": _check, "list": _list, "merge": _merge}
