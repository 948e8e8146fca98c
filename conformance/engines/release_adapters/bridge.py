"""A target whose engine runs in another Python: a release that npconv's own cannot import.

``NPCONV_RELEASE_PYTHON`` names the interpreter that has the engine and ``NPCONV_RELEASE_ENGINE``
the module of this folder, without ``_engine``, that calls it; both come from ``releases.py``.

An engine that dies of a signal takes this process along by the same one: to npconv, whose workers
isolate, that is a crash, as it is.
"""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

FOLDER = Path(__file__).parent
sys.path.insert(0, str(FOLDER))

from frames import receive, send  # noqa: E402  # the server's Python imports it by this name

#: What the engine's process gets: one thread, and no word on the terminal.
QUIET = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONWARNINGS": "ignore",
}


#: Exceptions that are raised here as they were there.
KNOWN = {
    error.__name__: error
    for error in (
        ArithmeticError, AssertionError, AttributeError, IndexError, KeyError, MemoryError,
        NotImplementedError, RuntimeError, TypeError, ValueError, ZeroDivisionError,
    )
}  # fmt: skip


class EngineError(Exception):
    """The engine raised what this Python has no name for; its own name begins the message."""


class Served:
    """An engine's process, and a function for each of its own."""

    def __init__(self, python: str, engine: str) -> None:
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  # it lives as long as the process
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        self.process = subprocess.Popen(
            [python, "-s", str(FOLDER / "server.py"), engine],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.errors, env=kept | QUIET,
        )  # fmt: skip
        try:
            self.said = receive(self.process.stdout)
        except EOFError:
            self.process.wait()
            self.errors.seek(0)
            said = self.errors.read().decode(errors="replace").strip()
            self.close()
            raise ImportError(said) from None

    def call(self, name: str, arguments: tuple[object, ...]) -> Any:
        """Call a function of the engine; raise what it raises, and die as it dies."""
        try:
            send(self.process.stdin, [name, arguments])
            answer = receive(self.process.stdout)
        except (EOFError, BrokenPipeError):
            status = self.process.wait()
            if status < 0:
                os.kill(os.getpid(), -status)
            raise EngineError(f"the engine's process ended with status {status}") from None
        if "raised" in answer:
            raise KNOWN.get(answer["raised"], EngineError)(
                answer["says"] if answer["raised"] in KNOWN else ": ".join(answer.values())
            )
        return answer["result"]

    def close(self) -> None:
        """End the engine's process, which ends where nothing more can come."""
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()
        self.errors.close()


@functools.cache
def connected(python: str, engine: str) -> SimpleNamespace:
    """Start an engine and return it as an implementation."""
    served = Served(python, engine)
    functions = {name: functools.partial(_call, served, name) for name in served.said["functions"]}
    return SimpleNamespace(
        **functions, supports=served.said["supports"], version=lambda: served.said["version"]
    )


def _call(served: Served, name: str, *arguments: object) -> object:
    return served.call(name, arguments)


def __getattr__(name: str) -> SimpleNamespace:
    """Start the engine when `target` is asked for, and not by an import."""
    if name != "target":
        raise AttributeError(name)
    return connected(os.environ["NPCONV_RELEASE_PYTHON"], os.environ["NPCONV_RELEASE_ENGINE"])
