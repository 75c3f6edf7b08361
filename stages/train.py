"""train: fit one Pipeline, export it to ONNX, and prove that both agree on every row."""

from __future__ import annotations

import json
from importlib import metadata
from pathlib import Path
from typing import Any

import joblib
from threadpoolctl import threadpool_limits

from cairn import console
from cairn.compute import processes
from cairn.compute.engine import open_engine
from cairn.contract import write_contract
from cairn.modeling import training
from cairn.modeling.feature_rows import read_rows
from cairn.modeling.frame_pipeline import FramePipeline
from cairn.modeling.training import Data, Model
from cairn.params.base import read_params
from cairn.params.compute import Compute
from cairn.params.train import Train
from cairn.paths import (
    CONTRACT,
    ENVIRONMENT,
    MODEL_CONTRACT,
    ONNX,
    PIPELINE,
    TEST,
    TRAIN,
    TRAINING,
)
from cairn.tables import contract_file
from cairn.transform import Engineering
from stages import engineering

ENGINEERING = Engineering(engineering)
PARTS = {"train": TRAIN, "test": TEST}


def main() -> None:
    """Turn data/features into data/model."""
    (params, compute), contract = read_params(Train, Compute), contract_file.read(CONTRACT)
    if params.threshold:  # its folds run in processes, which can import meanwhile
        processes.prepare("cairn.modeling.out_of_fold")
    # More threads than one may add in another order, and the last bits would depend on that.
    with (
        threadpool_limits(1),
        open_engine(compute) as engine,
        processes.pool() as run,
    ):
        model = training.train(
            Data(
                lambda part: read_rows("train", PARTS[part], contract.target.name),
                contract,
                ENGINEERING.sha256,
            ),
            params,
            engine,
            run,
        )
    save(model)


def save(model: Model) -> None:
    """Write data/model."""
    ONNX.parent.mkdir(parents=True, exist_ok=True)
    joblib.dump(FramePipeline(model.contract, model.pipeline, ENGINEERING), PIPELINE)
    ONNX.write_bytes(model.graph)
    write_contract(model.contract, MODEL_CONTRACT)
    write_json(model.training.as_json(), TRAINING)
    versions = {name: metadata.version(name) for name in training.libraries(model.pipeline)}
    write_json(versions, ENVIRONMENT)


def write_json(content: dict[str, Any], path: Path) -> None:
    """Write JSON that a person can read and git can compare."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    console.run(main)
