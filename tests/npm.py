"""Packages from npm that some tests need: by exact version, and only with the bytes expected."""

from __future__ import annotations

import base64
import hashlib
import subprocess
import tarfile
from pathlib import Path

from tests.tools import tool


def unpack(package: str, sha512: str, folder: Path) -> Path:
    """Download a package, `NAME@VERSION`, check its SHA-512 in Base64, and return its folder."""
    command = [tool("npm", "npm"), "pack", "--silent", package]
    subprocess.run(command, cwd=folder, check=True, timeout=600, capture_output=True)
    [packed] = folder.glob("*.tgz")
    digest = hashlib.sha512(packed.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == sha512
    with tarfile.open(packed) as archive:
        archive.extractall(folder, filter="data")
    return folder / "package"
