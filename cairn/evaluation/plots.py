"""Draw the evaluation as PNG files, whose bytes depend on the points and nothing else.

No window, no pyplot, no date, no settings of the user's; the colors are those of Okabe and Ito
(2008), which people with color blindness can distinguish.
"""

from __future__ import annotations

import io
import math
import textwrap
import unicodedata
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray
from PIL import Image

from cairn.contract import Contract
from cairn.evaluation.markdown import between, number
from cairn.evaluation.metric_table import BINARY, METRICS
from cairn.evaluation.records import Evaluation, Interval
from cairn.modeling.records import Threshold

PALETTE = 128  # colours of a PNG
INCHES, DPI = (4.0, 3.0), 200  # 800 × 600 pixels, of which a phone shows 300 in width
BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
COLOURS = (BLUE, RED, GREEN, PINK, ORANGE, SKY, BLACK)
GREY, LIGHT, DARK = "#999999", "#E4E4E4", "#222222"
SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", BLUE])
RC: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": GREY,
    "axes.formatter.use_mathtext": False,
    "axes.grid": True,
    "axes.labelcolor": DARK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "axes.titleweight": "bold",
    "figure.dpi": DPI,
    "font.family": ["DejaVu Sans"],  # comes with matplotlib
    "font.size": 9.5,
    "grid.color": LIGHT,
    "grid.linewidth": 0.7,
    "legend.fontsize": 8.5,
    "legend.framealpha": 0.9,
    "legend.edgecolor": LIGHT,
    "lines.linewidth": 1.8,
    "text.color": DARK,
    "text.parse_math": False,  # a name with two $ is no formula
    "xtick.color": DARK,
    "ytick.color": DARK,
}
COLUMNS = 12  # bars
PANELS = 4  # of the columns whose dependence is known
CANDIDATES = 8
NAME = 22  # characters of a name in a picture
BOTH = 5  # classes up to which a cell of the confusion has room for count and share
COUNTS = 15  # and for a count
TICKS = 20  # labels along an axis
BINS = 10  # of the calibration
SCORED = ":\N{NO-BREAK SPACE}"  # between a class and its score, and in no name as `short` makes it
Points = Mapping[str, pd.DataFrame]


def draw(points: Points, evaluation: Evaluation, contract: Contract, name: str) -> bytes:
    """Draw one of PICTURES as a PNG of 800 × 600 pixels.

    Parameters
    ----------
    points
        As `curves.points` makes them; what has no rows is drawn as a sentence that says why.
    evaluation
        What data/evaluation/evaluation.json holds.
    """
    with style():
        return png(DRAWN[name](points, evaluation, contract))


