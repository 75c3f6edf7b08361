from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.calibration import CalibratedClassifierCV

from stages import contract, export, features, inference, train
from stages.console import CairnError
from stages.contract import Column, Contract, Kind
from stages.params import Train
from stages.paths import (
    CONTRACT,
    ENVIRONMENT,
    METRICS,
    MODEL,
    ONNX,
    PIPELINE,
    PLOTS,
    TERMS,
    TEST,
    TRAIN,
)
from tests import small
from tests.small import PARAMS

TREE = "sklearn.tree.DecisionTreeClassifier"


def block(estimator: str = TREE, *, scale: bool = False, **arguments: Any) -> Train:
    return Train(name="m", estimator=estimator, arguments=arguments, scale=scale, seed=3)


def test_the_estimator_gets_its_arguments_and_the_seed() -> None:
    found = train.model(block(max_depth=2), small.TERMS)
    assert (found.max_depth, found.random_state) == (2, 3)


def test_a_seed_among_the_arguments_wins() -> None:
    assert train.model(block(random_state=9), small.TERMS).random_state == 9


def test_an_estimator_without_randomness_gets_no_seed() -> None:
    found = train.model(block("sklearn.naive_bayes.GaussianNB"), small.TERMS)
    assert not hasattr(found, "random_state")


@pytest.mark.parametrize("name", ["svm.LinearSVC", "svm.SVC", "linear_model.RidgeClassifier"])
def test_an_estimator_without_probabilities_is_calibrated(name: str) -> None:
    assert isinstance(train.model(block(f"sklearn.{name}"), small.TERMS), CalibratedClassifierCV)


@pytest.mark.parametrize(
    "name",
    [
        "sklearn.linear_model.LinearRegression",
        "sklearn.tree.Nothing",
        "sklearn.nothing.Tree",
        "sklearn.tree",
        "sklearn.datasets.load_iris",
        "sklearn.metrics.accuracy_score",
        "sklearn.preprocessing.StandardScaler",
    ],
)
def test_what_is_no_classifier_is_refused_by_name(name: str) -> None:
    with pytest.raises(CairnError) as error:
        train.model(block(name), small.TERMS)
    assert f"train.estimator: got {name}; allowed:" in str(error.value)


def test_an_unknown_argument_is_named_with_those_that_are_known() -> None:
    with pytest.raises(CairnError) as error:
        train.model(block(depth=2), small.TERMS)
    assert "train.arguments: DecisionTreeClassifier takes no depth; it takes" in str(error.value)
    assert "max_depth" in str(error.value)


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("ensemble.StackingClassifier", "estimators"),
        ("ensemble.VotingClassifier", "estimators"),
        ("multiclass.OneVsRestClassifier", "estimator"),
    ],
)
def test_an_estimator_that_needs_an_argument_says_which(name: str, needed: str) -> None:
    with pytest.raises(CairnError) as error:
        train.model(block(f"sklearn.{name}"), small.TERMS)
    kind = name.rpartition(".")[2]
    assert str(error.value).startswith(f"train.estimator: {kind} needs {needed} in train.arguments")


def test_no_seed_at_all_is_refused() -> None:
    with pytest.raises(CairnError, match="random_state: null"):
        train.model(block("sklearn.tree.DecisionTreeClassifier", random_state=None), small.TERMS)


def target(classes: tuple[contract.Label, ...]) -> Contract:
    own = contract.Target(name="y", classes=classes)
    return Contract(columns=small.TERMS.columns, target=own)


@pytest.mark.parametrize(
    ("terms", "weights", "coded"),
    [
        (small.TERMS, {"yes": 5.0, "no": 1.0}, {1: 5.0, 0: 1.0}),
        (target((1, 2, 3)), {1: 0.5, 2: 1, 3: 2}, {0: 0.5, 1: 1, 2: 2}),
        (target((-1, 1)), {1: 9}, {1: 9}),
        (target((False, True)), {True: 3, False: 1}, {1: 3, 0: 1}),
    ],
)
def test_a_class_is_weighted_by_its_label(
    terms: Contract, weights: dict[Any, float], coded: dict[int, float]
) -> None:
    given = block(class_weight=weights)
    assert train.model(given, terms).class_weight == coded
    assert given.arguments == {"class_weight": weights}


@pytest.mark.parametrize("weights", ["balanced", None])
def test_other_weights_go_to_the_estimator_as_they_are(weights: str | None) -> None:
    assert train.model(block(class_weight=weights), small.TERMS).class_weight == weights


@pytest.mark.parametrize("label", ["maybe", 0, 1, "Yes", True])
def test_the_weight_of_a_class_that_is_none_is_refused_with_the_classes(label: Any) -> None:
    with pytest.raises(CairnError) as error:
        train.model(block(class_weight={"no": 1, label: 2}), small.TERMS)
    assert str(error.value) == (
        f"train.arguments.class_weight: no class {label!r}; the classes are 'no', 'yes'"
    )


