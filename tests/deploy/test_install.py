"""`make install`: a lock becomes an environment, and nothing is decided on the day."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from filelock import FileLock

from deploy.install import (
    PINNED,
    SEEDS,
    InstallError,
    install,
    locked,
    normalize,
    parse_pip_settings,
    uv_settings,
    why_not_uv,
)
from tests.conftest import ROOT, environment, shared_by_the_run

LOCKS = sorted(path.name for path in ROOT.glob("requirements*.txt"))
BENCH_LOCKS = sorted(f"bench/{path.name}" for path in (ROOT / "bench").glob("requirements*.txt"))
OLDEST, NEWEST = "22.3", "26.3"  # what Python 3.11.0 came with; the newest of pip
CONDITIONAL = re.compile(r"^([A-Za-z0-9._-]+)==\S+ ;", re.MULTILINE)  # only for some machines
PYTHONS = ("3.11", "3.12", "3.13", "3.14")
PLATFORMS = ("x86_64-manylinux_2_28", "aarch64-manylinux_2_28", "aarch64-apple-darwin")


# A command that would install, wherever its options stand.
COMMAND = re.compile(
    r"""\b(pip3?["']?,? (["']?--?\S+ \S+ )*["']?(install|sync|download|wheel)\b"""
    r"""|uv (sync|run|tool|add)\b|uvx\b|pipx\b|conda\b)"""
)


def commands_that_install() -> list[tuple[str, str]]:
    """Each line of the project, continued ones joined, that has a package installed."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.splitlines()  # fmt: skip
    lock = re.compile(r"CHANGELOG\.md|(bench/)?requirements.*\.(txt|in)|tests/.*|.*\.(png|svg)")
    names = [name for name in listed if (ROOT / name).is_file() and not lock.fullmatch(name)]
    return [
        (name, line.strip())
        for name in names
        for line in (ROOT / name).read_text().replace("\\\n", " ").splitlines()
        if COMMAND.search(line)
    ]


def test_no_install_path_lets_a_resolver_choose() -> None:
    commands = commands_that_install()
    assert {name for name, _ in commands} >= {"docs/scale.md", "deploy/install.py"}
    for name, line in commands:
        exact = {"--no-deps", "--require-hashes"} <= {*line.replace("`", " ").split()}
        # A peer of the benchmarks is installed as its users would, only from pins.
        pinned = name.startswith("bench/images/") and "--no-deps" in line
        assert exact or pinned or "*EXACT" in line, f"{name}: {line}"


@pytest.mark.parametrize(
    ("line", "is_one"),
    [
        ("RUN pip install -r requirements.txt", True),
        ("/opt/pip/bin/pip --python /app/python install --no-cache-dir x", True),
        ("uv pip sync requirements.txt", True),
        ('subprocess.run([python, "-m", "pip", "install", lock])', True),
        ("uv sync", True),
        ("make install", False),
        ("the pipeline installs nothing", False),
    ],
)
def test_commands_that_install_are_seen(line: str, *, is_one: bool) -> None:
    assert bool(COMMAND.search(line)) == is_one


def test_locks_pin_and_hash_every_package_and_name_no_index() -> None:
    for name in (*LOCKS, *BENCH_LOCKS):
        text = (ROOT / name).read_text()
        entries = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)
        entries = [entry for entry in entries if not entry.lstrip().startswith("#") and entry]
        assert len(entries) == len(re.findall(r"^[A-Za-z0-9]\S*==\S", text, re.MULTILINE)), name
        assert all("--hash=sha256:" in entry for entry in entries), name
        assert "://" not in text, name


def test_locks_agree_and_each_holds_the_one_before() -> None:
    base, extras, dev = (
        locked(ROOT / f"requirements{suffix}.txt") for suffix in ("", "-extras", "-dev")
    )
    assert base.items() <= extras.items() <= dev.items()
    assert locked(ROOT / "requirements-serve.txt").items() <= base.items()


def test_settings_of_pip_are_read_in_its_own_order() -> None:
    listed = (
        ":env:.index-url='https://env.test/simple'\n"
        "global.cert='/etc/ca.pem'\n"
        "global.index-url='https://global.test/simple'\n"
        "global.extra-index-url='https://one.test/simple\\nhttps://two.test/simple'\n"
        "install.index-url='https://install.test/simple'\n"
        "list.format='json'\n"
    )
    assert parse_pip_settings(listed) == {
        "cert": "/etc/ca.pem",
        "index-url": "https://env.test/simple",
        "extra-index-url": "https://one.test/simple\nhttps://two.test/simple",
    }


