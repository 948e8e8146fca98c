"""The page: what it says is what the report holds, and nothing of a target's is ever markup."""

import base64
import contextlib
import io
import itertools
import re
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npconv
from npconv import adapters, cli
from npconv.oracle.cases import Case
from npconv.oracle.check import report_on
from npconv.oracle.conditions import Condition
from npconv.oracle.data import FACTORS
from npconv.oracle.expectations import Entry, Expectations
from npconv.oracle.judge import Failure, Verdict, failed
from npconv.oracle.page import once_more, page_text, smallest
from npconv.oracle.page.markup import Markup, element, plain
from npconv.oracle.page.pictures import Picture, figure
from npconv.oracle.page.reads import reads
from npconv.oracle.page.shares import (
    SAMPLE,
    Sample,
    information,
    parameters,
    sample,
    shares,
    spread,
    telling,
    without,
)
from npconv.oracle.probe import Finding
from npconv.oracle.protocol import OPS
from npconv.oracle.report import COUNTS, Diagnosis, Report, Result, Tally, environment
from npconv.oracle.run import Plan, run
from npconv.oracle.suites import suite_named

#: The same on every NumPy.
pytestmark = pytest.mark.once

QUICK = suite_named("quick")
IDS = [QUICK[position].id for position in range(len(QUICK)) if QUICK[position].illegal is None]

#: Markup in every form that a browser might take for it, and characters that hide text.
HOSTILE = (
    "</style></title><script>alert(1)</script><img src=x onerror=alert(2)>\"'&amp;\u202e\0\ud800"
)

FAULTY = """
import numpy as np
import npconv
supports = {"dtypes": ["float32", "int8"]}

def conv2d(x, w, b, stride, padding, dilation, groups):
    if dilation != (1, 1):
        raise NotImplementedError("dilation")
    out = npconv.conv2d(x, w, b, stride, padding, dilation, groups)
    if stride[1] > 1:
        out[..., -1] += 1
    return out
"""
BACKWARD = """
def conv2d_backward(g, x, w, stride, padding, dilation, groups, mask):
    found = npconv.conv2d_backward(g, x, w, stride, padding, dilation, groups, mask)
    return tuple(None if a is None else a * a.dtype.type(1 + (stride[0] > 1)) for a in found)
"""
SINGLE = """
def conv2d_input(size, w, g, *parameters):
    return npconv.conv2d_input(size, w, g, *parameters) + 1

def conv2d_weight(x, size, g, *parameters):
    return npconv.conv2d_weight(x, size, g, *parameters) + 1

def conv2d_bias(g):
    return npconv.conv2d_bias(g) + 1
"""


# ------------------------------------------------------------------- reading a page


@dataclass
class Node:
    """An element of a page."""

    tag: str
    attributes: dict[str, str]
    children: list["Node | str"] = field(default_factory=list)

    @property
    def text(self) -> str:
        """All text within."""
        return "".join(c if isinstance(c, str) else c.text for c in self.children)

    def all(self, tag: str, class_: str = "") -> list["Node"]:
        """Elements within that have this tag and class."""
        found = []
        for child in self.children:
            if isinstance(child, Node):
                named = not class_ or class_ in child.attributes.get("class", "").split()
                found += [child] if child.tag == tag and named else []
                found += child.all(tag, class_)
        return found

    def section(self, name: str) -> "Node":
        """The section with this id."""
        return next(node for node in self.all("section") if node.attributes["id"] == name)


