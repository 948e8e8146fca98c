"""The page in a real browser: it lays out, prints, adapts, asks for nothing and runs nothing.

It runs where playwright and a Chromium are found: the one on the PATH, or playwright's own. With
NPCONV_REQUIRE_BROWSER set, none is an error.
"""

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from npconv import adapters
from npconv.oracle.check import report_on
from npconv.oracle.page import once_more, page_text
from npconv.oracle.report import Tally
from npconv.oracle.run import Plan, run

REQUIRED = bool(os.environ.get("NPCONV_REQUIRE_BROWSER"))
if not REQUIRED:
    pytest.importorskip("playwright", reason="playwright opens the page in a browser")

SIZES = ((1280, 900), (400, 800))
SCHEMES = ("light", "dark")

TARGETS = {
    "conforms": "from npconv import *",
    "faults": '''
import npconv
supports = {"dtypes": ["float32", "float64"]}

def conv2d(x, w, b, stride, padding, dilation, groups):
    if dilation != (1, 1):
        raise RuntimeError("</code><script>document.title = 'run'</script>" + "x" * 200)
    if groups == 2:
        raise NotImplementedError("<img src=x onerror=\\"document.title = 'run'\\">")
    out = npconv.conv2d(x, w, b, stride, padding, dilation, groups)
    if stride[1] > 1:
        out[..., -1] = 0
    return out

def conv2d_backward(g, x, w, stride, padding, dilation, groups, mask):
    found = npconv.conv2d_backward(g, x, w, stride, padding, dilation, groups, mask)
    return tuple(None if a is None else a * a.dtype.type(1 + (stride[0] > 1)) for a in found)
''',
}  # fmt: skip


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import Error, sync_playwright

    found = next(filter(None, map(shutil.which, ("chromium", "google-chrome", "chrome"))), None)
    with sync_playwright() as playwright:
        try:
            # Within a container there are no namespaces to make a sandbox of.
            started = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        except Error as error:
            if REQUIRED:
                raise
            pytest.skip(f"no Chromium can be started: {str(error).splitlines()[0]}")
        yield started
        started.close()


