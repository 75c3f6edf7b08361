"""The embedded store and DVC's remote on it: SeaweedFS, DVC and their processes, all of them real.

Each project here is a small one in a temporary folder, with this project's own DVC configuration
and a port of its own, so that nothing touches the checkout's store.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import socketserver
import stat
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from configparser import ConfigParser
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import botocore.session
import psutil  # type: ignore[import-untyped,unused-ignore]
import pytest
import yaml
from botocore.exceptions import ClientError
from dvc.config import Config
from dvc.fs import get_cloud_fs

from deploy.local import keep, loopback, store
from tests import forks
from tests.ports import PATIENCE, free_ports, listens, wait_until

HERE = Path(__file__).resolve().parents[1]
SCRIPT = HERE / "deploy" / "local" / "store.py"
PORTS = 10
BUCKET = "cairn"
PREFIX = "dvc/files/md5/"  # where DVC keeps its objects in the bucket
ELSEWHERE = (("url", "s3://your-bucket/cairn"), ("region", "eu-central-1"))


@dataclass(frozen=True)
class Keys:
    access: str
    secret: str


@dataclass(frozen=True)
class Project:
    """A git and DVC project of its own, whose remote is a store of its own."""

    root: Path
    port: int
    environment: dict[str, str]

    def run(self, *words: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        env = {**self.environment, **more}
        done = subprocess.run(
            words, cwd=self.root, env=env, capture_output=True, text=True, timeout=600, check=False
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def python(
        self, *words: str, check: bool = True, **more: str
    ) -> subprocess.CompletedProcess[str]:
        env = {**self.environment, **more}
        if not forks.is_possible(env):
            return self.run(sys.executable, *words, check=check, **more)
        done = forks.run(words, self.root, env)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def store(self, command: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.python(str(SCRIPT), command, **more)

    def dvc(self, *words: str, **more: Any) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "dvc", *words, **more)

    def modify(self, remote: str, option: str, value: str, *, local: bool = True) -> None:
        """Write what `dvc remote modify` does, without half a second of DVC."""
        path = self.local if local else self.root / ".dvc" / "config"
        config = ConfigParser(interpolation=None)
        config.read(path)
        section = f"'remote \"{remote}\"'"
        if not config.has_section(section):
            config.add_section(section)
        config.set(section, option, value)
        with path.open("w") as file:
            config.write(file)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def home(self) -> Path:
        return self.root / ".store"

    @property
    def local(self) -> Path:
        return self.root / ".dvc" / "config.local"

    @property
    def keys(self) -> Keys:
        pairs = [line.split(" = ") for line in self.local.read_text().split("\n") if " = " in line]
        settings = {key.strip(): value for key, value in pairs}
        return Keys(settings["access_key_id"], settings["secret_access_key"])

    @property
    def pid(self) -> int:
        return int((self.home / "pid").read_text())

    def client(self, keys: Keys | None = None) -> Any:
        keys = keys or self.keys
        return session().create_client(
            "s3",
            region_name="us-east-1",
            endpoint_url=self.endpoint,
            aws_access_key_id=keys.access,
            aws_secret_access_key=keys.secret,
        )

    def servers(self) -> list[Any]:
        """Every process that serves this project's data, by the pid file or not."""
        flag = f"-dir={self.home / 'data'}"
        return [p for p in psutil.process_iter(["cmdline"]) if flag in (p.info["cmdline"] or ())]

    def forget(self, *names: str) -> None:
        """Delete the cache and these files of the workspace."""
        for name in (".dvc/cache", *names):
            path = self.root / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)


@cache
def session() -> Any:
    """AWS's own library, which reads its tables of S3 once."""
    return botocore.session.Session()


