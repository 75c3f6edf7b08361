"""What `cairn_commands` reads of BentoML's command line and configuration, which are private.

BentoML 1.4 has the entry points `bentoml.commands` for commands of others, but no documented way
to extend one of its own. tests/service/bento/test_compat.py and tests/deploy/test_commands.py fail
where one of these seams moves.
"""

from __future__ import annotations

import warnings
from importlib.metadata import version
from pathlib import Path

import click

SUPPORTED = ("1.4.39", "1.5")
# The parameter in which BentoML keeps the values of --opt, by their names.
BACKEND_OPTIONS = "_memoized"


def find_commands() -> tuple[click.Command, click.Command]:
    """Return BentoML's own `build` and `containerize`; warn where its version is not supported."""
    installed = version("bentoml")
    lowest, below = ([int(part) for part in text.split(".")] for text in SUPPORTED)
    if not lowest <= [int(part) for part in installed.split(".")[:3] if part.isdecimal()] < below:
        warnings.warn(
            f"`bentoml build` and `bentoml containerize` of this project are made for bentoml "
            f">={SUPPORTED[0]},<{SUPPORTED[1]}; {installed} is installed",
            stacklevel=2,
        )
    from bentoml_cli.bentos import bento_command  # noqa: PLC0415
    from bentoml_cli.containerize import containerize_command  # noqa: PLC0415

    return bento_command.commands["build"], containerize_command


def own_params(command: click.Command) -> list[click.Parameter]:
    """Return a command's parameters without those that BentoML adds to each that it loads."""
    from bentoml_cli.utils import BentoMLCommandGroup  # noqa: PLC0415

    return command.params[: -BentoMLCommandGroup.NUMBER_OF_COMMON_PARAMS]


def find_bento_store() -> Path:
    """Return the folder of the Bentos in BentoML's store."""
    from bentoml._internal.configuration.containers import BentoMLContainer  # noqa: PLC0415

    return Path(BentoMLContainer.bento_store_dir.get())
