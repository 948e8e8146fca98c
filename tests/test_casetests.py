"""Cases as tests: what each comes to, and the decorator that makes pytest tests of them."""

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import npconv
from npconv.casetests import CaseFailedError, CaseTests, Ended
from npconv.oracle.cases import Case
from npconv.oracle.expectations import Expectations
from npconv.testing import parametrize_with_cases

#: The same on every NumPy.
pytestmark = pytest.mark.once

CASE = Case.from_id("n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")
OTHER = replace(CASE, seed=1)


def forward_plus(number: float) -> Any:
    """Return a conv2d that adds a number to all of its results."""
    return lambda *arguments: npconv.conv2d(*arguments) + number


def refused(*_: Any) -> Any:
    """Support nothing."""
    raise NotImplementedError("no such kernel")


def ended(target: Any, case: Case = CASE, **options: Any) -> Ended:
    """Run one case."""
    return CaseTests.of(target, [case.id], **options).run(case)


def known(folder: Path, *lines: str) -> Expectations:
    """Return expectations of a file with these lines."""
    path = folder / "known.txt"
    path.write_text("\n".join(lines))
    return Expectations.read(path)


def test_a_case_passes_where_all_of_it_does() -> None:
    """Right results say nothing."""
    assert ended(npconv) == Ended("passed", "", {})


def test_a_failing_case_says_what_and_how_to_repeat_it() -> None:
    """The message holds operation, kind, what is wrong, and the command."""
    found = ended(forward_plus(1))
    assert found.outcome == "failed"
    first, last = found.message.splitlines()
    assert first.startswith("forward: values: ")
    assert last == f"repeat: pytest -k {CASE.id}"


def test_a_failure_of_one_operation_fails_the_case() -> None:
    """What else passes or is unsupported does not hide it."""
    target = SimpleNamespace(conv2d=refused, conv2d_bias=lambda g: g.sum((0, 2, 3)) + 1)
    found = ended(target)
    assert found.outcome == "failed"
    assert found.message.startswith("grad_bias: values")
    assert "forward" not in found.message


def test_a_traceback_is_shown_once(tmp_path: Path) -> None:
    """Three gradients that fail by one exception show it once, from the target's own frame."""
    path = tmp_path / "kernel.py"
    path.write_text("def conv2d_backward(*arguments):\n    return arguments[99]\n")
    found = ended(str(path))
    assert found.message.count("Traceback") == 1
    assert found.message.count("raised: IndexError") == 3
    assert "return arguments[99]" in found.message
    assert "npconv/oracle" not in found.message
    assert found.message.endswith(f"repeat: npconv check {path} --case {CASE.id}")


def test_unsupported_is_a_skip_unless_something_passes() -> None:
    """The reason is the target's; a result that was judged makes it a pass."""
    assert ended(refused) == Ended(
        "skipped", "unsupported: NotImplementedError: no such kernel", {}
    )
    both = SimpleNamespace(conv2d=refused, conv2d_bias=npconv.conv2d_bias)
    assert ended(both).outcome == "passed"


def test_what_is_not_asked_of_an_illegal_case_is_a_skip() -> None:
    """An illegal case asks the forward call alone."""
    illegal = replace(CASE, groups=3)
    assert ended(npconv, illegal).outcome == "passed"
    assert ended(npconv, illegal, ops=["grad_bias"]) == Ended(
        "skipped", "none of the operations asked for", {}
    )


def test_expected_failures_are_xfails(tmp_path: Path) -> None:
    """A failure that an entry covers is no failure; another one of the same case still is."""
    found = ended(forward_plus(1), expectations=known(tmp_path, "groups > 1 # as one"))
    assert found == Ended("xfailed", "as one", {"groups > 1": (1, 1)})
    found = ended(
        SimpleNamespace(conv2d=forward_plus(1), conv2d_bias=lambda g: g.sum((0, 2, 3)) + 1),
        expectations=known(tmp_path, "groups > 1 [forward] # as one"),
    )
    assert found.outcome == "failed"
    assert found.message.startswith("grad_bias")


def test_a_stale_id_fails_its_case_and_a_stale_condition_does_not(tmp_path: Path) -> None:
    """An entry for this case alone is stale when it passes; a condition may hold elsewhere."""
    stale = known(tmp_path, "groups > 1 # as one", f"{CASE.id} # old", f"{OTHER.id} # other")
    found = ended(npconv, expectations=stale)
    assert found.outcome == "failed"
    assert found.message.startswith(f"{tmp_path}/known.txt:2: '{CASE.id}' no longer fails in any")
    assert "known.txt:1" not in found.message
    assert "known.txt:3" not in found.message


def test_an_entry_of_another_operation_is_not_stale_here(tmp_path: Path) -> None:
    """An entry on an operation that is not asked says nothing of the case."""
    entry = known(tmp_path, f"{CASE.id} [grad_input] # old")
    assert ended(npconv, expectations=entry, ops=["forward"]).outcome == "passed"


