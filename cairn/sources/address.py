"""Addresses: the variables in `raw.source`, and what no message may repeat of it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote

from cairn.errors import CairnError
from cairn.sources.base import UrlPart

VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+._-]*)://")
SHORTEST = 4  # characters of a value that is hidden wherever it occurs
SECRET_NAME = re.compile("cred|key|pass|secret|sig|token", re.IGNORECASE)
HIDDEN = "***"


class Url(NamedTuple):
    """A URL in the parts that concern secrets; other addresses have `rest` only.

    Attributes
    ----------
    scheme
        With its ://.
    user
        User and password, without the @.
    rest
        All that follows, with the @.
    """

    scheme: str
    user: str
    rest: str


def scheme_of(address: str) -> str:
    """Return the scheme of a URL in lower case; empty for other addresses."""
    match = SCHEME.match(address)
    return match[1].lower() if match else ""


def split(address: str, secrets: Collection[UrlPart]) -> Url:
    """Split an address whose kind has these secrets; one of a kind without any is left whole."""
    match = SCHEME.match(address)
    if not match or not secrets:
        return Url("", "", address)
    user, at, rest = address[match.end() :].rpartition("@")
    return Url(match[0], user, at + rest)


def expand(source: str, secrets: Collection[UrlPart], environment: Mapping[str, str]) -> str:
    """Replace each `${NAME}` by that environment variable.

    Before the `@` of a URL the values are percent-encoded, so that a password may have any
    character.
    """
    scheme, user, rest = split(source, secrets)
    user = VARIABLE.sub(lambda match: quote(get_variable(match[1], environment), safe=""), user)
    return scheme + user + VARIABLE.sub(lambda match: get_variable(match[1], environment), rest)


def get_variable(name: str, environment: Mapping[str, str]) -> str:
    """Return a variable's value; raise a CairnError where it is not set."""
    if name not in environment:
        raise CairnError(f"raw.source: the environment variable {name} is not set; set it")
    return environment[name]


def mask(source: str, secrets: Collection[UrlPart]) -> str:
    """Format a source for messages: variables by name, no user, no password, no parameters."""
    scheme, user, rest = split(source, secrets)
    if not scheme:
        return rest
    bare, mark, _ = rest.partition("?")
    return f"{scheme}{HIDDEN if user else ''}{bare}{f'?{HIDDEN}' if mark else ''}"


def without_user(address: str, secrets: Collection[UrlPart]) -> str:
    """Return an address without user and password."""
    scheme, _, rest = split(address, secrets)
    return scheme + rest.removeprefix("@")


def find_secrets(
    source: str, address: str, secrets: Collection[UrlPart], environment: Mapping[str, str]
) -> set[str]:
    """Find the texts that no message may repeat.

    Parameters
    ----------
    source, address
        `raw.source`, before and after its variables were replaced: their values are secret.
    secrets
        Those of the address's kind.
    """
    scheme, user, rest = split(address, secrets)
    _, _, password = user.partition(":")
    _, _, parameters = rest.partition("?") if scheme else ("", "", "")
    texts = {password, unquote(password)} if "password" in secrets else set()
    values = {environment[name] for name in VARIABLE.findall(source)}
    if "parameters" in secrets:
        texts.add(parameters)
        values |= {value for name, value in parse_qsl(parameters) if SECRET_NAME.search(name)}
    if "user" in secrets:
        values.add(user)
    return {text for text in texts if text} | {text for text in values if len(text) >= SHORTEST}


def hide(text: str, secrets: Iterable[str]) -> str:
    """Replace secrets in a text."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    return text
