from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pytest
import yaml
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from stages import compute, contract, contract_file, export, features, inference, parquet, train
from stages.console import CairnError
from stages.contract import Contract
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
LINEAR = "sklearn.linear_model.LogisticRegression"


def block(estimator: str = TREE, /, scale: Any = "auto", **arguments: Any) -> Train:
    own = {"estimator": estimator, "arguments": arguments, "scale": scale, "seed": 3}
    return small.LINEAR.model_copy(update=own)


def fit(given: Train) -> Pipeline:
    """A Pipeline of the small table."""
    fitted = small.fitted()
    return train.fit(fitted.features, fitted.classes, small.TERMS, given)


def test_a_heavier_class_is_said_more_often() -> None:
    fitted = small.fitted()
    said = {
        label: fit(block(LINEAR, class_weight={label: 100})).predict(fitted.features).sum()
        for label in ("no", "yes")
    }
    assert said["no"] < fitted.classes.sum() < said["yes"]


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
        fit(block(name, **arguments))
    assert str(error.value).startswith(f"train.estimator: {name} cannot be fitted: ")
    assert len(str(error.value).splitlines()) == 1


def test_each_category_and_a_missing_one_are_columns_of_their_own() -> None:
    names = list(small.fitted().pipeline[:-1].get_feature_names_out())
    assert len(names) == 4 + 3 + 1


FORESTS = [
    "sklearn.ensemble.RandomForestClassifier",
    "sklearn.ensemble.HistGradientBoostingClassifier",
    "lightgbm.LGBMClassifier",
]


