"""tracking: log a training to MLflow and register its model, where MLFLOW_TRACKING_URI is set.

MLflow gets copies; DVC stays the truth. A version carries the hashes that dvc.lock has, and the tag
under which the BentoML store keeps the model.
"""

from __future__ import annotations

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
from cairn.console import CairnError, patience, say
from cairn.paths import EVALUATION, EVALUATION_FOLDER, MODEL, ONNX
from cairn.provenance import Provenance
from cairn.releases import bento_store
from cairn.yaml_text import read_yaml

URI = "MLFLOW_TRACKING_URI"
STAGES = Path("dvc.yaml")
# MLflow's own defaults take minutes to give up. Whether a server answers shows soon; to store a
# large model may take it longer. What a user has set himself holds.
REACH = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "4", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
WORK = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "60", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2"}
QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "ERROR",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
# MLflow's limits: of a key and a value, in characters, and of one request, in entries.
KEY, VALUE, BATCH = 250, 6000, 100
LINE = 300  # characters of an error that are shown
REFUSED = re.compile(r"[^\w.\-/ ]")
RUNTIME = ("numpy", "onnx", "onnxruntime")
EXISTS = "RESOURCE_ALREADY_EXISTS"


def main() -> None:
    """Log the model that dvc.lock names, as for a training that DVC did not have to repeat."""
    chain = provenance.trace_locked()
    if not wanted():
        raise CairnError(f"{URI} is not set; set it to the address of an MLflow server")
    say(f"tracking: {logged(bento_store.register(chain), chain)}")


def track(tag: str, chain: Provenance) -> None:
    """Log what `evaluate` has just made; a server that does not answer is a warning.

    Parameters
    ----------
    tag
        The model's in the BentoML store.
    chain
        What `identity` says of it.
    """
    if not wanted():
        return
    try:
        say(f"evaluate: {logged(tag, chain)}")
    except CairnError as error:
        say(f"evaluate: warning: {error}; once that is mended: python -m {__spec__.name}")


def wanted() -> bool:
    """Whether the environment names a server."""
    return bool(os.environ.get(URI, "").strip())


def logged(tag: str, chain: Provenance) -> str:
    """Log one run, and make sure that its model is registered; returns what was done.

    Raises
    ------
    CairnError
        Whatever went wrong: MLflow's client, its plugins and a server each have errors of their
        own.
    """
    uri = os.environ[URI].strip()
    name = chain.name
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it would tell of every try
    try:
        with _settings(QUIET), patience("evaluate: still logging to MLflow"), catch_warnings():
            simplefilter("ignore")  # MLflow's of its own types
            with _settings(REACH):
                # An optional extra, which reads some of its settings when it is imported.
                from mlflow import MlflowClient  # noqa: PLC0415

                client = MlflowClient(uri)
                experiment = _experiment(client, os.environ.get("MLFLOW_EXPERIMENT_NAME") or name)
            with _settings(WORK):
                version = _log(client, experiment, tag, chain)
    except Exception as error:  # noqa: BLE001, as said above
        raise CairnError(f"{URI}: {_problem(uri, error)}") from None
    return f"logged to MLflow at {_shown(uri)}, version {version} of {name}"


def _log(client: Any, experiment: str, tag: str, chain: Provenance) -> str:
    """Log a run, then its model's version, whose number is returned."""
    origin = tags(tag, chain)
    with _run(client, experiment, os.environ.get("DVC_EXP_NAME") or tag, origin) as run:
        _log_values(client, run.info.run_id, chain)
        _log_files(client, run.info.run_id)
        with TemporaryDirectory() as folder:
            _describe(Path(folder), chain.versions)
            client.log_artifacts(run.info.run_id, folder)
        return _version(client, chain.name, origin, run)


def _log_files(client: Any, run: str) -> None:
    """Log the model's files, or replace those of a run."""
    for path in files():
        into = Path("model", provenance.entry_name(path)).parent
        client.log_artifact(run, str(path), into.as_posix())


