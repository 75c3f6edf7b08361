"""What BentoML's own client reads about the service, so that it can send what its users have.

The client encodes an argument by its type in `/schema.json`, and BentoML's own types for lists
leave a NumPy array as it is, which no JSON holds, and take a DataFrame for its columns' names. So
`/predict` has the arguments that `service.inference.shapes` reads. All else is what BentoML says
of the class in `service.service`, written down so that no worker has to import BentoML for it.
"""

from __future__ import annotations

from typing import Any

# An array, or a list of lists, row by row; `object_` leaves each value its type.
FEATURES = {
    "title": "Features",
    "type": "array",
    "items": {"type": "tensor", "format": "numpy-array", "dtype": "object_"},
    "default": None,
}
# Anything that is JSON already: a list of dictionaries, or one of them.
RECORDS = {"title": "Records", "default": None}
FRAME = {"title": "Dataframe", "type": "dataframe", "orient": "records", "default": None}
ARGUMENTS = {"features": FEATURES, "records": RECORDS, "dataframe": FRAME}
PREDICT = {
    "name": "predict",
    "route": "/predict",
    "batchable": False,
    "input": {"properties": ARGUMENTS, "title": "Input", "type": "object"},
    "output": {"additionalProperties": True, "type": "object"},
    "is_task": False,
}
SCHEMA: dict[str, Any] = {
    "name": "cairn",
    "type": "service",
    "routes": [PREDICT],
    "description": "Predictions of the model that dvc.lock names.",
    "paths": {"/predict": {"mounted": False}},
}
