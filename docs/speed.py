"""Render the page on speed from what the benchmarks wrote into `bench/results`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

RESULTS = Path(__file__).resolve().parents[1] / "bench" / "results"
INTRODUCTION = (
    "Every figure on this page comes from `bench/results`, which the benchmarks write. "
    "`make bench` runs all of them, and each explains with `--help` what it measures."
)
Json = Mapping[str, Any]


class Table(NamedTuple):
    """A table: its heads, and its rows."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


class Section(NamedTuple):
    """A part of the page: its title, a paragraph, and a table; without rows it is left out."""

    title: str
    text: str
    table: Table


def read_sections(folder: Path = RESULTS) -> list[Section]:
    """Read what was measured, a section each; what was not measured yet has none."""
    serving, body, scale, pipeline, first_hour = (
        json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
        for name in ("serving", "body", "scale", "pipeline", "first_hour")
    )
    return [
        section
        for section in [
            *describe_service(serving),
            describe_body(body),
            describe_scale(scale),
            describe_parts(scale),
            describe_seconds("`dvc repro` with the shipped table", "bench.pipeline", pipeline),
            describe_seconds("The first hour", "bench.first_hour", first_hour),
        ]
        if section.table.rows
    ]


def describe_service(result: Json) -> Iterator[Section]:
    """Describe what `bench.serving` measured."""
    yield Section(
        "What the service must reach",
        f"`python -m bench.serving`, {describe_machine(result)}. The load comes from `wrk` on the "
        "same machine. One worker has a core of its own; two workers share both cores with the "
        "load. Cairn runs as shipped: validation, logs, metrics and drift are on."
        f"{describe_noise(result.get('method', {}))}",
        Table(
            ("workers", "what", "measured", "target", "reached"),
            [list_check(check) for check in result["targets"]],
        ),
    )
    for workers, title in (1, "One worker"), (2, "Two workers"):
        section = result.get(f"workers_{workers}", {})
        yield Section(
            f"{title}: requests per second",
            "Each connection asks again as soon as it has an answer.",
            tabulate_rates(section.get("contenders", {})),
        )
        yield Section(
            f"{title}: each connection by itself",
            "All connections are new. A client on epoll watches each of them, in rounds of a "
            "second of which these are the medians; its own processor time counts as waiting. "
            "Cairn:",
            tabulate_fairness(section.get("fairness", {}).get("cairn", {})),
        )
        yield Section(
            f"{title}: single rows beside a client that sends 10,000 rows without pause",
            "32 connections with one row each, while one more client posts large bodies of one "
            "kind. Cairn:",
            tabulate_greedy(section.get("greedy", {})),
        )
    yield Section(
        "A model whose single row is slow",
        "Nearest neighbors on 20,000 rows; requests per second.",
        tabulate_rates(result.get("slow", {})),
    )


def describe_noise(method: Json) -> str:
    """Describe how much others on the same host slowed the server's core down, where measured.

    >>> describe_noise({"slow_share_before": 0.02, "slow_share_after": 0.2})
    " Other users of the host slowed the server's core for 2% of the time before, and 20% after."
    """
    if "slow_share_before" not in method:
        return ""
    before, after = method["slow_share_before"], method["slow_share_after"]
    return (
        f" Other users of the host slowed the server's core for {before:.0%} of the time before, "
        f"and {after:.0%} after."
    )


def list_check(check: Json) -> list[str]:
    """List the cells of a target."""
    target = f"{check['bound']} {check['required']:g}"
    reached = "yes" if check["reached"] else "no"
    return [str(check["workers"]), check["name"], f"{check['got']:,.2f}", target, reached]


def tabulate_rates(contenders: Mapping[str, Json]) -> Table:
    """Tabulate requests per second: a contender a row, the fastest with a row first."""
    medians = {one["title"]: one["median"] for one in contenders.values()}
    cells = list(dict.fromkeys(cell for median in medians.values() for cell in median))
    ordered = sorted(
        medians.items(), key=lambda item: -max(one["requests_per_s"] for one in item[1].values())
    )
    rows = [
        [
            title,
            *(f"{median[cell]['requests_per_s']:,.0f}" if cell in median else "" for cell in cells),
        ]
        for title, median in ordered
    ]
    return Table(("", *cells), rows)


def tabulate_fairness(fairness: Mapping[str, Json]) -> Table:
    """Tabulate the connections, by their number."""
    heads = (
        "connections", "requests/s", "p50, ms", "p99, ms", "slowest first answer, ms",
        "answers per connection", "the client's CPU per request, µs",
    )  # fmt: skip
    rows = [
        [
            number,
            f"{one['requests_per_s']:,.0f}",
            f"{one['p50_ms']:,.2f}",
            f"{one['p99_ms']:,.2f}",
            f"{one['slowest_first_ms']:,.0f}",
            f"{one['least_answers']:,.0f} to {one['most_answers']:,.0f}",
            f"{one['client_cpu_us']:,.0f}",
        ]
        for number, one in fairness.items()
    ]
    return Table(heads, rows)