def _experiment(client: Any, name: str) -> str:
    """The id of the experiment of that name, made if there is none."""
    found = client.get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    if _made(client.create_experiment, name):
        say(f"evaluate: MLflow has a new experiment, {name}")
    return str(client.get_experiment_by_name(name).experiment_id)


def _made(make: Any, name: str) -> bool:
    """Whether it was made; another training may have been first."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    try:
        make(name)
    except MlflowException as error:
        if error.error_code != EXISTS:
            raise
        return False
    return True


def _describe(folder: Path, versions: Mapping[str, str]) -> None:
    """What MLflow's own tools load a model by, `models:/NAME/1` too: it takes rows of features."""
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
def _run(client: Any, experiment: str, name: str, origin: Mapping[str, str]) -> Iterator[Any]:
    """A run that ends as the block does."""
    commit = {"mlflow.source.git.commit": origin["git_commit"]}
    run = client.create_run(experiment, tags={**origin, **commit}, run_name=name)
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
    scores = [Metric(name, value, now, 0) for name, value in metrics(chain.metrics).items()]
    knobs = [Param(name, value) for name, value in params(chain.params).items()]
    for start in range(0, max(len(scores), len(knobs)), BATCH):
        part = slice(start, start + BATCH)
        client.log_batch(run, metrics=scores[part], params=knobs[part])


def _version(client: Any, name: str, origin: Mapping[str, str], run: Any) -> str:
    """The number of the version that has this BentoML tag: one and the same, however often."""
    _made(client.create_registered_model, name)
    same = f"name='{name}' and tags.`bentoml_tag`='{origin['bentoml_tag']}'"
    found = client.search_model_versions(same)
    if not found:
        source = f"{run.info.artifact_uri}/model"
        return str(client.create_model_version(name, source, run.info.run_id, origin).version)
    _annotate(client, found[0], origin)
    with suppress(Exception):  # somebody may have deleted that run
        _log_files(client, found[0].run_id)  # its card and scores may be newer by now
    return str(found[0].version)


def _annotate(client: Any, version: Any, origin: Mapping[str, str]) -> None:
    """Have a version's tags say of the same model what is true by now; others' tags stay."""
    for key, value in origin.items():
        if version.tags.get(key) != value:
            client.set_model_version_tag(version.name, version.version, key, value)
    for key in version.tags.keys() - origin.keys():
        if key.startswith("dvc."):
            client.delete_model_version_tag(version.name, version.version, key)


def tags(tag: str, chain: Provenance) -> dict[str, str]:
    """Where a model comes from, one tag a fact; `dvc.STAGE.deps.PATH` and `.outs.` hold MD5s."""
    stages = {**chain.dvc, "evaluate": chain.dvc.get("evaluate") or coming()}
    hashes = {
        key(f"dvc.{stage}.{side}.{path}"): md5
        for stage, sides in stages.items()
        for side, paths in sides.items()
        for path, md5 in paths.items()
    }
    return {"bentoml_tag": tag, "sha256": chain.sha256, **commit(), **hashes}


def coming() -> dict[str, dict[str, str]]:
    """What went into `evaluate` and came out, path → MD5, as dvc.lock will have it afterwards."""
    if not STAGES.is_file():
        return {}
    stage = read_yaml(STAGES, "run from the top of the repository")["stages"]["evaluate"]
    outs = [entry for kind in ("outs", "metrics", "plots") for entry in stage.get(kind, ())]
    return {"deps": _hashes(stage["deps"]), "outs": _hashes(outs)}


def _hashes(entries: Iterable[str | dict[str, Any]]) -> dict[str, str]:
    """The files of some entries of dvc.yaml, which are paths, or paths with options."""
    paths = (entry if isinstance(entry, str) else next(iter(entry)) for entry in entries)
    return {path: provenance.hash_file(Path(path), "md5") for path in paths if Path(path).is_file()}


