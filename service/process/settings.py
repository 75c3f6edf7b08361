"""The service's settings: environment variables, checked once, with safe defaults.

pydantic-settings 2.16 reads variables as well, but not as well for those who start a service: a
list that is not JSON (`API_KEYS=a,b`) ends the reading with an error of its own, before the other
wrong variables are named; a blank variable is a wrong value; without a common prefix it cannot
refuse unknown names either. Hiding keys and naming variables in errors would still be ours, and
each worker would import two more packages, for 13 ms.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, Self

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    StringConstraints,
    ValidationError,
    model_validator,
)

MIB = 2**20
MAX_ROWS = 10_000
MAX_MODEL_BYTES = 1024 * MIB
URI = r"^(s3://[a-z0-9.-]+/[!-~]+|models:/[\w. -]+(/[1-9][0-9]*|@[\w-]+))$"


def _split(keys: object) -> object:
    """Split the keys of one variable: they are separated by commas or white space."""
    return tuple(keys.replace(",", " ").split()) if isinstance(keys, str) else keys


class Settings(BaseModel):
    """The settings; each field is the environment variable of that name in upper case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(1, ge=1, le=256, description="processes that answer")
    threads: int = Field(1, ge=1, le=256, description="threads of one run of the model")
    max_body_bytes: int = Field(10 * MIB, ge=1024, le=1024 * MIB, description="longest body, bytes")
    max_rows: int = Field(MAX_ROWS, ge=1, le=1_000_000, description="most rows of one request")
    max_concurrency: int = Field(
        64, ge=1, le=100_000, description="requests in work at once in each worker"
    )
    timeout_seconds: float = Field(
        30, gt=0, le=3600, description="longest time for a body to come, and then for its answer"
    )
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="how long a connection without a request stays open"
    )
    drain_seconds: float = Field(
        5, ge=0, le=3600, description="after SIGTERM: how long it goes on taking requests"
    )
    graceful_seconds: int = Field(
        30, ge=1, le=3600, description="after that: how long requests in work may take to end"
    )
    batch_latency_ms: float = Field(
        20, ge=0, le=10_000, description="longest run of rows of several requests; 0: none is made"
    )
    drift_rows: int = Field(
        10_000, ge=100, le=10_000_000, description="rows that the drift gauges look back on"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = Field("info", description="what is logged: from here upwards")
    log_inputs: bool = Field(default=False, description="log inputs and answers too")
    api_keys: Annotated[tuple[str, ...], BeforeValidator(_split)] = Field(
        (), repr=False, description="keys, one of which `/predict` and `/model` then ask for"
    )
    api_keys_file: FilePath | None = Field(
        None, description="file with more keys, one a line, read again when it changes"
    )
    model_tag: Annotated[str, StringConstraints(pattern=r"^[\w.-]+:[\w.-]+$")] | None = Field(
        None, description="another model: this one of the BentoML store at BENTOML_HOME"
    )
    model_uri: Annotated[str, StringConstraints(pattern=URI)] | None = Field(
        None,
        description="another model: `s3://BUCKET/KEY`, an export of `make export`; or "
        "`models:/NAME/VERSION`, `models:/NAME@ALIAS`, of MLflow, in the store at BENTOML_HOME",
    )
    model_sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        None, description="SHA-256 of that export, 64 lower-case hex digits"
    )
    max_model_bytes: int = Field(
        MAX_MODEL_BYTES,
        ge=MIB,
        le=4096 * MIB,
        description="most bytes of that export, and of what it unpacks to",
    )
    mlflow_tracking_uri: str | None = Field(
        None, repr=False, description="address of the MLflow server that `models:/` asks"
    )
    metrics_open: bool = Field(default=True, description="false: `/metrics` asks for a key too")

    @model_validator(mode="after")
    def _one_model(self) -> Self:
        if self.model_uri and self.model_tag:
            raise ValueError("MODEL_TAG and MODEL_URI name a model each; set one of them")
        if self.is_of_mlflow:
            self._check_mlflow()
        elif (self.model_uri is None) != (self.model_sha256 is None):
            raise ValueError("MODEL_URI and MODEL_SHA256 belong together; set both")
        return self

    @property
    def is_of_mlflow(self) -> bool:
        """Whether the model is one that MLflow names."""
        return (self.model_uri or "").startswith("models:/")

    def _check_mlflow(self) -> None:
        """Refuse to ask MLflow without knowing where it is, or to hold it to a second hash."""
        if self.model_sha256:
            raise ValueError("MODEL_SHA256 is of a file on S3; MLflow has the hash of its models")
        if not (self.mlflow_tracking_uri or "").startswith(("http://", "https://")):
            raise ValueError(
                f"MODEL_URI: {self.model_uri} is a model of MLflow; set MLFLOW_TRACKING_URI to the "
                "address of its server, http:// or https://"
            )


@cache
def load_settings() -> Settings:
    """Return the settings of this process; where some are wrong, it ends with a line for each."""
    try:
        return read_settings(os.environ)
    except ValueError as error:
        sys.exit(str(error))


def load_or_default() -> Settings:
    """Return the settings of this process, or the defaults where some are wrong.

    BentoML reads a service's configuration when its class is created, and to import a module must
    not end a process: `load_settings` does so before the service is built or served.
    """
    try:
        return read_settings(os.environ)
    except ValueError:
        return Settings()


def read_settings(environment: Mapping[str, str]) -> Settings:
    """Read settings from environment variables; an empty one counts as not set.

    Raises
    ------
    ValueError
        One line for each setting that is wrong: its name, what came, what is allowed.
    """
    values = {
        name: environment[name.upper()].strip()
        for name in Settings.model_fields
        if environment.get(name.upper(), "").strip()
    }
    try:
        return Settings.model_validate(values)
    except OSError as error:  # of the one setting that is a file
        reason = f"{error.strerror}; user {os.getuid()} must be able to read it"
        raise ValueError(f"error: API_KEYS_FILE: {values['api_keys_file']!r}: {reason}") from None
    except ValidationError as error:
        lines = (
            _describe(str(problem["loc"][0]), problem["msg"], values)
            if problem["loc"]
            else f"error: {problem['ctx']['error']}"
            for problem in error.errors()
        )
        raise ValueError("\n".join(lines)) from None


def _describe(name: str, problem: str, values: Mapping[str, str]) -> str:
    """Describe what is wrong with one setting; a key is never repeated."""
    value = "" if name == "api_keys" else f" {values[name]!r}:"
    return f"error: {name.upper()}:{value} {problem[0].lower()}{problem[1:]}"
