"""The scoreboard: page, records, expectations and findings agree; the runner; nothing is run here.

No engine is needed but where a test says so: what the engines do is in the records.
"""

import ast
import configparser
import doctest
import importlib
import json
import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npconv
from conformance import engines
from conformance.engines import EXPECTATIONS, FINDINGS, PREFIX, RECORDS, ROOT, accuracy, scoreboard
from conformance.engines.scoreboard import PAGE, finding_of, page, scores, sections, stale
from npconv import adapters, cli, exact
from npconv.bounds import arguments, default_for
from npconv.formats import COMPLEXES, FLOATS, available, dtype_of
from npconv.oracle.cases import Case
from npconv.oracle.expectations import Expectations
from npconv.oracle.protocol import OPS

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]

runner = importlib.import_module("conformance.engines.__main__")

NAMES = sorted(name for names in engines.engines().values() for name in names)
FILES = sorted(EXPECTATIONS.glob("*.txt"))
PROGRAMS = sorted(FINDINGS.glob("*.py"))
SCORES = scores()


# ------------------------------------------------------------- page and records


def test_page_is_what_the_records_give() -> None:
    """Tables and figures are those of ``python -m conformance.engines.scoreboard``."""
    assert SCORES
    assert stale(SCORES) == []


def test_stale_page_and_figure_are_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """One more failure in a record makes page and figure stale; a new median, its figure."""
    monkeypatch.setattr(scoreboard, "PAGE", tmp_path / "engines.md")
    before, after = PAGE.read_text(encoding="utf-8").split(scoreboard.BEGIN)[0], "after"
    text = f"{before}{scoreboard.BEGIN}{scoreboard.END}{after}"
    (tmp_path / "engines.md").write_text(text, encoding="utf-8")
    (tmp_path / "engines.md").write_text(page(SCORES), encoding="utf-8")
    assert stale(SCORES) == []
    first = SCORES[0]
    first.report.tally.counts["forward"]["passed"] += 1
    try:
        assert stale(SCORES) == ["engines.md", "engines-results.svg"]
    finally:
        first.report.tally.counts["forward"]["passed"] -= 1
    ops = json.loads(json.dumps(first.accuracy["ops"]))
    dtype = next(dtype for dtype in scoreboard.PANELS if dtype in ops["forward"])
    ops["forward"][dtype]["ulps"]["median"] += 0.5
    other = scoreboard.Score(first.name, first.report, {**first.accuracy, "ops": ops})
    assert stale([other, *SCORES[1:]]) == ["engines.md", "engines-accuracy.svg"]


@pytest.mark.parametrize("score", SCORES, ids=[score.name for score in SCORES])
def test_record_is_whole_and_nothing_fails_unexpectedly(score: scoreboard.Score) -> None:
    """All of what is to be run was run; what fails is expected, and every expectation held."""
    report = score.report
    assert report.target == score.name == score.accuracy["target"]
    assert report.suite == engines.suite_of(score.name)
    assert report.tally.done == [(0, report.length)]
    assert report.tally.total("passed") > 0
    assert report.tally.failures_total == 0
    assert report.broken == []
    # What is refused has no accuracy; it is known to be refused.
    refused = any("raised" in entry.kinds for entry, _, _ in score.known)
    assert refused or score.accuracy["missing"] == {}
    assert set(score.accuracy["ops"]) == set(score.accuracy["supports"]["ops"])


@pytest.mark.parametrize("score", SCORES, ids=[score.name for score in SCORES])
def test_record_is_of_the_expectations_that_are_there(score: scoreboard.Score) -> None:
    """A file of expectations that changes after a run asks for another run."""
    path = EXPECTATIONS / f"{score.name}.txt"
    known = Expectations.read(path).entries if path.is_file() else ()
    recorded = [(entry.text, entry.why) for entry, _, _ in score.known]
    assert recorded == [(entry.text, entry.why) for entry in known]
    for entry, asked, failing in score.known:
        assert 0 < failing <= asked, entry.text
        # No path of the machine that the run was on.
        assert entry.at.startswith(f"conformance/engines/expectations/{score.name}.txt:")


