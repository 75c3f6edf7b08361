"""What of the user's own files the release that was merged does not take, one line each.

It runs in the user's folder after the merge, so it is the release's code that reads the files.
"""

from __future__ import annotations

from cairn import params
from cairn.console import CairnError
from cairn.paths import CONTRACT
from cairn.tables import contract_file


def main() -> None:
    """Print what is wrong with params.yaml and the contract."""
    try:
        params.load()
    except CairnError as error:
        print(error)
    if CONTRACT.is_file():  # the first `dvc repro` makes one
        try:
            contract_file.read(CONTRACT)
        except CairnError as error:
            print(error)


if __name__ == "__main__":
    main()
