"""Known failures: read from a file, laid over verdicts, and judged themselves when a run ends."""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from npconv.geometry import shown
from npconv.oracle.cases import Case
from npconv.oracle.conditions import Condition
from npconv.oracle.judge import Failure, Verdict
from npconv.oracle.protocol import OPS

#: What a failure may be of.
KINDS = (
    "values", "nonfinite", "shape", "dtype", "type", "mask", "raised", "accepted", "mutated",
    "aliased", "unwritten", "unstable", "crashed", "timeout",
)  # fmt: skip

#: Results matched, and those of them that failed, of each entry by its text.
Counts = Mapping[str, tuple[int, int]]

_CASE = re.compile(r"(n\d+)?c\d+f\d+g")
_LINK = re.compile(r"https?://\S+")
_BRACKET = re.compile(r"\[(?P<names>[^\[\]]*)\]$")
_KEYS = ("case", "condition", "op", "kind", "reason", "link")


@dataclass(frozen=True, slots=True)
class Entry:
    """One expectation: failures of these cases, operations and kinds are known, and why.

    `ops` and `kinds` are empty where all are meant; `condition` is None where `subject` is a
    case id.
    """

    #: The file and the line, for messages.
    at: str
    subject: str
    condition: Condition | None
    ops: tuple[str, ...]
    kinds: tuple[str, ...]
    reason: str
    link: str | None = None

    @property
    def text(self) -> str:
        """The entry as a line of a file, without its reason: the name that it is counted under."""
        names = ", ".join((*self.ops, *self.kinds))
        return f"{self.subject} [{names}]" if names else self.subject

    @property
    def why(self) -> str:
        """The reason, and the link where there is one."""
        return f"{self.reason} {self.link}" if self.link else self.reason

    def holds(self, case: Case) -> bool:
        """Whether it speaks of the case."""
        return case.id == self.subject if self.condition is None else self.condition.holds(case)

    def asks(self, op: str) -> bool:
        """Whether it speaks of the operation."""
        return not self.ops or op in self.ops

    def covers(self, failure: Failure) -> bool:
        """Whether it speaks of a failure of this operation and kind."""
        return self.asks(failure.op) and (not self.kinds or failure.kind in self.kinds)


class Applied(NamedTuple):
    """Verdicts with known failures set apart, and what each entry that speaks of them counts."""

    verdicts: tuple[tuple[str, Verdict], ...]
    counts: dict[str, tuple[int, int]]


