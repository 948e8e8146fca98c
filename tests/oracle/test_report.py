"""Tallies and the JSON report: what they hold, how they add up, and which ones may be resumed."""

import itertools
import json
import math
import random
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import npconv
from npconv.oracle.cases import Case
from npconv.oracle.expectations import Entry, Expectations
from npconv.oracle.judge import Failure, Verdict, failed
from npconv.oracle.protocol import OPS
from npconv.oracle.report import (
    BINS,
    COUNTS,
    KEPT,
    REASONS,
    Diagnosis,
    Report,
    Result,
    Tally,
    chunks,
    environment,
    kept,
    merge,
    merged,
    ratio_bin,
    read_report,
    read_tally,
)
from npconv.oracle.suites import suite_named

IDS = [suite_named("quick")[position].id for position in range(300)]

CONTRACT_KEYS = {
    "npconv", "suite_digest", "target", "suite", "shard", "done", "seconds", "environment", "ops",
    "failures", "failures_total", "arithmetic", "diagnoses",
}  # fmt: skip
#: Beyond the contract: what a resumed run must know, and the reasons behind `arithmetic`.
MORE_KEYS = {
    "cases", "busy_seconds", "target_seconds", "arithmetic_says", "failed", "ratios", "worst",
    "unsupported", "left_out", "expectations", "declined", "length",
}  # fmt: skip


def failure(number: int, op: str = "forward", kind: str = "values", **others: Any) -> Failure:
    """Make a failure of one of the first cases of quick."""
    return Failure(IDS[number], op, kind, f"message {number}", **others)


def verdict_of(said: Failure | str | None) -> Verdict:
    """A verdict, from a failure, a status, or None for passed."""
    return failed(said) if isinstance(said, Failure) else Verdict(said or "passed")


def tally_of(*verdicts: Any, start: int = 0) -> Tally:
    """Sum up one verdict of the forward operation for each of these positions."""
    return Tally.of(
        [
            Result(start + number, "case", (("forward", verdict_of(verdict)),), 0.25)
            for number, verdict in enumerate(verdicts)
        ],
        busy_seconds=2.0,
    )


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
        "length": 5,
    }
    return Report(**{**values, **others})


FULL = tally_of(
    None,
    "unsupported",
    failure(2, ratio=41.5, index=(0, 1, 2, 3), got="1.0", want="2.0"),
    failure(3, kind="raised"),
    None,
)


KNOWN = Expectations(
    (
        Entry("known.txt:1", IDS[3], None, (), (), "an old fault"),
        Entry("known.txt:2", IDS[4], None, ("grad_bias",), (), "another"),
    )
)


def mixed(seed: int, count: int = 40) -> list[Result]:
    """Results of every kind at positions from 0 up."""
    rng = random.Random(seed)
    results = []
    for position in range(count):
        case = IDS[position]
        if rng.random() < 0.2:
            why = rng.choice(["padding", "dtypes", "--dtype", "--without groups"])
            results.append(Result(position, case, left_out=why))
            continue
        verdicts = []
        for op in OPS:
            ratio = rng.choice([None, 0.0, 0.25, 0.25, 0.9, 10 ** rng.uniform(-9, 0)])
            wrong = failed(Failure(case, op, rng.choice(["values", "shape"]), "no", 3.0))
            verdicts.append(
                (
                    op,
                    rng.choice(
                        [
                            Verdict("passed", ratio),
                            Verdict("not_reproducible", ratio),
                            Verdict("undecided", 0.99),
                            Verdict("unsupported", reason=f"no {rng.randrange(80)}\nsecond line"),
                            wrong,
                            replace(wrong, status="expected_failures", reason="known"),
                        ]
                    ),
                )
            )
        counts = {entry.text: (2, rng.randrange(3)) for entry in KNOWN.on(Case.from_id(case))}
        results.append(Result(position, case, verdicts, 0.5, expected=counts))
    return results


