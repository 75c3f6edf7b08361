"""One process of the service: the model is opened, requests are answered, all is written down.

Nothing here imports BentoML, and so nothing that a worker needs may.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

from cairn.errors import CairnError
from service.bento.client import SCHEMA
from service.bento.store import NAME, ServedModel, choose_model, find_packed
from service.http import routes
from service.http.front import Front
from service.inference.predictor import Predictor
from service.process import lifecycle, run_folder
from service.process.settings import Settings, load_or_default, read_settings
from service.telemetry import logs

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
        self.worker.log_event("ready", **self.worker.runner.describe())

    def stop(self) -> None:
        """Write the last counts and lines, after the last answer."""
        self.worker.log_event("stopped")
        self.worker.close()


def open_predictor(settings: Settings, resolve: Callable[[], ServedModel]) -> Predictor:
    """Open the model that the settings name, or else the one that `resolve` returns."""
    served = choose_model(settings, resolve)
    return Predictor(*served, max_rows=settings.max_rows, threads=settings.threads)


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
