"""The command line as a user meets it: statuses, what is printed where, interrupts, reports."""

import contextlib
import errno
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import npconv
from npconv import cli
from npconv.adapters import NAMES
from npconv.cli import main
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

#: The same on every NumPy.
pytestmark = pytest.mark.once

SHARE = "quick[::40]"
LENGTH = len(suite_named(SHARE))

CONFORMING = "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m110-float32-packed-integers-seed0"
ILLEGAL = "n2c4f6g2-7x9-k3x2-s0x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
FOUR_SIDED = "n2c4f6g2-7x9-k3x2-s2x1-p1_1x0_0-d1x2-bias-m111-float32-packed-integers-seed0"

RIGHT = "from npconv import conv2d\n"
WRONG = """
import npconv

def conv2d(x, w, b, stride, padding, dilation, groups):
    return npconv.conv2d(x, w, None, stride, padding, dilation, groups)
"""
LATE = """
import pathlib
import time

import npconv

calls = 0

def conv2d(*arguments):
    global calls
    calls += 1
    if calls == 12:
        pathlib.Path("running").touch()
    time.sleep(0.02)
    return npconv.conv2d(*arguments)
"""
#: Hangs in a call when the process has made some.
HANGING = LATE.replace("0.02", "600 if calls >= 12 else 0.001")
#: npconv from wherever these tests have it, on one thread.
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": os.pathsep.join(
        filter(None, [str(Path(npconv.__file__).parents[1]), os.environ.get("PYTHONPATH")])
    ),
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "COLUMNS": "80",
}
COMMAND = [sys.executable, "-m", "npconv"]

needs_proc = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="reads from /proc which processes are left"
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with targets of each kind; do without what takes seconds after a run.

    Here the target runs in this process; `npconv_there` has worker processes.
    """
    monkeypatch.setattr(cli, "workers", lambda *_: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr("npconv.oracle.check.probe", lambda *_: {})
    npconv.oracle.run._loaded.cache_clear()
    for name, text in {
        "right.py": RIGHT,
        "wrong.py": WRONG,
        "late.py": LATE,
        "hanging.py": HANGING,
        "none.py": "def conv2d(*_): raise NotImplementedError('not yet')\n",
        "raising.py": "def conv2d(*_):\n    return helper()\n\ndef helper():\n    return absent\n",
        "broken.py": "import math\n\nmath.absent\n",
        "ending.py": "import sys\nsys.exit(0)\n",
        "quitting.py": "import sys\ndef conv2d(*_): sys.exit(0)\n",
    }.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


class Ended:
    """What a command gave: status, stdout, stderr."""

    def __init__(self, status: int, out: str, err: str) -> None:
        """Take the three."""
        self.status, self.out, self.err = status, out, err


@pytest.fixture
def npconv_here(capfd: pytest.CaptureFixture[str]) -> Any:
    """Run the command line in this process."""

    def call(*arguments: str) -> Ended:
        try:
            status = main(arguments)
        except SystemExit as error:  # argparse's own
            status = int(error.code or 0)
        return Ended(status, *capfd.readouterr())

    return call


def started(*arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start the command line in a process, which leads a process group of its own."""
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, **options}
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=ENVIRONMENT,
        start_new_session=True,
        preexec_fn=heeding,  # noqa: PLW1509  # no thread runs here
        **pipes,
    )


