"""The one way in which the pipeline and the local store open an S3 client: botocore's.

botocore finds credentials, region and endpoint as AWS's own tools do: variables, profiles and
single sign-on of ~/.aws, web identity, roles of containers and instances. DVC's remote is built on
it, so it is installed anyway. The serving image has obstore instead (service/bento/fetch.py), half
the size, which reads ~/.aws only through boto3; hence it does not replace botocore here.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Keys(NamedTuple):
    """A pair of keys of AWS's form."""

    access: str
    secret: str


def open_client(
    *,
    connect_timeout: float,
    read_timeout: float,
    attempts: int,
    endpoint: str | None = None,
    keys: Keys | None = None,
) -> Any:
    """Open a client.

    Parameters
    ----------
    connect_timeout, read_timeout
        Seconds.
    attempts
        How often a request is sent at most.
    endpoint, keys
        Of a store on this machine, which is asked directly and not through a proxy. Without them
        AWS's ordinary ways apply, and requests are unsigned where there are no credentials.

    Raises
    ------
    ValueError, botocore.exceptions.BotoCoreError
        Where AWS's settings cannot be used.
    """
    import botocore.session  # noqa: PLC0415 - it takes longer to import than most commands take
    from botocore import UNSIGNED  # noqa: PLC0415
    from botocore.config import Config  # noqa: PLC0415

    session = botocore.session.Session()
    is_signed = keys is not None or session.get_credentials() is not None
    config = Config(
        connect_timeout=connect_timeout,
        read_timeout=read_timeout,
        retries={"mode": "standard", "total_max_attempts": attempts},
        signature_version=None if is_signed else UNSIGNED,
        proxies=None if endpoint is None else {},
    )
    local = {} if endpoint is None else {"endpoint_url": endpoint, "region_name": "us-east-1"}
    signing = (
        {}
        if keys is None
        else {"aws_access_key_id": keys.access, "aws_secret_access_key": keys.secret}
    )
    return session.create_client("s3", config=config, **local, **signing)
