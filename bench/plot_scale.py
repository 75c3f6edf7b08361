"""Draw the scale: `python -m bench.plot_scale RESULT PLOT`, in the peers' environment."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from bench.arguments import parse_paths
from bench.plot import OURS, THEIRS, read_result, save_figure

STREAMED = ("raw", "processed", "features")


def main() -> None:
    """Read the result, write the plot."""
    paths = parse_paths("bench.plot_scale", __doc__)
    result = read_result(paths.result)
    millions = [int(rows) / 1e6 for rows in result["rows"]]
    sizes = list(result["rows"].values())
    figure, (time, memory) = plt.subplots(1, 2, figsize=(11, 3.6), layout="constrained")
    draw_line(time, millions, [size["script"]["seconds"] for size in sizes], "the script", THEIRS)
    draw_line(time, millions, [size["pipeline"]["seconds"] for size in sizes], "dvc repro", OURS)
    draw_line(
        memory, millions, [size["script"]["peak_gib"] for size in sizes], "the script", THEIRS
    )
    draw_line(memory, millions, [get_peak(size, "train") for size in sizes], "train", OURS)
    streamed = [max(get_peak(size, stage) for stage in STREAMED) for size in sizes]
    draw_line(memory, millions, streamed, "raw, processed, features", OURS, dashed=True)
    for axis, title in ((time, "seconds"), (memory, "peak of resident memory, GiB")):
        axis.set_title(title, fontsize=10, loc="left")
        axis.set_xlabel(f"million rows × {result['columns']}")
        axis.set(xlim=(0, max(millions) * 1.3), ylim=(0, None), xticks=millions)
        axis.spines[["top", "right"]].set_visible(False)
    save_figure(figure, describe_result(result), paths.plot)


def get_peak(size: dict[str, Any], stage: str) -> float:
    """Get the peak memory of a stage, in GiB."""
    return float(size["pipeline"]["stages_peak_gib"][stage])


def draw_line(  # noqa: PLR0913
    axis: Any, x: list[float], y: list[float], name: str, color: str, *, dashed: bool = False
) -> None:
    """One line, named and valued at its end."""
    axis.plot(x, y, marker="o", markersize=4, color=color, linestyle="--" if dashed else "-")
    axis.annotate(
        f"{name}: {y[-1]:,.1f}", (x[-1], y[-1]), (6, 0), textcoords="offset points", va="center",
        fontsize=8,
    )  # fmt: skip


def describe_result(result: dict[str, Any]) -> str:
    """Where the figures come from."""
    host = result["machine"]
    return (
        f"{host['cores']} cores of {host['processor']}, {host['memory_gib']} GiB; Python "
        f"{host['python']}; {result['date']}; commit {result['commit'][:12]}"
    )


if __name__ == "__main__":
    main()
