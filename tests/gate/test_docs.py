"""docs/ builds as a site that fetches nothing; a broken link ends the build."""

import importlib.util
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from commands import TOP

needs_mkdocs = pytest.mark.skipif(
    importlib.util.find_spec("material") is None, reason="needs mkdocs-material: pip install -e '.[docs]'"
)
# A page asks for these by itself; what it links to for a reader to click is no asset.
ASSETS = {"link": "href", **dict.fromkeys(("script", "img", "iframe", "source", "video", "audio"), "src")}
STYLE = re.compile(r"""(?:url\(\s*|@import\s+)["']?([^"')\s]+)""")


def build(project: Path, site: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(site)]
    return subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    site = tmp_path_factory.mktemp("docs") / "site"
    built = build(TOP, site)
    assert built.returncode == 0, built.stderr
    return site


class Assets(HTMLParser):
    """Collects what a browser would fetch for a page."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "link" and given.get("rel") in ("canonical", "next", "prev", "alternate"):
            return
        if address := given.get(ASSETS.get(tag, "")):
            self.found.append(address)
        self.found += STYLE.findall(given.get("style") or "")


def assets_of(page: Path) -> Iterator[str]:
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".html":
        parser = Assets()
        parser.feed(text)
        yield from parser.found
    for style in [text] if page.suffix == ".css" else re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL):
        yield from STYLE.findall(style)


@needs_mkdocs
def test_every_page_is_built(site):
    pages = {path.stem for suffix in ("md", "ipynb") for path in (TOP / "docs").glob(f"*.{suffix}")}
    assert pages <= {path.stem for path in site.glob("*.html")} and len(pages) > 10


@needs_mkdocs
def test_no_page_loads_an_outside_asset(site):
    counted = 0
    for page in (*site.rglob("*.html"), *site.rglob("*.css")):
        for address in assets_of(page):
            parts = urlsplit(address)
            if parts.scheme == "data" or not parts.path:
                continue
            assert not parts.scheme and not parts.netloc, f"{page.name} loads {address}"
            # 404.html is served for any address, and so names its assets from the top.
            place = site / parts.path.lstrip("/") if parts.path.startswith("/") else page.parent / parts.path
            assert place.is_file(), f"{page.name} loads {address}, which is not there"
            counted += 1
        # The theme's script fetches what draws these.
        assert 'class="mermaid"' not in page.read_text(encoding="utf-8")
    assert counted > 50


def test_an_outside_asset_would_be_seen(tmp_path):
    page = tmp_path / "page.html"
    page.write_text(
        '<link rel="stylesheet" href="https://a.example/a.css"><script src="//b.example/b.js"></script>'
        '<img src="http://c.example/c.png"><style>@import "https://d.example/d.css";</style>'
        '<a href="https://e.example">a link</a>',
        encoding="utf-8",
    )
    assert {urlsplit(address).netloc[0] for address in assets_of(page)} == {"a", "b", "c", "d"}


@needs_mkdocs
def test_a_broken_link_ends_the_build(tmp_path):
    broken = ("[page](nowhere.md)", "[anchor](data.md#nowhere)", "![image](images/no.png)", "[code](../medcls/a.py)")
    shutil.copytree(TOP / "docs", tmp_path / "docs")
    shutil.copy(TOP / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "compare.md").open("a", encoding="utf-8") as page:
        page.write("\n\n".join(["", *broken]))
    # Nor may the navigation lack a page.
    (tmp_path / "docs" / "lonely.md").write_text("# Lonely\n", encoding="utf-8")
    built = build(tmp_path, tmp_path / "site")
    assert built.returncode != 0
    for link in broken:
        assert f"'{link.split('(')[1].rstrip(')')}'" in built.stderr, f"{link} was not seen"
    assert "lonely.md" in built.stderr
