"""Which model of the BentoML store a version in MLflow's registry is, by MLflow's own REST API."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import re
from http import HTTPStatus
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit

import httpx

from cairn.console import CairnError
from service.process import run_folder

SCHEME = "models:/"
TAG = re.compile(r"[\w.-]+:[\w.-]+")
RETRIES, SECONDS = 2, 5.0  # to connect; for each answer
CREDENTIALS = ("USERNAME", "PASSWORD", "TOKEN")  # MLFLOW_TRACKING_…
LISTED = 20  # versions that an error names


class Version(NamedTuple):
    """A version in MLflow's registry.

    Attributes
    ----------
    number
        MLflow's.
    tag, sha256
        What MLflow says of its model: the BentoML tag, the content's SHA-256 in hex.
    """

    number: str
    tag: str
    sha256: str


def resolve_version(uri: str, server: str) -> Version:
    """The version that was meant, asked for once for all workers of this run, and those to come.

    An alias may move while the service runs; a worker that is replaced serves what the others do.

    Parameters
    ----------
    uri
        models:/NAME/VERSION or models:/NAME@ALIAS.
    server
        MLFLOW_TRACKING_URI. Who asks is said by MLFLOW_TRACKING_USERNAME and
        MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as to MLflow's own client.

    Raises
    ------
    CairnError
        Where MLflow does not answer, has no such version, or no model of Cairn's under it.
    """
    where = run_folder.folder()
    if where is None:
        return fetch_version(uri, server)
    kept = where / "version.json"
    with (where / "model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(fetch_version(uri, server)))
            part.rename(kept)
    return Version(*json.loads(kept.read_text()))


def fetch_version(uri: str, server: str) -> Version:
    """The version that MLflow has under that name by now."""
    try:
        with open_client(server) as mlflow:
            return parse_version(uri, find_version(mlflow, uri))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "what answers there is no MLflow server"
    raise CairnError(f"MODEL_URI: {uri}: MLFLOW_TRACKING_URI: {hide_password(server)}: {reason}")


def find_version(mlflow: httpx.Client, uri: str) -> dict[str, Any]:
    """What MLflow says of that version."""
    rest, _, alias = uri.removeprefix(SCHEME).partition("@")
    name, _, number = rest.partition("/")
    try:
        if alias:
            said = get(mlflow, "registered-models/alias", name=name, alias=alias)
        else:
            said = get(mlflow, "model-versions/get", name=name, version=number)
    except httpx.HTTPStatusError as error:
        raise httpx.HTTPError(explain_refusal(error.response, mlflow, name)) from None
    return dict(said["model_version"])


def parse_version(uri: str, said: dict[str, Any]) -> Version:
    """What the tags of a version say of its model."""
    tags = {each["key"]: each["value"] for each in said.get("tags", ())}
    number, tag, sha256 = str(said["version"]), tags.get("bentoml_tag", ""), tags.get("sha256", "")
    if not TAG.fullmatch(tag) or not sha256:
        raise CairnError(
            f"MODEL_URI: {uri}: version {number} has no tags bentoml_tag and sha256 that name a "
            "model; each that `make train` registers has them"
        )
    return Version(number, tag, sha256)


def get(mlflow: httpx.Client, path: str, **query: str) -> dict[str, Any]:
    """What MLflow answers; raises httpx.HTTPStatusError where it is no 200."""
    return dict(mlflow.get(path, params=query).raise_for_status().json())


def explain_refusal(answer: httpx.Response, mlflow: httpx.Client, name: str) -> str:
    """Why MLflow does not answer with a version, and which ones there are."""
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        who = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"it answers {answer.status_code}; set {who}"
    try:
        said = " ".join(str(answer.json()["message"]).split()).rstrip(".")
    except (KeyError, TypeError, ValueError):
        return f"it answers {answer.status_code} {answer.reason_phrase}; is it an MLflow server?"
    return f"{said}; {list_versions(mlflow, name)}"


def list_versions(mlflow: httpx.Client, name: str) -> str:
    """The versions and aliases that MLflow has of a model."""
    newest = {"filter": f"name='{name}'", "max_results": str(LISTED)}
    try:
        listed = get(mlflow, "model-versions/search", **newest).get("model_versions", [])
        model = get(mlflow, "registered-models/get", name=name)["registered_model"]
        aliases = (f"{each['alias']} ({each['version']})" for each in model.get("aliases", ()))
        versions = ", ".join(each["version"] for each in listed) or "none"
        return f"newest versions: {versions}; aliases: {', '.join(aliases) or 'none'}"
    except (httpx.HTTPError, AttributeError, KeyError, TypeError, ValueError):
        return f"it has no versions of {name}"


def open_client(server: str) -> httpx.Client:
    """A client of MLflow's REST API that gives up in time, and keeps the password to itself."""
    logging.getLogger("httpx").setLevel(logging.WARNING)  # a line of each request
    user, password, token = (os.environ.get(f"MLFLOW_TRACKING_{name}", "") for name in CREDENTIALS)
    parts = urlsplit(server)
    if not (user and password):
        user, password = unquote(parts.username or ""), unquote(parts.password or "")
    bearer = {"Authorization": f"Bearer {token}"} if token and not user else {}
    return httpx.Client(
        base_url=f"{hide_password(server).rstrip('/')}/api/2.0/mlflow/",
        auth=(user, password) if user else None,
        headers=bearer,
        timeout=SECONDS,
        transport=httpx.HTTPTransport(retries=RETRIES),
    )


def hide_password(server: str) -> str:
    """An address without the user and password that may stand in it."""
    return re.sub(r"//[^/]*@", "//", server)
