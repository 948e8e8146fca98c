"""The processes and the signals of a run: interrupts that lose little, workers that end with it."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Executor
from typing import Any

#: What a scheduler or a terminal ends a run with.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: One BLAS thread for each worker: several would fight for the cores.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Seconds that a worker may take to end by itself.
PATIENCE = 1.0


@contextlib.contextmanager
def terminated_as_interrupt() -> Iterator[None]:
    """Make SIGTERM raise what Ctrl-C raises."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def workers(count: int) -> Iterator[Executor | None]:
    """Give a pool of fresh processes; None for a single job, which needs none."""
    if count == 1:
        yield None
        return
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    others = set(multiprocessing.active_children())
    # Spawned, not forked: an engine's threads do not survive a fork.
    pool = ProcessPoolExecutor(count, multiprocessing.get_context("spawn"), _start)
    try:
        with _environment(dict.fromkeys(THREADS, "1")), _signals_held():
            # The first `count` calls start the processes, each with the signals held.
            for _ in range(count):
                pool.submit(_nothing)
        yield pool
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for process in set(multiprocessing.active_children()) - others:
            process.join(PATIENCE)
            process.kill()
        pool.shutdown()


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Let signals wait, here and in processes that are started meanwhile."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _start() -> None:
    """Prepare a worker: signals are its parent's, and so is stdout; it ends with its parent."""
    for number in SIGNALS:
        # Not SIG_IGN, which processes that the target starts would inherit.
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _nothing() -> None:
    """Do nothing, in a worker."""
