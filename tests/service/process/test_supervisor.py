from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest

from service.process.lifecycle import LINGER_SECONDS
from tests.conftest import ROOT, Project, copy
from tests.load import EARLY, REQUEST, ROWS, Load
from tests.ports import free_ports, listens, wait_until
from tests.serving import WAIT
from tests.supervised import (
    Served,
    beginning,
    find_program,
    moved,
    serving,
    starting,
    supervising,
)


@pytest.fixture
def program(project: Project) -> dict[str, Any]:
    return find_program(project)


@contextmanager
def taken_by(worker: Any, served: Served) -> Iterator[httpx.Client]:
    """A client whose connection one worker has taken: the others are held up meanwhile."""
    others = [other for other in served.workers() if other != worker]
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", timeout=60) as client:
        for other in others:
            other.suspend()
        try:
            wait_until(lambda: {one.status() for one in others} <= {psutil.STATUS_STOPPED})
            assert client.get("/health/ready").status_code == HTTPStatus.OK
        finally:
            for other in others:
                other.resume()
        yield client


@pytest.mark.slow
def test_sigterm_turns_readiness_off_and_goes_on_answering(program: dict[str, Any]) -> None:
    with supervising(program, WORKERS="2", DRAIN_SECONDS="3600") as served, ExitStack() as stack:
        clients = [stack.enter_context(taken_by(one, served)) for one in served.workers()]
        served.process.send_signal(signal.SIGTERM)
        # A worker ends the connection with its first 503, so this one is of each.
        wait_until(lambda: not any(client.get("/readyz").is_success for client in clients))
        answer = served.predict()
        assert (answer.status_code, answer.headers["connection"]) == (HTTPStatus.OK, "close")
        assert served.get("/livez").status_code == HTTPStatus.OK
        assert served.get("/health/ready").status_code == HTTPStatus.SERVICE_UNAVAILABLE
        assert served.get("/docs.json").headers["connection"] == "close"
        assert served.end() == 0
        assert not listens(served.port)
        assert list(served.log.parent.glob("cairn-*")) == []


@pytest.mark.slow
@pytest.mark.parametrize("first", ["renewal", "worker", "twice"])
def test_a_signal_that_comes_twice_loses_nothing(program: dict[str, Any], first: str) -> None:
    """Within a renewal, to the workers as well, as systemd does it, or from an impatient person."""
    seconds = "3600" if first == "twice" else "2"
    with supervising(program, DRAIN_SECONDS=seconds) as served, Load(served.port) as load:
        load.wait_for(200)
        if first == "renewal":
            os.kill(served.process.pid, signal.SIGHUP)
        elif first == "worker":
            served.workers()[0].send_signal(signal.SIGTERM)
        else:
            served.process.terminate()
        wait_until(served.drains)
        began = time.monotonic()
        assert served.end() == 0
        took = time.monotonic() - began
    assert load.lost == []
    assert first == "twice" or took >= 2


@pytest.mark.slow
def test_what_waits_while_the_only_worker_is_replaced_is_answered(program: dict[str, Any]) -> None:
    with supervising(program, DRAIN_SECONDS="0.5") as served, Load(served.port) as load:
        load.wait_for(200)
        gone = served.kill(served.workers()[0])
        # The next one is waited for some seconds only, so it has begun its last steps here.
        wait_until(lambda: any("uvloop" in libraries(one) for one in served.workers()))
        assert served.end() == 0
    assert [loss for loss in load.lost if loss.begun > gone] == []


def libraries(worker: Any) -> str:
    """What a process has loaded; nothing where it has ended."""
    try:
        return Path(f"/proc/{worker.pid}/maps").read_text()
    except OSError:
        return ""


@pytest.mark.slow
def test_an_idle_connection_does_not_hold_up_the_end(program: dict[str, Any]) -> None:
    with (
        supervising(program, DRAIN_SECONDS="0.5", KEEP_ALIVE_SECONDS="3600") as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as idle,
    ):
        idle.sendall(REQUEST)
        assert idle.recv(2**16).startswith(b"HTTP/1.1 200 ")
        assert served.end() == 0
        assert idle.recv(2**16) == b""