@contextmanager
def style() -> Iterator[None]:
    """Draw as matplotlib comes and RC says, whatever the user has set."""
    with mpl.rc_context(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # of a script that the font lacks
        mpl.rcdefaults()
        with mpl.rc_context(RC):
            yield


def png(figure: Figure) -> bytes:
    """Encode a figure as PNG, without a date and without the name of a program."""
    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    picture = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    # Few colours are a third of the bytes, and enough for flat ones and their edges.
    picture.quantize(PALETTE, dither=Image.Dither.NONE).save(
        file, "PNG", optimize=True, dpi=(DPI, DPI)
    )
    return file.getvalue()


def short(text: object, most: int = NAME) -> str:
    r"""Write a name on one line, without its middle where it is long.

    >>> short("measured\nin the year 2031", 15)
    'measured…r 2031'
    """
    printable = "".join(sign if sign.isprintable() else " " for sign in str(text))
    line = " ".join(printable.split())
    if not line:
        return "(empty)"
    most = _room(line, most)
    tail = (most - 1) * 3 // 7
    return line if len(line) <= most else f"{line[: most - 1 - tail]}…{line[-tail:]}"


def _room(line: str, most: int) -> int:
    """Count how many of a line's characters have room where so many of usual width have.

    >>> _room("name", 8), _room("名前", 8)
    (8, 4)
    """
    wide = sum(unicodedata.east_asian_width(sign) in "WF" for sign in line)
    return most * len(line) // (len(line) + wide)


def _figure(title: str, x: str, y: str) -> tuple[Figure, Axes]:
    figure = Figure(INCHES, layout="constrained")
    axes = figure.subplots()
    axes.set(xlabel=x, ylabel=y)
    _title(figure, title)
    return figure, axes


def _title(figure: Figure, title: str) -> None:
    """Write the title, at the left; it has room for 44 characters."""
    figure.suptitle(title, x=0.01, ha="left", fontsize=11, fontweight="bold")


def _ticks(most: int, *, integer: bool = False) -> MaxNLocator:
    """Return at most so many steps along an axis, of round numbers."""
    return MaxNLocator(most, integer=integer, steps=[1, 2, 5, 10])


def _below(figure: Figure, text: str) -> None:
    """Write what the x axis shows, where names at the y axis leave it too little room."""
    figure.supxlabel(text, fontsize=9.5)


def _sentence(title: str, text: str) -> Figure:
    """Draw a sentence where there is nothing else to draw."""
    figure = Figure(INCHES)
    _title(figure, title)
    figure.text(0.5, 0.5, textwrap.fill(text, 48), ha="center", va="center", fontsize=11)
    return figure


def _interval(axes: Axes, score: Interval) -> None:
    """Write the interval of the score in the title on a line below it, if there is one."""
    if score.ends is None:
        return
    axes.set_title(
        f"95% interval {between(score)}",
        fontsize=9,
        fontweight="normal",
    )


def _legend(figure: Figure, axes: Axes, location: Any, title: str | None = None) -> None:
    """Draw a legend inside the axes, or beside them where there are many classes.

    The names are passed in: matplotlib would skip those that begin with `_`.
    """
    lines = axes.lines
    names = [str(line.get_gid()) for line in lines if line.get_gid()]
    handles = [line for line in lines if line.get_gid()]
    if len(names) > BOTH - 1:
        figure.legend(handles, names, loc="outside right center", title=title)
    else:
        axes.legend(handles, names, loc=location, title=title)


def _confusion(points: Points, evaluation: Evaluation, contract: Contract) -> Figure:
    """Draw counts, shaded by their fraction of the rows of the class."""
    keys, frame = contract.target.keys, points["confusion"]
    codes = {key: code for code, key in enumerate(keys)}
    counts = np.zeros((len(keys), len(keys)), dtype=np.int64)
    np.add.at(counts, (frame["actual"].map(codes), frame["predicted"].map(codes)), 1)
    fractions = counts / counts.sum(axis=1, keepdims=True).clip(1)
    total = evaluation.rows.test
    of = f"the {total:,}" if len(frame) == total else f"{len(frame):,} of the {total:,}"
    figure, axes = _figure(f"Confusion on {of} test rows", "predicted", "actual")
    image = axes.imshow(fractions, cmap=SHADES, vmin=0, vmax=1, aspect="auto")
    bar = figure.colorbar(
        image, ax=axes, shrink=0.8, format=lambda fraction, _: f"{100 * fraction:.0f}%"
    )
    bar.set_label("fraction of the actual class")
    bar.outline.set_visible(False)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    step = math.ceil(len(keys) / TICKS)
    few = len(keys) <= BOTH
    names = [_folded(key) if few else short(key, 14) for key in keys[::step]]
    size = 9.5 if few else 8 if len(keys) <= COUNTS else 6.5
    letters = max(len(line) for name in names for line in name.split("\n"))
    flat = letters * len(names) <= 30  # noqa: PLR2004 - letters of an axis
    axes.set_xticks(range(0, len(keys), step), names, fontsize=size, rotation=0 if flat else 90)
    axes.set_yticks(range(0, len(keys), step), names, fontsize=size)
    if len(keys) <= COUNTS:
        _cells(axes, counts, fractions)
    return figure


def _folded(key: str) -> str:
    """Wrap a name on two lines, or three where its words are long."""
    name = short(key, 26)
    return textwrap.fill(name, _room(name, 13))


def _cells(axes: Axes, counts: NDArray[np.int64], fractions: NDArray[np.float64]) -> None:
    """Write the numbers into the cells; zeros only where there are few classes."""
    both = len(counts) <= BOTH
    for row, column in np.argwhere(counts >= (0 if both else 1)).tolist():
        fraction, count = fractions[row, column], f"{counts[row, column]:,}"
        axes.text(
            column,
            row,
            f"{count}\n{100 * fraction:.1f}%" if both and counts[row, column] else count,
            ha="center",
            va="center",
            fontsize=11 if both else 8,
            color="white" if fraction > 0.55 else DARK,  # noqa: PLR2004 - what can be read
        )


def _roc(points: Points, evaluation: Evaluation, contract: Contract) -> Figure:
    title = f"ROC: {_area(evaluation, 'roc_auc', 'AUC')}"
    figure, axes = _figure(title, "false positive rate", "true positive rate")
    _interval(axes, evaluation.test["roc_auc"])
    axes.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, gid="chance")
    named = _named(evaluation, contract, "roc_auc")
    _lines(axes, points["roc"], ("false_positive_rate", "true_positive_rate"), named)
    rates = _rates(points, evaluation, contract)
    if evaluation.threshold:
        _mark(axes, rates["false"], rates["recall"], evaluation.threshold)
    _legend(figure, axes, "lower right", _scored(contract, "AUC"))
    return figure