class Reader(HTMLParser):
    """Reads a page that is well-formed: each element that needs an end has it, in its place."""

    VOID = ("br", "link", "meta", "img")

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Node("", {})
        self.open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Open an element."""
        names = [name for name, _ in attrs]
        assert len(set(names)) == len(names), (tag, names)
        node = Node(tag, {name: value or "" for name, value in attrs})
        self.open[-1].children.append(node)
        if tag not in self.VOID:
            self.open.append(node)

    def handle_endtag(self, tag: str) -> None:
        """Close the element that was opened last."""
        assert self.open[-1].tag == tag, f"</{tag}> within <{self.open[-1].tag}>"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        """Keep text."""
        self.open[-1].children.append(data)


def read(text: str) -> Node:
    """The tree of a page; an assertion fails where it is not well-formed."""
    reader = Reader()
    reader.feed(text)
    reader.close()
    assert reader.open == [reader.root]
    return reader.root


def table(node: Node) -> list[list[str]]:
    """The cells of all tables within, row by row, without their heads."""
    rows = []
    for row in node.all("tr"):
        cells = [c for c in row.children if isinstance(c, Node)]
        if any(c.tag == "td" for c in cells):
            rows.append([c.text for c in cells])
    return rows


def number(text: str) -> int:
    """A number as a page writes it."""
    return int(text.replace(",", ""))


# ------------------------------------------------------------------- making reports


def report_of(tally: Tally, **others: Any) -> Report:
    """A report on a tally."""
    values = {
        "target": "kernel.py",
        "suite": "quick",
        "suite_digest": "0123",
        "tally": tally,
        "interrupted": False,
        "environment": environment("kernel 1.0"),
        "version": npconv.__version__,
        "length": tally.positions,
    }
    return Report(**{**values, **others})


def tally_of(*verdicts: Verdict) -> Tally:
    """Sum up one verdict of the forward operation for each of the first cases."""
    return Tally.of(
        [Result(i, IDS[i], [("forward", v)], 0.25) for i, v in enumerate(verdicts)], 2.0
    )


def wrong(number: int, message: str = "differs", op: str = "forward", **others: Any) -> Verdict:
    """A failure of one of the first legal cases of quick."""
    return failed(Failure(IDS[number], op, others.pop("kind", "values"), message, **others))


def ran(folder: Path, code: str, suite: str = "quick[::9]") -> tuple[Plan, Report, str]:
    """Run part of a suite on a file with this code; return plan, report and page."""
    path = folder / "kernel.py"
    path.write_text(code, encoding="utf-8")
    plan = Plan(adapters.load, str(path), suite)
    tally = Tally()
    ending = run(plan, tally)
    report = report_on(plan, tally, ending, target=str(path), described=str(path))
    supports = plan.implementation().supports
    page = page_text(
        report,
        plan.cases(),
        leaves_out=lambda case: plan.leaves_out(case, supports),
        again=once_more(plan, report, None),
    )
    return plan, report, page


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> tuple[Plan, Report, str]:
    """A run with several faults."""
    return ran(tmp_path_factory.mktemp("faulty"), FAULTY + BACKWARD)


# ------------------------------------------------------------------- the whole page


def test_page_is_well_formed(faulty: tuple[Plan, Report, str]) -> None:
    """Tags nest, ids are unique, links lead to ids, and headings step down one by one."""
    page = read(faulty[2])
    ids = [n.attributes["id"] for n in page.all("section")]
    assert len(ids) == len(set(ids)) > 5
    assert {a.attributes["href"] for a in page.all("nav")[0].all("a")} == {f"#{i}" for i in ids}
    levels = [int(tag[1]) for tag in re.findall(r"<(h[1-6])", faulty[2])]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))


def test_page_needs_nothing_else(faulty: tuple[Plan, Report, str]) -> None:
    """No script, no other file, no address of a network, and a policy that forbids all of them."""
    page = read(faulty[2])
    used = {node.tag for node in walk(page)}
    assert not used & {"script", "link", "iframe", "object", "embed", "base", "form"}
    for node in walk(page):
        for name, value in node.attributes.items():
            assert not name.startswith("on")
            if name in ("href", "src"):
                assert value.startswith(("#", "data:image/png;base64,"))
    assert not re.search(r"url\(|@import|https?:", page.all("style")[0].text)
    policy = next(m for m in page.all("meta") if "http-equiv" in m.attributes)
    assert policy.attributes["content"].startswith("default-src 'none'")


def walk(node: Node) -> Iterator[Node]:
    """All elements."""
    for child in node.children:
        if isinstance(child, Node):
            yield child
            yield from walk(child)


def test_pictures_and_tables_have_names(faulty: tuple[Plan, Report, str]) -> None:
    """Each picture has a text in its place, each table has headers, each scrolled part a name."""
    page = read(faulty[2])
    pictures = page.all("svg")
    assert len(pictures) > 20
    for picture in pictures:
        assert picture.attributes.get("aria-label") or picture.attributes.get("aria-hidden")
    for each in page.all("table"):
        assert each.all("th")
    for each in page.all("div", "wide"):
        assert each.attributes["role"] == "region"
        assert each.attributes["aria-label"]


def test_page_is_the_same_each_time(faulty: tuple[Plan, Report, str]) -> None:
    """The same report, suite and results give the same bytes."""
    plan, report, page = faulty
    supports = plan.implementation().supports
    assert page == page_text(
        report,
        plan.cases(),
        leaves_out=lambda case: plan.leaves_out(case, supports),
        again=once_more(plan, report, None),
    )


def test_nothing_of_a_target_is_markup() -> None:
    """Markup in messages, names, reasons and conditions comes out as text, readable and inert."""
    tally = tally_of(
        wrong(0, HOSTILE, got=HOSTILE, want=HOSTILE, index=(0, 0, 0, 0)),
        wrong(1, HOSTILE, kind="raised"),
        Verdict("unsupported", reason=HOSTILE),
    )
    tally.left_out = {f"--without {HOSTILE}": 3}
    entry = Entry(HOSTILE, HOSTILE, Condition.parse("groups > 1"), (), (), HOSTILE, HOSTILE)
    says = Diagnosis(
        op="forward", suspect=HOSTILE, says=HOSTILE, explains=1, of=2, failing=2, asked=3,
        condition=HOSTILE, missed=0, extra=0, sample=2, smallest=IDS[0], others=(HOSTILE,),
        shape=HOSTILE, test=HOSTILE,
    )  # fmt: skip
    report = report_of(
        tally,
        target=HOSTILE,
        suite=HOSTILE,
        version=HOSTILE,
        environment=dict.fromkeys(("target", "python", "numpy", "cpu", "platform"), HOSTILE),
        expectations=Expectations((entry,)),
        findings={"forward": {"float32": Finding(HOSTILE, HOSTILE)}},
        diagnoses=[says],
    )
    text = page_text(report, QUICK, command=HOSTILE)
    page = read(text)
    assert not {node.tag for node in walk(page)} & {"script", "img"}
    assert not any(name.startswith("on") for node in walk(page) for name in node.attributes)
    assert all(a.attributes["href"].startswith("#") for a in page.all("a"))
    assert "\u202e" not in text
    assert "\0" not in text
    text.encode("utf-8")
    shown = plain(HOSTILE)
    for name in ("wrong", "failures", "smallest", "known", "arithmetic", "left-out", "unsupported"):
        assert shown in page.section(name).text, name
    assert shown in page.all("header")[0].text


@pytest.mark.parametrize(
    ("tally", "others", "state", "said"),
    [
        (tally_of(Verdict("passed"), Verdict("undecided")), {}, "conforms", "All 2 cases conform"),
        (tally_of(wrong(0), Verdict("passed")), {}, "fails", "1 of 2 results fails"),
        (
            tally_of(wrong(0), wrong(1)),
            {"interrupted": True, "length": 9},
            "fails",
            "Interrupted: 2 of 2 results fail so far",
        ),
        (
            tally_of(Verdict("passed")),
            {"interrupted": True, "length": 9},
            "interrupted",
            "Interrupted: the 1 case that were finished conform",
        ),
        (
            tally_of(Verdict("passed")),
            {"length": 9},
            "interrupted",
            "Ended early: the 1 case that were finished conform",
        ),
        (tally_of(Verdict("unsupported")), {}, "nothing", "Nothing was judged"),
        (Tally(), {"interrupted": True, "length": 9}, "nothing", "Interrupted: nothing was judged"),
        (
            tally_of(wrong(0)),
            {"gave_up": True, "length": 9},
            "fails",
            "Given up: 1 of 1 result fails so far",
        ),
        (
            tally_of(Verdict("passed")),
            {
                "expectations": Expectations(
                    (Entry("a:1", "groups > 1", Condition.parse("groups > 1"), (), (), "old"),)
                )
            },
            "fails",
            "1 expectation broken",
        ),
    ],
    ids=[
        "conforms", "fails", "interrupted with failures", "interrupted", "early", "nothing",
        "nothing yet", "gave up", "expectation",
    ],
)  # fmt: skip
def test_verdict_stands_at_the_top(
    tally: Tally, others: dict[str, Any], state: str, said: str
) -> None:
    """The first heading and the title are the verdict, and its colour agrees with it."""
    page = read(page_text(report_of(tally, **others)))
    assert page.all("h1")[0].text == said
    assert page.all("title")[0].text.startswith(said)
    assert [n.attributes["class"] for n in page.all("div", "verdict")] == [f"verdict {state}"]


def test_a_conforming_page_is_short(tmp_path: Path) -> None:
    """Where all conforms, nothing speaks of failures."""
    _, _, page = ran(tmp_path, "from npconv import *", "quick[::30]")
    names = [n.attributes["id"] for n in read(page).all("section")]
    assert names[0] == "results"
    assert set(names) <= {"results", "errors", "arithmetic", "left-out", "unsupported"}
    assert len(page) < 60_000


# ------------------------------------------------------------------- numbers


def test_counts_are_the_reports(faulty: tuple[Plan, Report, str]) -> None:
    """Each cell of the table of results is the report's count; the last row is their sum."""
    _, report, page = faulty
    rows = table(read(page).section("results"))
    counts = report.as_dict()["ops"]
    wanted = [[op, *(counts[op][name] for name in COUNTS)] for op in OPS]
    assert [[row[0], *map(number, row[1:7])] for row in rows[:-1]] == wanted
    assert list(map(number, rows[-1][1:7])) == [
        sum(counts[op][name] for op in OPS) for name in COUNTS
    ]
    assert sum(counts["forward"].values()) > counts["forward"]["failed"] > 5