@pytest.mark.slow
def test_a_worker_that_does_not_run_until_its_time_is_over_answers_what_came_meanwhile(
    program: dict[str, Any],
) -> None:
    with supervising(program, DRAIN_SECONDS="2") as served, ExitStack() as stack:
        clients = [
            stack.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=60))
            for _ in range(32)
        ]
        for client in clients[::2]:
            client.sendall(REQUEST)
            assert client.recv(2**16).startswith(b"HTTP/1.1 200 OK\r\n")
        [worker] = served.workers()
        served.process.terminate()
        wait_until(served.drains)
        worker.suspend()
        wait_until(lambda: worker.status() == psutil.STATUS_STOPPED)
        for client in clients:
            client.sendall(REQUEST)
        over = time.monotonic() + 2 + LINGER_SECONDS + 0.2
        wait_until(lambda: time.monotonic() > over)
        worker.resume()
        answers = [client.recv(2**16) for client in clients]
        assert all(answer.startswith(b"HTTP/1.1 200 OK\r\n") for answer in answers)
        assert all(b"\r\nconnection: close\r\n" in answer for answer in answers)
        assert served.process.wait(WAIT) == 0


@pytest.mark.slow
def test_a_request_in_work_at_sigterm_is_answered(program: dict[str, Any]) -> None:
    """Its body comes slowly, and ends after the drain time."""
    with supervising(program, DRAIN_SECONDS="0.2") as served:
        body = httpx.Request("POST", "http://x", json=ROWS).content
        with socket.create_connection(("127.0.0.1", served.port), timeout=60) as client:
            head = f"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n"
            client.sendall(f"{head}content-type: application/json\r\n\r\n".encode() + body[:10])
            time.sleep(0.2)
            served.process.send_signal(signal.SIGTERM)
            wait_until(lambda: not listens(served.port))
            time.sleep(0.5)
            client.sendall(body[10:])
            assert client.recv(2**16).startswith(b"HTTP/1.1 200 OK\r\n")
        assert served.process.wait(WAIT) == 0


@pytest.mark.slow
def test_a_request_without_end_ends_with_the_graceful_time(program: dict[str, Any]) -> None:
    with (
        supervising(
            program, DRAIN_SECONDS="0", GRACEFUL_SECONDS="1", TIMEOUT_SECONDS="3600"
        ) as served,
        socket.create_connection(("127.0.0.1", served.port), timeout=60) as client,
    ):
        head = b"POST /predict HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n"
        client.sendall(head + b"content-type: application/json\r\n\r\n{")
        time.sleep(0.2)
        assert served.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_and_ctrl_c_do_not_wait(program: dict[str, Any], number: int) -> None:
    with supervising(program, DRAIN_SECONDS="3600") as served:
        if number == signal.SIGTERM:
            served.process.send_signal(number)
            wait_until(served.drains)
        assert served.end(number) == 0
        assert "Traceback" not in served.log.read_text()


@pytest.mark.slow
def test_sigterm_while_the_model_is_loading_ends_it(program: dict[str, Any]) -> None:
    with beginning(program, DRAIN_SECONDS="0") as served:
        wait_until(lambda: bool(served.workers()))
        assert served.end() == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "env", [{"WORKERS": "1", "BENTOML_CONTAINERIZED": "true"}, {"WORKERS": "2"}]
)
def test_kill_9_of_a_worker_loses_only_what_was_in_flight_in_it(
    project: Project, program: dict[str, Any], env: dict[str, str]
) -> None:
    # BentoML's command looks at the variable of a container.
    within = "BENTOML_CONTAINERIZED" in env
    with serving(project, **env) if within else supervising(program, **env) as served:
        count = int(env["WORKERS"])
        with Load(served.port) as load:
            load.wait_for(500)
            gone = served.kill(served.workers()[0])
            wait_until(lambda: len(served.workers()) == count)
            load.wait_for(500)
            served.wait_ready(count)
            load.wait_for(500)
        # One connection has one request at a time, and what came later is another worker's.
        assert len(load.lost) <= load.connections
        kinds = {"ConnectionResetError", "IncompleteReadError", EARLY}
        assert {loss.kind for loss in load.lost} <= kinds
        assert all(loss.begun < gone for loss in load.lost)
        assert load.statuses == {HTTPStatus.OK}
        assert served.end() == 0


