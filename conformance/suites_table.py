"""The tables of docs/suites.md: what each suite holds, and its cases of each family of bugs.

``python -m conformance.suites_table`` prints them; ``--write`` puts them into the page.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition, features
from npconv.oracle.families import Family, families
from npconv.oracle.protocol import GRADIENTS
from npconv.oracle.suites import NAMES, suite_named

PAGE = Path(__file__).parents[1] / "docs" / "suites.md"
BEGIN, END = "<!-- tables: begin -->", "<!-- tables: end -->"


def tables() -> str:
    """Return both tables as Markdown."""
    return "\n".join([*_suites(), "", *_families()])


def _suites() -> list[str]:
    rows = ["| suite | cases | digest |", "|---|---|---|"]
    for name in NAMES:
        suite = suite_named(name)
        rows.append(f"| `{name}` | {len(suite):,} | `{suite.digest}` |")
    return rows


def _families() -> list[str]:
    """Return a row for each family: the fewest cases of an operation and dtype that can show it."""
    rows = [
        "| family | what goes wrong | its cases fulfil | `quick` | `standard` | reported |",
        "|---|---|---|---|---|---|",
    ]
    suites = [
        [(case, features(case)) for case in map(suite.__getitem__, range(len(suite)))]
        for suite in (suite_named("quick"), suite_named("standard"))
    ]
    for family in families():
        condition = Condition.parse(family.condition)
        counts = []
        for described in suites:
            able = [
                case
                for case, values in described
                if not values["illegal"]
                and case.data in family.data
                and case.dtype in family.dtypes
                and condition.holds_for(values)
            ]
            counts.append(f"{_fewest(family, able):,}")
        rows.append(
            f"| {family.name} | {family.says} | `{family.condition}` | {' | '.join(counts)} | "
            f"{', '.join(family.reported) or '-'} |"
        )
    return rows


def _fewest(family: Family, able: list[Case]) -> int:
    found = Counter(
        (op, case.dtype)
        for case in able
        for op in family.ops
        if op == "forward" or case.mask[GRADIENTS.index(op)] == "1"
    )
    return min(found[op, dtype] for op in family.ops for dtype in family.dtypes)


def page() -> str:
    """Return the page with the tables as they are now."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    return f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--write", action="store_true", help="put them into docs/suites.md")
    if parser.parse_args().write:
        PAGE.write_text(page(), encoding="utf-8")
    else:
        print(tables())


if __name__ == "__main__":
    main()
