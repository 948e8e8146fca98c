"""The scoreboard of docs/engines.md and its figures, from the recorded runs.

    python -m conformance.engines.scoreboard [--check]

writes both, or says what is not as the records give it. Nothing is run here, and no engine is
needed; the figures need matplotlib.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from conformance.engines import FINDINGS, RECORDS, ROOT, accuracy_of, engines, record_of
from npconv.bounds import default_for
from npconv.oracle.expectations import KINDS, Entry, Expectations
from npconv.oracle.protocol import OPS
from npconv.oracle.report import Report, read_report

DOCS = ROOT / "docs"
PAGE = DOCS / "engines.md"
FIGURES = DOCS / "figures"
BEGIN, END = "<!-- scoreboard: begin -->", "<!-- scoreboard: end -->"

TITLES = {
    "forward": "output",
    "grad_input": "input gradient",
    "grad_weight": "weight gradient",
    "grad_bias": "bias gradient",
}
#: What a result may come to, in the order of the bars, with its colour.
PARTS = {
    "passed": "#4c9f70",
    "not_reproducible": "#a6d3b4",
    "undecided": "#d9d9d9",
    "unsupported": "#9db4d6",
    "expected_failures": "#d9903d",
    "failed": "#c0392b",
}
#: Dtypes that have a panel in the figure of accuracy.
PANELS = ("float16", "bfloat16", "float32", "float64")


@dataclass(frozen=True)
class Score:
    """One adapter's recorded run, and its recorded accuracy."""

    name: str
    report: Report
    accuracy: Mapping[str, Any]

    @property
    def version(self) -> str:
        """The engine's version, as the adapter tells it."""
        return self.report.environment["target"].removeprefix(self.name).strip()

    @property
    def share(self) -> str:
        """What of the suite was run."""
        return f"`{self.report.suite}`, {self.report.length:,}"

    def count(self, *names: str) -> int:
        """Sum counts over the operations."""
        return sum(self.report.tally.total(name) for name in names)

    @cached_property
    def known(self) -> tuple[tuple[Entry, int, int], ...]:
        """Each expectation, with the results that it speaks of and those of them that fail."""
        expectations = self.report.expectations or Expectations(())
        counts = expectations.counts(self.report.tally.expected)
        return tuple((entry, *counts[entry.text]) for entry in expectations.entries)

    @property
    def kinds(self) -> dict[str, int]:
        """Failing results by kind: of an entry that names several kinds, or none, together."""
        found: dict[str, int] = defaultdict(int)
        for entry, _, failing in self.known:
            found[" or ".join(entry.kinds) or "of any kind"] += failing
        for failure in self.report.tally.failures:
            found[f"{failure.kind}, not expected"] += 1
        return dict(sorted(found.items()))


def scores(folder: Path = RECORDS) -> list[Score]:
    """Read the records that there are, in the order of the adapters' names."""
    found = []
    for name in sorted(name for names in engines().values() for name in names):
        if record_of(name, folder).is_file() and accuracy_of(name, folder).is_file():
            measured = json.loads(accuracy_of(name, folder).read_text(encoding="utf-8"))
            found.append(Score(name, read_report(record_of(name, folder)), measured))
    return found


def tables(found: Sequence[Score]) -> str:
    """Return the scoreboard as Markdown."""
    blocks = [
        "### What was asked, and what came of it",
        "\n".join(_asked(found)),
        "### What fails",
        "\n".join(_kinds(found)),
        "### Which cases fail, and why",
        "\n".join(_known(found)),
        "### Arithmetic",
        "\n".join(_arithmetic(found)),
        "### Accuracy",
        "\n".join(_accuracy(found)),
        "### Where the figures are from",
        "\n".join(_sources(found)),
    ]
    return "\n\n".join(blocks)


# ------------------------------------------------------------------------ tables