def test_a_heavier_class_is_said_more_often() -> None:
    fitted = small.fitted()
    said = {
        label: train.fit(
            fitted.features,
            fitted.classes,
            small.TERMS,
            small.LINEAR.model_copy(update={"arguments": {"class_weight": {label: 100}}}),
        )
        .predict(fitted.features)
        .sum()
        for label in ("no", "yes")
    }
    assert said["no"] < fitted.classes.sum() < said["yes"]


def test_a_wrong_argument_is_named_with_what_is_allowed() -> None:
    fitted = small.fitted()
    with pytest.raises(CairnError) as error:
        train.fit(fitted.features, fitted.classes, small.TERMS, block(max_depth="2"))
    assert f"train.estimator: {TREE} cannot be fitted: The 'max_depth'" in str(error.value)


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("neighbors.KNeighborsClassifier", {"metric_params": {"q": 1}}),
        ("neural_network.MLPClassifier", {"hidden_layer_sizes": ["a"]}),
        ("ensemble.VotingClassifier", {"estimators": [["a", "b"]], "voting": "soft"}),
    ],
)
def test_an_argument_that_scikit_learn_does_not_check_is_the_user_s_to_mend(
    name: str, arguments: dict[str, Any]
) -> None:
    fitted = small.fitted()
    wrong = block(f"sklearn.{name}", **arguments)
    with pytest.raises(CairnError, match=rf"train\.estimator: sklearn\.{name} cannot be fitted: "):
        train.fit(np.nan_to_num(fitted.features), fitted.classes, small.TERMS, wrong)


def steps(*columns: Column, scale: bool) -> list[str]:
    """The steps before the estimator, by the columns that they take."""
    found = train.prepare(Contract(columns=columns, target=small.TERMS.target), scale=scale)
    return [
        f"{name} {places}: {inner if inner == 'passthrough' else [step for step, _ in inner.steps]}"
        for _, transformer in found
        for name, inner, places in transformer.transformers
        if places
    ]


def test_features_are_prepared_as_little_as_they_need() -> None:
    number = Column(name="n", kind="number")
    gaps = Column(name="g", kind="number", missing=True)
    colour = small.TERMS.columns[4]
    hot = "['simpleimputer', 'onehotencoder']"
    assert steps(number, number, scale=False) == []
    assert steps(number, scale=True) == ["numbers [0]: ['standardscaler']"]
    assert steps(number, gaps, scale=False) == ["numbers [0, 1]: ['simpleimputer']"]
    assert steps(gaps, scale=True) == ["numbers [0]: ['simpleimputer', 'standardscaler']"]
    assert steps(colour, number, scale=False) == [
        "numbers [1]: passthrough",
        f"categories [0]: {hot}",
    ]


def test_each_category_and_a_missing_one_are_columns_of_their_own() -> None:
    fitted = small.fitted()
    names = list(fitted.pipeline[:-1].get_feature_names_out())
    assert len(names) == 4 + 3 + 1


def test_fit_is_reproducible_and_changes_nothing_that_it_is_given() -> None:
    fitted = small.fitted()
    before = fitted.features.copy()
    forest = block("sklearn.ensemble.RandomForestClassifier", n_estimators=5)
    one, two = (
        train.fit(fitted.features, fitted.classes, small.TERMS, forest).predict_proba(
            fitted.features
        )
        for _ in range(2)
    )
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(fitted.features, before)


def test_parts_are_the_features_in_order_and_the_codes() -> None:
    rows = pd.DataFrame({"y": [1, 0], "b": [1.5, 2.5], "a": [3.5, np.nan]}).astype({"y": "int64"})
    columns = tuple(Column(name=name, kind="number") for name in ("b", "a"))
    terms = Contract(columns=columns, target=contract.Target(name="y", classes=(0, 1)))
    found, classes = train.parts(rows, terms)
    assert found.flags["C_CONTIGUOUS"]
    np.testing.assert_array_equal(found, np.array([[1.5, 3.5], [2.5, np.nan]], dtype=np.float32))
    assert classes.tolist() == [1, 0]


VALUES = st.lists(st.floats(allow_infinity=False, width=32), min_size=1).filter(
    lambda values: not np.isnan(values).all()
)


@pytest.mark.parametrize("kind", ["number", "integer"])
@given(values=VALUES)
def test_each_value_is_counted_in_the_bucket_that_holds_it(kind: Kind, values: list[float]) -> None:
    array: NDArray[np.float32] = np.array(values, dtype=np.float32)
    found = train.histogram(array, Column(name="n", kind=kind, missing=True))
    present = array[~np.isnan(array)]
    assert found.missing == len(array) - len(present)
    ends = [-np.inf, *found.edges, np.inf]
    assert ends == sorted(set(ends))
    expected = [int(((low < present) & (present <= high)).sum()) for low, high in pairwise(ends)]
    assert list(found.counts) == expected
    assert len(found.counts) <= train.BUCKETS


