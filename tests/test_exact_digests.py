"""The bits that `npconv.exact` returns, held to recorded ones in every environment."""

import json
from importlib.util import find_spec

import pytest

from conformance.digests import make_exact
from npconv import exact

RECORDED: dict[str, list[str]] = json.loads(make_exact.FILE.read_text())
# bfloat16 arrays exist only with ml_dtypes: 330 of the 3080 cases.
WITHOUT_BFLOAT16 = {name for name in RECORDED if "bfloat16" not in name}


def test_digests_are_complete() -> None:
    """The file has a line for each combination of dtypes and kind of data, and no other."""
    assert [" ".join(entry) for entry in make_exact.entries()] == list(RECORDED)
    assert sum(map(len, RECORDED.values())) == 3080
    assert sum(len(RECORDED[name]) for name in WITHOUT_BFLOAT16) == 2750


@pytest.mark.parametrize("name", RECORDED)
def test_digests_agree(name: str) -> None:
    """Output and gradients have the recorded bits, whatever the machine and the versions."""
    dtype, result, kind = name.split()
    if "bfloat16" in name and not find_spec("ml_dtypes"):
        pytest.skip("needs ml_dtypes: 330 of 3080 cases")
    digests = [
        make_exact.digest(
            make_exact.computed(exact, make_exact.case(dtype, kind, number), dtype, result)
        )
        for number in range(make_exact.EACH)
    ]
    assert digests == RECORDED[name]
