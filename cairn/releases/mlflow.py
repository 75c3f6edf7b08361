"""tracking: log a training to MLflow and register its model, if MLFLOW_TRACKING_URI is set.

MLflow gets copies; DVC remains the truth. A version carries the hashes of dvc.lock, and the tag of
the model in the BentoML store.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlsplit
from warnings import catch_warnings, simplefilter

import numpy as np
import onnx

from cairn import console, provenance
from cairn.console import patience, say
from cairn.errors import CairnError
from cairn.paths import EVALUATION, EVALUATION_FOLDER, MODEL, ONNX
from cairn.provenance import Provenance
from cairn.releases import bento_store
from cairn.yaml_text import read_yaml

URI = "MLFLOW_TRACKING_URI"
STAGES = Path("dvc.yaml")
# MLflow's defaults give up after minutes. Whether a server answers shows soon, while to store a
# large model may take longer. Variables that the user has set remain.
PROBE_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
LOG_LIMITS = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
SILENCE = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "ORT_DISABLE_TELEMETRY": "1",  # MLflow imports ONNX Runtime by itself
}
# MLflow's limits of a key and a value, in characters, and of one request, in entries.
MAX_KEY, MAX_VALUE, MAX_BATCH = 250, 6000, 100
MAX_LINE = 300  # characters of an error that are shown
FORBIDDEN = re.compile(r"[^\w.\-/ ]")
RUNTIME = ("numpy", "onnx", "onnxruntime")
EXISTS = "RESOURCE_ALREADY_EXISTS"


def main() -> None:
    """Log the model that dvc.lock names, such as after a training that DVC did not repeat."""
    chain = provenance.trace_locked()
    if not is_configured():
        raise CairnError(f"{URI} is not set; set it to the address of an MLflow server")
    say(f"tracking: {log_model(bento_store.register(chain), chain)}")


def track(tag: str, chain: Provenance) -> None:
    """Log a training that has just ended; print a warning if no server answers.

    Parameters
    ----------
    tag
        The model's tag in the BentoML store.
    chain
        Its provenance.
    """
    if not is_configured():
        return
    try:
        say(f"evaluate: {log_model(tag, chain)}")
    except CairnError as error:
        say(f"evaluate: warning: {error}; to log it later, run: python -m {__spec__.name}")


def is_configured() -> bool:
    """Tell whether the environment names a server."""
    return bool(os.environ.get(URI, "").strip())


def log_model(tag: str, chain: Provenance) -> str:
    """Log one run, and register its model; return a summary.

    Raises
    ------
    CairnError
        For any failure: MLflow's client, its plugins and a server each raise errors of their own.
    """
    uri = os.environ[URI].strip()
    name = chain.name
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would log each attempt
    try:
        with (
            _set_variables(SILENCE),
            patience("evaluate: still logging to MLflow"),
            catch_warnings(),
        ):
            simplefilter("ignore")  # MLflow warns about its own types
            with _set_variables(PROBE_LIMITS):
                # An optional extra, which reads some of its settings when it is imported.
                from mlflow import MlflowClient  # noqa: PLC0415

                client = MlflowClient(uri)
                experiment = _get_experiment(
                    client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or name
                )
            with _set_variables(LOG_LIMITS):
                version = _log(client, experiment, tag, chain)
    except Exception as error:  # noqa: BLE001 - as above
        raise CairnError(f"{URI}: {_describe_problem(uri, error)}") from None
    return f"logged to MLflow at {_hide_password(uri)}, version {version} of {name}"


def _log(client: Any, experiment: str, tag: str, chain: Provenance) -> str:
    """Log a run and its model's version; return the number of the version."""
    origin = build_tags(tag, chain)
    with _open_run(client, experiment, os.environ.get("DVC_EXP_NAME") or tag, origin) as run:
        _log_values(client, run.info.run_id, chain)
        _log_files(client, run.info.run_id)
        with TemporaryDirectory() as folder:
            _write_mlflow_model(Path(folder), chain.versions)
            client.log_artifacts(run.info.run_id, folder)
        return _register_version(client, chain.name, origin, run)


def _log_files(client: Any, run: str) -> None:
    """Log the model's files, or replace those of a run."""
    for path in list_files():
        into = Path("model", provenance.entry_name(path)).parent
        client.log_artifact(run, str(path), into.as_posix())


