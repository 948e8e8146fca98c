"""The share of a run: repeatable by its variable, tied to the commit, and together everything."""

import math

import pytest

from conformance import shares
from conformance.shares import SHARES, VARIABLE, described, parts, share
from npconv.oracle.suites import WIDE_SIZE, grids, suite_named


def test_variable_names_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """A number or 'all' is taken as it is, anything else refused, and the header repeats it."""
    monkeypatch.setenv(VARIABLE, "7")
    assert share() == 7
    assert described() == f"conformance: share 7 of {SHARES} (repeat it with {VARIABLE}=7)"
    monkeypatch.setenv(VARIABLE, "all")
    assert share() is None
    assert described() == "conformance: all shares"
    for wrong in (str(SHARES), "-1", "1.0", "", "some"):
        monkeypatch.setenv(VARIABLE, wrong)
        with pytest.raises(ValueError, match=f"{VARIABLE}='{wrong}' must be 'all' or a number"):
            share()


def test_commit_draws_the_share(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the variable the commit's hash decides; outside a repository it is share 0."""
    monkeypatch.delenv(VARIABLE, raising=False)
    for commit, number in (("", 0), ("0" * 40, 0), ("0" * 14 + "3e" + "f" * 24, 3)):
        monkeypatch.setattr(shares, "_commit", lambda commit=commit: commit)
        assert share() == number
    numbers = set()
    for n in range(2000):
        monkeypatch.setattr(shares, "_commit", lambda n=n: f"{n * 2**147 // 1999:040x}")
        numbers.add(share())
    assert numbers == set(range(SHARES))


def test_shares_are_together_the_suite() -> None:
    """Every position of a suite is in one share, and there in one part."""
    names = [
        name for first in range(SHARES) for name in parts("quick", 3, every=SHARES, first=first)
    ]
    found = sorted(suite_named(name)[i].id for name in names for i in range(len(suite_named(name))))
    whole = suite_named("quick")
    assert found == sorted(whole[i].id for i in range(len(whole)))


def test_every_share_has_every_value() -> None:
    """The number of shares has no divisor in common with the length of any factor."""
    for factors in grids().values():
        assert all(math.gcd(SHARES, len(values)) == 1 for values in factors.values())
    assert math.gcd(SHARES, WIDE_SIZE) == 1
