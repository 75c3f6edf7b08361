from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from cairn import paths
from cairn.contract import Column, Contract, Target
from cairn.evaluation import plots
from cairn.evaluation.records import Interval
from cairn.modeling.records import RowCounts, Threshold
from tests import small
from tests.cairn.evaluation import evaluated
from tests.conftest import ROOT

HOSTILE = Contract(
    columns=(
        Column(name="a_$x_1$ and $y", kind="number", unit="$\\frac{1}{2"),
        Column(name="_hidden_" * 20, kind="number", unit="µg/m³"),
        Column(name="名", kind="category", categories=("$", "_", "")),
    ),
    target=Target(name="t", classes=("_no_", "$\\bad{$", "line\nbreak | <b>", "名" * 50, "")),
)
CHOSEN = Threshold("yes", 0.3, "largest F1", None)


@pytest.fixture(scope="module")
def usual() -> dict[str, bytes]:
    """Draw the plots of the small table; nobody changes them."""
    return drawn()


@pytest.fixture(scope="module")
def hostile() -> dict[str, bytes]:
    """Those of a table with names that a picture may take for something else."""
    return drawn(HOSTILE)


def drawn(contract: Contract = small.CONTRACT, *, empty: bool = False) -> dict[str, bytes]:
    points = evaluated.points(contract, empty=empty)
    search = None if empty else evaluated.SEARCH
    evaluation = evaluated.evaluation(contract, search=search)
    return {name: plots.draw(points, evaluation, contract, name) for name in paths.PICTURES}


def image(content: bytes) -> Image.Image:
    return Image.open(io.BytesIO(content))


def texts(name: str, contract: Contract, *, empty: bool = False, **more: object) -> list[str]:
    """All that can be read in a picture."""
    evaluation = evaluated.evaluation(contract, **more)
    with plots.style():
        figure = plots.DRAWN[name](evaluated.points(contract, empty=empty), evaluation, contract)
        figure.draw_without_rendering()  # ticks get their texts
    return words(figure)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(mpl.text.Text) if text.get_visible()]


def table(classes: int, columns: int = 1) -> Contract:
    return Contract(
        columns=tuple(Column(name=f"x{index}", kind="number") for index in range(columns)),
        target=Target(name="y", classes=tuple(range(classes))),
    )


def test_each_picture_is_a_small_png_for_a_phone(usual: dict[str, bytes]) -> None:
    pictures = usual
    assert tuple(pictures) == paths.PICTURES
    for content in pictures.values():
        assert image(content).format == "PNG"
        assert image(content).size == (800, 600)
        assert 1000 < len(content) < 60_000


def test_a_picture_says_neither_when_nor_by_what_it_was_made(
    usual: dict[str, bytes],
) -> None:
    for content in usual.values():
        assert set(image(content).info) <= {"dpi"}
        assert b"matplotlib" not in content.lower()


PRINT = """
import hashlib
from tests.cairn.evaluation import test_plots as t
for name, content in t.drawn().items():
    print(name, hashlib.sha256(content).hexdigest())
"""


@pytest.mark.slow
def test_the_bytes_are_the_same_in_another_process_whatever_the_user_has_set(
    usual: dict[str, bytes], tmp_path: Path
) -> None:
    """Other threads, other locale, other settings, a cache of fonts of its own."""
    (tmp_path / "matplotlibrc").write_text("font.size: 30\naxes.facecolor: red\nbackend: svg\n")
    env = {
        **os.environ,
        "MATPLOTLIBRC": str(tmp_path / "matplotlibrc"),
        "MPLCONFIGDIR": str(tmp_path),
        "OMP_NUM_THREADS": "3",
        "PYTHONHASHSEED": "7",
        "PYTHONPATH": str(ROOT),
        "LC_ALL": "C",
    }
    done = subprocess.run(
        [sys.executable, "-c", PRINT],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=True,
    )  # fmt: skip
    own = [f"{name} {hashlib.sha256(content).hexdigest()}" for name, content in usual.items()]
    assert done.stdout.splitlines() == own


def test_drawing_leaves_the_settings_as_they_were() -> None:
    with mpl.rc_context({"font.size": 31}):
        first = drawn(empty=True)
        assert mpl.rcParams["font.size"] == 31
    assert first == drawn(empty=True)


