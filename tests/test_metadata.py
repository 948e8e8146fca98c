"""The distribution around the package: what a wheel installs, and what states the version."""

import os
import re
from importlib.metadata import distribution
from pathlib import Path

import pytest

import npconv

ROOT = Path(__file__).parents[1]

wheel_only = pytest.mark.skipif(
    "NPCONV_EXPECT_INSTALLED" not in os.environ, reason="asks what a wheel installs"
)


@wheel_only
def test_wheel_installs_the_package_and_nothing_else() -> None:
    """Beside npconv/ and its metadata, only the console script and pytest's options are."""
    files = distribution("npconv").files or []
    metadata = f"npconv-{npconv.__version__}.dist-info"
    others = [str(file) for file in files if file.parts[0] not in ("npconv", metadata)]
    sources = [file for file in others if "__pycache__" not in file]
    assert sorted(Path(file).stem for file in sources) == ["_npconv_pytest", "npconv"]


@wheel_only
@pytest.mark.parametrize(
    "name", ["npconv/__init__.py", "npconv/py.typed", "npconv/layers/resnet50.txt"]
)
def test_wheel_has(name: str) -> None:
    """The package and its typing marker are installed."""
    assert name in {file.as_posix() for file in distribution("npconv").files or []}


@wheel_only
def test_wheel_states_its_licence() -> None:
    """The licence is an SPDX expression, and its text comes along."""
    found = distribution("npconv")
    assert found.metadata["License-Expression"] == "BSD-3-Clause"
    assert found.metadata["License-File"] == "LICENSE"
    assert "Redistribution and use" in (found.read_text("licenses/LICENSE") or "")


def test_citation_names_this_version() -> None:
    """CITATION.cff and the package state one version."""
    stated = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert stated is not None
    assert stated[1] == npconv.__version__


def test_changelog_names_this_version() -> None:
    """CHANGELOG.md has a place for the version that the package states."""
    assert npconv.__version__ in (ROOT / "CHANGELOG.md").read_text()
