"""Install a lock into an environment, just as it is: by uv, or by pip where uv cannot be had.

    python deploy/install.py requirements.txt

The lock names every package, one version of each, and the hashes of its wheels, so there is
nothing to resolve, and nothing to decide on the day of the install. pip, which every Python
brings, installs uv into the environment of the Python that runs this, from a lock of its own; uv
then makes the environment equal to the lock. What pip is configured with on this machine (index,
certificates, proxy, …) holds for uv too. `INSTALLER=pip` does without uv.

It needs only the standard library: it runs before anything is installed.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import ssl
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

UV_LOCK = Path(__file__).resolve().parents[1] / "requirements-uv.txt"
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;\\]+)", re.MULTILINE)
# What an environment holds beside the lock.
SEEDS = {"pip", "setuptools", "wheel", "uv"}
EXACT = ("--require-hashes", "--only-binary", ":all:")
# pip's settings, and what uv calls them.
MEANINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "keyring-provider": "UV_KEYRING_PROVIDER",
    "cert": "SSL_CERT_FILE",
    "client-cert": "SSL_CLIENT_CERT",
    "timeout": "UV_HTTP_TIMEOUT",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "retries": "UV_HTTP_RETRIES",
}
FLAGS = {"no-index", "proxy"}  # those that take more than another name
# Those that change nothing of what is installed from a lock.
IRRELEVANT = {
    "break-system-packages", "cache-dir", "config-file", "constraint", "debug",
    "disable-pip-version-check", "exists-action", "isolated", "log", "no-build-isolation",
    "no-cache-dir", "no-clean", "no-color", "no-compile", "no-deps", "no-input",
    "no-python-version-warning", "no-warn-conflicts", "no-warn-script-location", "only-binary",
    "prefer-binary", "progress-bar", "quiet", "require-hashes", "require-virtualenv",
    "root-user-action", "use-feature", "use-pep517", "user", "verbose",
}  # fmt: skip
# All but the packages' own tests, on all cores.
COMPILE = (
    "import compileall, re, sysconfig; compileall.compile_dir(sysconfig.get_path('purelib'),"
    " quiet=2, workers=0, rx=re.compile(r'[/\\\\]tests?[/\\\\]'))"
)
INDEXES = ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_FIND_LINKS")
INDEX_KEYS = {"index", "index-url", "extra-index-url", "find-links", "no-index"}


class InstallError(Exception):
    """What ends the install; its text is for the person who called it."""


def main() -> None:
    """Install what the command line names; end with one line where that fails."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("lock", type=Path, help="a requirements file with hashes")
    parser.add_argument(
        "--python",
        type=Path,
        default=Path(sys.executable),
        help="of the environment to install into",
    )
    arguments = parser.parse_args()
    try:
        install(arguments.lock, arguments.python, os.environ)
    except InstallError as error:
        sys.exit(f"error: {error}")


def install(lock: Path, python: Path, environ: Mapping[str, str]) -> None:
    """Make the environment of a Python equal to a lock.

    Parameters
    ----------
    lock
        A requirements file that pins and hashes every package.
    python
        The interpreter of the environment to install into.
    environ
        The environment variables to heed; INSTALLER is `uv`, the default, or `pip`.

    Raises
    ------
    InstallError
        Where INSTALLER is neither, or a package cannot be installed.
    """
    installer = environ.get("INSTALLER") or "uv"
    if installer not in {"uv", "pip"}:
        raise InstallError(f"INSTALLER: got {installer}; allowed: uv, pip")
    settings = read_pip_settings(environ)
    reason = "INSTALLER=pip" if installer == "pip" else why_not_uv(settings)
    if not reason and not has_uv():
        reason = bootstrap_uv(environ)
    if reason:
        print(f"install: {lock.name} by pip, a minute or two ({reason})", flush=True)
        install_with_pip(lock, python, environ)
    else:
        print(f"install: {lock.name} by uv", flush=True)
        flags = ["--no-index"] if is_true(settings.get("no-index", "")) else []
        sync_with_uv(lock, python, {**environ, **uv_settings(settings, environ)}, flags)
        if environ.get("PYTHONDONTWRITEBYTECODE"):
            compile_bytecode(python)