def test_bars_have_the_widths_of_their_counts(faulty: tuple[Plan, Report, str]) -> None:
    """The parts of a bar name their counts, fill it together, and are as wide as they are many."""
    _, report, page = faulty
    for op, bar in zip(OPS, read(page).section("results").all("svg", "bar"), strict=True):
        counts = {n: c for n, c in report.tally.counts[op].items() if c}
        parts = bar.all("rect")
        assert [p.text for p in parts] == [
            f"{c:,} {n.replace('_', ' ')}" for n, c in counts.items()
        ]
        widths = [float(p.attributes["width"]) for p in parts]
        assert sum(widths) == pytest.approx(320, abs=0.1)
        assert all(wide >= 2.99 for wide in widths)
        shares = [320 * c / sum(counts.values()) for c in counts.values()]
        assert widths == pytest.approx(shares, abs=4)


def test_every_failure_is_counted_once(faulty: tuple[Plan, Report, str]) -> None:
    """The rows of failures add up to what is kept, each with the plainest case's own command."""
    _, report, page = faulty
    rows = table(read(page).section("failures"))
    firsts, commands = rows[::2], rows[1::2]
    counted: Counter[tuple[str, str]] = Counter()
    for op, kind, count, _, _ in firsts:
        counted[op, kind] += number(count)
    assert counted == Counter((f.op, f.kind) for f in report.failures)
    known = {(f.case, f.op): f for f in report.failures}
    for (op, kind, _, ratio, message), (command,) in zip(firsts, commands, strict=True):
        found = known[command.split()[-1], op]
        assert (found.kind, found.message) == (kind, message)
        assert ratio == ("" if found.ratio is None else f"{found.ratio:.3g}")


