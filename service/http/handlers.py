"""What each route answers: one function a route, from the worker and the request to a reply."""

from __future__ import annotations

import asyncio
from codecs import BOM_UTF8
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import numpy as np
import orjson

from cairn.inference import Predictions
from service.http import docs
from service.http.asgi import CLOSE, RETRY, Reply
from service.http.encodings import parse_encoding, unpack
from service.http.errors import Refused
from service.http.request import Request
from service.inference.example import make_example
from service.inference.many_rows import AnsweredRows, PredictedRows, Steps
from service.inference.parsing import LIST, OBJECT, count_byte
from service.inference.request_rows import RequestRows
from service.inference.runner import Features
from service.page import files
from service.process.worker import Worker
from service.telemetry.metrics import RowCounts

# A body that is longer, or may have more rows, takes so long to read that others must be answered
# meanwhile; bytes, brackets. One that does not keep the contract as it came takes longer still.
LONG = 2**16
MANY = 256
FEW = 32
# Seconds of a run that is made where the body has been read, without a turn of its own.
LONG_RUN = 0.05
# Parameters of a query, of which one means something; thousands take longer than the model.
MAX_QUERY = 100
# What the log has of an answer where it has the inputs.
LOGGED = ("identifier", "identifiers", "prediction", "confidence", "predictions", "confidences")


# What is no coroutine is answered where the request is read, without a task.
Handler = Callable[[Worker, Request], Reply | Awaitable[Reply]]


def predict(worker: Worker, request: Request) -> Reply | Awaitable[Reply]:
    """Answer POST /predict: one row or many, at once where that is quick."""
    kind = request.headers.get(b"content-type", b"").split(b";")[0].strip().lower()
    if kind != b"application/json":
        error = f"content type {kind.decode('latin-1')!r}; allowed: application/json"
        raise Refused(415, error, headers=(CLOSE,))
    encoding = parse_encoding(request.headers.get(b"content-encoding"))
    read = None
    if not encoding:
        clear = _answer_clear(worker, request) or _answer_many(worker, request)
        if clear:
            return clear
        read = _read_at_once(worker, request)
    if read is None or not worker.runner.is_immediate(len(read.features)):
        return _predict_aside(worker, request, read, encoding)
    predictions = worker.predictor.run(read.features)
    answer = _write(worker, request, read, predictions)
    worker.metrics.add_rows(PredictedRows(read.features, predictions))
    return Reply(200, answer)


def _answer_clear(worker: Worker, request: Request) -> Reply | None:
    """Answer one row of numbers that the model has no doubt about; None where there is more to do.

    Most requests are such, and this takes half of the time that they would take otherwise.
    """
    if not _is_plain(worker, request):
        return None
    answer = worker.predictor.answer_clear(request.body, request.id)
    if answer is None:
        return None
    row, body = answer
    request.facts["rows"] = 1
    worker.metrics.add_clear(row)
    return Reply(200, body)


def _answer_many(worker: Worker, request: Request) -> Reply | Awaitable[Reply] | None:
    """Answer lists of numbers, at once if one step is enough; None where there is more to do."""
    if not _is_plain(worker, request):
        return None
    steps = worker.predictor.answer_many(request.body, request.id)
    if steps is None:
        return None
    if len(request.body) > LONG:
        return _predict_aside(worker, request, None, None, steps)
    try:
        next(steps)
    except StopIteration as end:
        return end.value and _reply_many(worker, request, end.value)
    return _predict_aside(worker, request, None, None, steps)


def _reply_many(worker: Worker, request: Request, answer: AnsweredRows) -> Reply:
    """Reply with an answer, and count its rows."""
    request.facts["rows"] = sum(len(rows.features) for rows in answer.rows)
    for rows in answer.rows:
        worker.metrics.add_rows(rows)
    return Reply(200, answer.body)


def _is_plain(worker: Worker, request: Request) -> bool:
    """Tell whether a request of rows that take microseconds wants an answer and nothing else."""
    is_plain = not request.query and not worker.settings.log_inputs
    return is_plain and worker.runner.is_immediate(1)