def read_pip_settings(environ: Mapping[str, str]) -> dict[str, str]:
    """Read what pip is configured with, by its files and by the environment, in its own order."""
    listed = run(pip("config", "list"), environ, capture=True)
    if listed.returncode:
        raise InstallError(f"pip does not read its configuration: {last_line(listed.stderr)}")
    return parse_pip_settings(listed.stdout)


def parse_pip_settings(listed: str) -> dict[str, str]:
    """Return the settings of `pip config list`, each by its bare name.

    The environment comes before the section `install`, and that before what is global.
    """
    sections: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        if section in sections:
            sections[section][key] = str(ast.literal_eval(value))
    settings = {**sections["global"], **sections["install"], **sections[":env:"]}
    return {name: value for name, value in settings.items() if value}


def why_not_uv(settings: Mapping[str, str]) -> str:
    """Say which of pip's settings uv has no word for; an empty text where there is none."""
    unknown = sorted(settings.keys() - MEANINGS.keys() - FLAGS - IRRELEVANT)
    return f"pip is configured with {', '.join(unknown)}, which uv does not know" if unknown else ""


def has_uv() -> bool:
    """Whether the environment of this Python has the uv that its lock names."""
    try:
        return version("uv") == locked(UV_LOCK)["uv"]
    except PackageNotFoundError:
        return False


def bootstrap_uv(environ: Mapping[str, str]) -> str:
    """Install uv by pip; return why it cannot be had, or an empty text."""
    print("install: uv, which installs the rest", flush=True)
    done = run(
        pip("install", "--quiet", "--no-deps", *EXACT, "-r", str(UV_LOCK)), environ, capture=True
    )
    return f"no uv: {last_line(done.stderr)}" if done.returncode else ""


