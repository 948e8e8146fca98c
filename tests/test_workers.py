"""Worker processes: a target that misbehaves costs its own case, and no other is lost."""

import collections
import importlib
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import npconv
from npconv import adapters
from npconv.oracle.cases import Case
from npconv.oracle.protocol import OPS, Implementation
from npconv.oracle.report import Tally
from npconv.oracle.run import Ending, Plan, WorkerLostError, run
from npconv.oracle.suites import suite_named
from npconv.workers import THREADS, Workers, cluster, workers

# pytest's names of test files mean nothing to a worker.
sys.path.append(str(Path(__file__).parent))
tasks = importlib.import_module("worker_tasks")
where, misbehave, nested = tasks.where, tasks.misbehave, tasks.nested
found_nothing = tasks.found_nothing

#: The same on every NumPy.
pytestmark = pytest.mark.once

#: npconv, but for what stands in place of the dots where one out and one gradient call misbehave.
TARGET = """
import ctypes, os, sys, time
import numpy as np
import npconv

calls = 0

def forward_of(result, x, w):
    {forward}
    return result

def gradients_of(results, x, w):
    {gradients}
    return results

def conv2d(x, w, b, *rest):
    global calls
    calls += 1
    result = npconv.conv2d(x, w, b, *rest)
    return forward_of(result, x, w) if w.shape[2:] == (2, 3) else result

def conv2d_backward(g, x, w, *rest):
    results = npconv.conv2d_backward(g, x, w, *rest)
    return gradients_of(results, x, w) if w.shape[2:] == (2, 3) else results
"""

#: Name, what the output does, what the gradients do, the kinds that each then fails with.
WAYS = [
    ("crashes", "ctypes.string_at(0)", "ctypes.string_at(0)", "crashed", "crashed"),
    ("crashes in one", "pass", "ctypes.string_at(0)", None, "crashed"),
    ("ends its process", "os._exit(3)", "os._exit(0)", "crashed", "crashed"),
    ("is killed", "os.kill(os.getpid(), 9)", "pass", "crashed", None),
    ("hangs", "time.sleep(600)", "pass", "timeout", None),
    ("hangs in both", "time.sleep(600)", "time.sleep(600)", "timeout", "timeout"),
    ("prints", "print('noise'); os.write(1, b'noise')", "os.write(1, b'noise')", None, None),
    ("exits", "sys.exit(0)", "sys.exit('no')", "raised", "raised"),
    ("raises", "raise MemoryError", "raise RecursionError('deep')", "raised", "raised"),
    ("returns junk", "return 'junk'", "return ('junk',) * 3", "type", "type"),
    ("returns too few", "return None", "return results[:2]", "type", "type"),
    ("is of another dtype", "return result.astype(complex)", "pass", "dtype", None),
]


def asked(suite: str) -> list[Case]:
    """Cases of a suite that are asked of a target with an output and gradients."""
    supports = Implementation.of(npconv, "npconv").supports
    cases = suite_named(suite)
    return [case for case in map(cases.__getitem__, range(len(cases))) if supports.asks(case)]


def is_odd(case: Case) -> bool:
    """Whether the target misbehaves on a case, in whatever it is asked."""
    return case.illegal is None and case.kernel == (2, 3)


LEGAL = [case for case in asked("quick") if case.illegal is None and case.mask == "111"]
ODD = [case.id for case in LEGAL if is_odd(case)][:3]
PLAIN = [case.id for case in LEGAL if not is_odd(case)][:60]
#: Some that misbehave among others: one at the beginning, two in the middle, none at the end.
IDS = (ODD[0], *PLAIN[:4], ODD[1], ODD[2], *PLAIN[4:9])


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in an empty folder, with nothing loaded from another one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    npconv.oracle.run._loaded.cache_clear()
    return tmp_path


