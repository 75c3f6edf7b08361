from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from cairn import console
from cairn.errors import CairnError
from tests.conftest import ROOT

JOB = """
from cairn import console

class Thing:
    pass

def main():
    print(main.__module__, Thing.__module__)

if __name__ == "__main__":
    console.run(main)
"""


def test_an_error_of_the_user_is_one_line_and_no_traceback() -> None:
    def main() -> None:
        raise CairnError("raw.source: no file")

    with pytest.raises(SystemExit) as ended:
        console.run(main)
    assert ended.value.code == "error: raw.source: no file"


def test_a_bug_keeps_its_traceback() -> None:
    def main() -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        console.run(main)


def test_an_interruption_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def main() -> None:
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as ended:
        console.run(main)
    assert ended.value.code == 130
    assert capsys.readouterr().err.startswith("interrupted; ")


def test_a_file_that_cannot_be_had_is_one_line_with_its_name(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(SystemExit) as ended:
        console.run(lambda: print(missing.read_text()))
    assert ended.value.code == f"error: No such file or directory: {missing}"


def test_what_the_encoding_has_not_is_written_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    console.run(lambda: console.say("3 rows × 2"))
    assert written.getvalue() == b"3 rows \\xd7 2\n"


def test_patience_speaks_while_the_block_lasts(capsys: pytest.CaptureFixture[str]) -> None:
    with console.patience("still at it", every=0.01):
        end = time.monotonic() + 60
        printed = ""
        while "still at it" not in printed and time.monotonic() < end:
            printed += capsys.readouterr().out
    assert re.match(r"still at it, \d+ s so far", printed)


def test_progress_is_silent_where_it_is_short(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress("raw", every=60.0) as progress:
        progress.add(3)
        progress.add(4)
    assert progress.rows == 7
    assert not capsys.readouterr().out


def test_progress_says_rows_and_how_fast_they_come(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Progress("raw", every=0.0) as progress:
        time.sleep(0.01)
        progress.add(3_000)
        progress.add(4_000)
    lines = capsys.readouterr().out.splitlines()
    assert [re.sub(r"[\d,]+ rows/s, \d+ s$", "9 rows/s, 9 s", line) for line in lines] == [
        "raw: 3,000 rows so far, 9 rows/s, 9 s",
        "raw: 7,000 rows so far, 9 rows/s, 9 s",
        "raw: 7,000 rows in all, 9 rows/s, 9 s",
    ]


def progress_and_fail() -> None:
    with console.Progress("raw", every=0.0):
        raise ZeroDivisionError


def test_progress_says_no_sum_of_what_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ZeroDivisionError):
        progress_and_fail()
    assert not capsys.readouterr().out


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_shows_how_far_it_is_and_its_note(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with console.Bar("train: searching", 4, "candidates") as bar:
        bar.to(2, "best 0.5")
        bar.to(4, "best 0.4")
    assert re.search(r"train: searching: +50%.*2/4.*best 0\.5", screen.getvalue())
    assert screen.getvalue().endswith("\r")  # nothing of it stays


def test_a_bar_is_lines_where_there_is_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """Also while a step lasts."""
    with console.Bar("train: searching", 4, "candidates", every=0.01) as bar:
        bar.to(2, "best 0.5")
        end = time.monotonic() + 60
        printed = ""
        while "best" not in printed and time.monotonic() < end:
            printed += capsys.readouterr().out
    assert re.search(
        r"^train: searching: 2 of 4 candidates, \d+ s; best 0\.5$", printed, re.MULTILINE
    )


def test_a_short_bar_says_nothing_without_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with console.Bar("train: searching", 4, "candidates") as bar:
        bar.to(4)
    assert not capsys.readouterr().out


def test_a_stage_runs_under_the_name_that_others_import_it_by(tmp_path: Path) -> None:
    """Else what it pickles means another module in other processes."""
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "job.py").write_text(JOB)
    done = subprocess.run(
        [sys.executable, "-m", "jobs.job"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "jobs.job jobs.job\n"
