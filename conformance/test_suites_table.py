"""docs/suites.md says what the suites hold now."""

import pytest

from conformance.suites_table import PAGE, page

#: The same on every NumPy and every Python.
pytestmark = [pytest.mark.once, pytest.mark.anywhere]


def test_page_is_what_the_suites_hold() -> None:
    """The page's tables are those that ``python -m conformance.suites_table --write`` makes."""
    assert PAGE.read_text(encoding="utf-8") == page()
