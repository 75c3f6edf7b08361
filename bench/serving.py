"""Cairn and its peers side by side: one server core, load from another, one command.

python -m bench.serving                      all of it; writes bench/results/serving.*
python -m bench.serving --quick              one round of short cells; writes nothing
python -m bench.serving --only cairn,ceiling only these; writes nothing
"""

from __future__ import annotations

import datetime as dt
import json
import math
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from bench import load
from bench.arguments import parse_arguments
from bench.contenders import (
    CAIRN,
    CONTENDERS,
    SLOW,
    Contender,
    check,
    create_environment,
    find_python,
)
from bench.inputs import Inputs, make_fast_inputs, make_slow_inputs
from bench.load import Cell, Duration, Measurement
from bench.machine import describe_machine, read_versions
from bench.server import BenchError, Server, serve, wait

RESULT = Path("bench/results/serving.json")
PLOT = RESULT.with_suffix(".svg")
ENVIRONMENTS = Path("build/bench")
SECTIONS = ("memory", "slow")
STEP = 100_000
FLAT_MIB = 5.0
CONCURRENCY = 32
VERSIONS = {
    "cairn": ("bentoml", "onnxruntime", "scikit-learn", "uvicorn", "uvloop", "httptools"),
    "peers": ("fastapi", "flask", "gunicorn", "onnxruntime", "scikit-learn", "uvicorn", "uvloop"),
    "bentoml": ("bentoml", "onnxruntime", "scikit-learn"),
    "mlflow": ("mlflow", "scikit-learn"),
}
ONE = Cell(1, CONCURRENCY)
MANY = Cell(1000, 4)
CELLS = (Cell(1, 1), ONE, Cell(1, 128), Cell(100, 4), MANY)
SLOW_CELLS = (Cell(1, 1), ONE)


class Target(NamedTuple):
    """A target of Cairn: a multiple of a peer's requests/s, in `ONE`."""

    peer: str
    times: float


TARGETS = (
    Target("fastapi-onnx", 1.5),
    Target("fastapi-forest", 40),
    Target("bentoml-onnx", 7),
    Target("ceiling", 0.6),
)
TAIL = 2.0


@dataclass(frozen=True)
class Plan:
    """How long, how often, and where."""

    seconds: float
    warm_up: float
    rounds: int
    requests: int
    server_core: int
    load_core: int


@dataclass(frozen=True)
class RunningContender:
    """A running contender."""

    contender: Contender
    server: Server
    inputs: Inputs
    load_core: int

    def load(self, cell: Cell, seconds: float) -> Measurement:
        """Load it for some seconds."""
        path = self.contender.paths[0 if cell.rows == 1 else 1]
        bodies = self.inputs.bodies(self.contender.key, cell.rows)
        return load.measure(self.server, path, bodies, cell, Duration(seconds, self.load_core))


class Round(NamedTuple):
    """The measurements of one start of a contender."""

    cells: dict[str, Measurement]
    rss_mib: float
    log_bytes_per_request: float