def test_records_come_in_pairs() -> None:
    """What is recorded is an adapter's report with its accuracy, whole, and nothing else."""
    expected = {path.name for n in NAMES for path in (engines.record_of(n), engines.accuracy_of(n))}
    found = {path.name for path in RECORDS.iterdir() if not path.match("*.unfinished.json")}
    assert found <= expected
    assert len(found) == 2 * len(SCORES)


def test_failing_results_are_all_in_the_table() -> None:
    """No adapter has more failing results than its entries in the table account for."""
    for score in SCORES:
        accounted = sum(failing for _, _, failing in score.known)
        assert score.count("expected_failures", "failed") <= accounted


# --------------------------------------------------------- expectations, findings


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_expectations_have_reasons_that_can_be_followed(path: Path) -> None:
    """Each file is an adapter's; each reason names a finding, or links to what says so."""
    assert path.stem in NAMES
    for entry in Expectations.read(path).entries:
        assert finding_of(entry.reason) or entry.link, f"{entry.at}: {entry.reason}"


@pytest.mark.parametrize("path", PROGRAMS, ids=[path.stem for path in PROGRAMS])
def test_finding_is_a_program_of_the_engines_own(path: Path) -> None:
    """A finding needs no npconv, can fail, and says what is expected, by whom, and who knows."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import)
                for alias in node.names} | {
        node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)
    }  # fmt: skip
    assert not any(name.split(".")[0] == "npconv" for name in imported)
    assert "sys.exit(" in source
    says = ast.get_docstring(tree) or ""
    assert "Expected" in says
    assert "https://" in says
    assert re.search(r"[Rr]eport", says)
    assert re.search(r"\d+\.\d+", says), "the versions that it was seen in"


def test_each_finding_has_its_section_and_each_section_its_finding() -> None:
    """docs/findings shows every program, and no other."""
    assert set(sections()) == {path.stem for path in PROGRAMS}


def test_pages_of_findings_are_their_engines() -> None:
    """A page of findings holds programs that begin with its engine's name."""
    for name, place in sections().items():
        stem = place.removeprefix("findings/").partition(".md#")[0]
        assert name.startswith(f"{stem}_"), f"{name} is on the page of {stem}"


def test_links_to_findings_go_to_headings() -> None:
    """The table's links are anchors of headings that are there."""
    for place in sections().values():
        file, _, anchor = place.partition("#")
        titles = re.findall(
            r"^## (.+)$", (ROOT / "docs" / file).read_text(encoding="utf-8"), re.MULTILINE
        )
        assert anchor in [scoreboard.slug(title) for title in titles]


# ------------------------------------------------------------------------ names


def test_tox_has_an_environment_for_each_engine() -> None:
    """tox.ini, the extras and the adapters name the same engines."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(ROOT / "tox.ini", encoding="utf-8")
    found = [name for name in tox.sections() if name.startswith(f"testenv:{PREFIX}")]
    assert len(found) == 1
    listed = re.findall(r"\{(.+)\}", found[0])[0].split(",")
    assert listed == sorted(engines.engines())
    extras = re.findall(r"^(\w+):", tox[found[0]]["extras"], re.MULTILINE)
    assert sorted(extras) == listed
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert set(listed) <= set(project["optional-dependencies"])


def test_examples_in_docstrings_hold() -> None:
    """The examples of the runner's modules give what they say."""
    for module in (engines, accuracy, scoreboard):
        found = doctest.testmod(module)
        assert found.attempted > 0
        assert found.failed == 0


# ----------------------------------------------------------------------- runner


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """Take the place of npconv's command line, and of measuring; keep what is asked of them."""
    kept: list[list[str]] = []

    def main(command: Sequence[str]) -> int:
        kept.append(list(command))
        draft = Path(command[command.index("--json") + 1])
        whole = npconv.check(npconv, suite="quick[::400]", ops=["forward"]).as_dict()
        status = cli.OK
        if "interrupted" in command:
            whole |= {"done": [[0, 1]], "cases": 1}
            status = cli.INTERRUPTED
        # Of an engine's adapters the first alone.
        if command[1] in ("jax", "torch-cuda") and "not-run" in command:
            return cli.COULD_NOT_RUN
        if command[1] == "jax" and "failing" in command:
            status = cli.FAILED
        draft.write_text(json.dumps(whole), encoding="utf-8")
        return status

    monkeypatch.setattr(cli, "main", main)
    monkeypatch.setattr(
        accuracy, "record", lambda name, path: kept.append(["accuracy", name, str(path)])
    )
    monkeypatch.setattr(runner, "_cuda", lambda: False)
    monkeypatch.chdir(ROOT)
    return kept


