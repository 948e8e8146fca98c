"""The examples conform, and pages show them and what the command prints as they are."""

import re
import shutil
from dataclasses import fields, replace
from pathlib import Path

import pytest

from npconv import adapters, cli
from npconv.oracle.cases import Case
from npconv.oracle.protocol import OPS, SIGNATURES, Supports
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named
from npconv.oracle.trial import run_case

#: The same on every NumPy.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]


def test_shift_and_add_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    """The right example passes quick, gradients included."""
    status = cli.main(["check", str(ROOT / "examples/shift_and_add.py"), "--suite", "quick"])
    out = capsys.readouterr().out
    assert status == cli.OK, out
    assert re.search(r"^All \d+ cases conform", out, re.MULTILINE)


def test_readme_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's block is the command's output, but for versions and seconds."""
    monkeypatch.chdir(ROOT)
    readme = Path("README.md").read_text(encoding="utf-8")
    command, _, shown = readme.split("```console\n$ npconv ")[1].split("```")[0].partition("\n")
    assert cli.main(command.split()) == cli.FAILED
    printed = capsys.readouterr().out

    def settled(text: str) -> str:
        text = re.sub(r"npconv \S+ checks", "npconv checks", text)
        text = re.sub(r"numpy \S+ python \S+", "versions", text)
        # How many cases are looked at again depends on the time that there is.
        text = re.sub(r"\(in \d+ of \d+ cases", "(in some cases", text)
        return re.sub(r"\(\d+ s, \d+ %", "(time", text).strip()

    assert settled(printed) == settled(shown)


#: Each way of plugging in, with what it needs beyond NumPy.
PLUGGED_IN = (
    ("function.py", ("forward",), None),
    ("shift_and_add.py", OPS, None),
    ("class_with_state.py:Im2col", ("forward", "grad_weight", "grad_bias"), None),
    ("torch_autograd.py", OPS, "torch"),
    ("torch_backward.py", OPS, "torch"),
    ("c_kernel.py", ("forward",), "cc"),
    ("write_into_out.py", ("forward",), None),
    ("mixed_precision.py", OPS, "ml_dtypes"),
)


def needs(requirement: str | None) -> None:
    """Skip where a compiler or a package is missing."""
    if requirement == "cc" and shutil.which("cc") is None:
        pytest.skip("there is no C compiler `cc` here")
    elif requirement in ("torch", "ml_dtypes"):
        pytest.importorskip(requirement, reason=f"the example uses {requirement}")


# What NumPy's matrix product says of the suite's NaNs, and torch once of even kernels.
@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")
@pytest.mark.filterwarnings("ignore:Using padding='same':UserWarning")
@pytest.mark.parametrize(("target", "ops", "requirement"), PLUGGED_IN)
def test_each_way_of_plugging_in_conforms(
    target: str, ops: tuple[str, ...], requirement: str | None
) -> None:
    """An example of each kind passes a share of quick, in each of its operations, failing none."""
    needs(requirement)
    tally = Tally()
    plan = Plan(adapters.load, str(ROOT / "examples" / target), "quick[::7]")
    if target == "mixed_precision.py":
        # Few cases of the suite are in its dtypes.
        plan = replace(plan, suite=in_dtypes(("int8", "bfloat16")))
    assert plan.implementation().supports.ops == ops
    assert not run(plan, tally)
    assert tally.failures == []
    assert all(tally.counts[op]["passed"] > 5 for op in ops)


def in_dtypes(dtypes: tuple[str, ...]) -> tuple[str, ...]:
    """The ids of legal, packed float32 cases in other dtypes."""
    suite = suite_named("quick[::11]")
    cases = [suite[i] for i in range(len(suite))]
    return tuple(
        replace(case, dtype=dtype).id
        for case in cases
        if case.dtype == "float32" and case.data in ("integers", "reals")
        for dtype in dtypes
    )


def test_page_shows_the_examples() -> None:
    """The texts of examples on the page are the files', and every file for plugging in is there."""
    page = (ROOT / "docs/test-your-kernel.md").read_text(encoding="utf-8")
    shown = re.findall(r"^`examples/(\S+)`:\n\n```\w+\n(.*?)^```$", page, re.DOTALL | re.MULTILINE)
    for name, text in shown:
        assert text == (ROOT / "examples" / name).read_text(encoding="utf-8"), name
    files = {target.split(":")[0] for target, _, _ in PLUGGED_IN} | {"direct.c"}
    assert {name for name, _ in shown} == files - {"shift_and_add.py"}
    assert "`examples/shift_and_add.py`" in page


def test_page_starts_with_a_kernel_that_fails(tmp_path: Path) -> None:
    """The page's first kernel is red for the reasons that the page gives."""
    page = (ROOT / "docs/test-your-kernel.md").read_text(encoding="utf-8")
    path = tmp_path / "kernel.py"
    path.write_text(page.split("```py\n")[1].split("```")[0], encoding="utf-8")
    body = path.read_text(encoding="utf-8").partition("groups):\n")[2]
    assert len(body.splitlines()) == 4
    it = adapters.load(str(path))
    for change, kind in (
        ("g1-7x9-k3x2-s1x1-p1x0-d1x2", "shape"),
        ("g2-7x9-k3x2-s1x1-p1x0-d1x1", "raised"),
        ("g1-7x9-k3x2-s-1x1-p1x0-d1x1", "accepted"),
        ("g1-7x9-k3x2-s2x3-p1x0-d1x1", None),
    ):
        case = Case.from_id(f"n2c4f6{change}-bias-m111-float32-packed-integers-seed0")
        [(op, verdict)] = run_case(it, case, OPS).verdicts
        assert op == "forward"
        assert (verdict.failure and verdict.failure.kind) == kind


def test_page_explains_every_kind_and_key() -> None:
    """Each kind of failure of the report, and each key of `supports`, has its row on the page."""
    page = (ROOT / "docs/test-your-kernel.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`.*?) \|", page, re.MULTILINE)
    named = {name for row in rows for name in re.findall(r"`(\w+)`", row)}
    kinds = (
        "values nonfinite shape dtype type mask raised accepted mutated aliased unwritten unstable "
        "crashed timeout"
    )
    assert set(kinds.split()) <= named
    assert {f.name for f in fields(Supports)} <= named
    for name, parameters in SIGNATURES.items():
        assert f"| `{name}({', '.join(parameters)})` |" in page