def clean_environment(home: Path) -> dict[str, str]:
    """This environment with nothing of the user's AWS, DVC, git and proxy settings in it."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("AWS_", "DVC_", "GIT_")) and not key.lower().endswith("_proxy")
    }
    folders = {
        f"DVC_{kind}_DIR": str(home / kind)
        for kind in ("SITE_CACHE", "GLOBAL_CONFIG", "SYSTEM_CONFIG")
    }
    return {**kept, **folders, "HOME": str(home), "AWS_EC2_METADATA_DISABLED": "true"}


@contextmanager
def temporary_project(folder: Path) -> Iterator[Project]:
    """A project whose store is ended in the end, whatever came between."""
    root = folder / "project"
    root.mkdir(parents=True)
    project = Project(root, free_ports(PORTS), clean_environment(folder / "home"))
    project.run("git", "init", "--quiet")
    for name, content in files_of_dvc_init().items():
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(content)
    config = (HERE / ".dvc" / "config").read_text()
    assert ":8333" in config
    (root / ".dvc" / "config").write_text(config.replace(":8333", f":{project.port}"))
    try:
        yield project
    finally:
        for server in project.servers():
            with suppress(psutil.NoSuchProcess):
                arguments, keeper = server.cmdline(), server.parent()
                server.kill()
                psutil.wait_procs([server, *([keeper] if keeper else [])], timeout=60)
                keep.remove_sockets(arguments)


@cache
def files_of_dvc_init() -> dict[str, bytes]:
    """What `dvc init` writes, by the name below the project."""
    with TemporaryDirectory() as folder:
        root = Path(folder)
        project = Project(root, 0, clean_environment(root / "home"))
        project.run("git", "init", "--quiet")
        project.dvc("init", "--quiet")
        written = [path for path in (root / ".dvc").rglob("*") if path.is_file()]
        return {str(path.relative_to(root)): path.read_bytes() for path in written}


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with temporary_project(tmp_path) as project:
        yield project


@pytest.fixture
def started(project: Project) -> Project:
    project.store("start")
    return project


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with temporary_project(tmp_path_factory.mktemp("shared")) as project:
        project.store("start")
        yield project


@pytest.fixture
def served(shared: Project) -> Iterator[Project]:
    """A running store for tests that change nothing but the DVC configuration, put back after."""
    files = [shared.root / ".dvc" / "config", shared.local]
    before = [file.read_bytes() for file in files]
    yield shared
    for file, content in zip(files, before, strict=True):
        file.write_bytes(content)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def lines(text: str) -> list[str]:
    return text.strip().split("\n")


# --- start and stop


def test_first_start_makes_keys_and_bucket(project: Project) -> None:
    printed = project.run(sys.executable, str(SCRIPT), "start").stdout

    assert printed == f"store: remote storage (s3://cairn/dvc at {project.endpoint}) is up\n"
    assert mode(project.home) == 0o700
    assert mode(project.home / "s3.json") == mode(project.local) == 0o600
    assert len(project.keys.secret) == 40
    assert [b["Name"] for b in project.client().list_buckets()["Buckets"]] == [BUCKET]


def test_keys_stay_out_of_git(started: Project) -> None:
    (started.root / ".gitignore").write_text((HERE / ".gitignore").read_text())
    started.run("git", "add", "--all")

    assert not started.run("git", "grep", "--cached", started.keys.secret, check=False).stdout
    assert started.run("git", "ls-files", "*config*").stdout == ".dvc/config\n"


def test_second_start_finds_the_first(started: Project) -> None:
    pid, keys = started.pid, started.keys

    assert started.store("start").stdout.endswith("runs already\n")
    assert (started.pid, started.keys) == (pid, keys)


def test_start_at_the_same_moment_makes_one_server(project: Project) -> None:
    command = [sys.executable, str(SCRIPT), "start"]
    both = [
        subprocess.Popen(command, cwd=project.root, env=project.environment, stdout=-1, text=True)
        for _ in range(2)
    ]
    printed = sorted(process.communicate(timeout=600)[0].split()[-1] for process in both)

    assert printed == ["already", "up"]
    assert [process.pid for process in project.servers()] == [project.pid]


def test_data_and_keys_survive_stop_and_start(started: Project) -> None:
    keys = started.keys
    started.client().put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")

    assert started.store("stop").stdout == "store: stopped\n"
    assert started.servers() == []
    assert not any(listens(port) for port in range(started.port, started.port + PORTS))
    started.store("start")

    assert started.keys == keys
    assert started.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"


def test_data_survive_kill_and_the_stale_pid_file_is_no_obstacle(started: Project) -> None:
    started.client().put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")
    os.kill(started.pid, signal.SIGKILL)
    wait_until(lambda: not listens(started.port))

    assert started.store("start").stdout.endswith("is up\n")
    assert started.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"


def test_process_id_that_another_process_has_now_is_left_alone(project: Project) -> None:
    other = subprocess.Popen(["sleep", "600"])
    try:
        project.home.mkdir()
        (project.home / "pid").write_text(f"{other.pid}\n")
        assert project.store("stop").stdout == "store: not running\n"
        (project.home / "pid").write_text(f"{other.pid}\n")
        project.store("start")
        project.store("stop")
        assert other.poll() is None
    finally:
        other.kill()
        other.wait()


def test_stop_with_nothing_running_is_fine(project: Project) -> None:
    assert project.store("stop").stdout == "store: not running\n"
    assert not project.home.exists()


def test_server_outlives_what_started_it(project: Project) -> None:
    project.run(sys.executable, str(SCRIPT), "start")
    assert os.getsid(project.pid) == project.pid


def test_listens_on_loopback_only_and_nowhere_else(shared: Project) -> None:
    ports = range(shared.port, shared.port + PORTS)
    wait_until(lambda: all(listens(port) for port in ports))  # the last come after S3 answers

    sockets = psutil.Process(shared.pid).net_connections(kind="inet")
    bound = {(s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN}

    assert bound == {("127.0.0.1", port) for port in ports}


@pytest.mark.parametrize("index", [4, 6], ids=["volume", "filer"])
def test_no_way_around_the_keys_through_the_other_listeners(shared: Project, index: int) -> None:
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(f"http://127.0.0.1:{shared.port + index}/1,01", timeout=60)
    refused.value.close()

    assert refused.value.code == 401


def test_aws_keys_of_the_user_open_nothing(project: Project) -> None:
    user = Keys("AKIAUSER", "secret-of-the-user")
    environment = {"AWS_ACCESS_KEY_ID": user.access, "AWS_SECRET_ACCESS_KEY": user.secret}
    project.store("start", **environment)

    with pytest.raises(ClientError, match="InvalidAccessKeyId"):
        project.client(user).list_buckets()
    assert project.store("check", **environment).returncode == 0


def test_start_mends_keys_and_bucket(started: Project) -> None:
    started.client().delete_bucket(Bucket=BUCKET)
    started.modify("embedded", "access_key_id", "wrong")
    assert started.store("check", check=False).returncode == 1

    started.store("start")

    assert started.store("check").returncode == 0


@pytest.mark.parametrize("index", [0, 3])
def test_taken_port_is_no_obstacle_and_the_new_ones_are_remembered(
    project: Project, index: int
) -> None:
    with socket.create_server(("127.0.0.1", project.port + index)):
        printed = lines(project.store("start").stdout)
        moved = where_dvc_has_it(project)
        remembered = f"{moved.port} to {moved.port + 9}, which .dvc/config.local remembers"
        up = f"store: remote storage (s3://cairn/dvc at {moved.endpoint}) is up"
        assert printed == [f"{moved_from(project)} {remembered}", up]
        assert not set(range(moved.port, moved.port + PORTS)) & {project.port + index}
        assert moved.store("check").returncode == 0

    moved.client().put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")
    moved.store("stop")
    printed = lines(moved.store("start").stdout)
    assert printed == [f"store: remote storage (s3://cairn/dvc at {moved.endpoint}) is up"]
    assert moved.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"


def moved_from(project: Project) -> str:
    """How the note begins of a store that leaves the ports that are configured."""
    last = project.port + PORTS - 1
    return f"store: one of the ports {project.port} to {last} is taken; now at"


def where_dvc_has_it(project: Project) -> Project:
    """The project with the port that DVC's configuration has at this moment."""
    port = urlsplit(resolved(project)["endpointurl"]).port
    assert port is not None
    return replace(project, port=port)


