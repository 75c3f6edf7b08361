"""The BentoML service: loads one model, and is the documented contract of `/predict`."""

from __future__ import annotations

import logging
import uuid
from typing import Any

import bentoml
import orjson

from service.bento.client import schema_of_client
from service.bento.store import NAME, chosen, packed_tag
from service.http import routes
from service.inference.predictor import Predictor
from service.process import lifecycle, run_folder, supervisor, worker
from service.process.settings import settings
from service.telemetry import logs

logger = logging.getLogger(NAME)


@bentoml.service(
    name=NAME,
    workers=settings().workers,
    # What BentoML has of these, the service does itself: see front.py, metrics.py, logs.py.
    logging={"access": {"enabled": False}},
    metrics={"enabled": False},
    traffic={"timeout": settings().timeout_seconds},
    envs=[
        {"name": "BENTOML_DO_NOT_TRACK", "value": "true"},
        # NumPy's, which the service hardly asks anything of.
        {"name": "OPENBLAS_NUM_THREADS", "value": str(settings().threads)},
        {"name": "OMP_NUM_THREADS", "value": str(settings().threads)},
    ],
)
class Cairn:
    """Predictions of the model that dvc.lock names."""

    # BentoML packs what stands here as a class attribute, so the tag must be known at import.
    model = bentoml.models.BentoModel(packed_tag())

    def __init__(self) -> None:
        told = settings()
        # In a worker every line is the log's from the first; elsewhere logging is the caller's.
        self.log = log() if run_folder.folder() else None
        try:
            served = chosen(told, self.model)
            self.predictor = Predictor(*served, max_rows=told.max_rows, threads=told.threads)
        except Exception as error:
            logger.error("the model cannot be loaded: %s", error)  # noqa: TRY400, it goes on
            raise

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def supervise() -> None:
        """Run in the parent process, before it makes its workers."""
        supervisor.install()

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Run in each worker, once the model has answered."""
        told = settings()
        self.worker = worker.build(
            self.predictor,
            told,
            lifecycle.state(),
            self.log or log(),
            routes=(*routes.ROUTES, routes.OTHER),
            pages=routes.pages(self.predictor, told, schema_of_client(service.schema())),
            place=(bentoml.server_context.worker_index or 1) - 1,
            folder=run_folder.folder(),
        )
        self.worker.start()
        # Before all of BentoML's own middlewares, which take longer than the model.
        lifecycle.state().start(told, lambda app: routes.Front(app, lambda: self.worker))
        self.worker.say("ready", **self.worker.runner.describe())

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Run in each worker, after its last answer."""
        self.worker.say("stopped")
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
        answer = self.predictor.predict(body, uuid.uuid4().hex)
        return dict(orjson.loads(orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)))


def log() -> logs.Log:
    """Have this process log as the settings say."""
    told = settings()
    return logs.start(told.log_level, messages=told.log_inputs, shared=told.workers > 1)


def loaded() -> worker.Worker:
    """The worker of this process."""
    return bentoml.get_current_service().worker  # type: ignore[no-any-return]


service: Any = Cairn  # the decorator made a Service of it
service.add_asgi_middleware(routes.Front, worker=loaded)
