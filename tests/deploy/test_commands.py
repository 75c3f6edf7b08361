"""The project's own `bentoml build` and `bentoml containerize`; tests/test_image.py uses them."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import Any

import click
import jinja2
import pytest
from bentoml_cli.bentos import bento_command
from bentoml_cli.containerize import containerize_command

from deploy.local import cairn_commands, commands
from tests.conftest import ROOT, environment

DATE = "1970-01-02T01:00:00+01:00"
SERVICE = """import bentoml

@bentoml.service
class Other:
    @bentoml.api
    def predict(self, x: int) -> int:
        return x
"""
BENTOFILE = """service: service:Other
name: other
include: [service.py]
python: {lock_packages: false}
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment that the commands were installed into."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, symlinks=True)
    install(folder / "bin" / "python")
    return folder / "bin" / "python"


def install(python: Path) -> None:
    subprocess.run([python, ROOT / "deploy" / "local" / "commands.py"], check=True)


def run(python: Path, code: str) -> str:
    result = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return result.stdout.strip()


def test_bentoml_finds_them(python: Path) -> None:
    code = (
        "from importlib.metadata import entry_points; "
        "print(*sorted(f'{e.name}={e.value}' for e in entry_points(group='bentoml.commands')))"
    )
    expected = "build=cairn_commands:build containerize=cairn_commands:containerize"
    assert run(python, code) == expected


def test_the_record_lists_every_file_so_that_an_installer_can_take_them_away(python: Path) -> None:
    site = Path(run(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    record = (site / commands.FOLDER / "RECORD").read_text()
    there = {str(path.relative_to(site)) for path in site.rglob("*") if path.is_file()}
    assert {line.partition(",")[0] for line in record.splitlines()} == there


def test_a_second_call_writes_nothing_and_another_content_is_replaced(python: Path) -> None:
    site = Path(run(python, "import sysconfig; print(sysconfig.get_path('purelib'))"))
    files = [path for path in site.rglob("*") if path.is_file()]
    before = {path: path.stat().st_ino for path in files}
    install(python)
    assert {path: path.stat().st_ino for path in files} == before
    for source in commands.SOURCES:
        (site / commands.PACKAGE.name / source.name).write_text("old")
    install(python)
    for source in commands.SOURCES:
        assert (site / commands.PACKAGE.name / source.name).read_text() == source.read_text()


@pytest.mark.parametrize(
    ("ours", "original"),
    [
        (cairn_commands.build, bento_command.commands["build"]),
        (cairn_commands.containerize, containerize_command),
    ],
)
def test_they_have_the_options_of_bentoml_s_once_bentoml_has_loaded_them(
    ours: click.Command, original: click.Command
) -> None:
    # BentoML gives each command that it loads the options that all of them have.
    cli = importlib.import_module("bentoml_cli.cli")
    loaded = cli.cli.commands[str(ours.name)]
    assert [one.opts for one in loaded.params] == [one.opts for one in original.params]
    assert loaded.help == original.help


def test_no_command_of_bentoml_s_reports_itself() -> None:
    """It loads these commands before it runs any, whatever the environment has."""
    code = "import bentoml_cli.cli; from bentoml._internal.utils import analytics as a; "
    code += "print(a.usage_stats.do_not_track())"
    env = {name: value for name, value in os.environ.items() if name != "BENTOML_DO_NOT_TRACK"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout == "True\n"


def test_other_backends_get_the_user_s_options_alone() -> None:
    user: dict[str, Any] = {"label": ("a=b",), "no_cache": True, "secret": ()}
    options = cairn_commands.backend_options("docker", DATE, {}, user)
    assert options == {"label": ("a=b",), "no_cache": True}


def test_nothing_in_a_label_is_replaced() -> None:
    tricky = {"a": 'say "$HOME" \\ {{ b }} {% if %}', "b": "2"}
    text = cairn_commands.label_instruction(tricky)
    rendered = jinja2.Environment(autoescape=True).from_string(text).render()
    first, second = rendered.strip().removeprefix("LABEL ").split(" \\\n    ")
    assert json.loads(first.partition("=")[2].replace("\\$", "$")) == tricky["a"]
    assert "\\$HOME" in first
    assert second == '"b"="2"'


@pytest.mark.parametrize(
    ("environ", "user", "timestamp", "network"),
    [
        ({}, {}, ("86400",), ("host",)),
        ({"SOURCE_DATE_EPOCH": "7"}, {}, ("7",), ("host",)),
        ({"SOURCE_DATE_EPOCH": "7"}, {"timestamp": ("8",)}, ("8",), ("host",)),
        ({}, {"network": "none"}, ("86400",), "none"),
    ],
)
def test_buildah_gets_the_time_of_the_commit_unless_another_is_named(
    environ: dict[str, str], user: dict[str, Any], timestamp: Any, network: Any
) -> None:
    options = cairn_commands.backend_options("buildah", DATE, environ, user)
    assert (options["timestamp"], options["network"]) == (timestamp, network)


def test_without_a_commit_there_is_no_time() -> None:
    assert "timestamp" not in cairn_commands.backend_options("buildah", "", {}, {})


@pytest.mark.parametrize(
    ("backend", "environ", "expected"),
    [
        ("docker", {"DOCKER_BUILDKIT": "1"}, {}),
        ("docker", {"DOCKER_BUILDKIT": "0"}, {}),
        ("buildah", {}, {"BUILDAH_ISOLATION": "chroot"}),
        ("buildah", {"BUILDAH_ISOLATION": "oci"}, {}),
        ("podman", {}, {}),
    ],
)
def test_what_the_user_has_set_for_a_backend_stays(
    backend: str, environ: dict[str, str], expected: dict[str, str]
) -> None:
    assert cairn_commands.backend_environment(backend, environ) == expected


def test_paths_of_files_are_those_below_the_folder_in_which_they_were_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("auth.json").touch()
    values = cairn_commands.resolve_paths(("auth.json", "A=b"))
    assert values == (str(tmp_path / "auth.json"), "A=b")
    flag: Any = True
    assert cairn_commands.resolve_paths(flag) is flag


@pytest.mark.parametrize("name", ["open", ".hidden"])
def test_templates_are_rendered_where_bentoml_takes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / name))
    before = Path.cwd()
    with cairn_commands.work_folder(), tempfile.TemporaryDirectory() as folder:
        work = Path.cwd()
        assert Path(folder).resolve().is_relative_to(work)
        assert not any(part.startswith(".") for part in work.parts)
    assert Path.cwd() == before
    assert not work.exists()
    assert tempfile.gettempdir() == str(tmp_path / name)


def test_another_project_s_bento_is_built_as_bentoml_does(tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "service.py").write_text(SERVICE)
    (folder / "bentofile.yaml").write_text(BENTOFILE)
    bentoml = str(Path(sys.executable).with_name("bentoml"))
    for _ in range(2):
        result = subprocess.run(
            [bentoml, "build"],
            cwd=folder,
            env=environment(tmp_path / "home"),
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
    bentos = tmp_path / "home" / "bentoml" / "bentos" / "other"
    assert len([path for path in bentos.iterdir() if path.is_dir()]) == 2  # named by the clock