def test_something_at_the_other_loopback_address_takes_the_port_too(project: Project) -> None:
    # `localhost` leads there first.
    with socket.create_server(("::1", project.port), family=socket.AF_INET6):
        printed = project.store("start").stdout

    assert printed.startswith(moved_from(project))


def test_remembered_ports_that_are_taken_later_are_given_up(project: Project) -> None:
    remembered = replace(project, port=free_ports(PORTS))
    remembered.modify("embedded", "endpointurl", remembered.endpoint)
    with socket.create_server(("127.0.0.1", remembered.port)):
        printed = remembered.store("start").stdout

    moved = where_dvc_has_it(project)
    assert printed.startswith(f"{moved_from(remembered)} {moved.port} to")
    assert moved.store("check").returncode == 0


@pytest.mark.long
def test_stores_of_several_checkouts_started_at_once_keep_apart(tmp_path: Path) -> None:
    with ExitStack() as stack:
        first = stack.enter_context(temporary_project(tmp_path / "0"))
        projects = [
            first,
            *(stack.enter_context(temporary_project(tmp_path / str(n))) for n in (1, 2)),
        ]
        for project in projects:
            project.modify("embedded", "endpointurl", first.endpoint, local=False)
        command = [sys.executable, str(SCRIPT), "start"]
        starts = [
            subprocess.Popen(command, cwd=each.root, env=each.environment, stdout=-1, text=True)
            for each in projects
        ]
        printed = [start.communicate(timeout=600)[0] for start in starts]
        now = [where_dvc_has_it(project) for project in projects]

        assert all(text.endswith("is up\n") for text in printed)
        assert sum("is taken; now at" in text for text in printed) == 2
        assert first.port in {project.port for project in now}
        for number, project in enumerate(now):
            project.client().put_object(Bucket=BUCKET, Key=f"of-{number}", Body=b"bytes")
        for number, project in enumerate(now):
            [held] = project.client().list_objects_v2(Bucket=BUCKET)["Contents"]
            assert held["Key"] == f"of-{number}"
            [server] = project.servers()
            assert ports_of(server) == set(range(project.port, project.port + PORTS))


