"""What BentoML's own client reads about `/predict`, so that it can send what its users have.

The client encodes an argument by its type in `/schema.json`, and BentoML's own types for lists
leave a NumPy array as it is, which no JSON holds, and take a DataFrame for its columns' names.
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


def make_client_schema(schema: dict[str, Any]) -> dict[str, Any]:
    """BentoML's schema of the service, with the arguments that `service.inference.shapes` reads.

    Parameters
    ----------
    schema
        What `Service.schema()` gives.
    """
    routes = [
        {**route, "input": {**route["input"], "properties": ARGUMENTS}}
        if route["route"] == "/predict"
        else route
        for route in schema["routes"]
    ]
    return {**schema, "routes": routes}