@pytest.fixture(scope="module", params=sorted(TARGETS))
def page_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run on one of the targets."""
    folder = tmp_path_factory.mktemp(request.param)
    target = folder / "kernel.py"
    target.write_text(TARGETS[request.param], encoding="utf-8")
    plan = Plan(adapters.load, str(target), "quick[::7]")

    tally = Tally()
    ending = run(plan, tally)
    report = report_on(plan, tally, ending, target=str(target), described=str(target))
    supports = plan.implementation().supports
    text = page_text(
        report,
        plan.cases(),
        leaves_out=lambda case: plan.leaves_out(case, supports),
        again=once_more(plan, report, None),
    )
    path = folder / "page.html"
    path.write_text(text, encoding="utf-8")
    return path


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """Open a page; return it, and what it asked for, complained of or raised."""
    tab = browser.new_page(**options)
    events: list[str] = []
    tab.on("console", lambda message: events.append(f"console: {message.text}"))
    tab.on("pageerror", lambda error: events.append(f"error: {error}"))
    tab.on("request", lambda request: events.append(f"request: {request.url[:80]}"))
    tab.goto(path.as_uri())
    own = f"request: {path.as_uri()}"[:80]
    return tab, [e for e in events if e[:80] != own and not e.startswith("request: data:")]


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.counts: Counter[str] = Counter()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:  # noqa: ARG002
        self.counts[tag.lower()] += 1


def test_the_browser_reads_what_was_written(browser: Any, page_file: Path) -> None:
    """No element is moved, added or dropped by the browser's repair of bad markup; none runs."""
    tab, events = opened(browser, page_file)
    tags = _Tags()
    tags.feed(page_file.read_text("utf-8"))
    found = tab.evaluate("[...document.querySelectorAll('*')].map(e => e.localName.toLowerCase())")
    assert Counter(found) == tags.counts
    assert tab.evaluate("document.compatMode") == "CSS1Compat"
    assert "npconv" in tab.title()
    assert events == []
    tab.close()


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("size", SIZES, ids=lambda size: f"{size[0]} wide")
def test_the_page_fits_every_screen(
    browser: Any, page_file: Path, size: tuple[int, int], scheme: str
) -> None:
    """Nothing sticks out at the side, no text is cut off, and a screenshot has both colours."""
    tab, _ = opened(
        browser, page_file, viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    assert tab.evaluate("document.documentElement.scrollWidth") <= size[0]
    outside = tab.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e => {
            const box = e.getBoundingClientRect();
            return box.width && box.right > innerWidth + 1 && !e.closest('.wide, details');
        }).map(e => e.outerHTML.slice(0, 99))"""
    )
    assert outside == []
    hidden = tab.evaluate(
        """() => [...document.querySelectorAll('h1, h2, h3, p, td, th, dd')].filter(e =>
            !e.closest('details') && !e.closest('thead') && e.textContent.trim()
            && getComputedStyle(e).display !== 'none'
            && e.getBoundingClientRect().height < 8).map(e => e.outerHTML.slice(0, 99))"""
    )
    assert hidden == []
    paper = tab.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, paper.removeprefix("rgb(").removesuffix(")").split(","))) > 380
    assert light == (scheme == "light")
    assert len(tab.screenshot(full_page=True)) > 20_000
    tab.close()


@pytest.mark.parametrize("scheme", SCHEMES)
def test_text_can_be_read(browser: Any, page_file: Path, scheme: str) -> None:
    """Each text, in pictures too, has the contrast that WCAG 2.2 (1.4.3) asks for, 4.5 to 1."""
    tab, _ = opened(
        browser, page_file, viewport={"width": 1280, "height": 900}, color_scheme=scheme
    )
    seen, faint = tab.evaluate(_CONTRAST)
    assert faint == []
    assert seen > 60
    tab.close()


_CONTRAST = r"""() => {
    const read = c => {
        const n = c.match(/[\d.]+/g).map(Number);
        return n.length < 4 ? [...n, 1] : n;
    };
    const light = c => {
        const part = v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
        const [r, g, b] = c.slice(0, 3).map(v => part(v / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const behind = e => {
        for (; e; e = e.parentElement) {
            const c = read(getComputedStyle(e).backgroundColor);
            if (c[3] > 0.99) return c;
        }
        return [255, 255, 255, 1];
    };
    const under = t => {
        const e = t.previousElementSibling;
        const inCell = t.closest('.plane') || /^t\d/.test(t.getAttribute('class'));
        if (e && e.localName === 'rect' && inCell) return read(getComputedStyle(e).fill);
        return behind(t.closest('svg').parentElement);
    };
    const bad = [];
    let seen = 0;
    for (const e of document.querySelectorAll('body *')) {
        const own = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
        if (!own || e.localName === 'title' || !e.getBoundingClientRect().width) continue;
        const svg = e.closest('svg'), style = getComputedStyle(e);
        // Inverted as a whole in the dark, so that both colours change alike.
        const paper = svg ? under(e) : behind(e);
        let opacity = 1;
        for (let p = e; p; p = p.parentElement) opacity *= getComputedStyle(p).opacity;
        const ink = read(svg ? style.fill : style.color)
            .map((v, i) => i < 3 ? opacity * v + (1 - opacity) * paper[i] : v);
        const [a, b] = [light(ink), light(paper)].sort((x, y) => y - x);
        const ratio = (a + 0.05) / (b + 0.05);
        seen += 1;
        if (ratio < 4.5) bad.push(ratio.toFixed(2) + ' ' + e.outerHTML.slice(0, 99));
    }
    return [seen, bad];
}"""


def test_the_page_prints(browser: Any, page_file: Path) -> None:
    """Printed, what only a screen can use is gone, and nothing is wider than the paper."""
    tab, _ = opened(browser, page_file)
    tab.emulate_media(media="print")
    assert tab.evaluate("[...document.querySelectorAll('nav')].every(e => !e.offsetHeight)")
    assert tab.pdf(format="A4").startswith(b"%PDF")
    tab.close()


def test_the_keyboard_reaches_what_scrolls(browser: Any, page_file: Path) -> None:
    """Every part that scrolls on its own takes the focus, and the links lead to their sections."""
    tab, _ = opened(browser, page_file, viewport={"width": 400, "height": 800})
    stuck = tab.evaluate(
        """() => [...document.querySelectorAll('body *')].filter(e =>
            e.scrollWidth > e.clientWidth + 1 && e.tabIndex < 0 &&
            ['auto', 'scroll'].includes(getComputedStyle(e).overflowX)
        ).map(e => e.outerHTML.slice(0, 99))"""
    )
    assert stuck == []
    for link in tab.query_selector_all("nav a"):
        link.click()
        name = link.get_attribute("href")
        assert tab.evaluate("location.hash") == name
        assert tab.evaluate(f"document.querySelector('{name}').getBoundingClientRect().top < 800")
    tab.close()
