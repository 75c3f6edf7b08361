"""One process of the service: the model is opened, requests are answered, all is written down.

Nothing here imports BentoML, and so nothing that a worker needs may.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from cairn.errors import CairnError
from cairn.inference import LONGEST_REASON
from cairn.paths import ONNX
from service.bento.client import SCHEMA
from service.bento.store import NAME, ServedModel, choose_model, find_packed
from service.http import routes
from service.http.front import Front
from service.inference.predictor import Predictor
from service.process import lifecycle, memory, open_files, run_folder
from service.process.settings import Settings, load_or_default, read_settings
from service.telemetry import logs

# What a graph may take to be opened and to answer once. A forest takes 16 times its file's size.
GRAPH_BYTES, GRAPH_FACTOR, THREAD_BYTES = 256 * 2**20, 40, 16 * 2**20

logger = logging.getLogger(NAME)


class Instance:
    """The service as one process has it.

    Parameters
    ----------
    resolve
        Returns the model that came with the code.

    Raises
    ------
    CairnError
        Where a setting is wrong, or there is no such model; the log has said so.
    """

    def __init__(self, resolve: Callable[[], ServedModel] = find_packed) -> None:
        # In a worker every line is the log's from the first; elsewhere logging is the caller's.
        self._log = start_log(load_or_default()) if run_folder.find_folder() else None
        run_folder.use_for_temporary_files()
        self.settings = check_settings()
        try:
            self.predictor = open_predictor(self.settings, resolve)
        except Exception as error:
            logger.error("the model cannot be loaded: %s", error)  # noqa: TRY400, it goes on
            raise

    def start(self, index: int) -> None:
        """Start to answer requests, in the loop that will; `index` is the worker's, from 0."""
        log = self._log or start_log(self.settings)
        asked = self.settings.max_connections
        allowed = open_files.allow_connections(asked)
        self.settings = self.settings.model_copy(update={"max_connections": allowed})
        try:
            self.worker = routes.build_worker(
                self.predictor,
                self.settings,
                lifecycle.find_lifecycle(),
                log,
                schema=SCHEMA,
                index=index,
                folder=run_folder.find_folder(),
            )
        except CairnError as error:
            logger.error("the worker cannot start: %s", error)  # noqa: TRY400, the user can mend it
            raise
        self.worker.start()
        lifecycle.find_lifecycle().start(self.settings, Front(None, lambda: self.worker))
        if allowed < asked:
            self.worker.log_event(
                f"MAX_CONNECTIONS is {allowed:,}: the limit of open files allows no more",
                asked=asked,
                edit="raise `ulimit -n`",
            )
        self.worker.log_event("ready", **self.worker.runner.describe())

    def stop(self) -> None:
        """Write the last counts and lines, after the last answer."""
        self.worker.log_event("stopped")
        self.worker.close()


def open_predictor(settings: Settings, resolve: Callable[[], ServedModel]) -> Predictor:
    """Open the model that the settings name, or else the one that `resolve` returns.

    Raises
    ------
    CairnError
        Where there is none, or it takes more memory than a graph of its size has need of. A few
        bytes can stand for gigabytes that ONNX Runtime computes when it opens or first runs them.
    """
    served = choose_model(settings, resolve)
    size = (served.folder / ONNX.name).stat().st_size
    limit = GRAPH_BYTES + GRAPH_FACTOR * size + THREAD_BYTES * settings.threads
    try:
        with memory.limit_growth(limit):
            return Predictor(*served, max_rows=settings.max_rows, threads=settings.threads)
    except Exception as error:
        # ONNX Runtime's have no class in common.
        is_its_own = type(error).__module__.startswith("onnxruntime")
        if is_its_own or isinstance(error, MemoryError | RuntimeError):
            reason = f"it cannot be run within {limit // 2**20} MiB of memory: {error}"
            raise CairnError(f"{served.tag}: {' '.join(reason.split())[:LONGEST_REASON]}") from None
        raise


def check_settings() -> Settings:
    """Return the settings; where some are wrong, log a line for each, and raise a CairnError."""
    try:
        return read_settings(os.environ)
    except ValueError as error:
        for line in str(error).splitlines():
            logger.error(line.removeprefix("error: "))  # noqa: TRY400, the user can mend it
        raise CairnError(str(error)) from None


def start_log(settings: Settings) -> logs.Log:
    """Have this process log as the settings say."""
    return logs.start_logging(
        settings.log_level, with_messages=settings.log_inputs, is_shared=settings.workers > 1
    )