def test_failures_that_differ_in_numbers_alone_are_one() -> None:
    """Messages alike but for their numbers share a row; other words or another kind do not."""
    tally = tally_of(
        wrong(0, "3 of 4 differ: got -1.5e+06, want nan"),
        wrong(1, "5 of 6 differ: got 2, want -inf"),
        wrong(2, "nothing differs"),
        wrong(3, "3 of 4 differ: got -1.5e+06, want nan", kind="nonfinite"),
    )
    rows = table(read(page_text(report_of(tally))).section("failures"))[::2]
    assert sorted((kind, number(count)) for _, kind, count, _, _ in rows) == [
        ("nonfinite", 1), ("values", 1), ("values", 2),
    ]  # fmt: skip


def test_histogram_holds_every_ratio() -> None:
    """The bars of the histogram are the report's bins; those right of the line are failures."""
    ratios = [0.0, 1e-9, 0.02, 0.9, 1.0, 1.1, 40.0, 1e9]
    verdicts = [Verdict("passed", r) if r <= 1 else wrong(i, ratio=r) for i, r in enumerate(ratios)]
    report = report_of(tally_of(*verdicts))
    errors = read(page_text(report)).section("errors")
    bars = {bar.text.rpartition(": ")[0]: bar for bar in errors.all("rect")}
    counts = {said: number(bar.text.rpartition(": ")[2]) for said, bar in bars.items()}
    assert {said: count for said, count in counts.items() if count} == {
        "up to 1e-06": 2, "0.01 to 0.032": 1, "0.32 to 1": 2, "1 to 3.2": 1, "32 to 1e+02": 1,
        "above 3.2e+05": 1,
    }  # fmt: skip
    limit = float(errors.all("line", "limit")[0].attributes["x1"])
    for bar in bars.values():
        x = float(bar.attributes["x"])
        assert (x > limit) == (bar.attributes["class"] == "s-failed")
    assert "8 results judged by a bound, 3 beyond it. The largest ratio that passed is 1." in (
        errors.text
    )


def test_arithmetic_reasons_and_what_was_not_asked(faulty: tuple[Plan, Report, str]) -> None:
    """The probe's sentences stand there, and why results are unsupported and cases not asked."""
    _, report, page = faulty
    tree = read(page)
    said = {
        (op, dtype, finding.name, finding.says)
        for op, found in report.findings.items()
        for dtype, finding in found.items()
    }
    shown = {
        (op, dtype, name, says)
        for op, dtypes, name, says in table(tree.section("arithmetic"))
        for dtype in dtypes.split(", ")
    }
    assert shown == said != set()
    rows = table(tree.section("unsupported"))
    assert [(op, number(count), reason) for op, count, reason in rows] == [
        (op, count, reason)
        for op, reasons in report.tally.unsupported.items()
        for reason, count in reasons.items()
    ]
    left_out = [number(count) for _, count in table(tree.section("left-out"))]
    assert sorted(left_out) == sorted(report.tally.left_out.values())


def test_expectations_are_listed_with_what_they_match() -> None:
    """Each expectation stands with its counts and link; those no longer true stand out."""
    entries = (
        Entry("known:1", "groups > 1", Condition.parse("groups > 1"), (), (), "old",
              "https://host/7"),
        Entry("known:2", "stride_h > 9", Condition.parse("stride_h > 9"), (), (), "gone"),
    )  # fmt: skip
    tally = tally_of(Verdict("passed"))
    tally.expected = {"groups > 1": (5, 4), "stride_h > 9": (3, 0)}
    known = read(page_text(report_of(tally, expectations=Expectations(entries)))).section("known")
    assert table(known) == [
        ["groups > 1", "5", "4", "old https://host/7"],
        ["stride_h > 9", "3", "0", "gone "],
    ]
    assert [a.attributes["href"] for a in known.all("a")] == ["https://host/7"]
    assert [li.text for li in known.all("li")] == Expectations(entries).broken(tally.expected)


def test_diagnoses_come_first() -> None:
    """What explains the failures is the first section: rule, suspect, counts, case and test."""
    found = Diagnosis(
        op="forward", suspect="flipped", says="The kernel is flipped.", explains=12, of=12,
        failing=12, asked=40, condition="groups > 1", missed=0, extra=2, sample=9, smallest=IDS[3],
        others=("turned",), shape="In every row.", test="assert conv2d(x) == 3",
    )  # fmt: skip
    page = read(page_text(report_of(tally_of(wrong(0)), diagnoses=[found])))
    assert page.all("section")[0].attributes["id"] == "wrong"
    text = page.section("wrong").text
    for said in (
        "12 of 40 results fail",
        "The kernel is flipped.",
        "This gives 12 of the 12 failing results.",
        "groups > 1",
        "0 fail elsewhere, 2 within pass",
        "found from 9 of the failing cases",
        "flipped",
        "turned",
        "In every row.",
        f"npconv check kernel.py --case {IDS[3]}",
        "assert conv2d(x) == 3",
    ):
        assert said in text


def test_size_is_bounded() -> None:
    """A page on a thousand distinct failures with long messages stays under two megabytes."""
    long = "<&\"'>" * 60
    verdicts = [wrong(i % 300, f"{chr(97 + i % 26) * (i // 26 + 1)} {long}") for i in range(1100)]
    results = [
        Result(i, IDS[i % 300], [(OPS[i % 4], replace_op(v, OPS[i % 4]))])
        for i, v in enumerate(verdicts)
    ]
    tally = Tally.of(results, 1.0)
    assert len(tally.failures) == 1000
    text = page_text(report_of(tally), QUICK)
    assert len(text.encode()) < 2_000_000
    section = read(text).section("failures")
    rows = table(section)[::2]
    assert len(rows) == 300
    assert {row[0] for row in rows} == set(OPS)
    assert "700 further failures" in section.text
    assert "1,000 of 1,100 failures" in section.text


