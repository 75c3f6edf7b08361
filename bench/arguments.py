"""The command line that the longer benchmarks share."""

from __future__ import annotations

import argparse


def parsed(module: str, doc: str | None, everything: list[str]) -> argparse.Namespace:
    """What the command line asks for: `quick`, and `only`, some of everything."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="shorter; writes nothing")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=everything,
        help=f"some of {','.join(everything)}; writes nothing",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.only) - set(everything))
    if unknown:
        parser.error(f"--only: no {', '.join(unknown)}; allowed: {', '.join(everything)}")
    return arguments
