from __future__ import annotations

from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_info, threadpool_limits

from cairn.contract import Column, Contract
from cairn.errors import CairnError
from cairn.export import parity
from cairn.export.onnx import to_onnx
from cairn.modeling import fitting
from cairn.params.train import Train
from tests import small

TREE = "sklearn.tree.DecisionTreeClassifier"
LINEAR = "sklearn.linear_model.LogisticRegression"


def train_params(estimator: str = TREE, /, scale: Any = "auto", **arguments: Any) -> Train:
    own = {"estimator": estimator, "arguments": arguments, "scale": scale, "seed": 3}
    return small.LINEAR.model_copy(update=own)


def fit(params: Train) -> Pipeline:
    """Fit a Pipeline to the small table."""
    fitted = small.fitted()
    return fitting.fit(fitted.features, fitted.classes, small.CONTRACT, params)


def test_a_heavier_class_is_predicted_more_often() -> None:
    fitted = small.fitted()
    predictions = {
        label: fit(train_params(LINEAR, class_weight={label: 100})).predict(fitted.features).sum()
        for label in ("no", "yes")
    }
    assert predictions["no"] < fitted.classes.sum() < predictions["yes"]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        (TREE, {"max_depth": "2"}),
        ("sklearn.neighbors.KNeighborsClassifier", {"metric_params": {"q": 1}}),
        ("sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": ["a"]}),
        ("sklearn.ensemble.VotingClassifier", {"estimators": [["a", "b"]]}),
        ("lightgbm.LGBMClassifier", {"num_leaves": 1}),
    ],
)
def test_an_argument_that_the_fit_refuses_is_the_user_s_to_mend(
    name: str, arguments: dict[str, Any]
) -> None:
    with pytest.raises(CairnError) as error:
        fit(train_params(name, **arguments))
    assert str(error.value).startswith(f"train.estimator: {name} cannot be fitted: ")
    assert len(str(error.value).splitlines()) == 1


def test_each_category_and_a_missing_one_are_columns_of_their_own() -> None:
    names = list(small.fitted().pipeline[:-1].get_feature_names_out())
    assert len(names) == 4 + 3 + 1


FORESTS: dict[str, dict[str, int]] = {
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 20, "min_samples_leaf": 100},
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 20},
    "lightgbm.LGBMClassifier": {"n_estimators": 20},
}