def written(forward: str = "pass", gradients: str = "pass") -> str:
    """Write a target, and return its name."""
    Path("target.py").write_text(
        TARGET.format(forward=forward, gradients=gradients), encoding="utf-8"
    )
    return "target.py"


def counted(tally: Tally) -> dict[str, Any]:
    """All of a tally but the seconds."""
    return {key: value for key, value in vars(tally).items() if not key.endswith("seconds")}


@pytest.mark.parametrize("jobs", [1, 2])
@pytest.mark.parametrize(
    ("forward", "gradients", "forward_kind", "gradients_kind"),
    [way[1:] for way in WAYS],
    ids=[way[0] for way in WAYS],
)
def test_misbehaving_target_ends_in_a_right_report(
    jobs: int, forward: str, gradients: str, forward_kind: str | None, gradients_kind: str | None
) -> None:
    """What the target does in a call is that case's failure; all other results pass, each once."""
    plan = Plan(adapters.load, written(forward, gradients), IDS)
    tally = Tally()
    with workers(jobs, 1.0) as executor:
        assert not run(plan, tally, executor=executor, stretch=5)
    assert (tally.done, tally.cases, tally.results) == ([(0, 12)], 12, 48)
    kinds = dict.fromkeys(OPS, gradients_kind) | {"forward": forward_kind}
    for op, kind in kinds.items():
        failures = [failure for failure in tally.failures if failure.op == op]
        assert sorted(failure.case for failure in failures) == (sorted(ODD) if kind else [])
        assert {failure.kind for failure in failures} == ({kind} if kind else set())
        assert tally.counts[op]["passed"] == 12 - len(failures)
        assert tally.failed.get(op, []) == ([(0, 1), (5, 7)] if kind else [])


def test_timeout_limits_one_call_and_not_a_stretch() -> None:
    """Calls that take longer together than the limit pass where each of them is within it."""
    plan = Plan(adapters.load, written("time.sleep(0.3)"), IDS, ops=("forward",))
    tally = Tally()
    with Workers(1, timeout=1.0) as executor:
        began = time.monotonic()
        assert not run(plan, tally, executor=executor)
        assert time.monotonic() - began > 3 * 0.3
    assert tally.counts["forward"]["passed"] == len(IDS)


def test_message_of_a_lost_worker_names_function_and_end() -> None:
    """The signal by name, the exit status, the limit: each with the function that was called."""
    found = {}
    for way in ("ctypes.string_at(0)", "os._exit(3)", "os.kill(os.getpid(), 9)", "time.sleep(60)"):
        plan = Plan(adapters.load, written(gradients=way), (ODD[0],))
        npconv.oracle.run._loaded.cache_clear()
        tally = Tally()
        with workers(1, 0.5) as executor:
            run(plan, tally, executor=executor)
        (found[way],) = {failure.message for failure in tally.failures}
    assert list(found.values()) == [
        "conv2d_backward: its process was killed by SIGSEGV",
        "conv2d_backward: its process ended with exit status 3",
        "conv2d_backward: its process was killed by SIGKILL, as by a system that is out of memory",
        "conv2d_backward: no answer within 0.5 s",
    ]


def test_each_gradient_function_is_blamed_for_its_own() -> None:
    """Where the gradients are functions of their own, a crash of one leaves the others."""
    Path("target.py").write_text(
        "import os\nfrom npconv import conv2d, conv2d_weight, conv2d_input, conv2d_bias\n"
        "def conv2d_weight(*_): os._exit(1)\n",
        encoding="utf-8",
    )
    tally = Tally()
    with workers(1, 5.0) as executor:
        run(Plan(adapters.load, "target.py", tuple(PLAIN[:3])), tally, executor=executor)
    assert tally.counts["grad_weight"]["failed"] == 3
    for op in ("forward", "grad_input", "grad_bias"):
        assert tally.counts[op]["passed"] == 3


