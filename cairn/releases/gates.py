"""Check what a version must pass to get a stage, by the `gates` params."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn import inference
from cairn.evaluation import metrics
from cairn.params.gates import Against, Gates
from cairn.releases.comparison import Model, ScoreDifference
from cairn.releases.text import NONE, format_table

COLUMNS = ("gate", "candidate", "in the stage", "difference", "required", "result")
WARM_UP, CALLS = 50, 1000
MEGABYTE = 1e6


class Gate(NamedTuple):
    """The result of one gate.

    Attributes
    ----------
    name
        What was checked.
    candidate, production, difference, required
        The values as text.
    failure
        By how much it failed; None: it passed.
    """

    name: str
    candidate: str
    production: str = NONE
    difference: str = NONE
    required: str = NONE
    failure: str | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """A row of the report."""
        return (*self[:5], "passed" if self.failure is None else "FAILED")


def check_absolute(params: Gates, scores: dict[str, float], before: dict[str, float]) -> list[Gate]:
    """Check the gates on a score or a loss by itself.

    Parameters
    ----------
    scores, before
        `test` of metrics.json, of the candidate and of the version in the stage; empty: none.
    """
    least = [_check_limit(name, 1, limit, scores, before) for name, limit in params.minimum.items()]
    most = [_check_limit(name, -1, limit, scores, before) for name, limit in params.maximum.items()]
    return [*least, *most]


def _check_limit(
    name: str, sign: int, limit: float, scores: dict[str, float], before: dict[str, float]
) -> Gate:
    """Check that a value is at least (1) or at most (-1) a limit."""
    value, before_value = scores.get(name), before.get(name)
    required = f"{'at least' if sign > 0 else 'at most'} {limit:g}"
    before_text = NONE if before_value is None else f"{before_value:.4f}"
    if value is None:
        return Gate(name, NONE, before_text, NONE, required, f"metrics.json has no {name}")
    shortfall = sign * (limit - value)
    side = "under" if sign > 0 else "over"
    is_passed = shortfall <= 0  # no NaN is
    failure = None if is_passed else f"{name} {value:.4f} is {shortfall:.4g} {side} {limit:g}"
    return Gate(name, f"{value:.4f}", before_text, NONE, required, failure)


def check_relative(rule: Against, difference: ScoreDifference) -> Gate:
    """Check the gate against the version in the stage.

    `not_worse` fails if the interval shows a loss of more than `may_lose`, `better` unless the
    interval excludes such a loss.
    """
    loss = rule.metric in metrics.LOSSES
    worst, best = (-difference.high, -difference.low) if loss else (difference.low, difference.high)
    is_lenient = rule.rule == "not_worse"
    is_passed = best >= -rule.may_lose if is_lenient else worst > -rule.may_lose
    value = difference.candidate - difference.production
    return Gate(
        f"{rule.metric}, {rule.rule}",
        f"{difference.candidate:.4f}",
        f"{difference.production:.4f}",
        f"{value:+.4f} [{difference.low:+.4f}, {difference.high:+.4f}]",
        _describe_rule(rule),
        None if is_passed else _describe_failure(rule, difference, best if is_lenient else worst),
    )


def _describe_failure(rule: Against, difference: ScoreDifference, gain: float) -> str:
    bound = "worse by at least" if rule.rule == "not_worse" else "maybe worse by"
    return (
        f"{rule.metric} {difference.candidate:.4f} against {difference.production:.4f}, "
        f"{bound} {abs(gain):.4g} at {100 * rule.confidence:g}%; required: {_describe_rule(rule)}"
    )


def _describe_rule(rule: Against) -> str:
    """Describe what a rule requires."""
    beyond = f" over {rule.may_lose:g}" if rule.may_lose else ""
    if rule.rule == "not_worse":
        return f"no significant loss{beyond}"
    return f"no possible loss{beyond}" if beyond else "a significant gain"


def pass_without_holder(rule: Against) -> Gate:
    """Pass that gate, as no version is in the stage."""
    name, required = f"{rule.metric}, {rule.rule}", _describe_rule(rule)
    return Gate(name, NONE, NONE, "nothing to compare with", required)


def fail_incomparable(rule: Against, number: str, reason: str) -> Gate:
    """Fail that gate, as the two cannot be compared."""
    failure = f"{rule.metric} cannot be compared with that of {number}: {reason}"
    name, required = f"{rule.metric}, {rule.rule}", _describe_rule(rule)
    return Gate(name, NONE, NONE, "not comparable", required, failure)


def check_latency(limit: float | None, value: float, before: float | None) -> list[Gate]:
    """Check the time that one row takes, in microseconds."""
    return _check_maximum("latency", "µs", limit, value, before)


def check_size(limit: float | None, value: float, before: float | None) -> list[Gate]:
    """Check the size of the graph, in bytes; the limit is in millions of bytes."""
    then = None if before is None else before / MEGABYTE
    return _check_maximum("model.onnx", "MB", limit, value / MEGABYTE, then)


def _check_maximum(
    name: str, unit: str, limit: float | None, value: float, before: float | None
) -> list[Gate]:
    if limit is None:
        return []
    excess = value - limit
    failure = None
    if excess > 0:
        failure = f"{name} {value:.3g} {unit} is {excess:.3g} {unit} over {limit:g}"
    before_text, difference = NONE, NONE
    if before is not None:
        before_text, difference = f"{before:.3g} {unit}", f"{value - before:+.3g} {unit}"
    required = f"at most {limit:g} {unit}"
    return [Gate(name, f"{value:.3g} {unit}", before_text, difference, required, failure)]


def measure_latency(model: Model, row: NDArray[np.float32], calls: int = CALLS) -> float:
    """Measure the median µs that a warm model takes for one row, 1 × k, on one thread."""
    durations = []
    for _ in range(WARM_UP + calls):
        start = time.perf_counter_ns()
        inference.predict(model.session, row)
        durations.append(time.perf_counter_ns() - start)
    return float(np.median(durations[WARM_UP:])) / 1000


def format_report(gates: Iterable[Gate]) -> str:
    """Format the gates as a table of text."""
    rows = [gate.row for gate in gates]
    return format_table(COLUMNS, rows) if rows else "params.yaml has no gates"


def list_failures(gates: Iterable[Gate]) -> list[str]:
    """List by how much each failed gate failed."""
    return [gate.failure for gate in gates if gate.failure is not None]