class Read(NamedTuple):
    """A request that is read.

    Attributes
    ----------
    rows, features
        Its rows, and what the model takes of them.
    sent
        What of its body the answer is to repeat; None: nothing.
    size
        Bytes of its body, unpacked.
    """

    rows: RequestRows
    features: Features
    sent: bytes | None
    size: int


class Answer(NamedTuple):
    """An answer that is written, and what is to be counted of it."""

    body: bytes
    counts: RowCounts


def _read_at_once(worker: Worker, request: Request) -> Read | None:
    """Read a body if that is quick; None where it may take long, or has many rows with problems."""
    body = request.body
    if len(body) > LONG:
        return None
    brackets = count_byte(body, LIST) + count_byte(body, OBJECT)
    if brackets > MANY:
        return None
    predictor, keep = worker.predictor, worker.settings.log_inputs
    reading = predictor.read if brackets <= FEW else predictor.read_typed
    read = reading(body, keep_values=keep)
    return read and Read(*read, _choose_echo(request, body), len(body))


async def _predict_aside(
    worker: Worker,
    request: Request,
    read: Read | None,
    encoding: str | None,
    steps: Steps | None = None,
) -> Reply:
    """Answer what takes longer.

    `read` has its rows where they are read already, `encoding` is that of a packed body, and
    `steps` may answer it.
    """
    runner, seconds = worker.runner, worker.settings.timeout_seconds
    with worker.slots.hold():
        try:
            async with asyncio.timeout(seconds):
                with runner.budget.hold(len(request.body)):
                    many = await runner.run_in_steps(steps) if steps else None
                    if many:
                        return _reply_many(worker, request, many)
                    answer = read or await runner.run_aside(_answer_body, worker, request, encoding)
                if isinstance(answer, Read):
                    with runner.budget.hold(answer.size):
                        answer = await _run(worker, request, answer)
        except TimeoutError:
            error = f"no answer within {seconds:g} s; send fewer rows at once"
            raise Refused(504, error) from None
    worker.metrics.add_counts(answer.counts)
    return Reply(200, answer.body)


async def _run(worker: Worker, request: Request, read: Read) -> Answer:
    """Run the model for rows that are read, and write the answer."""
    predictions = await worker.runner.predict(read.features)
    work = (worker, request, read, predictions)
    is_short = len(read.features) <= MANY
    return _answer(*work) if is_short else await worker.runner.run_aside(_answer, *work)


def _answer_body(worker: Worker, request: Request, encoding: str | None) -> Answer | Read:
    """Unpack, read and answer a body; return its rows where the model takes long for them.

    All of that in one, so that no more than one body is unpacked and parsed at a time.
    """
    if request.is_abandoned:
        raise Refused(499, "the client went away")
    body = unpack(request.body, encoding, worker.settings.max_body_bytes)
    rows, features = worker.predictor.read(body, keep_values=worker.settings.log_inputs)
    read = Read(rows, features, _choose_echo(request, body), len(body))
    if worker.runner.cost.of(len(features)) > LONG_RUN:
        # While it waits for the model, what only the log needs would fill the memory.
        return read if worker.settings.log_inputs else read._replace(rows=rows._replace(values=[]))
    return _answer(worker, request, read, worker.predictor.run(features))


def _answer(worker: Worker, request: Request, read: Read, predictions: Predictions) -> Answer:
    """Write the answer that has these predictions, and count them, in any thread."""
    body = _write(worker, request, read, predictions)
    return Answer(body, worker.metrics.count_rows(PredictedRows(read.features, predictions)))


def _write(worker: Worker, request: Request, read: Read, predictions: Predictions) -> bytes:
    """Write the answer that has these predictions, and note what the log has of it."""
    rows, features, sent, _ = read
    answer = worker.predictor.encode_answer(predictions, rows, request.id.decode(), sent)
    request.facts["rows"] = len(features)
    if worker.settings.log_inputs:
        request.facts |= _describe_inputs(worker, rows, features, orjson.loads(answer))
    return answer


