"""Files that the command line reads and writes: expectations, a user's own cases, JUnit."""

import contextlib
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from npconv import cli
from npconv.cli import main
from npconv.oracle.expectations import Expectations

#: The same on every NumPy.
pytestmark = pytest.mark.once

DENSE = "n2c4f6g1-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
GROUPED = DENSE.replace("g1", "g2")
DEPTHWISE = DENSE.replace("c4f6g1", "c3f6g3")
CASES = (DENSE, GROUPED, DEPTHWISE)

KERNEL = """
import npconv

def conv2d(x, w, b, stride, padding, dilation, groups):
    y = npconv.conv2d(x, w, b, stride, padding, dilation, groups)
    return y + 1 if groups > 1 else y

def conv2d_bias(g):
    return npconv.conv2d_bias(g)
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Run in a folder with a target and a file of cases; the target runs in this process."""
    monkeypatch.setattr(cli, "workers", lambda *_: contextlib.nullcontext())
    monkeypatch.chdir(tmp_path)
    (tmp_path / "kernel.py").write_text(KERNEL)
    (tmp_path / "cases.txt").write_text("\n".join(CASES))
    return tmp_path


def check(*arguments: str) -> int:
    """Run the command on the file of cases."""
    return main(["check", "kernel.py", "--cases", "cases.txt", *arguments])


def write(name: str, *lines: str) -> str:
    """Write a file; return its name."""
    Path(name).write_text("\n".join(lines))
    return name


# ------------------------------------------------------------------------ cases


def test_cases_run_instead_of_a_suite(capsys: pytest.CaptureFixture[str]) -> None:
    """The cases of the file are run, all of them and no others."""
    assert check("--json", "report.json") == 1
    report = json.loads(Path("report.json").read_text())
    assert (report["length"], report["cases"], report["ops"]["forward"]["failed"]) == (3, 3, 2)
    assert "checks kernel.py on cases.txt: 3 cases" in capsys.readouterr().out