EVERYTHING = Tally.of(mixed(seed=1), busy_seconds=3.5)


# ------------------------------------------------------------------- tallies


def test_tally_counts_each_verdict() -> None:
    """Passed, unsupported and failed are counted apart; positions, cases and seconds add up."""
    assert FULL.counts["forward"] == {
        **dict.fromkeys(COUNTS, 0), "passed": 2, "unsupported": 1, "failed": 2,
    }  # fmt: skip
    assert all(not any(FULL.counts[op].values()) for op in OPS[1:])
    assert (FULL.failures_total, FULL.cases, FULL.results) == (2, 5, 5)
    assert (FULL.done, FULL.positions) == ([(0, 5)], 5)
    assert (FULL.target_seconds, FULL.busy_seconds, FULL.seconds) == (1.25, 2.0, 0.0)


def test_unasked_cases_are_done_but_not_counted() -> None:
    """A position without verdicts is done, and is no case that was run."""
    tally = Tally.of(
        [
            Result(0, "a", left_out="padding"),
            Result(1, "b", [("grad_bias", verdict_of(None))]),
            Result(2, "c", left_out="--dtype"),
            Result(3, "d", left_out="padding"),
        ],
        1.0,
    )
    assert (tally.cases, tally.results, tally.done) == (1, 1, [(0, 4)])
    assert tally.left_out == {"--dtype": 1, "padding": 2}


def test_tallies_add_up() -> None:
    """A sum holds the counts, failures and positions of both; elapsed seconds stay as they are."""
    tally = tally_of(None, failure(7))
    tally.seconds = 5.0
    tally.add(tally_of("unsupported", failure(5, kind="shape"), start=9))
    assert tally.counts["forward"]["failed"] == tally.failures_total == 2
    assert {f.case for f in tally.failures} == {IDS[5], IDS[7]}
    assert tally.done == [(0, 2), (9, 11)]
    assert (tally.failed, tally.declined) == (
        {"forward": [(1, 2), (10, 11)]},
        {"forward": [(9, 10)]},
    )
    assert (tally.cases, tally.busy_seconds, tally.seconds) == (4, 4.0, 5.0)


def test_tallies_add_up_in_any_order() -> None:
    """Parts of a run give one tally in whatever order they come, failures beyond 1000 included."""
    kinds = ["values"] * 40 + ["shape", "raised"]
    verdicts = [
        failure(number % 300, OPS[number % 4], kinds[number % len(kinds)]) for number in range(3000)
    ]
    parts = [tally_of(*verdicts[i : i + 75], start=i) for i in range(0, 3000, 75)]
    whole = tally_of(*verdicts)
    for seed in range(3):
        random.Random(seed).shuffle(parts)
        total = Tally()
        for part in parts:
            total.add(part)
        total.busy_seconds = whole.busy_seconds
        assert total == whole
    assert (len(whole.failures), whole.failures_total) == (KEPT, 3000)


@pytest.mark.parametrize("seed", range(4))
def test_all_that_a_tally_holds_adds_up_in_any_order(seed: int) -> None:
    """Ranges, ratios, the worst, reasons, expectations: parts in any order make the whole."""
    results = mixed(seed, 300)
    whole = Tally.of(results, busy_seconds=0.0)
    cuts = [0, 1, 2, 40, 41, 170, 300]
    parts = [Tally.of(results[a:b], 0.0) for a, b in itertools.pairwise(cuts)]
    random.Random(seed).shuffle(parts)
    total = Tally()
    for part in parts:
        total.add(part)
    assert total == whole
    assert list(total.left_out) == sorted(total.left_out)


