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
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FilePath,
    StringConstraints,
    ValidationError,
    model_validator,
)

from cairn.errors import Allowed, Problem, list_problems
from service.http.clients import Network
from service.http.keys import HOW_TO_MAKE, parse_key, split_lines

MIB = 2**20
MAX_ROWS = 10_000
MAX_MODEL_BYTES = 1024 * MIB
URI = r"^(s3://[a-z0-9.-]+/[!-~]+|models:/[\w. -]+(/[1-9][0-9]*|@[\w-]+))$"


ORIGIN = r"^(\*|https?://[a-z0-9.:\[\]-]+)$"
# Set but blank, these would open the service to everybody: of every other one that is as not set.
KEPT_BLANK = {"api_keys", "api_keys_file"}


def _split(values: object) -> object:
    """Split the values of one variable: they are separated by commas or white space."""
    return tuple(values.replace(",", " ").split()) if isinstance(values, str) else values


def _check_filled(value: object) -> object:
    """Refuse a variable that is set, but has nothing in it."""
    if not value:
        raise ValueError(f"set, but empty; unset it if everybody may ask; for a key {HOW_TO_MAKE}")
    return value


def _check_key(key: str) -> str:
    """Refuse a key that is too short."""
    parse_key(key)
    return key


def _check_file(file: Path) -> Path:
    """Refuse a file of keys with one that is too short; one without any lets nobody in."""
    for number, key in split_lines(file.read_text(encoding="utf-8")):
        try:
            parse_key(key)
        except ValueError as error:
            raise ValueError(f"line {number}: {error}") from None
    return file


def _parse_network(text: object) -> object:
    """Parse a network; the address of a single machine is one, too. Leave what is neither."""
    try:
        return ip_network(str(text), strict=False)
    except ValueError:
        return text


Split = BeforeValidator(_split)