@dataclass(frozen=True)
class Expectations:
    """The entries of one file. They can be sent to a worker; nothing in them changes."""

    entries: tuple[Entry, ...]

    @classmethod
    def read(cls, path: str | Path) -> Expectations:
        """Read a file: TOML where its name ends in .toml, otherwise lines of text.

        A line is ``SUBJECT [NAMES] # REASON LINK``. SUBJECT is a case id or a condition; NAMES,
        which may be left out with their brackets, are operations and kinds of failure, and those
        that are not narrowed are all meant; LINK may be left out too. Blank lines, and lines that
        begin with ``#``, say nothing. In TOML each entry is a table ``[[expect]]`` with the keys
        `case` or `condition`, `op`, `kind` (a name or a list of names), `reason`, `link`.

        Raises
        ------
        OSError
            If the file cannot be read.
        ValueError
            For the first entry that is none: file and line, what it says, the rule that it breaks.

        Examples
        --------
        >>> import pathlib, tempfile
        >>> from npconv.oracle.expectations import Expectations
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = pathlib.Path(folder, "known.txt")
        ...     _ = path.write_text("groups > 1 [grad_input] # read as dense https://host/7")
        ...     entry = Expectations.read(path).entries[0]
        >>> entry.condition.text, entry.ops, entry.reason, entry.link
        ('groups > 1', ('grad_input',), 'read as dense', 'https://host/7')
        """
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8-sig")
        except UnicodeDecodeError:
            raise ValueError(f"{path}: must be text in UTF-8") from None
        entries = _of_toml(path, text) if path.suffix == ".toml" else _of_lines(path, text)
        first: dict[str, Entry] = {}
        for entry in entries:
            if first.setdefault(entry.text, entry) is not entry:
                raise ValueError(
                    f"{entry.at}: {shown(entry.text)} stands in {first[entry.text].at} already"
                )
        return cls(tuple(entries))

    @functools.cached_property
    def _by_id(self) -> dict[str, list[Entry]]:
        found: dict[str, list[Entry]] = {}
        for entry in self.entries:
            if entry.condition is None:
                found.setdefault(entry.subject, []).append(entry)
        return found

    @functools.cached_property
    def _conditions(self) -> list[Entry]:
        return [entry for entry in self.entries if entry.condition is not None]

    def on(self, case: Case) -> list[Entry]:
        """Return the entries that speak of a case, those with its id first."""
        found = list(self._by_id.get(case.id, ())) if self._by_id else []
        return found + [entry for entry in self._conditions if entry.holds(case)]

    def apply(self, case: Case, verdicts: Iterable[tuple[str, Verdict]]) -> Applied:
        """Make each failure that an entry covers an expected one, with the first such entry's why.

        Examples
        --------
        >>> from npconv.oracle.cases import Case
        >>> from npconv.oracle.expectations import Entry, Expectations
        >>> from npconv.oracle.judge import Failure, Verdict, failed
        >>> case = Case.from_id(
        ...     "n2c4f6g2-7x9-k3x2-s2x1-p1x0-d1x2-bias-m111-float32-packed-integers-seed0"
        ... )
        >>> known = Expectations((Entry("known.txt:1", case.id, None, (), ("shape",), "old"),))
        >>> wrong = failed(Failure(case.id, "forward", "shape", "is (2, 6)"))
        >>> found = known.apply(case, [("forward", wrong), ("grad_bias", Verdict("passed"))])
        >>> [(op, verdict.status, verdict.reason) for op, verdict in found.verdicts]
        [('forward', 'expected_failures', 'old'), ('grad_bias', 'passed', None)]
        >>> list(found.counts.values())
        [(2, 1)]
        """
        verdicts = tuple(verdicts)
        entries = self.on(case) if verdicts else []
        if not entries:
            return Applied(verdicts, {})
        counts = {}
        for entry in entries:
            asked = [verdict for op, verdict in verdicts if entry.asks(op)]
            hit = [v for v in asked if v.failure is not None and entry.covers(v.failure)]
            counts[entry.text] = (len(asked), len(hit))
        laid = []
        for op, verdict in verdicts:
            failure = verdict.failure if verdict.status == "failed" else None
            why = next((e.why for e in entries if failure is not None and e.covers(failure)), None)
            if why is not None:
                laid.append((op, replace(verdict, status="expected_failures", reason=why)))
            else:
                laid.append((op, verdict))
        return Applied(tuple(laid), counts)

    def counts(self, found: Counts | None = None) -> dict[str, tuple[int, int]]:
        """Return the counts of every entry, also of those that no case has matched yet."""
        return {entry.text: (0, 0) for entry in self.entries} | dict(found or {})

    def broken(self, found: Counts) -> list[str]:
        """Return a line for each entry that a complete run shows to be stale or unmatched.

        Examples
        --------
        >>> from npconv.oracle.conditions import Condition
        >>> from npconv.oracle.expectations import Entry, Expectations
        >>> entry = Entry("known.txt:4", "groups > 1", Condition.parse("groups > 1"), (), (), "old")
        >>> Expectations((entry,)).broken({"groups > 1": (12, 0)})
        ["known.txt:4: 'groups > 1' no longer fails in any of 12 results: remove it"]
        """
        lines = []
        for entry in self.entries:
            asked, failed = found.get(entry.text, (0, 0))
            if not asked:
                lines.append(
                    f"{entry.at}: {shown(entry.text)} matches no case that was asked: "
                    "correct it or remove it"
                )
            elif not failed:
                results = "1 result" if asked == 1 else f"any of {asked:,} results"
                how = f" as {' or '.join(entry.kinds)}" if entry.kinds else ""
                lines.append(
                    f"{entry.at}: {shown(entry.text)} no longer fails{how} in {results}: remove it"
                )
        return lines

    def as_list(self, found: Counts) -> list[dict[str, Any]]:
        """Return the entries and their counts for a JSON report."""
        return [
            {
                "at": entry.at,
                "expects": entry.text,
                "reason": entry.reason,
                "link": entry.link,
                "asked": asked,
                "failed": failed,
            }
            for entry in self.entries
            for asked, failed in [found.get(entry.text, (0, 0))]
        ]

    @classmethod
    def of_list(cls, found: Iterable[Mapping[str, Any]]) -> tuple[Expectations, Counts]:
        """Read back what `as_list` returned; raise KeyError, TypeError or ValueError for less."""
        entries, counts = [], {}
        for each in found:
            at = str(each["at"])
            subject, names = _split(str(each["expects"]))
            entry = _entry(at, subject, *_sorted(at, names), each["reason"], each["link"])
            entries.append(entry)
            counts[entry.text] = (int(each["asked"]), int(each["failed"]))
        return cls(tuple(entries)), counts