def run(folder: Path, *arguments: str) -> int:
    """Run the runner, with records in a folder."""
    status: int = runner.main([*arguments, "--folder", str(folder)])
    return status


@pytest.mark.parametrize("name", ["torch", "engine-torch"])
def test_engine_runs_in_each_of_its_modes(
    name: str, commands: list[list[str]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An engine's name runs every adapter that has no need of a device that is missing."""
    assert run(tmp_path, name, "-j", "2") == cli.OK
    here = [name for name in engines.engines()["torch"] if "cuda" not in name]
    assert len(here) == 5
    checked = [command[1] for command in commands if command[0] == "check"]
    measured = [command[1] for command in commands if command[0] == "accuracy"]
    assert checked == measured == here
    for command in commands:
        assert command[0] == "accuracy" or command[4:6] == ["-j", "2"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{n}.json" for n in here)
    assert capsys.readouterr().out.count("left out, torch finds no CUDA device") == 3


def test_expectations_and_share_are_the_adapters(commands: list[list[str]], tmp_path: Path) -> None:
    """An adapter is run on its share, with its file of expectations, named as from here."""
    assert run(tmp_path, "torch-channels-last") == cli.OK
    assert run(tmp_path, "torch-compile") == cli.OK
    first, _, second, _ = commands
    path = "conformance/engines/expectations/torch-channels-last.txt"
    assert first[:4] == ["check", "torch-channels-last", "--suite", "standard"]
    assert first[first.index("--expect") + 1] == path
    assert second[3] == engines.SHARES["torch-compile"]


def test_interrupted_run_goes_on(commands: list[list[str]], tmp_path: Path) -> None:
    """An interrupt ends everything and records nothing; the next start resumes, then records."""
    assert run(tmp_path, "torch", "interrupted") == cli.INTERRUPTED
    assert [command[1] for command in commands] == ["torch"]
    draft = tmp_path / "torch.unfinished.json"
    assert [path.name for path in tmp_path.iterdir()] == [draft.name]
    assert run(tmp_path, "torch", "--only", "torch") == cli.OK
    assert commands[1][-2:] == ["--resume", str(draft)]
    assert [path.name for path in tmp_path.iterdir()] == ["torch.json"]


@pytest.mark.parametrize(
    ("how", "status", "recorded"),
    [("failing", cli.FAILED, True), ("not-run", cli.COULD_NOT_RUN, False)],
)
def test_status_is_the_worst(
    how: str, status: int, recorded: bool, commands: list[list[str]], tmp_path: Path
) -> None:
    """What fails is recorded all the same and told by the status, as is what cannot run."""
    assert run(tmp_path, "jax", how) == status
    ran = [name for _, name, *_ in commands]
    # Each is checked and measured, but for what could not run.
    assert ran == ["jax", *(["jax"] if recorded else []), "jax-nhwc", "jax-nhwc"]
    assert (tmp_path / "jax.json").is_file() == recorded


def test_accuracy_can_be_left_out(commands: list[list[str]], tmp_path: Path) -> None:
    """With --no-accuracy nothing is measured."""
    assert run(tmp_path, "scipy", "--no-accuracy") == cli.OK
    assert [command[0] for command in commands] == ["check"]


@pytest.mark.parametrize(
    "arguments", [("torsh",), ("engine-",), ("jax", "--only", "torch"), ("definition",)]
)
def test_unknown_name_is_told(
    arguments: tuple[str, ...],
    commands: list[list[str]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A name of no engine, or of another engine's adapter, ends in one line with status 2."""
    assert run(tmp_path, *arguments) == cli.COULD_NOT_RUN
    assert commands == []
    assert capsys.readouterr().out.count("\n") == 1


def test_asked_for_device_is_not_left_out(commands: list[list[str]], tmp_path: Path) -> None:
    """An adapter for CUDA that is named runs, so that npconv says what is missing."""
    assert run(tmp_path, "torch-cuda", "not-run") == cli.COULD_NOT_RUN
    assert [command[1] for command in commands] == ["torch-cuda"]


def test_runner_records_a_real_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run of an engine that is here writes a report that the scoreboard reads."""
    pytest.importorskip("torch", reason="an engine that is run")
    monkeypatch.chdir(ROOT)
    # Workers import what measures; last, so that an installed npconv stays the one that is tested.
    monkeypatch.setattr(sys, "path", [*sys.path, str(ROOT)])
    monkeypatch.setattr(accuracy, "SIZES", accuracy.SIZES[:1])
    monkeypatch.setattr(accuracy, "SEEDS", (0,))
    suite = "quick[::61]"
    assert run(tmp_path, "torch-nn-grad", "--suite", suite) == cli.OK
    (score,) = scores(tmp_path)
    assert score.report.suite == suite
    assert score.version
    assert score.count("passed") > 0
    assert score.accuracy["ops"]["grad_input"]["float64"]["cases"] == 1


# --------------------------------------------------------------------- accuracy


def test_cases_of_accuracy_are_fixed_and_legal() -> None:
    """Real-valued legal cases in each floating-point dtype, each once, extents distinct."""
    found = list(accuracy.cases())
    assert len({case.id for case in found}) == len(found) == 6 * 22
    assert {case.data for case in found} == {"reals"}
    for case in found:
        assert case.illegal is None
        assert case.extents[0] != case.extents[1]
    assert max(case.geometry.forward_terms for case in found) > 4000


@pytest.mark.parametrize("dtype", [*FLOATS, *COMPLEXES])
def test_right_results_have_no_error_and_others_their_own(dtype: str) -> None:
    """Correctly rounded results are 0 ulps away; the next number but one away from 0 is 2 away."""
    if dtype not in available():
        pytest.skip("needs the package ml_dtypes")
    rng = np.random.default_rng(7)
    shapes = ((2, 3, 5, 6), (4, 3, 2, 3))
    x, w = (rng.standard_normal(shape).astype(dtype_of(dtype)) for shape in shapes)
    call = arguments("forward", (x, w), 1, 0, 1, 1)
    right = exact.conv2d(x, w)
    assert accuracy.errors(right, call, default_for(dtype)).ulps.max() == 0
    off = right.copy()
    place = (1, 2, 3, 1)
    real = off.real if off.dtype.kind == "c" else off
    assert abs(np.frexp(float(real[place]))[0]) < 0.99, "two steps stay below the power of two"
    bits = real[place].view(f"u{real.dtype.itemsize}") + 2
    real[place] = bits.astype(f"u{real.dtype.itemsize}").view(real.dtype)
    found = accuracy.errors(off, call, default_for(dtype))
    assert found.ulps.max() == 2
    assert np.count_nonzero(found.ulps) == 1
    assert found.ratios[place] == found.ratios.max() > 0


def test_ulps_of_small_and_complex_numbers() -> None:
    """Subnormal numbers have the last place of the least normal one; parts count apart."""
    right = np.array([3e-45, 1.0], np.float32)
    assert accuracy.ulps(np.array([0.0, 1.0 + 2.0**-22], np.float32), right).tolist() == [2.0, 2.0]
    two = np.array([1 + 4j])
    assert accuracy.ulps(two + (2**-52 - 2**-50 * 1j), two).tolist() == [1.0, 1.0]


def test_measured_case_holds_each_operation() -> None:
    """A worker's answer has the errors of all operations that an adapter has, within the bound."""
    case = next(case for case in accuracy.cases() if case.dtype == "float32")
    found = accuracy.measured("formulas", case.id)
    assert isinstance(found, dict)
    assert tuple(found) == OPS
    for op, error in found.items():
        assert error.ratios.max() <= 1, op
        assert error.ulps.max() <= 1, op
    four_sided = Case.from_id(case.id.replace("float32", "float64"))
    assert accuracy.measured("formulas", four_sided.id)


def test_case_that_is_not_asked_is_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an adapter does not support is no error, and what it refuses has a reason."""
    pytest.importorskip("torch", reason="an engine that has no complex gradients of its own")
    case = next(case for case in accuracy.cases() if case.dtype == "complex64")
    assert accuracy.measured("torch-nn-grad", case.id) == "not asked"

    def refuse(*_: Any) -> Any:
        raise NotImplementedError("nothing")

    monkeypatch.setattr(type(adapters.load("formulas")), "gradients", refuse)
    assert accuracy.measured("formulas", case.id) == "NotImplementedError: nothing"
