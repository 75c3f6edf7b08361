"""release: versions of the model, their stages, and how to bring one back.

`make release`, `promote`, `rollback`, `releases`, `checkout` and `serve STAGE=…` call it.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

from cairn import console
from cairn.errors import CairnError
from cairn.releases import promotion, release, versions
from cairn.releases.versions import quote


def main() -> None:
    """Run the command of the command line."""
    options = _build_parser().parse_args()
    commands: dict[str, Callable[[], None]] = {
        "register": lambda: release.release(options.version, options.bump),
        "promote": lambda: promotion.promote(
            _check_stage(options.stage), options.version, options.force
        ),
        "rollback": lambda: promotion.rollback(_check_stage(options.stage)),
        "show": lambda: print(release.format_releases(release.read_registry())),
        "tag": lambda: print(promotion.store_model(_check_stage(options.stage))),
        "checkout": lambda: release.checkout(options.version),
    }
    commands[options.command]()


def _build_parser() -> argparse.ArgumentParser:
    """Build the parser; make passes an empty text for an option that is not set."""
    parser = argparse.ArgumentParser(prog="python -m cairn.releases", description=__doc__)
    names = ("register", "promote", "rollback", "show", "tag", "checkout")
    parser.add_argument("command", choices=names)
    for name in ("stage", "version", "bump", "force"):
        parser.add_argument(f"--{name}", type=lambda text: text.strip() or None)
    return parser


def _check_stage(name: str | None) -> str:
    """Return the name of a stage; raise a CairnError if it is missing, or not allowed."""
    if name is None:
        raise CairnError(
            "STAGE: missing; set one, such as STAGE=prod; `make releases` lists those in use"
        )
    if not versions.is_stage_name(name):
        raise CairnError(f"STAGE: got {quote(name)}; {versions.NAMES}")
    return name


if __name__ == "__main__":
    console.run(main)
