"""Any size: time and memory of the pipeline as rows grow, beside the leanest single script.

python -m bench.scale                    1, 3 and 11 million rows × 28; writes bench/results/scale.*
python -m bench.scale --quick            a tenth of these; writes nothing
python -m bench.scale --only 1000000     these rows alone; writes nothing
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

from bench.arguments import parsed
from bench.contenders import environment
from bench.machine import machine, versions
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
KIB_PER_GIB = 2**20


class Taken(NamedTuple):
    """What a command took.

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
    arguments = parsed("bench.scale", __doc__, [str(rows) for rows in ROWS])
    sizes = [int(rows) // (10 if arguments.quick else 1) for rows in arguments.only]
    found = {}
    for rows in sizes:
        found[str(rows)] = measured(rows)
        print(json.dumps(found[str(rows)], indent=2), flush=True)
    if arguments.quick or len(sizes) < len(ROWS):
        return
    result = {
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "commit": head(),
        "machine": machine(),
        "versions": versions("dvc", "onnxruntime", "pyarrow", "scikit-learn", "skl2onnx"),
        "columns": COLUMNS,
        "model": MODEL,
        "rows": found,
        "seconds_per_million_rows": {way: slope(found, way) for way in ("script", "pipeline")},
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    drawing = (environment("peers", ENVIRONMENTS), "-m", "bench.plot_scale", RESULT, PLOT)
    subprocess.run(drawing, check=True)


def head() -> str:
    """The commit that is measured."""
    command = ["git", "rev-parse", "HEAD"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def slope(found: dict[str, Any], way: str) -> float:
    """Seconds that a million more rows take, by least squares."""
    seconds = [one[way]["seconds"] for one in found.values()]
    millions = [int(rows) / 1e6 for rows in found]
    return round(float(np.polyfit(millions, seconds, 1)[0]), 2)


def measured(rows: int) -> dict[str, Any]:
    """Both ways with so many rows, one after the other, each from nothing but the table."""
    with tempfile.TemporaryDirectory(prefix="bench-scale-") as name:
        folder, table = Path(name), Path(name, "table.csv")
        print(f"bench: making {rows:,} rows × {COLUMNS}", flush=True)
        generate(table, rows)
        print(f"bench: the script, {table.stat().st_size:,} bytes of CSV", flush=True)
        script = taken([sys.executable, str(SCRIPT), str(table), name], folder)
        print(f"bench: the script took {script.seconds:.1f} s; dvc repro", flush=True)
        pipeline = taken(["dvc", "repro"], project(folder, table))
        return {
            "csv_bytes": table.stat().st_size,
            "script": {"seconds": round(script.seconds, 1), "peak_gib": script.peaks["script"]},
            "pipeline": {
                "seconds": round(pipeline.seconds, 1),
                "stages_seconds": pipeline.stages,
                "stages_peak_gib": pipeline.peaks,
            },
            "pipeline_over_script": round(pipeline.seconds / script.seconds, 2),
        }


def generate(path: Path, rows: int) -> None:
    """A table of HIGGS's shape: float32 columns, two classes that some of them tell apart."""
    random = np.random.default_rng(0)
    names = ["target", *(f"x{place:02d}" for place in range(COLUMNS))]
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


def project(folder: Path, table: Path) -> Path:
    """A clean clone of HEAD whose params name the table, with a contract still to be inferred."""
    into = clone(folder / "cairn")
    knobs = read_yaml(into / "params.yaml", "the clone lacks it")
    knobs["raw"]["source"] = str(table)
    knobs["train"] |= MODEL
    (into / "params.yaml").write_text(format_yaml(knobs), encoding="utf-8")
    (into / CONTRACT).unlink()
    return into


def taken(command: list[str], folder: Path) -> Taken:
    """Run a command to its end, watching its processes; its output goes into a file beside it."""
    env = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    peaks: dict[str, int] = defaultdict(int)
    seen: dict[str, list[float]] = {}
    start = time.perf_counter()
    with (folder / "output.log").open("wb") as log:
        child = psutil.Popen(command, cwd=folder, env=env, stdout=log, stderr=log)
        while child.poll() is None:
            for name, peak in resident(child):
                peaks[name] = max(peaks[name], peak)
                seen.setdefault(name, [time.perf_counter()] * 2)[1] = time.perf_counter()
            time.sleep(EVERY)
    seconds = time.perf_counter() - start
    if child.returncode:
        sys.exit((folder / "output.log").read_text(encoding="utf-8"))
    return Taken(
        seconds,
        {name: round(peak / KIB_PER_GIB, 2) for name, peak in peaks.items()},
        {name: round(last - first, 1) for name, (first, last) in seen.items()},
    )


def resident(child: psutil.Popen) -> Iterator[tuple[str, int]]:
    """The stages, or the script, that run, each with the most KiB it has had resident so far."""
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
