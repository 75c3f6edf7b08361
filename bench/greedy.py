"""Be the client that asks for everything: post one large body over and over, without pause.

It prints a line when it has its first answer, and at SIGTERM how many answers it got of each
status, as JSON.

python -m bench.greedy PORT PATH BODY
"""

from __future__ import annotations

import json
import signal
import sys
from collections import Counter
from http.client import HTTPConnection, HTTPException
from pathlib import Path

from bench.arguments import build_parser

HOST = "127.0.0.1"
TIMEOUT = 60
JSON = {"Content-Type": "application/json"}


def main() -> None:
    """Post until SIGTERM."""
    parser = build_parser("bench.greedy", __doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("body", type=Path, help="file with the body")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    statuses: Counter[str] = Counter()
    connection = HTTPConnection(HOST, arguments.port, timeout=TIMEOUT)
    body = arguments.body.read_bytes()
    try:
        while True:
            statuses[post(connection, arguments.path, body)] += 1
            if statuses.total() == 1:
                print("started", flush=True)
    finally:
        print(json.dumps(statuses), flush=True)


def post(connection: HTTPConnection, path: str, body: bytes) -> str:
    """Post the body, and return the status of its answer, or how the connection broke."""
    try:
        connection.request("POST", path, body, JSON)
        response = connection.getresponse()
        response.read()
    except (OSError, HTTPException) as error:
        connection.close()
        return type(error).__name__
    return str(response.status)


if __name__ == "__main__":
    main()
