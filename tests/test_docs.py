"""The pages: every public name is documented, links lead somewhere, what is shown is so."""

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import npconv
from npconv import cli

#: The same on every NumPy.
pytestmark = pytest.mark.once

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
#: Modules whose `__all__` is what users may rely on.
PUBLIC = ("npconv", "npconv.definition", "npconv.exact", "npconv.strategies", "npconv.testing")
#: Public too, though their modules hold other things beside: what calls take, return and raise.
BESIDE = {
    "npconv.adapters.from_torch",
    "npconv.adapters.to_torch",
    "npconv.oracle.judge.Failure",
    "npconv.oracle.report.Diagnosis",
    "npconv.oracle.report.Report",
    "npconv.oracle.report.Tally",
    "npconv.oracle.run.WorkerLostError",
    "npconv.workers.Workers",
}


def read(name: str) -> str:
    """Return a file of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def public_names() -> set[str]:
    """Return what the public modules export, modules left out, and what stands beside."""
    pytest.importorskip("hypothesis", reason="npconv.strategies draws with it")
    found = set(BESIDE)
    for name in PUBLIC:
        module = importlib.import_module(name)
        exported = {public: getattr(module, public) for public in module.__all__}
        found |= {
            f"{name}.{public}"
            for public, value in exported.items()
            if not isinstance(value, ModuleType)
        }
        exports = {value.__name__ for value in exported.values() if isinstance(value, ModuleType)}
        assert exports <= set(PUBLIC)
    return found


def test_api_page_has_every_public_name() -> None:
    """The page documents each public name, once, and no other."""
    documented = re.findall(
        r"^\.\. auto(?:function|class):: ([\w.]+)", read("docs/api.md"), re.MULTILINE
    )
    assert len(documented) == len(set(documented))
    assert set(documented) == public_names()


def test_api_page_lists_members_that_are_there() -> None:
    """Each member that the page picks out of a class is one, and has a docstring of its own."""
    page = read("docs/api.md")
    listed = re.findall(
        r"^\.\. autoclass:: ([\w.]+)(?:\(\))?\n +:members: (.+)$", page, re.MULTILINE
    )
    assert len(listed) > 3
    for path, members in listed:
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name)
        fields = getattr(found, "__dataclass_fields__", {})
        for member in members.split(", "):
            assert member in fields or inspect.getdoc(getattr(found, member)), (path, member)


def pages() -> list[Path]:
    """Return README and its like, and all pages of the site."""
    return [
        *ROOT.glob("*.md"),
        ROOT / "conformance" / "README.md",
        *(path for path in DOCS.rglob("*.md") if "_build" not in path.parts),
    ]


def links(text: str) -> Iterator[str]:
    """Yield the relative targets of a page's links, outside of code."""
    text = re.sub(r"^(```+).*?^\1", "", text, flags=re.DOTALL | re.MULTILINE)
    text = re.sub(r"`[^`\n]+`", "", text)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            yield target


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    """Each relative link of a page names a file, and a heading of it where it names one."""
    for link in links(page.read_text(encoding="utf-8")):
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            assert heading in [
                re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-") for title in titles
            ], link


def test_links_are_found_and_code_is_not() -> None:
    """A link counts with its heading; a URL, code in a line and a block of code do not."""
    text = "[a](b.md#c) [d](https://e.f) `[g](h)`\n```py\n[i](j)\n```\n![k](l.svg)\n"
    assert list(links(text)) == ["b.md#c", "l.svg"]


def test_every_page_of_the_site_is_in_its_contents() -> None:
    """Each page stands in just one list of contents; docs/index.md is where they begin."""
    there = [page for page in pages() if page.is_relative_to(DOCS)]
    listed = []
    for page in there:
        text = page.read_text(encoding="utf-8")
        for block in re.findall(r"^```\{toctree\}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            for entry in (line for line in block.splitlines() if line and line[0] != ":"):
                listed += [found for found in page.parent.glob(f"{entry}.md") if found != page]
    assert sorted(listed) == sorted(set(there) - {DOCS / "index.md"})


def blocks(page: str, language: str) -> list[str]:
    """Return the texts of a page's code blocks in a language."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, read(page), re.DOTALL | re.MULTILINE)


def settled(text: str) -> list[str]:
    """Return lines without what depends on the time that a diagnosis has."""
    return re.sub(r" \(in \d+ of \d+ cases looked at\)", "", text).splitlines()


def test_start_page_shows_what_the_command_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The page's kernel fails with the lines that it shows, and conforms with its one change."""
    [kernel] = [code for code in blocks("docs/start.md", "python") if "def conv2d" in code]
    [command] = [code for code in blocks("docs/start.md", "sh") if code.startswith("npconv check")]
    [shown] = blocks("docs/start.md", "text")
    [change] = blocks("docs/start.md", "py")
    wrong, right = change.splitlines()
    monkeypatch.chdir(tmp_path)
    Path("kernel.py").write_text(kernel, encoding="utf-8")
    assert cli.main(command.split()[1:]) == cli.FAILED
    printed = settled(capsys.readouterr().out)
    assert [line for line in shown.splitlines() if line not in ("...", *printed)] == []

    assert kernel.count(wrong) == 1
    Path("kernel.py").write_text(kernel.replace(wrong, right), encoding="utf-8")
    assert cli.main(command.split()[1:]) == cli.OK
    [said] = re.findall(r"`(All [\d,]+ cases conform)`", read("docs/start.md"))
    assert said in capsys.readouterr().out


def test_version_of_the_pages_is_that_of_the_package() -> None:
    """Where a page shows the command's first line, it is of this version."""
    for page in pages():
        text = page.read_text(encoding="utf-8")
        for version in re.findall(r"^npconv (\d\S*) checks", text, re.MULTILINE):
            assert version == npconv.__version__, page