def test_tally_places_each_result() -> None:
    """Each result is counted at its place, recounted here one by one."""
    results = mixed(seed=5, count=300)
    tally = Tally.of(results, 0.0)
    for op in OPS:
        each = [(r.position, r.case, dict(r.verdicts)[op]) for r in results if r.verdicts]
        failing = {p for p, _, v in each if v.status in ("failed", "expected_failures")}
        assert {p for a, b in tally.failed[op] for p in range(a, b)} == failing
        judged = [v for _, _, v in each if v.ratio is not None and v.status != "undecided"]
        assert sum(tally.ratios[op].values()) == len(judged)
        assert tally.ratios[op][BINS[0]] >= sum(v.ratio == 0 for v in judged) > 0
        within = [(v.ratio, c) for _, c, v in each if v.status in ("passed", "not_reproducible")]
        largest = max(ratio for ratio, _ in within if ratio is not None)
        assert tally.worst[op].ratio == largest
        assert tally.worst[op].case == min(case for ratio, case in within if ratio == largest)
        said = [v.reason.split("\n")[0] for _, _, v in each if v.status == "unsupported"]
        assert tally.unsupported[op] == {
            reason: said.count(reason) for reason in sorted(set(said))[:REASONS]
        }
    assert tally.left_out == {
        why: sum(r.left_out == why for r in results) for why in tally.left_out
    }
    assert sum(tally.left_out.values()) == 300 - tally.cases
    counts = [(text, pair) for r in results for text, pair in r.expected.items()]
    assert tally.expected == {
        text: (sum(p[0] for t, p in counts if t == text), sum(p[1] for t, p in counts if t == text))
        for text, _ in counts
    }
    assert tally.failures_total == tally.total("failed") > 0


def test_reasons_are_no_more_than_are_kept() -> None:
    """Of more reasons than are kept the same ones are kept, however the results are parted."""
    results = [
        Result(n, "case", [("forward", Verdict("unsupported", reason=f"no {n % 90:02}"))])
        for n in range(200)
    ]
    whole = Tally.of(results, 0.0)
    assert list(whole.unsupported["forward"]) == [f"no {n:02}" for n in range(REASONS)]
    total = Tally()
    for start in range(0, 200, 7):
        total.add(Tally.of(results[start : start + 7], 0.0))
    assert total.unsupported == whole.unsupported
    assert total.total("unsupported") == 200


@given(st.floats(min_value=0.0) | st.sampled_from([1.0, 10.0, 0.1, math.inf]))
def test_ratio_lies_in_its_bin(ratio: float) -> None:
    """A bin holds ratios up to its power of ten; 1, which passes, and what is more are apart."""
    place = ratio_bin(ratio)
    assert place in BINS
    assert (place <= 0) == (ratio <= 1)
    if BINS[0] < place < BINS[-1]:
        assert 10 ** ((place - 1) / 2) * (1 - 1e-12) <= ratio <= 10 ** (place / 2) * (1 + 1e-12)


def test_kept_failures_hold_each_kind_and_begin_with_the_plainest() -> None:
    """A single failure of a rare kind is kept among thousands; the first of a kind is plainest."""
    many = [failure(number % 300, op) for number in range(1000) for op in OPS]
    rare = failure(299, "grad_bias", "mutated")
    found = kept([*many, rare])
    assert len(found) == KEPT
    assert rare in found
    first = next(f for f in found if f.op == "forward")
    assert first.case == min(IDS[:300], key=plainness)
    assert kept(found) == found


def plainness(text: str) -> Any:
    """The order of cases by plainness."""
    return npconv.oracle.cases.Case.from_id(text).plainness


