"""Where each stage keeps what it makes, from the top of the repository, and where models end up."""

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
# Of each, its points as PLOTS/NAME.csv and the drawing as PLOTS/NAME.png.
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
    """The folder of the models in the BentoML store, which need not be there yet."""
    home = os.path.expandvars(os.environ.get("BENTOML_HOME", "~/bentoml"))
    return Path(home).expanduser() / "models"
