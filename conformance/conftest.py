"""The share of this run: printed in pytest's header, and the same in all of its workers."""

import os

from conformance.shares import VARIABLE, described, share


def pytest_configure() -> None:
    """Fix the share before workers start; a commit in the meantime changes nothing."""
    number = share()
    os.environ[VARIABLE] = "all" if number is None else str(number)


def pytest_report_header() -> str:
    """Print the share."""
    return described()