def _get_experiment(client: Any, name: str) -> str:
    """Get the id of the experiment of that name; create it if there is none."""
    existing = client.get_experiment_by_name(name)
    if existing:
        return str(existing.experiment_id)
    if _create(client.create_experiment, name):
        say(f"evaluate: MLflow has a new experiment, {name}")
    return str(client.get_experiment_by_name(name).experiment_id)


def _create(create: Any, name: str) -> bool:
    """Create something; return whether it is new, as another training may have been first."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        create(name)
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise
        return False
    return True


def _write_mlflow_model(folder: Path, versions: Mapping[str, str]) -> None:
    """Write the files by which MLflow's own tools load a model; it takes rows of features."""
    import mlflow.onnx  # noqa: PLC0415
    from mlflow.models import ModelSignature  # noqa: PLC0415
    from mlflow.types import Schema, TensorSpec  # noqa: PLC0415

    graph = onnx.load(ONNX)
    width = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    model = folder / "model"
    mlflow.onnx.save_model(
        graph,
        model,
        signature=ModelSignature(Schema([TensorSpec(np.dtype(np.float32), (-1, width))])),
        pip_requirements=[f"{name}=={versions[name]}" for name in RUNTIME if name in versions],
        onnx_execution_providers=["CPUExecutionProvider"],
        save_as_external_data=False,
    )
    (model / ONNX.name).unlink()  # data/model has it


@contextmanager
def _open_run(client: Any, experiment: str, name: str, origin: Mapping[str, str]) -> Iterator[Any]:
    """Open a run that ends with the block, as failed if the block raises."""
    source = {"mlflow.source.git.commit": origin["git_commit"]}
    run = client.create_run(experiment, tags={**origin, **source}, run_name=name)
    try:
        yield run
    except BaseException:
        with suppress(Exception):
            client.set_terminated(run.info.run_id, "FAILED")
        raise
    client.set_terminated(run.info.run_id)


def _log_values(client: Any, run: str, chain: Provenance) -> None:
    """Log params and metrics, as many at a time as MLflow takes."""
    from mlflow.entities import Metric, Param  # noqa: PLC0415

    now = int(time.time() * 1000)
    scores = [Metric(name, value, now, 0) for name, value in flatten_metrics(chain.metrics).items()]
    params = [Param(name, value) for name, value in flatten_params(chain.params).items()]
    for start in range(0, max(len(scores), len(params)), MAX_BATCH):
        part = slice(start, start + MAX_BATCH)
        client.log_batch(run, metrics=scores[part], params=params[part])


def _register_version(client: Any, name: str, origin: Mapping[str, str], run: Any) -> str:
    """Register the version with this BentoML tag, if there is none; return its number."""
    _create(client.create_registered_model, name)
    same = f"name='{name}' and tags.`bentoml_tag`='{origin['bentoml_tag']}'"
    existing = client.search_model_versions(same)
    if not existing:
        source = f"{run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source, run.info.run_id, origin).version)
    _update_tags(client, existing[0], origin)
    with suppress(Exception):  # somebody may have deleted that run
        _log_files(client, existing[0].run_id)  # its card and scores may be newer by now
    return str(existing[0].version)


def _update_tags(client: Any, version: Any, origin: Mapping[str, str]) -> None:
    """Update the tags of a version of the same model; tags of others stay."""
    for key, value in origin.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)
    for key in version.tags.keys() - origin.keys():
        if key.startswith("dvc."):
            client.delete_model_version_tag(version.name, version.version, key)


def build_tags(tag: str, chain: Provenance) -> dict[str, str]:
    """Build the tags of a model's provenance; `dvc.STAGE.deps.PATH` and `.outs.` hold MD5s."""
    stages = {**chain.dvc, "evaluate": chain.dvc.get("evaluate") or read_new_hashes()}
    hashes = {
        clean_key(f"dvc.{stage}.{side}.{path}"): md5
        for stage, sides in stages.items()
        for side, paths in sides.items()
        for path, md5 in paths.items()
    }
    return {"bentoml_tag": tag, "sha256": chain.sha256, **read_commit(), **hashes}


def read_new_hashes() -> dict[str, dict[str, str]]:
    """Compute the MD5s of `evaluate`'s deps and outs, as dvc.lock will have them afterwards."""
    if not STAGES.is_file():
        return {}
    stage = read_yaml(STAGES, "run from the top of the repository")["stages"]["evaluate"]
    outs = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    return {"deps": _hash_files(stage["deps"]), "outs": _hash_files(outs)}


