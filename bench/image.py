"""Cairn's image and its peers': how large, how soon ready, how much memory; one command.

python -m bench.image                      all of it; writes bench/results/image.*
python -m bench.image --quick              two starts of each; writes nothing
python -m bench.image --only cairn,mlflow  only these; writes nothing
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPConnection
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import yaml

from bench.arguments import parse_arguments
from bench.contenders import CAIRN, CONTENDERS, Contender, check, create_environment
from bench.inputs import Inputs, make_fast_inputs
from bench.machine import describe_machine
from bench.progress import print_progress
from bench.server import HOST, BenchError, Server, find_free_port, wait

RESULT = Path("bench/results/image.json")
PLOT = RESULT.with_suffix(".svg")
ENVIRONMENTS = Path("build/bench").absolute()
RECIPES = Path("bench/images").absolute()
PEERS = Path("bench/peers").absolute()
BASE = "cairn-bench:base"
STARTS = 5
REQUESTS = 1000
BUILD_SECONDS, COMMAND_SECONDS = 1200.0, 120.0
MIB = 2**20
UNITS = {"B": 1, "KiB": 2**10, "MiB": MIB, "GiB": 2**30}
# Run in the container's process namespace: each process's name, and its proportional share of
# the memory that it has mapped, in KiB.
PROCESSES = """
import os, re
for pid in filter(str.isdigit, os.listdir("/proc")):
    if int(pid) != os.getpid():
        name = open(f"/proc/{pid}/comm").read().strip()
        [pss] = re.findall(r"^Pss: +([0-9]+) kB", open(f"/proc/{pid}/smaps_rollup").read(), re.M)
        print(pss, name)
"""


class Built(NamedTuple):
    """An image that was built: its name, the base that its size is on top of, what we changed."""

    image: str
    base: str
    changed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Recipe:
    """One way to an image.

    Attributes
    ----------
    title
        What people read.
    contender
        Where requests go, in which shape, and which model answers.
    build
        Makes the image in a folder of its own, and has it removed at the end.
    port
        Where the container listens.
    variables
        Environment variables for it.
    """

    title: str
    contender: Contender
    build: Callable[[Inputs, Path, ExitStack], Built]
    port: int
    variables: Mapping[str, str] = field(default_factory=dict)


class Memory(NamedTuple):
    """A container's memory: sum of proportional set sizes, its cgroup's count, its processes."""

    pss_mib: float
    cgroup_mib: float
    processes: tuple[str, ...]


class Start(NamedTuple):
    """What one start of a container gave."""

    seconds: float
    ready: Memory
    after: Memory


def main() -> None:
    """Build, measure, print, and write the results if that was all of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse_arguments("bench.image", __doc__, list(IMAGES))
    try:
        result = measure(arguments.only, 2 if arguments.quick else STARTS)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print_result(result)
    if not arguments.quick and arguments.only == list(IMAGES):
        write_result(result)


def measure(only: Sequence[str], starts: int) -> dict[str, Any]:
    """Build what is asked for, measure it, and remove what was not here before."""
    engine = json.loads(run("docker", "version", "--format", "{{json .Server}}"))
    with tempfile.TemporaryDirectory(prefix="bench-") as temporary, ExitStack() as images:
        folder = Path(temporary)
        print_progress("a clean clone of HEAD, and its model by dvc repro")
        inputs = make_inputs(folder / "inputs")
        base = find_base(inputs)
        print_progress(f"the base of the peers, from {base}")
        remove_at_the_end(images, BASE)
        docker_build(RECIPES, BASE, RECIPES / "base.Dockerfile", base)
        outcomes = {name: try_build(name, inputs, folder / name, images) for name in only}
        built = {name: one for name, one in outcomes.items() if isinstance(one, Built)}
        starts_by_name = run_starts(built, inputs, starts)
        contenders: dict[str, Any] = {}
        for name, one in outcomes.items():
            contenders[name] = {"title": IMAGES[name].title}
            if isinstance(one, Built):
                contenders[name] |= summarize(one, starts_by_name[name])
            else:
                contenders[name]["not_built"] = one
        return {
            "date": dt.datetime.now(dt.UTC).date().isoformat(),
            "commit": run("git", "rev-parse", "HEAD"),
            "machine": describe_machine(),
            "engine": {"version": engine["Version"], "kernel": engine["KernelVersion"]},
            "base": {
                "name": base,
                "mib": to_mib(measure_size(base)),
                "stand_in": is_stand_in(base),
            },
            "method": {
                "size": "bytes of the layers on top of the base, uncompressed",
                "start": "from `docker run` to the first right prediction; all cores, files cached",
                "memory": f"once it answers, and after {REQUESTS} predictions on one connection",
                "starts": starts,
            },
            "contenders": contenders,
        }