def ports_of(server: Any) -> set[int]:
    sockets = server.net_connections(kind="inet")
    return {each.laddr.port for each in sockets if each.status == psutil.CONN_LISTEN}


# Says once that all ports are free, as they were a moment ago.
LATE = """
from deploy.local import ports, store
looks, first_busy = [], ports.first_busy
def look(run):
    looks.append(run)
    return None if len(looks) == 1 else first_busy(run)
ports.first_busy = look
store.main()
"""


@pytest.mark.parametrize("index", [0, 3], ids=["SeaweedFS-ends", "SeaweedFS-takes-another"])
def test_port_that_is_taken_after_it_was_found_free(project: Project, index: int) -> None:
    with socket.create_server(("127.0.0.1", project.port + index)):
        printed = project.run(sys.executable, "-c", LATE, "start", PYTHONPATH=str(HERE)).stdout

    moved = where_dvc_has_it(project)
    assert printed.startswith(f"{moved_from(project)} {moved.port} to")
    [server] = project.servers()
    assert ports_of(server) == set(range(moved.port, moved.port + PORTS))


def test_running_store_is_found_by_its_data_without_the_local_configuration(
    project: Project,
) -> None:
    with socket.create_server(("127.0.0.1", project.port)):
        project.store("start")
    moved = where_dvc_has_it(project)
    keys, pid = project.keys, project.pid
    project.local.unlink()

    printed = lines(project.store("start").stdout)

    assert printed[0].startswith(f"store: this checkout's store runs; now at {moved.port} to")
    assert printed[1].endswith("runs already")
    assert where_dvc_has_it(project) == moved
    assert (project.keys, project.pid) == (keys, pid)