def commit() -> dict[str, str]:
    """The commit that is checked out, and whether what git keeps differs, less what DVC writes."""
    head = provenance.ask_git("rev-parse", "HEAD") or "none"
    own = (":(exclude)dvc.lock", ":(exclude)data")
    changed = provenance.ask_git("status", "--porcelain", "--untracked-files=no", "--", ".", *own)
    return {"git_commit": head, "git_dirty": str(bool(changed)).lower()}


def files() -> list[Path]:
    """All that data/model and data/evaluation hold, but for git's own files."""
    every = (path for folder in (MODEL, EVALUATION_FOLDER) for path in folder.rglob("*"))
    return sorted(path for path in every if path.is_file() and not path.name.startswith("."))


def params(blocks: Mapping[str, Any]) -> dict[str, str]:
    """Every knob by its dotted name, as `dvc exp run --set-param` has it.

    >>> params({"train": {"seed": 42, "arguments": {"C": None}}, "evaluate": {"slices": ["plan"]}})
    {'train.seed': '42', 'train.arguments.C': 'null', 'evaluate.slices': '["plan"]'}
    """
    return {
        key(name): (value if isinstance(value, str) else json.dumps(value, default=str))[:VALUE]
        for name, value in flat(blocks)
    }


def metrics(scores: Mapping[str, Any]) -> dict[str, float]:
    """Every score by its dotted name, and the ends of its interval where one was measured."""
    named = [*flat(scores), *intervals()]
    return {
        key(name): float(value)
        for name, value in named
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def intervals() -> Iterator[tuple[str, Any]]:
    """The ends of the scores' intervals in evaluation.json."""
    said = json.loads(EVALUATION.read_bytes()) if EVALUATION.is_file() else {}
    folds = (said.get("cross_validation") or {}).get("scores", {})
    ends = flat({"test": said.get("test", {}), "cross_validation": folds})
    return ((name, value) for name, value in ends if name.endswith((".low", ".high")))


def flat(content: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The values of nested mappings by dotted names; an empty mapping is a value."""
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def key(name: str) -> str:
    """A name in the characters that MLflow takes, and no path that could be tidied to another.

    >>> key("dvc.raw.deps.s3://bucket/../a=b")
    'dvc.raw.deps.s3_/bucket/_/a_b'
    """
    parts = REFUSED.sub("_", name[:KEY]).split("/")
    return "/".join(part if part.strip(".") else "_" for part in parts if part)


@contextmanager
def _settings(given: Mapping[str, str]) -> Iterator[None]:
    """Variables for the time of a block, less those that are set already."""
    new = {name: value for name, value in given.items() if name not in os.environ}
    os.environ.update(new)
    try:
        yield
    finally:
        for name in new:
            del os.environ[name]


def _problem(uri: str, error: BaseException) -> str:
    """What went wrong, on one line and without a password."""
    if isinstance(error, ModuleNotFoundError):
        if (error.name or "").startswith("mlflow"):
            return "MLflow's client is not installed: make install-extras"
        return f"{_shown(uri)} wants {error.name}; the client here speaks http and https alone"
    first = next(iter(str(_cause(error)).strip().splitlines()), type(error).__name__)
    secret = urlsplit(uri).netloc.rpartition("@")[0]
    told = first.replace(f"{secret}@", "") if secret else first
    return f"{_shown(uri)}: {told if len(told) <= LINE else told[:LINE] + '…'}"


def _cause(error: BaseException) -> BaseException:
    """The system's own error below others, such as a refused connection; or else the error."""
    cause: BaseException | None = error
    while cause is not None and type(cause).__module__ not in {"builtins", "socket", "ssl"}:
        cause = cause.__context__
    return cause if isinstance(cause, OSError) else error


def _shown(uri: str) -> str:
    """An address without the user and password that may stand in it."""
    return re.sub(r"//[^/]*@", "//", uri)


if __name__ == "__main__":
    console.run(main)
