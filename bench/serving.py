"""Cairn and its peers side by side: one server core, load from another, one command.

python -m bench.serving                      all of it, 25 minutes; writes bench/results/serving.*
python -m bench.serving --quick              what the targets need, 5 minutes; writes nothing
python -m bench.serving --only cairn,ceiling only these; writes nothing

With one worker the server has a core and the load another. With two workers the server has both,
and shares them with the load, which comes from the same machine.
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
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple, TypeVar

from bench import load
from bench.arguments import parse_arguments
from bench.connections import Fairness
from bench.contenders import (
    CAIRN,
    CONTENDERS,
    SLOW,
    Contender,
    check,
    create_environment,
    find_python,
)
from bench.inputs import GREEDY_ROWS, Inputs, make_fast_inputs, make_slow_inputs
from bench.load import Cell, Duration, Measurement
from bench.machine import describe_machine, is_tracking, measure_slow_share, read_versions
from bench.progress import print_progress
from bench.server import BenchError, Server, serve, wait
from bench.targets import (
    HUNDRED,
    LIST,
    ONE,
    RECORDS,
    SINGLE,
    TAILS,
    THOUSAND,
    check_targets,
    format_check,
)

RESULT = Path("bench/results/serving.json")
PLOT = RESULT.with_suffix(".svg")
ENVIRONMENTS = Path("build/bench")
SECTIONS = ("fairness", "greedy", "workers", "memory", "slow")
# Whom no narrow target compares, and a section of minutes.
LEFT_OUT_OF_QUICK = (
    "fastapi-forest", "fastapi-logistic", "flask-forest", "bentoml-forest", "mlflow-forest", "slow",
)  # fmt: skip
STEP = 100_000
VERSIONS = {
    "cairn": ("bentoml", "onnxruntime", "scikit-learn", "uvicorn", "uvloop", "httptools"),
    "peers": (
        "bjoern-binary",
        "fastapi",
        "flask",
        "granian",
        "gunicorn",
        "onnxruntime",
        "scikit-learn",
        "uvicorn",
        "uvloop",
    ),
    "bentoml": ("bentoml", "onnxruntime", "scikit-learn"),
    "mlflow": ("mlflow", "scikit-learn"),
}
CELLS = (SINGLE, ONE, LIST, Cell(1, 128), Cell(1, 256), HUNDRED, THOUSAND, RECORDS)
FEW_CELLS = (SINGLE, ONE, HUNDRED, THOUSAND)  # of those that no narrow target compares
TWO_CELLS = (ONE, LIST, HUNDRED, THOUSAND, RECORDS)
SLOW_CELLS = (SINGLE, ONE)
WATCHED = ("cairn", "ceiling")  # whose connections are watched one by one
# Short rounds, so that what others do on the host is in few of them, and not in the median.
WATCH_SECONDS = 1.0
GREEDY_LEAST = 3  # seconds beside a greedy client: a request may take a good part of one
Record = TypeVar("Record", bound=Mapping[str, Any])


@dataclass(frozen=True)
class Plan:
    """How long, how often, and where."""

    seconds: float
    warm_up: float
    rounds: int
    requests: int
    server_core: int
    load_core: int
    workers: int = 1

    @property
    def server_cores(self) -> str:
        """The cores of the server, as taskset takes them: with more workers both."""
        cores = (self.server_core, self.load_core)[: self.workers]
        return ",".join(map(str, cores))


@dataclass(frozen=True)
class RunningContender:
    """A running contender."""

    contender: Contender
    server: Server
    inputs: Inputs
    load_core: int

    def load(self, cell: Cell, seconds: float) -> Measurement:
        """Load it for some seconds."""
        path = self.contender.path(cell.rows, cell.shape)
        bodies = self.contender.bodies(self.inputs, cell.rows, cell.shape)
        return load.measure(self.server, path, bodies, cell, Duration(seconds, self.load_core))

    def watch(self, connections: int, seconds: float) -> Fairness:
        """Watch so many new connections one by one, for some seconds of single rows."""
        bodies = self.contender.bodies(self.inputs, 1)
        duration = Duration(seconds, self.load_core)
        return load.watch(self.server, self.contender.path(1), bodies, connections, duration)

    def load_beside(self, name: str, body: Path, seconds: float) -> Measurement:
        """Load it with single rows while another client posts one large body without pause."""
        path = self.contender.path(GREEDY_ROWS)
        with load.run_greedy(self.server, path, body, self.load_core) as statuses:
            measurement = self.load(ONE, seconds)
        print_progress(
            f"  {name:<27}{format_figures(measurement)}  its own answers: {dict(statuses)}"
        )
        return measurement


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
        only = list(arguments.only)
        if arguments.quick and only == list_names():
            only = [name for name in only if name not in LEFT_OUT_OF_QUICK]
        result = measure(plan, only)
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
    length = (2, 1, 1, 50_000) if quick else (5, 2, 3, 1_000_000)
    return Plan(*length, server_core=cores[0], load_core=cores[1])


def measure(plan: Plan, only: Sequence[str]) -> dict[str, Any]:
    """Everything that is asked for."""
    if is_tracking():
        print_progress(
            "the kernel tracks connections, by which each request takes 20 to 30 µs more: stop "
            "dockerd, and remove the rules that it left (iptables-legacy and iptables-nft -F, -X)"
        )
    slow_before = measure_slow_share(plan.server_core)
    print_progress(f"the server's core is slowed down by others for {slow_before:.0%} of the time")
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
            "watch_seconds": WATCH_SECONDS,
            "server_core": plan.server_core,
            "load_core": plan.load_core,
            "server_cores_of_two_workers": replace(plan, workers=2).server_cores,
            "load": "from the same machine",
            "connections_are_tracked": is_tracking(),
            "slow_share_before": slow_before,
        },
    }
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        if contenders or {*only} & ({*SECTIONS} - {"slow"}):
            print_progress("a clean clone of HEAD, and its model by dvc repro")
            inputs = make_inputs(make_fast_inputs, Path(folder, "fast"))
            result["workers_1"] = measure_one_worker(contenders, only, inputs, plan)
            if "workers" in only:
                result["workers_2"] = measure_two_workers(contenders, only, inputs, plan)
            if "memory" in only:
                result["memory"] = measure_memory(inputs, plan)
        if "slow" in only:
            print_progress("another, with a model of which a single row takes long")
            inputs = make_inputs(make_slow_inputs, Path(folder, "slow"))
            result["slow"] = compare(SLOW, SLOW_CELLS, inputs, plan)
    result["method"]["slow_share_after"] = measure_slow_share(plan.server_core)
    result["targets"] = check_targets(result)
    return result


def measure_one_worker(
    contenders: Mapping[str, Contender], only: Collection[str], inputs: Inputs, plan: Plan
) -> dict[str, Any]:
    """Measure with one worker, on one core."""
    result: dict[str, Any] = {"contenders": compare(contenders, CELLS, inputs, plan)}
    if "fairness" in only:
        watched = {name: CONTENDERS[name] for name in WATCHED}
        result["fairness"] = watch_connections(watched, inputs, plan)
    if "greedy" in only:
        result["greedy"] = measure_greedy(CAIRN, inputs, plan)
    return result


def measure_two_workers(
    contenders: Mapping[str, Contender], only: Collection[str], inputs: Inputs, plan: Plan
) -> dict[str, Any]:
    """Measure with two workers, on both cores, beside the load."""
    plan = replace(plan, workers=2, rounds=1)
    double = {
        name: replace(
            one,
            command=(*one.command, *one.workers),
            variables={**one.variables, "WORKERS": "2"},
        )
        for name, one in contenders.items()
        if one.workers is not None
    }
    print_progress("two workers, on both cores, which the load shares")
    result: dict[str, Any] = {"contenders": compare(double, TWO_CELLS, inputs, plan)}
    if "cairn" in double and "fairness" in only:
        result["fairness"] = watch_connections({"cairn": double["cairn"]}, inputs, plan)
    if "cairn" in double and "greedy" in only:
        result["greedy"] = measure_greedy(double["cairn"], inputs, plan)
    return result


def watch_connections(
    contenders: Mapping[str, Contender], inputs: Inputs, plan: Plan
) -> dict[str, Any]:
    """Watch each connection by itself, for as long as a cell takes in all; the medians."""
    result: dict[str, Any] = {}
    number_of_rounds = round(plan.rounds * plan.seconds / WATCH_SECONDS)
    for name, contender in contenders.items():
        print_progress(f"{contender.title}: each connection by itself")
        with start(contender, inputs, plan) as running:
            for number in TAILS:
                rounds = [running.watch(number, WATCH_SECONDS) for _ in range(number_of_rounds)]
                merged = merge(rounds)
                result.setdefault(name, {})[str(number)] = {**merged, "rounds": rounds}
                print_progress(f"  {number} connections: {format_fairness(merged)}")
    return result


def measure_greedy(contender: Contender, inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """Measure single rows by themselves, and beside a client of large bodies of each kind."""
    print_progress(f"{contender.title}: single rows beside a greedy client")
    seconds = max(GREEDY_LEAST, plan.seconds)
    with start(contender, inputs, plan) as running:
        baseline = running.load(ONE, seconds)
        print_progress(f"  {'baseline':<27}{format_figures(baseline)}")
        bodies = {
            name: running.load_beside(name, path, seconds) for name, path in inputs.greedy().items()
        }
    return {"baseline": baseline, "bodies": bodies}


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
                print_progress(f"round {number + 1} of {plan.rounds}: {contender.title}")
                own = choose_cells(name, contender, cells)
                rounds[name].append(run_once(contender, own, inputs, plan))
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


def choose_cells(name: str, contender: Contender, cells: Sequence[Cell]) -> list[Cell]:
    """Choose the cells of a contender: those whose shape it takes; few where none compares it."""
    names = FEW_CELLS if name in LEFT_OUT_OF_QUICK else cells
    return [cell for cell in cells if cell in names and cell.shape in contender.shapes]


def run_once(contender: Contender, cells: Sequence[Cell], inputs: Inputs, plan: Plan) -> Round:
    """Start a contender, hold it to scikit-learn, warm it up and measure each cell."""
    with start(contender, inputs, plan) as running:
        server = running.server
        logged = server.log.stat().st_size
        measurements = {}
        for cell in cells:
            measurements[cell.name] = one = running.load(cell, plan.seconds)
            print_progress(f"  {cell.name:<25}{format_figures(one)}")
        written = server.log.stat().st_size - logged
        requests = sum(one["requests"] for one in measurements.values())
        return Round(measurements, server.measure_memory(), round(written / requests, 1))


@contextmanager
def start(contender: Contender, inputs: Inputs, plan: Plan) -> Iterator[RunningContender]:
    """Start a contender, check it against scikit-learn, and warm it up."""
    model = inputs.models[contender.model]
    executable = find_python(contender, ENVIRONMENTS)
    variables = {
        **inputs.variables,
        "MODEL": str(model),
        "COLUMNS": json.dumps(inputs.columns),
        **contender.variables,
    }
    variables["PATH"] = f"{Path(executable).parent}:{os.environ['PATH']}"
    if contender.model == "mlflow" and not model.exists():
        saving = [executable, "-m", "bench.peers.mlflow_model", str(model)]
        environ = {**os.environ, **variables, "MODEL": str(inputs.models["forest"])}
        subprocess.run(saving, env=environ, capture_output=True, check=True)
    command = [executable, *(word.replace("{model}", str(model)) for word in contender.command)]
    folder = inputs.cairn if contender.env == "cairn" else Path()
    log = inputs.folder / "server.log"
    with serve(command, plan.server_cores, folder, variables, log) as server:
        with contender.bodies(inputs, 1).open(encoding="utf-8") as lines:
            wait(server, contender.paths[0], next(lines))
        check(contender, server, inputs)
        running = RunningContender(contender, server, inputs, plan.load_core)
        running.load(ONE, plan.warm_up)
        yield running


def compute_medians(rounds: Sequence[dict[str, Measurement]]) -> dict[str, Measurement]:
    """Each figure's median over the rounds; of requests the sum."""
    return {cell: merge([one[cell] for one in rounds]) for cell in rounds[0]}