def is_removed(folder: Path) -> bool:
    """Remove a folder, in which the server may write a file meanwhile, as `rm -rf` does."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def test_store_whose_folder_is_deleted_ends(started: Project) -> None:
    [server] = started.servers()
    keeper = server.parent()
    wait_until(lambda: is_removed(started.root))
    server.terminate()

    gone, left = psutil.wait_procs([server, keeper], timeout=PATIENCE)

    assert (len(gone), left) == (2, [])
    assert not any(listens(port) for port in range(started.port, started.port + PORTS))
    assert not list(Path("/tmp").glob(f"seaweedfs-*-grpc-{started.port + 1}.sock"))  # noqa: S108
    started.root.mkdir(exist_ok=True)  # the server, while it ends, may make it again


def test_path_with_blanks_and_other_letters(tmp_path: Path) -> None:
    with temporary_project(tmp_path / "mein Projekt üöä") as project:
        project.store("start")
        write(project, {"größe": b"bytes"})
        project.dvc("add", "größe")
        project.dvc("push")
        project.forget("größe")
        project.dvc("pull")
        assert read(project, {"größe": b""}) == {"größe": b"bytes"}
        assert project.store("start").stdout.endswith("runs already\n")
        assert project.store("stop").stdout == "store: stopped\n"


def test_path_with_a_comma_is_one_line(tmp_path: Path) -> None:
    with temporary_project(tmp_path / "a,b") as project:
        done = project.store("start", check=False)

    assert done.returncode == 1
    [line] = lines(done.stderr)
    assert "SeaweedFS takes no path with a comma" in line


@contextmanager
def proxy() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy that lets nothing through, and the requests that came to it."""
    requests: list[bytes] = []

    class Refusing(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            requests.append(self.rfile.readline())
            self.wfile.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Refusing) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}", requests
        finally:
            server.shutdown()
            thread.join()


def test_proxy_of_the_environment_does_not_catch_the_store(project: Project) -> None:
    with proxy() as (address, requests):
        names = ("http_proxy", "HTTP_PROXY", "ALL_PROXY")
        own = {"no_proxy": "example.org", **dict.fromkeys(names, address)}
        project.store("start", **own)
        project.store("check", **own)
        write(project, {"single": b"single\n"})
        project.dvc("add", "single")
        project.dvc("push", **own)  # as a user types it, without make
        project.forget("single")
        project.dvc("pull", **own)
        elsewhere = "import urllib.request; urllib.request.urlopen('http://else.invalid/')"
        project.run(sys.executable, "-c", elsewhere, check=False, **own)

    assert (project.root / "single").read_bytes() == b"single\n"
    assert requests == [b"GET http://else.invalid/ HTTP/1.1\r\n"]


@pytest.mark.parametrize(
    ("variables", "excepted"),
    [
        ({}, None),
        ({"no_proxy": "example.org"}, None),
        ({"http_proxy": ""}, None),
        ({"http_proxy": "p"}, "127.0.0.1,localhost,::1"),
        ({"HTTPS_PROXY": "p", "no_proxy": " a, ,localhost"}, "a,localhost,127.0.0.1,::1"),
        ({"all_proxy": "p", "NO_PROXY": "a"}, "a,127.0.0.1,localhost,::1"),
        ({"all_proxy": "p", "no_proxy": "a", "NO_PROXY": "b"}, "a,127.0.0.1,localhost,::1"),
        ({"http_proxy": "p", "no_proxy": "*"}, None),
    ],
)
def test_exceptions_from_a_proxy(variables: dict[str, str], excepted: str | None) -> None:
    wanted = {"no_proxy": excepted, "NO_PROXY": excepted} if excepted else {}
    assert loopback.exceptions(variables) == wanted


def test_python_of_the_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    assert not loopback.install()


def test_new_port_asks_to_stop_the_old_server_first_and_keeps_the_data(started: Project) -> None:
    started.client().put_object(Bucket=BUCKET, Key="kept", Body=b"bytes")
    moved = replace(started, port=free_ports(PORTS))
    moved.modify("embedded", "endpointurl", moved.endpoint)
    done = moved.store("start", check=False)
    assert done.returncode == 1
    assert "run `make store-down`, then `make store`" in done.stderr

    moved.store("stop")
    moved.store("start")

    assert moved.client().get_object(Bucket=BUCKET, Key="kept")["Body"].read() == b"bytes"


def test_endpoint_that_is_not_loopback_is_refused(project: Project) -> None:
    project.modify("embedded", "endpointurl", "http://0.0.0.0:8333")
    done = project.store("start", check=False)

    assert done.returncode == 1
    assert "got http://0.0.0.0:8333; allowed: http://127.0.0.1:PORT" in done.stderr