def _scored(contract: Contract, score: str) -> str | None:
    """Return the title of a legend of several classes."""
    return f"class: {score}" if len(contract.target.keys) > BINARY else None


def _precision_recall(points: Points, evaluation: Evaluation, contract: Contract) -> Figure:
    title = _area(evaluation, "average_precision", "average precision")
    figure, axes = _figure(f"{title[0].upper()}{title[1:]}", "recall", "precision")
    _interval(axes, evaluation.test["average_precision"])
    if len(contract.target.keys) == BINARY:
        fraction = (evaluation.classes[1].rows or 0) / evaluation.rows.test
        axes.axhline(fraction, color=GREY, linestyle="--", linewidth=1.2, gid="chance")
    named = _named(evaluation, contract, "average_precision")
    _lines(axes, points["precision_recall"], ("recall", "precision"), named)
    rates = _rates(points, evaluation, contract)
    if evaluation.threshold:
        _mark(axes, rates["recall"], rates["precision"], evaluation.threshold)
    axes.set_ylim(-0.03, 1.03)
    _legend(figure, axes, "lower left", _scored(contract, "average"))
    return figure


def _area(evaluation: Evaluation, name: str, title: str) -> str:
    """Write the score of the plot, which is a mean where there are several classes."""
    several = "mean " if len(evaluation.classes) > BINARY else ""
    return f"{several}{title} {number(evaluation.test[name].value)}"


def _named(evaluation: Evaluation, contract: Contract, score: str) -> dict[str, str | None]:
    """Name the classes in the legend; of many classes only the worst, and these first."""
    values = {each.key: each.scores[score].value for each in evaluation.classes}
    keys = contract.target.keys
    if len(keys) == BINARY:
        return {keys[1]: f"class {short(keys[1])}"}
    if len(keys) > len(COLOURS):
        # A class without a score is not among the worst.
        ranks = {key: 1.0 if value is None else value for key, value in values.items()}
        keys = tuple(sorted(keys, key=ranks.__getitem__))
    return {
        key: f"{short(key, 15)}{SCORED}{number(values[key])}" if rank < len(COLOURS) else None
        for rank, key in enumerate(keys)
    }


def _lines(
    axes: Axes, frame: pd.DataFrame, names: tuple[str, str], classes: Mapping[str, str | None]
) -> None:
    """Draw a line a class: those with a name in colour, the others in grey below them."""
    x, y = names
    colours = iter(COLOURS)
    for key, name in classes.items():
        own = frame[frame["class"] == key]
        if name is None:
            axes.plot(own[x], own[y], color=GREY, linewidth=0.7, alpha=0.6, zorder=1)
        else:
            axes.plot(own[x], own[y], color=next(colours), gid=name, clip_on=False)
    rest = sum(name is None for name in classes.values())
    if rest:
        axes.plot([], [], color=GREY, linewidth=0.7, gid=f"{rest} others, better")


