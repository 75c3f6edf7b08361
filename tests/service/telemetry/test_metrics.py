from __future__ import annotations

import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from cairn.errors import CairnError
from cairn.inference import Predictions
from service.http.errors import KINDS, MALFORMED
from service.inference.many_rows import PredictedRows
from service.inference.one_row import ClearRow
from service.telemetry import metrics
from service.telemetry.metrics import Layout, Metrics, open_table
from tests import small

ROUTES = ("/predict", "/metrics", "other")
CONTRACT = small.fitted().contract
LAYOUT = Layout(CONTRACT, ROUTES)


def make(workers: int = 1, window: int = 1000, folder: Path | None = None) -> list[Metrics]:
    shared = open_table(LAYOUT, workers, folder)
    return [Metrics(LAYOUT, shared, index, window, {"model_version": "m:1"}, lambda: workers)
            for index in range(workers)]  # fmt: skip


def samples(one: Metrics) -> dict[tuple[str, tuple[str, ...]], float]:
    """Every sample of a scrape: name and the values of its labels, that of a bucket last."""
    text = one.render("")[0].decode()
    return {
        (
            sample.name,
            tuple(label for _, label in sorted(sample.labels.items(), key=in_order)),
        ): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def in_order(label: tuple[str, str]) -> bool:
    return label[0] in {"bucket", "le"}


def rows(number: int, seed: int = 0) -> PredictedRows:
    """Rows of the training data, with their classes."""
    fitted = small.fitted()
    chosen = np.random.default_rng(seed).integers(0, small.ROWS, number)
    return PredictedRows(fitted.features[chosen], predict(fitted.classes[chosen]))


def predict(codes: Any) -> Predictions:
    """That of each row the class is this one, at 0.75."""
    probabilities = np.where(np.arange(2) == np.asarray(codes)[:, None], 0.75, 0.25)
    return Predictions(np.asarray(codes), probabilities.astype(np.float32))


def test_requests_are_counted_by_route_and_status_and_timed() -> None:
    (one,) = make()
    for status, seconds in ((200, 0.0004), (200, 0.0007), (422, 100.0)):
        one.start_request()
        one.finish_request("/predict", status, seconds)
    one.start_request()
    actual = samples(one)
    assert actual["cairn_requests_total", ("/predict", "200")] == 2
    assert actual["cairn_requests_total", ("/predict", "422")] == 1
    assert actual["cairn_requests_total", ("other", "200")] == 0
    assert actual["cairn_errors_total", ("breaks_contract",)] == 1
    assert actual["cairn_requests_in_progress", ()] == 1
    assert actual["cairn_request_duration_seconds_bucket", ("/predict", "0.0005")] == 1
    assert actual["cairn_request_duration_seconds_bucket", ("/predict", "0.001")] == 2
    assert actual["cairn_request_duration_seconds_bucket", ("/predict", "30.0")] == 2
    assert actual["cairn_request_duration_seconds_bucket", ("/predict", "+Inf")] == 3
    assert actual["cairn_request_duration_seconds_count", ("/predict",)] == 3
    assert actual["cairn_request_duration_seconds_sum", ("/predict",)] == pytest.approx(100.0011)


@settings(deadline=None)
@given(
    seconds=st.lists(st.floats(0, 60), max_size=20),
    statuses=st.lists(st.sampled_from([200, *KINDS]), min_size=20, max_size=20),
)
def test_histograms_hold_every_request_once(seconds: list[float], statuses: list[int]) -> None:
    (one,) = make()
    for duration, status in zip(seconds, statuses, strict=False):
        one.start_request()
        one.finish_request("other", status, duration)
    actual = samples(one)
    for end in metrics.DURATIONS:
        below = sum(duration <= end for duration in seconds)
        assert actual["cairn_request_duration_seconds_bucket", ("other", str(end))] == below
    counted = sum(
        value for (name, labels), value in actual.items()
        if name == "cairn_requests_total" and labels[0] == "other"
    )  # fmt: skip
    assert counted == len(seconds)


@pytest.mark.parametrize("parts", [[80], [1] * 80, [3, 77], [600, 1]])
def test_rows_are_counted_by_class_column_and_bucket(parts: list[int]) -> None:
    (one,) = make()
    batches = [rows(number, seed) for seed, number in enumerate(parts)]
    for part in batches:
        one.add_rows(part)
    actual = samples(one)
    codes = np.concatenate([part.predictions.labels for part in batches])
    assert actual["cairn_rows_total", ()] == sum(parts)
    assert actual["cairn_predictions_total", ("yes",)] == codes.sum()
    assert actual["cairn_prediction_confidence_bucket", ("0.7",)] == 0
    assert actual["cairn_prediction_confidence_bucket", ("0.8",)] == sum(parts)
    assert actual["cairn_prediction_confidence_sum", ()] == pytest.approx(0.75 * sum(parts))
    flags = np.concatenate([part.features[:, 3] for part in batches])
    assert actual["cairn_column_values_total", ("flag", "true")] == (flags == 1).sum()
    assert actual["cairn_column_values_total", ("flag", "missing")] == np.isnan(flags).sum()
    for name in CONTRACT.names:
        by_bucket = [
            value for (metric, labels), value in actual.items()
            if metric == "cairn_column_values_total" and labels[0] == name
        ]  # fmt: skip
        assert sum(by_bucket) == sum(parts)


@pytest.mark.parametrize("number", [1, 80, 600])
def test_single_rows_are_counted_as_many_are(number: int) -> None:
    (one,), (other,) = make(), make()
    many = rows(number)
    one.add_rows(many)
    labels, probabilities = many.predictions
    for features, label, row in zip(many.features, labels, probabilities, strict=True):
        other.add_clear(ClearRow(features.tobytes(), int(label), float(row[label]), row))
    assert samples(one) == samples(other)


def test_what_is_as_in_training_has_no_drift_and_what_is_not_has() -> None:
    (one,) = make()
    one.add_rows(rows(5000))
    actual = samples(one)
    for name in CONTRACT.names:
        assert actual["cairn_column_drift_psi", (name,)] < 0.1
    assert actual["cairn_target_drift_psi", ()] < 0.1
    features = rows(5000).features.copy()
    features[:, 0] += 100
    one.add_rows(PredictedRows(features, predict(np.ones(5000, np.int64))))
    actual = samples(one)
    assert actual["cairn_column_drift_psi", ("area",)] > 1
    assert actual["cairn_column_drift_psi", ("count",)] < 0.1
    assert actual["cairn_target_drift_psi", ()] > 0.25


def test_the_window_forgets() -> None:
    (one,) = make(window=1000)
    odd = rows(1000)
    odd.features[:, 0] += 100
    one.add_rows(odd)
    assert samples(one)["cairn_column_drift_psi", ("area",)] > 1
    for seed in range(30):
        one.add_rows(rows(100, seed))
        one.settle()
    actual = samples(one)
    assert 1000 <= actual["cairn_drift_window_rows", ()] <= 1100
    assert actual["cairn_column_drift_psi", ("area",)] < 0.1
    assert actual["cairn_rows_total", ()] == 4000


def test_one_scrape_of_any_worker_says_it_of_all(tmp_path: Path) -> None:
    first, second = make(workers=2, folder=tmp_path)
    for one, number in (first, 3), (second, 4):
        for _ in range(number):
            one.start_request()
            one.finish_request("/predict", 200, 0.001)
        one.add_rows(rows(number))
        one.settle()
    assert samples(first) == samples(second)
    actual = samples(second)
    assert actual["cairn_requests_total", ("/predict", "200")] == 7
    assert actual["cairn_rows_total", ()] == 7
    assert actual["cairn_workers", ()] == 2


def test_a_worker_that_takes_another_s_place_goes_on_with_its_counts(tmp_path: Path) -> None:
    first, second = make(workers=2, folder=tmp_path)
    first.start_request()
    first.finish_request("/predict", 200, 0.001)
    first.start_request()  # killed in the midst of this one
    first.set_connections(3)
    second.set_connections(2)
    assert samples(second)["cairn_open_connections", ()] == 5
    first.add_rows(rows(1700))
    again = Metrics(LAYOUT, open_table(LAYOUT, 2, tmp_path), 0, 1000, {"model_version": "m:1"}, int)
    actual = samples(second)
    assert samples(again) | {("cairn_workers", ()): 2} == actual
    assert actual["cairn_requests_total", ("/predict", "200")] == 1
    assert actual["cairn_requests_in_progress", ()] == 0
    assert actual["cairn_open_connections", ()] == 2
    assert actual["cairn_worker_starts_total", ()] == 3
    assert actual["cairn_drift_window_rows", ()] == 0
    assert actual["cairn_rows_total", ()] == 1700


def test_the_disk_keeps_room_for_all_of_the_table(tmp_path: Path) -> None:
    """Where a page of it finds none later, the kernel ends the worker."""
    open_table(LAYOUT, 8, tmp_path)
    file = (tmp_path / "metrics").stat()
    assert file.st_size == 8 * LAYOUT.size * 8
    assert file.st_blocks * 512 >= file.st_size


def test_a_disk_without_room_for_the_table_is_reported(tmp_path: Path) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, most))
    try:
        with pytest.raises(CairnError) as error:
            open_table(LAYOUT, 8, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    text = f"{tmp_path / 'metrics'}: no room for the {8 * LAYOUT.size * 8} bytes of the metrics"
    assert str(error.value).startswith(text)
    assert "set TMPDIR to another folder" in str(error.value)


def test_what_is_no_http_is_counted_by_reason() -> None:
    first, second = make(workers=2)
    for reason in ("syntax", "headers_too_long", "syntax", "a new one"):
        first.count_malformed(reason)
    actual = samples(second)
    reasons = {labels: value for (name, labels), value in actual.items()
               if name == "cairn_malformed_requests_total"}  # fmt: skip
    assert set(reasons) == {(reason,) for reason in MALFORMED}
    assert {labels: value for labels, value in reasons.items() if value} == {
        ("syntax",): 2, ("headers_too_long",): 1, ("other",): 1,
    }  # fmt: skip


def test_nothing_but_the_model_says_which_series_there_are() -> None:
    (one,) = make()
    before = set(samples(one))
    one.start_request()
    one.finish_request("other", 404, 1)
    one.add_rows(rows(10))
    assert set(samples(one)) == before


@pytest.mark.parametrize("contract", ["plain", "openmetrics"])
def test_both_formats_are_what_their_parsers_read(contract: str) -> None:
    (one,) = make()
    one.add_rows(rows(10))
    if contract == "plain":
        text, kind = one.render("")
        families: Any = text_string_to_metric_families(text.decode())
        assert kind.startswith("text/plain")
    else:
        text, kind = one.render("application/openmetrics-text; version=1.0.0")
        families = openmetrics.text_string_to_metric_families(  # type: ignore[no-untyped-call]
            text.decode()
        )
        assert kind.startswith("application/openmetrics-text")
    names = {family.name for family in families}
    assert all(name.startswith("cairn_") for name in names)
    assert "cairn_model_info" in names


def test_dropped_lines_add_up() -> None:
    (one,) = make()
    one.add_dropped(2)
    one.add_dropped(3)
    assert samples(one)["cairn_log_lines_dropped_total", ()] == 5
