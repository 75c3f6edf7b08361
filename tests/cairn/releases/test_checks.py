from __future__ import annotations

from pathlib import Path

import pytest

from cairn.params.gates import Against, Gates
from cairn.releases import checks, comparison, versions
from cairn.releases.checks import GateResults
from cairn.releases.versions import Version
from tests import history, small
from tests.history import Model

BLOCK = Gates(
    minimum={"roc_auc": 0.8},
    against=[Against(metric="log_loss", rule="not_worse")],
    latency_us=1e6,
    size_mb=1.0,
)
GOOD = Model(small.fitted(), history.scores(0.9))
BAD = Model(history.worse(), history.scores(0.6))


@pytest.fixture(autouse=True)
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "clone").mkdir()
    history.enter(tmp_path / "clone", monkeypatch)
    monkeypatch.setattr(comparison, "RESAMPLES", 100)
    history.begin()


def released(*models: Model) -> list[Version]:
    """Versions of some models, one after the other."""
    for index, model in enumerate(models):
        history.commit(model)
        versions.add_version("small", f"v1.0.{index}", "a message")
    return list(versions.read_registry("small").versions)


def verdicts(result: GateResults) -> dict[str, bool]:
    return {gate.name: gate.failure is None for gate in result.gates}


def test_the_first_version_has_nothing_to_be_compared_with() -> None:
    [first] = released(GOOD)
    result = checks.check_gates(first, None, BLOCK)
    assert list(verdicts(result)) == ["roc_auc", "log_loss, not_worse", "latency", "model.onnx"]
    assert all(verdicts(result).values())
    assert result.note == ""


def test_a_better_one_passes_and_a_worse_one_does_not() -> None:
    bad, good = released(BAD, GOOD)
    up, down = checks.check_gates(good, bad, BLOCK), checks.check_gates(bad, good, BLOCK)
    assert all(verdicts(up).values())
    assert verdicts(down) == {
        "roc_auc": False, "log_loss, not_worse": False, "latency": True, "model.onnx": True,
    }  # fmt: skip
    assert up.note == "compared on 20 test rows of v1.0.1, none of which v1.0.0 was trained on"


def test_rows_that_production_was_trained_on_are_left_out() -> None:
    other = GOOD._replace(train=slice(0, 70), test=slice(70, 80))
    production, candidate = released(other, GOOD)
    result = checks.check_gates(candidate, production, BLOCK)
    assert result.note == (
        "compared on 10 test rows of v1.0.1, without 10 that v1.0.0 was trained on"
    )
    assert verdicts(result)["log_loss, not_worse"]


def test_production_that_was_trained_on_all_of_them_cannot_be_compared() -> None:
    production, candidate = released(GOOD._replace(train=slice(None)), GOOD)
    result = checks.check_gates(candidate, production, BLOCK)
    [failure] = [gate.failure for gate in result.gates if gate.failure]
    assert failure == (
        "log_loss cannot be compared with that of v1.0.0: it was trained on 20 of the 20 test "
        "rows, and some class has no row among the others"
    )


def test_training_rows_beyond_a_limit_are_not_looked_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    production, candidate = released(GOOD._replace(train=slice(None)), GOOD)
    monkeypatch.setattr(checks, "MAX_TRAIN", 10)
    result = checks.check_gates(candidate, production, BLOCK)
    assert result.note == (
        "compared on 20 test rows of v1.0.1; v1.0.0 may have been trained on some, "
        "which flatters it"
    )


def test_production_that_predicts_something_else_cannot_be_compared() -> None:
    production, candidate = released(Model(small.full(), history.scores()), GOOD)
    result = checks.check_gates(candidate, production, BLOCK)
    assert [gate.name for gate in result.gates if gate.failure] == ["log_loss, not_worse"]
    assert "cannot be compared with that of v1.0.0: it" in str(result.gates[1].failure)
    assert result.gates[-1].production != "–"