def uv_settings(settings: Mapping[str, str], environ: Mapping[str, str]) -> dict[str, str]:
    """Translate pip's settings into the variables that uv reads.

    What the environment tells uv itself stands. So do the indexes of a uv.toml of the user's or of
    the machine's, which the variables would overrule.

    Parameters
    ----------
    settings
        pip's, as of `parse_pip_settings`.
    environ
        The environment variables.

    Returns
    -------
    dict of str to str
        Variables to add to the environment.
    """
    variables = {
        MEANINGS[name]: " ".join(value.split())
        for name, value in settings.items()
        if name in MEANINGS
    }
    # uv divides its links by commas.
    if "UV_FIND_LINKS" in variables:
        variables["UV_FIND_LINKS"] = variables["UV_FIND_LINKS"].replace(" ", ",")
    if "UV_INDEX" in variables:
        # As pip does; which index a file came from makes no difference to its hash.
        variables["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    if proxy := settings.get("proxy"):
        variables |= {"HTTP_PROXY": proxy, "HTTPS_PROXY": proxy}
    if bundle := environ.get("REQUESTS_CA_BUNDLE") or environ.get("CURL_CA_BUNDLE"):
        variables.setdefault("SSL_CERT_FILE", bundle)
    if has_system_certificates():
        variables["UV_SYSTEM_CERTS"] = "true"  # a company's own authority is among them
    stands = {name.upper() for name in environ} | (
        {*INDEXES} if has_own_indexes(environ) else set()
    )
    return {name: value for name, value in variables.items() if name not in stands}


def has_system_certificates() -> bool:
    """Whether this machine has a store of certificates where OpenSSL looks for one."""
    paths = ssl.get_default_verify_paths()
    folder = Path(paths.openssl_capath)
    return (
        sys.platform == "darwin"
        or Path(paths.openssl_cafile).is_file()
        or (folder.is_dir() and any(folder.iterdir()))
    )


def has_own_indexes(environ: Mapping[str, str]) -> bool:
    """Tell whether uv's own variables or files name the indexes to ask."""
    if any(environ.get(name) for name in ("UV_DEFAULT_INDEX", "UV_INDEX", "UV_INDEX_URL")):
        return True
    return any(INDEX_KEYS & read_uv_keys(path) for path in uv_files(environ))


def uv_files(environ: Mapping[str, str]) -> list[Path]:
    """List the files that uv reads its settings from, outside of a project."""
    if own := environ.get("UV_CONFIG_FILE"):
        return [Path(own)]
    if environ.get("UV_NO_CONFIG"):
        return []
    user = Path(environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    machine = (environ.get("XDG_CONFIG_DIRS") or "/etc/xdg").split(os.pathsep)
    folders = [user / "uv", *(Path(folder, "uv") for folder in machine), Path("/etc/uv")]
    return [folder / "uv.toml" for folder in folders]


def read_uv_keys(path: Path) -> set[str]:
    """Read the names of the settings in a uv.toml; none where it cannot be read."""
    try:
        settings = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return set()  # uv itself says what is wrong with it
    return {*settings, *settings.get("pip", {})}


def sync_with_uv(
    lock: Path, python: Path, environ: Mapping[str, str], flags: Iterable[str] = ()
) -> None:
    """Make the environment equal to the lock by uv, which shows how far it is on a terminal."""
    command = [sys.executable, "-m", "uv", "pip", "sync", *EXACT, *flags]
    command += ["--python", str(python), str(lock)]
    done = follow(command, environ, is_shown=lambda line: not line.startswith(" + "))
    if done:
        raise InstallError(
            f"uv does not install {lock.name}; its lines above say why."
            " pip does it instead with: make install INSTALLER=pip"
        )


def compile_bytecode(python: Path) -> None:
    """Compile the packages of an environment, as pip does and uv leaves to the first import.

    Where PYTHONDONTWRITEBYTECODE is set no import would keep what it compiles, and each start of
    each stage would take seconds longer.
    """
    print("install: compiling byte code", flush=True)
    run([str(python), "-c", COMPILE], os.environ)


def install_with_pip(lock: Path, python: Path, environ: Mapping[str, str]) -> None:
    """Make the environment equal to the lock by pip, which looks only at the pinned files."""
    target = ["--python", str(python)] if python != Path(sys.executable) else []
    packages = locked(lock)
    count = 0

    def is_shown(line: str) -> bool:
        nonlocal count
        if line.startswith(("Collecting ", "Requirement already satisfied: ")):
            count += 1
            if count % 20 == 0:
                print(f"install: {count} of at most {len(packages)} packages", flush=True)
        if line.startswith("Installing "):
            print("install: unpacking them", flush=True)
        return line.startswith(("ERROR", "error", "WARNING: Retrying"))

    if follow(pip(*target, "install", "--no-deps", *EXACT, "-r", str(lock)), environ, is_shown):
        raise InstallError(f"pip does not install {lock.name}; its lines above say why")
    listed = run(pip(*target, "list", "--format", "json"), environ, capture=True)
    names = {normalize(each["name"]) for each in json.loads(listed.stdout or "[]")}
    if extra := sorted(names - {*map(normalize, packages)} - SEEDS):
        print(f"install: {', '.join(extra)} removed: not in {lock.name}", flush=True)
        run(pip(*target, "uninstall", "--quiet", "--yes", *extra), environ)


def locked(lock: Path) -> dict[str, str]:
    """Read the packages of a lock, and the version of each."""
    try:
        return dict(PINNED.findall(lock.read_text("utf-8")))
    except OSError as error:
        raise InstallError(f"{lock}: {error.strerror}; run this in the project's folder") from error


def normalize(name: str) -> str:
    """Return a package's name as indexes spell it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def is_true(value: str) -> bool:
    """Whether pip takes a setting for true."""
    return value.lower() in {"1", "true", "yes", "on", "y", "t"}


def pip(*arguments: str) -> list[str]:
    """Return the command of this Python's pip."""
    return [sys.executable, "-m", "pip", *arguments]


def run(
    command: list[str], environ: Mapping[str, str], *, capture: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end."""
    return subprocess.run(
        command, env=quiet(environ), capture_output=capture, text=True, check=False
    )


def follow(command: list[str], environ: Mapping[str, str], is_shown: Callable[[str], bool]) -> int:
    """Run a command and pass on the lines that are to be shown; on a terminal uv draws its bars."""
    is_uv = "uv" in command
    if is_uv and sys.stderr.isatty():
        return run(command, environ).returncode
    with subprocess.Popen(
        command, env=quiet(environ), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        for line in process.stdout or ():
            if is_shown(line):
                print(line, end="", flush=True)
    return process.returncode


def quiet(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment in which pip installs here, and speaks of no newer pip."""
    return {**environ, "PIP_USER": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}


def last_line(text: str) -> str:
    """Return the last line of an output that says something."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("ERROR")]
    return (errors or lines or ["no output"])[-1].removeprefix("ERROR: ")


if __name__ == "__main__":
    main()