# ------------------------------------------------------------------------ reading


def _of_lines(path: Path, text: str) -> list[Entry]:
    entries = []
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        at = f"{path}:{number}"
        said, mark, reason = line.partition("#")
        if not mark:
            raise ValueError(f"{at}: {shown(line)} must end with '# ' and a reason")
        subject, names = _split(said.strip())
        words = reason.split()
        link = words.pop() if words and _LINK.fullmatch(words[-1]) else None
        entries.append(_entry(at, subject, *_sorted(at, names), " ".join(words), link))
    return entries


def _split(text: str) -> tuple[str, list[str]]:
    """Split the names in brackets off what they narrow."""
    match = _BRACKET.search(text)
    subject = text[: match.start()].rstrip() if match else text
    # After `in` the brackets are a list of the condition's own.
    if match is None or re.search(r"\bin$", subject):
        return text, []
    return subject, [name.strip() for name in match["names"].split(",")]


def _sorted(at: str, names: Sequence[Any]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return names as operations and kinds, each in its usual order."""
    for name in names:
        if name not in (*OPS, *KINDS):
            raise ValueError(
                f"{at}: {shown(name)} must be one of the operations {', '.join(OPS)}, or of the "
                f"kinds {', '.join(KINDS)}"
            )
    return tuple(op for op in OPS if op in names), tuple(kind for kind in KINDS if kind in names)


def _entry(
    at: str, subject: Any, ops: tuple[str, ...], kinds: tuple[str, ...], reason: Any, link: Any
) -> Entry:
    if not isinstance(reason, str) or not reason.split():
        raise ValueError(f"{at}: reason={shown(reason)} must say why it fails")
    if link is not None and not (isinstance(link, str) and _LINK.fullmatch(link)):
        raise ValueError(f"{at}: link={shown(link)} must begin with http:// or https://")
    try:
        condition = None if _is_case(subject) else Condition.parse(subject)
        subject = Case.from_id(subject).id if condition is None else condition.text
    except ValueError as error:
        raise ValueError(f"{at}: {error}") from None
    return Entry(at, subject, condition, ops, kinds, " ".join(reason.split()), link)


def _is_case(subject: Any) -> bool:
    return isinstance(subject, str) and _CASE.match(subject) is not None


def _of_toml(path: Path, text: str) -> list[Entry]:
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, line, rest = str(error).partition(" (at line ")
        where = f":{rest.split(',')[0]}" if line else ""
        raise ValueError(f"{path}{where}: is not TOML: {what}") from None
    tables = found.pop("expect", [])
    if found or not isinstance(tables, list):
        odd = next(iter(found), "expect")
        raise ValueError(f"{path}: {shown(odd)} must be [[expect]], a table for each entry")
    lines = [
        number
        for number, line in enumerate(text.splitlines(), 1)
        if re.match(r"\s*\[\[\s*expect\s*\]\]", line)
    ]
    entries = []
    for index, table in enumerate(tables):
        # Tables in line, or such a line within a string: their number is all there is.
        at = f"{path}:{lines[index]}" if len(lines) == len(tables) else f"{path}, entry {index + 1}"
        entries.append(_of_table(at, table))
    return entries


def _of_table(at: str, table: Any) -> Entry:
    if not isinstance(table, dict):
        raise ValueError(f"{at}: {shown(table)} must be a table with {', '.join(_KEYS)}")
    for key in table:
        if key not in _KEYS:
            raise ValueError(f"{at}: no key {shown(key)}; there are {', '.join(_KEYS)}")
    subjects = [key for key in ("case", "condition") if key in table]
    if len(subjects) != 1:
        raise ValueError(f"{at}: must have either case or condition")
    subject = table[subjects[0]]
    if subjects == ["case"] and not _is_case(subject):
        raise ValueError(f"{at}: case={shown(subject)} must be a case id, as npconv list prints")
    if subjects == ["condition"] and _is_case(subject):
        raise ValueError(f"{at}: condition={shown(subject)} is a case id: write case = ...")
    names = {}
    for key, known in (("op", OPS), ("kind", KINDS)):
        given = table.get(key, [])
        names[key] = [given] if isinstance(given, str) else given
        if not isinstance(names[key], list) or not all(name in known for name in names[key]):
            raise ValueError(f"{at}: {key}={shown(given)} must be one of {', '.join(known)}")
    ops, kinds = _sorted(at, [*names["op"], *names["kind"]])
    return _entry(at, subject, ops, kinds, table.get("reason"), table.get("link"))


# ------------------------------------------------------------------------ writing


def written(
    failures: Sequence[Failure],
    *,
    target: str,
    suite: str,
    others: Iterable[tuple[str, str]] = (),
    toml: bool = False,
) -> str:
    """Return the text of a file that expects each of these failures: a start, to be edited.

    `others` are further failing results, as (operation, case id), of which no kind is known.

    Examples
    --------
    >>> from npconv.oracle.expectations import written
    >>> from npconv.oracle.judge import Failure
    >>> case = "n1c1f1g1-2x3-k1x1-s1x1-p0x0-d1x1-nobias-m111-float32-packed-integers-seed0"
    >>> failure = Failure(case, "forward", "shape", "shape (1,)")
    >>> text = written([failure], target="mine", suite="quick")
    >>> text[text.index("# forward") :].replace(case, "ID").splitlines()
    ['# forward, shape: 1 result. shape (1,)', 'ID [forward, shape] # known failure of mine']
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    messages: dict[tuple[str, ...], str] = {}
    for failure in failures:
        groups.setdefault((failure.op, failure.kind), []).append(failure.case)
        messages.setdefault((failure.op, failure.kind), failure.message)
    for op, case in others:
        groups.setdefault((op,), []).append(case)
    lines = [
        f"# Known failures of {_plain(target)} on {_plain(suite)}.",
        "# Say in each reason why it fails, with a link to the issue where there is one.",
        "# One condition may stand for many cases, as in: groups > 1 and stride_w > 1",
    ]
    reason = f"known failure of {_plain(target)}"
    for names, cases in sorted(groups.items(), key=lambda item: OPS.index(item[0][0])):
        count = "1 result" if len(cases) == 1 else f"{len(cases):,} results"
        said = _plain(messages.get(names, "the kinds of these were not kept"))
        lines += ["", f"# {', '.join(names)}: {count}. {said}"]
        for case in cases:
            lines += _table(case, names, reason) if toml else [
                f"{case} [{', '.join(names)}] # {reason}"
            ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _table(case: str, names: tuple[str, ...], reason: str) -> list[str]:
    quoted = reason.replace("\\", "\\\\").replace('"', '\\"')
    keys = dict(zip(("op", "kind"), names, strict=False))
    return [
        "[[expect]]",
        f'case = "{case}"',
        *(f'{key} = "{name}"' for key, name in keys.items()),
        f'reason = "{quoted}"',
    ]


def _plain(text: str) -> str:
    """Return text on one line, of characters that a comment may hold."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
