"""Draw the images' result: `python -m bench.plot_image RESULT PLOT`, in the peers' environment."""

from __future__ import annotations

from typing import Any

import matplotlib.pyplot as plt

from bench.arguments import parse_paths
from bench.plot import OURS, THEIRS, read_result, save_figure


def main() -> None:
    """Read the result, write the plot."""
    paths = parse_paths("bench.plot_image", __doc__)
    result = read_result(paths.result)
    images = {
        name: contender
        for name, contender in result["contenders"].items()
        if "mib_on_top_of_base" in contender
    }
    contenders = sorted(images.items(), key=lambda item: -item[1]["mib_on_top_of_base"])
    titles = [contender["title"] for _, contender in contenders]
    colors = [OURS if name == "cairn" else THEIRS for name, _ in contenders]
    figure, axes = plt.subplots(1, 3, figsize=(13, 2.6), sharey=True, layout="constrained")
    for axis, (title, unit, values) in zip(
        axes, list_panels([contender for _, contender in contenders]), strict=True
    ):
        draw_bars(axis, titles, values, colors, unit)
        axis.set_title(title, fontsize=10, loc="left")
    for label, (name, _) in zip(axes[0].get_yticklabels(), contenders, strict=True):
        label.set_fontweight("bold" if name == "cairn" else "normal")
    save_figure(figure, describe_result(result), paths.plot)


def list_panels(contenders: list[dict[str, Any]]) -> list[tuple[str, str, list[float]]]:
    """List the panels: title, format of a value, and values."""
    return [
        ("MiB on top of the base image", "{:,.0f}", [c["mib_on_top_of_base"] for c in contenders]),
        ("seconds from start to prediction", "{:.1f}", [c["start_seconds"] for c in contenders]),
        (
            "MiB of memory after 1,000 predictions",
            "{:,.0f}",
            [c["after_1000"]["pss_mib"] for c in contenders],
        ),
    ]


def draw_bars(
    axis: Any, titles: list[str], values: list[float], colors: list[str], unit: str
) -> None:
    """Horizontal bars from zero, each with its value."""
    axis.barh(titles, values, color=colors, height=0.7)
    axis.set_xlim(0, max(values) * 1.15)
    for index, value in enumerate(values):
        axis.annotate(
            unit.format(value), (value, index), (5, 0), textcoords="offset points", va="center",
            fontsize=8,
        )  # fmt: skip
    axis.spines[["top", "right", "bottom"]].set_visible(False)
    axis.tick_params(axis="x", bottom=False, labelbottom=False)
    axis.tick_params(axis="y", left=False)


def describe_result(result: dict[str, Any]) -> str:
    """Where the figures come from."""
    host, base = result["machine"], result["base"]
    stand_in = " (a stand-in of Debian's packages)" if base["stand_in"] else ""
    return (
        f"{base['name']}{stand_in}; {host['cores']} cores of {host['processor']}; Docker "
        f"{result['engine']['version']}; median of {result['method']['starts']} starts; "
        f"{result['date']}; commit {result['commit'][:12]}"
    )


if __name__ == "__main__":
    main()