def _asked(found: Sequence[Score]) -> Iterator[str]:
    yield (
        "| adapter | version | suite, cases | asked | operations | dtypes | passed "
        "| not reproducible | undecided | unsupported | failing |"
    )
    yield "|---|---|---|--:|---|---|--:|--:|--:|--:|--:|"
    for score in found:
        supports = score.accuracy["supports"]
        ops = (
            "all"
            if len(supports["ops"]) == len(OPS)
            else _listed(TITLES[o] for o in supports["ops"])
        )
        counts = [
            score.count("passed"),
            score.count("not_reproducible"),
            score.count("undecided"),
            score.count("unsupported"),
            score.count("expected_failures", "failed"),
        ]
        numbers = " | ".join(f"{count:,}" for count in counts)
        yield (
            f"| `{score.name}` | {score.version} | {score.share} | {score.report.tally.cases:,} "
            f"| {ops} | {_listed(supports['dtypes'])} | {numbers} |"
        )


def _kinds(found: Sequence[Score]) -> Iterator[str]:
    """Yield the failures by kind; legal cases refused and illegal ones accepted by their names."""
    names = {"raised": "legal cases refused", "accepted": "illegal cases accepted"}
    yield "| adapter | failing | of them not expected | by kind |"
    yield "|---|--:|--:|---|"
    for score in found:
        kinds = [f"{names.get(kind, kind)} {count:,}" for kind, count in score.kinds.items()]
        yield (
            f"| `{score.name}` | {score.count('expected_failures', 'failed'):,} "
            f"| {score.count('failed'):,} | {'; '.join(kinds) or '-'} |"
        )


def _known(found: Sequence[Score]) -> Iterator[str]:
    """Yield a row for each reason of an adapter's expectations."""
    anchors = sections()
    yield "| adapter | results | kind | fail | of | which | why |"
    yield "|---|---|---|--:|--:|---|---|"
    for score in found:
        by_reason: dict[tuple[str, str | None], list[tuple[Entry, int, int]]] = defaultdict(list)
        for entry, asked, failing in score.known:
            by_reason[entry.reason, entry.link].append((entry, asked, failing))
        for (reason, link), group in by_reason.items():
            entries = [entry for entry, _, _ in group]
            ops = [op for op in OPS if any(op in entry.ops for entry in entries)]
            kinds = [kind for kind in KINDS if any(kind in entry.kinds for entry in entries)]
            asked, failing = (sum(counts[i] for counts in group) for i in (1, 2))
            which = f"`{entries[0].subject}`"
            if len(entries) > 1:
                which = f"{len(entries):,} entries, the first `{entries[0].subject}`"
            yield (
                f"| `{score.name}` | {_listed(TITLES[op] for op in ops) or 'all'} "
                f"| {_listed(kinds) or 'any'} | {failing:,} | {asked:,} | {_cell(which)} "
                f"| {_cell(_linked(reason, link, anchors))} |"
            )


def _arithmetic(found: Sequence[Score]) -> Iterator[str]:
    yield "| adapter | what probing found that is not the dtype's own arithmetic |"
    yield "|---|---|"
    for score in found:
        said: dict[str, list[str]] = defaultdict(list)
        for op, dtypes in score.report.findings.items():
            for dtype, finding in dtypes.items():
                if finding.name != default_for(dtype):
                    said[f"{dtype}: `{finding.name}`"].append(TITLES[op])
        texts = [f"{name} ({_listed(ops)})" for name, ops in said.items()]
        yield f"| `{score.name}` | {'; '.join(texts) or 'nothing'} |"


def _accuracy(found: Sequence[Score]) -> Iterator[str]:
    yield f"| adapter | dtype | cases | {' | '.join(TITLES.values())} |"
    yield "|---|---|--:|" + "--:|" * len(TITLES)
    for score in found:
        measured = score.accuracy["ops"]
        for dtype in _dtypes(score):
            cells = [
                "-" if (cell := measured.get(op, {}).get(dtype)) is None else
                f"{_number(cell['ulps']['median'])} / {_number(cell['ulps']['largest'])} "
                f"/ {_number(cell['ratios']['largest'])}"
                for op in TITLES
            ]  # fmt: skip
            count = max(cell[dtype]["cases"] for cell in measured.values() if dtype in cell)
            yield f"| `{score.name}` | {dtype} | {count} | {' | '.join(cells)} |"


