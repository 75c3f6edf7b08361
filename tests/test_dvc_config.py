from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_an_output_is_copied_into_the_cache_and_not_back(tmp_path: Path) -> None:
    def dvc(*arguments: str) -> None:
        subprocess.run(["dvc", *arguments, "--quiet"], cwd=tmp_path, check=True)

    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    dvc("init")
    shutil.copy(ROOT / ".dvc" / "config", tmp_path / ".dvc" / "config")
    table = tmp_path / "table"
    table.write_bytes(b"a,b\n1,2\n")
    before = table.stat()
    dvc("add", "table")
    [cached] = (path for path in (tmp_path / ".dvc" / "cache").rglob("*") if path.is_file())
    assert cached.read_bytes() == table.read_bytes()
    after = table.stat()
    assert (after.st_ino, after.st_nlink) == (before.st_ino, 1)
    assert after.st_mode == before.st_mode  # people may still edit it
