"""Paths of what each stage writes, from the top of the repository, and of the model store."""

import os
from pathlib import Path

RAW = Path("data/raw/table")

PROCESSED = Path("data/processed/table.parquet")
CONTRACT = Path("data/processed/contract.yaml")
REPORT = Path("data/processed/report.json")

TRAIN = Path("data/features/train.parquet")
TEST = Path("data/features/test.parquet")

MODEL = Path("data/model")
PIPELINE = MODEL / "pipeline.joblib"
ONNX = MODEL / "model.onnx"
MODEL_CONTRACT = MODEL / "contract.json"
METRICS = MODEL / "metrics.json"
ENVIRONMENT = MODEL / "environment.json"
EVALUATION = MODEL / "evaluation.json"
CARD = MODEL / "card.md"
PLOTS = MODEL / "plots"
# Each has its points in PLOTS/NAME.csv and the drawing in PLOTS/NAME.png.
PICTURES = (
    "confusion",
    "roc",
    "precision_recall",
    "calibration",
    "importance",
    "learning",
    "dependence",
    "search",
)


def model_store() -> Path:
    """Return the folder of the models in the BentoML store, which may not exist yet."""
    home = os.path.expandvars(os.environ.get("BENTOML_HOME", "~/bentoml"))
    return Path(home).expanduser() / "models"
