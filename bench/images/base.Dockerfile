# What the peers' recipes start from: the base that bentofile.yaml names. They call pip, which the
# official image has; where a stand-in of Debian's packages takes its place, the one that its Python
# brings for new environments is added here, and is no part of their size.
ARG BASE
FROM ${BASE}
RUN if ! command -v pip >/dev/null; then \
        set -e; \
        python3 -m venv /tmp/venv; \
        cp -r /tmp/venv/lib/python3.11/site-packages/pip* /usr/local/lib/python3.11/dist-packages/; \
        rm -r /tmp/venv; \
        rm -f /usr/lib/python3*/EXTERNALLY-MANAGED; \
        printf '#!/bin/sh\nexec python3 -m pip "$@"\n' >/usr/local/bin/pip; \
        chmod +x /usr/local/bin/pip; \
    fi
# uv, which BentoML's recipe calls, trusts its own list of authorities unless it is told.
ENV SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt
