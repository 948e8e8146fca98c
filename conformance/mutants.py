"""Plant each fault of mutants.toml in a copy of npconv and see which test it turns red.

``python -m conformance.mutants`` measures the tests: it first runs them on an unchanged copy, then
on one mutant at a time, two of them side by side. What is done is kept in
``recorded/mutants.json`` and not done again unless the mutant or its file changes. The exit
status is 1 if a mutant survives or does not apply, 2 if the unchanged copy fails.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
LIST = ROOT / "conformance" / "mutants.toml"
RECORD = ROOT / "conformance" / "recorded" / "mutants.json"
COMMAND = "python -m conformance.mutants"

#: The unit tests of the core, each named for its file, in the order in which they are run.
UNITS = ("geometry", "windows", "formats", "correlate", "formulas", "arguments", "conv")
WITNESSES = "conformance/test_witnesses.py"

#: Seconds for one run of pytest; a fault that makes it hang is noticed, too.
PATIENCE = 600

_FIRST_FAILURE = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)


class DoesNotApplyError(Exception):
    """The text that a mutant replaces is not there, or there more often than it says."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: where it is planted, and what it is in a sentence."""

    name: str
    says: str
    file: str
    old: str
    new: str
    index: int | None = None

    def applied(self, source: str) -> str:
        """Return the source with the fault planted."""
        count = source.count(self.old)
        if count == 0 or (count > 1 and self.index is None) or count <= (self.index or 0):
            raise DoesNotApplyError(
                f"{self.name}: {self.file} holds the old text {count} times, index {self.index}"
            )
        parts = source.split(self.old)
        place = (self.index or 0) + 1
        return self.old.join(parts[:place]) + self.new + self.old.join(parts[place:])

    def key(self) -> str:
        """Return what a result depends on: the mutant and the file that it is planted in."""
        source = (ROOT / "npconv" / self.file).read_text(encoding="utf-8")
        return hashlib.sha256(repr((asdict(self), source)).encode()).hexdigest()[:16]

    def tests(self) -> list[str]:
        """Return the test files, the one named for the mutant's file first."""
        own = self.file.removesuffix(".py")
        units = sorted(UNITS, key=lambda name: name != own)
        return [*(f"tests/test_{name}.py" for name in units), WITNESSES]


def mutants() -> list[Mutant]:
    """Read the list."""
    with LIST.open("rb") as file:
        return [Mutant(**entry) for entry in tomllib.load(file)["mutant"]]


@contextmanager
def copy() -> Iterator[Path]:
    """Give a temporary copy of the package, its tests and their settings."""
    with tempfile.TemporaryDirectory(prefix="npconv-mutant-") as name:
        folder = Path(name)
        ignored = shutil.ignore_patterns("__pycache__", "recorded")
        for part in ("npconv", "tests", "conformance"):
            shutil.copytree(ROOT / part, folder / part, ignore=ignored)
        for part in ("conftest.py", "pyproject.toml"):
            shutil.copy(ROOT / part, folder / part)
        yield folder


