"""Canaries: each fails where BentoML moves something that `service.bento.compat` holds on to."""

from __future__ import annotations

import inspect
import json
import subprocess
import sys
import warnings
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from service import versions
from service.bento import compat
from service.http import docs
from tests.conftest import ROOT

# What BentoML's own import warns of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def test_the_installed_bentoml_is_in_the_range() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        versions.check_version("bentoml", compat.LOWEST, compat.BELOW, "the service")


def test_the_supervisor_imports_the_standard_library_alone() -> None:
    code = (
        "import sys; before = set(sys.modules); import service.process.supervisor; "
        "print(*sorted({name.split('.')[0] for name in set(sys.modules) - before "
        "if 'site-packages' in (getattr(sys.modules[name], '__file__', None) or '')}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


def test_bentoml_s_own_arbiter_is_made_where_it_is_replaced(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By `create_standalone_arbiter`, which looks it up in its module, with these arguments."""
    circus = import_module("bentoml._internal.utils.circus")
    monkeypatch.setattr(circus, "Arbiter", circus.Arbiter)  # put back after the test
    launches: list[compat.Launch] = []
    compat.replace_arbiter(launches.append)
    watcher = SimpleNamespace(
        numprocesses=2,
        working_dir="/project",
        args=["-m", "worker", "--fd", "$(circus.sockets.api)", "--worker-id", "$(CIRCUS.WID)"],
        env={"A": "b"},
    )
    listener = SimpleNamespace(name="api", host="127.0.0.1", port=3000)
    arbiter = circus.create_standalone_arbiter(watchers=[watcher], sockets=[listener])
    closed: list[bool] = []
    arbiter.exit_stack.callback(closed.append, True)  # noqa: FBT003
    arbiter.start(cb=lambda _: None)
    assert closed == [True]
    assert launches == [
        compat.Launch(
            host="127.0.0.1",
            port=3000,
            workers=2,
            folder="/project",
            command=("-m", "worker", "--fd", compat.FD, "--worker-id", compat.NUMBER),
            environment={"A": "b"},
        )
    ]


def test_bentoml_says_where_a_worker_listens_in_these_words() -> None:
    serving = inspect.getsource(import_module("_bentoml_impl.server.serving"))
    for words in (
        'f"$(circus.sockets.{API_SERVER_NAME})"',
        '"$(CIRCUS.WID)"',
        "server_on_deployment(svc)",
    ):
        assert words in serving
    assert serving.index("server_on_deployment(svc)\n    uds") < serving.index(
        "create_standalone_arbiter(**"
    )


BENTOML_WORKER = "_bentoml_impl.worker.service"


def make_launch(*words: str) -> compat.Launch:
    """What `bentoml serve` starts, with these further words for its worker."""
    known = ("--fd", compat.FD, "--service-name", "cairn", "--backlog", "2048")
    command = ("-m", BENTOML_WORKER, ".", *known, "--worker-id", compat.NUMBER, *words)
    return compat.Launch("127.0.0.1", 3000, 1, "/elsewhere", command, {"A": "b"})


TLS = ("--ssl-version", "17", "--ssl-ciphers", "TLSv1")  # even without a certificate
TIMES = ("--timeout", "9", "--timeout-keep-alive", "9", "--timeout-graceful-shutdown", "9")


@pytest.mark.parametrize("words", [(), ("--args", "{}", *TLS), TIMES])
def test_our_own_worker_takes_the_place_of_bentoml_s(words: tuple[str, ...]) -> None:
    actual = compat.use_own_worker(make_launch(*words), {"C": "d"})
    assert actual.command == ("-m", "service.serve", "--fd", "{fd}", "--worker-id", "{number}")
    assert actual.environment == {"A": "b", "C": "d"}
    assert actual.folder == str(ROOT)


@pytest.mark.parametrize(
    "words",
    [
        (*TLS, "--ssl-certfile", "cert.pem", "--ssl-keyfile", "key.pem"),
        ("--args", '{"a": 1}'),
        ("--development-mode",),
        ("--something-new", "1"),
    ],
)
def test_what_only_bentoml_s_worker_has_is_left_to_it(words: tuple[str, ...]) -> None:
    launch = make_launch(*words)
    assert compat.use_own_worker(launch, {"C": "d"}) == launch


def test_bentoml_gives_its_worker_such_words() -> None:
    """Each option of it is one that our own worker has no need of, or one that it leaves to it."""
    command: Any = import_module(BENTOML_WORKER).main
    options = {name for option in command.params for name in option.opts}
    assert options >= compat.NEEDLESS | {"--args", "--ssl-certfile", "--development-mode"}
    serving = inspect.getsource(import_module("_bentoml_impl.server.serving"))
    assert '"-m",\n            _SERVICE_WORKER_SCRIPT,\n            bento_identifier,\n' in serving


def test_a_worker_does_not_import_bentoml() -> None:
    """Nor what else takes a start's time and a process's memory, and answers nothing."""
    heavy = {
        *("aiohttp", "attr", "bentoml", "circus", "httpx", "jinja2", "opentelemetry", "pandas"),
        *("psutil", "pyarrow", "rich", "starlette", "zmq"),
    }
    code = (
        f"import sys; from {compat.WORKER} import make_server; make_server(0).config.load();"
        f"print(*sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize("path", sorted(docs.SWAGGER))
def test_swagger_ui_is_in_bentoml_s_package(path: str) -> None:
    assert len(compat.read_static(docs.SWAGGER[path][1])) > 500


def test_a_model_is_asked_for_by_these_methods_alone() -> None:
    """`PackedModel` overrides what BentoML calls when it serves and when it builds."""
    models = import_module("_bentoml_sdk.models.base")
    assert models.Model.__abstractmethods__ == {
        "to_info", "from_info", "to_create_schema", "resolve",
    }  # fmt: skip
    factory = inspect.getsource(import_module("_bentoml_sdk.service.factory"))
    assert "elif isinstance(value, Model):" in factory


def test_the_project_s_commands_import_what_bentoml_has() -> None:
    """In a process of its own: BentoML's command line patches click."""
    code = (
        "import json; from deploy.local.cairn_commands import compat; "
        "build, containerize = compat.find_commands(); "
        "print(json.dumps([build.name, containerize.name, str(compat.find_bento_store()), "
        "[o.name for o in compat.own_params(containerize)]]))"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    build, containerize, store, params = json.loads(done.stdout)
    assert (build, containerize, Path(store).name) == ("build", "containerize", "bentos")
    assert "verbose" not in params
    assert {"bento_tag", "backend"} <= set(params)


def test_what_bentoml_reports_ends_where_it_is_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command has looked at the variable before, and keeps what it saw."""
    stats = import_module("bentoml._internal.utils.analytics.usage_stats")
    monkeypatch.setenv(stats.BENTOML_DO_NOT_TRACK, "False")
    stats.do_not_track.cache_clear()
    assert not stats.do_not_track()
    compat.stop_tracking()
    assert stats.do_not_track()
    stats.do_not_track.cache_clear()
