"""The documentation's site: it builds without a warning, finds words, and asks no other host."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.test_make import MAKEFILE

# What a browser loads by itself, by element and attribute; links are for people to follow.
LOADED = {
    ("audio", "src"), ("embed", "src"), ("iframe", "src"), ("img", "src"), ("img", "srcset"),
    ("input", "src"), ("link", "href"), ("object", "data"), ("script", "src"), ("source", "src"),
    ("source", "srcset"), ("track", "src"), ("use", "href"), ("video", "poster"), ("video", "src"),
}  # fmt: skip
# Of <link>: the parts of it that are only names.
NAMES = {"author", "canonical", "license", "next", "prev", "search", "index", "up"}
AWAY = re.compile(r"^\s*(https?:)?//", re.IGNORECASE)
SPHINX = re.search(
    r"^SPHINX := sphinx-build (.*) build/doctrees docs build/docs$", MAKEFILE, re.MULTILINE
)
# What a script asks another host by.
CALL = re.compile(r"(?:fetch|import|importScripts|sendBeacon)\(\s*[\"'`](?:https?:)?//")


class Resources(HTMLParser):
    """What a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        if tag == "link" and set((attributes.get("rel") or "").split()) <= NAMES:
            return
        self.found += [value for name, value in attrs if (tag, name) in LOADED and value]


def build(docs: Path, into: Path) -> subprocess.CompletedProcess[str]:
    """Build a folder of pages as `make docs` does."""
    assert SPHINX
    folders = [str(into / "doctrees"), str(docs), str(into / "html")]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *SPHINX[1].split(), *folders],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "docs", folder)
    assert done.returncode == 0, done.stderr
    return folder / "html"


def test_each_page_is_in_it_and_in_the_list_of_pages(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    index = (site / "index.html").read_text()
    for page in pages:
        built = page.with_suffix(".html")
        assert (site / built).exists()
        assert page.name == "index.md" or f'href="{built.as_posix()}"' in index


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    pages = [page for page in site.rglob("*.html") if "_static" not in page.parts]
    assert len(pages) > 20
    for page in pages:
        parser = Resources()
        parser.feed(page.read_text())
        assert parser.found
        assert [each for each in parser.found if AWAY.match(each)] == []
        files = [re.sub(r"[?#].*", "", each) for each in parser.found]
        files = [file for file in files if file and not file.startswith("data:")]
        assert [file for file in files if not (page.parent / file).exists()] == []


def test_no_style_or_script_loads_anything_from_another_host(site: Path) -> None:
    styles = list(site.rglob("*.css"))
    assert styles
    for style in styles:
        text = re.sub(r"/\*.*?\*/", "", style.read_text(), flags=re.DOTALL)
        loaded = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s]+)", text)
        assert [each for each in loaded if AWAY.match(each)] == []
    for script in site.rglob("*.js"):
        assert not CALL.search(script.read_text()), script


def test_the_search_finds_words_of_the_pages(site: Path) -> None:
    text = (site / "searchindex.js").read_text()
    index = json.loads(text[text.index("(") + 1 : text.rindex(")")])
    for word, page in (("penguin", "tutorial"), ("drain", "serving"), ("autoscal", "kubernetes")):
        places = index["terms"][word]
        places = places if isinstance(places, list) else [places]
        assert any(index["docnames"][number].endswith(page) for number in places)


def test_links_that_lead_nowhere_fail(tmp_path: Path) -> None:
    docs = tmp_path / "docs"
    (docs / "_static").mkdir(parents=True)
    (docs / "_static" / "cairn.css").touch()
    (docs / "conf.py").write_text((ROOT / "docs" / "conf.py").read_text())
    (docs / "index.md").write_text("# A\n\n```{toctree}\nsound\n```\n\n[b](sound.md#b)\n")
    (docs / "sound.md").write_text("# B\n")
    assert build(docs, tmp_path / "first").returncode == 0
    (docs / "sound.md").write_text("# B\n\n[c](absent.md)\n[d](index.md#absent)\n")
    done = build(docs, tmp_path / "second")
    assert done.returncode
    assert done.stderr.count("myst.xref_missing") == 2
