"""Describe who is measured and how each is started, and check its answers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from pathlib import Path
from typing import Any

import numpy as np

from bench.inputs import Inputs, Shape
from bench.server import BenchError, Server

TOLERANCE = 1e-5
UVICORN = ("-m", "uvicorn", "--host", "127.0.0.1", "--port", "{port}", "--factory")
TUNED = (*UVICORN, "--loop", "uvloop", "--http", "httptools", "--no-access-log")
BENTOML = ("-m", "bentoml", "serve", "--host", "127.0.0.1", "--port", "{port}")
GUNICORN = ("-m", "gunicorn", "--bind", "127.0.0.1:{port}", "--threads", "4")
GRANIAN = ("-m", "granian", "--host", "127.0.0.1", "--port", "{port}", "--factory", "--no-log")
MLFLOW = ("-m", "mlflow", "models", "serve", "--env-manager", "local", "--host", "127.0.0.1")


@dataclass(frozen=True)
class Contender:
    """One way to serve a model.

    Attributes
    ----------
    title
        What people read.
    command
        What its Python is started with.
    model
        Kind of the model file that it serves, a key of `Inputs.models`.
    env
        Its environment: `cairn`, `peers`, `bentoml` or `mlflow`.
    paths
        Where one row goes, and where many go.
    shapes
        How it takes rows, besides `plain`.
    key
        The key of the rows in the body.
    repeated
        Whether it is measured in every round: those that a narrow target compares.
    workers
        What starts it with two workers: added to the command; None: it is not measured so.
    variables
        Environment variables for it.
    """

    title: str
    command: tuple[str, ...]
    model: str
    env: str = "peers"
    paths: tuple[str, str] = ("/predict", "/predict")
    shapes: tuple[Shape, ...] = ("plain",)
    key: str = "features"
    repeated: bool = False
    workers: tuple[str, ...] | None = None
    variables: Mapping[str, str] = field(default_factory=dict)

    def path(self, rows: int, shape: Shape = "plain") -> str:
        """Return where so many rows go."""
        return self.paths[0 if rows == 1 and shape == "plain" else 1]

    def bodies(self, inputs: Inputs, rows: int, shape: Shape = "plain") -> Path:
        """Return the file with its bodies of so many rows, one a line."""
        key = "records" if shape == "records" else self.key
        return inputs.bodies(key, rows, "list" if key == "inputs" else shape)


TWO = ("--workers", "2")
ALL: tuple[Shape, ...] = ("plain", "list", "records")
# Its number of workers is a setting.
CAIRN = Contender("Cairn", BENTOML, "forest", env="cairn", shapes=ALL, repeated=True, workers=())
FASTAPI = Contender(
    "FastAPI + scikit-learn, random forest",
    (*UVICORN, "bench.peers.fastapi_sklearn:create_app"),
    "forest",
    paths=("/predict", "/predict/batch"),
)

CONTENDERS = {
    "cairn": CAIRN,
    "fastapi-onnx": Contender(
        "FastAPI + ONNX Runtime + orjson, tuned",
        (*TUNED, "bench.peers.fastapi_onnx:create_app"),
        "onnx",
        paths=("/predict", "/predict/batch"),
        shapes=("plain", "list"),
        repeated=True,
        workers=TWO,
    ),
    "ceiling": Contender(
        "bare ASGI function + ONNX Runtime",
        (*TUNED, "bench.peers.asgi_onnx:create_app"),
        "onnx",
        shapes=ALL,
        repeated=True,
        workers=TWO,
    ),
    "granian-onnx": Contender(
        "bare function + ONNX Runtime, Granian (Rust)",
        (
            *GRANIAN,
            "--interface",
            "rsgi",
            "--http",
            "1",
            "--no-ws",
            "--loop",
            "uvloop",
            "bench.peers.granian_onnx:create_app",
        ),
        "onnx",
        shapes=ALL,
        workers=TWO,
    ),
    "bjoern-onnx": Contender(
        "bare function + ONNX Runtime, bjoern (C)",
        ("-m", "bench.peers.bjoern_onnx", "{port}"),
        "onnx",
        shapes=ALL,
    ),
    "fastapi-forest": replace(FASTAPI, repeated=True),
    "fastapi-logistic": Contender(
        "FastAPI + scikit-learn, logistic regression",
        FASTAPI.command,
        "logistic",
        paths=FASTAPI.paths,
    ),
    "flask-forest": Contender(
        "Flask + gunicorn + scikit-learn, random forest",
        (*GUNICORN, "bench.peers.flask_sklearn:create_app()"),
        "forest",
    ),
    "bentoml-onnx": Contender(
        "stock bentoml serve + ONNX Runtime",
        (*BENTOML, "bench.peers.bentoml_onnx:Classifier"),
        "onnx",
        env="bentoml",
        paths=("/predict", "/predict_batch"),
    ),
    "bentoml-forest": Contender(
        "stock bentoml serve + scikit-learn, random forest",
        (*BENTOML, "bench.peers.bentoml_sklearn:Classifier"),
        "forest",
        env="bentoml",
        paths=("/predict", "/predict_batch"),
    ),
    "mlflow-forest": Contender(
        "mlflow models serve, random forest",
        (*MLFLOW, "--port", "{port}", "--workers", "1", "--model-uri", "{model}"),
        "mlflow",
        env="mlflow",
        paths=("/invocations", "/invocations"),
        key="inputs",
    ),
}

# The same on a model of which a single row takes long.
SLOW = {
    "cairn": CAIRN,
    "cairn-ungrouped": Contender(
        "Cairn, requests not grouped",
        BENTOML,
        "forest",
        env="cairn",
        variables={"BATCH_LATENCY_MS": "0"},
    ),
    "fastapi": Contender("FastAPI + scikit-learn", FASTAPI.command, "forest", paths=FASTAPI.paths),
}


def check(contender: Contender, server: Server, inputs: Inputs) -> None:
    """Check the answers for one row and for many, in each shape, against scikit-learn's.

    Raises
    ------
    BenchError
        If they differ: which answer, and by how much.
    """
    expected = inputs.expected[contender.model]
    requests = [(1, "plain"), *((count, shape) for shape in contender.shapes for count in (1, 100))]
    for count, shape in dict.fromkeys(requests):
        with contender.bodies(inputs, count, shape).open(encoding="utf-8") as lines:
            status, content = server.post(contender.path(count, shape), next(lines))
        if status != HTTPStatus.OK:
            raise BenchError(f"{contender.title}: {count} rows got {status} {content[:300]!r}")
        labels, probabilities = parse_answer(json.loads(content))
        if labels != expected.labels[:count]:
            raise BenchError(f"{contender.title}: {count} rows: other labels than scikit-learn's")
        if probabilities is not None:
            difference = float(np.abs(probabilities - expected.probabilities[:count]).max())
            if not difference <= TOLERANCE:
                raise BenchError(
                    f"{contender.title}: {count} rows: probabilities off by {difference:.1e}"
                )


def parse_answer(content: dict[str, Any]) -> tuple[list[int], Any]:
    """Parse an answer into labels and n × classes probabilities, None if it has none."""
    labels = content["predictions"] if "predictions" in content else [content["prediction"]]
    probabilities = content.get("probabilities")
    if probabilities is None:
        return labels, None
    rows = probabilities if "predictions" in content else [probabilities]
    return labels, np.array([[*row.values()] if isinstance(row, dict) else row for row in rows])


def find_python(contender: Contender, environments: Path) -> str:
    """Find the Python that a contender runs on."""
    if contender.env == "cairn":
        return sys.executable
    return str(create_environment(contender.env, environments))


def create_environment(name: str, environments: Path) -> Path:
    """Create an environment of the peers from its lock, if it is missing; return its Python."""
    folder = environments / name
    suffix = "" if name == "peers" else f"-{name}"
    lock = Path(f"bench/requirements{suffix}.txt")
    source = folder / "made-from.txt"
    executable = (folder / "bin" / "python").absolute()
    if not source.is_file() or source.read_text() != lock.read_text():
        print(f"bench: making {folder} from {lock}, a minute or two", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([executable, "deploy/install.py", str(lock)], check=True)
        source.write_text(lock.read_text())
    return executable