def replace_op(verdict: Verdict, op: str) -> Verdict:
    """The same failure of another operation."""
    assert verdict.failure is not None
    return failed(replace(verdict.failure, op=op))


@pytest.mark.parametrize("extents", [(600, 700), (2, 65_537), (65_537, 1), (1, 1)])
def test_a_large_array_takes_bounded_room(extents: tuple[int, int]) -> None:
    """Of an array of any size a part around the worst element is drawn, and it says which."""
    array = np.ones((6, 7, *extents), dtype=np.int8)
    worst = (5, 6, extents[0] - 1, extents[1] // 2)
    text = figure(Picture("actual", array, worst=worst))
    tree = read(text)
    assert len(text) < 100_000
    assert len(tree.all("svg")) == 12
    assert len(tree.all("rect", "worst")) == 1
    assert "12 of 42 planes" in tree.text
    assert ("rows" in tree.text) == (extents[0] > 64)
    assert ("columns" in tree.text) == (extents[1] > 64)


# ------------------------------------------------------------------- the failing case


def test_failing_cases_are_drawn(faulty: tuple[Plan, Report, str]) -> None:
    """Of each failing operation: operands, expected, actual, difference, the worst one marked."""
    plan, report, page = faulty
    articles = read(page).section("smallest").all("article")
    chosen = smallest(report)
    assert [a.all("h3")[0].text.split()[0] for a in articles] == list(chosen) == list(OPS)
    again = once_more(plan, report, None)
    for (op, case), article in zip(chosen.items(), articles, strict=True):
        outcome = again[case].outcome
        assert outcome.expected is not None
        expected, actual = outcome.expected.values[op], outcome.results[op]
        figures = {f.all("b")[0].text: f for f in article.all("figure")}
        assert set(figures) >= {*FACTORS[op], "expected", "actual", "actual − expected"}
        for name, array in (("expected", expected), ("actual", actual)):
            planes = array.reshape(-1, *array.shape[-2:]) if array.ndim > 1 else array[None]
            shown = numbers(figures[name])
            size = planes[0].size * min(len(planes), 12)
            assert len(shown) == size
            if len(planes) <= 12:
                # From a million up three digits are written.
                assert [float(text) for text in shown] == pytest.approx(array.ravel(), rel=5e-3)
        failure = next(v.failure for o, v in outcome.verdicts if o == op)
        assert failure is not None
        assert failure.index is not None
        for name in ("expected", "actual", "actual − expected"):
            marks = figures[name].all("rect", "worst")
            assert len(marks) == 1
        assert f"got {failure.got}, expected {failure.want}" in article.text
        for name in FACTORS[op]:
            assert figures[name].all("rect", "read")


def numbers(node: Node) -> list[str]:
    """The numbers written in a picture."""
    return [text.text for text in node.all("text", "n")]


def test_marks_lie_on_their_elements() -> None:
    """The worst element's mark, and those of what it reads, enclose just these elements."""
    array = np.arange(2 * 3 * 4 * 5).reshape(2, 3, 4, 5)
    box = (np.array([1]), np.array([0, 2]), np.array([1, 3]), np.array([0, 2, 4]))
    tree = read(figure(Picture("input", array, read=box)))
    planes = tree.all("svg")
    assert [bool(p.all("rect", "read")) for p in planes] == [False, False, False, True, False, True]
    inside = []
    for plane in planes:
        for mark in plane.all("rect", "read"):
            inside += enclosed(plane, mark)
    assert inside == [str(array[1, c, h, w]) for c in (0, 2) for h in (1, 3) for w in (0, 2, 4)]
    tree = read(figure(Picture("actual", array, worst=(1, 2, 3, 1))))
    (mark,) = tree.all("rect", "worst")
    assert enclosed(tree.all("svg")[5], mark) == [str(array[1, 2, 3, 1])]


def enclosed(plane: Node, mark: Node) -> list[str]:
    """The numbers whose places lie within a mark."""
    x, y, wide, high = (float(mark.attributes[n]) for n in ("x", "y", "width", "height"))
    return [
        text.text
        for text in plane.all("text", "n")
        if x < float(text.attributes["x"]) < x + wide
        and y < float(text.attributes["y"]) - 4 < y + high
    ]


@pytest.mark.parametrize("dtype", ["int16", "float32", "complex64"])
def test_images_show_every_element(dtype: str) -> None:
    """A larger plane is a valid PNG with one pixel an element: sign by hue, odd values apart."""
    rng = np.random.default_rng(5)
    array = rng.integers(-99, 99, (1, 1, 23, 31)).astype(dtype)
    if dtype != "int16":
        array[0, 0, 4, 7] = np.nan
    (image,) = read(figure(Picture("input", array))).all("image")
    pixels = decoded(image.attributes["href"])
    assert pixels.shape == (23, 31, 3)
    # A complex number is shown by its larger part.
    real = array[0, 0].real
    with np.errstate(invalid="ignore"):
        blue = pixels[..., 2].astype(int) > pixels[..., 0]
        assert (blue == (real < 0))[np.isfinite(real)].all()
        assert (pixels[..., 0].astype(int) > pixels[..., 2])[real > 0].all()
    odd = (pixels == (240, 228, 66)).all(axis=2)
    assert (odd == ~np.isfinite(real)).all()


def decoded(address: str) -> np.ndarray[Any, Any]:
    """The pixels of an unfiltered 8-bit RGB PNG, its checksums verified."""
    data = base64.b64decode(address.removeprefix("data:image/png;base64,"))
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    place, chunks = 8, {}
    while place < len(data):
        (size,) = struct.unpack(">I", data[place : place + 4])
        name, body = data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        (check,) = struct.unpack(">I", data[place + 8 + size : place + 12 + size])
        assert check == zlib.crc32(name + body)
        chunks[name] = body
        place += 12 + size
    assert list(chunks) == [b"IHDR", b"IDAT", b"IEND"]
    width, height, *rest = struct.unpack(">IIBBBBB", chunks[b"IHDR"])
    assert rest == [8, 2, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, 1 + 3 * width)
    assert not lines[:, 0].any()
    return lines[:, 1:].reshape(height, width, 3)


READ_IDS = (
    "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float64-packed-integers-seed0",
    "c3f2g1-5x6-k2x3-s1x2-p2x1-d2x1-nobias-m111-float64-packed-integers-seed0",
    "n1c4f4g4-6x5-k3x1-s3x2-psame_upper-d1x1-bias-m111-float64-packed-integers-seed0",
    "n3c2f3g1-6x7-k2x2-s2x3-p2_-1x-2_3-d2x1-bias-m111-float64-packed-integers-seed0",
)


@pytest.mark.parametrize("text", READ_IDS)
@pytest.mark.parametrize("op", OPS)
def test_what_an_element_reads(text: str, op: str) -> None:
    """An element is marked as read just if the result's element changes with it."""
    case = Case.from_id(text)
    geometry = case.geometry
    shapes = {
        "input": case.input_shape, "weight": case.weight_shape,
        "grad_output": geometry.output_shape,
    }  # fmt: skip

    def result(arrays: dict[str, Any]) -> Any:
        p = case.parameters
        x, w, g = (arrays[name] for name in shapes)
        return {
            "forward": lambda: npconv.conv2d(x, w, None, *p),
            "grad_input": lambda: npconv.conv2d_input(x.shape, w, g, *p),
            "grad_weight": lambda: npconv.conv2d_weight(x, w.shape, g, *p),
            "grad_bias": lambda: npconv.conv2d_bias(g),
        }[op]()

    ones = {name: np.ones(shape) for name, shape in shapes.items()}
    rng = np.random.default_rng(7)
    whole = result(ones)
    for index in map(tuple, rng.integers(0, whole.shape, (3, whole.ndim))):
        found = reads(case, op, tuple(int(i) for i in index))
        assert set(found) == set(FACTORS[op])
        for name in FACTORS[op]:
            changes = np.zeros(shapes[name], dtype=bool)
            for at in np.ndindex(shapes[name]):
                single = np.zeros(shapes[name])
                single[at] = 1
                changes[at] = result({**ones, name: single})[index] != 0
            marked = np.zeros_like(changes)
            four = marked.reshape((1,) * (4 - marked.ndim) + marked.shape)
            four[np.ix_(*found[name])] = True
            assert (marked == changes).all(), (name, index)


@pytest.mark.parametrize("backward", [BACKWARD, SINGLE], ids=["backward", "single"])
def test_snippets_repeat_the_failure(tmp_path: Path, backward: str) -> None:
    """The Python of each drawn case runs as it stands and ends where values differ."""
    _, _, page = ran(tmp_path, FAULTY + backward)
    articles = read(page).section("smallest").all("article")
    assert len(articles) == 4
    exact = 0
    for article in articles:
        code = article.all("details")[0].all("code")[0].text
        if "assert_array_equal" in code:
            exact += 1
            with pytest.raises(AssertionError, match="Arrays are not equal"):
                exec(compile(code, "<snippet>", "exec"), {})
        else:
            # On a slow machine the diagnosis has no time to find a case of integers.
            with contextlib.redirect_stdout(io.StringIO()) as said:
                exec(compile(code, "<snippet>", "exec"), {})
            assert float(said.getvalue()) > 0
    assert exact > 0


def test_a_case_that_was_not_run_again_is_drawn_without_its_result() -> None:
    """Expected is drawn from the id alone; of what came there is the report's text."""
    tally = tally_of(wrong(0, "got 3, want 4", index=(0, 0, 0, 0), got="3", want="4"))
    article = read(page_text(report_of(tally))).section("smallest").all("article")[0]
    names = [f.all("b")[0].text for f in article.all("figure")]
    assert "expected" in names
    assert "actual" not in names
    assert "was not run again" in article.text


def test_results_of_other_shapes_and_dtypes_are_drawn(tmp_path: Path) -> None:
    """A result of another shape stands beside the expected one, without a difference."""
    code = FAULTY.replace("out[..., -1] += 1", "out = out[..., :-1].copy()")
    _, report, page = ran(tmp_path, code)
    assert {f.kind for f in report.failures} == {"shape"}
    article = read(page).section("smallest").all("article")[0]
    names = [f.all("b")[0].text for f in article.all("figure")]
    assert names[-2:] == ["expected", "actual"]


def test_the_case_that_is_drawn_is_one_that_can_be_seen() -> None:
    """A diagnosis' smallest case comes first, but none that is illegal, crashed or raised."""
    illegal = next(QUICK[p].id for p in range(len(QUICK)) if QUICK[p].illegal is not None)

    def says(case: str, suspect: str | None) -> Diagnosis:
        return Diagnosis("forward", suspect, "", 1, 1, 1, 1, None, 0, 0, 0, case)

    tally = tally_of(wrong(0, kind="crashed"), wrong(1, kind="raised"), wrong(2))
    found = [says(illegal, "a"), says(IDS[0], "b"), says(IDS[5], None), says(IDS[6], "c")]
    assert smallest(report_of(tally, diagnoses=found)) == {"forward": IDS[6]}
    assert smallest(report_of(tally, diagnoses=found[:3])) == {"forward": IDS[5]}
    assert smallest(report_of(tally, diagnoses=found[:2])) == {"forward": IDS[2]}
    alone = tally_of(wrong(0, kind="crashed"))
    assert smallest(report_of(alone)) == {"forward": IDS[0]}


# ------------------------------------------------------------------- parameters


def test_map_counts_every_case(faulty: tuple[Plan, Report, str]) -> None:
    """Each block of the map adds up to what fails and what was asked and answered."""
    plan, report, page = faulty
    maps = read(page).section("map")
    headings = [h.text for h in maps.all("h3")]
    assert headings == list(report.tally.failed)
    supports = plan.implementation().supports
    cases = plan.cases()
    for op, svg in zip(headings, maps.all("svg", "heat"), strict=True):
        failing = {p for a, b in report.tally.failed[op] for p in range(a, b)}
        silent = {p for a, b in report.tally.declined.get(op, ()) for p in range(a, b)}
        asked = {
            p
            for p in range(len(cases))
            if cases[p].illegal is None
            and plan.leaves_out(cases[p], supports) is None
            and (op == "forward" or p in failing or cases[p].output_mask[OPS.index(op) - 1])
        } - silent
        blocks: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for title in svg.all("title"):
            said = re.fullmatch(r"(\w+) [^,]+, (\w+) [^,]+: (.*)", title.text)
            assert said is not None
            counts = [] if said[3] == "no case" else [number(n) for n in said[3].split()[0:3:2]]
            blocks.setdefault((said[1], said[2]), []).append(tuple(counts) or (0, 0))  # type: ignore[arg-type]  # two ints
        assert len(blocks) >= 3
        for cells in blocks.values():
            assert tuple(map(sum, zip(*cells, strict=True))) == (len(failing), len(asked))


def test_the_most_telling_parameter_comes_first(faulty: tuple[Plan, Report, str]) -> None:
    """A fault of stride_w is shown by stride_w: 1 never fails, all other values mostly do."""
    maps = read(faulty[2]).section("map")
    first = maps.all("div", "alone")[0].all("table")[0]
    assert first.all("caption")[0].text == "stride_w"
    rows = {row[0]: row[1:] for row in table(first)}
    assert rows.pop("1")[1] == "0 %"
    # Not all: the fault is an error of 1, which lies within the bound of large numbers.
    assert all(int(share.split()[0].strip("<>")) > 50 for _, share in rows.values())


def sample_of(fails: Any, count: int = 400) -> Any:
    """A sample of made-up cases of quick, failing where `fails` says so."""
    cases = [Case.from_id(text) for text in IDS[:count]]
    failing = [(i, i + 1) for i, case in enumerate(cases) if fails(case)]
    return sample([(0, len(cases))], failing, cases.__getitem__, lambda _: True), cases


@pytest.mark.parametrize(
    ("fails", "names"),
    [
        (lambda case: case.groups > 1, {"groups"}),
        (lambda case: case.stride[0] != case.stride[1], {"stride_h", "stride_w"}),
        (lambda case: case.layout == "reversed", {"layout"}),
        (lambda case: case.kernel[1] > 2 and case.dtype == "float32", {"kernel_w", "dtype"}),
    ],
    ids=["one", "two that tell nothing alone", "a word", "both"],
)
def test_telling_parameters_are_found(fails: Any, names: set[str]) -> None:
    """A rule over one or two parameters puts these among the first two shown."""
    found, _ = sample_of(fails, len(IDS))
    chosen = telling(found, parameters(found))
    assert names <= {parameter.name for parameter in chosen[:2]}


def test_two_parameters_that_tell_nothing_alone_are_found() -> None:
    """A pair that decides together comes before a parameter that says more than either alone."""
    rng = np.random.default_rng(11)
    one, other = rng.random((2, 2000)) < 0.5
    fails = one ^ other
    hint = np.where(rng.random(2000) < 0.7, fails, ~fails)
    columns: dict[str, Any] = {
        name: [bool(value) for value in column]
        for name, column in (("bias", one), ("unbatched", other), ("depthwise", hint))
    }
    found = Sample(columns, fails, np.ones(2000), True)
    known = parameters(found)
    assert max(known, key=lambda p: information(found, p)).name == "depthwise"
    assert {p.name for p in telling(found, known)[:2]} == {"bias", "unbatched"}


def test_a_parameter_that_says_nothing_has_no_information() -> None:
    """Chance is taken off: over random failures no parameter says a hundredth of a bit a case."""
    rng = np.random.default_rng(3)
    found, _ = sample_of(lambda _: False, len(IDS))
    found = replace(found, failing=rng.random(len(found)) < 0.5)
    for parameter in parameters(found):
        assert information(found, parameter) < 0.03, parameter.name


def test_shares_are_counted() -> None:
    """The shares of a parameter's values are what counting gives."""
    found, cases = sample_of(lambda case: case.groups > 1 and case.kernel[0] == 3)
    (groups,) = [p for p in parameters(found) if p.name == "bias"]
    pairs = zip(groups.labels, shares(found, groups), strict=True)
    got = {label: (share.failing, share.asked) for label, share in pairs}
    for label, bias in (("no", False), ("yes", True)):
        of = [case for case in cases if case.bias == bias]
        assert got[label] == (sum(c.groups > 1 and c.kernel[0] == 3 for c in of), len(of))


def test_long_suites_are_sampled_evenly() -> None:
    """Of a long suite some are looked at, failing ones and others apart, and it says so."""
    case = Case.from_id(IDS[0])
    length = 50 * SAMPLE
    asked: list[int] = []

    def case_at(position: int) -> Case:
        asked.append(position)
        return case

    found = sample([(0, length)], [(10, 13)], case_at, lambda _: True)
    assert not found.whole
    assert len(asked) == SAMPLE + 3
    assert set(asked[:3]) == {10, 11, 12}
    assert float(found.weights.sum()) == pytest.approx(length)
    assert float((found.weights * found.failing).sum()) == 3
    assert max(np.diff(sorted(asked[3:]))) <= 54


def test_stretches_less_stretches() -> None:
    """What is left of stretches without others is the difference of their positions."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        a, b = (sorted(rng.choice(40, 6, replace=False).tolist()) for _ in range(2))
        whole = list(zip(a[::2], a[1::2], strict=True))
        cut = list(zip(b[::2], b[1::2], strict=True))
        left = without(whole, cut)
        assert positions(left) == sorted(set(positions(whole)) - set(positions(cut)))
        assert all(start < stop for start, stop in left)
        count = int(rng.integers(1, len(positions(whole)) + 1))
        chosen = spread(whole, count)
        assert len(set(chosen)) == count
        assert set(chosen) <= set(positions(whole))


def positions(ranges: list[tuple[int, int]]) -> list[int]:
    """All positions of stretches."""
    return [p for start, stop in ranges for p in range(start, stop)]


# ------------------------------------------------------------------- markup


def test_text_is_escaped_and_markup_is_not() -> None:
    """Text loses its meaning as markup, in content and attributes; markup keeps it."""
    assert element("b", "<i>", Markup("<i></i>"), title='"&') == (
        '<b title="&quot;&amp;">&lt;i&gt;<i></i></b>'
    )
    assert element("td", 1234567) == "<td>1,234,567</td>"
    assert (
        element("rect", x=1.5, y=2.0, width=float("nan")) == '<rect x="1.5" y="2" width="0"></rect>'
    )


# ------------------------------------------------------------------- the command line


def run_command(*arguments: str) -> int:
    """Run the command line, its output thrown away."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return cli.main(arguments)


def test_the_command_writes_the_page(tmp_path: Path) -> None:
    """--html writes a page with what came drawn; `merge` writes one of the joined report."""
    target, page, report = (tmp_path / name for name in ("kernel.py", "page.html", "report.json"))
    target.write_text(FAULTY, encoding="utf-8")
    suite = ("--suite", "quick[::17]")
    command = ("check", str(target), *suite, "--html", str(page), "--json", str(report))
    assert run_command(*command) == 1
    tree = read(page.read_text("utf-8"))
    assert "actual" in [f.all("b")[0].text for f in tree.section("smallest").all("figure")]
    assert f"npconv check {target} --suite 'quick[::17]'" in tree.all("header")[0].text
    assert tree.section("map").all("svg")
    merged = tmp_path / "merged.html"
    assert run_command("merge", str(report), "--html", str(merged)) == 1
    other = read(merged.read_text("utf-8"))
    assert table(other.section("results")) == table(tree.section("results"))
    assert other.section("map").all("svg")
    assert not list(tmp_path.glob("*.part"))


def test_the_page_survives_a_target_that_crashes(tmp_path: Path) -> None:
    """A case that kills its process is in the page, undrawn, and the page is whole."""
    target, page = tmp_path / "kernel.py", tmp_path / "page.html"
    target.write_text(
        FAULTY.replace("out[..., -1] += 1", "import os; os.abort()"), encoding="utf-8"
    )
    run_command("check", str(target), "--suite", "quick[::150]", "--html", str(page))
    tree = read(page.read_text("utf-8"))
    rows = table(tree.section("failures"))
    assert {row[1] for row in rows[::2]} == {"crashed"}
    assert "was not run again" in tree.section("smallest").text


def test_a_page_that_cannot_be_written_is_told_before_the_run(tmp_path: Path) -> None:
    """A folder, or a file in no folder, ends the command with status 2 and names the option."""
    with contextlib.redirect_stderr(io.StringIO()) as said:
        assert cli.main(("check", "formulas", "--html", str(tmp_path))) == 2
    assert f"--html {tmp_path}: it is a folder" in said.getvalue()
