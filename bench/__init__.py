"""Speed and memory: run by `make bench`, results committed with the machine that gave them."""

import os

# No server that is compared calls its maker while it is measured, the peers among them.
os.environ.update(BENTOML_DO_NOT_TRACK="True", ORT_DISABLE_TELEMETRY="1")
