"""Worker processes that may die or hang alone; interrupts that lose little; Dask's workers."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import pickle
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Executor, Future
from typing import TYPE_CHECKING, Any

from npconv.oracle.run import Place, WorkerLostError, share

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

#: What a scheduler or a terminal ends a run with.
SIGNALS = (signal.SIGINT, signal.SIGTERM)

#: One BLAS thread for each worker: several would fight for the cores.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")

#: Seconds that one call of a target may take, unless another limit is given.
TIMEOUT = 60.0

#: Seconds that a worker may take to end by itself.
PATIENCE = 1.0

#: Seconds within which a cluster's scheduler must answer.
PATIENCE_TO_CONNECT = 10.0

#: The environment belongs to all threads of a process.
_STARTING = threading.Lock()


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


class Workers(Executor):
    """Processes, each of which may crash or hang without harm to the others and to this one.

    In the place of a result lost with its process comes `WorkerLostError`, and another process
    serves what follows. concurrent.futures' own pool breaks as a whole there, and does not say
    which call it was.

    Parameters
    ----------
    count : int, optional
        How many; each is started when it is first needed.
    timeout : float or None, optional
        Seconds that one call of an implementation's function may take; no limit for None.

    Examples
    --------
    >>> import npconv
    >>> from npconv.workers import Workers
    >>> with Workers(2, timeout=10) as executor:
    ...     npconv.check(npconv, "quick[::50]", executor=executor).ok
    True
    """

    def __init__(self, count: int = 1, timeout: float | None = TIMEOUT) -> None:
        from multiprocessing import util

        #: How many calls may well be submitted ahead of their results.
        self.ahead = 2 * count
        self._timeout = timeout
        self._tasks: queue.SimpleQueue[tuple[Future[Any], bytes] | None] = queue.SimpleQueue()
        self._workers: set[_Worker] = set()
        self._ended = self._ending = False
        self._lanes = [threading.Thread(target=self._serve, daemon=True) for _ in range(count)]
        # Before multiprocessing waits for its children, in a main process and in others.
        self._finalize = util.Finalize(None, self.end, exitpriority=10)
        for lane in self._lanes:
            lane.start()

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Future[Any]:
        """Call a function in a worker; what cannot be pickled raises here."""
        if self._ended:
            raise RuntimeError("the workers have ended")
        future: Future[Any] = Future()
        self._tasks.put((future, pickle.dumps((function, arguments, options))))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the workers when they have done what was submitted, or, with cancel, what they do."""
        self._ended = True
        if cancel_futures:
            with contextlib.suppress(queue.Empty):
                while True:
                    task = self._tasks.get_nowait()
                    if task is not None:
                        task[0].cancel()
        for _ in self._lanes:
            self._tasks.put(None)
        for lane in self._lanes if wait else ():
            lane.join()

    def hasten(self) -> None:
        """Let each worker end its stretch of cases after the one that it is at."""
        for worker in list(self._workers):
            worker.place[3] = 1

    def end(self) -> None:
        """End the workers now, whatever they do."""
        self._ending = True
        self.shutdown(wait=False, cancel_futures=True)
        limit = time.monotonic() + 1.5 * PATIENCE
        for lane in self._lanes:
            lane.join(max(0.0, limit - time.monotonic()))
        for worker in list(self._workers):
            worker.process.kill()
        for lane in self._lanes:
            lane.join()
        self._finalize.cancel()

    def _serve(self) -> None:
        """Serve calls with one process at a time."""
        worker: _Worker | None = None
        while (task := self._tasks.get()) is not None:
            future, call = task
            if not future.set_running_or_notify_cancel():
                continue
            try:
                if worker is None:
                    worker = _Worker()
                    self._workers.add(worker)
                if self._ending:
                    raise WorkerLostError("crashed", "the workers have ended")
                done, value = worker.call(call, self._timeout)
            except BaseException as error:  # noqa: BLE001  # it is the caller's
                done, value = False, error
                self._end(worker)
                worker = None
            if done:
                future.set_result(value)
            else:
                future.set_exception(value)
        self._end(worker)

    def _end(self, worker: _Worker | None) -> None:
        if worker is not None:
            worker.end()
            self._workers.discard(worker)


class _Worker:
    """One process, and the memory in which it says where it stands."""

    def __init__(self) -> None:
        import multiprocessing

        # Spawned, not forked: an engine's threads do not survive a fork.
        context = multiprocessing.get_context("spawn")
        self.place: Place = context.RawArray("q", 4)
        self.pipe: Connection
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(theirs, self.place))
        me = multiprocessing.current_process()
        with _STARTING, _environment(dict.fromkeys(THREADS, "1")), _signals_held():
            # A daemon, as Dask's workers are, may have children too: these end with it.
            daemon, me.daemon = me.daemon, False
            try:
                self.process.start()
            finally:
                me.daemon = daemon
        theirs.close()

    def call(self, call: bytes, timeout: float | None) -> tuple[bool, Any]:
        """Return whether the call returned, and what it returned or raised."""
        from multiprocessing.connection import wait

        limit = math.inf if timeout is None else timeout
        pause = None if timeout is None else min(0.25, timeout / 10)
        calls, began = 0, 0.0
        self.place[3] = 0
        try:
            self.pipe.send_bytes(call)
            while not wait([self.pipe, self.process.sentinel], pause):
                now = time.monotonic()
                # Odd: in a call, which began when this number was first seen; no clock is shared.
                if self.place[2] != calls or calls % 2 == 0:
                    calls, began = self.place[2], now
                elif now - began > limit:
                    self.process.kill()
                    said = f"no answer within {timeout:g} s"
                    raise WorkerLostError.at(self.place, "timeout", said)
            answer = self.pipe.recv_bytes()
        except (EOFError, OSError):
            self.process.join()
            raise WorkerLostError.at(self.place, "crashed", _death(self.process.exitcode)) from None
        return _read(answer)

    def end(self) -> None:
        """Ask the process to end, then make it."""
        self.pipe.close()
        self.process.join(PATIENCE)
        self.process.kill()
        self.process.join()