def test_interrupted_addition_adds_all_or_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where adding breaks off, the tally is as before."""
    tally, before = tally_of(failure(1)), vars(tally_of(failure(1))).copy()

    def interrupt(*_: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("npconv.oracle.report.merged", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tally.add(FULL)
    assert vars(tally) == before


@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 9))), st.integers(1, 12))
def test_chunks_are_what_is_not_done(spans: list[tuple[int, int]], size: int) -> None:
    """Chunks and what is done make up the whole, disjoint, no chunk empty or too long."""
    length = 50
    done = merged([(start, start + count) for start, count in spans])
    assert all(a[1] < b[0] for a, b in itertools.pairwise(done))
    cut = list(chunks(length, done, size))
    assert all(0 < stop - start <= size for start, stop in cut)
    positions = sorted(p for start, stop in [*done, *cut] for p in range(start, stop))
    assert positions == list(range(length))
    tally = Tally(done=done)
    assert not any(tally.holds(chunk) for chunk in cut)
    assert all(tally.holds((start, start + 1)) for start, _ in done)


# -------------------------------------------------------------------- report


@pytest.mark.parametrize(
    ("tally", "interrupted", "ok"),
    [
        (tally_of(None), False, True),
        (tally_of(None, "unsupported"), False, True),
        (tally_of(None), True, False),
        (tally_of(None, failure(1)), False, False),
        (tally_of("unsupported"), False, False),
        (tally_of("undecided"), False, False),
        (Tally(), False, False),
    ],
    ids=["passed", "some", "interrupted", "failed", "unsupported", "undecided", "empty"],
)
def test_report_is_ok_if_all_that_was_asked_conforms(
    tally: Tally, interrupted: bool, ok: bool
) -> None:
    """Something passed, nothing failed, and the run was not interrupted."""
    assert report_of(tally, interrupted=interrupted).ok is ok


def test_report_has_the_keys_of_the_contract() -> None:
    """The JSON has the contract's keys, those that are stated here, and nothing else."""
    found = report_of(FULL).as_dict()
    assert set(found) == CONTRACT_KEYS | MORE_KEYS
    assert set(found["environment"]) == {"python", "numpy", "platform", "cpu", "target"}
    assert list(found["ops"]) == ["forward", "grad_input", "grad_weight", "grad_bias"]
    for counts in found["ops"].values():
        assert set(counts) == {
            "passed", "failed", "unsupported", "expected_failures", "undecided", "not_reproducible",
        }  # fmt: skip
    assert set(found["failures"][0]) == {
        "case", "op", "kind", "ratio", "index", "got", "want", "message",
    }  # fmt: skip
    assert found["shard"] == [1, 1]
    assert found["done"] == [[0, 5]]
    assert found["failures_total"] == 2


@pytest.mark.parametrize("ratio", [None, 41.5, math.inf, -math.inf, math.nan])
def test_ratio_is_a_number_or_null(tmp_path: Path, ratio: float | None) -> None:
    """No report holds NaN or infinity, which are no JSON; such a ratio is null."""
    report = report_of(tally_of(failure(1, ratio=ratio)))
    assert "NaN" not in json.dumps(report.as_dict(), allow_nan=False)
    report.write(tmp_path / "report.json")
    (found,) = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["failures"]
    assert found["ratio"] == (41.5 if ratio == 41.5 else None)


