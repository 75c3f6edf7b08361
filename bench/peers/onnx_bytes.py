"""What the bare functions share: a body's bytes to an answer's, by ONNX Runtime, with no check."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from operator import itemgetter

import numpy as np
import onnxruntime as ort
import orjson


def open_predictor() -> Callable[[bytes], bytes]:
    """Load the model in MODEL; COLUMNS has the names, in order, that a record is read by."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(os.environ["MODEL"], options)
    read_record = itemgetter(*json.loads(os.environ["COLUMNS"]))

    def predict(body: bytes) -> bytes:
        content = orjson.loads(body)
        rows = content.get("features")
        if rows is None:
            rows = list(map(read_record, content["records"]))
        features = np.array(rows, dtype=np.float32)
        labels, probabilities = session.run(None, {"features": np.atleast_2d(features)})
        if features.ndim == 1:
            answer = {
                "prediction": int(labels[0]),
                "confidence": probabilities[0].max(),
                "probabilities": probabilities[0],
            }
        else:
            answer = {
                "predictions": labels,
                "confidences": probabilities.max(axis=1),
                "probabilities": probabilities,
            }
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)

    return predict
