"""The leanest script that does the pipeline's work: python scale.py TABLE FOLDER.

It prints its scores, and then the seconds of its parts as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from pyarrow import csv
from skl2onnx import to_onnx
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import train_test_split

BATCH = 2**17
make_attribute = onnx.helper.make_attribute


def make_integer_attribute(key: str, value: Any) -> onnx.AttributeProto:
    """Make an attribute of booleans, which skl2onnx gives and protobuf 7 refuses, as integers."""
    is_of_flags = isinstance(value, list) and any(isinstance(each, bool) for each in value)
    return make_attribute(key, [int(each) for each in value] if is_of_flags else value)


def main() -> None:
    """Read, check, split, fit, convert, compare on every row, score, write."""
    times = [time.perf_counter()]
    table = csv.read_csv(sys.argv[1])
    classes = table["target"].to_numpy()
    rows = np.empty((len(table), table.num_columns - 1), np.float32)
    for index, name in enumerate(name for name in table.column_names if name != "target"):
        rows[:, index] = table[name].to_numpy()
    del table
    if not np.isfinite(rows).all():
        sys.exit("not finite")
    times.append(time.perf_counter())
    train, test, y_train, y_test = train_test_split(
        rows, classes, test_size=0.2, random_state=42, stratify=classes
    )
    del rows
    times.append(time.perf_counter())
    model = HistGradientBoostingClassifier(max_iter=100, early_stopping=False, random_state=42)
    model.fit(train, y_train)
    times.append(time.perf_counter())
    onnx.helper.make_attribute = make_integer_attribute  # type: ignore[assignment]
    graph = to_onnx(model, train[:1], options={"zipmap": False}).SerializeToString()
    Path(sys.argv[2], "model.onnx").write_bytes(graph)
    session = ort.InferenceSession(graph)
    check_and_predict(model, session, train)
    probabilities = check_and_predict(model, session, test)
    print(
        accuracy_score(y_test, probabilities > 0.5),  # noqa: PLR2004
        log_loss(y_test, probabilities),
        roc_auc_score(y_test, probabilities),
    )
    times.append(time.perf_counter())
    seconds = np.diff(times).round(1).tolist()
    print(json.dumps(dict(zip(("read", "split", "fit", "compare"), seconds, strict=True))))


def check_and_predict(
    model: HistGradientBoostingClassifier, session: ort.InferenceSession, rows: np.ndarray
) -> np.ndarray:
    """Return the probability of class 1, on which scikit-learn and ONNX must agree."""
    result = np.empty(len(rows), np.float32)
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        probabilities = session.run(None, {"X": batch})[1][:, 1]
        if np.abs(probabilities - model.predict_proba(batch)[:, 1]).max() > 1e-5:  # noqa: PLR2004
            sys.exit("ONNX says something else")
        result[start : start + BATCH] = probabilities
    return result


if __name__ == "__main__":
    main()
