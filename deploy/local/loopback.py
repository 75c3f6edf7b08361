"""Keeps a proxy in the environment from requests to this machine.

`dvc push` to a store on loopback would go through `http_proxy`, unless `no_proxy` excepts it, and
neither DVC's nor AWS's configuration has a setting for that. So `install` has each Python of the
environment in `.venv` except loopback when it starts; a copy of this module is what it then runs.
Standard library only, and little of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

LOOPBACK = ("127.0.0.1", "localhost", "::1")
PROXIES = frozenset({"http_proxy", "https_proxy", "all_proxy"})
COPY = "cairn_loopback"


def apply() -> None:
    """Except loopback from the proxies of this process and of those that it starts."""
    os.environ.update(exceptions(os.environ))


def exceptions(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the variables to set so that no proxy gets requests to loopback.

    Examples
    --------
    >>> exceptions({"http_proxy": "http://proxy:3128", "NO_PROXY": "example.org"})["no_proxy"]
    'example.org,127.0.0.1,localhost,::1'
    >>> exceptions({"NO_PROXY": "example.org"})
    {}
    """
    listed = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not has_proxy(environment) or listed.strip() == "*":
        return {}
    names = [name.strip() for name in listed.split(",") if name.strip()]
    text = ",".join([*names, *(name for name in LOOPBACK if name not in names)])
    return {"no_proxy": text, "NO_PROXY": text}  # programs differ in which one they read first


def has_proxy(environment: Mapping[str, str]) -> bool:
    """Return whether the environment names a proxy."""
    return any(name.lower() in PROXIES and value for name, value in environment.items())


def install() -> bool:
    """Have every Python of this virtual environment call `apply` when it starts.

    Returns whether that is so: not outside of a virtual environment, nor in one that cannot be
    written to.
    """
    import sysconfig  # noqa: PLC0415, each Python that starts reads this module
    from pathlib import Path  # noqa: PLC0415

    if sys.prefix == sys.base_prefix:
        return False
    packages = Path(sysconfig.get_path("purelib"))
    source = Path(__file__).read_text(encoding="utf-8")
    files = {f"{COPY}.py": source, f"{COPY}.pth": f"import {COPY}; {COPY}.apply()\n"}
    try:
        for name, text in files.items():
            path = packages / name
            if not path.is_file() or path.read_text(encoding="utf-8") != text:
                part = packages / f"{name}.{os.getpid()}"
                part.write_text(text, encoding="utf-8")
                part.replace(path)
    except OSError:
        return False
    return True