def test_server_that_cannot_start_says_why_and_is_gone(project: Project) -> None:
    project.home.mkdir()
    (project.home / "s3.json").write_text('{"identities": [{"credentials": [{}]}]}')
    done = project.store("start", check=False)
    assert done.returncode == 1
    assert "holds no keys; remove it" in done.stderr

    (project.home / "s3.json").unlink()
    (project.home / "data").mkdir()
    (project.home / "data" / "filerldb2").write_text("no folder")
    done = project.store("start", check=False)
    assert done.returncode == 1
    [line] = lines(done.stderr)
    assert line.startswith("error: SeaweedFS ")
    assert "filerldb2" in line
    assert project.servers() == []


# --- another remote


def test_switch_to_aws_is_two_lines_and_takes_nothing_of_the_store_along(served: Project) -> None:
    for option, value in ELSEWHERE:  # as a user types it
        served.dvc("remote", "modify", "storage", option, value)

    printed = served.store("start").stdout
    assert printed == (
        "store: remote storage (s3://your-bucket/cairn) is not the embedded store;"
        " nothing to start\n"
    )
    options = resolved(served)
    assert options["path"] == "your-bucket/cairn"
    assert options["region"] == "eu-central-1"
    assert options["verify"] is True
    assert not {"endpointurl", "access_key_id", "secret_access_key"} & options.keys()
    assert "s3://your-bucket/cairn" in served.dvc("remote", "list").stdout


def resolved(project: Project) -> dict[str, Any]:
    """The options with which DVC makes the file system of the default remote, and its path."""
    with inside(project):
        config = Config(".dvc")
        _, options, path = get_cloud_fs(config, name=config["core"]["remote"])
    return {**options, "path": path}


@contextmanager
def inside(project: Project) -> Iterator[pytest.MonkeyPatch]:
    """Let this process have folder and environment of the project's commands.

    That saves half a second to a second for another one, which imports DVC.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project.root)
        for name in os.environ.keys() - project.environment.keys():
            patch.delenv(name)
        for name, value in project.environment.items():
            patch.setenv(name, value)
        yield patch


def test_embedded_remote_verifies_and_has_the_keys(served: Project) -> None:
    options = resolved(served)

    assert options["path"] == "cairn/dvc"
    assert options["verify"] is True
    assert options["endpointurl"] == served.endpoint
    assert options["access_key_id"] == served.keys.access


def test_start_elsewhere_makes_nothing(project: Project) -> None:
    project.modify("storage", "url", "s3://your-bucket/cairn")
    project.store("start")

    assert not project.home.exists()
    assert "key" not in project.local.read_text()


@pytest.mark.slow
def test_aws_own_credentials_apply_elsewhere(served: Project) -> None:
    # For DVC and for the script, another name of the loopback is another place.
    keys = served.keys
    served.modify("storage", "url", "s3://cairn/elsewhere", local=False)
    served.modify("storage", "endpointurl", f"http://localhost:{served.port}", local=False)
    without = served.store("check", check=False)
    assert without.returncode == 1
    assert "no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET" in without.stderr

    own = {"AWS_ACCESS_KEY_ID": keys.access, "AWS_SECRET_ACCESS_KEY": keys.secret}
    assert served.store("check", **own).returncode == 0
    (served.root / "elsewhere").write_text("elsewhere")
    served.dvc("add", "elsewhere")
    served.dvc("push", "elsewhere", **own)
    served.forget("elsewhere")
    served.dvc("pull", "elsewhere", **own)

    assert (served.root / "elsewhere").read_text() == "elsewhere"


# --- push and pull


@pytest.mark.slow
def test_pull_gives_the_same_bytes_that_were_pushed(started: Project) -> None:
    files = {
        "one": b"one\n",
        "empty": b"",
        "many/a": b"a" * 100_000,
        "many/deep/b": b"b",
        "parts": os.urandom(60 << 20),  # over 50 MiB it goes up in parts
    }
    write(started, files)
    started.dvc("add", "one", "empty", "many", "parts")
    started.dvc("push")
    assert "in sync" in started.dvc("status", "--cloud").stdout

    started.forget("one", "empty", "many", "parts")
    started.dvc("pull")

    assert read(started, files) == files


def write(project: Project, files: dict[str, bytes]) -> None:
    for name, content in files.items():
        path = project.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def read(project: Project, files: dict[str, bytes]) -> dict[str, bytes]:
    return {name: (project.root / name).read_bytes() for name in files}


@pytest.mark.slow
def test_push_killed_midway_and_repeated_loses_nothing(started: Project) -> None:
    files = {f"many/{n}": os.urandom(100_000) for n in range(250)}
    write(started, files)
    started.dvc("add", "many")
    client = started.client()
    push = subprocess.Popen(
        [sys.executable, "-m", "dvc", "push", "--jobs", "1"],
        cwd=started.root,
        env=started.environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_until(lambda: push.poll() is not None or pushed(client) >= 20)
    finally:
        push.kill()
    assert push.wait(timeout=60) == -signal.SIGKILL
    assert 20 <= pushed(client) < len(files)

    started.dvc("push")

    assert pushed(client) == len(files) + 1  # the directory itself
    assert "in sync" in started.dvc("status", "--cloud").stdout
    started.forget("many")
    started.dvc("pull")
    assert read(started, files) == files


def pushed(client: Any) -> int:
    """How many objects of DVC's are in the bucket."""
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX)
    return sum(page["KeyCount"] for page in pages)


