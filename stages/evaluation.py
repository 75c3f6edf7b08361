"""Do the work of the stage `evaluate`, once its processes are on their way."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from cairn import provenance
from cairn.compute import processes
from cairn.compute.engine import open_engine
from cairn.compute.processes import Run, here
from cairn.console import say
from cairn.contract import read_contract
from cairn.evaluation import card, drawing
from cairn.evaluation.evaluate import Data, Model, Params, Result, evaluate, headline
from cairn.evaluation.records import TableReport
from cairn.modeling.feature_rows import read_rows
from cairn.modeling.frame_pipeline import FramePipeline
from cairn.modeling.records import read_training
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.evaluate import Evaluate
from cairn.params.train import Train
from cairn.paths import (
    CARD,
    CONTRACT,
    ENVIRONMENT,
    EVALUATION,
    METRICS,
    MODEL_CONTRACT,
    ONNX,
    PICTURES,
    PIPELINE,
    PLOTS,
    REPORT,
    TEST,
    TRAIN,
    TRAINING,
)
from cairn.releases import bento_store, mlflow

PARTS = {"train": TRAIN, "test": TEST}


def main() -> None:
    """Turn data/model into data/evaluation, and register both."""
    train, own, compute = read_params(Train, Evaluate, Compute)
    params = Params(train, own)
    provenance.find_commit()  # if git refuses, this fails before the work, and not after it
    # More threads than one may add in another order, and the last bits would depend on that.
    with (
        threadpool_limits(1),
        open_engine(compute) as engine,
        processes.pool() as run,
        ThreadPoolExecutor(1, "hash") as thread,  # hashing takes one core's time, and not Python's
    ):
        hashes = thread.submit(hash_inputs)
        model = read_model()
        target = model.contract.target.name
        result = evaluate(
            Data(
                lambda part, only: read_rows("evaluate", PARTS[part], target, only),
                read_report(),
            ),
            model,
            params,
            engine,
            run,
        )
        save(result, model, params.train, hashes.result(), run)
    evaluation = result.evaluation
    say(f"evaluate: {headline(evaluation.test, evaluation.rows.test)}")
    blocks = {"train": params.train, "evaluate": params.evaluate}
    chain = provenance.trace_new(
        {name: block.model_dump(by_alias=True) for name, block in blocks.items()}
    )
    tag = bento_store.register(chain)
    say(f"evaluate: registered as {tag}")
    mlflow.track(tag, chain)


def read_model() -> Model:
    """Read data/model."""
    model: FramePipeline = joblib.load(PIPELINE)
    contract = read_contract(MODEL_CONTRACT)
    return Model(model.pipeline, ONNX.read_bytes(), contract, read_training(TRAINING))


def read_report() -> TableReport | None:
    """Read how many rows the table has and which were set aside; None where nobody wrote it."""
    if not REPORT.exists():
        return None
    report = json.loads(REPORT.read_text("utf-8"))
    return TableReport(
        **{name: report[name] for name in ("rows", "set_aside", "problems", "notes")}
    )


def hash_inputs() -> dict[str, str]:
    """Hash what the model was made of: path → MD5, as DVC has it."""
    return {path.as_posix(): provenance.hash_file(path, "md5") for path in (CONTRACT, TRAIN, TEST)}


def save(
    result: Result, model: Model, train: Train, hashes: dict[str, str], run: Run = here
) -> None:
    """Write data/evaluation."""
    PLOTS.mkdir(parents=True, exist_ok=True)
    write_json(result.metrics, METRICS)
    write_json(result.evaluation.as_json(), EVALUATION)
    versions = json.loads(ENVIRONMENT.read_bytes())
    text = card.write_card(model.contract, train, result.evaluation, versions, hashes)
    CARD.write_text(text, "utf-8")
    for name, frame in result.points.items():
        frame.to_csv(PLOTS / f"{name}.csv", index=False, lineterminator="\n")
    draw = partial(drawing.draw, result.points, result.evaluation, model.contract)
    for name, picture in zip(PICTURES, run(draw, PICTURES), strict=True):
        (PLOTS / f"{name}.png").write_bytes(picture)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON that a person can read and git can compare."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
