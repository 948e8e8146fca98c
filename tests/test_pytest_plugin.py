"""`pytest --npconv TARGET`: what is collected and reported, and what other plugins see of it."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

#: The same on every NumPy.
pytestmark = pytest.mark.once

PLAIN = "n2c4f6g1-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
GROUPED = PLAIN.replace("g1", "g2")
DEPTHWISE = PLAIN.replace("c4f6g1", "c3f6g3")
UNSUPPORTED = PLAIN.replace("s2x1", "s3x1")
ILLEGAL = PLAIN.replace("g1", "g5")
VIEW = PLAIN.replace("packed", "stepped")
CASES = (PLAIN, GROUPED, DEPTHWISE, UNSUPPORTED, ILLEGAL, VIEW)

KERNEL = """
import npconv

print("a target that prints")
supports = {"layouts": ["packed"]}

def conv2d(x, w, b, stride, padding, dilation, groups):
    if stride[0] == 3:
        raise NotImplementedError("no stride of 3")
    if groups == 3:
        return [][groups]
    if groups == 5:
        return x
    y = npconv.conv2d(x, w, b, stride, padding, dilation, groups)
    return y + 1 if groups == 2 else y

def conv2d_bias(g):
    return npconv.conv2d_bias(g)
"""


@dataclass(frozen=True)
class Done:
    """A finished run of pytest."""

    status: int
    text: str
    #: Outcome and message of each case, by id; other tests by name.
    outcomes: dict[str, tuple[str, str]]

    @property
    def named(self) -> dict[str, str]:
        """The outcomes alone."""
        return {name: outcome for name, (outcome, _) in self.outcomes.items()}


Run = Callable[..., Done]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Give a function that runs pytest in a folder with a target and a file of cases."""
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "cases.txt").write_text("\n".join(CASES))
    # Another folder's settings must not count, and no plugin but those that are meant.
    (tmp_path / "pytest.ini").write_text("[pytest]\n")

    def runs(*arguments: str, target: bool = True) -> Done:
        ours = ("--npconv", "kernel.py", "--npconv-cases", "cases.txt") if target else ()
        command = [sys.executable, "-m", "pytest", "--junitxml=out.xml", "-rA", *ours, *arguments]
        # tox would have all of them share one cache of what failed.
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "TOX"))}
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
        )
        outcomes = {}
        xml = tmp_path / "out.xml"
        if xml.exists():
            for case in ET.parse(xml).getroot().iter("testcase"):
                name = re.sub(r".*\[(.*)\]", r"\1", case.get("name", ""))
                found = next((c for c in case if c.tag in ("failure", "skipped", "error")), None)
                kind = "passed"
                message = ""
                if found is not None:
                    kind = "xfailed" if found.get("type") == "pytest.xfail" else found.tag
                    message = f"{found.get('message')}\n{found.text}"
                outcomes[name] = (kind, message)
            xml.unlink()
        return Done(done.returncode, done.stdout + done.stderr, outcomes)

    return runs


def test_the_entry_point_is_installed() -> None:
    """The distribution names the plugin to pytest."""
    (found,) = entry_points(group="pytest11", name="npconv")
    assert found.value == "_npconv_pytest"


