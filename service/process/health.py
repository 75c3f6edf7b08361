"""Whether a service is ready; run as a program, the HEALTHCHECK of its image."""

from __future__ import annotations

import os
import sys
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException

SECONDS = 4.0
ANYWHERE = {"", "0.0.0.0", "::"}  # noqa: S104, what HOST may be, not where anything listens


def main() -> None:
    """End with 0 if the service of this container is ready, with 1 and the reason if not."""
    host = os.environ.get("HOST", "").strip()
    port = int(os.environ.get("PORT", "").strip() or 3000)
    sys.exit(find_problem(port, "localhost" if host in ANYWHERE else host))


def find_problem(port: int, host: str = "localhost", seconds: float = SECONDS) -> str | None:
    """Return why the service there is not ready; None if it is."""
    connection = HTTPConnection(host, port, timeout=seconds)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
    except (OSError, HTTPException) as error:
        return f"nothing answers on port {port}: {error}"
    finally:
        connection.close()
    return None if answer.status == HTTPStatus.OK else f"not ready: {answer.status}"


if __name__ == "__main__":
    main()