def _rates(points: Points, evaluation: Evaluation, contract: Contract) -> dict[str, float]:
    """Compute the rates of the second class at the threshold; empty without one."""
    if not evaluation.threshold:
        return {}
    frame, key = points["confusion"], contract.target.keys[1]
    actual, predicted = frame["actual"] == key, frame["predicted"] == key
    hits = int((actual & predicted).sum())
    return {
        "recall": hits / max(1, int(actual.sum())),
        "precision": hits / int(predicted.sum()) if predicted.any() else 1.0,
        "false": int((predicted & ~actual).sum()) / max(1, int((~actual).sum())),
    }


def _mark(axes: Axes, x: float, y: float, threshold: Threshold) -> None:
    """Mark the point where the threshold decides."""
    name = f"class {short(json_key(threshold.label), 12)} from {threshold.value:.3g}"
    axes.plot(
        [x], [y], "o", color=RED, markersize=8, markeredgecolor="white", gid=name, clip_on=False,
        zorder=5,
    )  # fmt: skip


def json_key(label: object) -> str:
    """Write a class as a key of JSON.

    >>> json_key(True), json_key("yes")
    ('true', 'yes')
    """
    return str(label).lower() if isinstance(label, bool) else str(label)


def _calibration(points: Points, evaluation: Evaluation, contract: Contract) -> Figure:
    frame = points["calibration"]
    error = evaluation.test.get("calibration_error", Interval(None))
    figure = Figure(INCHES, layout="constrained")
    upper, lower = figure.subplots(2, sharex=True, height_ratios=[3.2, 1])
    known = error.value is not None
    _title(figure, f"Calibration: error {number(error.value)}" if known else "Calibration")
    _interval(upper, error)
    upper.plot([0, 1], [0, 1], color=GREY, linestyle="--", linewidth=1.2, gid="exact")
    named = _named(evaluation, contract, "roc_auc")
    unscored = {key: name.partition(SCORED)[0] for key, name in named.items() if name}
    _lines(upper, frame, ("predicted", "observed"), unscored)
    for line in upper.lines:
        line.set(marker="o" if line.get_color() in COLOURS else "", markersize=4)
    upper.set(ylabel="observed fraction", ylim=(-0.03, 1.03))
    _legend(figure, upper, "upper left", "lowest AUC" if len(named) > len(unscored) else None)
    bins = np.ceil(frame["predicted"].to_numpy() * BINS).clip(1, BINS).astype(np.int64) - 1
    rows = np.bincount(bins, weights=frame["rows"], minlength=BINS)
    lower.bar((np.arange(BINS) + 0.5) / BINS, rows, width=0.9 / BINS, color=SKY)
    lower.yaxis.set_major_locator(_ticks(3, integer=True))
    binary = len(contract.target.keys) == BINARY
    of = f"predicted probability of {short(contract.target.keys[1])}" if binary else ""
    lower.set(ylabel="rows", xlabel=of or "predicted probability, of each class")
    figure.align_ylabels()
    return figure


def _importance(points: Points, _: Evaluation, contract: Contract) -> Figure:
    frame = points["importance"]
    best = frame.head(COLUMNS)[::-1]
    # What `stages.engineering` makes is no column of the table.
    word = "columns" if set(frame["column"]) <= set(contract.names) else "columns and features"
    some = f", {len(best)} of {len(frame)}" if len(frame) > len(best) else ""
    figure, axes = _figure(f"Importance of the {word}{some}", "", "")
    _below(figure, "increase of the log loss (nats) when the column is shuffled")
    axes.barh(range(len(best)), best["importance"], color=BLUE, height=min(0.7, len(best) / 10))
    names = [short(_caption(name, contract), 26) for name in best["column"]]
    axes.set_yticks(range(len(best)), names)
    axes.set_ylim(-0.6, len(best) - 0.4)
    axes.axvline(0, color=GREY, linewidth=0.8)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(_ticks(6))
    return figure


