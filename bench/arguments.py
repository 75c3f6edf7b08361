"""The command line that the longer benchmarks share."""

from __future__ import annotations

import argparse


def parse_arguments(module: str, doc: str | None, names: list[str]) -> argparse.Namespace:
    """Parse the command line: `quick`, and `only`, some of the names."""
    parser = argparse.ArgumentParser(prog=f"python -m {module}", description=doc)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--quick", action="store_true", help="shorter; writes nothing")
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=names,
        help=f"some of {','.join(names)}; writes nothing",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.only) - set(names))
    if unknown:
        parser.error(f"--only: no {', '.join(unknown)}; allowed: {', '.join(names)}")
    return arguments