@pytest.mark.slow
def test_a_worker_killed_as_it_starts_is_replaced_but_not_for_ever(
    program: dict[str, Any],
) -> None:
    with beginning(program) as served:
        wait_until(lambda: bool(served.workers()))
        first = served.workers()[0]
        first.kill()
        served.wait_ready()
        seen = served.workers()
        assert first not in seen
        seen[0].kill()

        def ended() -> bool:
            for last in set(served.workers()) - set(seen):
                last.kill()
                seen.append(last)
            return served.process.poll() is not None

        wait_until(ended)
        # More are started where one was ready before it was seen here.
        assert len(seen) >= 4
        assert served.process.returncode == 1
        assert "error: a worker ended before it was ready (signal 9)" in served.log.read_text()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_cannot_start_ends_all(
    project: Project, program: dict[str, Any], tmp_path: Path, workers: int
) -> None:
    """The model is damaged behind the back of `bentoml serve`, which checks it when it starts."""
    mine = copy(project, tmp_path)
    own = moved(program, project, mine)
    with supervising(own, WORKERS=str(workers), DRAIN_SECONDS="0.2") as served:
        store = Path(mine.env["HOME"], "bentoml", "models")
        for model in (*store.glob("*/*/model.onnx"), mine.root / "data/model/model.onnx"):
            model.unlink()
            model.write_bytes(b"damaged")
        served.workers()[0].kill()
        assert served.process.wait(WAIT) == 1
        lines = served.log.read_text().splitlines()
        assert len([line for line in lines if line.startswith("error: a worker ended")]) == 1
        assert "circus" not in served.log.read_text()
        assert not listens(served.port)


@pytest.mark.slow
def test_workers_go_away_with_their_supervisor(program: dict[str, Any]) -> None:
    with supervising(program, WORKERS="2", DRAIN_SECONDS="0.2") as served:
        workers = served.workers()
        assert len(workers) == 2
        served.process.kill()
        _, left = psutil.wait_procs(workers, timeout=WAIT)
        assert left == []
        assert list(served.log.parent.glob("cairn-*")) == []
        assert not listens(served.port)


@pytest.mark.slow
def test_nothing_listens_but_the_service(project: Project) -> None:
    with serving(project) as served:
        family = [psutil.Process(served.process.pid), *served.workers()]
        actual = {one.laddr.port for who in family for one in who.net_connections(kind="inet")}
        assert actual == {served.port}


@pytest.mark.slow
def test_a_port_that_is_taken_is_one_line(project: Project) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        starting(project, port=str(listener.getsockname()[1])) as served,
    ):
        assert served.process.wait(WAIT) == 1
        text = served.log.read_text()
        assert text.endswith("Address already in use; choose another, by --port or PORT\n")
        assert "Traceback" not in text


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_hangup_replaces_the_workers_and_loses_nothing(
    program: dict[str, Any], workers: int
) -> None:
    with supervising(program, DRAIN_SECONDS="0.3", WORKERS=str(workers)) as served:
        before = served.workers()
        with Load(served.port) as load:
            load.wait_for(200)
            os.kill(served.process.pid, signal.SIGHUP)
            wait_until(lambda: not set(before) & set(served.workers()))
            served.wait_ready(workers)
            load.wait_for(200)
        assert load.lost == []