@pytest.mark.parametrize(("classes", "columns"), [(2, 1), (3, 4), (10, 40), (40, 2)])
def test_any_number_of_classes_and_columns_can_be_drawn(classes: int, columns: int) -> None:
    pictures = drawn(table(classes, columns))
    assert all(len(content) < 60_000 for content in pictures.values())


LONG = "the department of industrial affairs and of everything else that is long {}"
LONG_NAMES = Contract(
    columns=tuple(
        Column(name=f"x{index}", kind="number", header=LONG.format(index), unit="µg/m³ and more")
        for index in range(200)
    ),
    target=Target(name="y", classes=tuple(LONG.format(index) for index in range(50))),
)
TWO = LONG_NAMES.target.model_copy(update={"classes": LONG_NAMES.target.classes[:2]})


@pytest.mark.parametrize(
    "contract",
    [HOSTILE, LONG_NAMES, LONG_NAMES.model_copy(update={"target": TWO})],
)
def test_nothing_is_cut_at_the_edge(contract: Contract) -> None:
    for name, content in drawn(contract).items():
        pixels = np.asarray(image(content).convert("L"))
        edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert edge.min() > 250, name


def test_a_column_has_the_header_of_the_table_and_its_unit() -> None:
    columns = (
        Column(name="emp_var_rate", kind="number", header="emp.var.rate"),
        Column(name="area", kind="number", header="Area (cm2)", unit="cm2"),
        Column(name="opened", kind="date", header="Opened on", parts=("year", "month")),
    )
    contract = Contract(columns=columns, target=Target(name="y", classes=(0, 1)))
    shown = texts("importance", contract)
    assert {"emp.var.rate", "Area", "Opened on · year", "Opened on · month"} <= set(shown)
    assert "Area (cm2)" in texts("dependence", contract)


def test_hostile_names_are_drawn_as_they_are(hostile: dict[str, bytes]) -> None:
    assert tuple(hostile) == paths.PICTURES
    shown = texts("roc", HOSTILE)
    assert any(text.startswith("_no_:") for text in shown)
    assert any(text.startswith("$\\bad{$:") for text in shown)
    assert any(text.startswith("(empty):") for text in shown)
    assert not any("\n" in text for text in shown)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("learning", "Not measured: a class has too few rows for it."),
        ("dependence", "Not measured: no column has two values."),
        ("search", "There was no search: train.search.method is none."),
    ],
)
def test_what_was_not_measured_says_why(name: str, reason: str) -> None:
    shown = [text.replace("\n", " ") for text in texts(name, small.CONTRACT, empty=True)]
    assert reason in shown


def test_without_cross_validation_there_is_no_learning_curve() -> None:
    shown = texts("learning", small.CONTRACT, empty=True, cross_validation=None)
    [text] = [text for text in shown if text.startswith("Not measured")]
    assert text.replace("\n", " ") == (
        "Not measured: evaluate.cross_validation is off, or the rows are too many for it."
    )


def test_the_confusion_counts_each_pair_of_classes() -> None:
    contract = small.CONTRACT
    test = evaluated.rows(contract)
    shown = texts("confusion", contract)
    for true in (0, 1):
        of = int((test.truth == true).sum())
        for predicted in (0, 1):
            count = int(((test.truth == true) & (test.predictions.labels == predicted)).sum())
            assert (f"{count}\n{100 * count / of:.1f}%" if count else "0") in shown
    assert "0" in shown, "one of the four is"
    assert "Confusion on the 60 test rows" in shown


def test_a_score_whose_interval_nothing_tells_is_drawn_without() -> None:
    test = evaluated.evaluation(small.CONTRACT).test
    sure = {**test, "calibration_error": Interval(0.0)}
    assert not [
        text for text in texts("calibration", small.CONTRACT, test=sure) if "interval" in text
    ]
    assert [text for text in texts("calibration", small.CONTRACT) if "interval" in text]


def test_the_confusion_of_some_of_the_rows_says_so() -> None:
    shown = texts("confusion", small.CONTRACT, rows=RowCounts(9, 70_000))
    assert "Confusion on 60 of the 70,000 test rows" in shown