@pytest.mark.parametrize("way", ["os._exit(1)", "time.sleep(600)"])
def test_run_gives_up_in_workers(monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A target that crashes or hangs in every call ends the run early, the rest not called."""
    monkeypatch.setattr("npconv.oracle.run.LOST_IN_A_ROW", 3)
    Path("target.py").write_text(f"import os, time\ndef conv2d(*_): {way}\n", encoding="utf-8")
    tally = Tally()
    with workers(2, 0.5) as executor:
        plan = Plan(adapters.load, "target.py", "quick")
        assert run(plan, tally, executor=executor, stretch=20) == Ending.GAVE_UP
    assert 3 <= tally.counts["forward"]["failed"] <= 3 + 4
    assert tally.counts["forward"]["failed"] == tally.cases


# ------------------------------------------------------------------- the executor


def test_workers_go_on_after_what_cannot_be_answered() -> None:
    """An error, one that cannot travel, a result that cannot, a death: then the next call runs."""
    with Workers(1) as executor:
        first, threads = executor.submit(where).result()
        assert first != os.getpid()
        assert threads == ["1"] * len(THREADS)
        with pytest.raises(ValueError, match="wrong") as caught:
            executor.submit(misbehave, "raise").result()
        assert "in misbehave" in "".join(caught.value.__notes__)
        with pytest.raises(RuntimeError, match="LocalError: here only"):
            executor.submit(misbehave, "local").result()
        with pytest.raises((TypeError, RuntimeError), match="pickle"):
            executor.submit(misbehave, "lock").result()
        with pytest.raises(RuntimeError, match="OwnError: of a class that only the worker has"):
            executor.submit(misbehave, "foreign").result()
        with pytest.raises(RuntimeError, match="a result cannot be read: ModuleNotFoundError"):
            executor.submit(misbehave, "foreign result").result()
        assert executor.submit(where).result()[0] == first
        with pytest.raises(WorkerLostError, match="exit status 5") as lost:
            executor.submit(misbehave, "die").result()
        assert lost.value.position is None
        second = executor.submit(where).result()[0]
        assert second not in (first, os.getpid())
        assert list(executor.map(where, range(5))) == [(second, ["1"] * len(THREADS))] * 5
        with pytest.raises(AttributeError, match="local object"):
            executor.submit(lambda: None)
    with pytest.raises(RuntimeError, match="have ended"):
        executor.submit(where)


def test_workers_end_though_they_hang() -> None:
    """Workers that are stuck are ended soon, what waits is cancelled, and no process stays."""
    with workers(2, None) as executor:
        assert executor is not None
        pids = [executor.submit(where).result()[0]]
        stuck = [executor.submit(misbehave, "hang") for _ in range(2)]
        waiting = executor.submit(where)
        time.sleep(0.5)
        began = time.monotonic()
    assert time.monotonic() - began < 15
    assert all(isinstance(future.exception(), WorkerLostError) for future in stuck)
    assert waiting.cancelled()
    assert not any(alive(pid) for pid in pids)


def alive(pid: int) -> bool:
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_daemon_may_isolate_too() -> None:
    """A worker whose process is a daemon starts one of its own, which ends with it."""
    with Workers(1) as executor:
        own, _ = executor.submit(where).result()
        inner = executor.submit(nested).result()
        assert inner not in (own, os.getpid())
        assert executor.submit(nested).result() == inner
    end = time.monotonic() + 20
    while alive(inner):
        assert time.monotonic() < end
        time.sleep(0.05)


# ------------------------------------------------------------------ library and command


def test_check_goes_on_where_a_pool_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A pool that breaks as a whole costs no result but those of the cases that break it."""
    monkeypatch.setattr("npconv.oracle.check._findings", found_nothing)
    kernel = tasks.deadly
    with ProcessPoolExecutor(1) as pool:
        report = npconv.check(kernel, IDS, executor=pool)
        with pytest.raises(BrokenExecutor):
            pool.submit(where).result()
    assert (report.tally.done, report.tally.cases) == ([(0, 12)], 12)
    assert collections.Counter(f.kind for f in report.failures) == {"crashed": 3}
    assert report.tally.counts["forward"]["passed"] == 9


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    path = os.pathsep.join(
        [str(Path(npconv.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    )
    return subprocess.run(
        [sys.executable, "-m", "npconv", *arguments],
        capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_command_survives_a_target_that_crashes_and_prints() -> None:
    """The report is right and alone on stdout; the command it prints shows where it crashes."""
    loud = "os.write(1, b'noise'); ctypes.CDLL(None).puts(b'noise'); ctypes.string_at(0)"
    written(loud)
    ended = command("check", "target.py", "--suite", "quick[:120]", "--json", "report.json")
    assert ended.returncode == 1
    found = json.loads(Path("report.json").read_text(encoding="utf-8"))
    cases = asked("quick[:120]")
    odd = sum(map(is_odd, cases))
    assert (found["done"], found["cases"]) == ([[0, 120]], len(cases))
    assert found["ops"]["forward"]["failed"] == found["failures_total"] == odd > 0
    assert {failure["kind"] for failure in found["failures"]} == {"crashed"}
    assert found["arithmetic"]["forward"]
    assert "noise" not in ended.stdout
    assert "noise" in ended.stderr
    (repeat,) = [line for line in ended.stdout.splitlines() if line.startswith("  repeat: ")]
    again = command(*shlex.split(repeat.removeprefix("  repeat: npconv ")))
    assert again.returncode == 1
    assert again.stdout.startswith("case n")
    assert again.stdout.endswith("crashed\n  conv2d: its process was killed by SIGSEGV\n")
    assert re.search(r'target\.py", line \d+ in forward_of$', again.stderr, re.MULTILINE)


def test_command_limits_the_time_of_a_call() -> None:
    """--timeout ends a call that hangs; the case is a timeout, in a suite and alone."""
    written("time.sleep(600)")
    ended = command("check", "target.py", "--timeout", "0.5", "--case", ODD[0])
    assert ended.returncode == 1
    assert ended.stdout.endswith("timeout\n  conv2d: no answer within 0.5 s\n")


# -------------------------------------------------------------------------- Dask


def test_cluster_that_loses_a_worker_loses_no_result() -> None:
    """With a worker of a Dask cluster killed in the middle, each case is counted once."""
    distributed = pytest.importorskip("distributed", reason="needs distributed, of npconv[dask]")
    Path("target.py").write_text(
        """
import os, time
import npconv
from npconv import conv2d_backward

def conv2d(x, w, b, *rest):
    time.sleep(0.02)
    if w.shape[2:] == (2, 3):
        os._exit(1)
    return npconv.conv2d(x, w, b, *rest)
""",
        encoding="utf-8",
    )
    plan = Plan(
        adapters.load, str(Path("target.py").absolute()), (*PLAIN[:30], ODD[0], *PLAIN[30:])
    )
    here, there, killed = Tally(), Tally(), []
    with workers(1, 5.0) as executor:
        assert not run(plan, here, executor=executor)
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as local:

        def progress(tally: Tally) -> None:
            if not killed and tally.positions > 20:
                (name, nanny), *_ = local.workers.items()
                killed.append(name)
                os.kill(nanny.pid, signal.SIGKILL)

        with cluster(local.scheduler_address, 5.0) as executor:
            assert not run(plan, there, executor=executor, stretch=4, progress=progress)
    assert killed
    assert counted(there) == counted(here)
    assert there.counts["forward"]["failed"] == 1


def test_cluster_needs_a_scheduler(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package, or with nobody at the address, one line says so."""
    monkeypatch.setattr("npconv.workers.PATIENCE_TO_CONNECT", 0.5)
    with pytest.raises(ValueError, match="--dask ") as caught, cluster("127.0.0.1:9", 1.0):
        pass
    assert "\n" not in str(caught.value)