def test_report_is_written_in_one_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever goes wrong in writing, the file holds the old report whole, and no draft stays."""
    path = tmp_path / "report.json"
    report_of(FULL).write(path)
    old = path.read_text(encoding="utf-8")
    real, written = Path.write_text, []

    def half(self: Path, text: str, **options: Any) -> int:
        written.append(self.name)
        real(self, text[: len(text) // 2], **options)
        raise OSError("no space left on device")

    monkeypatch.setattr(Path, "write_text", half)
    with pytest.raises(OSError, match="no space left"):
        report_of(tally_of(None)).write(path)
    assert path.read_text(encoding="utf-8") == old
    monkeypatch.setattr(
        Path, "write_text", lambda self, *a, **o: written.append(self.name) or real(self, *a, **o)
    )
    report_of(tally_of(None)).write(path)
    assert len(written) == 2
    assert "report.json" not in written
    assert json.loads(path.read_text(encoding="utf-8"))["failures_total"] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["report.json"]


def test_report_is_written_through_links_and_into_devices(tmp_path: Path) -> None:
    """A link keeps pointing at the file that is written; what is no file is not replaced by one."""
    (tmp_path / "link.json").symlink_to(tmp_path / "report.json")
    report_of(FULL).write(tmp_path / "link.json")
    assert (tmp_path / "link.json").is_symlink()
    assert json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))["cases"] == 5
    report_of(FULL).write("/dev/null")
    assert not Path("/dev/null").is_file()


# -------------------------------------------------------------------- resume


def test_read_tally_is_what_was_written(tmp_path: Path) -> None:
    """What is read back is the tally that was written, failures with their indices included."""
    path = tmp_path / "report.json"
    report_of(FULL).write(path)
    assert read_tally(path, report_of(Tally())) == FULL
    everything = report_of(EVERYTHING, expectations=KNOWN, length=40, shard=(2, 3))
    everything.write(path)
    read = read_report(path)
    assert read.tally == EVERYTHING
    assert read.as_dict() == everything.as_dict()


def changed(report: Report, path: tuple[Any, ...], value: Any) -> Any:
    """A report as JSON in which one entry, or the whole of it, is another."""
    found: Any = report.as_dict()
    if not path:
        return value
    place = found
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return found


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ((), [], "is not a report of npconv check"),
        ((), 3, "is not a report of npconv check"),
        ((), {}, "is not a report of npconv check (KeyError: 'shard')"),
        (("ops",), {}, "is not a report"),
        (("ops",), None, "is not a report"),
        (("ops", "forward", "failed",), 7, "its counts contradict each other"),
        (("ops", "forward", "passed",), "many", "is not a report"),
        (("ops", "forward", "passed",), -1, "its counts contradict each other"),
        (("cases",), -1, "its counts contradict each other"),
        (("cases",), 10**9, "its counts contradict each other"),
        (("failures",), 5, "is not a report"),
        (("failures", 0,), {"case": 1}, "is not a report"),
        (("failures", 0, "case",), "case", "is not a report"),
        (("failures", 0, "more",), 1, "is not a report"),
        (("done",), [3], "is not a report"),
        (("done",), [[-1, 3]], "is not a report"),
        (("done",), [[4, 3]], "is not a report"),
        (("done",), [[0, 6]], "is done with what does not exist, case 6"),
        (("failed", "forward",), [[2]], "is not a report"),
        (("ratios", "forward",), {"half": 1}, "is not a report"),
        (("worst",), {"forward": {"ratio": 0.5}}, "is not a report"),
        (("unsupported",), {}, "is not a report"),
        (("left_out",), {"groups": "x"}, "is not a report"),
        (("expectations",), [{"at": "a:1"}], "is not a report"),
        (("length",), None, "is not a report"),
        (("shard",), [1, 2], "is of another run: shard 1/2, not 1/1; npconv merge joins shards"),
        (("length",), 6, "is of another run: number of cases 6, not 5"),
        (("seconds",), None, "is not a report"),
        (("environment",), [], "is not a report"),
        (("npconv",), "0.0.1", "is of another run: npconv '0.0.1', not"),
        (("target",), "other.py", "another run: target 'other.py', not 'kernel.py'"),
        (("environment", "target",), "kernel 2", "target 'kernel 2', not 'kernel 1.0'"),
        (("suite",), "standard", "another run: suite 'standard', not 'quick'"),
        (("suite_digest",), "4567", "suite_digest '4567', not '0123'"),
    ],
)  # fmt: skip
def test_unfit_report_is_not_resumed(
    tmp_path: Path, path: tuple[Any, ...], value: Any, says: str
) -> None:
    """What is no report, or is one of another run, raises ValueError with one line that says so."""
    file = tmp_path / "report.json"
    file.write_text(json.dumps(changed(report_of(FULL), path, value)), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(says)) as caught:
        read_tally(file, report_of(Tally()))
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff\xfe\x00", b"null", b'{"ops": ' * 50, b"[" * 100_000],
    ids=lambda content: repr(content[:20]),
)
def test_broken_file_is_not_resumed(tmp_path: Path, content: bytes) -> None:
    """Half a report, an empty file and bytes that are no text raise ValueError with one line."""
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="is not a report of npconv check") as caught:
        read_tally(path, report_of(Tally()))
    assert "\n" not in str(caught.value)


def test_missing_file_is_not_resumed(tmp_path: Path) -> None:
    """A file that is not there raises OSError, which names it."""
    with pytest.raises(FileNotFoundError, match="absent"):
        read_tally(tmp_path / "absent.json", report_of(Tally()))


# --------------------------------------------------------------------- merge


def parts_of(folder: Path, cuts: Sequence[int], **others: Any) -> list[Path]:
    """Reports on stretches of one run, and the tallies in them."""
    results = mixed(seed=2)
    paths = []
    for number, (start, stop) in enumerate(itertools.pairwise(cuts), 1):
        tally = Tally.of(results[start:stop], busy_seconds=1.5)
        tally.seconds = 2.0
        paths.append(folder / f"part{number}.json")
        report_of(
            tally, length=40, shard=(number, len(cuts) - 1), expectations=KNOWN, **others
        ).write(paths[-1])
    return paths


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_merged_report_is_that_of_the_whole(tmp_path: Path, order: tuple[int, ...]) -> None:
    """Reports of shards in any order join to what one run would have given."""
    paths = parts_of(tmp_path, [0, 13, 26, 40])
    joined = merge([paths[number] for number in order])
    whole = report_of(Tally.of(mixed(seed=2), busy_seconds=4.5), length=40, expectations=KNOWN)
    whole.tally.seconds = 6.0
    assert joined.as_dict() == whole.as_dict()
    assert joined.complete
    assert joined.broken == whole.broken
    assert not merge([paths[number] for number in order[:2]]).complete


def test_merged_report_names_every_machine(tmp_path: Path) -> None:
    """What differs between machines is listed, what is the same stands once."""
    first, second = parts_of(tmp_path, [0, 20, 40])
    found = json.loads(second.read_text(encoding="utf-8"))
    found["environment"]["cpu"] = "another"
    second.write_text(json.dumps(found), encoding="utf-8")
    joined = merge([first, second]).environment
    own = environment("kernel 1.0")
    assert joined == {**own, "cpu": f"{own['cpu']}; another"}


def diagnosis(suspect: str | None, condition: str | None, **others: Any) -> Diagnosis:
    """A diagnosis of the forward operation."""
    values = {
        "op": "forward", "suspect": suspect, "says": "is wrong", "explains": 3, "of": 4,
        "failing": 7, "asked": 9, "condition": condition, "missed": 1, "extra": 2, "sample": 0,
        "smallest": IDS[5], "others": ("another",),
    }  # fmt: skip
    return Diagnosis(**{**values, **others})


def merged_diagnoses(folder: Path, *parts: Sequence[Diagnosis]) -> Report:
    """Merge two parts of a run that have these diagnoses."""
    paths = parts_of(folder, [0, 20, 40])
    for path, diagnoses in zip(paths, parts, strict=True):
        replace(read_report(path), diagnoses=tuple(diagnoses)).write(path)
    return merge(paths)


def test_diagnoses_are_read_as_they_were_written(tmp_path: Path) -> None:
    """A report's diagnoses come back from its file."""
    path = tmp_path / "report.json"
    written = (diagnosis("a-fault", "groups > 1"), diagnosis(None, None, test="x", others=()))
    report_of(FULL, diagnoses=written).write(path)
    assert read_report(path).diagnoses == written


