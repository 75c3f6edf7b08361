"""ONNX Runtime without its telemetry; nothing else of the project imports the library.

Since 1.31 the library collects how it is used: as soon as it is loaded it writes a device's
identifier and a database below HOME, `.ses` into the folder of temporary files, and asks the name
server for its maker's host. It reads the variable that ends this once, when it is loaded, so no
call comes early enough. What it does in CI is no guide: variables such as CI and GITHUB_ACTIONS
turn the telemetry off.
"""

from __future__ import annotations

import os

OFF = "ORT_DISABLE_TELEMETRY"
os.environ[OFF] = "1"

from onnxruntime import (  # noqa: E402 - after the variable
    InferenceSession,
    RunOptions,
    SessionOptions,
)

__all__ = ["OFF", "InferenceSession", "RunOptions", "SessionOptions"]