def test_what_pip_is_configured_with_holds_for_uv(tmp_path: Path) -> None:
    settings = {
        "index-url": "https://mirror.test/simple",
        "extra-index-url": "https://one.test/simple\nhttps://two.test/simple",
        "find-links": "/wheels /more",
        "trusted-host": "mirror.test",
        "cert": "/etc/ca.pem",
        "proxy": "http://proxy.test:3128",
        "timeout": "60",
    }
    variables = uv_settings(settings, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)})
    variables.pop("UV_SYSTEM_CERTS", None)  # as this machine is
    assert variables == {
        "UV_DEFAULT_INDEX": "https://mirror.test/simple",
        "UV_INDEX": "https://one.test/simple https://two.test/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match",
        "UV_FIND_LINKS": "/wheels,/more",
        "UV_INSECURE_HOST": "mirror.test",
        "SSL_CERT_FILE": "/etc/ca.pem",
        "HTTP_PROXY": "http://proxy.test:3128",
        "HTTPS_PROXY": "http://proxy.test:3128",
        "UV_HTTP_TIMEOUT": "60",
    }


def test_what_uv_is_told_itself_comes_first(tmp_path: Path) -> None:
    settings = {"index-url": "https://pip.test/simple", "find-links": "/wheels", "cert": "/a.pem"}
    environ = {
        "UV_DEFAULT_INDEX": "https://uv.test/simple",
        "SSL_CERT_FILE": "/b.pem",
        "https_proxy": "http://proxy.test",
        "UV_SYSTEM_CERTS": "false",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    assert uv_settings({**settings, "proxy": "http://other.test"}, environ) == {
        "HTTP_PROXY": "http://other.test"
    }
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").write_text('[[index]]\nurl = "https://uv.test/simple"\n')
    del environ["UV_DEFAULT_INDEX"]
    assert uv_settings(settings, environ) == {}


def test_the_bundle_of_certificates_that_pip_takes_from_requests_holds_for_uv() -> None:
    variables = uv_settings({}, {"REQUESTS_CA_BUNDLE": "/company.pem"})
    assert variables["SSL_CERT_FILE"] == "/company.pem"


def test_a_setting_that_uv_has_no_word_for_leaves_the_install_to_pip() -> None:
    assert why_not_uv({"index-url": "https://a.test", "no-color": "true"}) == ""
    assert "platform" in why_not_uv({"platform": "any", "cert": "/a.pem"})


def test_an_unknown_installer_is_reported(tmp_path: Path) -> None:
    with pytest.raises(InstallError, match="INSTALLER: got conda; allowed: uv, pip"):
        install(tmp_path / "lock.txt", Path(sys.executable), {"INSTALLER": "conda"})


def empty_environment(folder: Path, pip: str) -> Path:
    """A new environment, with a version of pip in the place of the one that it came with."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", f"pip=={pip}"], check=True
    )
    return python


@pytest.fixture
def empty(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment: a copy of one that is made once."""
    folder = shared_by_the_run(tmp_path_factory) / "empty"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            subprocess.run([sys.executable, "-m", "venv", f"{folder}.part"], check=True)
            Path(f"{folder}.part").rename(folder)
    shutil.copytree(folder, tmp_path / "env", symlinks=True)
    return tmp_path / "env" / "bin" / "python"


def run_install(python: Path, lock: str | Path, home: Path, *arguments: str, **environ: str) -> str:
    """Run the install as `make install` does; returns all that it prints."""
    done = subprocess.run(
        [python, "deploy/install.py", *arguments, str(lock)],
        cwd=ROOT,
        env={**environment(home), **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def installed(python: Path) -> dict[str, str]:
    """What an environment holds, as its own Python has it."""
    code = "from importlib.metadata import distributions\n"
    code += "print(*(f'{each.name}=={each.version}' for each in distributions()), sep='\\n')"
    done = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    return dict(line.split("==") for line in done.stdout.splitlines())


def holds(python: Path, lock: Path) -> None:
    """Hold an environment to a lock, which may pin one version for each Python."""
    text = lock.read_text()
    pinned = {(normalize(name), each) for name, each in PINNED.findall(text)}
    there = {(normalize(name), each) for name, each in installed(python).items()}
    assert {pair for pair in there - pinned if pair[0] not in SEEDS} == set()
    assert {name for name, _ in pinned} - {name for name, _ in there} <= {
        *map(normalize, CONDITIONAL.findall(text))
    }


@pytest.fixture
def index(tmp_path: Path) -> Iterator[str]:
    """A package index on loopback that has one package, `pebble` 1.0, and no uv."""
    folder = tmp_path / "index" / "simple" / "pebble"
    folder.mkdir(parents=True)
    name = "pebble-1.0-py3-none-any.whl"
    info = "pebble-1.0.dist-info"
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr("pebble.py", "HEIGHT = 1\n")
        wheel.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: pebble\nVersion: 1.0\n")
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(
            f"{info}/RECORD", f"pebble.py,,\n{info}/METADATA,,\n{info}/WHEEL,,\n{info}/RECORD,,\n"
        )
    digest = sha256((folder / name).read_bytes()).hexdigest()
    (folder / "index.html").write_text(f'<a href="{name}#sha256={digest}">{name}</a>')
    (tmp_path / "pebble.txt").write_text(f"pebble==1.0 --hash=sha256:{digest}\n")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/simple"
        server.shutdown()
        thread.join()


def only(index: str) -> dict[str, str]:
    """Variables by which pip asks one index and nothing else."""
    return {
        "PIP_INDEX_URL": index,
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_FIND_LINKS": "",
        "PIP_CERT": "",
    }


def test_an_index_of_pips_is_asked_by_uv(tmp_path: Path, index: str, empty: Path) -> None:
    printed = run_install(
        Path(sys.executable), tmp_path / "pebble.txt", tmp_path / "home",
        "--python", str(empty), **only(index),
    )  # fmt: skip
    assert "install: pebble.txt by uv" in printed
    assert installed(empty)["pebble"] == "1.0"


def test_byte_code_is_there_where_python_is_kept_from_writing_it(
    tmp_path: Path, index: str, empty: Path
) -> None:
    printed = run_install(
        Path(sys.executable), tmp_path / "pebble.txt", tmp_path / "home",
        "--python", str(empty), **only(index), PYTHONDONTWRITEBYTECODE="1",
    )  # fmt: skip
    assert "install: compiling byte code\n" in printed
    assert list(tmp_path.glob("env/lib/python3*/site-packages/__pycache__/pebble.*.pyc"))


def test_where_there_is_no_uv_pip_takes_its_place(tmp_path: Path, index: str, empty: Path) -> None:
    printed = run_install(empty, tmp_path / "pebble.txt", tmp_path / "home", **only(index))
    assert "install: pebble.txt by pip, a minute or two (no uv: " in printed
    assert installed(empty)["pebble"] == "1.0"


@pytest.mark.parametrize("installer", ["uv", "pip"])
def test_a_package_that_is_not_the_locked_one_ends_the_install(
    tmp_path: Path, index: str, empty: Path, installer: str
) -> None:
    lock = tmp_path / "pebble.txt"
    lock.write_text(f"pebble==1.0 --hash=sha256:{'0' * 64}\n")
    done = subprocess.run(
        [sys.executable, "deploy/install.py", "--python", str(empty), str(lock)],
        cwd=ROOT, env={**environment(tmp_path / "home"), **only(index), "INSTALLER": installer},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert f"error: {installer} does not install pebble.txt; its lines above say why" in done.stderr
    assert "Traceback" not in done.stderr
    assert "pebble" not in installed(empty)


@pytest.mark.real
@pytest.mark.parametrize("pip", [OLDEST, NEWEST])
def test_each_lock_goes_into_an_empty_environment(tmp_path: Path, pip: str) -> None:
    cache = {"UV_CACHE_DIR": str(tmp_path / "cache")}
    for name in (*LOCKS, *BENCH_LOCKS):
        if name == "requirements-uv.txt":
            continue
        python = empty_environment(tmp_path / name, pip)
        printed = run_install(python, name, tmp_path / "home", **cache)
        assert f"install: {Path(name).name} by uv" in printed
        holds(python, ROOT / name)


@pytest.mark.real
@pytest.mark.parametrize("pip", [OLDEST, NEWEST])
def test_pip_takes_the_place_of_uv(tmp_path: Path, pip: str) -> None:
    python = empty_environment(tmp_path / "env", pip)
    lock = "requirements-serve.txt"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "xmltodict"], check=True
    )
    printed = run_install(python, lock, tmp_path / "home", INSTALLER="pip")
    assert f"install: {lock} by pip" in printed
    assert "install: xmltodict removed: not in requirements-serve.txt" in printed
    holds(python, ROOT / lock)
    assert "uv" not in installed(python)
    subprocess.run([python, "-c", "import bentoml, onnxruntime"], check=True)
    # All that pip looks at where it installs the longest lock, without the unpacking.
    dry = ["install", "--dry-run", "--quiet", "--no-deps", "--require-hashes"]
    subprocess.run([python, "-m", "pip", *dry, "-r", ROOT / "requirements-dev.txt"], check=True)


@pytest.mark.real
@pytest.mark.parametrize("platform", PLATFORMS)
def test_every_package_has_a_wheel_for_what_the_readme_names(platform: str, tmp_path: Path) -> None:
    uv = [sys.executable, "-m", "uv", "pip", "install", "--dry-run", "--no-deps"]
    exact = ["--require-hashes", "--only-binary", ":all:", "--target", str(tmp_path)]
    for version in PYTHONS:
        for name in (*LOCKS, *BENCH_LOCKS):
            options = ["--python-version", version, "--python-platform", platform, "-r", name]
            done = subprocess.run(
                [*uv, *exact, *options],
                cwd=ROOT,
                env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": "14.0"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"{name}, Python {version}, {platform}: {done.stderr}"