TRACKED = {"single": b"single\n", "whole": b"whole\n", "folder/a": b"a\n", "folder/b": b"b\n"}
MD5 = {name: hashlib.md5(content, usedforsecurity=False) for name, content in TRACKED.items()}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    with temporary_project(tmp_path_factory.mktemp("tracked")) as project:
        project.store("start")
        write(project, TRACKED)
        project.dvc("add", "single", "whole", "folder")
        project.dvc("push")
        yield project


@pytest.fixture
def emptied(tracked: Project) -> Iterator[Project]:
    """A project whose data are in the remote and nowhere else; the remote is put right after."""
    tracked.forget("single", "whole", "folder")
    client = tracked.client()
    keys = [item["Key"] for item in client.list_objects_v2(Bucket=BUCKET)["Contents"]]
    before = {key: client.get_object(Bucket=BUCKET, Key=key)["Body"].read() for key in keys}
    yield tracked
    for key, content in before.items():
        client.put_object(Bucket=BUCKET, Key=key, Body=content)


@pytest.mark.parametrize("damage", [b"other\n", b""], ids=["other-bytes", "no-bytes"])
def test_damaged_objects_are_named_at_pull_and_go_no_further(
    emptied: Project, damage: bytes
) -> None:
    damaged = {"single": "single", "folder/b": "folder"}  # and what DVC says is lacking then
    places = {name: f"{MD5[name].hexdigest()[:2]}/{MD5[name].hexdigest()[2:]}" for name in damaged}
    for path in places.values():
        emptied.client().put_object(Bucket=BUCKET, Key=PREFIX + path, Body=damage)

    done = emptied.dvc("pull", check=False)

    assert done.returncode == 1
    _, _, named = done.stderr.partition("Checkout failed for following targets:\n")
    assert set(damaged.values()) <= set(named.split("\n"))
    assert "whole" not in named.split("\n")
    assert (emptied.root / "whole").read_bytes() == TRACKED["whole"]
    status = emptied.dvc("status", "--cloud").stdout
    for name, path in places.items():
        assert f"deleted:            {name}\n" in status
        assert not (emptied.root / name).exists()
        assert not (emptied.root / ".dvc" / "cache" / "files" / "md5" / path).exists()

    for name, path in places.items():
        emptied.client().put_object(Bucket=BUCKET, Key=PREFIX + path, Body=TRACKED[name])
    emptied.dvc("pull")
    assert read(emptied, TRACKED) == TRACKED


def test_broken_list_of_a_folder_is_named_at_pull_and_goes_no_further(emptied: Project) -> None:
    oid = yaml.safe_load((emptied.root / "folder.dvc").read_text())["outs"][0]["md5"]
    key = f"{PREFIX}{oid[:2]}/{oid[2:]}"
    emptied.client().put_object(Bucket=BUCKET, Key=key, Body=b"[{")

    done = emptied.dvc("pull", check=False)

    assert done.returncode != 0
    assert f"object {oid} is corrupted" in done.stderr
    assert not (emptied.root / "folder").exists()


