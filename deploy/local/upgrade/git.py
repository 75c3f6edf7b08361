"""Git as it is called; where it fails, its own words are the error."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from textwrap import shorten

from deploy.local.upgrade.errors import UpgradeError

LONGEST = 500  # characters of what git, or a hook of the user's, says
ENGLISH = {"LC_ALL": "C"}  # so that what git says can be repeated in an English sentence


def git_bytes(*arguments: str, env: Mapping[str, str] | None = None) -> bytes:
    """Run git and return what it prints; raise an UpgradeError with its reason where it fails."""
    process = _run(arguments, env)
    if process.returncode:
        raise UpgradeError(f"git {_command(arguments)}: {_reason(process)}")
    return process.stdout


def git(*arguments: str, env: Mapping[str, str] | None = None) -> str:
    """Run git as `git_bytes` does, and return its text without the line break at the end."""
    return git_bytes(*arguments, env=env).decode(errors="surrogateescape").rstrip("\n")


def succeeds(*arguments: str, env: Mapping[str, str] | None = None) -> bool:
    """Tell whether git ends with 0."""
    return _run(arguments, env).returncode == 0


def list_paths(*arguments: str) -> list[str]:
    """Return the paths that a git command prints with `-z`."""
    return [path for path in git(*arguments).split("\0") if path]


def _run(
    arguments: tuple[str, ...], env: Mapping[str, str] | None
) -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, **ENGLISH, **(env or {})}
    try:
        return subprocess.run(
            ["git", *arguments],
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env=environment,
        )
    except FileNotFoundError:
        raise UpgradeError("there is no git here; install it") from None


def _command(arguments: tuple[str, ...]) -> str:
    """Return the subcommand, which options such as `-c NAME=VALUE` may stand before."""
    words = iter(arguments)
    for word in words:
        if word == "-c":
            next(words, None)
        else:
            return word
    return ""


def _reason(process: subprocess.CompletedProcess[bytes]) -> str:
    """Return what git says on one line."""
    text = (process.stderr or process.stdout).decode(errors="replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    line = "; ".join(lines).removeprefix("fatal: ").removeprefix("error: ")
    return shorten(line, LONGEST, placeholder=" …")
