"""The release before this one, as a repository that a user could have cloned.

CI's checkouts have no history, so its files are kept here, as `python -m tests.release_before
COMMIT` writes them: run it with the release's tag once a release is out. Left out is what an
upgrade's test has no use for (tests, benchmarks, docs, pictures), and the lists of packages: the
environment that runs the test is today's, and so are they.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from tests.conftest import ROOT, clone

ARCHIVE = ROOT / "tests" / "release_before.tar.xz"
BEFORE, NOW = "v0.1.0", "v0.2.0"
LEFT_OUT = ("tests", "bench", "docs", ".ci", ".github", "requirements*.txt")


def write(commit: str) -> None:
    """Write the files of a commit."""
    paths = [".", *(f":(exclude,glob){name}" for name in LEFT_OUT),
             *(f":(exclude,glob){name}/**" for name in LEFT_OUT)]  # fmt: skip
    command = ["git", "archive", "--format=tar", commit, "--", *paths]
    archive = subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    packed = subprocess.run(["xz", "-9e"], input=archive.stdout, check=True, capture_output=True)
    ARCHIVE.write_bytes(packed.stdout)


def release_both(folder: Path) -> Path:
    """Make Cairn's repository: the release before, and then the working tree, each with a tag."""
    now = clone(folder / "now")
    upstream = folder / "cairn"
    upstream.mkdir()
    with tarfile.open(ARCHIVE) as files:
        files.extractall(upstream, filter="data")
    for path in ROOT.glob("requirements*.txt"):
        (upstream / path.name).write_bytes(path.read_bytes())

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=upstream, env=now.env, check=True, capture_output=True
        )
        return done.stdout.decode().strip()

    git("init", "--quiet", "--initial-branch", "main")
    git("add", "--all")
    git("commit", "--quiet", "--message", BEFORE)
    git("tag", BEFORE)
    git("fetch", "--quiet", str(now.root), "main")
    commit = git("commit-tree", "-p", BEFORE, "-m", NOW, "FETCH_HEAD^{tree}")
    git("reset", "--quiet", "--hard", commit)
    git("tag", NOW)
    return upstream


if __name__ == "__main__":
    write(*sys.argv[1:])
