"""What a test run must be before it starts; no fixtures of single suites.

The environments of tox.ini say what they are through variables. A run that is not what it is named
for stops here, with pytest's exit status 4, before any test.
"""

import os
import sysconfig
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import npconv

if find_spec("hypothesis"):
    from hypothesis import settings

    # A shared machine makes single examples slow. What a test draws follows from its source, so
    # that one that is red stays red until something is changed.
    settings.register_profile("npconv", deadline=None, derandomize=True, database=None)
    settings.load_profile("npconv")

if find_spec("sybil"):
    from sybil import Sybil
    from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

    pytest_collect_file = Sybil(
        parsers=[PythonCodeBlockParser(), SkipParser()], patterns=["README.md", "docs/*.md"]
    ).pytest()


def pytest_configure() -> None:
    """Refuse to run in an environment that is not what it is named for."""
    expected = os.environ.get("NPCONV_EXPECT_NUMPY")
    if expected and np.__version__.split(".")[:2] != expected.split("."):
        msg = f"this environment is named for NumPy {expected} and has NumPy {np.__version__}"
        raise pytest.UsageError(msg)

    package = Path(npconv.__file__).resolve()
    installed = Path(sysconfig.get_path("purelib")).resolve()
    if os.environ.get("NPCONV_EXPECT_INSTALLED") and not package.is_relative_to(installed):
        msg = f"this environment tests the installed npconv, and {package} was imported"
        raise pytest.UsageError(msg)

    if os.environ.get("NPCONV_REQUIRE_TORCH"):
        try:
            import torch  # noqa: F401 - that it can be imported is all that is asked
        except ImportError as error:
            msg = f"this environment needs torch: {error}"
            raise pytest.UsageError(msg) from error