def test_the_curves_say_their_score_with_its_interval() -> None:
    score = evaluated.evaluation(small.CONTRACT).test["roc_auc"]
    assert score.ends
    shown = texts("roc", small.CONTRACT)
    assert f"ROC: AUC {score.value:.3f}" in shown
    assert f"95% interval {score.ends[0]:.3f} to {score.ends[1]:.3f}" in shown
    assert {"chance", "class yes", "false positive rate", "true positive rate"} <= set(shown)


@pytest.mark.parametrize("name", ["roc", "precision_recall"])
def test_the_threshold_stands_on_the_curve(name: str) -> None:
    assert "class yes from 0.3" in texts(name, small.CONTRACT, threshold=CHOSEN)
    assert "class yes from 0.3" not in texts(name, small.CONTRACT)


def test_the_threshold_stands_at_the_rates_of_what_was_predicted() -> None:
    test = evaluated.rows(small.CONTRACT)
    hit, predicted = test.truth == 1, test.predictions.labels == 1
    evaluation = evaluated.evaluation(small.CONTRACT, threshold=CHOSEN)
    rates = plots._rates(evaluated.points(small.CONTRACT), evaluation, small.CONTRACT)
    assert rates["recall"] == pytest.approx((hit & predicted).sum() / hit.sum())
    assert rates["precision"] == pytest.approx((hit & predicted).sum() / predicted.sum())
    assert rates["false"] == pytest.approx((predicted & ~hit).sum() / (~hit).sum())


def test_of_many_classes_the_worst_are_named() -> None:
    contract = table(40)
    ranked = sorted(
        evaluated.evaluation(contract).classes, key=lambda each: each.scores["roc_auc"].value or 0
    )
    shown = texts("roc", contract)
    named = {text.partition(":")[0] for text in shown if ":\N{NO-BREAK SPACE}" in text}
    assert named == {each.key for each in ranked[: len(plots.COLOURS)]}
    assert "33 others, better" in shown


def test_the_search_marks_the_best_and_shows_each_rung() -> None:
    shown = texts("search", small.CONTRACT, search=evaluated.SEARCH)
    assert {"on 20 rows", "on 60 rows", "Search, halving: 3 candidates"} <= set(shown)
    frame = evaluated.points(small.CONTRACT)["search"]
    assert plots._rank(frame, up=False, best="C=1") == ["C=1", "C=2", "C=3"]
    assert plots._rank(frame, up=False, best="C=2") == ["C=2", "C=1", "C=3"]


def test_where_more_is_better_the_largest_is_the_best() -> None:
    frame = evaluated.points(small.CONTRACT)["search"].query("rows == 20")
    assert plots._rank(frame, up=True, best="none") == ["C=3", "C=1", "C=2"]
    assert plots._rank(frame, up=False, best="none") == ["C=2", "C=1", "C=3"]


def test_a_columns_unit_stands_at_its_axis() -> None:
    assert "area (cm2)" in texts("dependence", small.CONTRACT)


def test_colours_are_told_apart_by_people_who_see_few(usual: dict[str, bytes]) -> None:
    """Okabe and Ito's, without the yellow that white swallows."""
    assert len(set(plots.COLOURS)) == 7
    picture = np.asarray(image(usual["roc"]).convert("RGB"))
    corners = picture[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert (corners == 255).all()


@pytest.mark.parametrize("name", ["roc", "precision_recall", "calibration"])
@pytest.mark.parametrize("classes", [2, 12])
def test_a_class_without_a_test_row_is_drawn_without_a_curve(name: str, classes: int) -> None:
    target = Target(name="t", classes=tuple(range(classes)))
    contract = small.CONTRACT.model_copy(update={"target": target})
    evaluation = evaluated.evaluation(contract)
    first, second, *others = evaluation.classes
    undefined = dict.fromkeys(["recall", "f1", "roc_auc", "average_precision"], Interval(None))
    second = replace(second, rows=0, scores={**second.scores, **undefined})
    evaluation = replace(evaluation, classes=(first, second, *others))
    if classes == 2:
        test = {name: undefined.get(name, score) for name, score in evaluation.test.items()}
        evaluation = replace(evaluation, test=test)
    points = evaluated.points(contract)
    frame = points[name]
    points[name] = frame[frame["class"] != "1"]
    assert plots.draw(points, evaluation, contract, name).startswith(b"\x89PNG")
