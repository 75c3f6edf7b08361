"""What `bench.serving` must reach, and whether it does."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, NamedTuple, TypedDict

from bench.contenders import CONTENDERS
from bench.load import Cell

Bound = Literal["at least", "at most"]
ONE, LIST, SINGLE = Cell(1, 32), Cell(1, 32, "list"), Cell(1, 1)
HUNDRED, THOUSAND, RECORDS = Cell(100, 4), Cell(1000, 4), Cell(1000, 4, "records")
MOST_FIRST_MS, MOST_OFF_MEAN = 200.0, 0.2
MOST_WORSE_MS = 10.0
MOST_MIB, FLAT_MIB = 150.0, 5.0
# By connections, the first answers included.
TAILS = {32: 2.0, 128: 2.5, 256: 3.0}


class Ratio(NamedTuple):
    """A target: a figure of Cairn in a cell, as a multiple of a peer's."""

    peer: str
    cell: Cell
    figure: Literal["requests_per_s", "rows_per_s", "p50_ms"]
    bound: Bound
    required: float


RATIOS = (
    Ratio("ceiling", ONE, "requests_per_s", "at least", 1.15),
    Ratio("fastapi-onnx", ONE, "requests_per_s", "at least", 2.5),
    Ratio("fastapi-forest", ONE, "requests_per_s", "at least", 40),
    Ratio("bentoml-onnx", ONE, "requests_per_s", "at least", 7),
    Ratio("ceiling", LIST, "requests_per_s", "at least", 1.1),
    Ratio("ceiling", SINGLE, "p50_ms", "at most", 0.9),
    Ratio("ceiling", HUNDRED, "rows_per_s", "at least", 1.3),
    Ratio("ceiling", THOUSAND, "rows_per_s", "at least", 1.5),
    Ratio("ceiling", RECORDS, "rows_per_s", "at least", 1.0),
)
FIGURES = {"requests_per_s": "requests/s", "rows_per_s": "rows/s", "p50_ms": "p50"}


class Check(TypedDict):
    """A target, the value that was measured, and whether it is reached."""

    workers: int
    name: str
    bound: Bound
    required: float
    got: float
    reached: bool


def check_targets(result: Mapping[str, Any]) -> list[Check]:
    """Check each target that was measured, with one worker and with two."""
    checks: list[Check] = []
    for workers in 1, 2:
        section = result.get(f"workers_{workers}", {})
        checks += check_ratios(section.get("contenders", {}), workers)
        checks += check_fairness(section.get("fairness", {}).get("cairn", {}), workers)
        checks += check_greedy(section.get("greedy", {}), workers)
    if "memory" in result:
        memory = result["memory"]
        done = memory["samples"][-1]
        name = f"MiB resident after {done['requests']:,} requests"
        checks.append(check_target(1, name, "at most", MOST_MIB, done["rss_mib"]))
        name = "MiB of growth over these requests"
        checks.append(check_target(1, name, "at most", FLAT_MIB, memory["growth_mib"]))
    return checks


def check_ratios(contenders: Mapping[str, Any], workers: int) -> Iterator[Check]:
    """Check what is a multiple of a peer's figure."""
    medians = {name: one["median"] for name, one in contenders.items()}
    mine = medians.get("cairn", {})
    for peer, cell, figure, bound, required in RATIOS:
        theirs = medians.get(peer, {})
        if cell.name in mine and cell.name in theirs:
            ratio = mine[cell.name][figure] / theirs[cell.name][figure]
            name = f"{cell.name}: {FIGURES[figure]} over {CONTENDERS[peer].title}"
            yield check_target(workers, name, bound, required, ratio)


def check_fairness(measured: Mapping[str, Any], workers: int) -> Iterator[Check]:
    """Check the tails, the shares and the slowest first answer, by the number of connections."""
    for connections, most in TAILS.items():
        one = measured.get(str(connections))
        if one is None:
            continue
        name = f"{connections} new connections"
        tail = one["p99_ms"] / one["p50_ms"]
        yield check_target(workers, f"{name}: p99 over p50", "at most", most, tail)
        off = one["most_off_mean"]
        yield check_target(
            workers, f"{name}: share farthest from the mean", "at most", MOST_OFF_MEAN, off
        )
        if connections == max(TAILS):
            slowest = one["slowest_first_ms"]
            yield check_target(
                workers, f"{name}: slowest first answer, ms", "at most", MOST_FIRST_MS, slowest
            )


def check_greedy(greedy: Mapping[str, Any], workers: int) -> Iterator[Check]:
    """Check by how much one greedy client delays single rows: with good bodies, with the worst."""
    if not greedy:
        return
    baseline = greedy["baseline"]["p99_ms"]
    extra = {name: one["p99_ms"] - baseline for name, one in greedy["bodies"].items()}
    worst = max((name for name in extra if name != "good"), key=lambda name: extra[name])
    for name in "good", worst:
        text = f"{ONE.name}: ms of p99 more beside 10,000-row bodies ({name})"
        yield check_target(workers, text, "at most", MOST_WORSE_MS, extra[name])


def check_target(workers: int, name: str, bound: Bound, required: float, got: float) -> Check:
    """Check one target."""
    return Check(
        workers=workers,
        name=name,
        bound=bound,
        required=required,
        got=round(got, 2),
        reached=got >= required if bound == "at least" else got <= required,
    )


def format_check(check: Check) -> str:
    """Format a target as a line of the printed table."""
    required = f"{check['bound']} {check['required']:g}"
    verb = "reached" if check["reached"] else "MISSED"
    return f"  {check['workers']}  {check['name']:<80}{check['got']:>9,.2f}  {required:<14}{verb}"