def test_deciles_split_many_values_evenly() -> None:
    values = np.arange(1000, dtype=np.float32)
    found = train.histogram(values, Column(name="n", kind="number"))
    assert len(found.counts) == 10
    assert all(99 <= count <= 101 for count in found.counts)


@pytest.mark.parametrize(
    ("column", "values", "counts", "missing"),
    [
        (small.TERMS.columns[4], [0, 2, 2, np.nan], (1, 0, 2), 1),
        (small.TERMS.columns[3], [1, 1, np.nan, np.nan], (0, 2), 2),
        (small.TERMS.columns[3], [np.nan], (0, 0), 1),
    ],
)
def test_categories_and_booleans_are_counted_each(
    column: Column, values: list[float], counts: tuple[int, ...], missing: int
) -> None:
    found = train.histogram(np.array(values, dtype=np.float32), column)
    assert (found.edges, found.counts, found.missing) == ((), counts, missing)


def test_the_contract_says_what_the_model_has_seen() -> None:
    fitted = small.fitted()
    for column in fitted.terms.columns:
        assert column.histogram is not None
        assert sum(column.histogram.counts) + column.histogram.missing == small.ROWS
    assert fitted.terms.target.counts == tuple(np.bincount(fitted.classes))
    assert fitted.terms.names == small.TERMS.names


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/features of the small table, and where its model may go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    TRAIN.parent.mkdir(parents=True)
    TERMS.parent.mkdir(parents=True)
    contract.write(small.TERMS, TERMS)
    rows = small.frame()
    made = pd.DataFrame(features.features({str(name): rows[name] for name in rows}, small.TERMS))
    made["kind"] = features.codes(rows["kind"], small.TERMS)
    made[:60].to_parquet(TRAIN, index=False)
    made[60:].to_parquet(TEST, index=False)
    own = {**small.LINEAR.model_dump(), "arguments": {"class_weight": "balanced"}}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "train": own}))
    return tmp_path


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_the_stage_writes_a_model_and_registers_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with small.store(folder / "bentoml") as store:
        train.main()
        (entry,) = store.list()
        files = [CONTRACT, ENVIRONMENT, METRICS, ONNX, PIPELINE, *sorted(PLOTS.iterdir())]
        before = {path: path.read_bytes() for path in files}
        train.main()
        assert [model.tag for model in store.list()] == [entry.tag]
    assert {path: path.read_bytes() for path in files} == before
    assert sorted(path for path in MODEL.rglob("*") if path.is_file()) == sorted(files)
    out = capsys.readouterr().out
    assert f"registered as {entry.tag}" in out
    assert f"accuracy {json.loads(METRICS.read_bytes())['test']['accuracy']:.3f}" in out
    test = pd.read_parquet(TEST)
    x, y = train.parts(test, small.TERMS)
    said = inference.predict(inference.session(ONNX.read_bytes()), x)
    metrics = json.loads(METRICS.read_bytes())
    assert metrics["train"]["rows"] == 60
    assert metrics["test"]["accuracy"] == round(float((said.labels == y).mean()), 6)
    np.testing.assert_array_equal(joblib.load(PIPELINE).predict(x), said.labels)
    assert sum(contract.read(CONTRACT).target.counts) == 60
    assert set(json.loads(ENVIRONMENT.read_bytes())) == set(train.LIBRARIES)


def test_a_column_without_a_value_among_the_training_rows_has_an_empty_histogram() -> None:
    found = train.histogram(
        np.array([np.nan], dtype=np.float32), Column(name="n", kind="number", missing=True)
    )
    assert (found.edges, found.counts, found.missing) == ((), (0,), 1)


@pytest.mark.parametrize("place", [1, 4])
def test_a_column_without_a_value_among_the_training_rows_is_a_feature_still(place: int) -> None:
    column = small.TERMS.columns[place]
    terms = Contract(columns=(column,), target=small.TERMS.target)
    gone: NDArray[np.float32] = np.full((10, 1), np.nan, dtype=np.float32)
    pipeline = train.fit(gone, np.arange(10) % 2, terms, block())
    assert pipeline[-1].n_features_in_ == 1
    later: NDArray[np.float32] = np.array([[1], [np.nan]], dtype=np.float32)
    said = train.predictions("test", pipeline, export.to_onnx(pipeline, 1), later)
    assert len(said.labels) == 2


def test_a_graph_that_onnx_runtime_cannot_run_is_the_estimator_s_error() -> None:
    fitted = small.fitted()
    process = block("sklearn.gaussian_process.GaussianProcessClassifier", scale=True)
    pipeline = train.fit(fitted.features, fitted.classes, small.TERMS, process)
    graph = export.to_onnx(pipeline, 5)
    with pytest.raises(
        CairnError, match=r"train\.estimator: GaussianProcessClassifier.* cannot be run"
    ):
        train.predictions("train", pipeline, graph, fitted.features)
