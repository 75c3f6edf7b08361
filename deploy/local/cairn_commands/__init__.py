"""`bentoml build` and `bentoml containerize` for the Bentos of this project.

BentoML loads the commands of any installed distribution that has the entry points
`bentoml.commands`; `deploy.local.commands` copies this package into the environment as such a one.
It imports nothing of the project, so that an image can be built in any folder. What is read of
BentoML's command line and configuration, which are private, is in `compat`.

What BentoML 1.4 does not do by itself:

- It renders a Dockerfile's template in a temporary folder, and refuses one that is not below the
  current folder.
- It always asks a Docker client for BuildKit, which since Docker 23 is a plug-in of its own.
- A Bento's version is a time stamp unless an option names one.
- Each of its commands reports itself to its maker. BentoML imports this package before it runs any,
  so the variable that ends this is set here, for those who do not call `make`.
- Labels of a Bento do not become labels of its image. The template includes them from a file beside
  it, for Docker's own builder would take a step, and half a second, for each option --label.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import chdir, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeAlias

import bentoml
import click
from bentoml.exceptions import NotFound
from filelock import FileLock

from . import compat  # copied elsewhere, this package has another name
from .compat import BACKEND_OPTIONS

Options: TypeAlias = dict[str, Any]

CREATED = "org.opencontainers.image.created"
LABELS = Path("env", "docker", "labels")  # in a Bento, beside its Dockerfile's template
LOCK = ".cairn.lock"  # in BentoML's store of Bentos
SILENT = ("BENTOML_DO_NOT_TRACK", "True")
PROGRAMS = {"buildx": "docker"}  # where a backend is not named as its program is


def extend(command: click.Command, run: Callable[[Callable[..., Any], Options], Any]) -> Any:
    """Return a command with the name, the help and the options of one of BentoML's.

    Parameters
    ----------
    command
        BentoML's.
    run
        Runs the new command; its arguments are what BentoML's runs, and the options.
    """
    original = command.callback
    if original is None:
        raise TypeError(f"bentoml {command.name}: no command that can be called")
    return click.Command(
        command.name,
        params=compat.own_params(command),
        help=command.help,
        callback=lambda **options: run(original, options),
    )


def run_containerize(original: Callable[..., Any], options: Options) -> Any:
    """Build the image of a Bento; one that has no template of its own is left to BentoML."""
    bento = bentoml.get(options["bento_tag"])
    if not has_template(bento):
        return original(**options)
    backend = options["backend"]
    check_backend(backend)
    os.environ.update(backend_environment(backend, os.environ))
    user = {name: resolve_paths(value) for name, value in options[BACKEND_OPTIONS].items()}
    labels = bento.info.labels
    all_options = backend_options(backend, labels.get(CREATED, ""), os.environ, user)
    if not Path(bento.path_of(str(LABELS))).is_file():  # built by other means
        options_of_labels = tuple(f"{name}={value}" for name, value in labels.items())
        own_labels = all_options.get("label", ())
        all_options = {**all_options, "label": (*options_of_labels, *own_labels)}
    with work_folder():
        return original(**{**options, BACKEND_OPTIONS: all_options})


def run_build(original: Callable[..., Any], options: Options) -> Any:
    """Build the Bento of a folder, unless the store has it; other projects are left to BentoML."""
    # BentoML also accepts a service here.
    folder = Path(options["build_ctx"])
    folder = folder if folder.is_dir() else Path()
    if options["bentofile"] or not (folder / "service" / "bento" / "version.py").is_file():
        return original(**options)
    description = describe_bento(folder)
    tag = description["tag"]
    name, _, version = tag.partition(":")
    labels = tuple(f"{key}={value}" for key, value in description["labels"].items())
    all_options = {**options, "labels": (*labels, *options["labels"]), "containerize": False}
    # Of two at the same moment, one builds; the other finds what it built.
    with FileLock(compat.find_bento_store() / LOCK):
        if options["version"] or options["name"] not in {None, name}:
            bento = original(**all_options)
        elif is_stored(tag):
            bento = show_stored(tag, options)
        else:
            bento = original(**{**all_options, "version": version})
        add_labels(bento)
    if options["containerize"]:
        backend = os.environ.get("BENTOML_CONTAINERIZE_BACKEND", "docker")
        call = [str(bento.tag), "--backend", backend]
        containerize.main(call, prog_name="bentoml containerize")
    return bento


def has_template(bento: bentoml.Bento) -> bool:
    """Tell whether a Bento brings a template of its Dockerfile."""
    return Path(bento.path_of("env/docker/Dockerfile.template")).is_file()


def is_stored(tag: str) -> bool:
    """Tell whether BentoML's store has a Bento."""
    try:
        bentoml.get(tag)
    except NotFound:
        return False
    return True


