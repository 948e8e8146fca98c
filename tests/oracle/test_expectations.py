"""Expectations: both forms of file, what each entry covers, counts, stale and unmatched entries."""

import pickle
from dataclasses import replace
from pathlib import Path

import pytest

from npconv.oracle.cases import Case
from npconv.oracle.conditions import FEATURES, NAMES
from npconv.oracle.expectations import KINDS, Entry, Expectations, written
from npconv.oracle.judge import Failure, Verdict, failed
from npconv.oracle.protocol import OPS

DENSE = Case.from_id("n2c4f6g1-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0")
GROUPED = replace(DENSE, groups=2)
DEPTHWISE = replace(DENSE, groups=4, out_channels=8)

LINES = f"""
# A comment, and a blank line.

groups > 1 [grad_input, values] # the groups are read as one https://host/issues/7
{DENSE.id} # never looked into
  dtype in ['float16', 'float32'] [forward]   #   two  blanks
groups in [2, 3] # a list of the condition's own
kernel_h == 3 [nonfinite] # of every operation
"""

TABLES = f"""
[[expect]]
condition = "groups > 1"
op = "grad_input"
kind = ["values"]
reason = "the groups are read as one"
link = "https://host/issues/7"

[[expect]]
case = "{DENSE.id}"
reason = "never looked into"

[[expect]]
condition = "dtype in ['float16', 'float32']"
op = ["forward"]
reason = "two  blanks"

[[expect]]
condition = "groups in [2, 3]"
reason = "a list of the condition's own"

[[expect]]
condition = "kernel_h == 3"
kind = "nonfinite"
reason = "of every operation"
"""


def read(folder: Path, text: str, name: str = "known.txt") -> Expectations:
    """Read text as a file."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Expectations.read(path)


def wrong(case: Case, op: str, kind: str = "values") -> tuple[str, Verdict]:
    """Return a failing verdict."""
    return op, failed(Failure(case.id, op, kind, "is not right"))


def statuses(expectations: Expectations, case: Case, *verdicts: tuple[str, Verdict]) -> list[str]:
    """Return what the verdicts' statuses become."""
    return [verdict.status for _, verdict in expectations.apply(case, verdicts).verdicts]


def test_a_line_holds_subject_names_reason_and_link(tmp_path: Path) -> None:
    """Each part of each line is read, with its line's number; brackets after `in` are no names."""
    entries = read(tmp_path, LINES).entries
    assert [
        (e.at.removeprefix(f"{tmp_path}/"), e.subject, e.ops, e.kinds, e.reason, e.link)
        for e in entries
    ] == [
        ("known.txt:4", "groups > 1", ("grad_input",), ("values",), "the groups are read as one",
         "https://host/issues/7"),
        ("known.txt:5", DENSE.id, (), (), "never looked into", None),
        ("known.txt:6", "dtype in ['float16', 'float32']", ("forward",), (), "two blanks", None),
        ("known.txt:7", "groups in [2, 3]", (), (), "a list of the condition's own", None),
        ("known.txt:8", "kernel_h == 3", (), ("nonfinite",), "of every operation", None),
    ]  # fmt: skip
    assert [entry.condition is None for entry in entries] == [False, True, False, False, False]


def test_toml_says_the_same(tmp_path: Path) -> None:
    """The tables of TOML give the entries of the lines, each at the line of its table."""
    lines, tables = read(tmp_path, LINES), read(tmp_path, TABLES, "known.toml")
    assert [replace(e, at="", condition=None) for e in tables.entries] == [
        replace(e, at="", condition=None) for e in lines.entries
    ]
    assert [e.at.removeprefix(f"{tmp_path}/known.toml") for e in tables.entries] == [
        ":2", ":9", ":13", ":18", ":22",
    ]  # fmt: skip


