"""What tests call in worker processes: a module that those can import by its own name."""

import os
import sys
import threading
import time
import types
from typing import Any

import npconv
from npconv.workers import THREADS, isolated


def where(_: Any = None) -> tuple[int, list[str | None]]:
    """A process, and how many threads its BLAS may take."""
    return os.getpid(), [os.environ.get(name) for name in THREADS]


def misbehave(how: str) -> Any:
    """Die, hang, raise, or return what cannot travel."""
    if how == "die":
        os._exit(5)
    if how == "hang":
        time.sleep(600)
    if how == "raise":
        raise ValueError("wrong")
    if how == "lock":
        return threading.Lock()
    if how in ("foreign", "foreign result"):
        own = type("OwnError", (BaseException,), {"__module__": "only_in_the_worker"})
        sys.modules["only_in_the_worker"] = module = types.ModuleType("only_in_the_worker")
        module.OwnError = own  # type: ignore[attr-defined]  # so that it can be pickled
        if how == "foreign":
            raise own("of a class that only the worker has")
        return own("as a result")

    class LocalError(Exception):
        """An exception that cannot be pickled."""

    raise LocalError("here only")


def nested() -> int:
    """Call from a daemonic process, as a worker of Dask is, in a process of its own."""
    import multiprocessing

    multiprocessing.current_process().daemon = True
    return isolated(1.0, where)[0]  # type: ignore[no-any-return]


def deadly(x: Any, w: Any, *rest: Any) -> Any:
    """End the process where the kernel has extents 2 and 3."""
    if w.shape[2:] == (2, 3):
        os._exit(4)
    return npconv.conv2d(x, w, *rest)


def found_nothing(*_: Any) -> dict[str, Any]:
    """Probe nothing: it takes seconds, and has tests of its own."""
    return {}