def main() -> None:
    """Measure, print, and write the results if that was all of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parse_arguments("bench.serving", __doc__, list_names())
    try:
        load.check_tools()
        plan = plan_rounds(quick=arguments.quick)
        result = measure(plan, arguments.only)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    print_result(result)
    if not arguments.quick and arguments.only == list_names():
        write_result(result)


def list_names() -> list[str]:
    """All that can be measured."""
    return [*CONTENDERS, *SECTIONS]


def plan_rounds(*, quick: bool) -> Plan:
    """How to measure on this machine: the server on its first core, wrk on the second.

    Raises
    ------
    BenchError
        Where it has one core only.
    """
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:  # noqa: PLR2004 - one for the server, one for wrk
        raise BenchError("one core; the server and the load need one each")
    length = (3, 1, 1, 50_000) if quick else (6, 3, 3, 1_000_000)
    return Plan(*length, server_core=cores[0], load_core=cores[1])


def measure(plan: Plan, only: Sequence[str]) -> dict[str, Any]:
    """Everything that is asked for."""
    contenders = {name: one for name, one in CONTENDERS.items() if name in only}
    envs = ["cairn", *sorted({one.env for one in contenders.values()} - {"cairn"})]
    if "slow" in only and "peers" not in envs:
        envs.append("peers")
    pythons = {"cairn": Path(sys.executable)}
    pythons |= {name: create_environment(name, ENVIRONMENTS) for name in envs if name != "cairn"}
    result: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": read_commit(),
        "machine": describe_machine(),
        "versions": {
            "wrk": load.read_version(),
            **{name: read_installed(one, VERSIONS[name]) for name, one in pythons.items()},
        },
        "method": {
            "seconds_per_cell": plan.seconds,
            "warm_up_seconds": plan.warm_up,
            "rounds_of_repeated": plan.rounds,
            "server_core": plan.server_core,
            "load_core": plan.load_core,
        },
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if contenders or "memory" in only:
            say("a clean clone of HEAD, and its model by dvc repro")
            inputs = make_inputs(make_fast_inputs, Path(folder, "fast"))
            result["contenders"] = compare(contenders, CELLS, inputs, plan)
            if "memory" in only:
                result["memory"] = measure_memory(inputs, plan)
        if "slow" in only:
            say("another, with a model of which a single row takes long")
            inputs = make_inputs(make_slow_inputs, Path(folder, "slow"))
            result["slow"] = compare(SLOW, SLOW_CELLS, inputs, plan)
    result["targets"] = check_targets(result)
    return result


def make_inputs(make: Any, folder: Path) -> Inputs:
    """Make the inputs of one section, in a folder of their own."""
    folder.mkdir()
    inputs: Inputs = make(folder)
    return inputs


def compare(
    contenders: Mapping[str, Contender], cells: Sequence[Cell], inputs: Inputs, plan: Plan
) -> dict[str, Any]:
    """Each contender's rounds, those that are repeated in turns, and their medians."""
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(plan.rounds):
        for name, contender in contenders.items():
            if number == 0 or contender.repeated:
                say(f"round {number + 1} of {plan.rounds}: {contender.title}")
                rounds[name].append(run_once(contender, cells, inputs, plan))
    return {
        name: {
            "title": contenders[name].title,
            "median": compute_medians([one.cells for one in medians]),
            "rss_mib": max(one.rss_mib for one in medians),
            "log_bytes_per_request": median(one.log_bytes_per_request for one in medians),
            "rounds": [one.cells for one in medians],
        }
        for name, medians in rounds.items()
    }


def run_once(contender: Contender, cells: Sequence[Cell], inputs: Inputs, plan: Plan) -> Round:
    """Start a contender, hold it to scikit-learn, warm it up and measure each cell."""
    with start(contender, inputs, plan) as running:
        server = running.server
        logged = server.log.stat().st_size
        measurements = {}
        for cell in cells:
            measurements[cell.name] = one = running.load(cell, plan.seconds)
            say(f"  {cell.name:<25}{format_figures(one)}")
        written = server.log.stat().st_size - logged
        requests = sum(one["requests"] for one in measurements.values())
        return Round(measurements, server.measure_memory(), round(written / requests, 1))


@contextmanager
def start(contender: Contender, inputs: Inputs, plan: Plan) -> Iterator[RunningContender]:
    """Start a contender, check it against scikit-learn, and warm it up."""
    model = inputs.models[contender.model]
    executable = find_python(contender, ENVIRONMENTS)
    variables = {**inputs.variables, "MODEL": str(model), **contender.variables}
    variables["PATH"] = f"{Path(executable).parent}:{os.environ['PATH']}"
    if contender.model == "mlflow" and not model.exists():
        saving = [executable, "-m", "bench.peers.mlflow_model", str(model)]
        environ = {**os.environ, **variables, "MODEL": str(inputs.models["forest"])}
        subprocess.run(saving, env=environ, capture_output=True, check=True)
    command = [executable, *(word.replace("{model}", str(model)) for word in contender.command)]
    folder = inputs.cairn if contender.env == "cairn" else Path()
    log = inputs.folder / "server.log"
    with serve(command, plan.server_core, folder, variables, log) as server:
        with inputs.bodies(contender.key, 1).open(encoding="utf-8") as lines:
            wait(server, contender.paths[0], next(lines))
        check(contender, server, inputs)
        running = RunningContender(contender, server, inputs, plan.load_core)
        running.load(ONE, plan.warm_up)
        yield running


def compute_medians(rounds: Sequence[dict[str, Measurement]]) -> dict[str, Measurement]:
    """Each figure's median over the rounds; of requests the sum."""
    return {cell: merge([one[cell] for one in rounds]) for cell in rounds[0]}


def merge(loads: Sequence[Measurement]) -> Measurement:
    """One cell over the rounds."""
    return Measurement(
        requests_per_s=median(one["requests_per_s"] for one in loads),
        rows_per_s=median(one["rows_per_s"] for one in loads),
        p50_ms=median(one["p50_ms"] for one in loads),
        p99_ms=median(one["p99_ms"] for one in loads),
        cpu_us=median(one["cpu_us"] for one in loads),
        requests=sum(one["requests"] for one in loads),
    )


