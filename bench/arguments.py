"""The command lines of the benchmarks, and of what draws their results."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def build_parser(module: str, doc: str | None) -> argparse.ArgumentParser:
    """Build the parser of a module, whose docstring `--help` prints."""
    return argparse.ArgumentParser(
        prog=f"python -m {module}",
        description=doc,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def parse_paths(module: str, doc: str | None) -> argparse.Namespace:
    """Parse the command line of what draws: a result, and the plot to write."""
    parser = build_parser(module, doc)
    parser.add_argument("result", metavar="RESULT")
    parser.add_argument("plot", metavar="PLOT")
    return parser.parse_args()


def parse_arguments(module: str, doc: str | None, names: Sequence[str] = ()) -> argparse.Namespace:
    """Parse the command line: `quick`, and, where there are names, `only`, some of them."""
    parser = build_parser(module, doc)
    parser.add_argument("--quick", action="store_true", help="shorter; writes nothing")
    if not names:
        return parser.parse_args()
    parser.add_argument(
        "--only",
        type=lambda text: text.split(","),
        default=list(names),
        help=f"some of {','.join(names)}; writes nothing",
    )
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.only) - set(names))
    if unknown:
        parser.error(f"--only: no {', '.join(unknown)}; allowed: {', '.join(names)}")
    return arguments