def test_toml_tables_in_line_are_numbered(tmp_path: Path) -> None:
    """Where no line of the file begins a table, an error names the entry by its number."""
    text = 'expect = [{condition = "bias", reason = "a"}, {condition = "bios", reason = "b"}]'
    with pytest.raises(ValueError, match=r"known\.toml, entry 2: condition 'bios': no 'bios'"):
        read(tmp_path, text, "known.toml")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("groups > 1", "known.txt:2: 'groups > 1' must end with '# ' and a reason"),
        ("groups > 1 #  ", "known.txt:2: reason='' must say why it fails"),
        ("groups > 1 # https://host/7", "reason='' must say why it fails"),
        ("goups > 1 # why", "known.txt:2: condition 'goups > 1': no 'goups'; did you mean groups?"),
        ("print(1) # why", "Call is not among"),
        (f"{DENSE.id}x # why", "known.txt:2: case id"),
        (
            "groups > 1 [grad_inptu] # why",
            "known.txt:2: 'grad_inptu' must be one of the operations",
        ),
        ("groups > 1 [] # why", "known.txt:2: '' must be one of the operations"),
        ("[forward] # why", "known.txt:2: condition '' must be an expression"),
        ("bias # why", None),
        ("bias # why\nbias # why not", "known.txt:3: 'bias' stands in "),
        (f"{DENSE.id} # a\n {DENSE.id}  # b", "known.txt:3: "),
    ],
)
def test_bad_lines_are_told(tmp_path: Path, line: str, message: str | None) -> None:
    """A line that is no entry is told in one line: file and line, what it says, the rule."""
    if message is None:
        assert len(read(tmp_path, f"\n{line}").entries) == 1
        return
    with pytest.raises(ValueError, match=r"known\.txt:") as caught:
        read(tmp_path, f"\n{line}\n")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[expect]\n", "known.toml:1: is not TOML: "),
        ("[[expect]]\nop = forward\n", "known.toml:2: is not TOML: "),
        ("[expect]\ncase = 'x'", "known.toml: 'expect' must be [[expect]], a table for each entry"),
        ("[[expects]]", "known.toml: 'expects' must be [[expect]]"),
        ("expect = [3]", "known.toml, entry 1: 3 must be a table"),
        ("\n[[expect]]\nreason = 'x'", "known.toml:2: must have either case or condition"),
        ("[[expect]]\ncase = 'a'\ncondition = 'b'", "must have either case or condition"),
        ("[[expect]]\ncase = 'groups > 1'\nreason = 'x'", "case='groups > 1' must be a case id"),
        (f"[[expect]]\ncondition = '{DENSE.id}'\nreason = 'x'", "write case = ..."),
        ("[[expect]]\ncondition = 'bias'", "known.toml:1: reason=None must say why it fails"),
        ("[[expect]]\ncondition = 'bias'\nreason = 3", "reason=3 must say why"),
        ("[[expect]]\ncondition = 'bias'\nwhy = 'x'", "no key 'why'; there are case, condition"),
        ("[[expect]]\ncondition = 7\nreason = 'x'", "known.toml:1: condition 7 must be"),
        ("[[expect]]\ncondition = 'bias'\nop = 'values'\nreason = 'x'", "op='values' must be one"),
        ("[[expect]]\ncondition = 'bias'\nkind = [1]\nreason = 'x'", "kind=[1] must be one of"),
        ("[[expect]]\ncondition = 'bias'\nop = 3\nreason = 'x'", "op=3 must be one of"),
        ("[[expect]]\ncondition = 'bias'\nreason = 'x'\nlink = 'host'", "link='host' must begin"),
    ],
)  # fmt: skip
def test_bad_tables_are_told(tmp_path: Path, text: str, message: str) -> None:
    """TOML that is none, unknown or missing keys and wrong values are told in one line."""
    with pytest.raises(ValueError, match=r"known\.toml") as caught:
        read(tmp_path, text, "known.toml")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 are refused; a mark of the byte order is not."""
    path = tmp_path / "known.txt"
    path.write_bytes(b"bias # \xff\xfe")
    with pytest.raises(ValueError, match=r"known\.txt: must be text in UTF-8"):
        Expectations.read(path)
    path.write_bytes(b"\xef\xbb\xbfbias # why\r\n")
    assert Expectations.read(path).entries[0].text == "bias"


def test_an_empty_file_expects_nothing(tmp_path: Path) -> None:
    """A file of comments alone is a start."""
    assert read(tmp_path, "# nothing yet\n").entries == ()


def test_expected_are_failures_that_subject_operation_and_kind_cover(tmp_path: Path) -> None:
    """A failure is expected where all three agree; what passes or differs in one stays."""
    known = read(tmp_path, "groups > 1 [grad_input, values] # as one")
    passed = ("grad_bias", Verdict("passed"))
    assert statuses(
        known, GROUPED, wrong(GROUPED, "forward"), wrong(GROUPED, "grad_input"), passed
    ) == ["failed", "expected_failures", "passed"]
    assert statuses(known, GROUPED, wrong(GROUPED, "grad_input", "shape")) == ["failed"]
    assert statuses(known, DENSE, wrong(DENSE, "grad_input")) == ["failed"]


@pytest.mark.parametrize("op", OPS)
def test_an_entry_without_names_covers_all(op: str) -> None:
    """Without operations and kinds, every failure of the case is expected."""
    known = Expectations((Entry("f:1", DENSE.id, None, (), (), "old"),))
    for kind in KINDS:
        assert statuses(known, DENSE, wrong(DENSE, op, kind)) == ["expected_failures"]
    assert statuses(known, replace(DENSE, seed=1), wrong(DENSE, op)) == ["failed"]


def test_an_expected_failure_keeps_failure_and_ratio_and_has_the_reason(tmp_path: Path) -> None:
    """Nothing of the verdict is lost; the reason is that of the first entry, ids before others."""
    known = read(tmp_path, f"groups > 1 # second\n{GROUPED.id} # first https://host/1")
    failure = Failure(GROUPED.id, "forward", "values", "off", 41.7, (0, 1, 2, 3), "1.0", "2.0")
    ((op, verdict),) = known.apply(GROUPED, [("forward", failed(failure))]).verdicts
    assert (op, verdict.status, verdict.failure, verdict.ratio) == (
        "forward", "expected_failures", failure, 41.7,
    )  # fmt: skip
    assert verdict.reason == "first https://host/1"


def test_counts_are_of_results_asked_and_failing(tmp_path: Path) -> None:
    """Each entry counts the results that it speaks of, and those that fail."""
    known = read(
        tmp_path, "groups > 1 [grad_input] # a\ngroups > 1 # b\nbias [shape] # c\nnot bias # d"
    )
    passed = ("grad_bias", Verdict("passed"))
    found = known.apply(GROUPED, [wrong(GROUPED, "grad_input"), passed])
    assert found.counts == {
        "groups > 1 [grad_input]": (1, 1), "groups > 1": (2, 1), "bias [shape]": (2, 0),
    }  # fmt: skip
    # Two entries may speak of one failure: neither is stale for that.
    assert known.apply(DENSE, []).counts == {}


def test_broken_are_stale_and_unmatched_entries_with_their_lines(tmp_path: Path) -> None:
    """An entry that nothing fails of, or that nothing is asked of, is told; no other."""
    known = read(tmp_path, "groups > 1 # a\nbias # b\ngroups == 2 [forward] # c\nunbatched # d")
    counts = known.counts(
        {"groups > 1": (12, 3), "bias": (2400, 0), "groups == 2 [forward]": (1, 0)}
    )
    assert counts["unbatched"] == (0, 0)
    path = tmp_path / "known.txt"
    assert known.broken(counts) == [
        f"{path}:2: 'bias' no longer fails in any of 2,400 results: remove it",
        f"{path}:3: 'groups == 2 [forward]' no longer fails in 1 result: remove it",
        f"{path}:4: 'unbatched' matches no case that was asked: correct it or remove it",
    ]


def test_the_report_holds_entries_and_counts(tmp_path: Path) -> None:
    """What goes into a report's JSON comes back as the same entries and counts."""
    known = read(tmp_path, LINES)
    counts = known.counts({"groups > 1 [grad_input, values]": (7, 5)})
    entries, found = Expectations.of_list(known.as_list(counts))
    assert found == counts
    assert [replace(e, condition=None) for e in entries.entries] == [
        replace(e, condition=None) for e in known.entries
    ]
    assert entries.broken(found) == known.broken(counts)


