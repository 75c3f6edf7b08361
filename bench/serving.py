"""Cairn and its peers side by side: one server core, load from another, one command.

python -m bench.serving                      all of it; writes bench/results/serving.*
python -m bench.serving --quick              one round of short cells; writes nothing
python -m bench.serving --only cairn,ceiling these alone; writes nothing
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
from bench.arguments import parsed
from bench.contenders import CAIRN, CONTENDERS, SLOW, Contender, check, environment, python
from bench.inputs import Inputs, fast, slow
from bench.load import Cell, Load, Run
from bench.machine import machine, versions
from bench.server import BenchError, Server, serving, wait

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
    """What Cairn has to reach: so many times a peer's requests/s, in `ONE`."""

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
class Started:
    """A contender that runs."""

    contender: Contender
    server: Server
    inputs: Inputs
    load_core: int

    def load(self, cell: Cell, seconds: float) -> Load:
        """Load it for some seconds."""
        path = self.contender.paths[0 if cell.rows == 1 else 1]
        bodies = self.inputs.bodies(self.contender.key, cell.rows)
        return load.load(self.server, path, bodies, cell, Run(seconds, self.load_core))


class Round(NamedTuple):
    """What one start of a contender gave."""

    cells: dict[str, Load]
    rss_mib: float
    log_bytes_per_request: float


def main() -> None:
    """Measure, print, and write the results if that was all of it."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    arguments = parsed("bench.serving", __doc__, everything())
    try:
        load.tools()
        plan = planned(quick=arguments.quick)
        result = measured(plan, arguments.only)
    except BenchError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
    report(result)
    if not arguments.quick and arguments.only == everything():
        write(result)


def everything() -> list[str]:
    """All that can be measured."""
    return [*CONTENDERS, *SECTIONS]


def planned(*, quick: bool) -> Plan:
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


def measured(plan: Plan, only: Sequence[str]) -> dict[str, Any]:
    """Everything that is asked for."""
    chosen = {name: one for name, one in CONTENDERS.items() if name in only}
    envs = ["cairn", *sorted({one.env for one in chosen.values()} - {"cairn"})]
    if "slow" in only and "peers" not in envs:
        envs.append("peers")
    pythons = {"cairn": Path(sys.executable)}
    pythons |= {name: environment(name, ENVIRONMENTS) for name in envs if name != "cairn"}
    result: dict[str, Any] = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "versions": {
            "wrk": load.version(),
            **{name: installed(one, VERSIONS[name]) for name, one in pythons.items()},
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
        if chosen or "memory" in only:
            say("a clean clone of HEAD, and its model by dvc repro")
            inputs = prepared(fast, Path(folder, "fast"))
            result["contenders"] = compared(chosen, CELLS, inputs, plan)
            if "memory" in only:
                result["memory"] = memory(inputs, plan)
        if "slow" in only:
            say("another, with a model of which a single row takes long")
            inputs = prepared(slow, Path(folder, "slow"))
            result["slow"] = compared(SLOW, SLOW_CELLS, inputs, plan)
    result["targets"] = targets(result)
    return result


def prepared(make: Any, folder: Path) -> Inputs:
    """The inputs of one section, in a folder of their own."""
    folder.mkdir()
    inputs: Inputs = make(folder)
    return inputs


def compared(
    contenders: Mapping[str, Contender], cells: Sequence[Cell], inputs: Inputs, plan: Plan
) -> dict[str, Any]:
    """Each contender's rounds, those that are repeated in turns, and their medians."""
    rounds: dict[str, list[Round]] = {name: [] for name in contenders}
    for number in range(plan.rounds):
        for name, contender in contenders.items():
            if number == 0 or contender.repeated:
                say(f"round {number + 1} of {plan.rounds}: {contender.title}")
                rounds[name].append(once(contender, cells, inputs, plan))
    return {
        name: {
            "title": contenders[name].title,
            "median": middle([one.cells for one in given]),
            "rss_mib": max(one.rss_mib for one in given),
            "log_bytes_per_request": median(one.log_bytes_per_request for one in given),
            "rounds": [one.cells for one in given],
        }
        for name, given in rounds.items()
    }


def once(contender: Contender, cells: Sequence[Cell], inputs: Inputs, plan: Plan) -> Round:
    """Start a contender, hold it to scikit-learn, warm it up and measure each cell."""
    with started(contender, inputs, plan) as running:
        server = running.server
        logged = server.log.stat().st_size
        taken = {}
        for cell in cells:
            taken[cell.name] = one = running.load(cell, plan.seconds)
            say(f"  {cell.name:<25}{line(one)}")
        written = server.log.stat().st_size - logged
        requests = sum(one["requests"] for one in taken.values())
        return Round(taken, server.rss_mib(), round(written / requests, 1))


