"""One process of the service: what it holds, and what it does between requests."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from service.http.budget import Quota
from service.http.clients import Proxies
from service.http.cors import Cors
from service.http.keys import Keys
from service.inference.predictor import Predictor
from service.inference.runner import Runner
from service.process.heartbeats import Heartbeats, open_heartbeats
from service.process.lifecycle import Lifecycle
from service.process.settings import Settings
from service.telemetry.logs import Log
from service.telemetry.metrics import Layout, Metrics, open_table

# Seconds after which another worker's scrape has what this one has counted.
TICK = 1.0
QUIET_SECONDS = 60.0  # between two lines that say the same of this process


@dataclass(frozen=True)
class Worker:
    """One process of the service.

    Attributes
    ----------
    cors
        What lets pages of other origins ask; None: nothing does.
    heartbeats, index
        Of all workers, and which of them this one is, from 0.
    keyed
        The paths, as the table of routes has them, that ask for a key.
    documents
        Path → what it answers, where that never changes.
    """

    settings: Settings
    predictor: Predictor
    runner: Runner
    metrics: Metrics
    log: Log
    keys: Keys
    slots: Quota
    lifecycle: Lifecycle
    cors: Cors | None
    proxies: Proxies
    heartbeats: Heartbeats
    index: int
    keyed: frozenset[str]
    documents: Mapping[str, bytes]
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _quiet_until: dict[int | str, float] = field(default_factory=dict)

    def start(self) -> None:
        """Take up requests; called in the loop that will serve."""
        self.runner.share_interpreter()
        self._beat()
        self._tasks.add(asyncio.get_running_loop().create_task(self._run()))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(TICK)
            self._beat()
            self.tick()

    def _beat(self) -> None:
        self.heartbeats.beat(self.index, self.settings.heartbeat_seconds)

    def log_event(self, event: str, **facts: Any) -> None:
        """Log what happens to this worker."""
        version = self.predictor.version
        self.log.log_event(logging.INFO, {"event": event, "model_version": version, **facts})

    def tick(self) -> None:
        """Do what is due each second: read the keys, let the other workers see the counts."""
        self.keys.refresh()
        self._check_files()
        self.metrics.settle()
        self.metrics.add_dropped(self.log.pop_dropped())

    def _check_files(self) -> None:
        """Log that no file can be opened, and so no connection be taken, once in a while."""
        try:
            os.close(os.open(os.devnull, os.O_RDONLY))
        except OSError as error:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            event = f"out of file descriptors: {error.strerror}; new connections have to wait"
            edit = "raise `ulimit -n`, or have the proxy in front keep fewer connections"
            fields = {"event": event, "limit": limit, "edit": edit}
            self._log_once_in_a_while(error.errno or 0, logging.ERROR, fields)

    def log_crowd(self, event: str) -> None:
        """Log what was done because connections are too many, or hold too much, once in a while."""
        limit = self.settings.max_connections
        edit = "raise MAX_CONNECTIONS, or have the proxy in front keep fewer connections"
        fields = {"event": event, "limit": limit, "edit": edit}
        self._log_once_in_a_while("crowd", logging.WARNING, fields)

    def _log_once_in_a_while(self, kind: int | str, level: int, fields: dict[str, Any]) -> None:
        """Log what would else fill the log."""
        if time.monotonic() < self._quiet_until.get(kind, 0.0):
            return
        self._quiet_until[kind] = time.monotonic() + QUIET_SECONDS
        self.log.log_event(level, fields)

    def close(self) -> None:
        """Write what is left: the counts, and the lines of the log that wait."""
        self.tick()
        self.heartbeats.stop(self.index)
        self.log.close()


def build_worker(  # noqa: PLR0913
    predictor: Predictor,
    settings: Settings,
    lifecycle: Lifecycle,
    log: Log,
    *,
    labels: tuple[str, ...],
    keyed: frozenset[str],
    documents: Mapping[str, bytes],
    index: int = 0,
    folder: Path | None = None,
) -> Worker:
    """Build a worker that serves a model.

    Parameters
    ----------
    labels
        The routes that the metrics tell apart.
    keyed, documents
        As in Worker.
    index, folder
        Which of the workers it is, from 0, and where they share their counts; None: nowhere.
    """
    layout = Layout(predictor.contract, labels)
    shared = open_table(layout, settings.workers, folder)
    heartbeats = open_heartbeats(settings.workers, folder)
    index %= settings.workers
    info = {"model_version": predictor.version, "git_commit": read_commit(predictor)}
    return Worker(
        settings=settings,
        predictor=predictor,
        runner=Runner(predictor.run, predictor.cost, settings.batch_latency_ms / 1e3),
        metrics=Metrics(layout, shared, index, settings.drift_rows, info, heartbeats.count),
        log=log,
        keys=Keys(settings.api_keys, settings.api_keys_file),
        slots=Quota(
            settings.max_concurrency,
            f"{settings.max_concurrency} requests are in progress already; try again",
        ),
        lifecycle=lifecycle,
        cors=Cors(settings.cors_origins) if settings.cors_origins else None,
        proxies=Proxies(settings.trusted_proxies),
        heartbeats=heartbeats,
        index=index,
        keyed=keyed,
        documents=documents,
    )


def read_commit(predictor: Predictor) -> str:
    """Return the git commit that a model comes from."""
    return str(predictor.chain.get("git", {}).get("commit", ""))