def _learning(points: Points, evaluation: Evaluation, _: Contract) -> Figure:
    title, frame = "Learning curve", points["learning"]
    if frame.empty:
        return _sentence(
            title,
            "Not measured: a class has too few rows for it."
            if evaluation.cross_validation
            else "Not measured: evaluate.cross_validation is off, or the rows are too many for it.",
        )
    figure, axes = _figure(title, "training rows", "log loss (nats)")
    for part, colour in (("training", BLUE), ("validation", RED)):
        own = frame[frame["part"] == part].astype({"rows": float})
        rows, loss, spread = own["rows"], own["log_loss"], own["deviation"]
        low = (loss - spread).clip(lower=0)
        axes.fill_between(rows, low, loss + spread, color=colour, alpha=0.18, linewidth=0)
        name = "on these rows" if part == "training" else "on held-out rows, by folds"
        axes.plot(rows, loss, marker="o", markersize=5, color=colour, label=name)
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(_ticks(6, integer=True))
    axes.legend(title="mean ± standard deviation", alignment="left")
    return figure


def _dependence(points: Points, _: Evaluation, contract: Contract) -> Figure:
    frame, keys = points["dependence"], contract.target.keys
    if frame.empty:
        return _sentence("Partial dependence", "Not measured: no column has two values.")
    names = list(dict.fromkeys(frame["column"]))[:PANELS]
    frame = frame[frame["column"].isin(names)]
    classes = _moved(frame)
    wide = min(2, len(names))
    figure = Figure(INCHES, layout="constrained")
    _title(figure, "Partial dependence")
    grid = figure.subplots(math.ceil(len(names) / wide), wide, sharey=True, squeeze=False)
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, frame[frame["column"] == name], classes)
        axes.set_xlabel(short(_with_unit(name, contract), 48 // wide), fontsize=8.5)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    binary = len(keys) == BINARY
    figure.supylabel(
        f"mean probability of {short(keys[1], 18)}" if binary else "mean probability", fontsize=9.5
    )
    if not binary:
        rest = len(keys) - len(classes)
        names = [short(key, 14) for key in classes]
        figure.legend(
            grid[0, 0].lines,
            names,
            loc="outside lower center",
            ncols=max(2, min(7, 58 // (max(map(len, names)) + 6))),
            columnspacing=1.2,
            title=f"the classes that it moves most, of {rest + len(names)}" if rest else None,
            title_fontsize=8.5,
        )
    return figure


def _moved(frame: pd.DataFrame) -> list[str]:
    """Return the classes whose probability changes most, as many as there are colours, in order."""
    of = frame.groupby(["class", "column"], sort=False)["probability"]
    spans = (of.max() - of.min()).groupby(level="class", sort=False).max()
    most = set(spans.sort_values(ascending=False, kind="stable").index[: len(COLOURS)])
    return [key for key in dict.fromkeys(frame["class"]) if key in most]


def _panel(axes: Axes, frame: pd.DataFrame, classes: Sequence[str]) -> None:
    """Draw the curves of one column; points where it is a category."""
    named = frame["label"].notna().all()
    for key, colour in zip(classes, COLOURS, strict=False):
        own = frame[frame["class"] == key]
        x = np.arange(len(own)) if named else own["value"].to_numpy(np.float64)
        axes.plot(x, own["probability"], color=colour, marker="o" if named else "", markersize=4,
                  linewidth=0.8 if named else 1.8)  # fmt: skip
    axes.tick_params(labelsize=8)
    if not named:
        is_integer = bool((frame["value"] % 1 == 0).all())
        axes.xaxis.set_major_locator(_ticks(3, integer=is_integer))
        axes.xaxis.set_major_formatter(lambda value, _: f"{value:.6g}")
        return
    labels = list(frame[frame["class"] == classes[0]]["label"])
    step = math.ceil(len(labels) / 8)
    ticks = [short(each, 10) for each in labels[::step]]
    flat = len("  ".join(ticks)) <= 24  # noqa: PLR2004 - letters of an axis
    axes.set_xticks(range(0, len(labels), step), ticks, rotation=0 if flat else 90)
    axes.margins(x=0.15)


def _with_unit(name: str, contract: Contract) -> str:
    """Name a feature as people do, with the unit of its column."""
    caption = _caption(name, contract)
    column = next((each for each in contract.columns if each.name == name), None)
    return f"{caption} ({column.unit})" if column and column.unit else caption


def _caption(name: str, contract: Contract) -> str:
    """Name a column or a feature as people do: the table's own header, less the unit.

    A date's part follows the header.
    """
    column = next((each for each in contract.columns if name in {each.name, *each.features}), None)
    if column is None:
        return name
    header = column.header or column.name
    if column.unit:
        header = header.removesuffix(f"({column.unit})").strip() or header
    return header if name == column.name else f"{header} · {name[len(column.name) + 1 :]}"


def _search(points: Points, evaluation: Evaluation, _: Contract) -> Figure:
    frame, search = points["search"].dropna(subset=["value"]), evaluation.search
    if frame.empty or not search:
        return _sentence("Search", "There was no search: train.search.method is none.")
    metric = METRICS[search.metric]
    order = _rank(frame, up=not metric.is_loss, best=search.best)
    candidates = order[:CANDIDATES][::-1]
    some = (
        f"the best {len(candidates)} of {len(order)}"
        if len(order) > len(candidates)
        else f"{len(order)}"
    )
    figure, axes = _figure(f"Search, {search.method}: {some} candidates"[:44], "", "")
    _below(figure, f"{metric.label}, mean of the folds ± standard deviation")
    rungs = sorted(set(frame["rows"]))
    colours = [BLUE] if len(rungs) == 1 else [SHADES(0.25 + 0.75 * i / (len(rungs) - 1))
                                              for i in range(len(rungs))]  # fmt: skip
    ranks = {candidate: rank for rank, candidate in enumerate(candidates)}
    for rung, colour in zip(rungs, colours, strict=True):
        own = frame[(frame["rows"] == rung) & frame["candidate"].isin(ranks)]
        if len(own):
            axes.errorbar(own["value"], own["candidate"].map(ranks), xerr=own["deviation"],
                          fmt="o", color=colour, markersize=5, elinewidth=1,
                          label=f"on {rung:,} rows")  # fmt: skip
    axes.axhspan(
        len(candidates) - 1.5, len(candidates) - 0.5, color=ORANGE, alpha=0.18, linewidth=0
    )
    axes.set_yticks(range(len(candidates)), [_wrapped(each) for each in candidates], fontsize=7)
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.set_ylim(-0.6, len(candidates) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(_ticks(5))
    if len(rungs) > 1:
        axes.legend(loc="upper center", bbox_to_anchor=(0.4, -0.06), ncols=4, frameon=False)
    return figure


def _rank(frame: pd.DataFrame, *, up: bool, best: str) -> list[str]:
    """Order the candidates: the chosen one, then those with the most rows, the better first."""
    last = frame.sort_values("rows", kind="stable").groupby("candidate", sort=False).last()
    last = last.assign(loss=-last["value"] if up else last["value"], rest=last.index != best)
    ordered = last.sort_values(
        ["rest", "rows", "loss"], ascending=[True, False, True], kind="stable"
    )
    return list(ordered.index)


def _wrapped(candidate: str) -> str:
    """Wrap a candidate on two lines at most."""
    estimator, _, changes = candidate.partition(" ")  # the changes tell them apart
    lines = textwrap.wrap(short(f"{short(estimator, 16)} {changes}", 48), 26)
    return "\n".join(lines[:2])


DRAWN: dict[str, Callable[[Points, Evaluation, Contract], Figure]] = {
    "confusion": _confusion,
    "roc": _roc,
    "precision_recall": _precision_recall,
    "calibration": _calibration,
    "importance": _importance,
    "learning": _learning,
    "dependence": _dependence,
    "search": _search,
}