def many() -> tuple[NDArray[np.float32], NDArray[np.int64], Contract]:
    """Enough rows that threads share them."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(20_000, 5)).astype(np.float32)
    classes = (rows[:, 0] * rows[:, 1] + random.normal(size=len(rows)) > 0).astype(np.int64)
    columns = tuple(contract.Column(name=f"c{i}", kind="number") for i in range(5))
    return rows, classes, Contract(columns=columns, target=small.TERMS.target)


@pytest.mark.slow
@pytest.mark.parametrize("name", FORESTS)
def test_the_bits_of_a_model_depend_on_no_count_of_threads(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, classes, terms = many()
    size = "max_iter" if "Hist" in name else "n_estimators"
    made = set()
    for threads in (1, 2, 3):
        monkeypatch.setattr("os.cpu_count", lambda threads=threads: threads)
        monkeypatch.setenv("OMP_NUM_THREADS", str(threads))
        with threadpool_limits(threads), joblib.parallel_config("threading", n_jobs=threads):
            pipeline = train.fit(rows, classes, terms, block(name, **{size: 20}))
        said = train.predictions("train", pipeline, export.to_onnx(pipeline, 5), rows)
        joblib.dump(pipeline, tmp_path / "pipeline")
        made.add((joblib.hash((tmp_path / "pipeline").read_bytes()), joblib.hash(said)))
    assert len(made) == 1


def test_fit_is_reproducible_and_changes_nothing_that_it_is_given() -> None:
    fitted = small.fitted()
    before = fitted.features.copy()
    one, two = (fit(block(FORESTS[0], n_estimators=5)) for _ in range(2))
    np.testing.assert_array_equal(
        one.predict_proba(fitted.features), two.predict_proba(fitted.features)
    )
    np.testing.assert_array_equal(fitted.features, before)


def test_a_part_is_read_group_by_group_in_the_order_of_its_columns(tmp_path: Path) -> None:
    table = pa.table(
        {
            "b": np.array([1.5, 2.5, np.nan], dtype=np.float32),
            "y": np.array([1, 0, 2]),
            "a": np.array([3.5, np.nan, 4.5], dtype=np.float32),
        }
    )
    with parquet.Writer(tmp_path / "part.parquet") as writer:
        writer.write(table[:2])
        writer.write(table[2:])
    found = train.read(tmp_path / "part.parquet", "y")
    assert found.names == ("b", "a")
    assert found.features.flags["C_CONTIGUOUS"]
    expected = np.array([[1.5, 3.5], [2.5, np.nan], [np.nan, 4.5]], dtype=np.float32)
    np.testing.assert_array_equal(found.features, expected)
    assert found.features.dtype == np.float32
    assert found.classes.tolist() == [1, 0, 2]


def search(given: Train, values: dict[str, Any]) -> train.Found:
    fitted = small.fitted()
    own = given.model_copy(update={"search": values})
    with ThreadPoolExecutor(1) as pool:
        here = compute.Local(pool)
        return train.search(fitted.features, fitted.classes, small.TERMS, own, here)


def test_a_search_keeps_the_arguments_that_lose_least() -> None:
    fitted = small.fitted()
    values: dict[str, list[Any]] = {"C": [1e-6, 1.0], "class_weight": [None, {"yes": 1000}]}
    found = search(block(LINEAR), values)
    losses = found.report["log_loss"]
    assert list(losses) == [
        "C=1e-06, class_weight=None",
        "C=1e-06, class_weight={'yes': 1000}",
        "C=1.0, class_weight=None",
        "C=1.0, class_weight={'yes': 1000}",
    ]
    assert found.report["arguments"] == {"C": 1.0, "class_weight": None}
    assert losses["C=1.0, class_weight=None"] == min(losses.values())
    shares = np.bincount(fitted.classes) / small.ROWS
    prior = -(shares * np.log(shares)).sum()  # all that is left to say
    assert losses["C=1e-06, class_weight=None"] == pytest.approx(prior, abs=0.02)
    assert json.loads(json.dumps(found.report)) == found.report
    again = search(block(LINEAR), values)
    assert again.report == found.report
    chosen = fit(block(LINEAR, C=1.0))
    for other in (again.pipeline, chosen):
        np.testing.assert_array_equal(
            found.pipeline.predict_proba(fitted.features), other.predict_proba(fitted.features)
        )


def test_a_search_reaches_into_the_wrapper_that_calibrates() -> None:
    found = search(block("sklearn.svm.LinearSVC"), {"C": [0.1, 1.0]})
    assert found.report["arguments"]["C"] == found.pipeline[-1].estimator.C


def test_a_search_reaches_into_an_estimator_inside_and_may_put_another_there() -> None:
    wrapper = "sklearn.calibration.CalibratedClassifierCV"
    inner = {"class": TREE, "max_depth": 1}
    deep = search(block(wrapper, estimator=inner), {"estimator__max_depth": [1, 2]})
    assert deep.pipeline[-1].estimator.max_depth == deep.report["arguments"]["estimator__max_depth"]
    values = {"estimator": [inner, {"class": "sklearn.naive_bayes.GaussianNB"}]}
    other = search(block(wrapper, estimator=inner), values)
    assert other.report["arguments"]["estimator"] in values["estimator"]
    assert type(other.pipeline[-1].estimator).__name__ in {"DecisionTreeClassifier", "GaussianNB"}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        (
            {"depth": [1]},
            r"train\.search: DecisionTreeClassifier takes no depth; it takes .*max_depth",
        ),
        ({"max_depth": []}, r"train\.search\.max_depth: no value to try"),
        ({"max_depth": ["2"]}, "cannot be fitted: .*'max_depth'"),
        ({"class_weight": [{"x": 1}]}, r"train\.search\.class_weight.*no class 'x'"),
    ],
)
def test_a_search_that_cannot_be_says_why(values: dict[str, list[Any]], says: str) -> None:
    with pytest.raises(CairnError, match=says):
        search(block(), values)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """data/features of the small table, and where its model may go."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    TRAIN.parent.mkdir(parents=True)
    TERMS.parent.mkdir(parents=True)
    contract_file.write(small.TERMS, TERMS)
    fitted = small.fitted()
    columns = dict(zip(small.TERMS.names, fitted.features.T, strict=True))
    made = pa.table({**columns, "kind": fitted.classes})
    for path, rows in ((TRAIN, made[:60]), (TEST, made[60:])):
        with parquet.Writer(path) as writer:
            writer.write(rows)
    write_params({"class_weight": "balanced"})
    return tmp_path