def tabulate_greedy(greedy: Json) -> Table:
    """Tabulate single rows by what the other client sends."""
    loads = {"nothing": greedy["baseline"], **greedy["bodies"]} if greedy else {}
    rows = [
        [name, f"{one['requests_per_s']:,.0f}", f"{one['p50_ms']:,.2f}", f"{one['p99_ms']:,.2f}"]
        for name, one in loads.items()
    ]
    return Table(("the other client's bodies", "requests/s", "p50, ms", "p99, ms"), rows)


def describe_body(result: Json) -> Section:
    """Describe what `bench.body` measured."""
    sizes = result["microseconds"]
    parts = list(dict.fromkeys(part for size in sizes.values() for part in size))
    rows = [[f"{int(number):,}", *(f"{size[part]:,.0f}" for part in parts)]
            for number, size in sizes.items()]  # fmt: skip
    bounds = zip(result["bound"].values(), result["bound_as_shipped"].values(), strict=True)
    cells = [
        [*row, f"{least:.2f}", f"{shipped:.2f}"]
        for row, (least, shipped) in zip(rows, bounds, strict=True)
    ]
    text = (
        f"`python -m bench.body`, {describe_machine(result)}: processor time of each part, "
        "microseconds, without HTTP; parts and bodies take turns. The ceiling is a bare function "
        "of orjson, NumPy, and ONNX Runtime that checks nothing. The bounds are how many times as "
        "fast as the ceiling a service with this model would be if HTTP took no time: one that "
        "only reads the body and runs the model, and one that also writes Cairn's answer and "
        "counts the rows."
    )
    heads = ("rows", *parts, "bound", "bound as shipped")
    return Section("Where the time of a long body goes", text, Table(heads, cells))


def describe_scale(result: Json) -> Section:
    """Describe what `bench.scale` measured."""
    rows = [
        [
            f"{int(number):,}",
            f"{one['script']['seconds']:,.1f}",
            f"{one['pipeline']['seconds']:,.1f}",
            f"{one['pipeline_over_script']:.2f}",
            f"{one['script']['peak_gib']:.2f}",
            f"{max(one['pipeline']['stages_peak_gib'].values()):.2f}",
        ]
        for number, one in result["rows"].items()
    ]
    heads = (
        f"rows × {result['columns']}", "the script, s", "`dvc repro`, s", "ratio",
        "the script, GiB", "the largest stage, GiB",
    )  # fmt: skip
    text = (
        f"`python -m bench.scale`, {describe_machine(result)}: from a CSV file to a verified, "
        "registered model of histogram boosting, beside the leanest single script."
    )
    return Section("Millions of rows", text, Table(heads, rows))


def describe_parts(result: Json) -> Section:
    """Describe where the time of the most rows goes; an older result does not know."""
    number = max(result["rows"], key=int)
    script, pipeline = result["rows"][number]["script"], result["rows"][number]["pipeline"]
    parts, stages = script.get("parts_seconds"), pipeline["stages_seconds"]
    rows = [
        ["copy the table", "", f"{stages['raw']:,.1f}"],
        ["read and check it", f"{parts['read']:,.1f}", f"{stages['processed']:,.1f}"],
        ["split the rows", f"{parts['split']:,.1f}", f"{stages['features']:,.1f}"],
        [
            "fit, convert, compare every row",
            f"{parts['fit'] + parts['compare']:,.1f}",
            f"{stages['train']:,.1f}",
        ],
        ["evaluate: intervals, plots, card", "", f"{stages['evaluate']:,.1f}"],
        ["DVC: hash and copy what stages write", "", f"{pipeline['dvc_seconds']:,.1f}"],
    ] if parts else []  # fmt: skip
    text = "The script does not do the steps that have no figure."
    heads = ("step", "the script, s", "`dvc repro`, s")
    return Section(f"Where the time of {int(number):,} rows goes", text, Table(heads, rows))


def describe_seconds(title: str, module: str, result: Json) -> Section:
    """Describe the medians of steps or ways."""
    runs = len(next(iter(result["seconds"].values())))
    rows = [[name, f"{seconds:.2f}"] for name, seconds in result["median_seconds"].items()]
    text = f"`python -m {module}`, {describe_machine(result)}: medians of {runs} runs."
    return Section(title, text, Table(("step", "seconds"), rows))


def describe_machine(result: Json) -> str:
    """Say where and, if the result knows it, when it was measured."""
    machine = result["machine"]
    date = f", {result['date']}" if "date" in result else ""
    return f"{machine['cores']} cores of {machine['processor']}, Python {machine['python']}{date}"
