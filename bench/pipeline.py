"""Measure what DVC costs: `dvc repro` against the scripts run by hand, and with nothing to do.

python -m bench.pipeline           five runs in turns; writes bench/results/pipeline.json
python -m bench.pipeline --quick   one run; writes nothing
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from bench.arguments import parse_arguments
from bench.machine import describe_machine, read_versions

RUNS = 5
RESULT = Path("bench/results/pipeline.json")
STAGES = ("raw", "processed", "features", "train", "evaluate")
COLD, HAND, NOTHING = "dvc repro, cold", "five scripts by hand", "dvc repro, nothing to do"


def main() -> None:
    """Time each way RUNS times, in turns, in clean clones, and write the medians."""
    runs = 1 if parse_arguments("bench.pipeline", __doc__).quick else RUNS
    seconds_by_way: dict[str, list[float]] = {COLD: [], HAND: [], NOTHING: []}
    for run in range(runs):
        print(f"bench: run {run + 1} of {runs}", flush=True)
        for name, seconds in run_once().items():
            seconds_by_way[name].append(seconds)
    medians = {name: round(median(times), 2) for name, times in seconds_by_way.items()}
    result = {
        "machine": describe_machine(),
        "versions": read_versions("dvc", "scikit-learn", "skl2onnx"),
        "seconds": {name: [round(t, 2) for t in times] for name, times in seconds_by_way.items()},
        "median_seconds": medians,
        "dvc_over_hand": round(medians[COLD] / medians[HAND], 3),
    }
    print(json.dumps(medians, indent=2))
    if runs == RUNS:
        RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


def run_once() -> dict[str, float]:
    """One run of each way, in seconds, each in a clean clone of HEAD."""
    with tempfile.TemporaryDirectory() as folder:
        by_dvc, by_hand = clone(Path(folder, "dvc")), clone(Path(folder, "hand"))
        return {
            HAND: time_commands(
                by_hand, *([sys.executable, "-m", f"stages.{name}"] for name in STAGES)
            ),
            COLD: time_commands(by_dvc, ["dvc", "repro"]),
            NOTHING: time_commands(by_dvc, ["dvc", "repro"]),
        }


def clone(into: Path) -> Path:
    """Make a clean clone of HEAD, without data."""
    subprocess.run(["git", "clone", "--quiet", ".", into], check=True)
    return into


def time_commands(folder: Path, *commands: list[str]) -> float:
    """Seconds that the commands take, one after the other, with a model store of their own."""
    env = {**os.environ, "BENTOML_HOME": str(folder / "bentoml"), "BENTOML_DO_NOT_TRACK": "True"}
    start = time.perf_counter()
    for command in commands:
        subprocess.run(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(folder / "bentoml", ignore_errors=True)
    return seconds


if __name__ == "__main__":
    main()
