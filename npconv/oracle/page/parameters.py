"""The section that shows which parameters the failing cases have."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from npconv.oracle.page.charts import heat, heat_map, percent
from npconv.oracle.page.markup import Markup, element, join
from npconv.oracle.page.shares import (
    Parameter,
    Sample,
    Share,
    information,
    parameters,
    shares,
    telling,
)


def section(op: str, found: Sample) -> Markup:
    """Return the shares of failing cases, by parameter and by pair of parameters."""
    known = parameters(found)
    chosen = telling(found, known)
    asked = found.weights.sum()
    failing = (found.weights * found.failing).sum()
    about = "" if found.whole else "about "
    facts = f"{round(failing):,} of {about}{round(asked):,} legal cases fail."
    if not found.whole:
        facts += (
            f" The shares are estimates from {len(found):,} of them, failing ones and others each "
            "spread evenly over the suite."
        )
    if failing >= asked:
        return join(element("h3", op), element("p", facts, " No parameter makes a difference."))
    if not chosen:
        return join(
            element("h3", op), element("p", facts, " All of them have the same parameters.")
        )
    pairs = {
        (i, j): shares(found, chosen[j], chosen[i])
        for i, j in itertools.combinations(range(len(chosen)), 2)
    }
    parts: list[Markup] = [element("h3", op), element("p", facts)]
    if pairs:
        parts.append(_strongest(found, chosen, pairs))
        label = f"{op}: share of failing cases for pairs of " + ", ".join(p.name for p in chosen)
        parts += [
            element("div", heat_map(chosen, pairs, label), class_="wide", tabindex="0",
                    role="region", aria_label=f"Map of {op}"),
            _legend(),
        ]  # fmt: skip
    parts.append(
        element("div", *(_alone(one, shares(found, one)) for one in chosen), class_="alone")
    )
    return join(*parts)


def _strongest(
    found: Sample, chosen: Sequence[Parameter], pairs: dict[tuple[int, int], list[Share]]
) -> Markup:
    """Say of the most telling pair where everything fails and where nothing does."""
    (i, j) = max(pairs, key=lambda pair: (round(information(found, *(chosen[k] for k in pair)), 9),
                                          (-pair[0], -pair[1])))  # fmt: skip
    cells = [share for share in pairs[i, j] if share.asked]
    all_fail = sum(share.failing >= share.asked for share in cells)
    none_fail = sum(not share.failing for share in cells)
    return element(
        "p",
        "The most telling pair is ", element("b", chosen[i].name), " with ",
        element("b", chosen[j].name),
        f": of {len(cells)} combinations of their values, {all_fail} always fail and "
        f"{none_fail} never do.",
    )  # fmt: skip


def _legend() -> Markup:
    steps = ("none", "to 20 %", "to 40 %", "to 60 %", "to 80 %", "to 100 %", "all")
    return element(
        "p",
        "Share of failing cases: ",
        *(
            join(element("span", "", class_=f"key c{number}"), step, " ")
            for number, step in enumerate(steps)
        ),
        element("span", "", class_="key none"), "no such case",
        class_="legend",
    )  # fmt: skip


def _alone(parameter: Parameter, found: Sequence[Share]) -> Markup:
    """Return one parameter's shares as a table."""
    rows = [
        element(
            "tr",
            element("th", label, scope="row"),
            element("td", f"{round(share.failing):,} of {round(share.asked):,}", class_="number"),
            element(
                "td",
                element(
                    "span", element("span", "", class_=f"fill c{heat(share)}",
                    style=f"width:{100 * share.value:.0f}%"), class_="track",
                ),
                f"{percent(share)} %", class_="number share",
            ),
        )
        for label, share in zip(parameter.labels, found, strict=True)
        if share.asked
    ]  # fmt: skip
    return element(
        "table",
        element("caption", parameter.name),
        element(
            "thead",
            element(
                "tr",
                element("th", "value", scope="col"),
                element("th", "fail", scope="col", class_="number"),
                element("th", "share", scope="col", class_="number"),
            ),
        ),
        element("tbody", *rows),
    )