def test_expectations_travel(tmp_path: Path) -> None:
    """They can be pickled, before and after they were used, and say the same there."""
    known = read(tmp_path, LINES)
    for _ in range(2):
        there = pickle.loads(pickle.dumps(known))
        for case in (DENSE, GROUPED, DEPTHWISE):
            verdicts = [wrong(case, op) for op in OPS]
            assert there.apply(case, verdicts) == known.apply(case, verdicts)


FAILURES = [
    Failure(GROUPED.id, "grad_input", "values", "3 of 9\ndiffer; got 'a' \x1b[0m"),
    Failure(DEPTHWISE.id, "grad_input", "values", "another"),
    Failure(GROUPED.id, "forward", "shape", "is (2,)"),
]


@pytest.mark.parametrize("name", ["known.txt", "known.toml"])
def test_a_written_file_expects_what_failed(tmp_path: Path, name: str) -> None:
    """The file that a run starts is valid, covers each failure, and nothing else."""
    text = written(
        FAILURES, target='mine "#1".py', suite="quick", others=[("grad_bias", DENSE.id)],
        toml=name.endswith("toml"),
    )  # fmt: skip
    known = read(tmp_path, text, name)
    assert [entry.text for entry in known.entries] == [
        f"{GROUPED.id} [forward, shape]",
        f"{GROUPED.id} [grad_input, values]",
        f"{DEPTHWISE.id} [grad_input, values]",
        f"{DENSE.id} [grad_bias]",
    ]
    assert {entry.reason for entry in known.entries} == {'known failure of mine "#1".py'}
    counts: dict[str, tuple[int, int]] = {}
    for failure in FAILURES:
        case = Case.from_id(failure.case)
        found = known.apply(case, [(failure.op, failed(failure))])
        assert [verdict.status for _, verdict in found.verdicts] == ["expected_failures"]
        counts |= {text: pair for text, pair in found.counts.items() if pair[0]}
    counts |= known.apply(DENSE, [wrong(DENSE, "grad_bias", "raised")]).counts
    assert known.broken(counts) == []