def test_asked_are_the_cases_that_the_target_supports() -> None:
    """What lies outside of `supports` or of the options is no test, in the suite's order."""
    cases = [CASE, replace(CASE, layout="stepped"), replace(CASE, dtype="int8"), OTHER]
    target = SimpleNamespace(conv2d=npconv.conv2d, supports={"layouts": ["packed"]})
    tests = CaseTests.of(target, [case.id for case in cases])
    assert list(tests.asked()) == [CASE, OTHER]
    narrow = CaseTests.of(npconv, [case.id for case in cases], without=["layout == 'packed'"])
    assert list(narrow.asked()) == [cases[1]]


def test_the_decorator_makes_a_parameter_of_each_case() -> None:
    """The ids are the case ids, and calling a parameter runs its case."""
    mark = parametrize_with_cases(forward_plus(1), [CASE.id, OTHER.id]).mark  # type: ignore[attr-defined]
    argument, params = mark.args
    assert argument == "case"
    assert [param.id for param in params] == [CASE.id, OTHER.id]
    assert repr(params[0].values[0]) == CASE.id
    with pytest.raises(CaseFailedError, match="forward: values"):
        params[0].values[0]()
    ((right,),) = (p.values for p in parametrize_with_cases(npconv, [CASE.id]).mark.args[1])  # type: ignore[attr-defined]
    assert right() is None


def test_the_decorator_reads_expectations(tmp_path: Path) -> None:
    """A path of known failures makes xfails."""
    known(tmp_path, "groups > 1 # as one")
    mark = parametrize_with_cases(forward_plus(1), [CASE.id], expect=tmp_path / "known.txt").mark  # type: ignore[attr-defined]
    with pytest.raises(pytest.xfail.Exception, match="as one"):
        mark.args[1][0].values[0]()


@pytest.mark.parametrize(
    ("arguments", "options", "error", "message"),
    [
        ((npconv, "sloow"), {}, ValueError, "suite 'sloow' must be one of"),
        ((3,), {}, TypeError, "int must be a function or have one of"),
        (("nothing.py",), {}, npconv.casetests.adapters.TargetError, "there is no file"),
        ((npconv,), {"ops": ["back"]}, ValueError, "must list some of forward"),
        ((npconv,), {"dtypes": []}, ValueError, "must list some of"),
        ((npconv,), {"without": ["gropus"]}, ValueError, "did you mean groups"),
        ((npconv,), {"arithmetic": "tf31"}, ValueError, "tf31"),
        ((npconv,), {"expect": "none.txt"}, FileNotFoundError, "none.txt"),
    ],
)
def test_the_decorator_tells_bad_arguments(
    arguments: tuple[Any, ...], options: dict[str, Any], error: type[Exception], message: str
) -> None:
    """What cannot be run is an error when the file is collected, in one line."""
    with pytest.raises(error, match=message) as caught:
        parametrize_with_cases(*arguments, **options)
    assert "\n" not in str(caught.value)


def test_a_test_file_of_four_lines_works(tmp_path: Path) -> None:
    """A file as the documentation has it passes, skips, and fails with a message of few lines."""
    ids = [CASE.id, replace(CASE, groups=1).id, replace(CASE, stride=(3, 1)).id]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_kernel.py").write_text(
        "import npconv\n"
        "from npconv.testing import parametrize_with_cases\n"
        "def conv2d(x, w, b, s, *rest):\n"
        "    if s[0] == 3:\n"
        "        raise NotImplementedError('no stride of 3')\n"
        "    return npconv.conv2d(x, w, b, s, *rest) + (rest[-1] == 2)\n"
        f"@parametrize_with_cases(conv2d, suite={ids!r})\n"
        "def test_conv(case):\n"
        "    case()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-p", "no:cacheprovider"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert f"PASSED test_kernel.py::test_conv[{ids[1]}]" in done.stdout
    assert f"FAILED test_kernel.py::test_conv[{ids[0]}]" in done.stdout
    assert "no stride of 3" in done.stdout
    assert "1 failed, 1 passed, 1 skipped" in done.stdout
    shown = done.stdout.partition("FAILURES")[2].partition("PASSES")[0]
    assert f"repeat: pytest -k {ids[0]}" in shown
    # The user's call is shown, and no frame of npconv's.
    assert "case()" in shown
    assert "run_case" not in shown


def test_collecting_the_standard_suite_is_quick() -> None:
    """Tens of thousands of parameters are light: no arrays, no results, ten seconds at the most."""
    npconv.oracle.suites.suite_named("standard")  # the suite itself is built once
    began = time.process_time()
    params = parametrize_with_cases(npconv).mark.args[1]  # type: ignore[attr-defined]
    assert len(params) > 5000
    assert time.process_time() - began < 10