def measure_memory(inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """Cairn's memory over many requests, at every STEP or a tenth of them."""
    say(f"Cairn's memory over {plan.requests:,} requests")
    step = min(STEP, plan.requests // 5)
    samples, done, rate = [], 0, 0.0
    with start(CAIRN, inputs, plan) as running:
        server = running.server
        samples.append({"requests": 0, "rss_mib": server.measure_memory()})
        while done < plan.requests:
            missing = step * len(samples) - done
            seconds = max(1, math.ceil(missing / rate)) if rate else 1
            one = running.load(ONE, seconds)
            done, rate = done + one["requests"], one["requests_per_s"]
            if done >= step * len(samples):
                samples.append({"requests": done, "rss_mib": server.measure_memory()})
                say(f"  {done:>9,} requests: {samples[-1]['rss_mib']:.1f} MiB")
    growth = round(samples[-1]["rss_mib"] - samples[1]["rss_mib"], 1)
    return {"samples": samples, "growth_mib": growth, "after_requests": samples[1]["requests"]}


def check_targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Check each target that was measured: the bound, the value, and whether it is reached."""
    medians = {name: one["median"][ONE.name] for name, one in result.get("contenders", {}).items()}
    results = []
    if "cairn" in medians:
        mine = medians["cairn"]
        for peer, times in TARGETS:
            if peer in medians:
                ratio = mine["requests_per_s"] / medians[peer]["requests_per_s"]
                name = f"requests/s over {CONTENDERS[peer].title}"
                results.append(check_target(name, "at least", times, ratio))
        tail = mine["p99_ms"] / mine["p50_ms"]
        results.append(check_target(f"p99 over p50, {ONE.name}", "at most", TAIL, tail))
    if "memory" in result:
        growth = result["memory"]["growth_mib"]
        results.append(check_target("MiB of growth over the requests", "at most", FLAT_MIB, growth))
    return results


def check_target(name: str, bound: str, required: float, value: float) -> dict[str, Any]:
    """Check one target."""
    is_reached = value >= required if bound == "at least" else value <= required
    return {
        "name": name,
        bound.replace(" ", "_"): required,
        "got": round(value, 2),
        "reached": is_reached,
    }


def print_result(result: Mapping[str, Any]) -> None:
    """Print the table and the targets."""
    for section in "contenders", "slow":
        for cell in CELLS:
            rows = [
                (one["title"], one["median"][cell.name])
                for one in result.get(section, {}).values()
                if cell.name in one["median"]
            ]
            if rows:
                print(f"\n{section}: {cell.name}")
            for title, figures in sorted(rows, key=lambda row: -row[1]["requests_per_s"]):
                print(f"  {title:<50}{format_figures(figures)}")
    print()
    for one in result["targets"]:
        required = (
            f"at least {one['at_least']}" if "at_least" in one else f"at most {one['at_most']}"
        )
        verb = "reached" if one["reached"] else "MISSED"
        print(f"  {one['name']:<62}{one['got']:>8,.2f}  {required:<14}{verb}")


def format_figures(one: Measurement) -> str:
    """Format a cell's figures as text."""
    return (
        f"{one['requests_per_s']:>8,.0f} requests/s{one['rows_per_s']:>9,.0f} rows/s"
        f"  p50 {one['p50_ms']:>8,.2f} ms  p99 {one['p99_ms']:>8,.2f} ms"
        f"  CPU {one['cpu_us']:>7,.0f} µs a request"
    )


def write_result(result: Mapping[str, Any]) -> None:
    """Write the results, and draw them."""
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    drawing: list[str | Path] = [
        create_environment("peers", ENVIRONMENTS),
        "-m",
        "bench.plot",
        RESULT,
        PLOT,
    ]
    subprocess.run(drawing, check=True)
    say(f"wrote {RESULT} and {PLOT}")


def read_commit() -> str:
    """Read the commit that is measured."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def read_installed(executable: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Versions of these distributions in another environment."""
    if executable == Path(sys.executable):
        return read_versions(*names)
    program = "import json, sys; from bench.machine import read_versions; "
    program += "print(json.dumps(read_versions(*sys.argv[1:])))"
    command: list[str | Path] = [executable, "-c", program, *names]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(output))


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"bench: {text}", flush=True)


if __name__ == "__main__":
    main()
