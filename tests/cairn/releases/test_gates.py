from __future__ import annotations

import numpy as np
import pytest

from cairn import inference
from cairn.params.gates import Against, Gates
from cairn.releases import comparison, gates
from cairn.releases.comparison import Model, ScoreDifference
from cairn.releases.gates import Gate
from cairn.releases.text import NONE
from tests import small

SCORES = {"roc_auc": 0.93, "log_loss": 0.25}


def failed(gate: Gate) -> bool:
    return gate.failure is not None


def against(metric: str, rule: str, may_lose: float = 0.0) -> Against:
    return Against.model_validate({"metric": metric, "rule": rule, "may_lose": may_lose})


@pytest.mark.parametrize(
    ("params", "failure"),
    [
        (Gates(minimum={"roc_auc": 0.93}), None),
        (Gates(minimum={"roc_auc": 0.95}), "roc_auc 0.9300 is 0.02 under 0.95"),
        (Gates(minimum={}, maximum={"log_loss": 0.25}), None),
        (Gates(minimum={}, maximum={"log_loss": 0.2}), "log_loss 0.2500 is 0.05 over 0.2"),
        (Gates(minimum={"accuracy": 0.5}), "metrics.json has no accuracy"),
    ],
)
def test_a_score_is_at_least_and_a_loss_at_most_what_is_asked(
    params: Gates, failure: str | None
) -> None:
    [gate] = gates.check_absolute(params, SCORES, {})
    assert gate.failure == failure
    assert gates.list_failures([gate]) == ([failure] if failure else [])


def test_a_score_that_is_no_number_passes_no_gate() -> None:
    params = Gates(minimum={"roc_auc": 0.0}, maximum={"log_loss": 9.0})
    result = gates.check_absolute(params, {"roc_auc": float("nan"), "log_loss": float("nan")}, {})
    assert all(map(failed, result))


def test_no_gate_asks_for_nothing() -> None:
    assert gates.check_absolute(Gates(minimum={}, maximum={}), SCORES, SCORES) == []
    assert gates.check_latency(None, 1e9, None) == gates.check_size(None, 1e12, 1.0) == []


# Of a score the interval of the difference says: surely lost, maybe lost, maybe gained, surely.
LOST, DOWN, UP, GAINED = (-0.05, -0.01), (-0.05, 0.01), (-0.01, 0.05), (0.01, 0.05)


@pytest.mark.parametrize(
    ("rule", "may_lose", "passes"),
    [
        ("not_worse", 0.0, {DOWN, UP, GAINED}),
        ("not_worse", 0.02, {LOST, DOWN, UP, GAINED}),
        ("better", 0.0, {GAINED}),
        ("better", 0.02, {UP, GAINED}),
    ],
)
@pytest.mark.parametrize("ends", [LOST, DOWN, UP, GAINED])
def test_noise_does_not_decide(
    rule: str, may_lose: float, passes: set[tuple[float, float]], ends: tuple[float, float]
) -> None:
    low, high = ends
    score = gates.check_relative(
        against("roc_auc", rule, may_lose), ScoreDifference(0.9, 0.9, low, high)
    )
    loss = gates.check_relative(
        against("log_loss", rule, may_lose), ScoreDifference(0.3, 0.3, -high, -low)
    )
    assert failed(score) == failed(loss) == (ends not in passes)


def test_the_same_model_is_not_worse_and_no_gain() -> None:
    same = ScoreDifference(0.9, 0.9, 0.0, 0.0)
    assert not failed(gates.check_relative(against("roc_auc", "not_worse"), same))
    assert failed(gates.check_relative(against("roc_auc", "better"), same))


def test_a_failure_says_by_how_much() -> None:
    gate = gates.check_relative(
        against("roc_auc", "not_worse"), ScoreDifference(0.9, 0.95, -0.08, -0.03)
    )
    assert gate.failure == (
        "roc_auc 0.9000 against 0.9500, worse by at least 0.03 at 95%; "
        "required: no significant loss"
    )
    assert gate.difference == "-0.0500 [-0.0800, -0.0300]"
    gate = gates.check_relative(
        against("brier", "better", 0.01), ScoreDifference(0.2, 0.2, -0.02, 0.02)
    )
    assert gate.failure == (
        "brier 0.2000 against 0.2000, maybe worse by 0.02 at 95%; "
        "required: no possible loss over 0.01"
    )


def test_time_and_size_are_gates_too() -> None:
    [slow] = gates.check_latency(10, 12.5, 5.0)
    assert slow.row == ("latency", "12.5 µs", "5 µs", "+7.5 µs", "at most 10 µs", "FAILED")
    assert slow.failure == "latency 12.5 µs is 2.5 µs over 10"
    [small_enough] = gates.check_size(50, 2e6, None)
    assert small_enough.row == ("model.onnx", "2 MB", NONE, NONE, "at most 50 MB", "passed")


def test_without_production_there_is_nothing_to_compare_with() -> None:
    gate = gates.pass_without_holder(against("roc_auc", "better"))
    assert not failed(gate)
    assert gate.difference == "nothing to compare with"


def test_two_that_cannot_be_compared_fail() -> None:
    gate = gates.fail_incomparable(against("roc_auc", "not_worse"), "v1.0.0", "it takes age")
    assert gate.failure == "roc_auc cannot be compared with that of v1.0.0: it takes age"


def test_the_report_has_a_line_for_each_gate() -> None:
    text = gates.format_report(
        [*gates.check_size(1, 2e6, None), *gates.check_latency(10, 5.0, None)]
    )
    head, *lines = text.splitlines()
    assert head.split() == [
        "gate",
        "candidate",
        "in",
        "the",
        "stage",
        "difference",
        "required",
        "result",
    ]
    assert [line.split()[0] for line in lines] == ["model.onnx", "latency"]
    assert [line.split()[-1] for line in lines] == ["FAILED", "passed"]
    assert len({line.rindex(line.split()[-1]) for line in lines}) == 1


def test_the_time_is_that_of_calls_that_were_made() -> None:
    fitted = small.fitted()
    model = Model(
        "v1.0.0", fitted.contract, inference.open_session(fitted.graph), len(fitted.graph)
    )
    assert 0 < gates.measure_latency(model, fitted.features[:1], calls=20) < 1e6
    assert comparison.predict(model, fitted.features[:1]).labels.shape == (1,)
    assert np.isfinite(gates.measure_latency(model, fitted.features[:1], calls=1))