@contextmanager
def supervised(code: str, folder: Path, workers: int = 1) -> Iterator[subprocess.Popen[str]]:
    """Only the supervisor, with a worker of some lines; `run` and `number` are given to those."""
    program = "import os, signal, sys, time; from pathlib import Path; "
    program += "from service.process import run_folder; "
    program += "run, number = run_folder.find_folder(), sys.argv[2]\n"
    address = ("127.0.0.1", str(free_ports(1)), str(workers), str(folder))
    command = [sys.executable, "-m", "service.process.supervisor", *address, "-c", program + code]
    process = subprocess.Popen(
        [*command, "{fd}", "{number}"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        family = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        for one in family:
            one.kill()
        process.communicate()


READY = "run_folder.write_note(run_folder.locate_ready_file(run, os.getpid()), '0.1'); "
MARK = "Path(f'{number}-{time.monotonic_ns()}').touch(); "


def test_each_worker_has_its_number_and_a_dead_one_gives_it_on(tmp_path: Path) -> None:
    code = MARK + READY + "time.sleep(0.2 if number == '1' else 600)"
    with supervised(code, tmp_path, workers=2) as process:
        wait_until(lambda: len(list(tmp_path.glob("1-*"))) >= 3)
        wait_until(lambda: bool(list(tmp_path.glob("2-*"))))
        assert len(list(tmp_path.glob("2-*"))) == 1
        process.terminate()
        assert process.wait(WAIT) == 0


def test_one_that_hangs_is_killed_and_replaced_and_no_other_is(tmp_path: Path) -> None:
    code = "from service.process.heartbeats import open_heartbeats; "
    code += "limit = 0.2 if number == '1' else 600.0; "
    code += "open_heartbeats(2, run).beat(int(number) - 1, limit); "
    code += MARK + READY + "time.sleep(600)"
    with supervised(code, tmp_path, workers=2) as process:
        wait_until(lambda: len(list(tmp_path.glob("1-*"))) >= 3)
        wait_until(lambda: bool(list(tmp_path.glob("2-*"))))
        process.terminate()
        assert process.wait(WAIT) == 0
        assert process.stderr
        lines = process.stderr.read().splitlines()
    assert len(list(tmp_path.glob("2-*"))) == 1
    assert len(lines) >= 2
    for line in lines:
        assert re.fullmatch(r"error: worker 1 \(process \d+\) hangs: .*HEARTBEAT_SECONDS.*", line)


def test_one_that_dies_is_in_the_log(tmp_path: Path) -> None:
    code = MARK + READY + "len(list(Path().iterdir())) > 1 or os.kill(os.getpid(), 9); "
    with supervised(code + "time.sleep(600)", tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        process.terminate()
        assert process.wait(WAIT) == 0
        assert process.stderr
        (line,) = process.stderr.read().splitlines()
    assert re.fullmatch(r"error: worker 1 \(process \d+\) died \(signal 9\); another .*", line)


@pytest.mark.long
@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced_and_the_metrics_tell_how_many_are_up(
    program: dict[str, Any],
) -> None:
    with supervising(program, HEARTBEAT_SECONDS="5") as served:
        (worker,) = served.workers()
        worker.suspend()
        wait_until(lambda: not worker.is_running())
        served.wait_ready()
        text = served.get("/metrics").text.splitlines()
        assert "cairn_workers 1.0" in text
        assert "cairn_worker_starts_total 1.0" not in text
        assert served.predict().status_code == HTTPStatus.OK
        assert f"process {worker.pid}) hangs" in served.log.read_text()
        assert served.end() == 0


def test_too_many_connections_are_in_the_log_once_and_requests_are_answered(
    program: dict[str, Any],
) -> None:
    with supervising(program, MAX_CONNECTIONS="16") as served, ExitStack() as clients:
        for _ in range(50):
            clients.enter_context(socket.create_connection(("127.0.0.1", served.port), 60))
        wait_until(lambda: "too many connections" in served.log.read_text())
        wait_until(lambda: served.predict().status_code == HTTPStatus.OK)  # some have just come
        gauge = re.compile(r"^cairn_open_connections 1[0-6]\.0$", re.MULTILINE)
        wait_until(lambda: gauge.search(served.get("/metrics").text) is not None)
        assert served.end() == 0
        (line,) = [line for line in served.log.read_text().splitlines() if "too many conn" in line]
        assert json.loads(line)["level"] == "warning"
        assert json.loads(line)["limit"] == 16


def test_fewer_connections_for_want_of_files_are_in_the_log(program: dict[str, Any]) -> None:
    limited = ["bash", "-c", 'ulimit -n 200; exec "$@"', "bash", *program["args"]]
    with supervising({**program, "args": limited}) as served:
        assert served.predict().status_code == HTTPStatus.OK
        assert served.end() == 0
        (line,) = [line for line in served.log.read_text().splitlines() if "CONNECTIONS" in line]
        entry = json.loads(line)
        assert entry["event"] == "MAX_CONNECTIONS is 72: the limit of open files allows no more"
        assert (entry["asked"], entry["edit"]) == (2048, "raise `ulimit -n`")


@pytest.mark.long
@pytest.mark.slow
def test_out_of_file_descriptors_is_in_the_log_and_passes(program: dict[str, Any]) -> None:
    with supervising(program) as served:
        (worker,) = served.workers()
        limit = worker.num_fds() + 8
        worker.rlimit(psutil.RLIMIT_NOFILE, (limit, limit))
        with ExitStack() as until_seen:
            for _ in range(2 * limit):  # those beyond the limit wait in the queue, or are closed
                until_seen.enter_context(socket.create_connection(("127.0.0.1", served.port), 60))
            wait_until(lambda: "out of file descriptors" in served.log.read_text())
        wait_until(lambda: worker.num_fds() < limit - 4)
        assert served.predict().status_code == HTTPStatus.OK
        assert served.end() == 0
        (line,) = [line for line in served.log.read_text().splitlines() if "out of file" in line]
        assert json.loads(line)["level"] == "error"
        assert json.loads(line)["limit"] == limit


@pytest.mark.slow
def test_a_renewal_does_not_wait_for_ever(tmp_path: Path) -> None:
    stubborn = "any(Path().iterdir()) or signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    with supervised(stubborn + READY + MARK + "time.sleep(600)", tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
        process.send_signal(signal.SIGHUP)
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        process.terminate()
        assert process.wait(WAIT) == 0


def test_one_that_dies_as_soon_as_it_was_ready_is_replaced(tmp_path: Path) -> None:
    with supervised(MARK + READY + "os._exit(3)", tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) >= 5)
        assert process.poll() is None


@pytest.mark.parametrize("workers", [1, 2])
def test_one_that_never_becomes_ready_ends_all_with_its_code(tmp_path: Path, workers: int) -> None:
    """Several that end at one moment are one error all the same."""
    all_there = f"\nwhile len(list(Path().iterdir())) < {workers}: time.sleep(0.001)\n"
    with supervised(MARK + all_there + "sys.exit(3)", tmp_path, workers) as process:
        assert process.wait(WAIT) == 1
        assert process.stderr
        assert process.stderr.read() == (
            "error: a worker ended before it was ready (exit code 3); its lines above say why\n"
        )
    assert len(list(tmp_path.iterdir())) == workers


@pytest.mark.slow
def test_one_that_does_not_end_is_killed(tmp_path: Path) -> None:
    code = "signal.signal(signal.SIGTERM, signal.SIG_IGN); " + READY + MARK + "time.sleep(600)"
    with supervised(code, tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
        process.terminate()
        assert process.wait(WAIT) == 0


@pytest.mark.parametrize(
    ("number", "expected"), [(signal.SIGTERM, ""), (signal.SIGQUIT, ""), (signal.SIGINT, "0")]
)
def test_workers_are_told_how_long_to_drain(tmp_path: Path, number: int, expected: str) -> None:
    end = "lambda *_: (Path('stopping').write_text(repr(run_folder.read_stopping())), os._exit(0))"
    code = f"signal.signal(signal.SIGTERM, {end}); " + READY + MARK + "time.sleep(600)"
    with supervised(code, tmp_path) as process:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 1)
        process.send_signal(number)
        assert process.wait(WAIT) == 0
    assert (tmp_path / "stopping").read_text() == repr(expected)


def test_a_disk_without_room_for_its_files_is_one_line(tmp_path: Path) -> None:
    """A limit on the length of files stands for the end of the disk, and needs no right."""
    limited = ["bash", "-c", 'ulimit -f 1; exec "$@"', "bash", sys.executable]
    service = ["127.0.0.1", str(free_ports(1)), "200", str(tmp_path), "-c", "pass"]
    done = subprocess.run(
        [*limited, "-m", "service.process.supervisor", *service],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {tmp_path}/cairn-")
    assert line.endswith("; free some space there, or set TMPDIR to another folder")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "value", "most"),
    [("PORT", "http", 65535), ("PORT", "0", 65535), ("WORKERS", "-1", 256)],
)
def test_the_image_s_settings_are_checked(name: str, value: str, most: int) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "service.process.supervisor"],
        cwd=ROOT,
        env={**os.environ, "BENTO_PATH": ".", name: value},
        capture_output=True,
        text=True,
        check=False,
    )
    expected = f"error: {name}: {value!r}; allowed: a whole number from 1 to {most}\n"
    assert (done.returncode, done.stderr) == (1, expected)


def test_the_supervisor_needs_the_standard_library_alone() -> None:
    """It is loaded beside each set of workers, and nothing of theirs should be."""
    code = "import sys; before = set(sys.modules); import service.process.supervisor; "
    code += "names = {name.split('.')[0] for name in set(sys.modules) - before}; "
    code += "print(*sorted(names - sys.stdlib_module_names - {'service'}))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == ""
