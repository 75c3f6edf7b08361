"""Says whether a port of this machine is free: `python -m deploy.local.port_check PORT TARGET`."""

from __future__ import annotations

import sys

from deploy.local import ports

DEFAULT = 3000


def main() -> None:
    """End with one line where nothing can be served at PORT, as `make TARGET` wants to."""
    text, target = sys.argv[1:]
    port = parse_port(text)
    if any(ports.answers(family, address, port) for family, address in ports.ADDRESSES):
        sys.exit(f"error: port {port} is in use; take another: make {target} PORT={DEFAULT + 1}")


def parse_port(text: str) -> int:
    """Parse a port's number; the process ends where it is none."""
    try:
        return ports.parse(text)
    except ValueError as error:
        sys.exit(f"error: PORT: {error}")


if __name__ == "__main__":
    main()
