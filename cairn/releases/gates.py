"""What a version must pass to be given a stage, as the block `gates` of params.yaml says."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from cairn import inference
from cairn.evaluation import metrics
from cairn.params.gates import Against, Gates
from cairn.releases.comparison import Difference, Rival
from cairn.releases.text import NONE, table

HEAD = ("gate", "candidate", "in the stage", "difference", "wanted", "verdict")
WARM_UP, CALLS = 50, 1000
MEGABYTE = 1e6


class Gate(NamedTuple):
    """One gate, as it went.

    Attributes
    ----------
    name
        What was looked at.
    candidate, production, difference, wanted
        The values as people read them.
    failure
        By how much it failed; None where it did not.
    """

    name: str
    candidate: str
    production: str = NONE
    difference: str = NONE
    wanted: str = NONE
    failure: str | None = None

    @property
    def row(self) -> tuple[str, ...]:
        """As a row of the report."""
        return (*self[:5], "passed" if self.failure is None else "FAILED")


def absolute(block: Gates, scores: dict[str, float], before: dict[str, float]) -> list[Gate]:
    """The gates that ask for a score, or a loss, by itself.

    Parameters
    ----------
    scores, before
        `test` of metrics.json, of the candidate and of the version that holds the stage; empty
        where there is none.
    """
    least = [_at(name, 1, limit, scores, before) for name, limit in block.minimum.items()]
    most = [_at(name, -1, limit, scores, before) for name, limit in block.maximum.items()]
    return [*least, *most]


def _at(
    name: str, sign: int, limit: float, scores: dict[str, float], before: dict[str, float]
) -> Gate:
    """A value that is to be at least (1) or at most (-1) a limit."""
    value, said = scores.get(name), before.get(name)
    wanted = f"{'at least' if sign > 0 else 'at most'} {limit:g}"
    shown = NONE if said is None else f"{said:.4f}"
    if value is None:
        return Gate(name, NONE, shown, NONE, wanted, f"metrics.json has no {name}")
    short = sign * (limit - value)
    side = "under" if sign > 0 else "over"
    failure = f"{name} {value:.4f} is {short:.4g} {side} {limit:g}" if not short <= 0 else None
    return Gate(name, f"{value:.4f}", shown, NONE, wanted, failure)


def relative(rule: Against, found: Difference) -> Gate:
    """The gate against the version that holds the stage.

    `not_worse` stops only where more than `may_lose` is lost for certain, `better` unless it is
    certain that it is not.
    """
    loss = rule.metric in metrics.LOSSES
    worst, best = (-found.high, -found.low) if loss else (found.low, found.high)
    lenient = rule.rule == "not_worse"
    passed = best >= -rule.may_lose if lenient else worst > -rule.may_lose
    missed = f"surely worse by {abs(best):.4g}" if lenient else f"maybe worse by {abs(worst):.4g}"
    value = found.candidate - found.production
    return Gate(
        f"{rule.metric}, {rule.rule}",
        f"{found.candidate:.4f}",
        f"{found.production:.4f}",
        f"{value:+.4f} [{found.low:+.4f}, {found.high:+.4f}]",
        _wanted(rule),
        None if passed else f"{rule.metric} {found.candidate:.4f} against {found.production:.4f}, "
        f"{missed} at {100 * rule.confidence:g} %, and {_wanted(rule)} is wanted",
    )  # fmt: skip


def _wanted(rule: Against) -> str:
    """What a rule asks for, in words."""
    beyond = f" over {rule.may_lose:g}" if rule.may_lose else ""
    if rule.rule == "not_worse":
        return f"no sure loss{beyond}"
    return f"surely no loss{beyond}" if beyond else "a sure gain"


def free(rule: Against) -> Gate:
    """That gate where no version holds the stage."""
    return Gate(f"{rule.metric}, {rule.rule}", NONE, NONE, "nothing to compare with", _wanted(rule))


def incomparable(rule: Against, number: str, reason: str) -> Gate:
    """That gate where the two cannot be compared."""
    failure = f"{rule.metric} cannot be compared with that of {number}: {reason}"
    return Gate(f"{rule.metric}, {rule.rule}", NONE, NONE, "not comparable", _wanted(rule), failure)


def latency(limit: float | None, value: float, before: float | None) -> list[Gate]:
    """The gate of the time that one row takes, in microseconds."""
    return _under("latency", "µs", limit, value, before)


def size(limit: float | None, value: float, before: float | None) -> list[Gate]:
    """The gate of the size of the graph, in bytes; the limit in millions of them."""
    then = None if before is None else before / MEGABYTE
    return _under("model.onnx", "MB", limit, value / MEGABYTE, then)


def _under(
    name: str, unit: str, limit: float | None, value: float, before: float | None
) -> list[Gate]:
    if limit is None:
        return []
    over = value - limit
    failure = f"{name} {value:.3g} {unit} is {over:.3g} {unit} over {limit:g}" if over > 0 else None
    shown, difference = NONE, NONE
    if before is not None:
        shown, difference = f"{before:.3g} {unit}", f"{value - before:+.3g} {unit}"
    wanted = f"at most {limit:g} {unit}"
    return [Gate(name, f"{value:.3g} {unit}", shown, difference, wanted, failure)]


def microseconds(rival: Rival, row: NDArray[np.float32], calls: int = CALLS) -> float:
    """Median time that a model takes for one row, 1 × k, on one thread, warm."""
    taken = []
    for _ in range(WARM_UP + calls):
        start = time.perf_counter_ns()
        inference.predict(rival.session, row)
        taken.append(time.perf_counter_ns() - start)
    return float(np.median(taken[WARM_UP:])) / 1000


def report(gates: Iterable[Gate]) -> str:
    """The gates as a table of text."""
    gates = list(gates)
    if not gates:
        return "params.yaml asks for no gate"
    return table(HEAD, [gate.row for gate in gates])


def failures(gates: Iterable[Gate]) -> list[str]:
    """Of each gate that failed, by how much."""
    return [gate.failure for gate in gates if gate.failure is not None]