def test_pytest_alone_imports_nothing_heavy(tmp_path: Path) -> None:
    """Without its options, the plugin loads neither npconv nor NumPy nor torch."""
    (tmp_path / "test_a.py").write_text("def test_a(): pass\n")
    for arguments in (["--help"], ["-q"]):
        script = (
            "import sys, pytest\n"
            f"status = pytest.main({arguments!r})\n"
            "print('loaded', *sorted({name.split('.')[0] for name in sys.modules}))\n"
            "sys.exit(status)"
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        loaded = set(done.stdout.splitlines()[-1].split())
        assert {"loaded", "_npconv_pytest"} <= loaded
        assert not loaded & {"npconv", "numpy", "torch", "hypothesis.extra.numpy"}
        if arguments == ["--help"]:
            assert "--npconv=TARGET" in done.stdout
            assert "--npconv-expect=FILE" in done.stdout


def test_each_case_is_a_test(run: Run, tmp_path: Path) -> None:
    """What fails, fails with the reason and the command; a view is not asked."""
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    done = run()
    assert done.status == pytest.ExitCode.TESTS_FAILED
    assert done.named == {
        PLAIN: "passed",
        GROUPED: "failure",
        DEPTHWISE: "failure",
        # Its conv2d_bias passes, so that there is a verdict.
        UNSUPPORTED: "passed",
        ILLEGAL: "failure",
    }
    message = done.outcomes[GROUPED][1]
    assert "forward: values: " in message
    assert f"repeat: npconv check kernel.py --case {GROUPED}" in message
    assert "frozen" not in message
    assert "npconv/oracle" not in message
    message = done.outcomes[DEPTHWISE][1]
    assert "IndexError: list index out of range" in message
    # The target's own line is shown, and nothing of npconv's.
    assert "return [][groups]" in message
    assert "npconv/oracle" not in message
    assert "collected 5 items" in done.text


def test_ids_name_target_and_case(run: Run) -> None:
    """Without running, the node ids are listed; one of them runs its case alone."""
    done = run("--collect-only", "-q")
    assert done.status == 0
    listed = [line for line in done.text.splitlines() if line.startswith("npconv::")]
    assert listed == [f"npconv::kernel.py[{case}]" for case in CASES if case != VIEW]
    alone = run("--npconv-cases", "cases.txt", listed[1], "-x", target=False)
    assert alone.named == {GROUPED: "failure"}
    wrong = run(f"npconv::kernel.py[{VIEW}]")
    assert wrong.status == pytest.ExitCode.USAGE_ERROR
    assert f"the suite asks no case npconv::kernel.py[{VIEW}]" in wrong.text


def test_skipped_is_what_all_of_is_unsupported(run: Run) -> None:
    """A case of which nothing was judged is a skip with the target's own reason."""
    done = run("--npconv-ops", "forward")
    assert done.named[UNSUPPORTED] == "skipped"
    assert "unsupported: NotImplementedError: no stride of 3" in done.outcomes[UNSUPPORTED][1]


def test_options_narrow_what_is_asked(run: Run) -> None:
    """Features, conditions, operations and dtypes leave out cases, as on the command line."""
    done = run("--npconv-without", "groups", "--npconv-without", "stride_h == 3")
    assert done.named == {PLAIN: "passed"}
    done = run("--npconv-dtype", "float64")
    assert done.status == pytest.ExitCode.NO_TESTS_COLLECTED
    assert "is asked no case: each lies outside of its `supports`, or of what the" in done.text


def test_paths_are_collected_beside_the_suite(run: Run, tmp_path: Path) -> None:
    """Test files are collected where they are named, before the suite."""
    (tmp_path / "test_other.py").write_text("def test_other(): pass\n")
    done = run("test_other.py", "-k", f"other or {PLAIN}")
    assert list(done.named) == ["test_other", PLAIN]
    assert done.status == 0


def test_selection_works(run: Run) -> None:
    """-k selects by id, -x ends at the first failure, --lf runs what failed last."""
    assert run("-k", "g2 or g3", "-p", "no:cacheprovider").named == {
        GROUPED: "failure", DEPTHWISE: "failure",
    }  # fmt: skip
    assert run("-x").named == {PLAIN: "passed", GROUPED: "failure"}
    assert run("--lf").named == {GROUPED: "failure"}


EXPECT = f"""
groups > 1 and groups < 5 # added or indexed
{ILLEGAL} # divides nothing
{PLAIN} # healed
kernel_h == 9 # never asked
dtype == 'float32' [grad_bias] # healed too
"""


@pytest.mark.parametrize("processes", ["0", "2"])
def test_expected_failures_are_strict(run: Run, tmp_path: Path, processes: str) -> None:
    """Known failures xfail; stale and unmatched entries fail, in one process and over several."""
    (tmp_path / "known.txt").write_text(EXPECT)
    done = run("--npconv-expect", "known.txt", "-n", processes)
    assert done.named == {
        PLAIN: "failure",
        GROUPED: "xfailed",
        DEPTHWISE: "xfailed",
        UNSUPPORTED: "passed",
        ILLEGAL: "xfailed",
    }
    assert "added or indexed" in done.outcomes[GROUPED][1]
    line = f"known.txt:4: '{PLAIN}' no longer fails in any of 2 results: remove it"
    assert line in done.outcomes[PLAIN][1]
    assert done.status == pytest.ExitCode.TESTS_FAILED
    section = done.text.partition("npconv: expectations")[2]
    assert "known.txt:5: 'kernel_h == 9' matches no case that was asked" in section
    assert "known.txt:6: \"dtype == 'float32' [grad_bias]\" no longer fails" in section
    assert "known.txt:2" not in section
    assert "known.txt:3" not in section


@pytest.mark.parametrize("processes", ["0", "2"])
def test_stale_conditions_alone_fail_the_run(run: Run, tmp_path: Path, processes: str) -> None:
    """Where each test is as expected, a stale entry still makes the run fail."""
    lines = [line for line in EXPECT.splitlines() if PLAIN not in line]
    (tmp_path / "known.txt").write_text("\n".join(lines))
    done = run("--npconv-expect", "known.txt", "-n", processes)
    assert "failure" not in done.named.values()
    assert done.status == pytest.ExitCode.TESTS_FAILED
    if processes == "0":
        (tmp_path / "known.txt").write_text("\n".join(lines[:3]))
        assert run("--npconv-expect", "known.txt").status == 0


def test_a_part_of_the_suite_judges_no_expectation(run: Run, tmp_path: Path) -> None:
    """With a selection, what was not run is not called stale, and that is said."""
    (tmp_path / "known.txt").write_text("kernel_h == 9 # never asked\n")
    done = run("--npconv-expect", "known.txt", "-k", PLAIN)
    assert done.status == 0
    assert "not judged: 1 of the suite's 5 cases were run" in done.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--npconv", "nothing.py"), "npconv: there is no file 'nothing.py'"),
        (("--npconv", "kernel.py", "--npconv-suite", "sloow"), "suite 'sloow' must be one of"),
        (("--npconv", "kernel.py", "--npconv-ops", "backward"), "must list some of forward"),
        (("--npconv", "kernel.py", "--npconv-without", "gropus"), "did you mean groups?"),
        (("--npconv", "kernel.py", "--npconv-expect", "none.txt"), "No such file"),
        (("--npconv", "kernel.py", "--npconv-cases", "none.txt"), "there is no file 'none.txt'"),
        (("--npconv", "kernel.py", "-n2", "--npconv-dtype", "float31"), "must list some of"),
    ],
)
def test_bad_options_are_told(run: Run, arguments: tuple[str, ...], message: str) -> None:
    """What cannot be run ends with pytest's status for it and one line, also over processes."""
    done = run(*arguments, target=False)
    assert done.status == pytest.ExitCode.USAGE_ERROR
    assert message in done.text
    assert "Traceback" not in done.text
    assert "INTERNALERROR" not in done.text


def test_an_option_without_a_target_is_told(tmp_path: Path) -> None:
    """A suite, or another of its options, without --npconv is an error of usage, not ignored."""
    command = [sys.executable, "-m", "pytest", "-q", "--npconv-suite", "quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--npconv-suite needs --npconv TARGET" in done.stderr