# --- check


def test_check_of_a_good_remote_is_one_line(served: Project) -> None:
    done = served.store("check")

    assert done.stdout == f"store: remote storage (s3://cairn/dvc at {served.endpoint}) answers\n"
    assert done.stderr == ""


def wrong_secret(project: Project) -> None:
    project.modify("embedded", "secret_access_key", "wrong")


def wrong_key(project: Project) -> None:
    project.modify("embedded", "access_key_id", "wrong")


def no_keys(project: Project) -> None:
    project.local.write_text("")


def no_bucket(project: Project) -> None:
    project.modify("embedded", "url", "s3://missing")


def nothing_listens(project: Project) -> None:
    # The embedded store is where this remote says, so this is what a stopped store looks like.
    project.modify("embedded", "endpointurl", f"http://127.0.0.1:{free_ports(PORTS)}")


def no_such_host(project: Project) -> None:
    project.modify("embedded", "endpointurl", "http://no-such-host.invalid:8333")


FAILURES = [
    (wrong_secret, "SignatureDoesNotMatch", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (wrong_key, "InvalidAccessKeyId", "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
    (no_keys, "no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"),
    (no_bucket, "there is no bucket missing", "create it, or correct the URL: `dvc remote modify"),
    (nothing_listens, "nothing answers there", "check the network, and the endpointurl"),
    (no_such_host, "the name of the server cannot be resolved", "check the network"),
]


@pytest.mark.parametrize(("spoil", "wrong", "_elsewhere"), FAILURES)
def test_check_says_in_one_line_what_is_wrong_and_what_to_do(
    served: Project,
    spoil: Callable[[Project], None],
    wrong: str,
    _elsewhere: str,
) -> None:
    spoil(served)

    line = failed_check_here(served)

    assert line.startswith("error: remote storage (s3://")
    assert wrong in line
    assert line.endswith("; run `make store`")


@pytest.mark.parametrize(("spoil", "wrong", "advice"), FAILURES)
def test_check_elsewhere_does_not_send_to_make_store(
    served: Project,
    spoil: Callable[[Project], None],
    wrong: str,
    advice: str,
) -> None:
    # The same server under a remote of another name: nothing that `make store` could mend.
    spoil(served)
    config = served.root / ".dvc" / "config"
    for file in (config, served.local):
        file.write_text(file.read_text().replace("embedded", "company"))

    line = failed_check_here(served)

    assert f"; {advice}" in line
    assert wrong in line
    assert "make store" not in line


def failed_check_here(project: Project) -> str:
    """The same of a check in this process."""
    with inside(project) as patch:
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # as the check does, for good
        patch.setattr(sys, "argv", ["store.py", "check"])
        with pytest.raises(SystemExit) as end:
            store.main()
    [line] = lines(str(end.value.code))
    return line


def failed_check(project: Project) -> str:
    """The one line on standard error of a check that fails."""
    done = project.store("check", check=False)
    assert done.returncode == 1
    assert done.stdout == ""
    [line] = lines(done.stderr)
    return line


def test_check_after_stop_says_to_start(started: Project) -> None:
    started.store("stop")

    line = failed_check(started)

    assert line == (
        f"error: remote storage (s3://cairn/dvc at {started.endpoint}):"
        " nothing answers there; run `make store`"
    )


def test_outside_of_a_project_is_one_line(tmp_path: Path) -> None:
    outside = Project(tmp_path, 0, clean_environment(tmp_path))
    done = outside.store("check", check=False)

    assert done.returncode == 1
    assert lines(done.stderr) == [
        "error: no .dvc folder here or above; run this inside the project"
    ]


def test_committed_configuration_holds_no_secret_and_asks_nobody() -> None:
    text = (HERE / ".dvc" / "config").read_text()

    assert not {"key", "secret", "token", "password"} & set(re.split(r"\W|_", text))
    for line in ("analytics = false", "check_update = false", "autostage = false"):
        assert line in text
