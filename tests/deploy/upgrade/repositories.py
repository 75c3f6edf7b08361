"""Small repositories: one with releases of something like Cairn, and users' that began as one."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.history import WHO

CODE = "".join(f"line_{number} = {number}\n" for number in range(30))
# Each release: what it changes of the one before; None deletes.
RELEASES: dict[str, dict[str, str | None]] = {
    "v0.1.0": {
        "README.md": "# Cairn\n",
        "Makefile": "register:\n\t@echo register: shop:0123456789ab is in the BentoML store\n",
        "params.yaml": "train:\n  seed: 42\n",
        "dvc.lock": "stages: {}\n",
        "dvc.yaml": "stages: {}\n",
        "stages/engineering.py": "def engineer(columns):\n    return {}\n",
        "stages/tables.py": CODE,
        "stages/train.py": f"# train\n{CODE}",
        "stages/parsing/reader.py": f"# reader\n{CODE}",
        "stages/parsing/texts.py": f"# texts\n{CODE}",
        "bench/scale.py": f"# bench\n{CODE}",
        "data/model/metrics.json": '{"of": "the shipped table"}\n',
        "deploy/k8s/overlays/production/kustomization.yaml": "newTag: 0\n",
        "deploy/prometheus/rules.yml": f"groups:\n{CODE.replace(' = ', ': ')}",
    },
    "v0.2.0": {
        "README.md": "# Cairn, with a site\n",
        "params.yaml": "train:\n  seed: 1\n  trees: 5\n",
        "dvc.lock": "stages: {raw: {}}\n",
        "stages/engineering.py": '"""Yours."""\n\n\ndef engineer(columns):\n    return {}\n',
        "stages/tables.py": None,
        **dict.fromkeys(["stages/parsing/reader.py", "stages/parsing/texts.py"]),
        "cairn/parsing/reader.py": f"# reader\n{CODE}",
        "cairn/parsing/texts.py": f"# texts\n{CODE}",
        "cairn/version.py": "v0.2.0\n",
        "cairn/tables.py": CODE.replace("line_2 = 2\n", "line_2 = 'second'\n"),
        "stages/train.py": f"# train\n{CODE.replace('line_9 = 9', 'line_9 = 10')}",
        "bench/scale.py": f"# bench\n{CODE}faster = True\n",
        "bench/more.py": "more = True\n",
        "data/evaluation/metrics.json": '{"of": "the shipped table"}\n',
        "deploy/k8s/overlays/production/kustomization.yaml": "newTag: 1\n",
        "deploy/prometheus/rules.yml": f"groups: new\n{CODE.replace(' = ', ': ')}",
    },
    "v0.3.0": {
        "stages/train.py": f"# train\n{CODE.replace('line_9 = 9', 'line_9 = 11')}",
        "cairn/tables.py": CODE.replace("line_2 = 2\n", "line_2 = 'third'\n"),
    },
}
# What users change of the first one.
OWN: dict[str, str | None] = {
    "README.md": "# My shop\n",
    "params.yaml": "train:\n  seed: 7  # mine\n",
    "dvc.lock": "stages: {mine: {}}\n",
    "stages/engineering.py": "def engineer(columns):\n    return {'mine': columns['a']}\n",
    "stages/helpers.py": "mine = True\n",
    "stages/parsing/helpers.py": "mine = True\n",  # whose neighbors all move
    "stages/tables.py": f"{CODE}mine = True\n",
    "bench/scale.py": None,
    "data/model/metrics.json": '{"of": "my table"}\n',
    "deploy/k8s/overlays/production/kustomization.yaml": "newTag: mine\n",
    "deploy/k8s/overlays/staging/kustomization.yaml": "newTag: mine\n",
    "deploy/prometheus/rules.yml": f"groups:\n{CODE.replace(' = ', ': ')}mine: yes\n",
}


def git(folder: Path, *arguments: str) -> str:
    """Run git in a folder and return what it prints."""
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env={**os.environ, **WHO},
    )
    return done.stdout.strip()


def begin(folder: Path) -> Path:
    """Make a repository without a commit."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", "--initial-branch", "main")
    return folder


def commit(folder: Path, changes: Mapping[str, str | None], message: str = "change") -> str:
    """Write or delete files, commit them, and return the commit."""
    for name, text in changes.items():
        path = folder / name
        if text is None:
            path.unlink()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def release_all(folder: Path) -> Path:
    """Make Cairn's repository: a commit between two releases, and annotated tags."""
    begin(folder)
    for version, changes in RELEASES.items():
        commit(folder, changes, version)
        git(folder, "tag", "--annotate", "--message", version, version)
        commit(folder, {"cairn/version.py": f"after {version}\n"}, f"after {version}")
    return folder


def clone(upstream: Path, folder: Path, version: str = "v0.1.0") -> Path:
    """Clone Cairn at a release, as somebody does who keeps its history."""
    git(upstream, "clone", "--quiet", "--no-tags", str(upstream), str(folder))
    git(folder, "remote", "rename", "origin", "upstream")
    git(folder, "checkout", "--quiet", "-B", "main", git(upstream, "rev-parse", f"{version}^{{}}"))
    return folder


def use_template(upstream: Path, folder: Path, commit_id: str) -> Path:
    """Begin a repository with the files of a commit of Cairn and none of its history."""
    begin(folder)
    archive = subprocess.run(
        ["git", "-C", str(upstream), "archive", commit_id], check=True, capture_output=True
    )
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive.stdout, check=True)
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "Initial commit")
    git(folder, "remote", "add", "upstream", str(upstream))
    return folder


def read_files(folder: Path) -> dict[str, str]:
    """Read every file that git has in a folder."""
    names = git(folder, "ls-files").splitlines()
    return {name: (folder / name).read_text() for name in names}
