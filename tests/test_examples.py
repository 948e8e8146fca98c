"""The examples and README's console block are what the command really prints."""

import re
from pathlib import Path

import pytest

from npconv import cli

ROOT = Path(__file__).parents[1]


def test_shift_and_add_conforms(capsys: pytest.CaptureFixture[str]) -> None:
    """The right example passes quick, gradients included."""
    status = cli.main(["check", str(ROOT / "examples/shift_and_add.py"), "--suite", "quick"])
    out = capsys.readouterr().out
    assert status == cli.OK, out
    assert re.search(r"^All \d+ cases conform", out, re.MULTILINE)


def test_readme_shows_what_the_command_prints(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """README's block is the command's output, but for versions and seconds."""
    monkeypatch.chdir(ROOT)
    readme = Path("README.md").read_text(encoding="utf-8")
    command, _, shown = readme.split("```console\n$ npconv ")[1].split("```")[0].partition("\n")
    assert cli.main(command.split()) == cli.FAILED
    printed = capsys.readouterr().out

    def settled(text: str) -> str:
        text = re.sub(r"npconv \S+ checks", "npconv checks", text)
        text = re.sub(r"numpy \S+ python \S+", "versions", text)
        return re.sub(r"\(\d+ s, \d+ %", "(time", text).strip()

    assert settled(printed) == settled(shown)
