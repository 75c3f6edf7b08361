"""Measure where the time of a long body goes, in one process and without HTTP: the model's part.

python -m bench.body           writes bench/results/body.json
python -m bench.body --quick   shorter; writes nothing

The bound is what the ceiling takes over what the model and the reading of the body take here: how
much faster than the ceiling a service with this model could be if it did nothing else at all.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench.arguments import parse_arguments
from bench.contenders import CAIRN
from bench.inputs import Inputs, make_fast_inputs
from bench.machine import describe_machine, read_versions
from bench.peers.onnx_bytes import open_predictor
from cairn.paths import MODEL
from service.inference.many_rows import PredictedRows
from service.inference.predictor import Predictor
from service.process.settings import MAX_ROWS
from service.telemetry.metrics import Layout, Metrics, open_table

RESULT = Path("bench/results/body.json")
SIZES = (100, 1000)
SECONDS = 0.02  # about, of a round
ROUNDS = 100
CEILING, MODEL_RUN, READING = "the ceiling", "ONNX Runtime", "reading the body"
WRITING, COUNTING = "writing the answer", "counting the rows"


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
        "bound": {rows: compute_bound(parts) for rows, parts in microseconds.items()},
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
    body = CAIRN.bodies(inputs, rows).read_bytes().splitlines()[0]
    request_rows, features = predictor.read(body, keep_values=False)
    predictions = predictor.run(features)
    parts: dict[str, Callable[[], object]] = {
        CEILING: lambda: ceiling(body),
        MODEL_RUN: lambda: predictor.run(features),
        READING: lambda: predictor.read(body, keep_values=False),
        WRITING: lambda: predictor.encode_answer(predictions, request_rows, "0" * 32),
        COUNTING: lambda: metrics.count_rows(PredictedRows(features, predictions)),
    }
    return {name: round(time_part(part, rounds), 1) for name, part in parts.items()}


def time_part(part: Callable[[], object], rounds: int) -> float:
    """Return the CPU time of a call, microseconds: the least of some rounds of many calls."""
    start = time.thread_time()
    part()
    calls = max(1, int(SECONDS / (time.thread_time() - start)))
    return min(time_calls(part, calls) for _ in range(rounds)) * 1e6


def time_calls(part: Callable[[], object], calls: int) -> float:
    """Return the CPU time of a call, seconds."""
    start = time.thread_time()
    for _ in range(calls):
        part()
    return (time.thread_time() - start) / calls


def compute_bound(microseconds: dict[str, float]) -> float:
    """Return what the ceiling takes over the least that a service must."""
    least = microseconds[MODEL_RUN] + microseconds[READING]
    return round(microseconds[CEILING] / least, 2)


if __name__ == "__main__":
    main()
