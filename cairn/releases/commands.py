"""Git and DVC as they are called; what they say where they fail is the error."""

from __future__ import annotations

import os
import subprocess
import sys

from cairn import provenance
from cairn.console import CairnError

MODULE = (sys.executable, "-m")


def git(*arguments: str) -> str:
    """What git answers; a CairnError with its own words where it fails."""
    return git_bytes(*arguments).decode()


def git_bytes(*arguments: str) -> bytes:
    """As `git`, where it need not be text."""
    try:
        return _answer(("git", *arguments), f"git {arguments[0]}", LC_ALL="C")
    except FileNotFoundError:
        raise CairnError("there is no git here; install it") from None


def dvc(*arguments: str, **env: str) -> str:
    """What DVC prints; a CairnError with its own words where it fails.

    Parameters
    ----------
    env
        Environment variables beside those that are set.
    """
    return _answer((*MODULE, "dvc", *arguments), f"dvc {arguments[0]}", **env).decode()


def stage(name: str) -> str:
    """What a module of `stages` prints; a CairnError with its own words where it fails."""
    return _answer((*MODULE, f"stages.{name}"), name).decode()


def _answer(command: tuple[str, ...], named: str, **env: str) -> bytes:
    """What a command prints; a CairnError with the first line of what it says where it fails."""
    told = {**os.environ, **env}
    done = subprocess.run(command, capture_output=True, check=False, env=told)
    if done.returncode:
        first = provenance.explain_refusal(done.stderr.decode(errors="replace"))
        first = first.removeprefix("ERROR: ").removeprefix("error: ")
        raise CairnError(f"{named}: {first}")
    return done.stdout
