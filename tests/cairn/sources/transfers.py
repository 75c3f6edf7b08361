"""Transfers that end well, and those that do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from cairn.errors import CairnError
from cairn.params.raw import Raw
from cairn.sources import download, table


def params(url: str, *, plain: bool = False) -> Raw:
    return Raw(source=url, sha256="0" * 64 if plain else None)


def fetch(url: str, into: Path, *, plain: bool = False) -> bytes:
    """Transfer what is at an address; `plain` as where its hash is known."""
    table.transfer(url, params(url, plain=plain), into)
    assert not download.checkpoint_path(into).exists()
    return into.read_bytes()


def fails(url: str, into: Path, *, plain: bool = False) -> str:
    with pytest.raises(CairnError) as error:
        table.transfer(url, params(url, plain=plain), into)
    assert "\n" not in str(error.value)
    return str(error.value)
