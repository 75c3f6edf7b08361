"""The labels of a Bento and of its image: OCI's annotations, and the chain back to the data."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cairn.provenance import LOCK, ask_git
from service.bento.store import NAME

OCI = "org.opencontainers.image."


def make_labels(
    version: str, model: str, chain: Mapping[str, Any], files: tuple[Path, ...]
) -> dict[str, str]:
    """Return the labels of an image.

    Parameters
    ----------
    version
        The Bento's.
    model, chain
        Tag of the model in it, and where that comes from, as the model store keeps it.
    files
        What the Bento is made of beside the model. The image's revision is the last commit that
        changed one of them, or dvc.lock, so that an older image of the same content says the same.
    """
    named = [str(path) for path in (LOCK, *files)]
    commit, _, date = ask_git("log", "-1", "--format=%H %cI", "--", *named).partition(" ")
    changed = "-changed" if commit and ask_git("status", "--porcelain", "--", *named) else ""
    values = {
        f"{OCI}title": NAME,
        f"{OCI}version": version,
        f"{OCI}revision": f"{commit}{changed}",
        f"{OCI}created": date,
        f"{OCI}source": normalize_url(ask_git("remote", "get-url", "origin")),
        "cairn.model": model,
        "cairn.model.sha256": str(chain["sha256"]),
        "cairn.model.revision": str(chain["git"]["commit"]),
        **{f"cairn.dvc.{path}": md5 for path, md5 in list_outs(chain).items()},
    }
    return {name: value for name, value in values.items() if value}


def list_outs(chain: Mapping[str, Any]) -> dict[str, str]:
    """Path → MD5, as dvc.lock has it, of all that the stages made."""
    return {path: md5 for stage in chain["dvc"].values() for path, md5 in stage["outs"].items()}


def normalize_url(url: str) -> str:
    """Address of a repository as a browser takes it; empty where it is none, without any secret.

    Examples
    --------
    >>> normalize_url("git@github.com:you/churn.git")
    'https://github.com/you/churn'
    >>> normalize_url("https://you:token@example.org/you/churn.git")
    'https://example.org/you/churn'
    """
    if url.startswith("git@") and ":" in url:
        host, _, path = url.removeprefix("git@").partition(":")
        url = f"https://{host}/{path}"
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in {"https", "ssh"} or not parts.hostname or "@" in parts.path:
        return ""
    return f"https://{parts.hostname}{parts.path.removesuffix('.git')}"
