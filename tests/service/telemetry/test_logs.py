from __future__ import annotations

import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import orjson
import pytest

from service.telemetry import logs
from service.telemetry.logs import MOST_WAITING, Log, format_stack
from tests.conftest import ROOT
from tests.ports import wait_until


def test_lines_are_json_with_time_and_level_first(tmp_path: Path) -> None:
    log = Log(logging.INFO, os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT))
    log.log_event(logging.WARNING, {"event": "x", "größe": 1.5})
    log.log_event(logging.DEBUG, {"event": "not this one"})
    log.close()
    (line,) = (tmp_path / "log").read_bytes().splitlines()
    actual = orjson.loads(line)
    assert list(actual) == ["timestamp", "level", "event", "größe"]
    assert (actual["level"], actual["event"], actual["größe"]) == ("warning", "x", 1.5)


def test_a_line_comes_without_the_end_being_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(logging.INFO, os.open(path, os.O_WRONLY | os.O_CREAT))
    log.log_event(logging.INFO, {"event": "x"})
    wait_until(lambda: path.stat().st_size > 0)


def test_while_nobody_reads_lines_are_dropped_and_counted_and_nothing_waits() -> None:
    read, write = os.pipe()
    log = Log(logging.INFO, write)
    number = MOST_WAITING + 10_000
    for index in range(number):
        log.log_event(logging.INFO, {"event": "x" * 100, "place": index})
    time.sleep(3 * logs.EVERY)
    dropped = log.pop_dropped()
    assert 0 < dropped < number
    assert log.pop_dropped() == 0
    got: list[bytes] = []

    def run() -> None:
        with os.fdopen(read, "rb") as lines:
            got.extend(lines)

    reader = Thread(target=run)
    reader.start()
    wait_until(lambda: len(got) >= number - dropped)
    os.close(write)
    reader.join()
    assert len(got) == number - dropped
    positions = [orjson.loads(line)["place"] for line in got]
    assert positions == sorted(positions)


def test_an_end_that_nobody_reads_to_comes_all_the_same() -> None:
    _, write = os.pipe()
    log = Log(logging.INFO, write)
    for _ in range(2000):
        log.log_event(logging.INFO, {"event": "x" * 100})
    log.close()


def test_a_reader_that_goes_away_is_no_bug() -> None:
    read, write = os.pipe()
    os.close(read)
    log = Log(logging.INFO, write)
    log.log_event(logging.INFO, {"event": "x"})
    log.close()
    assert log.pop_dropped() == 1


@pytest.mark.parametrize(("messages", "shown"), [(True, True), (False, False)])
def test_a_stack_shows_the_message_only_where_that_is_allowed(
    messages: bool,  # noqa: FBT001
    shown: bool,  # noqa: FBT001
) -> None:
    value = "sec" + "ret"
    try:
        float(value)
    except ValueError as error:
        text = format_stack(error, with_messages=messages)
    assert "ValueError" in text
    assert "test_logs.py" in text
    assert ("secret" in text) == shown


SCRIPT = """
import logging, warnings
from service.telemetry import logs
log = logs.start_logging("info", with_messages=False)
logging.getLogger("some.library").info("number %d", 3, extra={"rows": 2})
logging.getLogger("some.library").debug("not this one")
logging.getLogger("uvicorn.access").info("nor this one")
warnings.warn("careful")
try:
    float("secret")
except ValueError:
    logging.getLogger("some.library").exception("it failed")
log.log_event(logging.INFO, {"event": "request"})
log.close()
"""


def test_python_s_own_logging_goes_the_same_way() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True, timeout=600
    )
    first, warned, failed, request = map(orjson.loads, done.stdout.splitlines())
    assert {key: first[key] for key in ("level", "event", "logger", "rows")} == {
        "level": "info", "event": "number 3", "logger": "some.library", "rows": 2,
    }  # fmt: skip
    assert "careful" in warned["event"]
    assert failed["level"] == "error"
    assert failed["stack"].endswith("ValueError")
    assert "secret" not in done.stdout
    assert request["event"] == "request"
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("text", "news"),
    [
        ("Traceback (most recent call last):\ncairn.errors.CairnError: no such model", False),
        ("Traceback (most recent call last):\nValueError: cairn.errors.CairnError", True),
        ("cairn.errors.CairnError: no such model", True),
    ],
)
def test_a_traceback_is_left_out_where_the_error_is_the_user_s_to_mend(
    text: str,
    news: bool,  # noqa: FBT001
) -> None:
    assert logs.is_news(logging.makeLogRecord({"msg": text})) is news


def test_a_line_that_was_cut_ends_before_the_next_one(tmp_path: Path) -> None:
    """As on a disk that was full for a while: no line is glued to the rest of another."""
    path = tmp_path / "log"
    code = (
        "import os, resource, sys; from service.telemetry.logs import Log\n"
        "file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)\n"
        "log = Log(0, file)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20, resource.RLIM_INFINITY))\n"
        "for line in (b'first line\\n', b'second line\\n', b'third line\\n'): log.add(line)\n"
        "log.close()\n"
        "assert log.pop_dropped() == 2\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)\n"
        "log.add(b'fourth line\\n'); log.close()\n"
        "assert log.pop_dropped() == 0\n"
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    subprocess.run([sys.executable, "-c", code, str(path)], env=env, check=True)
    assert path.read_text().splitlines() == ["first line", "second li", "fourth line"]