def test_merged_diagnoses_of_one_cause_are_one(tmp_path: Path) -> None:
    """What parts looked at adds up; another cause stands beside, what explains most first."""
    rare = diagnosis("rare", "bias", explains=1, of=4, sample=2)
    joined = merged_diagnoses(
        tmp_path,
        [rare, diagnosis("a-fault", "groups > 1", explains=3, of=4)],
        [diagnosis("a-fault", "groups > 1", explains=5, of=6, missed=4, smallest=IDS[0])],
    )
    counts = joined.tally.counts["forward"]
    first, second = joined.diagnoses
    assert (first.suspect, first.explains, first.of) == ("a-fault", 8, 10)
    assert (first.missed, first.extra, first.sample) == (5, 4, 0)
    assert first.smallest == min(IDS[0], IDS[5], key=lambda text: Case.from_id(text).plainness)
    assert (first.failing, first.asked) == (counts["failed"], sum(counts.values()))
    # Of the second part's six results none was given by it.
    assert (second.suspect, second.explains, second.of, second.sample) == ("rare", 1, 10, 2)


def test_merged_diagnosis_has_the_condition_that_most_failures_fulfil(tmp_path: Path) -> None:
    """Of conditions that differ, one that the failures of all parts contradict least is told."""
    many, none = "batch >= 0", "batch < 0"
    joined = merged_diagnoses(
        tmp_path,
        [diagnosis("a-fault", none, explains=9, of=9)],
        [diagnosis("a-fault", many), diagnosis("a-fault", None, explains=8, of=8)],
    )
    failing = [failure for failure in joined.failures if failure.op == "forward"]
    legal = [failure for failure in failing if Case.from_id(failure.case).illegal is None]
    (found,) = joined.diagnoses
    assert (found.condition, found.missed, found.sample) == (many, 0, len(legal))
    assert found.explains == 20
    assert found.explains <= found.of