def heeding() -> None:
    """Heed Ctrl-C, also where these tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def npconv_there(*arguments: str) -> Ended:
    """Run the command line in a process of its own."""
    with started(*arguments) as process:
        out, err = process.communicate(timeout=120)
    return Ended(process.returncode, out, err)


def last_line(text: str) -> str:
    """The last line of a text."""
    return text.rstrip().splitlines()[-1]


# ---------------------------------------------------------------- exit statuses


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        (["check", "right.py", "--suite", SHARE], 0, ""),
        (["check", "wrong.py", "--suite", SHARE], 1, ""),
        (["check", "zzz.py", "--suite", SHARE], 2, "npconv: there is no file 'zzz.py'\n"),
        (["check", "right.py", "--case", CONFORMING], 0, ""),
        (["check", "wrong.py", "--case", CONFORMING], 1, ""),
        (["check", "quitting.py", "--case", CONFORMING], 1, ""),
        (["list", "--suite", SHARE], 0, ""),
    ],
)
def test_process_ends_with_the_status(arguments: list[str], status: int, says: str) -> None:
    """The statuses of the contract are those of the process; a verdict puts nothing on stderr."""
    ended = npconv_there(*arguments)
    assert (ended.status, ended.err) == (status, says)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("check", "npconv check: error: the following arguments are required: TARGET"),
        ("", "npconv: error: the following arguments are required: COMMAND"),
        ("chek right.py", "npconv: error: argument COMMAND: invalid choice: 'chek'"),
        ("check right.py --suite fast", "argument --suite: suite 'fast' must be one of quick, "),
        ("check right.py --suite quick[9:2]", "suite 'quick[9:2]' is empty: quick has"),
        ("check right.py --ops conv2d", "argument --ops: ops=['conv2d'] must list some of"),
        ("check right.py --ops forward,", "argument --ops: ops=['forward', ''] must list some"),
        ("check right.py --dtype float8", "argument --dtype: dtypes=['float8'] must list some"),
        ("check right.py --max-failures 0", "'0' must be a number from 1 up"),
        ("check right.py -j two", "argument -j/--jobs: 'two' must be a number from 1 up"),
        ("check right.py -j 99999999999", "'99999999999' must be a number from 1 to 1,024"),
        ("check right.py --timeout 0", "argument --timeout: '0' must be a number of seconds above"),
        ("check right.py --timeout soon", "'soon' must be a number of seconds above 0"),
        ("check right.py --timeout inf", "'inf' must be a number of seconds above 0"),
        ("check right.py --shard 3/2", "argument --shard: '3/2' must be I/N, a part from 1 to N"),
        ("check right.py --shard 0/2", "argument --shard: '0/2' must be I/N"),
        ("check right.py --shard 1", "argument --shard: '1' must be I/N"),
        ("check right.py --without group", "argument --without: condition 'group': no 'group'; "),
        ("check right.py --dask a:1 -j 2", "--dask runs on the cluster's workers: it goes without"),
        ("merge", "npconv merge: error: the following arguments are required: REPORT"),
        ("check right.py --sui quick", "error: unrecognized arguments: --sui quick"),
        ("check absent.py", "npconv: there is no file 'absent.py'"),
        ("check right.py:absent", "target 'right.py:absent': right.py has no attribute 'absent'"),
        ("check right", "npconv: target 'right' must be one of definition, formulas, jax, "),
        ("check absent:conv2d", "there is no module 'absent'"),
        ("check right.py --ops grad_bias", "right.py has none of the operations asked for: grad_b"),
        ("check right.py --dtype int8", "supports dtypes float32, float64, none of those asked"),
        ("check none.py", "npconv: nothing was run: every case is unsupported, or outside"),
        ("check right.py --json absent/report.json", "--json absent/report.json: it is a folder"),
        ("check right.py --json .", "npconv: --json .: it is a folder, not writable, or in no"),
        ("check right.py --resume absent.json", "npconv: --resume: 'absent.json': No such file or"),
        ("check right.py --resume right.py", "--resume: right.py is not a report of npconv check"),
        ("check right.py --case ''", "npconv: case id '' must look like n2c4f6g2-7x9"),
        ("check right.py --case conv", "npconv: case id 'conv' must look like n2c4f6g2-7x9"),
        (
            "check right.py --case "
            + CONFORMING.replace(CONFORMING.split("-")[1], "99999999999x9999999999"),
            "0 is too large",
        ),
        (f"check right.py --case {FOUR_SIDED}", "right.py is not asked this case: it lies outside"),
        (f"check none.py --case {CONFORMING}", "npconv: nothing was run: the case is unsupported"),
        (f"check right.py --case {CONFORMING} --json a.json", "it goes without --json"),
        (f"check right.py --case {CONFORMING} -x", "it goes without --max-failures"),
        (
            f"check right.py --case {CONFORMING.replace('p1x0', 'p100000000x0')}",
            "is too large: its",
        ),
        ("check right.py --json ''", "argument --json: '' must be the name of a file"),
        ("check right.py --junit ''", "argument --junit: '' must be the name of a file"),
        ("check right.py --html ''", "argument --html: '' must be the name of a file"),
        ("check right.py --resume ''", "argument --resume: '' must be the name of a file"),
        ("check right.py --expect ''", "argument --expect: '' must be the name of a file"),
        ("check right.py --write-expect ''", "argument --write-expect: '' must be the name"),
        ("check right.py --cases ''", "argument --cases: '' must be the name of a file"),
        ("merge --json '' a.json", "argument --json: '' must be the name of a file"),
        ("list --suite all", "argument --suite: suite 'all' must be one of quick, standard"),
    ],
)
def test_what_cannot_be_run_gives_status_2_and_one_line(
    npconv_here: Any, arguments: str, says: str
) -> None:
    """A bad option, a target that is none and an empty run end with 2; the last line says why."""
    options = shlex.split(arguments)
    if options[:1] == ["check"] and "--suite" not in options:
        options += ["--suite", SHARE]
    ended = npconv_here(*options)
    assert ended.status == 2
    assert says in ended.err
    assert ended.err.count("\n") == 1


def test_a_run_that_ends_early_for_no_reason_is_not_green(
    npconv_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cases that nobody asked make the status 2, though all that were finished conform."""

    def half(plan: Plan, tally: Tally, **options: Any) -> Any:
        return run(replace(plan, shard=(1, 2)), tally, **options)

    monkeypatch.setattr(cli, "run", half)
    ended = npconv_here("check", "right.py", "--suite", SHARE)
    assert ended.status == 2
    assert re.search(r"npconv: \d+ cases not reached: nothing says why\Z", ended.err.rstrip())