def _death(code: int | None) -> str:
    """Say how a process ended."""
    if code is None or code >= 0:
        return f"its process ended with exit status {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", as by a system that is out of memory" if name == "SIGKILL" else ""
    return f"its process was killed by {name}{hint}"


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


def _work(pipe: Connection, place: Place) -> None:
    """Serve calls until the parent's end of the pipe closes: a worker's whole life."""
    _start()
    share(place)
    with contextlib.suppress(EOFError, OSError):
        while True:
            pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(call: bytes) -> bytes:
    """Return whether a call returned, with what it returned or raised, as bytes for `_read`."""
    try:
        function, arguments, options = pickle.loads(call)
        return pickle.dumps((True, pickle.dumps(function(*arguments, **options)), ""))
    except BaseException as error:  # noqa: BLE001  # it goes to the caller
        text = traceback.format_exc()
        packed = b""
        # An exception of any class may be one that cannot travel.
        with contextlib.suppress(Exception):
            error.add_note(f"\nIn a worker process:\n{text}")
            packed = pickle.dumps(error)
        return pickle.dumps((False, packed, text))


def _read(answer: bytes) -> tuple[bool, Any]:
    """Return whether a call returned, and what it returned or raised.

    What cannot be read here, as of a class that only the worker has, is a RuntimeError.
    """
    done, packed, text = pickle.loads(answer)
    try:
        value = pickle.loads(packed)
        if done or isinstance(value, BaseException):
            return done, value
    except Exception as error:  # noqa: BLE001  # a class may raise anything as it is read
        text = text or f"a result cannot be read: {type(error).__name__}: {error}"
    return False, RuntimeError(text)


def _start() -> None:
    """Prepare a worker: signals are its parent's, and so is stdout; it ends with its parent."""
    for number in SIGNALS:
        # Not SIG_IGN, which processes that the target starts would inherit.
        signal.signal(number, lambda *_: None)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    # What C code prints too: standard output is the report's.
    with contextlib.suppress(OSError):
        os.dup2(2, 1)
    sys.stdout = sys.stderr
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    import multiprocessing

    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@contextlib.contextmanager
def workers(count: int, timeout: float | None) -> Iterator[Executor | None]:
    """Give workers that are ended on the way out, whatever they do."""
    pool = Workers(count, timeout)
    try:
        yield pool
    finally:
        pool.end()


@contextlib.contextmanager
def cluster(address: str, timeout: float | None) -> Iterator[Executor]:
    """Give the workers of a Dask cluster.

    Dask runs again what a lost worker was at. A target that crashes or hangs is not to cost the
    cluster its workers, so each of them calls it in a process of its own.

    Raises
    ------
    ValueError
        If the package distributed is missing, or there is no scheduler at the address.
    """
    try:
        from distributed import Client, KilledWorker
    except ModuleNotFoundError:
        raise ValueError(
            "--dask needs the package distributed: pip install 'npconv[dask]'"
        ) from None
    try:
        client = Client(address, timeout=PATIENCE_TO_CONNECT)
    except (OSError, ValueError) as error:
        raise ValueError(f"--dask {address}: {error}") from None
    try:
        yield _Cluster(client.get_executor(pure=False), sum(client.nthreads().values()), timeout)
    except KilledWorker as error:
        raise BrokenExecutor(f"Dask gave up on a stretch whose workers died: {error}") from None
    finally:
        client.close()


class _Cluster(Executor):
    """Dask's executor, with each call in a process of its own."""

    def __init__(self, executor: Executor, threads: int, timeout: float | None) -> None:
        self._executor, self._timeout = executor, timeout
        self.ahead = 2 * max(threads, 4)

    def submit(
        self, function: Callable[..., Any], /, *arguments: Any, **options: Any
    ) -> Future[Any]:
        """Call a function somewhere on the cluster."""
        call = functools.partial(function, *arguments, **options)
        return self._executor.submit(isolated, self._timeout, call)


_mine = threading.local()


def isolated(timeout: float | None, call: Callable[[], Any]) -> Any:
    """Make a call in a process of this thread's own, which stays for the next call."""
    if not hasattr(_mine, "workers"):
        _mine.workers = Workers(1, timeout)
    return _mine.workers.submit(call).result()