def many() -> tuple[NDArray[np.float32], NDArray[np.int64], Contract]:
    """Enough rows that threads share them."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(20_000, 5)).astype(np.float32)
    classes = (rows[:, 0] * rows[:, 1] + random.normal(size=len(rows)) > 0).astype(np.int64)
    columns = tuple(Column(name=f"c{i}", kind="number") for i in range(5))
    return rows, classes, Contract(columns=columns, target=small.CONTRACT.target)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORESTS)
def test_the_bits_of_a_model_depend_on_no_count_of_threads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, classes, contract = many()
    digests = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        with threadpool_limits(threads), joblib.parallel_config("threading", n_jobs=threads):
            pipeline = fitting.fit(rows, classes, contract, train_params(name, **FORESTS[name]))
        predictions = parity.verify_predictions("train", pipeline, to_onnx(pipeline, 5), rows)
        joblib.dump(pipeline, tmp_path / "pipeline")
        digests.add((joblib.hash((tmp_path / "pipeline").read_bytes()), joblib.hash(predictions)))
    assert len(digests) == 1


@pytest.mark.parametrize(("wanted", "threads"), [("1", 1), ("3,1", 3), ("", joblib.cpu_count())])
def test_a_fit_runs_on_the_threads_that_the_user_allows(
    wanted: str, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 64)  # of the machine, not of this process
    monkeypatch.setenv("OMP_NUM_THREADS", wanted)
    name = next(name for name in FORESTS if "HistGradient" in name)
    rows, _, contract = many()
    pipeline = fitting.build_pipeline(rows, contract, train_params(name, **FORESTS[name]))
    with threadpool_limits(1), fitting.guard_fit([pipeline], "train.estimator"):
        counts = {each["num_threads"] for each in threadpool_info() if each["user_api"] == "openmp"}
    assert counts == {threads}


def test_fit_is_reproducible_and_changes_nothing_that_it_is_given() -> None:
    fitted = small.fitted()
    before = fitted.features.copy()
    one, two = (fit(train_params(next(iter(FORESTS)), n_estimators=5)) for _ in range(2))
    np.testing.assert_array_equal(
        one.predict_proba(fitted.features), two.predict_proba(fitted.features)
    )
    np.testing.assert_array_equal(fitted.features, before)


@pytest.mark.parametrize("index", [1, 4])
def test_a_column_without_a_value_among_the_training_rows_is_a_feature_still(index: int) -> None:
    column = small.CONTRACT.columns[index]
    contract = Contract(columns=(column,), target=small.CONTRACT.target)
    gone: NDArray[np.float32] = np.full((10, 1), np.nan, dtype=np.float32)
    pipeline = fitting.fit(gone, np.arange(10) % 2, contract, train_params())
    assert pipeline[-1].n_features_in_ == 1
    later: NDArray[np.float32] = np.array([[1], [np.nan]], dtype=np.float32)
    predictions = parity.verify_predictions("test", pipeline, to_onnx(pipeline, 1), later)
    assert len(predictions.labels) == 2


def diverged(**arguments: Any) -> tuple[Pipeline, NDArray[np.float32], NDArray[np.int64]]:
    fitted = small.fitted()
    train_params = small.LINEAR.model_copy(
        update={
            "estimator": "sklearn.ensemble.HistGradientBoostingClassifier",
            "arguments": {"max_iter": 10, "min_samples_leaf": 2, **arguments},
        }
    )
    pipeline = fitting.fit(fitted.features, fitted.classes, small.CONTRACT, train_params)
    return pipeline, fitted.features, fitted.classes


def test_a_fit_that_has_diverged_is_reported_in_one_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitting.check_converged(*diverged(learning_rate=1e3, min_samples_leaf=20))
    line = capsys.readouterr().out.splitlines()[-1]
    assert "the fit of HistGradientBoostingClassifier has diverged: its log loss on" in line
    assert "lower learning_rate" in line


def test_of_a_fit_that_has_not_diverged_nothing_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitting.check_converged(*diverged())
    assert capsys.readouterr().out == ""


def test_probabilities_that_are_not_finite_end_the_stage() -> None:
    pipeline, rows, classes = diverged()
    pipeline[-1]._baseline_prediction[:] = np.nan
    with pytest.raises(CairnError, match=r"has diverged: its probabilities of \d+ of \d+ training"):
        fitting.check_converged(pipeline, rows, classes)


def few(classes: list[int]) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    features = np.random.default_rng(0).normal(size=(len(classes), 5)).astype(np.float32)
    features[:, 3:] = 0
    return features, np.array(classes)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("sklearn.ensemble.HistGradientBoostingClassifier", {}),
        ("sklearn.ensemble.GradientBoostingClassifier", {}),
        ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}),
        ("sklearn.neural_network.MLPClassifier", {"max_iter": 10}),
    ],
)
def test_too_few_rows_to_hold_out_are_fitted_without_stopping(
    name: str, arguments: dict[str, Any]
) -> None:
    params = train_params(name, **arguments).model_copy(update={"early_stopping": 3})
    features, classes = few([0] * 20 + [1])
    fitted = fitting.fit(features, classes, small.CONTRACT, params)
    assert set(fitted.predict(features)) <= {0, 1}
    (note,) = fitting.collect_notes(params, fitted, features, classes)
    assert note.startswith("train.early_stopping has no effect")
    enough = few([0, 1] * 30)
    expected = fitting.fit(*enough, small.CONTRACT, params)
    assert fitting.collect_notes(params, expected, *enough) == []


def test_what_is_wrong_with_an_estimator_is_still_reported() -> None:
    params = train_params("sklearn.neural_network.MLPClassifier", hidden_layer_sizes=[-1])
    with pytest.raises(CairnError, match="hidden_layer_sizes"):
        fitting.fit(
            *few([0] * 20 + [1]), small.CONTRACT, params.model_copy(update={"early_stopping": 3})
        )


@pytest.mark.parametrize(
    ("classes", "predictions"),
    [([0] * 20 + [1], "on the rows that the model learned from"), ([0, 1] * 10, "")],
)
def test_calibration_of_a_class_of_one_row_is_done_and_reported(
    classes: list[int], predictions: str
) -> None:
    params = train_params("sklearn.svm.LinearSVC")
    fitted = fitting.fit(*few(classes), small.CONTRACT, params)
    notes = fitting.collect_notes(params, fitted, *few(classes))
    assert len(notes) == bool(predictions)
    assert all(predictions in note for note in notes)