def test_import_that_hangs_ends_the_command(folder: Path) -> None:
    """An import is waited for a minute, or as long as a call where that is longer."""
    text = "import time\ntime.sleep(600)\n"
    (folder / "hanging.py").write_text(text, encoding="utf-8")
    code = (
        "import sys; from npconv import cli; cli.IMPORT = 0.5; "
        "sys.exit(cli.main(['check', 'hanging.py', '--timeout', '1']))"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr == (
        "npconv: target 'hanging.py': its import has not ended within 1 s; --timeout SECONDS gives "
        "it longer\n"
    )


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_target_that_raises_at_import_shows_its_own_traceback(jobs: str) -> None:
    """The user's traceback is shown, without a frame of npconv, and the status is 2."""
    ended = npconv_there("check", "broken.py", "-j", jobs)
    assert ended.status == 2
    assert ended.out == ""
    assert ended.err.splitlines()[:2] == [
        "npconv: target 'broken.py' cannot be imported",
        "Traceback (most recent call last):",
    ]
    assert ended.err.count("  File ") == 1
    assert 'broken.py", line 3, in <module>' in ended.err
    assert "AttributeError: module 'math' has no attribute 'absent'" in last_line(ended.err)


def test_target_that_ends_python_at_import_gives_status_2() -> None:
    """A script without a main guard ends the command with 2 and a reason, not silently with 0."""
    ended = npconv_there("check", "ending.py")
    assert ended.status == 2
    assert ended.err.startswith(
        "npconv: target 'ending.py' ended Python while it was imported (a script's own run belongs"
    )


def test_target_that_crashes_at_import_gives_status_2() -> None:
    """A target that ends its process while it is imported is named, in one line."""
    Path("dead.py").write_text("import os\nos._exit(7)\n", encoding="utf-8")
    ended = npconv_there("check", "dead.py")
    assert (ended.status, ended.out) == (2, "")
    assert ended.err == (
        "npconv: target 'dead.py' crashed at import: its process ended with exit status 7\n"
    )


def test_target_that_ends_python_in_a_call_fails(npconv_here: Any) -> None:
    """sys.exit in a call is a failure 'raised' of every case, and the run goes on."""
    ended = npconv_here("check", "quitting.py", "--suite", SHARE)
    assert ended.status == 1
    assert "of kind 'raised'" in ended.out
    assert "  SystemExit: 0\n" in ended.out


def test_fault_of_npconv_is_no_verdict(npconv_here: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of npconv's own ends with 2 and its traceback, never with 1."""

    def fault(*_: Any) -> Any:
        raise RuntimeError("planted")

    monkeypatch.setattr("npconv.oracle.run.run_case", fault)
    ended = npconv_here("check", "right.py", "--suite", SHARE)
    assert ended.status == 2
    assert "RuntimeError: planted\n" in ended.err
    assert last_line(ended.err) == "npconv: this is a fault of npconv, not of the target"


# -------------------------------------------------------------- what is printed


def test_verdict_of_a_conforming_target(npconv_here: Any) -> None:
    """Versions, suite and target come first, then the counts, last that all cases conform."""
    ended = npconv_here("check", "right.py", "--suite", SHARE)
    first, *_, verdict = ended.out.splitlines()
    assert first.startswith(f"npconv {npconv.__version__} checks right.py on {SHARE}: {LENGTH} cas")
    assert re.search(r"^forward +\d+ +0 +0$", ended.out, re.MULTILINE)
    assert re.search(r"^grad_input +0 +0 +0$", ended.out, re.MULTILINE)
    assert re.fullmatch(
        r"All \d+ cases conform \(\d+ s, \d+ % of the work npconv's own\)\.", verdict
    )
    assert ended.err == ""


def test_cases_that_are_not_asked_are_mentioned(npconv_here: Any) -> None:
    """The cases that ran and those that were not asked make up the suite."""
    out = npconv_here("check", "right.py", "--suite", SHARE).out
    left = re.search(
        r"^Not asked: (\d+) cases: .* padding \d+.* \(outside of its `supports`\)",
        out,
        re.MULTILINE,
    )
    ran = re.search(r"All (\d+) cases conform", out)
    assert left
    assert ran
    assert int(left[1]) + int(ran[1]) == LENGTH


def test_failure_comes_with_the_command_that_repeats_it(npconv_here: Any, folder: Path) -> None:
    """Each kind of failure has its count, its plainest case, and a command that fails likewise."""
    target = folder / "a folder" / "it's wrong.py"
    target.parent.mkdir()
    target.write_text(WRONG, encoding="utf-8")
    ended = npconv_here("check", "a folder/it's wrong.py", "--suite", SHARE)
    assert ended.status == 1
    assert re.search(
        r"^forward: \d+ failures of kind 'values', the plainest case:$", ended.out, re.MULTILINE
    )
    assert re.search(r"^\d+ of \d+ results fail, in \d+ cases \(", last_line(ended.out))
    lines = [line for line in ended.out.splitlines() if line.startswith("  repeat: ")]
    assert lines
    for line in lines:
        command, *arguments = shlex.split(line.removeprefix("  repeat: "))
        assert command == "npconv"
        again = npconv_here(*arguments)
        assert again.status == 1
        assert "\nforward: " in again.out


def test_one_failure_is_told_in_the_singular(npconv_here: Any) -> None:
    """One result of one case is no plural."""
    position = next(
        i for i, case in enumerate(suite_named("quick")[p] for p in range(200))
        if case.illegal is None and case.bias and case.padding_form == "pair"
    )  # fmt: skip
    ended = npconv_here("check", "wrong.py", "--suite", f"quick[{position}:{position + 1}]")
    assert "on quick" in ended.out
    assert ": 1 case," in ended.out
    assert "forward: 1 failure of kind " in ended.out
    assert "1 of 1 result fail, in 1 case (" in ended.out


def test_case_that_conforms_is_shown(npconv_here: Any) -> None:
    """Arguments and parameters are shown with shapes and dtypes, and what masked gradients are."""
    (Path("both.py")).write_text("from npconv import conv2d, conv2d_backward\n", encoding="utf-8")
    ended = npconv_here("check", "both.py", "--case", CONFORMING)
    assert ended.status == 0
    blocks = ended.out.strip().split("\n\n")
    assert blocks[0] == f"case {CONFORMING}"
    for header in (
        "input (2, 4, 7, 9) float32\n",
        "weight (6, 2, 3, 2) float32\n",
        "bias (6,) float32\n",
        "grad_output (2, 6, 4, 7) float32\n",
        "stride=(2, 1) padding=(1, 0) dilation=(1, 2) groups=2 output_mask=(True, True, False)\n",
    ):
        assert f"\n{header}" in ended.out
    assert blocks[-4:] == [
        "forward: conforms",
        "grad_input: conforms",
        "grad_weight: conforms",
        "grad_bias: conforms (None, as output_mask wants it)",
    ]


def test_case_that_fails_shows_expected_and_actual(npconv_here: Any) -> None:
    """The worst element is named, and both arrays follow."""
    ended = npconv_here("check", "wrong.py", "--case", CONFORMING)
    assert ended.status == 1
    tail = ended.out[ended.out.index("\nforward: values\n") :]
    assert re.search(r"worst at \(\d, \d, \d, \d\): got -?[\d.e+]+, want -?[\d.e+]+", tail)
    expected, actual = tail.split("\nexpected\n")[1].split("\nactual\n")
    assert expected.startswith("[[[[")
    assert actual.startswith("[[[[")
    assert expected.strip() != actual.strip()


def test_case_that_raises_shows_the_users_traceback(npconv_here: Any) -> None:
    """The traceback begins in the user's file."""
    ended = npconv_here("check", "raising.py", "--case", CONFORMING)
    assert ended.status == 1
    tail = ended.out[ended.out.index("\nforward: raised\n") :]
    assert "  NameError: name 'absent' is not defined\n" in tail
    files = re.findall(r'  File ".*/(\w+\.py)", line (\d+), in (\w+)', tail)
    assert files == [("raising.py", "2", "conv2d"), ("raising.py", "5", "helper")]


def test_illegal_case_is_shown(npconv_here: Any) -> None:
    """The rule that is broken is named; who refuses conforms, who accepts fails."""
    ended = npconv_here("check", "right.py", "--case", ILLEGAL)
    rule = "stride=(0, 1) must be at least 1"
    assert ended.status == 0
    assert f"\nThe case is illegal, and must be refused: {rule}\n" in ended.out
    assert last_line(ended.out).startswith("forward: conforms (raised ValueError: conv2d: stride=")
    Path("accepting.py").write_text("def conv2d(*_): return None\n", encoding="utf-8")
    ended = npconv_here("check", "accepting.py", "--case", ILLEGAL)
    assert ended.status == 1
    assert f"forward: accepted\n  accepted an illegal case: {rule}\n" in ended.out


def test_enormous_case_is_refused_in_one_line(npconv_here: Any) -> None:
    """A case whose arrays no memory holds ends with 2."""
    case = CONFORMING.replace("7x9", f"{2**62}x9")
    ended = npconv_here("check", "right.py", "--case", case)
    assert ended.status == 2
    assert len(ended.err.splitlines()) == 1


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_what_the_target_prints_goes_to_stderr(jobs: str) -> None:
    """A target that prints at import and in calls leaves the report on stdout as it is."""
    text = "print('import')\nimport npconv\ndef conv2d(*a):\n    print('call')\n"
    Path("loud.py").write_text(f"{text}    return npconv.conv2d(*a)\n", encoding="utf-8")
    arguments = ("--suite", "quick[:20]", "-j", jobs)
    loud = npconv_there("check", "loud.py", *arguments)
    assert loud.status == 0
    assert "import" not in loud.out
    assert "call" not in loud.out
    assert "import\n" in loud.err
    assert loud.err.count("call") >= 20
    assert last_line(loud.out).startswith("All 20 cases conform")
    shown = npconv_there("check", "loud.py", "--case", CONFORMING)
    assert (shown.status, shown.err) == (0, "import\ncall\ncall\n")
    assert shown.out.startswith("case ")


def test_version_is_the_packages(npconv_here: Any) -> None:
    """--version prints name and version."""
    ended = npconv_here("--version")
    assert (ended.status, ended.out) == (0, f"npconv {npconv.__version__}\n")


def test_help_names_every_option(npconv_here: Any) -> None:
    """The help of the commands has targets, suites, options and exit statuses."""
    assert "check" in npconv_here("--help").out
    text = " ".join(npconv_here("check", "--help").out.split())
    text = text.replace("- ", "-")  # a name broken at its hyphen
    for word in (
        "TARGET", "--suite", "--ops", "--dtype", "--case", "-x", "--max-failures", "-j", "--json",
        "--resume", "--timeout", "--without", "--shard", "--dask", "default: 60",
        "quick (seconds), standard (about a minute, the default), exhaustive (hours)",
        f"{', '.join(NAMES)}, package.module:attribute or path/to/file.py[:attribute]",
        "exit status: 0 all conforms, 1 a case fails, 2 it could not run, 130 interrupted",
    ):  # fmt: skip
        assert word in text


def test_list_prints_the_ids_of_a_suite(npconv_here: Any) -> None:
    """`npconv list` prints one id a line, in the suite's order."""
    suite = suite_named(SHARE)
    ended = npconv_here("list", "--suite", SHARE)
    assert ended.out.splitlines() == [suite[position].id for position in range(len(suite))]


def test_list_into_head_is_quiet() -> None:
    """A reader that takes one line and goes ends the list without a word."""
    with started("list") as process:
        assert process.stdout
        assert re.match(r"n\d+c\d+f\d+g", process.stdout.readline())
        process.stdout.close()
        assert process.wait(timeout=60) == 0
        assert process.stderr
        assert process.stderr.read() == ""


def test_check_into_head_keeps_its_status() -> None:
    """A reader that takes one line and goes does not change the verdict."""
    with started("check", "wrong.py", "--suite", "quick[:30]", "--json", "report.json") as process:
        assert process.stdout
        assert process.stdout.readline().startswith("npconv ")
        process.stdout.close()
        assert process.wait(timeout=60) == 1
        assert process.stderr
        assert process.stderr.read() == ""
    assert json.loads(Path("report.json").read_text(encoding="utf-8"))["failures_total"] > 0


def test_check_without_a_reader_is_no_success() -> None:
    """Where nobody takes the first line, nothing is run and the status is not 0."""
    reading, writing = os.pipe()
    os.close(reading)
    with started("check", "right.py", "--suite", SHARE, stdout=writing) as process:
        os.close(writing)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (2, "")


# -------------------------------------------------------------- options of check


def test_operations_dtypes_and_failures_restrict_a_run(npconv_here: Any) -> None:
    """--ops, --dtype, -x and --max-failures do what they say, and the report is of that."""
    Path("both.py").write_text("from npconv import conv2d, conv2d_backward\n", encoding="utf-8")
    base = ("check", "both.py", "--suite", SHARE, "--json", "report.json")
    assert npconv_here(*base, "--ops", "grad_bias,forward", "--dtype", "float64").status == 0
    found = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert found["ops"]["forward"]["passed"] > 0
    assert found["ops"]["grad_bias"]["passed"] > 0
    assert found["ops"]["grad_input"]["passed"] == found["ops"]["grad_weight"]["passed"] == 0
    assert found["suite_digest"] != suite_named(SHARE).digest
    for option in (["-x"], ["--max-failures", "1"]):
        ended = npconv_here("check", "wrong.py", "--suite", "quick", *option)
        assert ended.status == 1
        assert re.search(
            r"^Ended early: [\d,]+ cases of [\d,]+ not reached\.$", ended.out, re.MULTILINE
        )


def test_jobs_change_nothing_but_the_time(npconv_here: Any) -> None:
    """With -j 2 the report is the one of a single job."""
    reports = []
    for jobs in ("1", "2"):
        ended = npconv_here(
            "check", "wrong.py", "--suite", SHARE, "-j", jobs, "--json", f"report{jobs}.json"
        )
        assert ended.status == 1
        reports.append(without_seconds(Path(f"report{jobs}.json")))
    assert reports[0] == reports[1]


def without_seconds(path: Path) -> dict[str, Any]:
    """A written report, without what no two runs share; diagnoses go as far as time allows."""
    found = json.loads(path.read_text(encoding="utf-8"))
    return {
        key: value for key, value in found.items() if "seconds" not in key and key != "diagnoses"
    }


def test_shards_merge_to_the_report_of_the_whole(npconv_here: Any) -> None:
    """The reports of three shards join to the report of one run, with its summary and status."""
    base = ("check", "wrong.py", "--suite", SHARE)
    assert npconv_here(*base, "--json", "whole.json").status == 1
    for part in (1, 2, 3):
        ended = npconv_here(*base, "--shard", f"{part}/3", "--json", f"{part}.json")
        assert ended.status == int("results fail" in ended.out)
        assert f": shard {part}/3, " in ended.out.splitlines()[0]
        assert "Ended early" not in ended.out
    ended = npconv_here("merge", "3.json", "1.json", "2.json", "--json", "joined.json")
    assert (ended.status, ended.err) == (1, "")
    assert without_seconds(Path("joined.json")) == without_seconds(Path("whole.json"))
    assert re.search(r"^\d+ of \d+ results fail, in \d+ cases", last_line(ended.out))
    assert "  repeat: npconv check wrong.py --case " in ended.out


@pytest.mark.parametrize(
    ("reports", "says"),
    [
        (["1.json", "1.json"], "npconv: 1.json and 1.json both hold case 0 of the suite"),
        (["1.json", "other.json"], "npconv: other.json is of another run: target 'none.py', not"),
        (["1.json", "right.py"], "npconv: right.py is not a report of npconv check"),
        (["1.json", "absent.json"], "npconv: 'absent.json': No such file or directory"),
        (["1.json", "2.json"], f"cases of {LENGTH} are in none of the reports"),
        (["1.json", "--json", "absent/a.json"], "npconv: --json absent/a.json: it is a folder"),
    ],
)
def test_reports_that_make_no_whole_give_status_2(
    npconv_here: Any, reports: list[str], says: str
) -> None:
    """Overlaps, another run, no report, a shard that is missing: status 2 and one line."""
    for part in (1, 2):
        base = ("--suite", SHARE, "--shard", f"{part}/3", "--json", f"{part}.json")
        assert npconv_here("check", "right.py", *base).status == 0
    npconv_here("check", "none.py", "--suite", SHARE, "--shard", "2/3", "--json", "other.json")
    ended = npconv_here("merge", *reports)
    assert ended.status == 2
    assert says in last_line(ended.err)
    assert len(ended.err.splitlines()) == 1


def test_features_left_out_are_counted_by_option(npconv_here: Any) -> None:
    """--without leaves out by name and by condition; the report says which option left out what."""
    options = ("--without", "groups", "--without", "kernel_h > 2", "--dtype", "float32")
    base = ("check", "right.py", "--suite", "quick[::4]", "--json", "report.json")
    ended = npconv_here(*base, *options)
    assert ended.status == 0
    found = json.loads(Path("report.json").read_text(encoding="utf-8"))
    suite = suite_named("quick[::4]")
    cases = [suite[position] for position in range(len(suite))]
    others = [case for case in cases if case.dtype == "float32"]
    grouped = [case for case in others if case.groups != 1]
    tall = [case for case in others if case.groups == 1 and case.kernel[0] > 2]
    counts = {
        "--dtype": len(cases) - len(others),
        "--without groups": len(grouped),
        "--without kernel_h > 2": len(tall),
    }
    assert {name: found["left_out"][name] for name in counts} == counts
    for name, count in counts.items():
        assert f"{name} {count}" in ended.out
    assert found["suite_digest"] != suite.digest
    assert npconv_here(*base, "--resume", "report.json").status == 2


def test_report_that_cannot_be_written_gives_status_2(
    npconv_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the disk is full at the end, the verdict is printed all the same."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "no space left on device", "report.json.17.part")

    monkeypatch.setattr("npconv.oracle.report.Report.write", full)
    monkeypatch.setattr(cli, "CHECKPOINT", 0.0)
    ended = npconv_here("check", "wrong.py", "--suite", SHARE, "--json", "report.json")
    assert ended.status == 2
    assert "results fail" in last_line(ended.out)
    path = Path("report.json").absolute()
    assert ended.err == (
        f"npconv: the report could not be written to {path}: no space left on device\n"
    )


@pytest.mark.parametrize("when", ["import", "call"])
def test_target_may_go_to_another_folder(npconv_here: Any, folder: Path, when: str) -> None:
    """A target that changes the working folder is found, and does not take the report along."""
    (folder / "sub").mkdir()
    text = "import os\nimport npconv\n"
    text += "os.chdir('sub')\n" if when == "import" else ""
    text += "def conv2d(*a):\n    os.chdir('/')\n    return npconv.conv2d(*a)\n"
    Path("moving.py").write_text(text, encoding="utf-8")
    for jobs in ("1", "2"):
        with contextlib.chdir(folder):
            arguments = ("--suite", "quick[:20]", "-j", jobs, "--json", "report.json")
            assert npconv_here("check", "moving.py", *arguments).status == 0
        (folder / "report.json").unlink()
    assert list(folder.rglob("report.json*")) == []


# -------------------------------------------------------------------- progress


def test_progress_is_lines_where_there_is_no_terminal(
    npconv_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CI a line now and then says how far the run is, how many failures, how long it takes."""
    monkeypatch.setattr(cli, "PROGRESS", 0.0)
    ended = npconv_here("check", "wrong.py", "--suite", SHARE)
    lines = ended.err.splitlines()
    assert len(lines) > 3
    form = rf"\d+ of {LENGTH} cases, \d+ failures?, about \d+ s left"
    assert all(re.fullmatch(form, line) for line in lines)
    assert lines[-1].startswith(f"{LENGTH} of {LENGTH} cases, ")


def test_unfinished_report_is_written_now_and_then(
    npconv_here: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a run goes on, its report so far is on disk."""
    seen = []
    real = npconv.oracle.report.Report.write

    def write(self: Any, path: Any) -> None:
        real(self, path)
        seen.append(json.loads(Path(path).read_text(encoding="utf-8"))["done"])

    monkeypatch.setattr("npconv.oracle.report.Report.write", write)
    monkeypatch.setattr(cli, "CHECKPOINT", 0.0)
    assert npconv_here("check", "right.py", "--suite", SHARE, "--json", "r.json").status == 0
    assert len(seen) > 3
    assert [done[0][0] for done in seen] == [0] * len(seen)
    assert seen == sorted(seen)
    assert seen[-1] == [[0, LENGTH]]


def test_progress_is_a_bar_on_a_terminal() -> None:
    """On a terminal there is a bar, which is gone when the report comes."""
    pytest.importorskip("tqdm", reason="draws the bar")
    fcntl, pty, termios = (
        pytest.importorskip(name, reason="terminals are made by POSIX systems")
        for name in ("fcntl", "pty", "termios")
    )
    ours, theirs = pty.openpty()
    # tqdm draws nothing on a terminal of no width.
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, (24).to_bytes(2, sys.byteorder) + b"\x50\0\0\0\0\0")
    with started("check", "right.py", "--suite", SHARE, stderr=theirs) as process:
        os.close(theirs)
        out, _ = process.communicate(timeout=60)
    drawn = b""
    with contextlib.suppress(OSError):  # how a terminal ends
        while chunk := os.read(ours, 4096):
            drawn += chunk
    os.close(ours)
    assert process.returncode == 0
    assert f"| {LENGTH}/{LENGTH} [" in drawn.decode() or f"/{LENGTH} [" in drawn.decode()
    assert drawn.decode().rsplit("\r", 2)[1].strip() == ""
    assert "case/s" not in out


# ------------------------------------------------------------------- interrupts


def left_over(group: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, leader = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
            if int(leader) == group and state not in "ZX":
                found.append(int(stat.parent.name))
    return found


def wait_until(condition: Any, seconds: float = 60.0) -> None:
    """Wait for a condition, a minute at the most."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


@contextlib.contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Start a check and wait until it is in the middle."""
    with started("check", *arguments, "--json", "report.json") as process:
        try:
            wait_until(lambda: Path("running").exists() or process.poll() is not None)
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@needs_proc
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
@pytest.mark.parametrize(
    ("jobs", "whole_group"), [("1", False), ("2", False), ("2", True)], ids=["1", "2", "all of 2"]
)
def test_interrupted_run_reports_and_leaves_no_process(
    number: signal.Signals, jobs: str, whole_group: bool
) -> None:
    """A signal to the process, or to all of its group, gives 130, a report, and no orphans."""
    with running("late.py", "--suite", "quick", "-j", jobs) as process:
        (os.killpg if whole_group else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
        wait_until(lambda: not left_over(process.pid))
    assert process.returncode == 130
    assert err == "npconv: interrupted\n"
    found = json.loads(Path("report.json").read_text(encoding="utf-8"))
    assert found["ops"]["forward"]["passed"] == found["cases"] >= 5
    assert sum(stop - start for start, stop in found["done"]) < len(suite_named("quick"))
    assert f"The {found['cases']} cases that were finished conform" in out
    assert re.search(r"^Ended early: [\d,]+ cases of [\d,]+ not reached\.$", out, re.MULTILINE)
    jobs_option = "" if jobs == "1" else "-j 2 "
    assert last_line(out) == (
        f"Go on with: npconv check late.py --suite quick {jobs_option}"
        "--json report.json --resume report.json"
    )


@needs_proc
def test_interrupt_ends_workers_that_hang() -> None:
    """Workers that are stuck in the target end too, and the report is written."""
    with running("hanging.py", "--suite", "quick", "-j", "2") as process:
        os.kill(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=60)
        wait_until(lambda: not left_over(process.pid))
    assert (process.returncode, err) == (130, "npconv: interrupted\n")
    assert json.loads(Path("report.json").read_text(encoding="utf-8"))["target"] == "hanging.py"


@needs_proc
def test_workers_end_with_their_parent() -> None:
    """If the parent is killed without a chance to act, its workers go too."""
    with running("late.py", "--suite", "quick", "-j", "2") as process:
        os.kill(process.pid, signal.SIGKILL)
        wait_until(lambda: not left_over(process.pid))


#: Wrong without a bias.
BIASED = """
import npconv

def conv2d(*arguments):
    return npconv.conv2d(*arguments) + (arguments[2] is None)
"""


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--ops", "forward", "--dtype", "float32,float64"],
        ["--without", "bias and groups > 1", "--shard", "1/2", "--timeout", "7.5"],
    ],
)
def test_resumed_run_ends_as_if_never_interrupted(
    npconv_here: Any, monkeypatch: pytest.MonkeyPatch, options: list[str]
) -> None:
    """The command that an interrupted run prints completes it to the report of a whole one."""
    Path("kernel.py").write_text(BIASED, encoding="utf-8")
    base = ("check", "kernel.py", "--suite", SHARE, *options)
    cases = []

    def run_one(*arguments: Any) -> Any:
        cases.append(arguments)
        if len(cases) == 3:
            raise KeyboardInterrupt
        return run_case(*arguments)

    monkeypatch.setattr("npconv.oracle.run.run_case", run_one)
    first = npconv_here(*base, "--json", "part.json")
    assert (first.status, first.err) == (130, "npconv: interrupted\n")
    part = json.loads(Path("part.json").read_text(encoding="utf-8"))
    assert part["cases"] == 2
    command = shlex.split(last_line(first.out).removeprefix("Go on with: "))
    assert command[0] == "npconv"
    second = npconv_here(*command[1:])
    assert second.status == 1
    done = sum(stop - start for start, stop in part["done"])
    assert f"{LENGTH} cases, {done} of them done before, " in second.out
    if "--shard" in options:
        assert set(options) <= set(command)
        other = npconv_here(*[word.replace("1/2", "2/2") for word in command[1:]])
        assert other.status == 2
        assert "shard 1/2, not 2/2; npconv merge joins shards" in other.err
    assert npconv_here(*base, "--json", "whole.json").status == 1
    assert without_seconds(Path("part.json")) == without_seconds(Path("whole.json"))
    assert npconv_here(*command[1:]).status == 1


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["wrong.py", "--suite", SHARE], "is of another run: target 'right.py', not 'wrong.py'"),
        (["right.py", "--suite", "quick"], f"is of another run: suite '{SHARE}', not 'quick'"),
        (["right.py", "--suite", SHARE, "--ops", "forward"], "another run: cases, operations or"),
        (["right.py", "--suite", SHARE, "--dtype", "float32"], "another run: cases, operations"),
    ],
)
def test_report_of_another_run_is_not_resumed(
    npconv_here: Any, options: Sequence[str], says: str
) -> None:
    """A report is not resumed with another target, suite, operations or dtypes."""
    npconv_here("check", "right.py", "--suite", SHARE, "--json", "report.json")
    ended = npconv_here("check", *options, "--resume", "report.json")
    assert ended.status == 2
    assert ended.err.startswith("npconv: --resume: report.json ")
    assert says in ended.err
    assert len(ended.err.splitlines()) == 1