def make_inputs(folder: Path) -> Inputs:
    """Make the clone and its model, with this Python's environment as the clone's own."""
    folder.mkdir()
    inputs = make_fast_inputs(folder)
    own = inputs.cairn / ".venv"
    own.mkdir()
    for name in ("bin", "lib", "pyvenv.cfg"):
        (own / name).symlink_to(Path(sys.prefix, name))
    (own / ".installed").touch()
    return inputs


def find_base(inputs: Inputs) -> str:
    """Find the base image that bentofile.yaml names.

    Raises
    ------
    BenchError
        Where it is not here.
    """
    content = yaml.safe_load((inputs.cairn / "bentofile.yaml").read_text(encoding="utf-8"))
    name = str(content["docker"]["base_image"])
    if not is_present(name):
        raise BenchError(f"no image {name} here; docker pull {name}, or run .ci/base-image")
    return name


def is_stand_in(base: str) -> bool:
    """Whether the base is one that .ci/base-image made, as no registry could be reached."""
    history = run("docker", "history", "--format", "{{.Comment}}", base)
    return "stand-in" in history


def try_build(name: str, inputs: Inputs, folder: Path, images: ExitStack) -> Built | str:
    """Build an image, or say why it cannot be built here."""
    recipe = IMAGES[name]
    print_progress(f"building: {recipe.title}")
    folder.mkdir()
    try:
        return recipe.build(inputs, folder, images)
    except BenchError as error:
        print_progress(f"not built: {error}")
        return str(error)


