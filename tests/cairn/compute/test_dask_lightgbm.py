from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from cairn import parquet
from cairn.compute import dask, dask_lightgbm
from cairn.compute.dask import Cluster
from cairn.errors import CairnError
from tests.dask_processes import Processes, processes
from tests.ports import wait_until

ARGUMENTS = {"n_estimators": 30, "random_state": 3, "deterministic": True, "verbosity": -1}
GROUPS = 6


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("dask")) as result:
        yield result


@pytest.fixture
def engine(running: Processes) -> Iterator[Cluster]:
    with dask.open_engine(running.params) as result:
        result.client.wait_for_workers(2)
        yield result


def rows(count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Rows of three classes, in the order of the classes, with missing values."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(count, 6)).astype(np.float32)
    classes = np.digitize(features[:, 0] + features[:, 1] * features[:, 2], [-0.7, 0.7])
    features[random.random(features.shape) < 0.05] = np.nan
    order = np.argsort(classes, kind="stable")
    return features[order], classes[order].astype(np.int64)


def written(path: Path, features: NDArray[np.float32], classes: NDArray[np.int64]) -> Path:
    names = [f"x{index}" for index in range(features.shape[1])]
    with parquet.Writer(path) as writer:
        for part in np.array_split(np.arange(len(classes)), GROUPS):
            columns = dict(zip(names, features[part].T, strict=True))
            writer.write(pa.table({**columns, "y": classes[part]}))
    return path


@given(st.lists(st.lists(st.integers(0, 3), max_size=9), max_size=4), st.integers(1, 4))
def test_each_worker_gets_its_share_of_each_class(parts: list[list[int]], workers: int) -> None:
    before: dict[int, int] = {}
    got = np.zeros((workers, 4), dtype=int)
    for part in parts:
        indices = dask_lightgbm.deal(np.array(part, dtype=np.int64), before, workers)
        for code, index in zip(part, indices, strict=True):
            got[index, code] += 1
            before[code] = before.get(code, 0) + 1
    assert (got.max(axis=0) - got.min(axis=0) <= 1).all()


def accuracy(model: Any, seed: int = 1) -> float:
    features, classes = rows(6000, seed)
    return float((model.predict(features) == classes).mean())


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("weight", [None, "balanced", {0: 1.0, 1: 2.0, 2: 1.5}])
def test_all_workers_together_learn_what_one_machine_learns(
    weight: Any, engine: Cluster, tmp_path: Path
) -> None:
    features, classes = rows(12_000)
    path = written(tmp_path / "train.parquet", features, classes)
    arguments = {**ARGUMENTS, "class_weight": weight, "n_jobs": 1}
    model = dask_lightgbm.fit(engine, arguments, path)
    local = lightgbm.LGBMClassifier(**arguments).fit(features, classes)
    assert type(model) is lightgbm.LGBMClassifier
    assert model.classes_.tolist() == [0, 1, 2]
    assert accuracy(local) > 0.8
    assert abs(accuracy(model) - accuracy(local)) < 0.02


@pytest.mark.real
@pytest.mark.slow
def test_features_go_through_what_stands_before_the_model(engine: Cluster, tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet", *rows(3000))
    model = dask_lightgbm.fit(engine, ARGUMENTS, path, lambda features: features[:, :2])
    assert model.n_features_in_ == 2


@pytest.mark.real
@pytest.mark.slow
def test_a_class_with_fewer_rows_than_workers_is_learned_too(
    engine: Cluster, tmp_path: Path
) -> None:
    features, classes = rows(2000)
    features, classes = np.vstack([features, features[:1]]), np.append(classes, 3)
    model = dask_lightgbm.fit(
        engine, ARGUMENTS, written(tmp_path / "train.parquet", features, classes)
    )
    assert model.classes_.tolist() == [0, 1, 2, 3]


@pytest.mark.real
@pytest.mark.slow
def test_what_lightgbm_refuses_is_reported(engine: Cluster, tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet", *rows(600))
    with pytest.raises(CairnError, match=r"train\.arguments: LightGBM: .*num_leaves"):
        dask_lightgbm.fit(engine, {**ARGUMENTS, "num_leaves": 1}, path)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.parametrize("name", ["early_stopping_round", "n_iter_no_change"])
def test_to_stop_early_on_a_cluster_is_refused(name: str, engine: Cluster, tmp_path: Path) -> None:
    path = written(tmp_path / "train.parquet", *rows(600))
    with pytest.raises(CairnError, match=r"train\.early_stopping: .* cannot stop early; set it"):
        dask_lightgbm.fit(engine, {**ARGUMENTS, name: 5}, path)


@pytest.mark.real
@pytest.mark.slow
def test_a_worker_killed_while_it_trains_does_not_lose_the_model(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path / "train.parquet", *rows(20_000))
    with processes(tmp_path / "dask") as result, dask.open_engine(result.params) as engine:
        engine.client.wait_for_workers(2)

        def training() -> bool:
            running = engine.client.processing().values()
            return sum(any("_train_part" in str(key) for key in keys) for keys in running) == 2

        def kill() -> None:
            wait_until(training, within=120)
            result.kill(0)

        killer = threading.Thread(target=kill)
        killer.start()
        model = dask_lightgbm.fit(engine, {**ARGUMENTS, "n_estimators": 150}, path)
        killer.join()
    assert "a worker was lost while LightGBM trained, 1 of 3 times" in capsys.readouterr().out
    assert accuracy(model) > 0.8
