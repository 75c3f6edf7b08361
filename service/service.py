"""The BentoML service: loads one model, and is the documented contract of `/predict`.

To import it reads the settings' environment variables, for BentoML takes a service's configuration
from the class, and does nothing else: no model is read or registered, nothing is patched.
"""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import bentoml

from cairn import onnx_runtime
from service.bento import compat
from service.bento.packed import PackedModel
from service.bento.store import NAME, PACKED, read_model, register_packed
from service.http import front
from service.instance import Instance
from service.process import supervisor, worker
from service.process.settings import load_or_default, load_settings

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

    # An adapter: what a process does from start to end is `Instance`'s, which workers have without
    # this class, see `service.serve`.

    # BentoML packs what is a class attribute here.
    model = PackedModel()

    def __init__(self) -> None:
        self.instance = Instance(lambda: read_model(Path(self.model.path)))

    @bentoml.on_deployment  # type: ignore[untyped-decorator]
    @staticmethod
    def supervise() -> None:
        """Take over from BentoML, in the parent process, before it starts its workers."""
        load_settings()
        compat.stop_tracking()
        packed = {PACKED: register_packed()}
        compat.replace_arbiter(
            lambda launch: compat.execute(supervisor.PROGRAM, compat.use_own_worker(launch, packed))
        )

    @bentoml.on_startup  # type: ignore[untyped-decorator]
    def start(self) -> None:
        """Start to answer requests, past all of BentoML's own middlewares."""
        self.instance.start((bentoml.server_context.worker_index or 1) - 1)

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def stop(self) -> None:
        """Write the last counts and lines, after the last answer."""
        self.instance.stop()

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
        return self.instance.predictor.predict(body, uuid.uuid4().hex)


def find_worker() -> worker.Worker:
    """Return the worker of this process."""
    return bentoml.get_current_service().instance.worker  # type: ignore[no-any-return]


service: Any = Cairn  # a Service, by the decorator
service.add_asgi_middleware(front.Front, worker=find_worker)