@contextmanager
def started(contender: Contender, inputs: Inputs, plan: Plan) -> Iterator[Started]:
    """A contender that runs, is held to scikit-learn and warm."""
    model = inputs.models[contender.model]
    executable = python(contender, ENVIRONMENTS)
    variables = {**inputs.variables, "MODEL": str(model), **contender.variables}
    variables["PATH"] = f"{Path(executable).parent}:{os.environ['PATH']}"
    if contender.model == "mlflow" and not model.exists():
        saving = [executable, "-m", "bench.peers.mlflow_model", str(model)]
        environ = {**os.environ, **variables, "MODEL": str(inputs.models["forest"])}
        subprocess.run(saving, env=environ, capture_output=True, check=True)
    command = [executable, *(word.replace("{model}", str(model)) for word in contender.command)]
    folder = inputs.cairn if contender.env == "cairn" else Path()
    log = inputs.folder / "server.log"
    with serving(command, plan.server_core, folder, variables, log) as server:
        with inputs.bodies(contender.key, 1).open(encoding="utf-8") as lines:
            wait(server, contender.paths[0], next(lines))
        check(contender, server, inputs)
        running = Started(contender, server, inputs, plan.load_core)
        running.load(ONE, plan.warm_up)
        yield running


def middle(rounds: Sequence[dict[str, Load]]) -> dict[str, Load]:
    """Each figure's median over the rounds; of requests the sum."""
    return {cell: merged([one[cell] for one in rounds]) for cell in rounds[0]}


def merged(loads: Sequence[Load]) -> Load:
    """One cell over the rounds."""
    return Load(
        requests_per_s=median(one["requests_per_s"] for one in loads),
        rows_per_s=median(one["rows_per_s"] for one in loads),
        p50_ms=median(one["p50_ms"] for one in loads),
        p99_ms=median(one["p99_ms"] for one in loads),
        cpu_us=median(one["cpu_us"] for one in loads),
        requests=sum(one["requests"] for one in loads),
    )


def memory(inputs: Inputs, plan: Plan) -> dict[str, Any]:
    """Cairn's memory over many requests, at every STEP or a tenth of them."""
    say(f"Cairn's memory over {plan.requests:,} requests")
    step = min(STEP, plan.requests // 5)
    samples, done, rate = [], 0, 0.0
    with started(CAIRN, inputs, plan) as running:
        server = running.server
        samples.append({"requests": 0, "rss_mib": server.rss_mib()})
        while done < plan.requests:
            missing = step * len(samples) - done
            seconds = max(1, math.ceil(missing / rate)) if rate else 1
            one = running.load(ONE, seconds)
            done, rate = done + one["requests"], one["requests_per_s"]
            if done >= step * len(samples):
                samples.append({"requests": done, "rss_mib": server.rss_mib()})
                say(f"  {done:>9,} requests: {samples[-1]['rss_mib']:.1f} MiB")
    growth = round(samples[-1]["rss_mib"] - samples[1]["rss_mib"], 1)
    return {"samples": samples, "growth_mib": growth, "after_requests": samples[1]["requests"]}


def targets(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each target that can be judged: what was wanted, what came of it, and whether it holds."""
    given = {name: one["median"][ONE.name] for name, one in result.get("contenders", {}).items()}
    judged = []
    if "cairn" in given:
        mine = given["cairn"]
        for peer, times in TARGETS:
            if peer in given:
                ratio = mine["requests_per_s"] / given[peer]["requests_per_s"]
                name = f"requests/s over {CONTENDERS[peer].title}"
                judged.append(verdict(name, "at least", times, ratio))
        tail = mine["p99_ms"] / mine["p50_ms"]
        judged.append(verdict(f"p99 over p50, {ONE.name}", "at most", TAIL, tail))
    if "memory" in result:
        growth = result["memory"]["growth_mib"]
        judged.append(verdict("MiB of growth over the requests", "at most", FLAT_MIB, growth))
    return judged


def verdict(name: str, bound: str, wanted: float, got: float) -> dict[str, Any]:
    """One target, judged."""
    reached = got >= wanted if bound == "at least" else got <= wanted
    return {"name": name, bound.replace(" ", "_"): wanted, "got": round(got, 2), "reached": reached}


def report(result: Mapping[str, Any]) -> None:
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
                print(f"  {title:<50}{line(figures)}")
    print()
    for one in result["targets"]:
        wanted = f"at least {one['at_least']}" if "at_least" in one else f"at most {one['at_most']}"
        verb = "reached" if one["reached"] else "MISSED"
        print(f"  {one['name']:<62}{one['got']:>8,.2f}  {wanted:<14}{verb}")


def line(one: Load) -> str:
    """A cell's figures, for people."""
    return (
        f"{one['requests_per_s']:>8,.0f} requests/s{one['rows_per_s']:>9,.0f} rows/s"
        f"  p50 {one['p50_ms']:>8,.2f} ms  p99 {one['p99_ms']:>8,.2f} ms"
        f"  CPU {one['cpu_us']:>7,.0f} µs a request"
    )


def write(result: Mapping[str, Any]) -> None:
    """Write the results, and draw them."""
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    drawing: list[str | Path] = [
        environment("peers", ENVIRONMENTS),
        "-m",
        "bench.plot",
        RESULT,
        PLOT,
    ]
    subprocess.run(drawing, check=True)
    say(f"wrote {RESULT} and {PLOT}")


def commit() -> str:
    """The commit that is measured."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def installed(executable: Path, names: tuple[str, ...]) -> dict[str, str]:
    """Versions of these distributions in another environment."""
    if executable == Path(sys.executable):
        return versions(*names)
    program = "import json, sys; from bench.machine import versions; "
    program += "print(json.dumps(versions(*sys.argv[1:])))"
    command: list[str | Path] = [executable, "-c", program, *names]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return dict(json.loads(said))


def say(text: str) -> None:
    """Tell how far it is."""
    print(f"bench: {text}", flush=True)


if __name__ == "__main__":
    main()