def test_a_merged_condition_that_failures_contradict_is_not_told(tmp_path: Path) -> None:
    """Where one part found none, and the other's does not hold elsewhere, there is none."""
    parts = [[diagnosis("a-fault", condition)] for condition in ("batch < 0", None)]
    assert [d.condition for d in merged_diagnoses(tmp_path, *parts).diagnoses] == [None]


def test_merged_diagnoses_of_illegal_calls_are_one(tmp_path: Path) -> None:
    """Which rules are broken may differ from part to part."""
    parts = [[diagnosis(None, "illegal", says=f"accepted: {rule}")] for rule in ("this", "that")]
    (found,) = merged_diagnoses(tmp_path, *parts).diagnoses
    assert (found.condition, found.explains) == ("illegal", 6)


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("done",), [[19, 40]], "part2.json and {0}part1.json both hold case 19 of the suite"),
        (("done",), [[20, 41]], "part2.json is not a report of npconv check"),
        (("target",), "other.py", "part2.json is of another run: target 'other.py', not"),
        (("environment", "target"), "kernel 2", "target 'kernel 2', not 'kernel 1.0'"),
        (("npconv",), "0.0.1", "part2.json is of another run: npconv '0.0.1'"),
        (("suite_digest",), "4567", "suite_digest '4567', not '0123'"),
        (("expectations",), None, "another run: expectations [], not"),
        (("length",), 41, "number of cases 41, not 40"),
        (("failures_total",), 2, "its counts contradict each other"),
    ],
)
def test_reports_that_do_not_belong_together_are_not_merged(
    tmp_path: Path, path: tuple[Any, ...], value: Any, says: str
) -> None:
    """Another target, version, suite, or a case that both hold: one line that says what."""
    first, second = parts_of(tmp_path, [0, 20, 40])
    second.write_text(json.dumps(changed(read_report(second), path, value)), encoding="utf-8")
    with pytest.raises(ValueError, match=re.escape(says.format(f"{tmp_path}/"))) as caught:
        merge([first, second])
    assert "\n" not in str(caught.value)


def test_environment_names_what_figures_depend_on() -> None:
    """The environment says the versions of Python, NumPy and the target, the platform, the CPU."""
    found = environment("engine 1.2")
    assert found["target"] == "engine 1.2"
    assert all(isinstance(value, str) and value for value in found.values())


def test_failures_are_those_of_the_tally() -> None:
    """`failures` of a report are the failures that its tally keeps."""
    failures: Sequence[Failure] = report_of(FULL).failures
    assert failures == FULL.failures
    assert replace(failures[0], message="") != failures[0]
