"""The BentoML service: loads one model, and is the documented contract of `/predict`.

To import it reads the settings' environment variables, for BentoML takes a service's configuration
from the class, and does nothing else: no model is read or registered, nothing is patched.
"""

from __future__ import annotations

import logging
import os
import uuid
from typing import Any

import bentoml

from cairn import onnx_runtime
from cairn.errors import CairnError
from service.bento import compat
from service.bento.client import make_client_schema
from service.bento.packed import PackedModel
from service.bento.store import NAME, choose_model
from service.http import front, routes
from service.inference.predictor import Predictor
from service.process import lifecycle, run_folder, supervisor, worker
from service.process.settings import Settings, load_or_default, load_settings, read_settings
from service.telemetry import logs

logger = logging.getLogger(NAME)
DECLARED = load_or_default()


@bentoml.service(
    name=NAME,
    workers=DECLARED.workers,
    # The service has these itself, see routes.py, metrics.py and logs.py.
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    traffic={"timeout": DECLARED.timeout_seconds},
    envs=[
        {"name": "BENTOML_DO_NOT_TRACK", "value": "true"},
        {"name": onnx_runtime.OFF, "value": "1"},
        # NumPy's, which the service hardly asks anything of.
        {"name": "OPENBLAS_NUM_THREADS", "value": str(DECLARED.threads)},
        {"name": "OMP_NUM_THREADS", "value": str(DECLARED.threads)},
    ],
)
class Cairn:
    """Predictions of the model that dvc.lock names."""

    # BentoML packs what is a class attribute here.
    model = PackedModel()

    def __init__(self) -> None:
        # In a worker every line is the log's from the first; elsewhere logging is the caller's.
        self.log = start_log(load_or_default()) if run_folder.find_folder() else None
        run_folder.use_for_temporary_files()
        self.settings = check_settings()
        try:
            served = choose_model(self.settings, lambda: self.model)
            self.predictor = Predictor(
                *served, max_rows=self.settings.max_rows, threads=self.settings.threads
            )
        except Exception as error:
            logger.error("the model cannot be loaded: %s", error)  # noqa: TRY400, it goes on
            raise

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def supervise() -> None:
        """Take over from BentoML, in the parent process, before it starts its workers."""
        load_settings()
        compat.stop_tracking()
        compat.replace_arbiter(lambda launch: compat.execute(supervisor.PROGRAM, launch))

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Start to answer requests, in each worker, once the model has answered."""
        log = self.log or start_log(self.settings)
        try:
            self.worker = routes.build_worker(
                self.predictor,
                self.settings,
                lifecycle.find_lifecycle(),
                log,
                schema=make_client_schema(service.schema()),
                index=(bentoml.server_context.worker_index or 1) - 1,
                folder=run_folder.find_folder(),
            )
        except CairnError as error:
            logger.error("the worker cannot start: %s", error)  # noqa: TRY400, the user can mend it
            raise
        self.worker.start()
        # Past all of BentoML's own middlewares, which take longer than the model.
        lifecycle.find_lifecycle().start(self.settings, front.Front(None, lambda: self.worker))
        self.worker.log_event("ready", **self.worker.runner.describe())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Write the last counts and lines, in each worker, after its last answer."""
        self.worker.log_event("stopped")
        self.worker.close()

    # Over HTTP `Front` answers this route, by the same code; this is its documentation, and the
    # way in for Python.
    @bentoml.api(route="/predict")  # type: ignore[untyped-decorator]
    def predict(
        self,
        features: list[Any] | None = None,
        records: list[dict[str, Any]] | None = None,
    ) -> dict[str, Any]:
        """Predict the class of one row, or of many.

        `features` takes the values in the order of the columns, or a list of such lists;
        `records` objects with a value for each column. A bare object with a value for each column
        is one row as well. BentoML's own client has an argument for a DataFrame besides, see
        `service.bento.client`.
        """
        body = {"features": features} if records is None else {"records": records}
        return self.predictor.predict(body, uuid.uuid4().hex)


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


def find_worker() -> worker.Worker:
    """Return the worker of this process."""
    return bentoml.get_current_service().worker  # type: ignore[no-any-return]


service: Any = Cairn  # a Service, by the decorator
service.add_asgi_middleware(front.Front, worker=find_worker)
