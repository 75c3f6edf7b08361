"""What of the user's own files the release that was merged does not take, one line each.

It runs in the user's folder after the merge, so it is the release's code that reads the files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from cairn.errors import CairnError
from cairn.params.file import load_params
from cairn.paths import CONTRACT
from cairn.tables import contract_file
from cairn.yaml_text import read_yaml
from deploy.local.upgrade.keys import list_keys

OVERLAYS = Path("deploy/k8s/overlays")
PARAMETERS = Path("deploy/ec2/parameters.json")
TEMPLATE = Path("deploy/ec2/template.yaml")


def main() -> None:
    """Print what is wrong with params, contract, overlays and deploy parameters."""
    checks: list[Callable[[], Any]] = [load_params]
    if CONTRACT.is_file():  # the first `dvc repro` makes one
        checks.append(lambda: contract_file.read(CONTRACT))
    for check in checks:
        try:
            check()
        except CairnError as error:
            print(error)
    for problem in (*find_overlay_problems(), *find_parameter_problems()):
        print(problem)


def find_overlay_problems(folder: Path = OVERLAYS) -> Iterator[str]:
    """Find what an overlay builds on and the release does not have."""
    for file in sorted(folder.glob("*/kustomization.yaml")):
        content = read_yaml(file, "write one")
        for key in ("resources", "components"):
            for name in (content or {}).get(key) or ():
                if str(name).startswith(".") and not (file.parent / str(name)).exists():
                    yield f"{file}: {key}: there is no {name} in this release; take another"


def find_parameter_problems(file: Path = PARAMETERS, template: Path = TEMPLATE) -> Iterator[str]:
    """Find the deploy parameters that the stack no longer has."""
    if not file.is_file():
        return
    keys = list_keys(template.read_text(encoding="utf-8"))
    names = [key.removeprefix("Parameters.") for key in keys if key.startswith("Parameters.")]
    for entry in json.loads(file.read_text(encoding="utf-8")):
        name = str(entry).partition("=")[0]
        if name not in names:
            yield f"{file}: {name}: {template} has no such parameter; there are {', '.join(names)}"


if __name__ == "__main__":
    main()
