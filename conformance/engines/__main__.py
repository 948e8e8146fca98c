"""Run an engine: the suite on each of its adapters, then its accuracy; both are recorded.

    python -m conformance.engines NAME [--only ADAPTER] [--folder FOLDER] [--no-accuracy] [OPTION]

NAME is an engine, as `torch` or `engine-torch`, or one of its adapters. Further options go to
``npconv check``, such as ``-j 2``. What was interrupted goes on when the command is given again.
The exit status is the worst of npconv's: 0 all conforms but for what is expected, 1 something else
fails, 2 something could not run, 130 interrupted.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from conformance.engines import (
    CUDA,
    EXPECTATIONS,
    RECORDS,
    accuracy,
    accuracy_of,
    adapters_of,
    engines,
    record_of,
    suite_of,
)
from npconv import cli
from npconv.oracle.report import read_report


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments name; return the exit status."""
    options, passed = _parser().parse_known_args(arguments)
    names = adapters_of(options.name)
    chosen = tuple(name for name in names if not options.only or name in options.only)
    unknown = [name for name in options.only if name not in names]
    if not names or unknown:
        known = ", ".join(names or engines())
        print(f"no {'adapter ' + unknown[0] if names else 'engine ' + options.name}: {known}")
        return cli.COULD_NOT_RUN
    status = cli.OK
    for name in chosen:
        if name in CUDA and len(chosen) > 1 and not _cuda():
            print(f"{name}: left out, torch finds no CUDA device here", flush=True)
            continue
        found, recorded = check(name, options.folder, passed)
        if recorded and not options.no_accuracy:
            accuracy.record(name, accuracy_of(name, options.folder))
        status = max(status, found)
        if found == cli.INTERRUPTED:
            break
    return status


def check(name: str, folder: Path = RECORDS, passed: Sequence[str] = ()) -> tuple[int, bool]:
    """Run the suite on an adapter, on from where an earlier run was interrupted.

    Return npconv's exit status, and whether the run reached its end and was recorded.
    """
    folder.mkdir(parents=True, exist_ok=True)
    draft = folder / f"{name}.unfinished.json"
    known = EXPECTATIONS / f"{name}.txt"
    command = ["check", name, "--suite", suite_of(name), *passed, "--json", str(draft)]
    if known.is_file():
        # As it is named from here: the record is to hold no path of this machine.
        command += ["--expect", os.path.relpath(known)]
    if draft.is_file():
        print(f"{name}: on from {draft}; without it, the run would begin anew", flush=True)
        command += ["--resume", str(draft)]
    status = cli.main(command)
    recorded = draft.is_file() and read_report(draft).complete
    if recorded:
        draft.replace(record_of(name, folder))
    return status, recorded


def _cuda() -> bool:
    import torch

    return bool(torch.cuda.is_available())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m conformance.engines",
        description="Run the suite on an engine, and record it.",
        epilog="Further options go to npconv check.",
        allow_abbrev=False,
    )
    known = ", ".join(engines())
    parser.add_argument("name", metavar="NAME", help=f"one of {known}; or an adapter")
    parser.add_argument("--only", action="append", default=[], metavar="ADAPTER")
    parser.add_argument("--folder", type=Path, default=RECORDS, help="where records are written")
    parser.add_argument("--no-accuracy", action="store_true")
    return parser


if __name__ == "__main__":
    sys.exit(main())