class Settings(BaseModel):
    """The settings; each field is the environment variable of that name in upper case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    workers: int = Field(1, ge=1, le=256, description="processes that answer requests")
    threads: int = Field(1, ge=1, le=256, description="threads for one run of the model")
    max_body_bytes: int = Field(
        10 * MIB, ge=1024, le=1024 * MIB, description="longest body in bytes"
    )
    max_rows: int = Field(MAX_ROWS, ge=1, le=1_000_000, description="most rows of one request")
    max_concurrency: int = Field(
        64, ge=1, le=100_000, description="requests in progress at once in each worker"
    )
    max_connections: int = Field(
        2048,
        ge=16,
        le=10_000,
        description="open connections of each worker; one more takes the place of those that have "
        "waited longest for a request",
    )
    timeout_seconds: float = Field(
        30, gt=0, le=3600, description="how long a body may take to arrive, and then its answer"
    )
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="how long a connection without a request stays open"
    )
    drain_seconds: float = Field(
        5, ge=0, le=3600, description="after SIGTERM: how long it still accepts requests"
    )
    graceful_seconds: int = Field(
        30, ge=1, le=3600, description="after that: how long requests in progress may take"
    )
    batch_latency_ms: float = Field(
        20, ge=0, le=10_000, description="longest run of rows of several requests; 0: never groups"
    )
    drift_rows: int = Field(
        10_000, ge=100, le=10_000_000, description="recent rows that the drift gauges cover"
    )
    log_level: Annotated[
        Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)
    ] = Field("info", description="the least severe level that is logged")
    log_inputs: bool = Field(default=False, description="log inputs and answers too")
    api_keys: Annotated[
        tuple[
            Annotated[
                str,
                AfterValidator(_check_key),
                Allowed("KEY or NAME:KEY, of 16 characters or more"),
            ],
            ...,
        ],
        BeforeValidator(_check_filled),
        Split,
    ] = Field(
        (),
        repr=False,
        description="API keys; all but probes and pages then require one, and the log has its name",
    )
    api_keys_file: (
        Annotated[
            FilePath,
            BeforeValidator(_check_filled),
            AfterValidator(_check_file),
            Allowed("a file that exists, with one key per line"),
        ]
        | None
    ) = Field(
        None,
        description="file with more keys, read again within a second of a change; while it is "
        "empty, it has no valid key",
    )
    cors_origins: Annotated[
        tuple[
            Annotated[
                str,
                StringConstraints(pattern=ORIGIN),
                Allowed("* or an origin, such as https://app.example.com"),
            ],
            ...,
        ],
        Split,
    ] = Field(
        (),
        description="origins of other pages that browsers let call the service; `*`: all",
    )
    trusted_proxies: Annotated[
        tuple[
            Annotated[
                Network,
                BeforeValidator(_parse_network),
                Allowed("a network or an address, such as 10.0.0.0/8"),
            ],
            ...,
        ],
        Split,
    ] = Field(
        (),
        description="networks of the proxies in front: the log takes the client's address from "
        "their `X-Forwarded-For`",
    )
    heartbeat_seconds: float = Field(
        30,
        ge=0,
        le=3600,
        description="how long a worker may hang before it is replaced; 0: forever",
    )
    model_tag: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[\w.-]+:[\w.-]+$"),
            Allowed("NAME:VERSION, such as cairn:0123456789ab"),
        ]
        | None
    ) = Field(None, description="another model: this one of the BentoML store at BENTOML_HOME")
    model_uri: (
        Annotated[
            str,
            StringConstraints(pattern=URI),
            Allowed("s3://BUCKET/KEY, models:/NAME/VERSION or models:/NAME@ALIAS"),
        ]
        | None
    ) = Field(
        None,
        description="another model: an export of `make export` on S3; or one that MLflow names, "
        "in the store at BENTOML_HOME",
    )
    model_sha256: (
        Annotated[
            str,
            StringConstraints(pattern=r"^[0-9a-f]{64}$"),
            Allowed("64 lower-case hex digits, as `make export` prints them"),
        ]
        | None
    ) = Field(None, description="SHA-256 of that export")
    max_model_bytes: int = Field(
        MAX_MODEL_BYTES,
        ge=MIB,
        le=4096 * MIB,
        description="largest size in bytes of that export, and of what it unpacks to",
    )
    mlflow_tracking_uri: str | None = Field(
        None, repr=False, description="address of the MLflow server that `models:/` asks"
    )
    metrics_open: bool = Field(default=True, description="`false`: `/metrics` requires a key, too")

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

    The exceptions are API_KEYS and API_KEYS_FILE: set but empty, they are wrong.

    Raises
    ------
    ValueError
        One line for each setting that is wrong: its name, what came, what is allowed.
    """
    texts = {
        name: environment[name.upper()].strip()
        for name in Settings.model_fields
        if name.upper() in environment
    }
    values = {name: value for name, value in texts.items() if value or name in KEPT_BLANK}
    try:
        return Settings.model_validate(values)
    except OSError as error:  # of the one setting that is a file
        reason = f"{error.strerror}; user {os.getuid()} must be able to read it"
        raise ValueError(f"error: API_KEYS_FILE: {values['api_keys_file']!r}: {reason}") from None
    except ValidationError as error:
        lines = map(_describe, list_problems(error, Settings))
        raise ValueError("\n".join(f"error: {line}" for line in lines)) from None


def _describe(problem: Problem) -> str:
    """Describe what is wrong with a setting, or with several; a key is never repeated."""
    if not problem.key:
        return problem.allowed
    name = str(problem.key[0]).upper()
    if name == "API_KEYS":
        number = "".join(f" key {int(index) + 1}:" for index in problem.key[1:])
        return f"{name}:{number} {problem.allowed}"
    if problem.kind == "value_error":  # its words say what is wrong, not what is allowed
        value = f"{problem.value!r}: " if problem.value else ""
        return f"{name}: {value}{problem.allowed}"
    return f"{name}: {problem.text}"
