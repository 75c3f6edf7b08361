"""Call git and DVC; if one fails, its own message is the error."""

from __future__ import annotations

import os
import subprocess
import sys

from cairn import provenance
from cairn.errors import CairnError

MODULE = (sys.executable, "-m")


def git(*arguments: str) -> str:
    """Return what git prints; raise a CairnError with its message if it fails."""
    return git_bytes(*arguments).decode()


def git_bytes(*arguments: str) -> bytes:
    """Return what git prints as bytes; raise as `git`."""
    try:
        return _call(("git", *arguments), f"git {arguments[0]}", LC_ALL="C")
    except FileNotFoundError:
        raise CairnError("git is not installed; install it") from None


def dvc(*arguments: str, **env: str) -> str:
    """Return what DVC prints; raise a CairnError with its message if it fails.

    Parameters
    ----------
    env
        More environment variables.
    """
    return _call((*MODULE, "dvc", *arguments), f"dvc {arguments[0]}", **env).decode()


def run_module(name: str) -> str:
    """Return what a module prints; raise a CairnError with its message if it fails."""
    return _call((*MODULE, name), name.rpartition(".")[2]).decode()


def _call(command: tuple[str, ...], label: str, **env: str) -> bytes:
    """Return what a command prints; raise a CairnError with the first line of its message."""
    process = subprocess.run(command, capture_output=True, check=False, env={**os.environ, **env})
    if process.returncode:
        first = provenance.explain_refusal(process.stderr.decode(errors="replace"))
        first = first.removeprefix("ERROR: ").removeprefix("error: ")
        raise CairnError(f"{label}: {first}")
    return process.stdout