def show_stored(tag: str, options: Options) -> bentoml.Bento:
    """Return a Bento of the store, say so, and push it if that was asked for."""
    if options["output"] == "tag":
        click.echo(f"__tag__:{tag}")
    else:
        click.echo(f"The store has {tag}: the model and the code are the same. Next step:")
        click.echo(f"    $ bentoml containerize {tag}")
    if options["push"]:
        bentoml.push(tag, force=options["force"])
    return bentoml.get(tag)


def describe_bento(folder: Path) -> dict[str, Any]:
    """Return tag and labels of the Bento of a project's folder; exits where it has no model."""
    command = [sys.executable, "-m", "service.bento.version", "--json"]
    result = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=False)
    if result.returncode:
        sys.exit(result.returncode)
    return dict(json.loads(result.stdout))


def check_backend(backend: str) -> None:
    """Raise a ClickException, with what to do, where a backend cannot work."""
    program = PROGRAMS.get(backend, backend)
    if not shutil.which(program):
        raise click.ClickException(
            f"no {program} here; install it, or take another one of BentoML's backends: "
            "bentoml containerize --help"
        )
    if program == "docker" and not succeeds("docker", "version"):
        raise click.ClickException(
            "no Docker engine answers; start one, or build without: --backend buildah"
        )


def succeeds(*command: str) -> bool:
    """Run a command silently; tell whether it ended with 0."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def backend_environment(backend: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that a backend needs, and that the environment does not set."""
    if backend == "docker" and not environ.get("DOCKER_BUILDKIT"):
        return {"DOCKER_BUILDKIT": str(int(succeeds("docker", "buildx", "version")))}
    if backend == "buildah" and not environ.get("BUILDAH_ISOLATION"):
        return {"BUILDAH_ISOLATION": "chroot"}  # needs no privileges of its own
    return {}


def backend_options(backend: str, date: str, environ: Mapping[str, str], user: Options) -> Options:
    """Return the options of a backend: the user's, and what makes an image's digest repeatable.

    With a time of its own, buildah builds the same image each time: that of SOURCE_DATE_EPOCH,
    else the ISO date of the commit.
    """
    options = {name: value for name, value in user.items() if value}
    if backend != "buildah":
        return options
    seconds = environ.get("SOURCE_DATE_EPOCH") or epoch(date)
    time = {"timestamp": (seconds,)} if seconds else {}
    return {"network": ("host",), **time, **options}


def add_labels(bento: bentoml.Bento) -> None:
    """Put a Bento's labels where the template of its Dockerfile includes them."""
    path = Path(bento.path_of(str(LABELS)))
    if not path.is_file():
        part = path.with_suffix(".new")
        part.write_text(label_instruction(bento.info.labels), encoding="utf-8")
        part.replace(path)


def label_instruction(labels: Mapping[str, str]) -> str:
    """Return labels as an instruction of a Dockerfile, in a file that its template includes."""
    words = (f"{quote(name)}={quote(value)}" for name, value in labels.items())
    return "{% raw %}\nLABEL " + " \\\n    ".join(words) + "\n{% endraw %}\n"


def quote(text: str) -> str:
    """Return a text as a word of a Dockerfile, in which no variable is replaced."""
    return json.dumps(text, ensure_ascii=False).replace("$", "\\$")


def epoch(date: str) -> str:
    """Return the whole seconds from 1970 to an ISO date; nothing for none."""
    return str(int(datetime.fromisoformat(date).timestamp())) if date else ""


def resolve_paths(value: Any) -> Any:
    """Return an option's values, those that are paths of files below here made absolute.

    BentoML does so, too, but in the folder that is current when the builder starts.
    """
    if not isinstance(value, tuple):
        return value
    return tuple(str(Path(one).absolute()) if Path(one).exists() else one for one in value)


@contextmanager
def work_folder() -> Iterator[None]:
    """Work in an empty folder, and make temporary folders below it, until the end of the block."""
    folders = (Path(tempfile.gettempdir()).resolve(), Path("/tmp"), Path("/var/tmp"))  # noqa: S108
    # BentoML takes no template below a hidden folder either.
    parent = next(path for path in folders if not any(part[0] == "." for part in path.parts))
    before = tempfile.tempdir
    with tempfile.TemporaryDirectory(dir=parent) as folder, chdir(folder):
        tempfile.tempdir = folder
        try:
            yield
        finally:
            tempfile.tempdir = before


os.environ[SILENT[0]] = SILENT[1]
_build, _containerize = compat.find_commands()
build = extend(_build, run_build)
containerize = extend(_containerize, run_containerize)