def merge(rounds: Sequence[Record]) -> Record:
    """Merge one cell's rounds: the median of each figure, and the sum of the requests."""
    medians = {key: median(one[key] for one in rounds) for key in rounds[0]}
    merged: Record = {**medians, "requests": sum(one["requests"] for one in rounds)}  # type: ignore[assignment]
    return merged


def measure_memory(inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """Cairn's memory over many requests, at every STEP or a tenth of them."""
    print_progress(f"Cairn's memory over {plan.requests:,} requests")
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
                print_progress(f"  {done:>9,} requests: {samples[-1]['rss_mib']:.1f} MiB")
    growth = round(samples[-1]["rss_mib"] - samples[1]["rss_mib"], 1)
    return {"samples": samples, "growth_mib": growth, "after_requests": samples[1]["requests"]}


def print_result(result: Mapping[str, Any]) -> None:
    """Print the table and the targets."""
    sections = {
        "one worker": result.get("workers_1", {}).get("contenders", {}),
        "two workers": result.get("workers_2", {}).get("contenders", {}),
        "a slow model": result.get("slow", {}),
    }
    for title, section in sections.items():
        for cell in CELLS:
            rows = [
                (one["title"], one["median"][cell.name])
                for one in section.values()
                if cell.name in one["median"]
            ]
            if rows:
                print(f"\n{title}: {cell.name}")
            for name, figures in sorted(rows, key=lambda row: -row[1]["requests_per_s"]):
                print(f"  {name:<50}{format_figures(figures)}")
    print("\n  workers, what, the value, the target")
    for each in result["targets"]:
        print(format_check(each))


def format_figures(one: Measurement) -> str:
    """Format a cell's figures as text."""
    return (
        f"{one['requests_per_s']:>8,.0f} requests/s{one['rows_per_s']:>9,.0f} rows/s"
        f"  p50 {one['p50_ms']:>8,.2f} ms  p99 {one['p99_ms']:>8,.2f} ms"
        f"  CPU {one['cpu_us']:>7,.0f} µs a request"
    )


def format_fairness(one: Fairness) -> str:
    """Format what came of watching connections."""
    return (
        f"{one['requests_per_s']:>8,.0f} requests/s  p50 {one['p50_ms']:,.2f} ms  p99 "
        f"{one['p99_ms']:,.2f} ms  slowest first answer {one['slowest_first_ms']:,.0f} ms  "
        f"{one['least_answers']:,.0f} to {one['most_answers']:,.0f} answers a connection  "
        f"the client's CPU {one['client_cpu_us']:,.0f} µs a request"
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
    print_progress(f"wrote {RESULT} and {PLOT}")


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


if __name__ == "__main__":
    main()