def test_a_written_file_shows_a_message_of_each_operation_and_kind() -> None:
    """The comments group by operation and kind, in their order, and stay on one line."""
    text = written(FAILURES, target="mine", suite="quick")
    comments = [line for line in text.splitlines() if line.startswith("# ") and "result" in line]
    assert comments == [
        "# forward, shape: 1 result. is (2,)",
        "# grad_input, values: 2 results. 3 of 9 differ; got 'a' [0m",
    ]


def test_the_page_lists_all_names() -> None:
    """docs/ci.md names each kind of failure, each feature, and each name of a condition."""
    text = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    flat = " ".join(text.split())
    assert f"those of the report: {', '.join(KINDS)}." in flat
    assert f"FEATURE is one of {', '.join(FEATURES)}, or a condition" in flat
    (block,) = [b for b in text.split("```") if b.startswith("text\nbatch ")]
    assert set(block.split()[1:]) == set(NAMES)


@pytest.mark.parametrize("start", ["text\n# known.txt", "toml\n[[expect]]"])
def test_the_pages_examples_are_valid(tmp_path: Path, start: str) -> None:
    """The files that docs/ci.md shows can be read."""
    text = (Path(__file__).parents[2] / "docs" / "ci.md").read_text(encoding="utf-8")
    (block,) = [b for b in text.split("```") if b.startswith(start)]
    name = "known.toml" if start.startswith("toml") else "known.txt"
    entries = read(tmp_path, block.partition("\n")[2], name).entries
    assert entries[0].subject == "groups > 1 and stride_w > 1"
    assert entries[0].link == "https://example.org/issues/7"