def build_cairn(inputs: Inputs, folder: Path, images: ExitStack) -> Built:
    """`make image` in the clone."""
    env = {**os.environ, **inputs.variables}
    env["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    name = run(sys.executable, "-m", "service.bento.version", folder=inputs.cairn, env=env)
    remove_at_the_end(images, name)
    run_logged(("make", "image"), folder / "build.log", inputs.cairn, env)
    return Built(name, find_base(inputs))


def build_bentoml(inputs: Inputs, folder: Path, images: ExitStack) -> Built:
    """`bentoml build` and `bentoml containerize` of the stock peer, without a template."""
    shutil.copy(PEERS / "bentoml_onnx.py", folder)
    shutil.copy(inputs.models["onnx"], folder / "model.onnx")
    executable = create_environment("bentoml", ENVIRONMENTS)
    bentofile = {
        "service": "bentoml_onnx:Classifier",
        "name": "cairn-bench-bentoml",
        "include": ["bentoml_onnx.py", "model.onnx"],
        "python": {
            "packages": list_pinned(executable, "bentoml", "numpy", "onnxruntime", "pydantic")
        },
        "docker": {"base_image": BASE},
    }
    (folder / "bentofile.yaml").write_text(yaml.safe_dump(bentofile), encoding="utf-8")
    name = "cairn-bench-bentoml:1"
    env = {
        **engine_environment(),
        "BENTOML_HOME": str(folder / "home"),
        "BENTOML_DO_NOT_TRACK": "True",
        "MODEL": "model.onnx",
        "PATH": f"{executable.parent}:{os.environ['PATH']}",
        "TMPDIR": str(folder),
    }
    remove_at_the_end(images, name)
    bentoml = (str(executable), "-m", "bentoml")
    run_logged((*bentoml, "build", "--version", "1"), folder / "build.log", folder, env)
    run_logged((*bentoml, "containerize", name), folder / "build.log", folder, env)
    return Built(name, BASE, PEER_CHANGES)


def build_fastapi(inputs: Inputs, folder: Path, images: ExitStack) -> Built:
    """Build by a Dockerfile as in tutorials."""
    executable = create_environment("peers", ENVIRONMENTS)
    names = ("fastapi", "joblib", "numpy", "scikit-learn", "uvicorn")
    (folder / "requirements.txt").write_text("\n".join(list_pinned(executable, *names)) + "\n")
    shutil.copy(PEERS / "fastapi_sklearn.py", folder)
    shutil.copy(inputs.models["forest"], folder / "model.joblib")
    name = "cairn-bench-fastapi:1"
    remove_at_the_end(images, name)
    docker_build(folder, name, RECIPES / "fastapi.Dockerfile", BASE)
    return Built(name, BASE, PEER_CHANGES)


def build_mlflow(inputs: Inputs, folder: Path, images: ExitStack) -> Built:
    """Build what `mlflow models generate-dockerfile` writes, on our base."""
    executable = create_environment("mlflow", ENVIRONMENTS)
    env = {**os.environ, "MODEL": str(inputs.models["forest"])}
    env["PATH"] = f"{executable.parent}:{os.environ['PATH']}"
    log = folder / "build.log"
    saving = (str(executable), "-m", "bench.peers.mlflow_model", str(folder / "model"))
    run_logged(saving, log, Path.cwd(), env)
    generate = ("mlflow", "models", "generate-dockerfile", "--model-uri", "model")
    run_logged((*generate, "--output-directory", "context"), log, folder, env)
    dockerfile = folder / "context" / "Dockerfile"
    text, count = re.subn(
        r"^FROM (\S+)$", f"FROM {BASE}", dockerfile.read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    if count != 1:
        raise BenchError(f"{count} lines FROM in what MLflow generates; expected 1")
    dockerfile.write_text(text, encoding="utf-8")
    name = "cairn-bench-mlflow:1"
    remove_at_the_end(images, name)
    docker_build(folder / "context", name, dockerfile, BASE)
    return Built(name, BASE, (*PEER_CHANGES, "its FROM, a python:3.11 slim too, is that base"))


PEER_CHANGES = ("the base is that of bentofile.yaml, with pip where it has none",)
IMAGES = {
    "cairn": Recipe("Cairn", CAIRN, build_cairn, 3000),
    "bentoml": Recipe(
        "bentoml containerize as generated, ONNX Runtime",
        CONTENDERS["bentoml-onnx"],
        build_bentoml,
        3000,
        {"MODEL": "/home/bentoml/bento/src/model.onnx"},
    ),
    "fastapi": Recipe(
        "FastAPI + scikit-learn, plain Dockerfile",
        CONTENDERS["fastapi-forest"],
        build_fastapi,
        8000,
    ),
    "mlflow": Recipe("mlflow models build-docker", CONTENDERS["mlflow-forest"], build_mlflow, 8080),
}


def run_starts(built: Mapping[str, Built], inputs: Inputs, starts: int) -> dict[str, list[Start]]:
    """Start each image so many times, in turns, the first time only to have its files cached."""
    starts_by_name: dict[str, list[Start]] = {name: [] for name in built}
    for number in range(starts + 1):
        for name, one in built.items():
            start = run_once(IMAGES[name], one.image, inputs)
            if number:
                starts_by_name[name].append(start)
                print_progress(
                    f"start {number} of {starts}: {IMAGES[name].title}: {start.seconds:.2f} s"
                )
    return starts_by_name


def run_once(recipe: Recipe, image: str, inputs: Inputs) -> Start:
    """One start of a container, until it has answered `REQUESTS` requests."""
    contender = recipe.contender
    with contender.bodies(inputs, 1).open(encoding="utf-8") as lines:
        bodies = lines.read().splitlines()
    begin = time.perf_counter()
    with run_container(recipe, image, inputs) as (name, server):
        wait(server, contender.paths[0], bodies[0], pause=0.01)
        seconds = time.perf_counter() - begin
        ready = measure_memory(name)
        check(contender, server, inputs)
        send(server, contender.paths[0], islice(cycle(bodies), REQUESTS))
        return Start(round(seconds, 2), ready, measure_memory(name))


@contextmanager
def run_container(recipe: Recipe, image: str, inputs: Inputs) -> Iterator[tuple[str, Server]]:
    """Run an image on a free port of loopback until the end of the block.

    Nobody may connect before the container has started: the kernel would ask in vain for the
    address of its network device, and only a second later again, whenever the service is ready.
    """
    name, port = f"cairn-bench-{secrets.token_hex(4)}", find_free_port()
    command = ["docker", "run", "--detach", "--name", name]
    command += ["--publish", f"{HOST}:{port}:{recipe.port}"]
    command += [word for item in recipe.variables.items() for word in ("--env", "=".join(item))]
    run(*command, image)
    log = inputs.folder / "container.log"
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["docker", "logs", "--follow", name],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        yield name, Server(port, process, log)
    finally:
        subprocess.run(["docker", "rm", "--force", name], check=False, capture_output=True)
        process.wait(COMMAND_SECONDS)


def send(server: Server, path: str, bodies: Iterator[str]) -> None:
    """Send these bodies, one after the other, on one connection.

    Raises
    ------
    BenchError
        Where one is answered with another status than 200.
    """
    connection = HTTPConnection(HOST, server.port, timeout=60)
    try:
        for body in bodies:
            connection.request("POST", path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            content = response.read()
            if response.status != HTTPStatus.OK:
                raise BenchError(f"{path} answered {response.status} {content[:200]!r}")
    finally:
        connection.close()


def measure_memory(name: str) -> Memory:
    """Measure a container's memory from a second one in its process namespace."""
    look = ("run", "--rm", "--pid", f"container:{name}", "--cap-add", "SYS_PTRACE", "--user", "0")
    output = run("docker", *look, "--entrypoint", "python3", BASE, "-c", PROCESSES)
    lines = [line.partition(" ") for line in output.splitlines()]
    figure = run("docker", "stats", "--no-stream", "--format", "{{.MemUsage}}", name)
    return Memory(
        round(sum(int(pss) for pss, _, _ in lines) / 1024, 1),
        parse_usage(figure),
        tuple(sorted(process for _, _, process in lines)),
    )


def parse_usage(figure: str) -> float:
    """MiB of a figure of `docker stats`.

    Examples
    --------
    >>> parse_usage("1.5GiB / 23.48GiB")
    1536.0
    """
    match = re.match(r"([0-9.]+)([KMG]?i?B) /", figure)
    if not match:
        raise BenchError(f"docker stats says {figure!r}, which is no figure of memory")
    return round(float(match[1]) * UNITS[match[2]] / MIB, 1)


def summarize(built: Built, starts: Sequence[Start]) -> dict[str, Any]:
    """Summarize one image by medians over its starts."""
    return {
        "mib_on_top_of_base": to_mib(measure_on_top(built)),
        "start_seconds": median(one.seconds for one in starts),
        "starts": [one.seconds for one in starts],
        "ready": compute_medians([one.ready for one in starts]),
        f"after_{REQUESTS}": compute_medians([one.after for one in starts]),
        "changed": list(built.changed),
    }


def compute_medians(memories: Sequence[Memory]) -> dict[str, Any]:
    """Medians, and the processes of the last one."""
    return {
        "pss_mib": median(one.pss_mib for one in memories),
        "cgroup_mib": median(one.cgroup_mib for one in memories),
        "processes": list(memories[-1].processes),
    }


def measure_on_top(built: Built) -> int:
    """Bytes of the layers that an image has on top of its base.

    Raises
    ------
    BenchError
        Where it does not start with the base's layers.
    """
    own_layers, base_layers = list_layers(built.image), list_layers(built.base)
    if own_layers[: len(base_layers)] != base_layers:
        raise BenchError(f"{built.image} is not made on {built.base}")
    return measure_size(built.image) - measure_size(built.base)


def list_layers(image: str) -> list[str]:
    """Digests of an image's layers."""
    output = run("docker", "image", "inspect", "--format", "{{json .RootFS.Layers}}", image)
    return list(json.loads(output))


def measure_size(image: str) -> int:
    """Bytes of an image."""
    return int(run("docker", "image", "inspect", "--format", "{{.Size}}", image))


def to_mib(count: int) -> float:
    """Bytes in MiB."""
    return round(count / MIB, 1)


def is_present(image: str) -> bool:
    """Whether an image is here."""
    command = ["docker", "image", "inspect", image]
    return subprocess.run(command, check=False, capture_output=True).returncode == 0


def remove_at_the_end(images: ExitStack, name: str) -> None:
    """Have an image that is about to be built removed at the end, unless it is here already."""
    if not is_present(name):
        command = ["docker", "image", "rm", "--force", name]
        images.callback(subprocess.run, command, check=False, capture_output=True)


def docker_build(context: Path, name: str, dockerfile: Path, base: str) -> None:
    """Build an image of a folder."""
    words = ("docker", "build", "--tag", name, "--build-arg", f"BASE={base}")
    env = engine_environment()
    with tempfile.NamedTemporaryFile(suffix=".log") as log:
        run_logged((*words, "--file", str(dockerfile), str(context)), Path(log.name), context, env)


def engine_environment() -> dict[str, str]:
    """Return the environment of this process, without BuildKit if the client has none."""
    result = subprocess.run(["docker", "buildx", "version"], check=False, capture_output=True)
    return {**os.environ, **({} if result.returncode == 0 else {"DOCKER_BUILDKIT": "0"})}


def list_pinned(executable: Path, *names: str) -> list[str]:
    """List distributions and all that they need, with the versions of a peer's environment.

    So neither pip nor what a peer calls instead has a version to choose.
    """
    program = "import json, sys; from bench.machine import list_required, read_versions; "
    program += "print(json.dumps(read_versions(*sorted(list_required(*sys.argv[1:])))))"
    result = json.loads(run(str(executable), "-c", program, *names))
    return [f"{name}=={version}" for name, version in result.items()]


def run_logged(command: Sequence[str], log: Path, folder: Path, env: Mapping[str, str]) -> None:
    """Run a command, its output into a file.

    Raises
    ------
    BenchError
        Where it fails or takes too long; with the end of what it wrote.
    """
    label = " ".join(Path(word).name for word in command[:4])
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=out, stderr=out)
        try:
            status = str(process.wait(BUILD_SECONDS))
        except subprocess.TimeoutExpired:
            status = f"nothing after {BUILD_SECONDS:.0f} s"
        finally:
            process.kill()
            process.wait()
    if status != "0":
        wrote = log.read_text(encoding="utf-8", errors="replace").splitlines()[-15:]
        raise BenchError(f"{label} ended with {status}:\n" + "\n".join(wrote))


def run(*command: str, folder: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what a command prints.

    Raises
    ------
    BenchError
        Where it fails; with what it wrote.
    """
    try:
        process = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            cwd=folder,
            env=env,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise BenchError(f"{' '.join(command[:3])}: {error}") from None
    if process.returncode:
        raise BenchError(
            f"{' '.join(command[:3])} ended with {process.returncode}: {process.stderr}"
        )
    return process.stdout.strip()


def print_result(result: Mapping[str, Any]) -> None:
    """Print the table."""
    base = result["base"]
    print(f"\non top of {base['name']}, {base['mib']} MiB{base['stand_in'] * ', a stand-in'}")
    for one in sorted(result["contenders"].values(), key=lambda one: one.get("start_seconds", 999)):
        print(f"  {one['title']:<50}{format_figures(one)}")


def format_figures(one: Mapping[str, Any]) -> str:
    """Format an image's figures as text."""
    if "not_built" in one:
        return f"not built here: {one['not_built'].splitlines()[-1]}"
    ready, after = one["ready"], one[f"after_{REQUESTS}"]
    return (
        f"{one['mib_on_top_of_base']:>8,.0f} MiB  ready in {one['start_seconds']:>5.2f} s"
        f"  PSS {ready['pss_mib']:>6.0f}, then {after['pss_mib']:>6.0f} MiB"
        f"  cgroup {ready['cgroup_mib']:>6.0f}, then {after['cgroup_mib']:>6.0f} MiB"
        f"  {len(after['processes'])} processes"
    )


def write_result(result: Mapping[str, Any]) -> None:
    """Write the results, and draw them."""
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    drawing = (create_environment("peers", ENVIRONMENTS), "-m", "bench.plot_image", RESULT, PLOT)
    subprocess.run(drawing, check=True)
    print_progress(f"wrote {RESULT} and {PLOT}")


if __name__ == "__main__":
    main()
