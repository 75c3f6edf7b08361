"""DVC's default remote: where it is, what is wrong with it, and what the store writes about it."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.errors import StoreError, one_line

# ruff: noqa: PLC0415 - botocore and DVC take longer to import than most calls take

EMBEDDED = "embedded"  # the remote in .dvc/config whose endpoint and keys are the store's


@dataclass(frozen=True)
class Remote:
    """DVC's default remote, with its references resolved as DVC resolves them."""

    name: str
    path: str
    options: dict[str, Any]
    make: Callable[..., Any]
    root: Path
    embedded: str

    @property
    def bucket(self) -> str:
        """The bucket in its path."""
        return self.path.partition("/")[0]

    @property
    def prefix(self) -> str:
        """What follows the bucket in its path."""
        return self.path.partition("/")[2]

    @property
    def is_embedded(self) -> bool:
        """Whether its endpoint is the embedded store's."""
        return bool(self.embedded) and self.options.get("endpointurl") == self.embedded

    def __str__(self) -> str:
        endpoint = self.options.get("endpointurl")
        return f"remote {self.name} (s3://{self.path}{f' at {endpoint}' if endpoint else ''})"


def project_root() -> Path:
    """Find the folder that holds `.dvc`."""
    from dvc.exceptions import NotDvcRepoError
    from dvc.repo import Repo

    try:
        return Path(Repo.find_root())
    except NotDvcRepoError as error:
        raise StoreError("no .dvc folder here or above; run this inside the project") from error


def default_remote() -> Remote:
    """Read what DVC would push to and pull from, by its configuration at this moment."""
    from dvc.config import Config
    from dvc.exceptions import DvcException
    from dvc.fs import get_cloud_fs

    root = project_root()
    try:
        config = Config(root / ".dvc")
        name = config["core"].get("remote")
        if not name:
            raise StoreError("DVC has no default remote; run `dvc remote default storage`")
        make, options, path = get_cloud_fs(config, name=name)
    except DvcException as error:
        raise StoreError(f"DVC's configuration: {one_line(error)}; see .dvc/config") from error
    if make.protocol != "s3":
        raise StoreError(
            f"remote {name}: got {make.protocol}; allowed: a URL like s3://bucket/path"
        )
    embedded = config["remote"].get(EMBEDDED, {}).get("endpointurl", "")
    return Remote(name, path, options, make, root, embedded)


def is_moved(root: Path) -> bool:
    """Tell whether .dvc/config.local has another endpoint for the embedded store."""
    from dvc.config import Config

    local = Config(root / ".dvc").load_one("local")
    return "endpointurl" in local.get("remote", {}).get(EMBEDDED, {})


def write_local(root: Path, options: Mapping[str, str]) -> None:
    """Give DVC options of the remote `embedded`, in a file that only its owner can read."""
    from dvc.config import Config

    config = Config(root / ".dvc")
    if config["remote"][EMBEDDED].items() >= options.items():
        return
    local = root / ".dvc" / "config.local"
    local.touch(mode=0o600)
    local.chmod(0o600)
    with config.edit("local") as edited:
        edited["remote"].setdefault(EMBEDDED, {}).update(options)


def diagnose(error: Exception, remote: Remote) -> str:
    """Say what is wrong with the remote and what to do about it."""
    wrong, advice = explain(error, remote)
    return f"{wrong}; {'run `make store`' if remote.is_embedded else advice}"


def explain(error: Exception, remote: Remote) -> tuple[str, str]:
    """Say what is wrong, and what to do where the remote is not the embedded store."""
    from botocore import exceptions as boto

    cause = error.__cause__ if isinstance(error.__cause__, boto.ClientError) else error
    if isinstance(cause, boto.ClientError):
        return explain_refusal(cause.response["Error"], remote)
    if isinstance(cause, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return "no credentials", "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
    if isinstance(cause, (boto.ConnectionError, boto.HTTPClientError, OSError)):
        advice = "check the network, and the endpointurl and region of the remote"
        return explain_silence(cause), advice
    return one_line(cause), "check the options of the remote and the settings in ~/.aws"


def explain_refusal(answer: dict[str, str], remote: Remote) -> tuple[str, str]:
    """Say the same where the server answered, and refused."""
    code = answer.get("Code", "?")
    if code in {"NoSuchBucket", "404"}:
        return (
            f"there is no bucket {remote.bucket}",
            f"create it, or correct the URL: `dvc remote modify {remote.name} url s3://…`",
        )
    if code in {"PermanentRedirect", "AuthorizationHeaderMalformed", "301"}:
        return (
            f"the bucket {remote.bucket} is in another region ({code})",
            f"correct it: `dvc remote modify {remote.name} region …`",
        )
    wrong = f"the server refused: {code}: {one_line(answer.get('Message', '')).rstrip('.')}"
    return wrong, (
        "check AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the profile in ~/.aws, and whether"
        f" they may list, read and write the bucket {remote.bucket}"
    )


def explain_silence(error: BaseException) -> str:
    """Say why no server answered."""
    from botocore.exceptions import EndpointConnectionError

    link: BaseException | None = error
    while link is not None:
        if isinstance(link, socket.gaierror):
            return "the name of the server cannot be resolved"
        link = link.__cause__ or link.__context__
    if isinstance(error, EndpointConnectionError):
        return "nothing answers there"
    return f"no answer: {one_line(error)}"
