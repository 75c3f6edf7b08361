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

from cairn.errors import CairnError
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
    """Return the version that a URI names, asked for once for all workers of this run.

    An alias may move while the service runs; a worker that is replaced serves what the others do.

    Parameters
    ----------
    uri
        models:/NAME/VERSION or models:/NAME@ALIAS.
    server
        MLFLOW_TRACKING_URI. Credentials are MLFLOW_TRACKING_USERNAME and
        MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, as for MLflow's own client.

    Raises
    ------
    CairnError
        Where MLflow does not answer, has no such version, or no model of Cairn's under it.
    """
    run = run_folder.find_folder()
    if run is None:
        return fetch_version(uri, server)
    kept = run / "version.json"
    with (run / "model.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.is_file():
            part = kept.with_suffix(".part")
            part.write_text(json.dumps(fetch_version(uri, server)))
            part.rename(kept)
    return Version(*json.loads(kept.read_text()))


def fetch_version(uri: str, server: str) -> Version:
    """Ask MLflow for the version that it has under that name now."""
    try:
        with open_client(server) as mlflow:
            return parse_version(uri, find_version(mlflow, uri))
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error) or type(error).__name__
    except (AttributeError, KeyError, TypeError, ValueError):
        reason = "the server there is no MLflow server"
    raise CairnError(f"MODEL_URI: {uri}: MLFLOW_TRACKING_URI: {hide_password(server)}: {reason}")


def find_version(mlflow: httpx.Client, uri: str) -> dict[str, Any]:
    """Return MLflow's description of that version."""
    rest, _, alias = uri.removeprefix(SCHEME).partition("@")
    name, _, number = rest.partition("/")
    try:
        if alias:
            answer = get(mlflow, "registered-models/alias", name=name, alias=alias)
        else:
            answer = get(mlflow, "model-versions/get", name=name, version=number)
    except httpx.HTTPStatusError as error:
        raise httpx.HTTPError(explain_refusal(error.response, mlflow, name)) from None
    return dict(answer["model_version"])


def parse_version(uri: str, description: dict[str, Any]) -> Version:
    """Read which model a version is from its tags."""
    tags = {each["key"]: each["value"] for each in description.get("tags", ())}
    number = str(description["version"])
    tag, sha256 = tags.get("bentoml_tag", ""), tags.get("sha256", "")
    if not TAG.fullmatch(tag) or not sha256:
        raise CairnError(
            f"MODEL_URI: {uri}: version {number} lacks the tags bentoml_tag and sha256, which name "
            "its model; every version that `make train` registers has them"
        )
    return Version(number, tag, sha256)


def get(mlflow: httpx.Client, path: str, **query: str) -> dict[str, Any]:
    """Return the JSON of an answer; raises httpx.HTTPStatusError where it is no 200."""
    return dict(mlflow.get(path, params=query).raise_for_status().json())


def explain_refusal(answer: httpx.Response, mlflow: httpx.Client, name: str) -> str:
    """Explain why MLflow answers without a version, and list those that it has."""
    if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN}:
        names = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        return f"it answers {answer.status_code}; set {names}"
    try:
        message = " ".join(str(answer.json()["message"]).split()).rstrip(".")
    except (KeyError, TypeError, ValueError):
        return f"it answers {answer.status_code} {answer.reason_phrase}; is it an MLflow server?"
    return f"{message}; {list_versions(mlflow, name)}"


def list_versions(mlflow: httpx.Client, name: str) -> str:
    """Describe the versions and aliases that MLflow has of a model."""
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
    """Open a client of MLflow's REST API that gives up in time and shows no password."""
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
    """Return an address without the user and password that may stand in it."""
    return re.sub(r"//[^/]*@", "//", server)
