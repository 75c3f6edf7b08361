from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

from service.bento import labels

CHAIN: dict[str, Any] = {
    "sha256": "f" * 64,
    "git": {"commit": "c" * 40, "dirty": False},
    "dvc": {
        "raw": {"deps": {"stages/raw.py": "1"}, "outs": {"data/raw/table": "2"}},
        "train": {"deps": {"data/raw/table": "2"}, "outs": {"data/model/model.onnx": "3"}},
    },
}
FILES = (Path("code.py"),)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in ("GIT_AUTHOR_DATE", "GIT_COMMITTER_DATE"):
        monkeypatch.setenv(name, "2026-01-02T03:04:05+00:00")
    for name in ("code.py", "dvc.lock", "other.md"):
        (tmp_path / name).write_text(name)
    git("init", "--quiet")
    git("remote", "add", "origin", "https://you:secret@example.org/you/churn.git")
    commit()
    return tmp_path


def git(*words: str) -> str:
    done = subprocess.run(["git", *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def commit() -> None:
    git("add", "--all")
    who = ("-c", "user.name=Test", "-c", "user.email=test@example.org")
    git(*who, "commit", "--quiet", "--message", "all")


def make() -> dict[str, str]:
    return labels.make_labels("1-2", "cairn:ffff", CHAIN, FILES)


@pytest.mark.usefixtures("repository")
def test_they_lead_to_the_commit_and_to_every_hash_of_dvc_lock() -> None:
    actual = make()
    assert actual == {
        "org.opencontainers.image.title": "cairn",
        "org.opencontainers.image.version": "1-2",
        "org.opencontainers.image.revision": git("rev-parse", "HEAD"),
        "org.opencontainers.image.created": actual["org.opencontainers.image.created"],
        "org.opencontainers.image.source": "https://example.org/you/churn",
        "cairn.model": "cairn:ffff",
        "cairn.model.sha256": "f" * 64,
        "cairn.model.revision": "c" * 40,
        "cairn.dvc.data/raw/table": "2",
        "cairn.dvc.data/model/model.onnx": "3",
    }
    assert actual["org.opencontainers.image.created"].startswith("2026-01-02T03:04:05")


def test_a_commit_that_changes_no_part_changes_no_label(repository: Path) -> None:
    before = make()
    (repository / "other.md").write_text("changed")
    commit()
    assert make() == before


def test_a_part_that_is_not_committed_is_reported(repository: Path) -> None:
    (repository / "code.py").write_text("changed")
    assert make()["org.opencontainers.image.revision"].endswith("-changed")


def test_outside_a_repository_there_are_those_of_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert "org.opencontainers.image.revision" not in make()
    assert make()["cairn.model"] == "cairn:ffff"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://user:token@example.org/a/b.git", "https://example.org/a/b"),
        ("git@example.org:a/b.git", "https://example.org/a/b"),
        ("ssh://git@example.org:22/a/b", "https://example.org/a/b"),
        ("https://user:to/ken@example.org/a/b.git", ""),
        ("https://[::1/b", ""),
        ("file:///somewhere/b", ""),
        ("/somewhere/b.git", ""),
        ("", ""),
    ],
)
def test_the_source_is_where_a_browser_finds_it(url: str, shown: str) -> None:
    assert labels.normalize_url(url) == shown
