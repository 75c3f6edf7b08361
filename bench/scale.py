"""Any size: time and memory of the pipeline as rows grow, beside the leanest single script.

python -m bench.scale                    1, 3 and 11 million rows × 28; writes bench/results/scale.*
python -m bench.scale --quick            a tenth of these; writes nothing
python -m bench.scale --only 1000000     only these rows; writes nothing
"""

from __future__ import annotations

import datetime as dt
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil
import pyarrow as pa
from pyarrow import csv

from bench.arguments import parse_arguments
from bench.contenders import create_environment
from bench.machine import describe_machine, read_versions
from bench.pipeline import clone
from cairn.paths import CONTRACT
from cairn.yaml_text import format_yaml, read_yaml

ENVIRONMENTS = Path("build/bench").absolute()
RESULT = Path("bench/results/scale.json")
PLOT = RESULT.with_suffix(".svg")
SCRIPT = Path("bench/peers/scale.py").absolute()
ROWS, COLUMNS = (1_000_000, 3_000_000, 11_000_000), 28  # the last is HIGGS's shape
PIECE = 250_000
MODEL = {
    "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
    "arguments": {"max_iter": 100, "early_stopping": False},
}
STAGE = re.compile(r"-m stages\.(\w+)|peers/scale\.py")
PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
EVERY = 0.05
LOG = "output.log"
KIB_PER_GIB = 2**20


class Cost(NamedTuple):
    """The cost of a command.

    Attributes
    ----------
    seconds
        From its start to its end.
    peaks
        Process → the most memory that it had resident, in GiB.
    stages
        Stage → seconds; none for the script.
    """

    seconds: float
    peaks: dict[str, float]
    stages: dict[str, float]


def main() -> None:
    """Measure each size, print it, and write the result."""
    arguments = parse_arguments("bench.scale", __doc__, [str(rows) for rows in ROWS])
    sizes = [int(rows) // (10 if arguments.quick else 1) for rows in arguments.only]
    results = {}
    for rows in sizes:
        results[str(rows)] = measure(rows)
        print(json.dumps(results[str(rows)], indent=2), flush=True)
    if arguments.quick or len(sizes) < len(ROWS):
        return
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": read_commit(),
        "machine": describe_machine(),
        "versions": read_versions("dvc", "onnxruntime", "pyarrow", "scikit-learn", "skl2onnx"),
        "columns": COLUMNS,
        "model": MODEL,
        "rows": results,
        "seconds_per_million_rows": {
            way: fit_slope(results, way) for way in ("script", "pipeline")
        },
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    drawing = (create_environment("peers", ENVIRONMENTS), "-m", "bench.plot_scale", RESULT, PLOT)
    subprocess.run(drawing, check=True)


def read_commit() -> str:
    """Read the commit that is measured."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def fit_slope(results: dict[str, Any], way: str) -> float:
    """Seconds that a million more rows take, by least squares."""
    seconds = [one[way]["seconds"] for one in results.values()]
    millions = [int(rows) / 1e6 for rows in results]
    return round(float(np.polyfit(millions, seconds, 1)[0]), 2)


def measure(rows: int) -> dict[str, Any]:
    """Both ways with so many rows, one after the other, each from nothing but the table."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        folder, table = Path(name), Path(name, "table.csv")
        print(f"bench: making {rows:,} rows × {COLUMNS}", flush=True)
        write_table(table, rows)
        print(f"bench: the script, {table.stat().st_size:,} bytes of CSV", flush=True)
        script = run_measured([sys.executable, str(SCRIPT), str(table), name], folder)
        *_, parts = (folder / LOG).read_text(encoding="utf-8").splitlines()
        print(f"bench: the script took {script.seconds:.1f} s; dvc repro", flush=True)
        pipeline = run_measured(["dvc", "repro"], create_project(folder, table))
        return {
            "csv_bytes": table.stat().st_size,
            "script": {
                "seconds": round(script.seconds, 1),
                "parts_seconds": json.loads(parts),
                "peak_gib": script.peaks["script"],
            },
            "pipeline": {
                "seconds": round(pipeline.seconds, 1),
                "stages_seconds": pipeline.stages,
                # DVC hashes and copies what the stages write, and starts them.
                "dvc_seconds": round(pipeline.seconds - sum(pipeline.stages.values()), 1),
                "stages_peak_gib": pipeline.peaks,
            },
            "pipeline_over_script": round(pipeline.seconds / script.seconds, 2),
        }


def write_table(path: Path, rows: int) -> None:
    """Write a table of HIGGS's shape: float32 columns, and two classes that depend on some."""
    random = np.random.default_rng(0)
    names = ["target", *(f"x{index:02d}" for index in range(COLUMNS))]
    writer = None
    for start in range(0, rows, PIECE):
        size = min(PIECE, rows - start)
        x = random.normal(size=(size, COLUMNS)).astype(np.float32)
        signal = x[:, 0] * x[:, 1] + x[:, 2] + np.sin(2 * x[:, 3])
        y = (signal + random.normal(size=size) > 0).astype(np.int64)
        piece = pa.table([y, *x.T], names=names)
        writer = writer or csv.CSVWriter(path, piece.schema)
        writer.write_table(piece)
    if writer:
        writer.close()


def create_project(folder: Path, table: Path) -> Path:
    """Create a clean clone of HEAD whose params name the table, without a contract."""
    into = clone(folder / "cairn")
    params = read_yaml(into / "params.yaml", "the clone lacks it")
    params["raw"]["source"] = str(table)
    params["train"] |= MODEL
    (into / "params.yaml").write_text(format_yaml(params), encoding="utf-8")
    (into / CONTRACT).unlink()
    return into


def run_measured(command: list[str], folder: Path) -> Cost:
    """Run a command to its end, watching its processes; its output goes into a file beside it."""
    env = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    peaks: dict[str, int] = defaultdict(int)
    seen: dict[str, list[float]] = {}
    start = time.perf_counter()
    with (folder / LOG).open("wb") as log:
        child = psutil.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        while child.poll() is None:
            for name, peak in iterate_memory(child):
                peaks[name] = max(peaks[name], peak)
                seen.setdefault(name, [time.perf_counter()] * 2)[1] = time.perf_counter()
            time.sleep(EVERY)
    seconds = time.perf_counter() - start
    if child.returncode:
        sys.exit((folder / LOG).read_text(encoding="utf-8"))
    return Cost(
        seconds,
        {name: round(peak / KIB_PER_GIB, 2) for name, peak in peaks.items()},
        {name: round(last - first, 1) for name, (first, last) in seen.items()},
    )


def iterate_memory(child: psutil.Popen) -> Iterator[tuple[str, int]]:
    """Yield the running stages, or the script, each with its peak resident KiB so far."""
    for process in (child, *child.children(recursive=True)):
        try:
            words = " ".join(process.cmdline())
            status = Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8")
        except (psutil.NoSuchProcess, psutil.ZombieProcess, OSError):
            continue
        name = STAGE.search(words)
        peak = PEAK.search(status)
        if name and peak and not words.startswith("/bin/sh"):
            yield name[1] or "script", int(peak[1])


if __name__ == "__main__":
    main()
