"""Canaries: what `cairn.releases.compat` uses of DVC and GTO still behaves."""

from __future__ import annotations

import hashlib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from cairn.releases import compat
from cairn.releases.compat import Cache, SemVer, TagName
from tests import history, small
from tests.history import Model, dvc

pytestmark = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")


@pytest.mark.parametrize(("package", "versions"), [("dvc", compat.DVC), ("gto", compat.GTO)])
def test_the_module_was_read_for_the_installed_version(package: str, versions: str) -> None:
    assert metadata.version(package) in SpecifierSet(versions)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("m@v1.2.3", TagName("register", "m", "v1.2.3", None, 0)),
        ("m@v1.2.3!", TagName("deregister", "m", "v1.2.3", None, 0)),
        ("m#prod#7", TagName("assign", "m", None, "prod", 7)),
        ("m#prod!#8", TagName("unassign", "m", None, "prod", 8)),
        ("v1.2.3", None),
        ("m@two", None),
    ],
)
def test_the_name_of_a_tag_is_parsed(name: str, expected: TagName | None) -> None:
    assert compat.parse_tag(name) == expected


def test_the_names_of_tags_are_those_that_gto_parses() -> None:
    assert compat.name_version("m", "v1.2.3") == "m@v1.2.3"
    assert compat.name_stage("m", "prod", 7) == "m#prod#7"
    assert compat.is_name("pre-prod")
    assert not compat.is_name("pre prod")
    assert SemVer("v1.10.0") > SemVer("v1.9.0")
    assert str(SemVer("v1.9.0").bump_patch().version) == "v1.9.1"  # type: ignore[no-untyped-call]


def test_the_cache_locates_a_file_and_pulls_it_from_the_remote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "clone").mkdir()
    history.enter(tmp_path / "clone", monkeypatch)
    history.begin()
    history.commit(Model(small.fitted(), history.scores()))
    dvc("push", "--quiet")
    md5 = hashlib.md5(small.fitted().graph, usedforsecurity=False).hexdigest()
    with Cache.open() as cache:
        path = cache.locate(md5)
        assert path.read_bytes() == small.fitted().graph
        path.unlink()
        cache.pull([md5])
        assert path.read_bytes() == small.fitted().graph