def test_layers_run_in_the_dtypes_asked_for() -> None:
    """A layer becomes a case for each dtype and kind of data."""
    write("cases.txt", 'mb2ic4ih7iw9oc6kh3kw2n"mine"')
    assert check("--json", "report.json", "--dtype", "float32,float64") == 0
    report = json.loads(Path("report.json").read_text())
    assert (report["cases"], report["ops"]["grad_bias"]["passed"]) == (4, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cases", "none.txt"], "there is no file 'none.txt', and of lists there are"),
        (["--cases", "bad.txt"], "bad.txt:1: layer 'ic4': ih is missing; ic, ih, oc and kh"),
        (["--cases", "huge.txt"], "huge.txt:1: case n2c3f4g1-999999x999999-k3x3-"),
        (["--expect", "bad.txt"], "bad.txt:1: 'ic4' must end with '# ' and a reason"),
        (["--expect", "none.txt"], "npconv: 'none.txt': No such file or directory"),
        (["--write-expect", "bad.txt"], "--write-expect bad.txt: it exists"),
        (["--write-expect", "no/folder.txt"], "--write-expect no/folder.txt: it is a folder, not"),
        (["--junit", "."], "--junit .: it is a folder, not writable, or in no folder"),
        (["--json", "out", "--html", "out"], "--html out: --json writes this file, too"),
        (["--junit", "out", "--json", "./out"], "--junit out: --json writes this file, too"),
        (
            ["--suite", "quick[:3]", "--shard", "2/9"],
            "--shard 2/9 has no case: there are 3 cases for 9 parts",
        ),
        (["--case", DENSE, "--expect", "good.txt"], "--case runs one case alone: it goes without"),
        (["--case", DENSE, "--cases", "cases.txt"], "--case runs one case alone: it goes without"),
    ],
)
def test_bad_files_end_with_status_2(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be read or written is told in one line, before anything is run."""
    write("bad.txt", "ic4")
    write("huge.txt", "ic3ih999999oc4kh3")
    write("good.txt", "bias # why")
    assert main(["check", "kernel.py", *arguments]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("npconv: ")
    assert message in said.err
    assert said.err.count("\n") == 1
    assert said.out == ""
    assert Path("bad.txt").read_text() == "ic4"


def test_suite_and_cases_exclude_each_other(capsys: pytest.CaptureFixture[str]) -> None:
    """Both at once say nothing clear, and are refused."""
    with pytest.raises(SystemExit, match="2"):
        check("--suite", "quick")
    assert "not allowed with argument" in capsys.readouterr().err


# ------------------------------------------------------------------------ expectations


def test_expected_failures_do_not_fail_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Where every failure is known and every entry still fails, the status is 0."""
    write("known.txt", "groups > 1 [forward] # one is added")
    assert check("--expect", "known.txt", "--json", "report.json") == 0
    report = json.loads(Path("report.json").read_text())
    assert (
        report["ops"]["forward"] | {"passed": 1, "expected_failures": 2} == report["ops"]["forward"]
    )
    assert (report["failures"], report["failures_total"]) == ([], 0)
    assert report["expectations"] == [
        {
            "at": "known.txt:1", "expects": "groups > 1 [forward]", "reason": "one is added",
            "link": None, "asked": 2, "failed": 2,
        }
    ]  # fmt: skip
    assert "2 of 6 results fail as expected, the others conform" in capsys.readouterr().out


def test_what_is_not_expected_still_fails(capsys: pytest.CaptureFixture[str]) -> None:
    """An entry covers no other operation, kind or case."""
    write("known.txt", f"{GROUPED} [forward, values] # one is added")
    assert check("--expect", "known.txt") == 1
    out = capsys.readouterr().out
    assert DEPTHWISE in out
    assert GROUPED not in out


def test_stale_and_unmatched_entries_fail_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Each is told on a line with file and line number, and the status is 1."""
    write("known.txt", "groups > 1 # added", "groups == 1 # healed", "kernel_h == 9 # never")
    assert check("--expect", "known.txt") == 1
    out = capsys.readouterr().out
    assert "known.txt:2: 'groups == 1' no longer fails in any of 2 results: remove it\n" in out
    assert "known.txt:3: 'kernel_h == 9' matches no case that was asked" in out
    assert "known.txt:1" not in out


def test_a_run_of_known_failures_alone_is_a_run() -> None:
    """Where all that is asked fails as expected, that is no empty run."""
    write("known.txt", "groups > 1 # added")
    assert check("--expect", "known.txt", "--ops", "forward", "--without", "groups == 1") == 0


@pytest.mark.parametrize("part", [["--shard", "1/3"], ["-x"]])
def test_a_part_judges_no_entry(part: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """What a shard or a run that stopped early has not asked is not called stale; that is said."""
    write("cases.txt", *CASES, DENSE.replace("seed0", "seed1"))
    write("known.txt", "groups == 3 # added", "kernel_h == 9 # never")
    assert check("--expect", "known.txt", *part) == (1 if part == ["-x"] else 0)
    out = capsys.readouterr().out
    assert "Expectations are not judged: this is not the whole suite" in out
    assert "known.txt" not in out


def test_shards_are_judged_when_they_are_merged(capsys: pytest.CaptureFixture[str]) -> None:
    """Counts add up over the shards: an entry that fails in one of them holds in all."""
    write("known.txt", "groups > 1 # added", "groups == 1 # healed")
    for part in "123":
        assert check(
            "--expect", "known.txt", "--shard", f"{part}/3", "--json", f"{part}.json"
        ) == 0  # fmt: skip
    capsys.readouterr()
    reports = [f"{part}.json" for part in "123"]
    assert main(["merge", *reports, "--json", "all.json", "--junit", "all.xml"]) == 1
    out = capsys.readouterr().out
    assert "known.txt:2: 'groups == 1' no longer fails in any of 2 results: remove it" in out
    assert "known.txt:1" not in out
    report = json.loads(Path("all.json").read_text())
    assert [(e["asked"], e["failed"]) for e in report["expectations"]] == [(4, 2), (2, 0)]
    root = ET.parse("all.xml").getroot()
    assert root.get("failures") == "1"
    assert "1 of them" not in out


def test_other_expectations_are_another_run(capsys: pytest.CaptureFixture[str]) -> None:
    """Reports with other entries do not add up."""
    for part, line in (("1", "groups > 1 # a"), ("2", "groups > 2 # a")):
        write("known.txt", line)
        check("--expect", "known.txt", "--shard", f"{part}/2", "--json", f"{part}.json")
    capsys.readouterr()
    assert main(["merge", "1.json", "2.json"]) == 2
    assert "expectations" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["known.txt", "known.toml"])
def test_write_expect_begins_a_file_that_holds(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a run writes makes the next one green, and is never written over."""
    assert check("--write-expect", name) == 1
    assert f"2 expectations written to {name}: say in each why" in capsys.readouterr().out
    assert {entry.text for entry in Expectations.read(name).entries} == {
        f"{case} [forward, values]" for case in (GROUPED, DEPTHWISE)
    }
    assert check("--expect", name) == 0
    before = Path(name).read_text()
    assert check("--write-expect", name) == 2
    assert Path(name).read_text() == before


def test_write_expect_holds_what_the_report_lists_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures beyond those kept with details are expected by operation and case."""
    monkeypatch.setattr("npconv.oracle.report.KEPT", 1)
    assert check("--write-expect", "known.txt") == 1
    texts = {entry.text for entry in Expectations.read("known.txt").entries}
    assert len(texts) == 2
    assert len([text for text in texts if text.endswith("[forward]")]) == 1


def test_write_expect_leaves_out_what_is_expected() -> None:
    """Beside a file of known failures, only the new ones are written."""
    write("known.txt", f"{GROUPED} # added")
    assert check("--expect", "known.txt", "--write-expect", "new.txt") == 1
    assert [e.subject for e in Expectations.read("new.txt").entries] == [DEPTHWISE]


def test_write_expect_spares_a_file_that_comes_meanwhile(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """What another writes to that name while the run goes on is not lost either."""
    late = KERNEL.replace(
        "    y = npconv",
        "    import pathlib\n    pathlib.Path('known.txt').write_text('mine')\n    y = npconv",
    )
    # By another name: within a process a target is loaded once.
    write("late.py", late)
    arguments = ["--cases", "cases.txt", "--write-expect", "known.txt"]
    assert main(["check", "late.py", *arguments]) == 2
    assert "the expectations could not be written" in capsys.readouterr().err
    assert Path("known.txt").read_text() == "mine"


def test_going_on_asks_for_the_same_files() -> None:
    """The command that goes on with an interrupted run names all files again."""
    given = [
        "--cases", "c.txt", "--expect", "e.txt", "--json", "r.json", "--junit", "j.xml",
        "--write-expect", "w.txt",
    ]  # fmt: skip
    options = cli._parser().parse_args(["check", "kernel.py", *given])
    again = cli._parser().parse_args(["check", *cli._again(options)])
    assert again.resume == "r.json"
    assert {**vars(again), "resume": None} == vars(options)


# ------------------------------------------------------------------------ JUnit


def suites(path: str) -> dict[str, ET.Element]:
    """Return the suites of a JUnit file by the last word of their names."""
    return {s.get("name", "").split()[-1]: s for s in ET.parse(path).getroot()}


def test_junit_holds_the_run() -> None:
    """The file has the failures by case, and what passed as a count."""
    assert check("--junit", "out.xml") == 1
    found = suites("out.xml")
    assert list(found) == ["run", "forward", "grad_bias"]
    names = {
        c.get("name"): c.find("failure") is not None for c in found["forward"].iter("testcase")
    }
    assert names == {GROUPED: True, DEPTHWISE: True, "passed": False}
    assert found["run"].get("failures") == "0"


def test_junit_of_a_run_that_ended_early_is_red() -> None:
    """What was not reached is a failure of the run, even where nothing else is."""
    write("cases.txt", *CASES, *(DENSE.replace("seed0", f"seed{n}") for n in range(1, 9)))
    assert check("-x", "--junit", "out.xml") == 1
    (complete,) = suites("out.xml")["run"].iter("testcase")
    shown = complete.find("failure")
    assert shown is not None
    assert "not reached" in (shown.get("message") or "")


def test_junit_of_a_shard_is_green() -> None:
    """A shard that is done is complete; of shards that are missing in a merge that is not so."""
    for part in "12":
        arguments = ["--shard", f"{part}/3", "--json", f"{part}.json", "--junit", f"{part}.xml"]
        check("--without", "groups", *arguments)
    assert suites("1.xml")["run"].get("failures") == "0"
    assert main(["merge", "1.json", "2.json", "--junit", "all.xml"]) == 2
    assert suites("all.xml")["run"].get("failures") == "1"
