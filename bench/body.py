"""Measure where the time of a long body goes, in one process and without HTTP: the model's part.

python -m bench.body           writes bench/results/body.json
python -m bench.body --quick   shorter; writes nothing

The bounds are what the ceiling takes over what parts of the service take here: how much faster than
the ceiling a service with this model could be if HTTP took no time, and if it did nothing else but
read the body and run the model, or all that Cairn does.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from bench.arguments import parse_arguments
from bench.contenders import CAIRN
from bench.inputs import Inputs, make_fast_inputs
from bench.machine import describe_machine, read_versions
from bench.peers.onnx_bytes import open_predictor
from cairn.inference import Predictions
from cairn.paths import MODEL
from service.inference.many_rows import PredictedRows
from service.inference.predictor import Predictor
from service.inference.request_rows import RequestRows
from service.inference.runner import Features
from service.process.settings import MAX_ROWS
from service.telemetry.metrics import Layout, Metrics, open_table

RESULT = Path("bench/results/body.json")
SIZES = (100, 1000)
SECONDS = 0.1  # about, of a round
ROUNDS = 100
CEILING, MODEL_RUN, READING = "the ceiling", "ONNX Runtime", "reading the body"
WRITING, COUNTING = "writing the answer", "counting the rows"
# What a service does that is as fast as it can be: the least of all, and what Cairn ships.
BOUNDS = {
    "bound": (READING, MODEL_RUN),
    "bound_as_shipped": (READING, MODEL_RUN, WRITING, COUNTING),
}


def main() -> None:
    """Measure each part on one core, print, and write the result."""
    rounds = ROUNDS // 10 if parse_arguments("bench.body", __doc__).quick else ROUNDS
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        inputs = make_fast_inputs(Path(folder))
        microseconds = {rows: measure(inputs, rows, rounds) for rows in SIZES}
    result = {
        "machine": describe_machine(),
        "versions": read_versions("numpy", "onnxruntime", "orjson", "pysimdjson"),
        "microseconds": microseconds,
        **{
            key: {rows: compute_bound(times, parts) for rows, times in microseconds.items()}
            for key, parts in BOUNDS.items()
        },
    }
    print(json.dumps(result, indent=2))
    if rounds == ROUNDS:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def measure(inputs: Inputs, rows: int, rounds: int) -> dict[str, float]:
    """Return the CPU time of each part of a body of so many rows, microseconds."""
    os.environ |= {
        "MODEL": str(inputs.models["onnx"]),
        "COLUMNS": json.dumps(inputs.columns),
    }
    ceiling = open_predictor()
    predictor = Predictor(inputs.cairn / MODEL, "bench:0", {}, MAX_ROWS)
    layout = Layout(predictor.contract, ())
    metrics = Metrics(layout, open_table(layout, 1, None), 0, MAX_ROWS, {}, int)
    bodies = CAIRN.bodies(inputs, rows).read_bytes().splitlines()
    cases = [read_case(predictor, body) for body in bodies]
    parts: dict[str, Callable[[Case], object]] = {
        CEILING: lambda case: ceiling(case.body),
        READING: lambda case: predictor.read(case.body, keep_values=False),
        MODEL_RUN: lambda case: predictor.run(case.features),
        WRITING: lambda case: predictor.encode_answer(case.predictions, case.rows, "0" * 32),
        COUNTING: lambda case: metrics.add_rows(PredictedRows(case.features, case.predictions)),
    }
    microseconds = time_parts(parts, cases, rounds)
    return {name: round(each, 1) for name, each in microseconds.items()}


class Case(NamedTuple):
    """A body, and what is made of it on the way to its answer."""

    body: bytes
    rows: RequestRows
    features: Features
    predictions: Predictions


def read_case(predictor: Predictor, body: bytes) -> Case:
    """Read a body and predict from it."""
    rows, features = predictor.read(body, keep_values=False)
    return Case(body, rows, features, predictor.run(features))


def time_parts(
    parts: Mapping[str, Callable[[Case], object]], cases: list[Case], rounds: int
) -> dict[str, float]:
    """Return the CPU time of a call of each part, microseconds: the least of some rounds' means.

    Parts and bodies take turns, as they do in a service: with the same part and the same rows again
    and again all of it is in the processor's caches, and so are the ways through the trees.
    """
    time_round(parts, cases)
    first = time_round(parts, cases)
    repeats = max(1, int(SECONDS / (sum(first.values()) * len(cases))))
    all_rounds = [time_round(parts, cases * repeats) for _ in range(rounds)]
    return {name: min(means[name] for means in all_rounds) * 1e6 for name in parts}


def time_round(
    parts: Mapping[str, Callable[[Case], object]], cases: list[Case]
) -> dict[str, float]:
    """Return the mean CPU time of a call of each part, seconds."""
    sums = dict.fromkeys(parts, 0.0)
    for case in cases:
        for name, part in parts.items():
            start = time.thread_time()
            part(case)
            sums[name] += time.thread_time() - start
    return {name: total / len(cases) for name, total in sums.items()}


def compute_bound(microseconds: Mapping[str, float], parts: Sequence[str]) -> float:
    """Return what the ceiling takes over what these parts take."""
    return round(microseconds[CEILING] / sum(microseconds[part] for part in parts), 2)


if __name__ == "__main__":
    main()