def _choose_echo(request: Request, body: bytes) -> bytes | None:
    """Return what of a plain body the answer is to repeat."""
    is_echo = bool(request.query) and _wants_echo(request.query)
    return body.removeprefix(BOM_UTF8) if is_echo else None


def _describe_inputs(
    worker: Worker, rows: RequestRows, features: Features, answer: dict[str, Any]
) -> dict[str, Any]:
    """Return what LOG_INPUTS adds to the log: rows, answers, and each feature's mean and spread."""
    contract = worker.predictor.contract
    with np.errstate(all="ignore"):
        means, deviations = (f(features.astype(np.float64), axis=0) for f in (np.mean, np.std))
    return {
        "inputs": [dict(zip(contract.names, row, strict=True)) for row in rows.values],
        **{key: answer[key] for key in LOGGED if key in answer},
        "columns": {
            feature.name: {"mean": mean, "standard_deviation": deviation}
            for feature, mean, deviation in zip(contract.inputs, means, deviations, strict=True)
        },
    }


def _wants_echo(query: bytes) -> bool:
    """Tell whether the input is to be returned as well."""
    try:
        fields = parse_qs(query.decode("latin-1"), max_num_fields=MAX_QUERY)
    except ValueError:
        error = f"the query has over {MAX_QUERY} parameters; allowed: echo=true, echo=false"
        raise Refused(422, error) from None
    (value,) = fields.get("echo", ["false"])[-1:]
    if value not in {"true", "false"}:
        raise Refused(422, f"echo={value[:20]!r}; allowed: true, false")
    return value == "true"


def check_live(_: Worker, __: Request) -> Reply:
    """Answer GET /livez: that the process answers."""
    return _reply_json({"status": "alive"})


def check_ready(worker: Worker, _: Request) -> Reply:
    """Answer GET /readyz: whether requests should be sent here."""
    if not worker.lifecycle.ready or worker.lifecycle.draining:
        reason = "shutting down" if worker.lifecycle.draining else "not ready yet"
        raise Refused(503, reason, headers=(RETRY,))
    return _reply_json({"status": "ready"})


def show_health(worker: Worker, _: Request) -> Reply:
    """Answer GET /health: that the service is up, and with which model."""
    return _reply_json({"status": "healthy", "model_version": worker.predictor.version})


def show_model(worker: Worker, _: Request) -> Reply:
    """Answer GET /model: where the model comes from, its contract, and how it is run."""
    return _reply_json(
        {
            "model_version": worker.predictor.version,
            **worker.predictor.chain,
            **worker.predictor.artifacts.describe(),
            "contract": worker.predictor.contract.model_dump(),
            "example": make_example(worker.predictor.contract),
            "serving": worker.runner.describe(),
        }
    )


def show_metrics(worker: Worker, request: Request) -> Reply:
    """Answer GET /metrics: for Prometheus."""
    accept = request.headers.get(b"accept", b"").decode("latin-1")
    text, content_type = worker.metrics.render(accept)
    return Reply(200, text, ((b"content-type", content_type.encode()),))


def show_card(worker: Worker, _: Request) -> Reply:
    """Answer GET /model/card: the model card."""
    return worker.predictor.artifacts.reply_card()


def show_picture(worker: Worker, request: Request) -> Reply:
    """Answer GET of a picture of the model."""
    return worker.predictor.artifacts.reply_picture(request.path)


def show_page(worker: Worker, request: Request) -> Reply:
    """Answer GET /: the page for people."""
    return files.reply_page(worker.documents[request.path])


def show_docs(_: Worker, __: Request) -> Reply:
    """Answer GET /docs: the OpenAPI document as a page."""
    return docs.reply_page()


def show_docs_part(_: Worker, request: Request) -> Reply:
    """Answer GET of a file that the page at /docs is made of."""
    return docs.reply_part(request.path)


def show_document(worker: Worker, request: Request) -> Reply:
    """Answer GET of a JSON document that never changes."""
    return Reply(200, worker.documents[request.path])


def _reply_json(content: Any) -> Reply:
    return Reply(200, orjson.dumps(content))