def run_tests(folder: Path, tests: Sequence[str]) -> tuple[str | None, str]:
    """Run tests on a copy; return the first that is red, or None, and what pytest printed."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NPCONV_")}
    environment |= {
        "PYTHONPATH": str(folder),
        "PYTHONDONTWRITEBYTECODE": "1",
        "NPCONV_SHARE": "0",
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True,
            timeout=PATIENCE, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return f"no test within {PATIENCE} s", ""
    output = done.stdout + done.stderr
    if done.returncode == 0:
        return None, output
    found = _FIRST_FAILURE.search(output)
    return found[1] if found else f"pytest, with exit status {done.returncode}", output


def check_mutant(mutant: Mutant) -> dict[str, Any]:
    """Plant one fault; return the entry of the record."""
    began = time.perf_counter()
    with copy() as folder:
        path = folder / "npconv" / mutant.file
        path.write_text(mutant.applied(path.read_text(encoding="utf-8")), encoding="utf-8")
        killed_by, _ = run_tests(folder, mutant.tests())
    return {
        "name": mutant.name,
        "says": mutant.says,
        "file": mutant.file,
        "killed_by": killed_by,
        "seconds": round(time.perf_counter() - began, 1),
        "key": mutant.key(),
    }


def check_unchanged() -> str | None:
    """Run all tests on an unchanged copy; return what is wrong with it, if anything."""
    with copy() as folder:
        where = "import npconv; print(npconv.__file__)"
        environment = os.environ | {"PYTHONPATH": str(folder)}
        command = [sys.executable, "-c", where]
        found = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        if not found.stdout.startswith(str(folder)):
            return f"the copy is not what Python imports: {found.stdout}{found.stderr}"
        red, output = run_tests(folder, [f"tests/test_{name}.py" for name in UNITS] + [WITNESSES])
        return f"{red} is red without any fault:\n{output}" if red else None


class Record:
    """What is known of the mutants, on disk after every one."""

    def __init__(self, path: Path, entries: list[Mutant], forgotten: set[str]) -> None:
        self.path, self.order = path, [mutant.name for mutant in entries]
        self._lock = threading.Lock()
        keys = {mutant.name: mutant.key() for mutant in entries}
        before = json.loads(path.read_text())["mutants"] if path.exists() else []
        #: By name; a survivor is tried again, for the tests may have changed.
        self.known = {
            entry["name"]: entry
            for entry in before
            if entry["killed_by"] and keys.get(entry["name"]) == entry["key"]
            if entry["name"] not in forgotten
        }

    def add(self, entry: dict[str, Any]) -> None:
        """Add one entry and write the file."""
        with self._lock:
            self.known[entry["name"]] = entry
            entries = [self.known[name] for name in self.order if name in self.known]
            report = {
                "command": COMMAND,
                "environment": _environment(),
                "count": len(self.order),
                "killed": sum(entry["killed_by"] is not None for entry in entries),
                "survived": [e["name"] for e in entries if e["killed_by"] is None],
            }
            text = json.dumps(report | {"mutants": entries}, indent=1)
            self.path.parent.mkdir(exist_ok=True)
            self.path.write_text(text + "\n", encoding="utf-8")


def _environment() -> dict[str, str]:
    import numpy as np

    return {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()}-{platform.machine()}",
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these mutants")
    parser.add_argument("-j", "--jobs", type=int, default=2, metavar="N", help="default: 2")
    parser.add_argument("--again", action="store_true", help="run also what the record holds")
    parser.add_argument("--json", type=Path, default=RECORD, metavar="FILE", help="the record")
    options = parser.parse_args(arguments)

    entries = mutants()
    unknown = set(options.names) - {mutant.name for mutant in entries}
    if unknown:
        parser.error(f"no mutants of these names: {', '.join(sorted(unknown))}")
    failures = []
    for mutant in entries:
        try:
            mutant.applied((ROOT / "npconv" / mutant.file).read_text(encoding="utf-8"))
        except DoesNotApplyError as error:
            failures.append(str(error))
    if failures:
        print(*failures, sep="\n")
        return 1

    print("the unchanged copy", flush=True)
    wrong = check_unchanged()
    if wrong:
        print(wrong)
        return 2
    wanted = [m for m in entries if not options.names or m.name in options.names]
    forgotten = {mutant.name for mutant in wanted} if options.again else set()
    record = Record(options.json, entries, forgotten)
    todo = [mutant for mutant in wanted if mutant.name not in record.known]
    print(f"{len(wanted) - len(todo)} of {len(wanted)} mutants are known", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        for entry in pool.map(check_mutant, todo):
            record.add(entry)
            _print(entry)
    found = [record.known[mutant.name] for mutant in wanted]
    survivors = [entry for entry in found if entry["killed_by"] is None]
    print(f"\n{len(found) - len(survivors)} of {len(found)} mutants turn a test red")
    for entry in survivors:
        print(f"survived: {entry['name']} ({entry['file']}): {entry['says']}")
    return 1 if survivors else 0


def _print(entry: dict[str, Any]) -> None:
    killed_by = entry["killed_by"] or "SURVIVED"
    print(f"{entry['file']:13}{entry['name']:45}{entry['seconds']:6.1f} s  {killed_by}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
