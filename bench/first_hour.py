"""The first hour: from a fresh clone and an empty home to the first right answer of `/predict`.

The steps are those of `make run`, RUNS times, each time in a clone of HEAD with a HOME of its own:
no environment, no cache of uv, pip or Matplotlib, no model. What is downloaded counts, from the
index that this machine is set to use; how far that is, the result cannot say.

python -m bench.first_hour           three runs; writes bench/results/first_hour.json
python -m bench.first_hour --quick   one run; writes nothing
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

import numpy as np

from bench.arguments import parse_arguments
from bench.machine import describe_machine, read_versions
from bench.pipeline import STAGES, clone
from bench.server import BenchError, Server, find_free_port, stop, wait
from cairn import inference
from cairn.contract import read_contract
from cairn.paths import MODEL_CONTRACT, ONNX, RAW

RUNS = 3
RESULT = Path("bench/results/first_hour.json")
TARGETS = ("install", "store", "repro", "push", "register")  # of `make run`, before it serves
ANSWER = "ready and the first right answer"
STEPS = ("install", "store", "dvc", *STAGES, "push", "register", ANSWER)
TOTAL = "all"
STAGE = re.compile(r"Running stage '(\w+)'")
LOG = "first_hour.log"
CLOSE = 1e-5  # between two probabilities
# A fresh machine's shell lacks these: this environment, and settings for another project.
OTHERS = re.compile(r"(AWS|BENTOML|MAKE|MFLAGS|MLFLOW|MODEL|OMP|OPENBLAS|VIRTUAL_ENV|XDG)")
Line = tuple[float, str]  # when it came, in seconds, and what it says


def main() -> None:
    """Measure RUNS times, and write each step's seconds and their medians."""
    number = 1 if parse_arguments("bench.first_hour", __doc__).quick else RUNS
    runs = []
    for run in range(number):
        print(f"bench: run {run + 1} of {number}", flush=True)
        runs.append(run_once())
        print(json.dumps(runs[-1]), flush=True)
    result = {
        "machine": describe_machine(),
        "versions": read_versions("bentoml", "dvc", "scikit-learn", "uv"),
        "start": "a fresh clone, an empty HOME, no .venv, no cache of packages",
        "seconds": {step: [run[step] for run in runs] for step in (*STEPS, TOTAL)},
        "median_seconds": compute_medians(runs),
    }
    print(json.dumps(result["median_seconds"], indent=2))
    if number == RUNS:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def compute_medians(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Compute the median of each step, and of the total, which is not their sum.

    >>> compute_medians([{"a": 1.0, "all": 3.0}, {"a": 2.0, "all": 9.0}, {"a": 4.0, "all": 4.0}])
    {'a': 2.0, 'all': 4.0}
    """
    return {step: round(median(run[step] for run in runs), 2) for step in runs[0]}


def run_once() -> dict[str, float]:
    """Take the steps once; the seconds of each."""
    with tempfile.TemporaryDirectory(prefix="bench-first-hour-") as name:
        home = Path(name, "home")
        home.mkdir()
        env = clean_variables(os.environ, home)
        start = time.perf_counter()
        folder = clone(Path(name, "cairn"))
        seconds: dict[str, float] = {}
        try:
            for target in TARGETS:
                begin = time.perf_counter()
                lines = run(["make", target], folder, env)
                took = time.perf_counter() - begin
                seconds |= split_by_stage(lines, took) if target == "repro" else {target: took}
            begin = time.perf_counter()
            end = serve(folder, env)
        finally:
            subprocess.run(["make", "store-down"], cwd=folder, env=env, check=False)
    seconds |= {ANSWER: end - begin, TOTAL: end - start}
    return {step: round(took, 2) for step, took in seconds.items()}


def clean_variables(environment: Mapping[str, str], home: Path) -> dict[str, str]:
    """Return the variables of a new user: another home, and nothing set for Cairn.

    Which index packages come from, and how it is reached, stays as it is.
    """
    own = str(Path(sys.prefix, "bin"))
    path = [each for each in environment["PATH"].split(os.pathsep) if each != own]
    variables = {name: value for name, value in environment.items() if not OTHERS.match(name)}
    return {**variables, "HOME": str(home), "PATH": os.pathsep.join(path)}


def run(command: Sequence[str], folder: Path, env: Mapping[str, str]) -> list[Line]:
    """Run a command; return its lines, each with its time in seconds since the start."""
    start, lines = time.perf_counter(), list[Line]()
    with subprocess.Popen(
        command,
        cwd=folder,
        env=env,
        stdout=subprocess.PIPE,
        # The store is not to keep the pipe open: it stays when the command has ended.
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout  # noqa: S101 - it is a pipe
        lines.extend((time.perf_counter() - start, line) for line in process.stdout)
    if process.returncode:
        output = "".join(line for _, line in lines)
        raise BenchError(f"{' '.join(command)} ended with {process.returncode}:\n{output}")
    return lines


def split_by_stage(lines: Iterable[Line], took: float) -> dict[str, float]:
    """Split the seconds by stage, and DVC's before the first of them.

    What DVC does after a stage, such as to hash what came out of it, counts with that stage.

    >>> split_by_stage([(1.0, "Running stage 'raw':"), (3.0, "Running stage 'x':")], 7)
    {'dvc': 1.0, 'raw': 2.0, 'x': 4.0}
    """
    starts = [(when, match[1]) for when, line in lines if (match := STAGE.search(line))]
    names = ["dvc", *(name for _, name in starts)]
    times = [0.0, *(when for when, _ in starts), float(took)]
    return {name: times[at + 1] - times[at] for at, name in enumerate(names)}


def serve(folder: Path, env: Mapping[str, str]) -> float:
    """Serve, until the first answer; return when it came, by `time.perf_counter`.

    The service drains for seconds before it ends, which nobody waits for. A BenchError where the
    answer is not the right one.
    """
    port, log = find_free_port(), folder / LOG
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["make", "serve", f"PORT={port}"],
            cwd=folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        server, row = Server(port, process, log), read_first_row(folder)
        body = json.dumps({"features": row})
        wait(server, "/predict", body, pause=0.05)
        _, content = server.post("/predict", body)
        end = time.perf_counter()
    finally:
        stop(process)
    if not is_right(json.loads(content), row, folder):
        raise BenchError(f"/predict answered {content.decode()}, and not as the model does")
    return end


def read_first_row(folder: Path) -> list[float]:
    """Read the first row of the table, without the target, which is its last column."""
    lines = (folder / RAW).read_text(encoding="utf-8").splitlines()
    return [float(value) for value in lines[1].split(",")[:-1]]


def is_right(answer: Mapping[str, object], row: Sequence[float], folder: Path) -> bool:
    """Whether the service says what the graph in data/model does."""
    graph = inference.open_session((folder / ONNX).read_bytes())
    predictions = inference.predict(graph, np.array([row], dtype=np.float32))
    label = read_contract(folder / MODEL_CONTRACT).target.classes[int(predictions.labels[0])]
    confidence = answer["confidence"]
    return (
        answer["prediction"] == label
        and isinstance(confidence, float)
        and abs(confidence - float(predictions.confidences[0])) < CLOSE
    )


if __name__ == "__main__":
    main()
