"""Paths of what each stage writes, from the top of the repository, and of the model store."""

import os
from pathlib import Path

RAW = Path("data/raw/table")

PROCESSED = Path("data/processed/table.parquet")
CONTRACT = Path("data/processed/contract.yaml")
REPORT = Path("data/processed/report.json")

TRAIN = Path("data/features/train.parquet")
TEST = Path("data/features/test.parquet")

# What `train` writes: the model, and a record of the training for `evaluate`.
MODEL = Path("data/model")
PIPELINE = MODEL / "pipeline.joblib"
ONNX = MODEL / "model.onnx"
MODEL_CONTRACT = MODEL / "contract.json"
ENVIRONMENT = MODEL / "environment.json"
TRAINING = MODEL / "training.json"

# What `evaluate` writes: how good the model is, for programs and for people.
EVALUATION_FOLDER = Path("data/evaluation")
EVALUATION = EVALUATION_FOLDER / "evaluation.json"
METRICS = EVALUATION_FOLDER / "metrics.json"
CARD = EVALUATION_FOLDER / "card.md"
PLOTS = EVALUATION_FOLDER / "plots"
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