def write_params(arguments: dict[str, Any], engine: str = "local", **changes: Any) -> None:
    own = {**small.LINEAR.model_dump(), "arguments": arguments, **changes}
    cluster = {"engine": engine, "scheduler": None, "workers": 2, "memory": None}
    Path("params.yaml").write_text(yaml.safe_dump({**PARAMS, "train": own, "compute": cluster}))


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
    _, x, y = train.read(TEST, "kind")
    said = inference.predict(inference.session(ONNX.read_bytes()), x)
    metrics = json.loads(METRICS.read_bytes())
    assert set(metrics) == {"train", "test"}
    assert metrics["train"]["rows"] == 60
    assert metrics["test"]["accuracy"] == round(float((said.labels == y).mean()), 6)
    np.testing.assert_array_equal(joblib.load(PIPELINE).predict(x), said.labels)
    terms = contract.read(CONTRACT)
    assert sum(terms.target.counts) == 60
    assert [feature.name for feature in terms.features] == list(small.TERMS.names)
    assert set(json.loads(ENVIRONMENT.read_bytes())) == set(train.LIBRARIES)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_search_is_said_and_kept_in_the_metrics(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params({}, search={"C": [0.001, 1.0]})
    with small.store(folder / "bentoml"):
        train.main()
    metrics = json.loads(METRICS.read_bytes())
    assert metrics["search"]["arguments"] == {"C": 1.0}
    assert set(metrics["search"]["log_loss"]) == {"C=0.001", "C=1.0"}
    assert "train: best of 2: C=1.0" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_a_search_on_a_cluster_finds_what_it_finds_here(folder: Path) -> None:
    made = []
    for engine in ("local", "dask"):
        write_params({}, engine, search={"C": [0.001, 1.0]})
        with small.store(folder / f"bentoml-{engine}"):
            train.main()
        made.append((METRICS.read_bytes(), ONNX.read_bytes()))
    assert made[0] == made[1]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_lightgbm_of_a_cluster_is_proved_and_registered_as_any_other(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_params(
        {"n_estimators": 20, "min_child_samples": 3}, "dask", estimator="lightgbm.LGBMClassifier"
    )
    with small.store(folder / "bentoml"):
        train.main()
    assert "train: ONNX agrees on 60 train rows" in capsys.readouterr().out
    assert json.loads(METRICS.read_bytes())["train"]["accuracy"] > 0.8
    assert "lightgbm" in json.loads(ENVIRONMENT.read_bytes())


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning:pathspec")
def test_features_that_are_engineered_reach_the_contract(folder: Path) -> None:
    for path in (TRAIN, TEST):
        (rows,) = parquet.groups(path)
        twice = pa.array(rows["area"].to_numpy() * 2)
        with parquet.Writer(path) as writer:
            writer.write(rows.append_column("twice", twice))
    with small.store(folder / "bentoml"):
        train.main()
    terms = contract.read(CONTRACT)
    assert [each.name for each in terms.features] == [*small.TERMS.names, "twice"]
    assert terms.features[-1].column is None
    assert terms.engineering == features.engineering_sha256()
    assert "twice" in (PLOTS / "importance.csv").read_text()


def test_libraries_of_lightgbm_are_named_where_it_is_used() -> None:
    assert train.libraries(fit(block())) == train.LIBRARIES
    assert set(train.libraries(fit(block("lightgbm.LGBMClassifier", n_estimators=2)))) == {
        *train.LIBRARIES,
        "lightgbm",
        "onnxmltools",
    }


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


def test_rows_are_predicted_in_blocks_and_come_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    fitted = small.fitted()
    whole = train.predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    monkeypatch.setattr(train, "BLOCK", 7)
    found = train.predictions("train", fitted.pipeline, fitted.graph, fitted.features)
    np.testing.assert_array_equal(found.labels, whole.labels)
    np.testing.assert_allclose(found.probabilities, whole.probabilities, atol=1e-6)
    assert found.probabilities.dtype == np.float32


def test_a_row_that_differs_is_named_by_its_place_among_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terms = Contract(columns=small.TERMS.columns[:1], target=small.TERMS.target)
    rows: NDArray[np.float32] = np.arange(20, dtype=np.float32)[:, None]
    classes = (rows[:, 0] > 10).astype(np.int64)
    other = np.where(np.arange(20) == 13, 0, classes)
    one, two = (train.fit(rows, each, terms, block()) for each in (classes, other))
    monkeypatch.setattr(train, "BLOCK", 5)
    with pytest.raises(CairnError, match=r"differ on 1 of 20 test rows; worst is test row 13: "):
        train.predictions("test", one, export.to_onnx(two, 1), rows)


def test_a_graph_that_onnx_runtime_cannot_run_is_the_estimator_s_error() -> None:
    fitted = small.fitted()
    pipeline = fit(block("sklearn.gaussian_process.GaussianProcessClassifier"))
    graph = export.to_onnx(pipeline, 5)
    with pytest.raises(
        CairnError, match=r"train\.estimator: GaussianProcessClassifier.* cannot be run"
    ):
        train.predictions("train", pipeline, graph, fitted.features)