def _hash_files(entries: Iterable[str | dict[str, Any]]) -> dict[str, str]:
    """Hash the files and folders of entries of dvc.yaml: paths, or paths with options."""
    paths = (Path(entry if isinstance(entry, str) else next(iter(entry))) for entry in entries)
    return {
        path.as_posix(): hash_folder(path) if path.is_dir() else provenance.hash_file(path, "md5")
        for path in paths
        if path.exists()
    }


def hash_folder(folder: Path) -> str:
    """Hash a folder of code as DVC does: the MD5 of its files' MD5s and paths, and `.dir`.

    DVC 3's format; tests/cairn/releases/test_mlflow.py compares it with dvc.lock.
    """
    files = (path for path in folder.rglob("*") if path.is_file())
    relative = sorted(path.relative_to(folder) for path in files if path.suffix != ".pyc")
    listing = [
        {"md5": provenance.hash_file(folder / path, "md5"), "relpath": path.as_posix()}
        for path in relative
    ]
    text = json.dumps(listing, sort_keys=True)
    return f"{hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()}.dir"


def read_commit() -> dict[str, str]:
    """Read the commit, and whether tracked files differ from it, except those that DVC writes."""
    head = provenance.ask_git("rev-parse", "HEAD") or "none"
    own = (":(exclude)dvc.lock", ":(exclude)data")
    changed = provenance.ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *own)
    return {"git_commit": head, "git_dirty": str(bool(changed)).lower()}


def list_files() -> list[Path]:
    """List the files of data/model and data/evaluation, except git's own."""
    files = (path for folder in (MODEL, EVALUATION_FOLDER) for path in folder.rglob("*"))
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def flatten_params(params: Mapping[str, Any]) -> dict[str, str]:
    """Flatten params to dotted names, as `dvc exp run --set-param` has them.

    >>> flatten_params({"train": {"seed": 42, "tol": None}, "evaluate": {"slices": ["plan"]}})
    {'train.seed': '42', 'train.tol': 'null', 'evaluate.slices': '["plan"]'}
    """
    return {
        clean_key(name): (value if isinstance(value, str) else json.dumps(value, default=str))[
            :MAX_VALUE
        ]
        for name, value in flatten(params)
    }


def flatten_metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """Flatten scores to dotted names, with the ends of their intervals if there are any."""
    values = [*flatten(scores), *read_interval_ends()]
    return {
        clean_key(name): float(value)
        for name, value in values
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def read_interval_ends() -> Iterator[tuple[str, Any]]:
    """Read the ends of the scores' intervals from evaluation.json."""
    evaluation = json.loads(EVALUATION.read_bytes()) if EVALUATION.is_file() else {}
    folds = (evaluation.get("cross_validation") or {}).get("scores", {})
    ends = flatten({"test": evaluation.get("test", {}), "cross_validation": folds})
    return ((name, value) for name, value in ends if name.endswith((".low", ".high")))


def flatten(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the values of nested mappings by dotted names; an empty mapping is a value."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def clean_key(name: str) -> str:
    """Replace characters that MLflow refuses, and parts that its clean-up of paths would change.

    >>> clean_key("dvc.raw.deps.s3://bucket/../a=b")
    'dvc.raw.deps.s3_/bucket/_/a_b'
    """
    parts = FORBIDDEN.sub("_", name[:MAX_KEY]).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts if part)


@contextmanager
def _set_variables(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the time of a block, except those that are set already."""
    new = {name: value for name, value in variables.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _describe_problem(uri: str, error: BaseException) -> str:
    """Describe an error on one line and without a password."""
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").startswith("mlflow"):
            return "MLflow's client is not installed: make install-extras"
        address = _hide_password(uri)
        return f"{address} needs {error.name}, which is not installed; use http or https"
    first = next(iter(str(_find_cause(error)).strip().splitlines()), type(error).__name__)
    secret = urlsplit(uri).netloc.rpartition("@")[0]
    text = first.replace(f"{secret}@", "") if secret else first
    return f"{_hide_password(uri)}: {text if len(text) <= MAX_LINE else text[:MAX_LINE] + '…'}"


def _find_cause(error: BaseException) -> BaseException:
    """Find the system's error below others, such as a refused connection; or else the error."""
    cause: BaseException | None = error
    while cause is not None and type(cause).__module__ not in {"builtins", "socket", "ssl"}:
        cause = cause.__context__
    return cause if isinstance(cause, OSError) else error


def _hide_password(uri: str) -> str:
    """Remove a user and password from an address."""
    return re.sub(r"//[^/]*@", "//", uri)


if __name__ == "__main__":
    console.run(main)
