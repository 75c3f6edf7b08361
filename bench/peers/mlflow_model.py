"""MLflow's model of the scikit-learn Pipeline in MODEL, for `mlflow models serve`."""

from __future__ import annotations

import os
import sys

import joblib
import mlflow


def main() -> None:
    """Save the model into the folder that is the first argument."""
    mlflow.sklearn.save_model(
        joblib.load(os.environ["MODEL"]),
        sys.argv[1],
        serialization_format="cloudpickle",
    )


if __name__ == "__main__":
    main()
