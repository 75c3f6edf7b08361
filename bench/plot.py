"""Draw a result: `python -m bench.plot RESULT PLOT`, in the peers' environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import matplotlib.pyplot as plt

from bench.arguments import parse_paths

OURS, LIMIT, THEIRS = "#c2410c", "#334155", "#94a3b8"
ONE, MANY = "1 row, 32 connections", "1000 rows, 4 connections"


class Bars(NamedTuple):
    """One panel: its title, and each contender's value, label and where that label starts."""

    title: str
    values: list[float]
    labels: list[str]
    ends: list[float]


def main() -> None:
    """Read the result, write the plot."""
    paths = parse_paths("bench.plot", __doc__)
    result = read_result(paths.result)
    contenders = sorted(
        result["contenders"].items(), key=lambda item: item[1]["median"][ONE]["requests_per_s"]
    )
    titles = [contender["title"] for _, contender in contenders]
    colors = [{"cairn": OURS, "ceiling": LIMIT}.get(name, THEIRS) for name, _ in contenders]
    figure, axes = plt.subplots(1, 3, figsize=(13, 4.2), sharey=True, layout="constrained")
    panels = build_panels([contender["median"] for _, contender in contenders])
    for axis, panel in zip(axes, panels, strict=True):
        draw_bars(axis, panel, titles, colors)
    tails = [contender["median"][ONE]["p99_ms"] for _, contender in contenders]
    axes[1].scatter(tails, range(len(tails)), marker="|", s=90, color="black", zorder=3)
    for label, (name, _) in zip(axes[0].get_yticklabels(), contenders, strict=True):
        label.set_fontweight("bold" if name == "cairn" else "normal")
    save_figure(figure, describe_result(result), paths.plot)


def read_result(path: str) -> dict[str, Any]:
    """Read a result, and set matplotlib's style."""
    # The same bytes for the same figures: no clock, no random names; text stays text.
    mpl.rcParams.update({"svg.hashsalt": "cairn", "svg.fonttype": "none", "font.size": 9})
    return dict(json.loads(Path(path).read_text(encoding="utf-8")))


def save_figure(figure: Any, text: str, path: str) -> None:
    """Write the plot, with a line on where its figures come from."""
    figure.supxlabel(text, fontsize=8, color="#475569")
    figure.savefig(path, metadata={"Date": None} if path.endswith("svg") else None)


def build_panels(medians: list[dict[str, Any]]) -> list[Bars]:
    """Build the panels."""
    rates = [contender[ONE]["requests_per_s"] for contender in medians]
    waits = [(contender[ONE]["p50_ms"], contender[ONE]["p99_ms"]) for contender in medians]
    rows = [contender[MANY]["rows_per_s"] for contender in medians]
    return [
        Bars("requests/s, 1 row, 32 connections", rates, [f"{rate:,.0f}" for rate in rates], rates),
        Bars(
            "latency of these, ms: bar p50, mark p99",
            [middle for middle, _ in waits],
            [f"{middle:,.1f}, p99 {tail:,.1f}" for middle, tail in waits],
            [max(wait) for wait in waits],
        ),
        Bars("rows/s, 1,000 rows a request", rows, [f"{rate:,.0f}" for rate in rows], rows),
    ]


def draw_bars(axis: Any, panel: Bars, titles: list[str], colors: list[str]) -> None:
    """Horizontal bars on a logarithmic scale, each with its value."""
    axis.barh(titles, panel.values, color=colors, height=0.7)
    axis.set_xscale("log")
    # A logarithmic bar has no zero to start from: a decade below the least.
    axis.set_xlim(min(panel.values) / 3, max(panel.ends) * 12)
    for index, (end, label) in enumerate(zip(panel.ends, panel.labels, strict=True)):
        start, shift = (end, index), (5, 0)
        axis.annotate(label, start, shift, textcoords="offset points", va="center", fontsize=8)
    axis.set_title(panel.title, fontsize=10, loc="left")
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
    axis.tick_params(axis="y", left=False)


def describe_result(result: dict[str, Any]) -> str:
    """Where the figures come from."""
    host = result["machine"]
    return (
        f"one server core of {host['processor']}, load by {result['versions']['wrk']} on another; "
        f"Python {host['python']}; {result['date']}; commit {result['commit'][:12]}; log scales"
    )


if __name__ == "__main__":
    main()