def _dtypes(score: Score) -> list[str]:
    ops = score.accuracy["ops"].values()
    return list(dict.fromkeys(dtype for dtypes in ops for dtype in dtypes))


def _sources(found: Sequence[Score]) -> Iterator[str]:
    yield "| adapter | suite's digest | processor | Python | NumPy | seconds |"
    yield "|---|---|---|---|---|--:|"
    for score in found:
        there = score.report.environment
        yield (
            f"| `{score.name}` | `{score.report.suite_digest}` | {there['cpu']} "
            f"| {there['python']} | {there['numpy']} | {score.report.tally.seconds:,.0f} |"
        )


def sections() -> dict[str, str]:
    """Return where docs/findings speaks of each finding, by the name of its file."""
    found = {}
    for page in sorted((DOCS / "findings").glob("*.md")):
        for section in re.split(r"^## ", page.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            title = section.partition("\n")[0]
            for name in re.findall(r"engines/findings/(\w+)\.py", section):
                found[name] = f"findings/{page.name}#{slug(title)}"
    return found


def slug(title: str) -> str:
    """Return the anchor that MyST gives a heading.

    Examples
    --------
    >>> from conformance.engines.scoreboard import slug
    >>> slug("`auto_pad`: SAME_UPPER, dilation > 1")
    'auto_pad-same_upper-dilation--1'
    """
    return re.sub(r"[^\w\- ]", "", title.strip().lower()).replace(" ", "-")


def finding_of(reason: str) -> str | None:
    """Return the finding that a reason names: a file of conformance/engines/findings."""
    names = {path.stem for path in FINDINGS.glob("*.py")}
    return next((word for word in re.findall(r"\w+", reason) if word in names), None)


def _linked(reason: str, link: str | None, anchors: Mapping[str, str]) -> str:
    """Return a reason with its finding and its link as Markdown links."""
    name = finding_of(reason)
    if name in anchors:
        reason = re.sub(rf"\b{name}(\.py)?\b", f"[{name}]({anchors[name]})", reason, count=1)
    return f"{reason} ([source]({link}))" if link else reason


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _listed(names: Any) -> str:
    return ", ".join(names)


def _number(value: float | None) -> str:
    return "infinite" if value is None else f"{value:.3g}"


# ----------------------------------------------------------------------- figures


def shown(found: Sequence[Score]) -> dict[str, Any]:
    """Return all that each figure shows, by its file's name."""
    bars = {
        score.name: {part: score.count(part) for part in PARTS}
        for score in found
    }  # fmt: skip
    panels = {
        dtype: {
            score.name: {
                op: [cells[dtype]["ulps"]["median"], cells[dtype]["ulps"]["largest"]]
                for op, cells in score.accuracy["ops"].items()
                if dtype in cells
            }
            for score in found
            if dtype in _dtypes(score)
        }
        for dtype in PANELS
    }
    return {"engines-results.svg": bars, "engines-accuracy.svg": panels}


def digest(content: Any) -> str:
    """Return what stands in a figure's metadata, so that a stale one is seen without drawing."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]


def stale(found: Sequence[Score]) -> list[str]:
    """Name the page and the figures that are not as the records give them."""
    files = [] if PAGE.read_text(encoding="utf-8") == page(found) else [PAGE.name]
    for name, content in shown(found).items():
        path = FIGURES / name
        if not path.is_file() or digest(content) not in path.read_text(encoding="utf-8"):
            files.append(name)
    return files


def draw(found: Sequence[Score]) -> None:
    """Draw the figures."""
    import matplotlib as mpl

    mpl.use("agg")
    # Text stays text, and the same data give the same file.
    mpl.rcParams |= {"svg.fonttype": "none", "svg.hashsalt": "npconv", "font.size": 9}
    contents = shown(found)
    _bars(contents["engines-results.svg"])
    _panels(contents["engines-accuracy.svg"])


def _bars(content: Mapping[str, Mapping[str, int]]) -> None:
    """Draw what the results of each adapter came to, as shares."""
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 0.8 + 0.3 * len(content)), layout="constrained")
    left = [0.0] * len(content)
    for part, colour in PARTS.items():
        totals = [max(1, sum(counts.values())) for counts in content.values()]
        shares = [100 * c[part] / t for c, t in zip(content.values(), totals, strict=True)]
        if any(shares):
            label = part.replace("_", " ")
            axes.barh(list(content), shares, left=left, color=colour, label=label, height=0.7)
        left = [a + b for a, b in zip(left, shares, strict=True)]
    axes.invert_yaxis()
    axes.set(xlim=(0, 100), xlabel="share of the results, %")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=6, frameon=False)
    _save(figure, "engines-results.svg", content)


def _panels(content: Mapping[str, Mapping[str, Mapping[str, Sequence[float | None]]]]) -> None:
    """Draw median and largest errors in ulps: a panel for each dtype, a row for each adapter."""
    from matplotlib import pyplot as plt

    names = sorted({name for rows in content.values() for name in rows})
    figure, every = plt.subplots(
        1, len(content), figsize=(11, 1.2 + 0.42 * len(names)), sharey=True, layout="constrained"
    )
    colours = dict(zip(OPS, ("#1b6ca8", "#c0392b", "#4c9f70", "#8e6bbf"), strict=True))
    largest = max(
        most or 0.0
        for rows in content.values()
        for row in rows.values()
        for _, most in row.values()
    )
    decades = math.ceil(math.log10(max(10.0, largest)) / 4)
    for axes, (dtype, rows) in zip(every, content.items(), strict=True):
        for row, name in enumerate(names):
            for number, (op, colour) in enumerate(colours.items()):
                if op not in rows.get(name, {}):
                    continue
                place = row + 0.18 * (number - 1.5)
                # A logarithmic axis has no place for zero: exact results stand at its left edge.
                median, most = (max(v or 0.0, 1e-2) for v in rows[name][op])
                axes.plot([median, most], [place, place], color=colour, linewidth=1)
                axes.plot([median], [place], "o", color=colour, markersize=3.5)
                axes.plot([most], [place], "|", color=colour, markersize=6)
        axes.set(xscale="log", title=dtype, xlabel="ulps")
        # One scale for every dtype, up to what is largest in any.
        axes.set(xlim=(8e-3, 3 * 10 ** (4 * decades)))
        powers = range(4, 4 * decades + 1, 4)
        labels = ["≤0.01", *(f"$10^{{{power}}}$" for power in powers)]
        axes.set_xticks([1e-2, *(10.0**power for power in powers)], labels)
        axes.grid(axis="x", color="#e5e5e5")
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    every[0].set_yticks(range(len(names)), names)
    every[0].invert_yaxis()
    handles = [plt.Line2D([], [], color=c, marker="o", markersize=3.5) for c in colours.values()]
    titles = [TITLES[op] for op in colours]
    figure.legend(handles, titles, loc="outside upper center", ncols=4, frameon=False)
    _save(figure, "engines-accuracy.svg", content)


def _save(figure: Any, name: str, content: Any) -> None:
    # Date: the same data give the same file on any day.
    figure.savefig(FIGURES / name, metadata={"Date": None, "Description": digest(content)})


# -------------------------------------------------------------------------- page


def page(found: Sequence[Score]) -> str:
    """Return the page with the scoreboard as the records give it."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables(found)}\n\n{END}{rest.split(END)[1]}"


def main() -> int:
    """Write the page and draw the figures, or say which of them are stale."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 where stale")
    found = scores()
    if parser.parse_args().check:
        files = stale(found)
        for name in files:
            print(f"{name} is not what the records give: python -m conformance.engines.scoreboard")
        return bool(files)
    PAGE.write_text(page(found), encoding="utf-8")
    draw(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
