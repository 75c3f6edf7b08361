"""What /metrics says: counted by each worker in a row of one shared table, summed when asked.

The table has one row of float64 for each worker. A worker writes its own row only, so no lock
is needed; one that takes the place of another goes on with its counts. The series are fixed when
the model is loaded: nothing that a client sends makes a new one.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from prometheus_client import CollectorRegistry
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from cairn.contract import Contract
from cairn.errors import CairnError
from cairn.inference import Predictions
from service.http.errors import KINDS, MALFORMED
from service.inference.drift import Counter, compute_psi, make_all_buckets
from service.inference.many_rows import PredictedRows
from service.inference.one_row import ClearRow
from service.process import run_folder

Counts = NDArray[np.float64]

STATUSES = (200, 204, 308, *KINDS)
# Upper ends, seconds.
DURATIONS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
CONFIDENCES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1.0)
# Rows that are counted together: to count one by itself would take as long as its request, and to
# count more at once would make a turn of 32 requests half as long again.
BATCH_ROWS = 500
# The window moves on by this share of itself.
STEPS = 10


class RowCounts(NamedTuple):
    """Counts of rows that were answered.

    Attributes
    ----------
    number
        How many there are.
    confidences, confidence
        How many are in each bucket of CONFIDENCES, and the sum.
    rows
        How many of each class, then of each feature and bucket.
    """

    number: int
    confidences: NDArray[np.int64]
    confidence: float
    rows: NDArray[np.int64]


class Layout:
    """Where in a worker's row of the table each count is.

    Parameters
    ----------
    contract
        The contract of the model that is served.
    routes
        The paths that are counted separately.
    """

    def __init__(self, contract: Contract, routes: tuple[str, ...]) -> None:
        self.contract = contract
        self.routes = routes
        self.names = tuple(feature.name for feature in contract.inputs)
        self.features = make_all_buckets(contract)
        classes, spread = len(contract.target.classes), sum(len(f.names) for f in self.features)
        self._sizes = {
            "requests": len(routes) * len(STATUSES),
            "durations": len(routes) * (len(DURATIONS) + 1),
            "seconds": len(routes),
            "confidences": len(CONFIDENCES) + 1,
            "confidence": 1,
            "errors": len(KINDS),
            "malformed": len(MALFORMED),
            "in_progress": 1,
            "connections": 1,
            "dropped": 1,
            "starts": 1,
            # Of the rows: by class, then by feature and bucket; `base` is where the window begins.
            "rows": classes + spread,
            "base": classes + spread,
        }
        self.size = sum(self._sizes.values())

    def split(self, row: Counts) -> dict[str, Counts]:
        """Split a row of the table, or a sum of rows, into its parts by name."""
        ends = np.cumsum(list(self._sizes.values()))
        return dict(zip(self._sizes, np.split(row, ends[:-1]), strict=True))

    def split_features(self, rows: Counts) -> list[Counts]:
        """Split the part of `rows` or `base` after the classes by feature."""
        ends = np.cumsum([len(feature.names) for feature in self.features])
        return np.split(rows[len(self.contract.target.classes) :], ends[:-1])


def open_table(layout: Layout, workers: int, folder: Path | None) -> Counts:
    """Open the table, workers × layout.size: in a file that workers share; None: in memory.

    Raises
    ------
    CairnError
        Where the disk has no room for it.
    """
    if folder is None:
        return np.zeros((workers, layout.size))
    size = workers * layout.size * np.dtype(np.float64).itemsize
    path = folder / "metrics"
    try:
        shared = run_folder.map_file(path, size)
    except OSError as error:
        raise CairnError(
            f"{path}: no room for the {size} bytes of the metrics that the workers share: "
            f"{error.strerror}; free some space there, or set TMPDIR to another folder"
        ) from None
    return np.frombuffer(shared, np.float64).reshape(workers, layout.size)


class Metrics:
    """The counts of one worker, and the text of all of them.

    Parameters
    ----------
    layout
        What is counted.
    shared
        The table of all workers, and the place of this one in it.
    window
        Rows that the drift gauges look back on, over all workers.
    info
        Labels of `cairn_model_info`.
    count_workers
        Counts the workers that are up.
    """

    def __init__(  # noqa: PLR0913, PLR0917
        self,
        layout: Layout,
        shared: Counts,
        index: int,
        window: int,
        info: Mapping[str, str],
        count_workers: Callable[[], int],
    ) -> None:
        self.layout = layout
        self._table = shared
        self._info = dict(info)
        self._count_workers = count_workers
        self._mine = layout.split(shared[index])
        # Plain memory: a count here takes a third of the time of one in a NumPy array.
        self._requests, self._durations, self._seconds, self._errors, self._now = (
            cast("memoryview[float]", self._mine[name].data)
            for name in ("requests", "durations", "seconds", "errors", "in_progress")
        )
        self._routes = {route: number for number, route in enumerate(layout.routes)}
        self._statuses = {status: number for number, status in enumerate(STATUSES)}
        self._kinds = {kind: number for number, kind in enumerate(KINDS.values())}
        self._counter = Counter(layout.features)
        self._waiting: list[PredictedRows] = []
        self._clear: list[ClearRow] = []
        self._waits = 0
        self._step = max(1, window // STEPS // len(shared))
        self._since = 0
        self._mine["in_progress"][0] = self._mine["connections"][0] = 0
        self._mine["starts"] += 1
        self._mine["base"][:] = self._mine["rows"]
        self._steps = deque([self._mine["rows"].copy()], maxlen=STEPS + 1)

    def start_request(self) -> None:
        """Count a request that has come."""
        self._now[0] += 1

    def finish_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that was answered, `seconds` after it came."""
        self._now[0] -= 1
        number = self._routes[route]
        self._requests[number * len(STATUSES) + self._statuses[status]] += 1
        self._durations[number * (len(DURATIONS) + 1) + bisect_left(DURATIONS, seconds)] += 1
        self._seconds[number] += seconds
        if status in KINDS:
            self._errors[self._kinds[KINDS[status]]] += 1

    def count_malformed(self, reason: str) -> None:
        """Count what came and is no HTTP request; `reason` is one of MALFORMED."""
        known = reason if reason in MALFORMED else "other"
        self._mine["malformed"][MALFORMED.index(known)] += 1

    def set_connections(self, count: int) -> None:
        """Set how many connections are open."""
        self._mine["connections"][0] = count

    def add_rows(self, rows: PredictedRows) -> None:
        """Rows were answered."""
        self._waiting.append(rows)
        self._waits += len(rows.features)
        if self._waits >= BATCH_ROWS:
            self.settle()

    def add_clear(self, row: ClearRow) -> None:
        """Count one row that was answered."""
        self._clear.append(row)
        if len(self._clear) >= BATCH_ROWS:
            self.settle()

    def add_dropped(self, lines: int) -> None:
        """Count the log lines that this process dropped since the last call."""
        self._mine["dropped"] += lines

    def settle(self) -> None:
        """Count the rows that wait for it."""
        waiting, self._waiting, self._waits = self._waiting, [], 0
        clear, self._clear = self._clear, []
        if clear:
            self.add_counts(self._count(*unpack_clear(clear)))
        if waiting:
            features = np.concatenate([rows.features for rows in waiting])
            predictions = Predictions(
                np.concatenate([rows.predictions.labels for rows in waiting]),
                np.concatenate([rows.predictions.probabilities for rows in waiting]),
            )
            self.add_counts(self.count_rows(PredictedRows(features, predictions)))

    def count_rows(self, rows: PredictedRows) -> RowCounts:
        """Count rows for `add_counts`, in any thread; of many it takes milliseconds."""
        return self._count(rows.features, rows.predictions.labels, rows.predictions.confidences)

    def _count(
        self,
        features: NDArray[np.float32],
        labels: NDArray[np.int64],
        confidences: NDArray[np.floating[Any]],
    ) -> RowCounts:
        counts = np.bincount(
            np.searchsorted(CONFIDENCES, confidences, side="left"),
            minlength=len(CONFIDENCES) + 1,
        )
        classes = np.bincount(labels, minlength=len(self.layout.contract.target.classes))
        return RowCounts(
            len(features),
            counts,
            float(confidences.sum(dtype=np.float64)),
            np.concatenate([classes, self._counter.count(features)]),
        )

    def add_counts(self, counts: RowCounts) -> None:
        """Add what `count_rows` counted."""
        self._mine["confidences"] += counts.confidences
        self._mine["confidence"] += counts.confidence
        self._mine["rows"] += counts.rows
        self._move(counts.number)

    def _move(self, rows: int) -> None:
        """Move the window on after so many more rows."""
        self._since += rows
        if self._since >= self._step:
            self._since = 0
            self._steps.append(self._mine["rows"].copy())
            self._mine["base"][:] = self._steps[0]

    def render(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its content type: OpenMetrics for clients that accept it."""
        self.settle()
        registry = CollectorRegistry()
        workers = self._count_workers()
        registry.register(CairnCollector(self.layout, self._table, self._info, workers))
        encode, kind = choose_encoder(accept)
        return encode(registry), kind


class CairnCollector(Collector):
    """All that is counted, as Prometheus names it."""

    def __init__(self, layout: Layout, shared: Counts, info: dict[str, str], workers: int) -> None:
        self.layout = layout
        self.workers = workers
        self.info = info
        self.sums = layout.split(shared.sum(axis=0))

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        yield from self._requests()
        yield from self._predictions()
        yield from self._features()
        yield from self._process()

    def _requests(self) -> Iterator[Metric]:
        routes, sums = self.layout.routes, self.sums
        requests = CounterMetricFamily(
            "cairn_requests", "Requests answered.", labels=["route", "status"]
        )
        for route, counts in zip(routes, np.split(sums["requests"], len(routes)), strict=True):
            for status, number in zip(STATUSES, counts, strict=True):
                # Those of nothing too: a rate does not see the first count of a new series.
                requests.add_metric([route, str(status)], number)
        yield requests
        duration = HistogramMetricFamily(
            "cairn_request_duration_seconds", "From request to answer.", labels=["route"]
        )
        parts = np.split(sums["durations"], len(routes))
        for route, counts, seconds in zip(routes, parts, sums["seconds"], strict=True):
            duration.add_metric([route], accumulate(DURATIONS, counts), seconds)
        yield duration
        errors = CounterMetricFamily("cairn_errors", "Requests refused or failed.", labels=["kind"])
        for kind, number in zip(KINDS.values(), sums["errors"], strict=True):
            errors.add_metric([kind], number)
        yield errors
        malformed = CounterMetricFamily(
            "cairn_malformed_requests",
            "What came and is no HTTP request, so that no route counts it.",
            labels=["reason"],
        )
        for reason, number in zip(MALFORMED, sums["malformed"], strict=True):
            malformed.add_metric([reason], number)
        yield malformed
        yield GaugeMetricFamily(
            "cairn_requests_in_progress", "Requests in work.", value=sums["in_progress"][0]
        )
        yield GaugeMetricFamily(
            "cairn_open_connections",
            "Open connections, as of the last second; MAX_CONNECTIONS is for each worker.",
            value=sums["connections"][0],
        )

    def _predictions(self) -> Iterator[Metric]:
        target, sums = self.layout.contract.target, self.sums
        classes = sums["rows"][: len(target.keys)]
        yield CounterMetricFamily("cairn_rows", "Rows answered.", value=classes.sum())
        predictions = CounterMetricFamily(
            "cairn_predictions", "Rows answered, by predicted class.", labels=["class"]
        )
        for key, number in zip(target.keys, classes, strict=True):
            predictions.add_metric([key], number)
        yield predictions
        yield HistogramMetricFamily(
            "cairn_prediction_confidence",
            "Probability of the predicted class.",
            buckets=accumulate(CONFIDENCES, sums["confidences"]),
            sum_value=sums["confidence"][0],
        )

    def _features(self) -> Iterator[Metric]:
        layout, rows = self.layout, self.sums["rows"]
        window = rows - self.sums["base"]
        values = CounterMetricFamily(
            "cairn_column_values",
            "Values received, by bucket of the training data's histogram.",
            labels=["column", "bucket"],
        )
        index = GaugeMetricFamily(
            "cairn_column_drift_psi",
            "Population stability index of a feature over the window.",
            labels=["column"],
        )
        totals, recent = layout.split_features(rows), layout.split_features(window)
        for name, feature, counts, late in zip(
            layout.names, layout.features, totals, recent, strict=True
        ):
            for bucket, number in zip(feature.names, counts, strict=True):
                values.add_metric([name, bucket], number)
            index.add_metric([name], compute_psi(feature.expected, late))
        yield values
        yield index
        target = layout.contract.target
        expected = np.array(target.counts or [0] * len(target.classes), np.float64)
        predicted = window[: len(target.classes)]
        yield GaugeMetricFamily(
            "cairn_target_drift_psi",
            "Population stability index of the predicted classes over the window.",
            value=compute_psi(expected, predicted),
        )
        yield GaugeMetricFamily(
            "cairn_drift_window_rows", "Rows that the window holds.", value=predicted.sum()
        )

    def _process(self) -> Iterator[Metric]:
        model = GaugeMetricFamily(
            "cairn_model_info", "The model that is served.", labels=list(self.info)
        )
        model.add_metric(list(self.info.values()), 1)
        yield model
        for name, text, part in (
            ("cairn_log_lines_dropped", "Log lines dropped because stdout stalled.", "dropped"),
            ("cairn_worker_starts", "Worker starts.", "starts"),
        ):
            yield CounterMetricFamily(name, text, value=self.sums[part][0])
        yield GaugeMetricFamily("cairn_workers", "Workers up.", value=self.workers)


def unpack_clear(
    rows: Sequence[ClearRow],
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float64]]:
    """Unpack the features, the labels and the confidences of n rows."""
    features = np.frombuffer(b"".join([row.features for row in rows]), np.float32)
    return (
        features.reshape(len(rows), -1),
        np.array([row.label for row in rows], np.int64),
        np.array([row.confidence for row in rows], np.float64),
    )


def accumulate(ends: Iterable[float], counts: Counts) -> list[tuple[str, float]]:
    """Sum a histogram's buckets as Prometheus wants them: each with all below it."""
    names = [*(str(end) for end in ends), "+Inf"]
    return list(zip(names, np.cumsum(counts).tolist(), strict=True))
